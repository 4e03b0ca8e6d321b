//! What is done so that memory stays within `memory_bytes`.
//!
//! Owns the decision to read or not, to copy slices out of sparse chunks, and whom to close when
//! the policy says so. The counting itself is done by the chunks.

use std::time::Instant;

use log::warn;

use super::chunk::Pool;
use super::close_reason::CloseReason;
use super::connection::{Role, State};
use super::receive::Stop;
use super::rules::OverflowPolicy;
use super::{Broker, Input, Token, WORK_IN_A_TURN};
use wire::native::frame::{LENGTH_OVERHEAD, MAX_CONTROL_LENGTH};

/// Beyond `memory_bytes`, the policies that go on reading when outboxes are full may use this much
/// more for frames that have begun.
const READING_RESERVE: usize = 16 << 20;
/// The part of `memory_bytes` that outboxes leave under these policies: for what is read before it
/// is delivered or dropped, for what compaction holds twice, and for the allocator, which keeps
/// about a tenth in holes when many queues are closed (measured with 1,000 of them).
const OUTBOX_MARGIN: usize = 8;
/// The part of `memory_bytes` that may be used beyond it to end frames that have begun.
const RESCUE_PART: usize = 32;

impl Broker {
    /// Ends a turn: copies out of sparse chunks, and looks whether memory allows more reading or
    /// demands that somebody goes.
    pub fn end_turn(&mut self, now: Instant) {
        self.index.begin_turn(WORK_IN_A_TURN);
        // With both inequalities kept, held <= 4 * wanted + one chunk: what is not sparse is at
        // least half wanted, and it is at least half of all.
        let (sparse, held) = (self.pool.sparse(), self.pool.held());
        if sparse > self.pool.chunk_bytes() && sparse * 2 > held {
            self.compact();
        }
        if self.rules.policy == OverflowPolicy::Disconnect {
            self.close_the_largest(now);
        }
        self.blame_for_starvation(now);
        // Where nobody waits for outboxes, they alone must not keep it from being reached.
        let resume_below = match self.rules.policy {
            OverflowPolicy::Block => self.rules.memory_bytes / 8 * 7,
            OverflowPolicy::Drop | OverflowPolicy::Disconnect => self.rules.memory_bytes,
        };
        if self.is_starving && self.pool.held() + self.pool.chunk_bytes() <= resume_below {
            self.end_starvation();
        } else if self.is_starving {
            self.rescue();
        }
    }

    /// A chunk to read into, if memory allows. What is not a message is read even so: it is short,
    /// and clients must not be found silent because others are slow. But not of whoever does not
    /// read its answers, or thousands of those would hold more than there is.
    pub(super) fn fill(&mut self, token: Token) -> Input {
        let connection = &mut self.connections[token.index()];
        connection.rescued &= connection.inbox.has_begun();
        if connection.rescued {
            return self.fill_frame(token);
        }
        let wanted = connection.inbox.reservation(&self.pool);
        let limit = self.reading_limit();
        let is_full = |pool: &Pool| wanted > 0 && pool.held() + wanted > limit;
        if is_full(&self.pool) && self.pool.sparse() > self.pool.chunk_bytes() {
            self.compact();
        }
        let connection = &mut self.connections[token.index()];
        let is_brief = connection.role == Role::Subscriber || connection.state == State::Handshake;
        let reads_no_answers = !connection.writable && connection.outbox.answers() > 0;
        if !is_full(&self.pool) {
            Input::Read(connection.inbox.fill(&self.pool))
        } else if is_brief && !reads_no_answers {
            let mut filling = connection.inbox.fill(&self.pool);
            filling.restrict_to(LENGTH_OVERHEAD + MAX_CONTROL_LENGTH);
            Input::Read(filling)
        } else {
            self.starve(token);
            Input::Wait
        }
    }

    /// The same for one that may end its frame beyond the limit: there is room for the whole of
    /// it at once, or it would stop in the middle and wait for others that wait for it.
    fn fill_frame(&mut self, token: Token) -> Input {
        let limit = self.reading_limit() + self.rescue_reserve();
        let inbox = &mut self.connections[token.index()].inbox;
        let wanted = inbox.frame_reservation(&self.pool);
        // What fits into a chunk is in one already, which the next one takes the place of.
        if wanted <= self.pool.chunk_bytes() || self.pool.held() + wanted <= limit {
            return Input::Read(inbox.fill_frame(&self.pool));
        }
        self.starve(token);
        Input::Wait
    }

    /// Up to where there is memory for reading.
    fn reading_limit(&self) -> usize {
        match self.rules.policy {
            OverflowPolicy::Block => self.rules.memory_bytes,
            OverflowPolicy::Drop | OverflowPolicy::Disconnect => {
                self.rules.memory_bytes + READING_RESERVE
            }
        }
    }

    /// Up to where there is memory for outboxes.
    fn outbox_limit(&self) -> usize {
        let limit = self.rules.memory_bytes;
        match self.rules.policy {
            OverflowPolicy::Block => limit,
            OverflowPolicy::Drop | OverflowPolicy::Disconnect => limit - limit / OUTBOX_MARGIN,
        }
    }

    /// Whether outboxes have used up what there is.
    pub(super) fn memory_is_full(&self) -> bool {
        self.pool.held() > self.outbox_limit()
    }

    /// Whether what a publisher sent must wait although it was read: each message costs a slice for
    /// each of its receivers, which together may be far more than the read was.
    pub(super) fn is_beyond_memory(&self, publisher: Token) -> bool {
        if self.pool.held() <= self.rules.memory_bytes {
            return false;
        }
        let rescued = self.connections[publisher.index()].rescued;
        let reserve = if rescued { self.rescue_reserve() } else { 0 };
        self.rules.policy == OverflowPolicy::Block
            && self.pool.held() > self.rules.memory_bytes + reserve
    }

    /// What comes behind the last message waits, first for a flush, then for memory.
    pub(super) fn stop_for_memory(&mut self, publisher: Token) -> Stop {
        if self.has_dirty() {
            return Stop::FlushFirst;
        }
        self.starve(publisher);
        Stop::Parked
    }

    /// Remembers a connection that holds chunks from one turn to the next.
    pub(super) fn note_backlog(&mut self, token: Token) {
        let connection = &mut self.connections[token.index()];
        if !connection.backlogged {
            connection.backlogged = true;
            self.backlogged.push(token);
        }
    }

    /// Copies what is wanted out of all sparse chunks.
    fn compact(&mut self) {
        self.stats.compactions += 1;
        let (connections, pool) = (&mut self.connections, &self.pool);
        self.backlogged.retain(|token| {
            let Some(connection) = connections.get_mut(token.index()) else {
                return false;
            };
            if connection.outbox.is_empty() && connection.inbox.is_empty() {
                connection.backlogged = false;
                connection.forget_unfinished();
                return false;
            }
            connection.outbox.compact(pool);
            connection.inbox.compact(pool);
            true
        });
    }

    /// Memory is full: the connection is not read until there is some again.
    fn starve(&mut self, token: Token) {
        if !self.is_starving {
            self.is_starving = true;
            self.stats.memory_pauses += 1;
            warn!(
                "memory_bytes is reached: slow subscribers and unfinished frames hold {} bytes; \
                 publishers are not read until some are free",
                self.pool.held()
            );
        }
        self.starved.push(token);
        self.connections[token.index()].starved = true;
    }

    /// Whoever has something queued while memory is full holds up everybody, and so does whoever
    /// has begun a frame and could end it.
    fn blame_for_starvation(&mut self, now: Instant) {
        if !self.is_starving {
            return;
        }
        for position in 0..self.backlogged.len() {
            let token = self.backlogged[position];
            let Some(connection) = self.connections.get_mut(token.index()) else {
                continue;
            };
            let holds_up = !connection.outbox.is_empty();
            let is_new = if holds_up && connection.holding_up.is_none() {
                connection.holds_up(now);
                true
            } else if connection.owes_the_rest() {
                let since = &mut connection.trouble_mut().unfinished_since;
                since.replace(since.unwrap_or(now)).is_none()
            } else {
                connection.forget_unfinished();
                false
            };
            if is_new {
                self.arm(token);
            }
        }
    }

    /// If frames that have begun have used up all memory, none of them could ever be ended. So
    /// they are read on to their end, as many at a time as the reserve has room for.
    fn rescue(&mut self) {
        let limit = self.reading_limit() + self.rescue_reserve();
        let mut room = limit.saturating_sub(self.pool.held());
        let (connections, pool) = (&mut self.connections, &self.pool);
        let resumed = &mut self.resumed;
        self.starved.retain(|&token| {
            let Some(connection) = connections.get_mut(token.index()) else { return false };
            let wanted = connection.inbox.frame_reservation(pool);
            if connection.inbox.is_empty() || wanted > room {
                return true;
            }
            room -= wanted;
            (connection.starved, connection.rescued) = (false, true);
            resumed.push(token);
            false
        });
    }

    /// What may be used beyond the limit to end frames that have begun: enough for one of any
    /// size.
    fn rescue_reserve(&self) -> usize {
        let largest = self.rules.max_payload + usize::from(u16::MAX) + self.pool.chunk_bytes();
        largest.max(self.rules.memory_bytes / RESCUE_PART)
    }

    pub(super) fn end_starvation(&mut self) {
        self.is_starving = false;
        for token in std::mem::take(&mut self.starved) {
            if let Some(connection) = self.connections.get_mut(token.index()) {
                connection.starved = false;
                self.resumed.push(token);
            }
        }
        for token in &self.backlogged {
            let Some(connection) = self.connections.get_mut(token.index()) else { continue };
            connection.rescued = false;
            connection.forget_unfinished();
            if !connection.has_waiters() {
                connection.holding_up = None;
            }
        }
    }

    /// Under the policy `disconnect`: closes subscribers, the one with the longest queue first,
    /// until memory is within its limit. What was held when that was lowered may drain instead.
    fn close_the_largest(&mut self, now: Instant) {
        self.spared = self.spared.min(self.pool.held());
        while self.memory_is_full() && self.pool.held() > self.spared {
            let queued = |token: &Token| {
                let found = self.connections.get(token.index());
                let open = found.filter(|found| found.state == State::Open);
                open.map_or(0, |open| open.outbox.queued())
            };
            let largest = self.backlogged.iter().copied().max_by_key(queued);
            let Some(largest) = largest.filter(|token| queued(token) > 0) else { return };
            let before = self.pool.held();
            self.close(largest, CloseReason::SlowConsumer, now);
            if self.pool.held() >= before {
                return;
            }
        }
    }
}
