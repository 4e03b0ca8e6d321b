//! One turn of the loop, over whatever sockets there are.
//!
//! Owns the order of a turn and who is served in it. It is driven by the reactor with real sockets,
//! and by simulation, fuzzing and benches with their own. Must not wait, ask for the time, or look
//! into the bytes.
//!
//! A driver does this, again and again:
//!
//! 1. Wait for events until [`Turn::next_deadline`], or not at all while [`Turn::is_busy`].
//! 2. [`Turn::begin`], and pass each event to [`Turn::note`].
//! 3. Accept connections with [`Turn::accept`] as long as [`Turn::may_accept`].
//! 4. [`Turn::run`]: serve, expire, flush, end.

use std::io::{self, IoSlice};
use std::time::Instant;

mod flush;
mod schedule;

use super::access::Peer;
use super::budget;
use super::link::Hub;
use super::sessions::connection::Role;
use super::token::Token;
use super::{Engine, Input, Progress};

pub use schedule::Readiness;
pub(crate) use schedule::Schedule;

/// What is read and thrown away at once, behind the end of a conversation, in bytes.
const DISCARD_BYTES: usize = 16 << 10;

/// What the writes of a thin flush may be of what serving has spent: one part of so many.
const THIN_PART: u64 = 8;

/// The sockets of all connections, by token.
pub trait Sockets {
    /// Reads what is there. A read that does not fill `into` has emptied the socket.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there; any other error ends the connection.
    fn read(&mut self, token: Token, into: &mut [u8]) -> io::Result<usize>;

    /// Writes what the socket takes. A write that does not take all has filled it.
    ///
    /// # Errors
    /// `WouldBlock` if it takes nothing; any other error ends the connection.
    fn write_vectored(&mut self, token: Token, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ends the sending side; the client reads an end of file behind what was written.
    fn shut_down(&mut self, token: Token);

    /// Closes the socket.
    fn close(&mut self, token: Token);

    /// What the last call has brought about beside the bytes, if anything.
    fn take_news(&mut self) -> Option<News> {
        None
    }
}

/// What reading or writing has brought about beside the bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Units of work that was done besides.
    pub units: u64,
    /// It is settled how the connection speaks: it may be written to, and is served with others.
    pub settled: bool,
    /// What is known of the client since then.
    pub peer: Option<Peer>,
    /// There is more to read, or room for more, though the call did not use all it was given.
    pub again: bool,
    /// Why the call has failed: the connection has not come to an end of its handshake, and will
    /// not.
    pub refused: Option<String>,
}

/// The engine and its sockets, turn by turn.
pub struct Turn<S> {
    engine: Engine,
    sockets: S,
    discarded: Vec<u8>,
    read_bytes: usize,
}

impl<S: Sockets> Turn<S> {
    /// A turn over `sockets`, each read of which takes up to `read_bytes`.
    pub fn new(engine: Engine, sockets: S, read_bytes: usize) -> Turn<S> {
        Turn { engine, sockets, discarded: vec![0; DISCARD_BYTES], read_bytes }
    }

    /// The engine, to look at it.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, to change its rules or shut it down between turns.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// The sockets.
    pub fn sockets_mut(&mut self) -> &mut S {
        &mut self.sockets
    }

    /// Both at once, to compare them.
    #[cfg(test)]
    pub(crate) fn engine_and_sockets(&mut self) -> (&mut Engine, &mut S) {
        (&mut self.engine, &mut self.sockets)
    }

    /// Whether something is left to do without waiting.
    pub fn is_busy(&self) -> bool {
        let schedule = &self.engine.schedule;
        let (ready, spent, ending) = schedule.to_serve();
        let to_serve = ready + spent + ending + schedule.settling();
        to_serve > 0 || schedule.has_dirty() || self.engine.is_giving_up()
    }

    /// When to make a turn even if no event comes. May be earlier than there is something to do.
    pub fn next_deadline(&mut self) -> Option<Instant> {
        self.engine.next_deadline()
    }

    /// A turn begins: nothing of its budget is spent.
    pub fn begin(&mut self) {
        self.engine.budget.begin_turn();
    }

    /// A socket has an event. One of a connection that is gone is ignored.
    pub fn note(&mut self, token: Token, readiness: Readiness) {
        if !self.engine.is_connected(token) {
            return;
        }
        self.engine.schedule.note(token, readiness);
        self.engine.schedule.make_ready(token);
        if readiness.writable {
            self.engine.writable(token);
        }
    }

    /// Whether another connection may be accepted in this turn. If the broker is full, those that
    /// leave come first, so that a crowd which returns finds the room that it has left.
    pub fn may_accept(&self) -> bool {
        let (_, _, ending) = self.engine.schedule.to_serve();
        let is_waited_for = self.engine.is_full() && ending > 0;
        self.engine.budget.spent() < self.engine.budget.share() && !is_waited_for
    }

    /// A client has connected from `address` (for people); its socket is to be known by the token
    /// before the turn runs.
    pub fn accept(&mut self, role: Role, address: &str, now: Instant) -> Token {
        self.engine.budget.charge_turn(budget::ACCEPT);
        self.engine.accept(role, address, now)
    }

    /// A hub at `address` (for people) was dialled, and has introduced itself; its socket is to be
    /// known by the token before the turn runs.
    pub fn join(&mut self, hub: Hub, address: &str, now: Instant) -> Token {
        self.engine.budget.charge_turn(budget::ACCEPT);
        self.engine.join(hub, address, now)
    }

    /// A connection that was just accepted may begin with a handshake. Until there is news that it
    /// is settled, it is served with those, a few in a turn.
    pub fn expect_handshake(&mut self, token: Token) {
        self.engine.schedule.expect_handshake(token);
    }

    /// A connection that was just accepted cannot be used.
    pub fn connection_failed(&mut self, token: Token) {
        self.engine.connection_failed(token);
    }

    /// A connection does not come to an end of its handshake; `why` is for people.
    pub fn handshake_failed(&mut self, token: Token, why: &str) {
        self.engine.handshake_has_failed(token, why.to_owned());
        self.engine.connection_failed(token);
    }

    /// The rest of a turn: serves, does what is due, flushes, and lets go of what has ended.
    pub fn run(&mut self, now: Instant) {
        self.serve(now);
        self.serve_settling(now);
        self.serve_ending(now);
        self.engine.expire(now);
        self.flush(now);
        self.end(now);
    }

    /// Serves the ready connections, then the spent ones: each once, and again as long as a flush
    /// would be thin.
    fn serve(&mut self, now: Instant) {
        let mut read = 0;
        loop {
            let before = self.engine.budget.spent();
            let (ready, ..) = self.engine.schedule.to_serve();
            let spent = self.engine.schedule.spent_allowed();
            for position in 0..ready + spent {
                if !self.may_serve(read) {
                    return;
                }
                let schedule = &mut self.engine.schedule;
                let next = if position < ready { schedule.next_ready() } else { None };
                let Some(token) = next.or_else(|| schedule.next_spent()) else { break };
                read += self.serve_one(token, now);
            }
            let (ready, spent, _) = self.engine.schedule.to_serve();
            let is_early = self.engine.budget.spent() < self.units_for_thin_flush();
            if ready + spent == 0 || !is_early || self.engine.budget.spent() == before {
                return;
            }
        }
    }

    /// Whether another connection may be served in this turn, behind so many bytes read.
    fn may_serve(&self, read: usize) -> bool {
        let (spent, half) = (self.engine.budget.spent(), self.engine.budget.units() / 2);
        let is_regular = spent < half && read < budget::READ_BYTES;
        is_regular || spent < self.units_for_thin_flush() && read < 2 * budget::READ_BYTES
    }

    /// Units that serving may spend because a flush would make many writes of a few bytes each: so
    /// many that those are a small part of the turn. Nothing if it would make few, or large ones.
    fn units_for_thin_flush(&self) -> u64 {
        let writes = self.engine.schedule.thin_writes(budget::THIN_BYTES) as u64;
        (writes * budget::WRITE * THIN_PART).min(2 * self.engine.budget.units())
    }

    /// Serves a few of the connections that may be in a handshake, which is much work for each.
    fn serve_settling(&mut self, now: Instant) {
        let until = self.engine.budget.spent() + self.engine.budget.share();
        for _ in 0..self.engine.schedule.settling() {
            if self.engine.budget.spent() >= until {
                return;
            }
            let Some(token) = self.engine.schedule.next_settling() else { return };
            self.serve_one(token, now);
        }
    }

    /// Heeds what a call of the sockets has brought about beside the bytes; whether it is to be
    /// made again.
    fn heed_news(&mut self, token: Token) -> bool {
        let Some(news) = self.sockets.take_news() else { return false };
        self.engine.budget.charge(news.units);
        if let Some(peer) = news.peer {
            self.engine.set_peer(token, peer);
        }
        if let Some(why) = news.refused {
            self.engine.handshake_has_failed(token, why);
        }
        if news.settled {
            self.engine.schedule.settle(token);
            self.engine.writable(token);
        }
        news.again
    }

    /// Serves a few of the connections that have ended their sending side.
    fn serve_ending(&mut self, now: Instant) {
        let until = self.engine.budget.spent() + self.engine.budget.share();
        let (.., ending) = self.engine.schedule.to_serve();
        for _ in 0..ending {
            if self.engine.budget.spent() >= until {
                return;
            }
            let Some(token) = self.engine.schedule.next_ending() else { return };
            self.engine.budget.charge_turn(budget::CLOSE);
            self.serve_one(token, now);
        }
    }

    /// Reads one connection once, or goes on with what it sent before. Returns how many bytes it
    /// brought in.
    fn serve_one(&mut self, token: Token, now: Instant) -> usize {
        self.engine.budget.begin_connection();
        let (mut progress, count) = match self.engine.next_input(token) {
            Input::Wait => {
                if self.engine.schedule.has_failed(token) {
                    self.engine.connection_failed(token);
                }
                return 0;
            }
            Input::Resume => (self.engine.resume(token, now), 0),
            Input::Discard => {
                self.discard(token);
                return DISCARD_BYTES;
            }
            Input::Read(mut filling) => {
                self.engine.budget.charge(budget::READ);
                let spare = filling.spare(self.read_bytes);
                let wanted = spare.len();
                let read = self.sockets.read(token, spare);
                let count = read.as_ref().map_or(0, |count| *count);
                let again = self.heed_news(token);
                let has_ended = self.engine.schedule.has_ended(token);
                let is_readable = count == wanted || (has_ended && count > 0) || again;
                self.engine.schedule.set_readable(token, is_readable);
                let progress = self.engine.received(token, filling, count, !is_readable, now);
                match read {
                    Ok(0) => self.engine.end_of_input(token),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => self.engine.connection_failed(token),
                }
                (progress, count)
            }
        };
        while progress == Progress::FlushFirst {
            self.flush_first(now);
            progress = self.engine.resume(token, now);
        }
        let is_readable = self.engine.schedule.is_readable(token);
        if progress == Progress::Yield || (is_readable && !self.engine.is_waiting(token)) {
            let spent = self.engine.budget.is_share_used();
            self.engine.schedule.make_ready_again(token, spent);
        }
        count
    }

    /// Reads and throws away what comes behind the end of a conversation.
    fn discard(&mut self, token: Token) {
        self.engine.budget.charge(budget::READ);
        let read = self.sockets.read(token, &mut self.discarded);
        self.heed_news(token);
        match read {
            Ok(0) => {
                self.engine.schedule.set_readable(token, false);
                self.engine.end_of_input(token);
            }
            Ok(_) => self.engine.schedule.make_ready(token),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.engine.schedule.set_readable(token, false);
            }
            Err(_) => self.engine.connection_failed(token),
        }
    }

    /// Ends a turn: nothing was freed before, and all that has ended goes now. A driver calls it by
    /// itself behind a change of the engine between two turns.
    pub fn end(&mut self, now: Instant) {
        self.engine.end_turn(now);
        for token in self.engine.take_shutdowns() {
            self.sockets.shut_down(token);
        }
        for token in self.engine.take_gone(now) {
            self.sockets.close(token);
        }
        self.engine.reap();
    }
}

#[cfg(test)]
mod tests;
