//! Decides: who may say what, who receives what, who waits and who is closed.
//!
//! Owns all connections and everything that waits in memory. Performs no I/O: no socket, no clock.
//! Bytes that were read come in through [`Broker::received`], bytes to write are found in
//! [`Broker::outbox`], and the time comes in as `now`. The net layer drives it, one turn after
//! the other:
//!
//! 1. For each connection with something to read, ask [`Broker::next_input`] what to do, do it,
//!    and go on with [`Broker::carry_on`] after a flush as long as [`Progress::FlushFirst`] comes.
//! 2. Flush each connection of [`Broker::take_dirty`]: write its outbox, report with
//!    [`Broker::sent`] and [`Broker::blocked`].
//! 3. Call [`Broker::expire`] when [`Broker::next_deadline`] has come.
//! 4. Call [`Broker::end_turn`], carry out what it leaves in [`Broker::take_shutdowns`] and
//!    [`Broker::take_gone`], and look again at the connections of [`Broker::take_resumed`].
//!
//! Nothing is freed inside a turn: whatever goes wrong with a connection sets its close reason,
//! and it is reaped by [`Broker::take_gone`].

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use slab::Slab;

use wire::native::error_code::ErrorCode;
use wire::native::frame;
use wire::topic::MAX_TOPIC_BYTES;

#[cfg(test)]
mod by_hand;
pub mod chunk;
pub mod close_reason;
mod closing;
pub mod connection;
mod deadlines;
mod deliver;
mod full_groups;
mod inbox;
pub mod inspect;
mod memory;
pub mod outbox;
mod receive;
mod route_cache;
mod rule_change;
pub mod rules;
mod runs;
#[cfg(test)]
mod simulation;
pub mod stats;
pub mod topic_counts;
pub mod topic_index;
mod trie;
mod waiting;

use chunk::{Filling, Pool};
use close_reason::CloseReason;
use connection::{Connection, Role, State};
use deadlines::Deadlines;
use deliver::Interrupted;
use full_groups::FullGroups;
use outbox::Outbox;
use rules::Rules;
use stats::Stats;
use topic_index::TopicIndex;

/// While more than this many bytes of answers wait for a client, it is not read.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Writing less than this to a socket costs more for the call than for the bytes.
const THIN_BYTES: usize = 4 << 10;
/// Nodes of the trie that topics which are not cached may visit in a turn: a millisecond or two.
const WORK_IN_A_TURN: u64 = 20_000;
/// All that closing takes is done this long after the decision to close.
const CLOSING_TIME: Duration = Duration::from_secs(1);
/// Refused connections that may take their time to close; more are told why and closed at once.
const MAX_REFUSALS: usize = 256;
/// The part of a read by which a chunk is larger than it, for the beginning of a frame that the
/// read before has left. Without it, frames of about half a read would come one in a read, each
/// copied in front of the next.
const HEADROOM_PART: usize = 4;
/// Connections, and a subscription for each, that address space is set aside for at the start. It
/// costs no memory before they come, and growing a table of them would leave its old places behind.
const RESERVED: usize = 64 << 10;

const _: () = assert!(stats::REASONS == CloseReason::ALL.len(), "each reason is counted");

/// Names a connection: the slab's key, used again after the connection is reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u32);

impl Token {
    /// The token with this index.
    ///
    /// # Panics
    /// If there are more than 2^32 connections, which no machine holds.
    pub fn new(index: usize) -> Token {
        Token(u32::try_from(index).expect("fewer than 2^32 connections"))
    }

    /// Its index: small, and free ones are used again.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What to do about a connection that may have something to read.
pub enum Input {
    /// Nothing; it comes back in [`Broker::take_resumed`] when there is.
    Wait,
    /// Read into this, then [`Broker::received`].
    Read(Filling),
    /// Call [`Broker::carry_on`]: there is something from before.
    CarryOn,
    /// Read and throw away.
    Discard,
}

/// How far what was read has been carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// As far as it can be for now.
    Done,
    /// An outbox is full that may only need a flush: flush the dirty ones, then
    /// [`Broker::carry_on`].
    FlushFirst,
}

/// All connections and what they want of each other.
pub struct Broker {
    id: String,
    rules: Rules,
    connections: Slab<Connection>,
    index: TopicIndex,
    pool: Pool,
    deadlines: Deadlines,
    stats: Stats,
    /// Grows with each connection and each wait, so that no two are mistaken for each other.
    epoch: NonZeroU64,
    refused: usize,
    /// Publishers and subscribers that are connected.
    by_role: [usize; 2],
    /// When the first connection came; the connections count their age from then.
    started: Option<Instant>,
    draining: bool,
    dirty: Vec<Token>,
    /// Bytes of messages queued since the last flush, for each receiver.
    queued: usize,
    resumed: Vec<Token>,
    /// The same for those that have had their share of the turn's work: the others come first.
    resumed_last: Vec<Token>,
    shutdowns: Vec<Token>,
    gone: Vec<Token>,
    /// Connections that hold chunks from one turn to the next.
    backlogged: Vec<Token>,
    /// Connections that are not read until there is memory.
    starved: Vec<Token>,
    /// Memory is full and publishers are not read.
    is_starving: bool,
    full_groups: FullGroups,
    /// Memory that was held when the rules last changed: nobody is closed for that.
    spared: usize,
    interrupted: Option<Interrupted>,
}

impl Broker {
    /// A broker without connections, called `id` in WELCOME. It reads up to
    /// `read_bytes` at once, into chunks a little larger.
    pub fn new(rules: Rules, read_bytes: usize, id: String) -> Broker {
        let expected = rules.max_connections.min(RESERVED);
        let mut index = TopicIndex::new(expected);
        index.begin_turn(WORK_IN_A_TURN);
        Broker {
            id,
            pool: Pool::new(read_bytes + read_bytes / HEADROOM_PART),
            connections: Slab::with_capacity(expected),
            index,
            deadlines: Deadlines::default(),
            stats: Stats::default(),
            epoch: NonZeroU64::MIN,
            refused: 0,
            by_role: [0; 2],
            started: None,
            draining: false,
            dirty: Vec::new(),
            queued: 0,
            resumed: Vec::new(),
            resumed_last: Vec::new(),
            shutdowns: Vec::new(),
            gone: Vec::new(),
            backlogged: Vec::new(),
            starved: Vec::new(),
            is_starving: false,
            full_groups: FullGroups::default(),
            spared: 0,
            interrupted: None,
            rules,
        }
    }

    /// A client has connected from `address` (for people). Over `max_connections` it is
    /// told so and closed.
    pub fn accept(&mut self, role: Role, address: &str, now: Instant) -> Token {
        self.stats.connections += 1;
        self.by_role[role as usize] += 1;
        let started = *self.started.get_or_insert(now);
        let epoch = self.next_epoch();
        let full = self.is_full();
        let mut connection = Connection::new(role, address, epoch, now);
        connection.connected = inspect::tenths(now.saturating_duration_since(started));
        let token = Token::new(self.connections.insert(connection));
        if full {
            self.refused += 1;
            self.stats.refused += 1;
            self.connections[token.index()].refused = true;
            self.close(token, CloseReason::TooManyConnections, now);
        }
        self.expect_hello(token, now);
        token
    }

    fn next_epoch(&mut self) -> NonZeroU64 {
        self.epoch = self.epoch.saturating_add(1);
        self.epoch
    }

    /// Whether another connection would be refused.
    pub fn is_full(&self) -> bool {
        self.connections.len() - self.refused >= self.rules.max_connections
    }

    /// Whether a connection has something from before to be carried out.
    pub fn has_backlog(&self, token: Token) -> bool {
        let found = self.connections.get(token.index());
        found.is_some_and(|connection| connection.inbox.has_backlog())
    }

    /// Connections that are not reaped yet.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// What happened since the start.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Bytes that in- and outboxes occupy.
    pub fn memory_held(&self) -> usize {
        self.pool.held()
    }

    /// Subscriptions of all connections, filters that somebody holds, and topics whose route is
    /// cached.
    pub fn index_sizes(&self) -> (usize, usize, usize) {
        (self.index.subscriptions(), self.index.filters(), self.index.cached_topics())
    }

    /// Whether to stop accepting: the broker is shutting down.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// What waits to be written to a connection.
    pub fn outbox(&self, token: Token) -> &Outbox {
        &self.connections[token.index()].outbox
    }

    /// The connections to flush, each once.
    pub fn take_dirty(&mut self, into: &mut Vec<Token>) {
        self.queued = 0;
        into.append(&mut self.dirty);
        for token in into {
            self.connections[token.index()].dirty = false;
        }
    }

    /// Whether [`take_dirty`](Broker::take_dirty) has something to give.
    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Whether a flush now would write only a little to each of many: whoever has more to read
    /// should read on, so that a write carries several messages.
    pub fn is_thin(&self) -> bool {
        self.queued < self.dirty.len() * THIN_BYTES
    }

    /// Connections that may be read, or carried on with, again.
    pub fn take_resumed(&mut self) -> Vec<Token> {
        self.resumed.append(&mut self.resumed_last);
        std::mem::take(&mut self.resumed)
    }

    /// What to do about a connection that may have something to read; `readable` tells whether
    /// its socket may have.
    pub fn next_input(&mut self, token: Token, readable: bool) -> Input {
        let Some(connection) = self.connections.get(token.index()) else {
            return Input::Wait;
        };
        match connection.state {
            State::Closing | State::Discarding if readable => Input::Discard,
            State::Handshake | State::Open if !connection.is_unread() => {
                if connection.inbox.has_backlog() {
                    Input::CarryOn
                } else if readable {
                    self.fill(token)
                } else {
                    Input::Wait
                }
            }
            _ => Input::Wait,
        }
    }

    /// The socket took `count` bytes of the outbox.
    pub fn sent(&mut self, token: Token, count: usize, now: Instant) {
        self.stats.bytes_out += count as u64;
        let connection = &mut self.connections[token.index()];
        // A queue only grows from one write to the next, so it is longest right before one.
        connection.highest_queue = connection.highest_queue.max(connection.outbox.queued());
        if connection.outbox.consume(count) {
            connection.showed_life(now);
        }
        if let Some(holding_up) = &mut connection.holding_up {
            holding_up.taken += count as u64;
        }
        if connection.is_in_full_group() {
            self.full_groups.forget_who_is_full();
        }
        if connection.awaits_answers && connection.outbox.answers() <= MAX_ANSWER_BYTES {
            connection.awaits_answers = false;
            self.resumed.push(token);
        }
        // Publishers wait until it has drained to half; memory, which is nobody, until it is empty.
        let half = self.rules.outbox_bytes / 2;
        let connection = &self.connections[token.index()];
        let enough = if connection.has_waiters() { half } else { 0 };
        if connection.holding_up.is_some() && connection.outbox.queued() <= enough {
            self.release_waiters(token);
        }
        self.after_progress(token);
    }

    /// The socket takes no more for now.
    pub fn blocked(&mut self, token: Token) {
        self.connections[token.index()].writable = false;
        self.note_backlog(token);
    }

    /// The socket may take more again.
    pub fn writable(&mut self, token: Token) {
        let connection = &mut self.connections[token.index()];
        connection.writable = true;
        if connection.is_in_full_group() {
            self.full_groups.forget_who_is_full();
        }
        if !connection.outbox.is_empty() {
            self.mark_dirty(token);
            self.note_backlog(token);
        }
    }

    /// Queues a frame of the broker's own.
    fn answer(&mut self, token: Token, bytes: &[u8]) {
        self.connections[token.index()].outbox.push_answer(&self.pool, bytes);
        self.mark_dirty(token);
    }

    /// Refuses one frame and goes on; `about` is the topic or filter that it is about.
    fn refuse_frame(&mut self, token: Token, code: ErrorCode, about: &[u8], text: &str) {
        let about = &about[..about.len().min(MAX_TOPIC_BYTES)];
        let mut bytes = Vec::new();
        frame::encode_error(code, false, about, text, &mut bytes);
        self.answer(token, &bytes);
    }

    fn mark_dirty(&mut self, token: Token) {
        let connection = &mut self.connections[token.index()];
        if connection.writable && !connection.dirty {
            connection.dirty = true;
            self.dirty.push(token);
        }
    }
}
