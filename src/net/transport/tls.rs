//! TLS over a socket: a handshake, then records.
//!
//! Owns one session and the few bytes that wait in it: of what comes, no more than was read at
//! once; of what goes, no more than the records of one write that the socket did not take whole. It
//! counts them. It is driven by the loop, and never waits. Must not decide who has to speak TLS.

use std::cell::RefCell;
use std::io::{self, IoSlice, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rustls::{ClientConfig, ClientConnection, Connection, HandshakeKind};
use rustls::{ProtocolVersion, ServerConnection};
use rustls_pki_types::{CertificateDer, ServerName};
use smallvec::SmallVec;

use super::held::{Held, Part};
use super::plain::Stream;
use super::{News, Offer};
use crate::engine::budget::{CIPHERED_BYTES, NANOS, WRITE};

/// What ciphertext is read into, by one session at a time.
pub(in crate::net) type Workspace = Rc<RefCell<Box<[u8]>>>;
/// Bytes of it.
pub(in crate::net) const WORKSPACE_BYTES: usize = 64 << 10;
/// The payload of a full record, in bytes.
const RECORD_BYTES: usize = 16 << 10;
/// Records that one system call writes. One each costs as much again as encrypting it; more may
/// wait in the session then, if the socket does not take them.
const RECORDS_IN_A_WRITE: usize = 3;
/// Bytes that one write takes at most. A peer that reads as fast as the broker writes must not
/// hold it up.
const MAX_WRITE_BYTES: usize = 256 << 10;
/// Bytes of a handshake's message at most, as rustls has it.
const HANDSHAKE_BYTES: usize = 64 << 10;
/// Bytes that a read asks the socket for at least: the rest of a record has an overhead.
const MIN_READ_BYTES: usize = 4 << 10;

/// A session.
pub(super) struct Session {
    /// Of whichever side.
    tls: Connection,
    workspace: Workspace,
    /// What was read off the socket and there was no room for.
    backlog: Vec<u8>,
    /// The handshake is not done.
    is_opening: bool,
    /// The peer has ended its sending side.
    has_ended: bool,
    /// What the next read fails with.
    failure: Option<io::Error>,
    /// The sending side is to end behind what waits.
    is_ending: bool,
    /// It was asked before whether the handshake takes too long.
    was_asked: bool,
    /// Bytes of the handshake that have come, or of those that count: rustls keeps no message of it
    /// that is longer.
    handshake_bytes: usize,
    held: Part,
}

impl Session {
    /// The side that was connected to.
    pub(super) fn new(offer: &Offer) -> io::Result<Session> {
        let tls = ServerConnection::new(Arc::clone(&offer.server)).map_err(io::Error::other)?;
        let session = Session::of(Connection::Server(tls), &offer.workspace, &offer.held);
        Ok(Session { was_asked: !offer.takes_plain, ..session })
    }

    /// The side that has connected, with a peer that has to be `name`.
    pub(super) fn client(
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
        workspace: &Workspace,
    ) -> io::Result<Session> {
        let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        // What a link holds is told apart from what clients do.
        Ok(Session::of(Connection::Client(tls), workspace, &Held::default()))
    }

    fn of(tls: Connection, workspace: &Workspace, held: &Held) -> Session {
        Session {
            tls,
            workspace: Rc::clone(workspace),
            backlog: Vec::new(),
            is_opening: true,
            has_ended: false,
            failure: None,
            is_ending: false,
            was_asked: true,
            handshake_bytes: 0,
            held: held.part(),
        }
    }

    /// Whether this is the side that has connected.
    pub(super) fn is_dialled(&self) -> bool {
        matches!(self.tls, Connection::Client(_))
    }

    /// What is spoken, for people.
    pub(super) fn version(&self) -> Option<&'static str> {
        self.tls.protocol_version().map(|version| match version {
            ProtocolVersion::TLSv1_3 => "TLS 1.3",
            ProtocolVersion::TLSv1_2 => "TLS 1.2",
            _ => "TLS",
        })
    }

    /// Goes on with the handshake; whether it is done. What came behind it waits for a read.
    pub(super) fn shake_hands(&mut self, stream: &mut Stream) -> io::Result<bool> {
        self.flush(stream)?;
        let workspace = Rc::clone(&self.workspace);
        let mut workspace = workspace.borrow_mut();
        while self.is_opening {
            let count = match stream.read(&mut workspace[..MIN_READ_BYTES]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            let mut bytes = &workspace[..count];
            while !bytes.is_empty() && self.is_opening {
                if self.tls.read_tls(&mut bytes)? == 0 {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                // The time that it takes is the caller's.
                self.open(stream, &mut News::default())?;
            }
            self.backlog.extend_from_slice(bytes);
        }
        Ok(true)
    }

    /// Counts what waits in here at the end of a call. Where nothing does, that is known without
    /// asking.
    fn count(&mut self, is_full: bool) {
        let mut bytes = self.backlog.capacity();
        if self.is_opening {
            bytes += self.handshake_bytes.min(HANDSHAKE_BYTES);
        }
        if (self.is_opening || is_full || self.tls.wants_write())
            && let Ok(state) = self.tls.process_new_packets()
        {
            bytes += state.tls_bytes_to_write() + state.plaintext_bytes_to_read();
        }
        self.held.set(bytes);
    }

    pub(super) fn is_opening(&self) -> bool {
        self.is_opening
    }

    /// Whether the handshake takes too long: it began before this was asked last.
    pub(super) fn is_late(&mut self) -> bool {
        std::mem::replace(&mut self.was_asked, true) && self.is_opening
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// A client's certificate and those that lead to its root. One that was connected to has been
    /// checked already, by other roots.
    pub(super) fn certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match &self.tls {
            Connection::Server(tls) => tls.peer_certificates(),
            Connection::Client(_) => None,
        }
    }

    /// What came before it was known that this is TLS.
    pub(super) fn begin_with(&mut self, bytes: &[u8]) {
        self.backlog = bytes.to_vec();
        self.count(false);
    }

    /// Reads what is there, as it was before it was encrypted.
    pub(super) fn read(
        &mut self,
        stream: &mut Stream,
        into: &mut [u8],
        news: &mut News,
    ) -> io::Result<usize> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let workspace = Rc::clone(&self.workspace);
        let read = self.read_through(stream, into, &mut workspace.borrow_mut(), news);
        self.count(read.as_ref().is_ok_and(|count| *count == into.len()));
        let count = match read {
            Ok(count) => count,
            // What was sent before is heard, and then the reason why nothing else is.
            Err((0, error)) => return Err(error),
            Err((count, error)) => {
                self.failure = Some(error);
                count
            }
        };
        news.units += count as u64 / CIPHERED_BYTES;
        news.again |= count < into.len() && (self.failure.is_some() || self.has_ended);
        match count {
            0 if self.has_ended => {
                news.again = false;
                Ok(0)
            }
            0 if !into.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn read_through(
        &mut self,
        stream: &mut Stream,
        into: &mut [u8],
        workspace: &mut [u8],
        news: &mut News,
    ) -> Result<usize, (usize, io::Error)> {
        let mut filled = 0;
        let backlog = std::mem::take(&mut self.backlog);
        self.take_in(&backlog, stream, into, &mut filled, news).map_err(|error| (filled, error))?;
        while filled < into.len() && !self.has_ended {
            let wanted = (into.len() - filled).max(MIN_READ_BYTES).min(workspace.len());
            match stream.read(&mut workspace[..wanted]) {
                Ok(0) if self.is_opening => {
                    return Err((filled, io::ErrorKind::UnexpectedEof.into()));
                }
                // Frames and lines have their own ends, so an end without a farewell does no harm.
                Ok(0) => self.has_ended = true,
                Ok(count) => {
                    let bytes = &workspace[..count];
                    self.take_in(bytes, stream, into, &mut filled, news)
                        .map_err(|error| (filled, error))?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err((filled, error)),
            }
        }
        // Answers that the session makes by itself.
        self.flush(stream).map_err(|error| (filled, error))?;
        Ok(filled)
    }

    /// Takes in ciphertext, and gives what it was before; what there is no room for waits.
    fn take_in(
        &mut self,
        mut bytes: &[u8],
        stream: &mut Stream,
        into: &mut [u8],
        filled: &mut usize,
        news: &mut News,
    ) -> io::Result<()> {
        self.give(into, filled)?;
        while !bytes.is_empty() && !self.has_ended {
            if *filled == into.len() {
                self.backlog.extend_from_slice(bytes);
                return Ok(());
            }
            let taken = self.tls.read_tls(&mut bytes)?;
            if taken == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if self.is_opening {
                self.handshake_bytes += taken;
                self.open(stream, news)?;
            } else {
                self.process(stream)?;
            }
            self.give(into, filled)?;
        }
        Ok(())
    }

    /// A step of the handshake.
    fn open(&mut self, stream: &mut Stream, news: &mut News) -> io::Result<()> {
        let before = Instant::now();
        let done = self.process(stream);
        news.units += before.elapsed().as_nanos() as u64 / NANOS;
        done?;
        self.flush(stream)?;
        if !self.tls.is_handshaking() {
            self.is_opening = false;
            news.settled = true;
        }
        Ok(())
    }

    fn process(&mut self, stream: &mut Stream) -> io::Result<()> {
        match self.tls.process_new_packets() {
            Ok(state) => {
                self.has_ended |= state.peer_has_closed();
                Ok(())
            }
            Err(error) => {
                // The peer is told why, if its socket takes that.
                let _ = self.flush(stream);
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }

    /// Gives as much of what was decrypted as there is room for.
    fn give(&mut self, into: &mut [u8], filled: &mut usize) -> io::Result<()> {
        while *filled < into.len() {
            match io::Read::read(&mut self.tls.reader(), &mut into[*filled..]) {
                Ok(0) => return Ok(()),
                Ok(count) => *filled += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes record by record, as long as the socket takes them whole.
    pub(super) fn write_vectored(
        &mut self,
        stream: &mut Stream,
        slices: &[IoSlice<'_>],
        news: &mut News,
    ) -> io::Result<usize> {
        if self.is_opening {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = match self.flush(stream) {
            Ok(true) => self.write_records(stream, slices, news),
            Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error),
        };
        self.count(false);
        written
    }

    fn write_records(
        &mut self,
        stream: &mut Stream,
        slices: &[IoSlice<'_>],
        news: &mut News,
    ) -> io::Result<usize> {
        let mut parts = Parts { slices, offset: 0 };
        let mut total = 0;
        loop {
            let records = self.encrypt(&mut parts)?;
            news.units += if total > 0 { WRITE } else { 0 };
            total += records.bytes;
            let is_free = self.flush(stream)?;
            if records.are_all {
                break;
            }
            if !is_free || total >= MAX_WRITE_BYTES {
                news.again = is_free && records.bytes > 0;
                break;
            }
        }
        news.units += total as u64 / CIPHERED_BYTES;
        Ok(total)
    }

    /// Makes the records of one write. Nothing waits before them, so each is taken whole.
    fn encrypt(&mut self, parts: &mut Parts<'_>) -> io::Result<Records> {
        let mut records = Records { bytes: 0, are_all: false };
        for _ in 0..RECORDS_IN_A_WRITE {
            let Some(part) = parts.next_record() else {
                records.are_all = true;
                break;
            };
            records.bytes += self.tls.writer().write_vectored(&part)?;
        }
        Ok(records)
    }

    /// Writes what waits, since the socket takes something again.
    pub(super) fn go_on(&mut self, stream: &mut Stream) -> io::Result<()> {
        if self.tls.wants_write() {
            self.flush(stream)?;
            self.count(false);
        }
        Ok(())
    }

    /// Writes what waits; whether all of it was taken.
    fn flush(&mut self, stream: &mut Stream) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        if self.is_ending {
            stream.shutdown_write();
        }
        Ok(true)
    }

    /// Ends the sending side behind what waits.
    pub(super) fn shutdown_write(&mut self, stream: &mut Stream) {
        if self.is_opening {
            return stream.shutdown_write();
        }
        if !std::mem::replace(&mut self.is_ending, true) {
            self.tls.send_close_notify();
            // An error means that the connection is gone already; its own event tells that.
            let _ = self.flush(stream);
        }
    }
}

/// Records that were made.
struct Records {
    /// Bytes of payload in them.
    bytes: usize,
    /// They are the last ones.
    are_all: bool,
}

/// What is left of slices, cut into records.
struct Parts<'a> {
    slices: &'a [IoSlice<'a>],
    /// Bytes of the first that were given already.
    offset: usize,
}

impl<'a> Parts<'a> {
    /// As much as fits into a record, if anything is left.
    fn next_record(&mut self) -> Option<SmallVec<[IoSlice<'a>; 16]>> {
        let mut record = SmallVec::new();
        let mut room = RECORD_BYTES;
        while let Some((first, others)) = self.slices.split_first()
            && room > 0
        {
            let rest: &'a [u8] = &first[self.offset..];
            if rest.len() > room {
                record.push(IoSlice::new(&rest[..room]));
                self.offset += room;
                break;
            }
            room -= rest.len();
            if !rest.is_empty() {
                record.push(IoSlice::new(rest));
            }
            (self.slices, self.offset) = (others, 0);
        }
        (!record.is_empty()).then_some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_cut_into_full_records() {
        let bytes: Vec<u8> = (0..50_000_u32).map(|number| number as u8).collect();
        let slices = [&bytes[..10], &bytes[10..10], &bytes[10..40_000], &bytes[40_000..]];
        let slices = slices.map(IoSlice::new);
        let mut parts = Parts { slices: &slices, offset: 0 };
        let mut records = Vec::new();
        while let Some(record) = parts.next_record() {
            records.push(record.iter().map(|slice| slice.to_vec()).collect::<Vec<_>>().concat());
        }
        let sizes: Vec<_> = records.iter().map(Vec::len).collect();
        assert_eq!(sizes, [16_384, 16_384, 16_384, 848]);
        assert_eq!(records.concat(), bytes);
    }
}
