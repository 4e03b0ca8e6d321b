//! What is done so that memory stays within `memory_bytes`.
//!
//! Owns the list of connections that hold chunks from one turn to the next, copying slices out of
//! sparse chunks, and which connection to close when the policy says so. Whether there is memory to
//! read is decided by `reading`; the counting itself is done by the chunks.

use std::collections::HashMap;
use std::time::Instant;

use super::waits::Obstacle;
use crate::engine::close_reason::CloseReason;
use crate::engine::rules::{OverflowPolicy, Rules};
use crate::engine::sessions::connection::State;
use crate::engine::token::Token;
use crate::engine::{Engine, budget};

/// The part of `memory_bytes` that outboxes leave under `drop` and `disconnect`: for what is read
/// before it is delivered or dropped, for what compaction holds twice, and for the allocator, which
/// keeps about a tenth in holes when many queues are closed (measured with 1,000 of them).
const OUTBOX_MARGIN: usize = 8;
/// So many connections in the list of holders are no reason to look which of them still hold.
const MANY_HOLDERS: usize = 64;

/// The connection stands in the list of holders.
const HOLDER: u8 = 1;
/// It was read though memory is full, for what is no message.
pub(super) const NO_MESSAGES: u8 = 1 << 2;
/// It may end the frame that it has begun though memory is full.
pub(super) const MAY_FINISH: u8 = 1 << 1;

/// The state of memory.
#[derive(Default)]
pub(crate) struct Memory {
    /// Memory is full, and publishers are not read.
    is_full: bool,
    /// Connections that hold chunks from one turn to the next, and some that did.
    holders: Vec<Token>,
    /// When there are so many, those that hold nothing any more are removed.
    prune_at: usize,
    /// By token.
    marks: Vec<u8>,
    /// While memory is full: connections that could end the frame that they have begun, since when.
    unfinished: HashMap<Token, Instant>,
    /// The first of these, or earlier.
    first_unfinished: Option<Instant>,
    /// Memory that was held when the rules last changed: no connection is closed for that.
    exempt: usize,
}

impl Memory {
    /// Whether memory is full, and publishers are not read.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// A connection holds chunks from one turn to the next.
    pub(crate) fn note_holder(&mut self, token: Token) {
        if !self.has(token, HOLDER) {
            self.mark(token, HOLDER, true);
            self.holders.push(token);
        }
    }

    /// A connection is reaped.
    pub(crate) fn forget(&mut self, token: Token) {
        self.forget_frame(token);
        // Its entry in the list of holders counts no more without the mark.
        if let Some(marks) = self.marks.get_mut(token.index()) {
            *marks = 0;
        }
    }

    /// A connection owes no frame any more.
    pub(crate) fn forget_frame(&mut self, token: Token) {
        self.unfinished.remove(&token);
    }

    /// When the first frame that has begun must have ended, or earlier.
    pub(crate) fn next_frame_due(&self, rules: &Rules) -> Option<Instant> {
        self.first_unfinished.map(|since| since + rules.native.stall_timeout)
    }

    /// What is held now is held under earlier rules.
    pub(crate) fn exempt(&mut self, held: usize) {
        self.exempt = held;
    }

    /// Connections in the list of holders.
    #[cfg(test)]
    pub(crate) fn holders(&self) -> usize {
        self.holders.len()
    }

    /// Whether a connection may end its frame though memory is full.
    #[cfg(test)]
    pub(crate) fn may_finish(&self, token: Token) -> bool {
        self.has(token, MAY_FINISH)
    }

    pub(super) fn has(&self, token: Token, mark: u8) -> bool {
        self.marks.get(token.index()).is_some_and(|marks| marks & mark != 0)
    }

    pub(super) fn mark(&mut self, token: Token, mark: u8, value: bool) {
        if self.marks.len() <= token.index() {
            self.marks.resize(token.index() + 1, 0);
        }
        let marks = &mut self.marks[token.index()];
        *marks = if value { *marks | mark } else { *marks & !mark };
    }
}

impl Engine {
    /// What is done for memory at the end of a turn: copies out of sparse chunks, and looks whether
    /// it allows more reading or demands that a subscriber goes.
    pub(crate) fn end_turn_of_memory(&mut self, now: Instant) {
        self.prune_holders();
        // With both inequalities kept, held <= 4 * wanted + one chunk: what is not sparse is at
        // least half wanted, and it is at least half of all.
        let (sparse, held) = (self.pool.sparse(), self.pool.held());
        // What is left to flush goes in one of the next turns: as long as memory is far from its
        // limit, that is not copied first.
        let is_time = !self.schedule.has_dirty() || held * 2 > self.rules.memory_bytes;
        if is_time && sparse > self.pool.chunk_bytes() && sparse * 2 > held {
            self.compact();
        }
        if self.rules.has_policy(OverflowPolicy::Disconnect) {
            self.close_the_largest(now);
        }
        if !self.memory.is_full {
            return;
        }
        self.report_full_memory(now);
        self.measure_holders(now);
        // Where no publisher waits for outboxes, they alone must not keep it from being reached.
        let resume_below = match self.rules.has_policy(OverflowPolicy::Block) {
            true => self.rules.memory_bytes / 8 * 7,
            false => self.rules.memory_bytes,
        };
        if self.memory_held() + self.pool.chunk_bytes() <= resume_below {
            self.end_full_memory();
        } else {
            self.let_frames_end();
        }
    }

    /// Whether outboxes have used up what there is for receivers that do not block.
    pub(crate) fn memory_is_scarce(&self) -> bool {
        let limit = self.rules.memory_bytes;
        self.memory_held() > limit - limit / OUTBOX_MARGIN
    }

    /// Whether what a publisher sent must wait although it was read: each message costs a slice for
    /// each of its receivers, which together may be far more than the read was.
    pub(crate) fn is_beyond_memory(&self, publisher: Token) -> bool {
        let held = self.memory_held();
        if held <= self.rules.memory_bytes || !self.rules.has_policy(OverflowPolicy::Block) {
            return false;
        }
        let may_finish = self.memory.has(publisher, MAY_FINISH);
        let reserve = if may_finish { self.brief_reserve() + self.frame_reserve() } else { 0 };
        held > self.rules.memory_bytes + reserve
    }

    /// A connection waits for memory.
    pub(crate) fn note_memory_full(&mut self) {
        if !self.memory.is_full {
            self.memory.is_full = true;
            self.reports.memory_is_full();
            self.stats.memory_pauses += 1;
        }
    }

    /// Connections that hold something or may: the holders, and those that are to be flushed.
    pub(crate) fn holding(&self) -> Vec<Token> {
        let holders = self.memory.holders.iter().copied();
        let holders = holders.filter(|token| self.memory.has(*token, HOLDER));
        let mut tokens: Vec<_> = holders.chain(self.schedule.dirty()).collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }

    /// Removes those from the list of holders that hold nothing any more, when it has doubled.
    fn prune_holders(&mut self) {
        let (listed, connections) = (self.memory.holders.len(), self.connections.len());
        let has_doubled = listed >= self.memory.prune_at.max(MANY_HOLDERS);
        if !has_doubled && listed <= MANY_HOLDERS + 2 * connections {
            return;
        }
        let mut holders = std::mem::take(&mut self.memory.holders);
        self.budget.charge_turn(holders.len() as u64);
        holders.sort_unstable();
        holders.dedup();
        holders.retain(|&token| {
            if !self.memory.has(token, HOLDER) {
                return false;
            }
            let connection = &self.connections[token.index()];
            let holds = !(connection.outbox.is_empty() && connection.inbox.is_empty());
            // What is queued for one that is adrift makes no write by which it would come back.
            let holds = holds || connection.state == State::Adrift;
            if !holds {
                self.memory.mark(token, HOLDER, false);
            }
            holds
        });
        self.memory.prune_at = 2 * holders.len();
        self.memory.holders = holders;
    }

    /// Copies what is wanted out of all sparse chunks.
    pub(super) fn compact(&mut self) {
        self.stats.compactions += 1;
        let holding = self.holding();
        let mut copied = 0;
        for token in &holding {
            let connection = &mut self.connections[token.index()];
            copied += connection.outbox.compact(&self.pool, connection.role.protocol.walk());
            copied += connection.inbox.compact(&self.pool);
        }
        let looks = holding.len() as u64 * budget::LOOK;
        self.budget.charge_turn(looks + copied as u64 / budget::COPIED_BYTES);
    }

    /// While memory is full, a connection with something queued holds up all others, and so does
    /// one that has begun a frame and could end it.
    fn measure_holders(&mut self, now: Instant) {
        let holding = self.holding();
        self.budget.charge_turn(holding.len() as u64);
        for token in holding {
            let connection = &self.connections[token.index()];
            if !connection.outbox.is_empty() {
                self.begin_stall_for_memory(token, now);
            } else if self.owes_a_frame(token) {
                self.memory.unfinished.entry(token).or_insert(now);
                self.memory.first_unfinished.get_or_insert(now);
            } else {
                self.memory.forget_frame(token);
            }
        }
    }

    /// Whether a connection has begun a frame, and it is its turn to send the rest.
    fn owes_a_frame(&self, token: Token) -> bool {
        let connection = &self.connections[token.index()];
        let is_read = connection.state == State::Open && !self.waits.is_parked(token);
        is_read && connection.inbox.has_begun()
    }

    /// Closes connections that have had a `stall_timeout` to end the frame that they have begun,
    /// while memory is full.
    pub(crate) fn expire_frames(&mut self, now: Instant, until: u64) {
        if self.memory.next_frame_due(&self.rules).is_none_or(|due| due > now) {
            return;
        }
        self.budget.charge_turn(self.memory.unfinished.len() as u64 * budget::LOOK);
        let unfinished = self.memory.unfinished.iter().map(|(token, since)| (*since, *token));
        let mut unfinished: Vec<_> = unfinished.collect();
        unfinished.sort_unstable();
        self.memory.first_unfinished = None;
        for (since, token) in unfinished {
            // Whole frames are signs of life, parts of one are not.
            let since = since.max(self.connections[token.index()].since);
            if since + self.rules.native.stall_timeout > now || self.budget.spent() >= until {
                let first = &mut self.memory.first_unfinished;
                *first = Some(first.map_or(since, |first| first.min(since)));
            } else if self.owes_a_frame(token) {
                self.close(token, CloseReason::FrameTimeout, now);
            } else {
                // It is not read at the moment; its time begins anew when it is.
                self.memory.forget_frame(token);
            }
        }
    }

    /// There is memory again: all that wait for it are read.
    pub(crate) fn end_full_memory(&mut self) {
        self.memory.is_full = false;
        self.memory.unfinished.clear();
        self.memory.first_unfinished = None;
        self.waits.wake(Obstacle::Memory, &mut self.schedule);
        for token in self.holding() {
            self.memory.mark(token, MAY_FINISH | NO_MESSAGES, false);
            self.end_stall_for_memory(token);
        }
    }

    /// Closes subscribers with the policy `disconnect`, the one with the longest queue first,
    /// until memory is within its limit. What was held when that was lowered may drain instead.
    fn close_the_largest(&mut self, now: Instant) {
        self.memory.exempt = self.memory.exempt.min(self.memory_held());
        while self.memory_is_scarce() && self.memory_held() > self.memory.exempt {
            let holding = self.holding();
            self.budget.charge_turn(holding.len() as u64);
            let queued = |token: &Token| {
                let connection = &self.connections[token.index()];
                let rules = self.rules.of(connection.role.protocol);
                let may_go = rules.policy == OverflowPolicy::Disconnect;
                if may_go && connection.state == State::Open {
                    connection.outbox.queued()
                } else {
                    0
                }
            };
            let largest = holding.into_iter().max_by_key(queued);
            let Some(largest) = largest.filter(|token| queued(token) > 0) else { return };
            let before = self.memory_held();
            self.close(largest, CloseReason::SlowConsumer, now);
            if self.memory_held() >= before {
                return;
            }
        }
    }
}
