//! One HTTP connection: requests in, responses out, one at a time.
//!
//! Owns its bytes and its deadline. Memory is bounded: 8 KiB of requests, and one response, which
//! is only made when the one before it has been taken. Must not know what is answered.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::event::Event;

use super::request::{self, MAX_REQUEST_BYTES, Request};
use super::response::Status;
use crate::engine::turn::News;
use crate::net::transport::Transport;

/// From connecting, or from the response before, to the end of a request.
pub(super) const REQUEST_TIME: Duration = Duration::from_secs(5);
/// From the first byte of a response until all of it is taken.
const RESPONSE_TIME: Duration = Duration::from_secs(10);
/// How long a client may take to close after the last response. Closing before it does might
/// destroy that response on its way.
const LINGER_TIME: Duration = Duration::from_secs(1);
/// Bytes that one connection is written in one turn.
const WRITE_BYTES: usize = 64 << 10;
/// Bytes that are read and thrown away at once.
const DISCARD_BYTES: usize = 4 << 10;

/// A connection to the monitor.
pub(super) struct Connection {
    transport: Transport,
    /// Where the client is.
    address: SocketAddr,
    readable: bool,
    writable: bool,
    /// Read, and not yet answered.
    input: Vec<u8>,
    /// `input` may have a whole request.
    unparsed: bool,
    output: Vec<u8>,
    written: usize,
    phase: Phase,
    deadline: Instant,
    /// Why its handshake has failed, until that is told.
    refused: Option<io::Error>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Requests come and are answered.
    Serving,
    /// The last response is on its way.
    Ending,
    /// It is sent; what comes is discarded until the client closes.
    Lingering,
    Gone,
}

/// What is to be answered.
pub(super) enum Wanted {
    /// A request.
    Request(Request),
    /// Something that cannot be understood, or did not come in time.
    Refusal(Status),
}

impl Connection {
    pub(super) fn new(transport: Transport, address: SocketAddr, now: Instant) -> Connection {
        Connection {
            transport,
            address,
            // Nothing is known of it before its first event, but trying to write is never wrong.
            readable: false,
            writable: true,
            input: Vec::new(),
            unparsed: false,
            output: Vec::new(),
            written: 0,
            phase: Phase::Serving,
            deadline: now + REQUEST_TIME,
            refused: None,
        }
    }

    pub(super) fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_write_closed();
        if event.is_writable() && self.transport.flush().is_err() {
            self.phase = Phase::Gone;
        }
    }

    /// Whether there is something to do without waiting for the socket.
    pub(super) fn is_busy(&self) -> bool {
        match self.phase {
            Phase::Gone => false,
            _ if !self.output.is_empty() => self.writable,
            Phase::Serving => self.unparsed || self.readable,
            Phase::Ending | Phase::Lingering => self.readable,
        }
    }

    /// Where the client is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn is_gone(&self) -> bool {
        self.phase == Phase::Gone
    }

    /// Why its handshake has failed, if it has and that was not asked yet.
    pub(super) fn take_refused(&mut self) -> Option<io::Error> {
        self.refused.take()
    }

    /// When to call [`expire`](Connection::expire).
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Its time is up. A request that has begun is told so.
    pub(super) fn expire(&mut self) -> Option<Wanted> {
        let begun = self.phase == Phase::Serving && self.output.is_empty();
        if begun && !self.input.is_empty() {
            return Some(Wanted::Refusal(Status::RequestTimeout));
        }
        self.phase = Phase::Gone;
        None
    }

    /// Writes and reads once each; what is to be answered now, if anything is.
    pub(super) fn turn(&mut self, now: Instant) -> Option<Wanted> {
        if !self.output.is_empty() && self.writable {
            self.write(now);
        }
        match self.phase {
            _ if !self.output.is_empty() => None,
            Phase::Serving => self.next_request(),
            Phase::Ending | Phase::Lingering => {
                self.discard();
                None
            }
            Phase::Gone => None,
        }
    }

    /// Sends a response; `keep` tells whether another may follow.
    pub(super) fn answer(&mut self, response: Vec<u8>, keep: bool, now: Instant) {
        (self.output, self.written) = (response, 0);
        self.deadline = now + RESPONSE_TIME;
        if !keep {
            self.phase = Phase::Ending;
            (self.input, self.unparsed) = (Vec::new(), false);
        }
        self.write(now);
    }

    fn next_request(&mut self) -> Option<Wanted> {
        if let Some(wanted) = self.cut_request() {
            return Some(wanted);
        }
        if !self.readable {
            return None;
        }
        let start = self.input.len();
        let was_unsettled = self.transport.is_unsettled();
        self.input.resize(MAX_REQUEST_BYTES, 0);
        let result = self.transport.read(&mut self.input[start..], &mut News::default());
        let count = result.as_ref().map_or(0, |count| *count);
        self.input.truncate(start + count);
        match result {
            Ok(0) => self.phase = Phase::Gone,
            Ok(_) => self.unparsed = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
            Err(error) => {
                self.phase = Phase::Gone;
                let is_refused = was_unsettled && error.kind() == io::ErrorKind::InvalidData;
                self.refused = Some(error).filter(|_| is_refused);
            }
        }
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        self.cut_request()
    }

    fn cut_request(&mut self) -> Option<Wanted> {
        if !std::mem::take(&mut self.unparsed) {
            return None;
        }
        match request::parse(&self.input) {
            Ok(None) => None,
            Ok(Some((request, length))) => {
                self.input.drain(..length);
                if self.input.is_empty() {
                    self.input = Vec::new();
                }
                self.unparsed = !self.input.is_empty();
                Some(Wanted::Request(request))
            }
            Err(status) => Some(Wanted::Refusal(status)),
        }
    }

    fn write(&mut self, now: Instant) {
        let rest = &self.output[self.written..];
        let part = &rest[..rest.len().min(WRITE_BYTES)];
        let mut news = News::default();
        match self.transport.write_vectored(&[IoSlice::new(part)], &mut news) {
            Ok(count) => {
                self.writable = count == part.len() || news.again;
                self.written += count;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
            Err(_) => return self.phase = Phase::Gone,
        }
        if self.written == self.output.len() {
            self.output = Vec::new();
            self.sent(now);
        }
    }

    /// A whole response is sent.
    fn sent(&mut self, now: Instant) {
        if self.phase == Phase::Ending {
            self.transport.shutdown_write();
            self.phase = Phase::Lingering;
            self.deadline = now + LINGER_TIME;
        } else {
            self.deadline = now + REQUEST_TIME;
        }
    }

    fn discard(&mut self) {
        if !self.readable {
            return;
        }
        match self.transport.read(&mut [0; DISCARD_BYTES], &mut News::default()) {
            Ok(0) => self.phase = Phase::Gone,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
            Err(_) => self.phase = Phase::Gone,
        }
    }
}
