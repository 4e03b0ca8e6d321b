//! Decides: who may say what, who receives what, who waits and who is closed.
//!
//! Owns all connections and everything that waits in memory. Performs no I/O: no socket, no clock.
//! Bytes come in and go out through a [`Turn`](turn::Turn) over any [`Sockets`](turn::Sockets), and
//! the time comes in as `now`. It has rooms, each of which owns its state:
//!
//! | room | owns |
//! | --- | --- |
//! | `buffers` | bytes: chunks, inboxes, outboxes |
//! | `routing` | subscriptions, routes, queue groups |
//! | `sessions` | connections, requests and notices, deadlines, closing |
//! | `delivery` | runs, admission, delivery, what is waited for, the limit of memory |
//! | `turn` | who is served and flushed, and in which order |
//!
//! `budget` has the prices of all work, `reports` what the log tells of connections. What stands in
//! this file and in `impl Engine` blocks of the rooms touches several of them.
//!
//! Nothing is freed inside a turn: whatever goes wrong with a connection sets its close reason, and
//! it is reaped at the end of the turn.

use std::num::NonZeroU64;
use std::time::Instant;

use slab::Slab;

pub mod access;
pub mod budget;
mod buffers;
#[cfg(test)]
mod by_hand;
pub mod close_reason;
mod delivery;
pub mod inspect;
mod journal;
pub mod link;
pub(crate) mod reports;
pub mod routing;
pub mod rules;
pub mod sessions;
#[cfg(test)]
mod simulation;
pub mod stats;
pub mod token;
pub mod turn;

use access::{Access, Peer};
use budget::Budget;
use buffers::chunk::{Filling, Pool};
use buffers::outbox::Outbox;
use close_reason::CloseReason;
use delivery::memory::Memory;
use delivery::waits::{Obstacle, Waits};
use delivery::{Admission, Encoder, Series};
use inspect::Crowd;
use journal::Journal;
use link::Link;
use reports::Reports;
use routing::Index;
use rules::Rules;
use sessions::closing::Departures;
use sessions::connection::{Connection, Role, State};
use sessions::liveness::Deadlines;
use sessions::nats_requests::Identity;
use sessions::protocol::Protocol;
use sessions::requests::MAX_ANSWER_BYTES;
use stats::Stats;
use token::Token;
use turn::Schedule;

/// The part of a read by which a chunk is larger than it, for the beginning of a frame that the
/// read before has left. Without it, frames of about half a read would come one in a read, each
/// copied in front of the next.
const HEADROOM_PART: usize = 4;
/// Connections, and a subscription for each, that address space is set aside for at the start. It
/// costs no memory before they come, and growing a table of them would leave its old places behind.
const RESERVED: usize = 64 << 10;

const _: () = assert!(stats::REASONS == CloseReason::ALL.len(), "each reason is counted");

/// What to do about a connection that may have something to read.
pub(crate) enum Input {
    /// Nothing; it is made ready again when there is.
    Wait,
    /// Read into this, then [`Engine::received`].
    Read(Filling),
    /// Call [`Engine::resume`]: there is something from before.
    Resume,
    /// Read and throw away.
    Discard,
}

/// How far what was read has been processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// As far as it can be for now.
    Done,
    /// The connection has used up its share: it goes on behind the others.
    Yield,
    /// Outboxes are full that may only need a flush: flush those of
    /// [`Engine::take_flush_first`], then [`Engine::resume`].
    FlushFirst,
}

/// All connections and what they want of each other.
pub struct Engine {
    id: String,
    rules: Rules,
    pool: Pool,
    connections: Slab<Connection>,
    index: Index,
    deadlines: Deadlines,
    departures: Departures,
    admission: Admission,
    encoder: Encoder,
    series: Series,
    waits: Waits,
    memory: Memory,
    schedule: Schedule,
    budget: Budget,
    stats: Stats,
    journal: Journal,
    reports: Reports,
    access: Access,
    link: Option<Box<Link>>,
    /// Grows with each connection, so that no two are mistaken for each other.
    epoch: NonZeroU64,
    /// What NATS clients are told of the broker.
    identity: Identity,
    /// Connections over the limit that are being told so.
    refused: usize,
    /// Connections by what they are for.
    crowd: Crowd,
    /// When the first connection came; the connections count their age from then.
    started: Option<Instant>,
    draining: bool,
    is_counting_topics: bool,
}

impl Engine {
    /// An engine without connections, called `id` in WELCOME. It reads up to
    /// `read_bytes` at once, into chunks a little larger.
    pub fn new(rules: Rules, read_bytes: usize, id: String) -> Engine {
        let expected = rules.max_connections.min(RESERVED);
        Engine {
            id,
            pool: Pool::new(read_bytes + read_bytes / HEADROOM_PART),
            connections: Slab::with_capacity(expected),
            index: Index::new(expected),
            deadlines: Deadlines::default(),
            departures: Departures::default(),
            admission: Admission::default(),
            encoder: Encoder::default(),
            series: Series::default(),
            waits: Waits::default(),
            memory: Memory::default(),
            schedule: Schedule::default(),
            budget: Budget::default(),
            stats: Stats::default(),
            journal: Journal::default(),
            reports: Reports::default(),
            access: Access::default(),
            link: None,
            epoch: NonZeroU64::MIN,
            identity: Identity::default(),
            refused: 0,
            crowd: Crowd::default(),
            started: None,
            draining: false,
            is_counting_topics: false,
            rules,
        }
    }

    /// What is known of a client without its word: to be said before the turn in which that is
    /// asked for.
    pub fn set_peer(&mut self, token: Token, peer: Peer) {
        self.connections[token.index()].peer = Some(Box::new(peer));
    }

    /// A client has connected from `address` (for people). Over `max_connections` it is
    /// told so and closed.
    pub(crate) fn accept(&mut self, role: Role, address: &str, now: Instant) -> Token {
        self.stats.connections += 1;
        let is_full = self.is_full();
        let token = self.insert(role, address, now);
        if role.protocol == Protocol::Nats {
            self.welcome_nats(token, now);
        }
        if is_full {
            self.refused += 1;
            self.stats.refused += 1;
            self.connections[token.index()].refused = true;
            self.close(token, CloseReason::TooManyConnections, now);
        }
        if self.connections[token.index()].state == State::Handshake {
            self.expect_hello(token, now);
        }
        token
    }

    /// A connection is there that was not, and nothing is known of it.
    fn insert(&mut self, role: Role, address: &str, now: Instant) -> Token {
        *self.crowd.of(role) += 1;
        let started = *self.started.get_or_insert(now);
        self.epoch = self.epoch.saturating_add(1);
        let mut connection = Connection::new(role, address, self.epoch, now);
        connection.connected = inspect::tenths(now.saturating_duration_since(started));
        let token = Token::new(self.connections.insert(connection));
        self.schedule.insert(token);
        token
    }

    /// Whether another connection would be refused.
    pub fn is_full(&self) -> bool {
        self.connections.len() - self.refused >= self.rules.max_connections
    }

    /// Whether a token names a connection whose socket is open.
    pub(crate) fn is_connected(&self, token: Token) -> bool {
        let found = self.connections.get(token.index());
        found.is_some_and(|it| !matches!(it.state, State::Gone | State::Adrift))
    }

    /// Whether a connection is not read, since it waits for something.
    pub(crate) fn is_waiting(&self, token: Token) -> bool {
        self.waits.is_parked(token)
    }

    /// Connections that are not reaped yet.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// What happened since the start.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Bytes that in- and outboxes occupy, and connections that wait.
    pub fn memory_held(&self) -> usize {
        self.pool.held() + self.waits.bytes()
    }

    /// Whether to stop accepting: the broker is shutting down.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// What waits to be written to a connection.
    pub(crate) fn outbox(&self, token: Token) -> &Outbox {
        &self.connections[token.index()].outbox
    }

    /// What to do about a connection that may have something to read.
    pub(crate) fn next_input(&mut self, token: Token) -> Input {
        let is_readable = self.schedule.is_readable(token);
        let connection = &self.connections[token.index()];
        match connection.state {
            State::Closing | State::Discarding if is_readable => Input::Discard,
            State::Handshake | State::Open if !self.waits.is_parked(token) => {
                if connection.inbox.has_backlog() {
                    Input::Resume
                } else if is_readable {
                    self.fill(token)
                } else {
                    Input::Wait
                }
            }
            _ => Input::Wait,
        }
    }

    /// The socket took `count` bytes of the outbox.
    pub(crate) fn sent(&mut self, token: Token, count: usize, now: Instant) {
        self.stats.bytes_out += count as u64;
        let connection = &mut self.connections[token.index()];
        // A queue only grows from one write to the next, so it is longest right before one.
        connection.highest_queue = connection.highest_queue.max(connection.outbox.queued());
        if connection.outbox.consume(count) {
            connection.showed_life(now);
        }
        let queued = connection.outbox.queued();
        if let Some(session) = &mut connection.nats {
            session.is_too_slow &= queued > self.rules.nats.outbox_bytes / 4 * 3;
            let is_blocked = session.blocked.is_some() && !connection.outbox.is_empty();
            session.blocked = is_blocked.then_some(now);
        }
        connection.update_room(&self.rules);
        let answers = connection.outbox.answers();
        if connection.stall.is_some() {
            self.note_taken(token, count);
        }
        if answers <= MAX_ANSWER_BYTES && self.waits.is_parked(token) {
            self.waits.wake(Obstacle::Answers(token), &mut self.schedule);
        }
        self.after_progress(token);
    }

    /// The socket takes no more for now.
    pub(crate) fn blocked(&mut self, token: Token, now: Instant) {
        self.schedule.set_blocked(token);
        self.memory.note_holder(token);
        if let Some(session) = &mut self.connections[token.index()].nats
            && session.blocked.is_none()
        {
            session.blocked = Some(now);
            self.arm(token);
        }
    }

    /// The socket may take more again.
    pub(crate) fn writable(&mut self, token: Token) {
        if !self.connections[token.index()].outbox.is_empty() {
            self.schedule.mark_dirty(token);
        }
    }

    /// Ends a turn: gives up subscriptions of connections that leave, sees to memory, and tells the
    /// log what is due.
    pub(crate) fn end_turn(&mut self, now: Instant) {
        self.give_up_subscriptions();
        self.end_turn_of_link(now);
        self.end_turn_of_memory(now);
        self.report(now);
    }
}
