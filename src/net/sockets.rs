//! The sockets of all connections.
//!
//! Owns each connection's byte stream, by its token, when its handshake is due, and whose
//! certificate is to be checked again. Must not decide when to read or write.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::{Duration, Instant};

use log::debug;
use mio::event::Event;

use super::tls::{Tls, certificate};
use super::transport::Transport;
use crate::engine::access::Peer;
use crate::engine::sessions::protocol::Protocol;
use crate::engine::token::Token;
use crate::engine::turn::{News, Readiness, Sockets, Turn};

/// Certificates of clients that are checked again in a turn: about 0.1 ms each.
const CHECKS: usize = 8;

/// What is done for handshakes beside a turn: by the loop, and by those who drive a turn without
/// one.
impl Turn<AllSockets> {
    /// Notes an event of a socket. What waits within TLS goes out first.
    pub(super) fn note_event(&mut self, token: Token, mut readiness: Readiness) {
        if readiness.writable && self.sockets_mut().flush(token).is_err() {
            readiness.failed = true;
        }
        self.note(token, readiness);
    }

    /// A connection that was just accepted may begin with a handshake. That of a native client
    /// needs no time of its own, as its HELLO is due.
    pub(super) fn expect_handshake_by(&mut self, token: Token, protocol: Protocol, due: Instant) {
        self.expect_handshake(token);
        if protocol == Protocol::Nats {
            self.sockets_mut().expect_handshake(token, due);
        }
    }

    /// Ends handshakes that take too long; others are looked at again after `time`.
    pub(super) fn end_late_handshakes(&mut self, now: Instant, time: Duration) {
        while let Some(token) = self.sockets_mut().late_handshake(now, time) {
            self.handshake_failed(token, "it takes too long");
        }
    }
}

/// The sockets of all connections.
#[derive(Default)]
pub(super) struct AllSockets {
    by_token: Vec<Option<Entry>>,
    /// Counts them, so that no two are mistaken for each other.
    number: u64,
    /// NATS clients whose handshake is due, each with its number. All have the same time, so the
    /// first one that came is the first one due.
    handshakes: VecDeque<(Instant, Token, u64)>,
    /// What certificates of clients have to come up to now, and how often that has changed.
    tls: Option<Rc<Tls>>,
    changes: u64,
    /// The next connection whose certificate is to be checked again.
    checked: Option<usize>,
    news: Option<News>,
}

struct Entry {
    transport: Transport,
    number: u64,
    /// How often what holds for TLS had changed when it came.
    changes: u64,
}

impl AllSockets {
    /// The socket of a new connection.
    pub(super) fn insert(&mut self, token: Token, transport: Transport) {
        if self.by_token.len() <= token.index() {
            self.by_token.resize_with(token.index() + 1, || None);
        }
        self.number += 1;
        let (number, changes) = (self.number, self.changes);
        self.by_token[token.index()] = Some(Entry { transport, number, changes });
    }

    /// A handshake of this new connection would be due then.
    fn expect_handshake(&mut self, token: Token, due: Instant) {
        self.handshakes.push_back((due, token, self.number));
    }

    /// When the next handshake is due. May be earlier than there is something to do.
    pub(super) fn next_handshake(&mut self) -> Option<Instant> {
        while let Some(&(due, token, number)) = self.handshakes.front() {
            if self.is_unsettled(token, number) {
                return Some(due);
            }
            self.handshakes.pop_front();
        }
        None
    }

    fn is_unsettled(&self, token: Token, number: u64) -> bool {
        let entry = self.by_token.get(token.index()).and_then(Option::as_ref);
        entry.is_some_and(|entry| entry.number == number && entry.transport.is_unsettled())
    }

    /// The next connection whose handshake took too long; others are looked at again after `time`.
    fn late_handshake(&mut self, now: Instant, time: Duration) -> Option<Token> {
        while self.next_handshake().is_some_and(|due| due <= now) {
            let (_, token, number) = self.handshakes.pop_front()?;
            if self.get(token).ok()?.is_late() {
                return Some(token);
            }
            self.handshakes.push_back((now + time, token, number));
        }
        None
    }

    /// What holds for TLS has changed: the certificates of all connections are checked again.
    pub(super) fn secure(&mut self, tls: Option<Rc<Tls>>) {
        self.tls = tls;
        self.changes += 1;
        self.checked = Some(0);
    }

    /// Whether some are left to check.
    pub(super) fn is_checking(&self) -> bool {
        self.checked.is_some()
    }

    /// Checks a few connections; those whose certificate is not accepted any more.
    pub(super) fn check_some(&mut self) -> Vec<Token> {
        let mut refused = Vec::new();
        let mut checks = 0;
        while let Some(index) = self.checked
            && checks < CHECKS
        {
            let Some(entry) = self.by_token.get(index) else {
                self.checked = None;
                break;
            };
            self.checked = Some(index + 1);
            let chain = entry.as_ref().and_then(|entry| entry.transport.certificates());
            if let Some(chain) = chain {
                checks += 1;
                if !self.tls.as_ref().is_some_and(|tls| tls.accepts(chain)) {
                    refused.push(Token::new(index));
                }
            }
        }
        refused
    }

    /// Writes what waits in a connection's transport, since its socket takes something again.
    fn flush(&mut self, token: Token) -> io::Result<()> {
        match self.get(token) {
            Ok(transport) => transport.flush(),
            Err(_) => Ok(()),
        }
    }

    fn get(&mut self, token: Token) -> io::Result<&mut Transport> {
        let entry = self.by_token.get_mut(token.index()).and_then(Option::as_mut);
        let entry = entry.ok_or(io::ErrorKind::NotConnected)?;
        Ok(&mut entry.transport)
    }

    /// The names of a client whose handshake is done.
    ///
    /// # Errors
    /// If its certificate was checked before what holds for it has changed, or in a session that is
    /// resumed, and is not accepted now.
    fn names(&mut self, token: Token) -> io::Result<Option<Peer>> {
        let entry = self.by_token.get(token.index()).and_then(Option::as_ref);
        let Some(entry) = entry else { return Ok(None) };
        let Some(chain @ [own, ..]) = entry.transport.certificates() else { return Ok(None) };
        let is_old = entry.changes != self.changes || entry.transport.is_resumed();
        if is_old && !self.tls.as_ref().is_some_and(|tls| tls.accepts(chain)) {
            let text = "its certificate is not accepted any more";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Some(Peer { uid: None, certificate: certificate::names(own) }))
    }

    /// Keeps what a call has brought about, if anything.
    fn note(&mut self, news: News) {
        if news != News::default() {
            self.news = Some(news);
        }
    }
}

impl Sockets for AllSockets {
    fn read(&mut self, token: Token, into: &mut [u8]) -> io::Result<usize> {
        let mut news = News::default();
        let transport = self.get(token)?;
        // A hub that does not like our certificate says so when the handshake is done for us.
        let may_refuse = transport.is_unsettled() || transport.is_dialled();
        let mut read = transport.read(into, &mut news);
        if news.settled {
            match self.names(token) {
                Ok(peer) => news.peer = peer,
                Err(error) => read = Err(error),
            }
        }
        if let Err(error) = &read
            && error.kind() == io::ErrorKind::InvalidData
        {
            debug!("connection {} cannot be understood: {error}", token.index());
            news.refused = may_refuse.then(|| error.to_string());
        }
        self.note(news);
        read
    }

    fn write_vectored(&mut self, token: Token, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut news = News::default();
        let written = self.get(token)?.write_vectored(slices, &mut news);
        self.note(news);
        written
    }

    fn shut_down(&mut self, token: Token) {
        if let Ok(transport) = self.get(token) {
            transport.shutdown_write();
        }
    }

    fn close(&mut self, token: Token) {
        if let Some(entry) = self.by_token.get_mut(token.index()) {
            *entry = None;
        }
    }

    fn take_news(&mut self) -> Option<News> {
        self.news.take()
    }
}

/// What an event says of its socket.
pub(super) fn readiness(event: &Event) -> Readiness {
    Readiness {
        readable: event.is_readable(),
        writable: event.is_writable(),
        ended: event.is_read_closed(),
        failed: event.is_error(),
    }
}
