//! What is done so that memory stays within `memory_bytes`.
//!
//! Owns the decision to read or not, to copy slices out of sparse chunks, and whom to close when
//! the policy says so. The counting itself is done by the chunks.

use std::num::NonZeroU64;
use std::time::Instant;

use log::warn;

use super::close_reason::CloseReason;
use super::connection::State;
use super::rules::OverflowPolicy;
use super::{Broker, Input, Token};

/// Beyond `memory_bytes`, the policies that go on reading may use this much more for what they
/// read, before it is delivered or dropped.
const READING_RESERVE: usize = 16 << 20;

impl Broker {
    /// Ends a turn: copies out of sparse chunks, and looks whether memory allows more reading or
    /// demands that somebody goes.
    pub fn end_turn(&mut self, now: Instant) {
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
        let resume_below = self.rules.memory_bytes / 8 * 7;
        if !self.starved.is_empty() && self.pool.held() + self.pool.chunk_bytes() <= resume_below {
            self.end_starvation();
        } else if !self.starved.is_empty() {
            self.rescue_one();
        }
    }

    /// A chunk to read into, if memory allows.
    pub(super) fn fill(&mut self, token: Token) -> Input {
        let connection = &mut self.connections[token.index()];
        if self.rescued == Some((token, connection.epoch)) && !connection.inbox.is_empty() {
            return Input::Read(connection.inbox.fill_frame(&self.pool));
        }
        let wanted = connection.inbox.reservation(&self.pool);
        let limit = match self.rules.policy {
            OverflowPolicy::Block => self.rules.memory_bytes,
            OverflowPolicy::Drop | OverflowPolicy::Disconnect => {
                self.rules.memory_bytes + READING_RESERVE
            }
        };
        if self.pool.held() + wanted > limit && self.pool.sparse() > 0 {
            self.compact();
        }
        if self.pool.held() + wanted > limit {
            self.starve(token);
            return Input::Wait;
        }
        Input::Read(self.connections[token.index()].inbox.fill(&self.pool))
    }

    /// Whether outboxes have used up what there is.
    pub(super) fn memory_is_full(&self) -> bool {
        self.pool.held() > self.rules.memory_bytes
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
                return false;
            }
            connection.outbox.compact(pool);
            connection.inbox.compact(pool);
            true
        });
    }

    /// Memory is full: the connection is not read until there is some again.
    fn starve(&mut self, token: Token) {
        if self.starved.is_empty() {
            self.stats.memory_pauses += 1;
            warn!(
                "memory_bytes is reached: {} bytes wait for slow subscribers; reading stops until \
                 they have drained",
                self.pool.held()
            );
        }
        self.starved.push(token);
        self.connections[token.index()].starved = true;
    }

    /// Whoever has something queued while memory is full holds up everybody.
    fn blame_for_starvation(&mut self, now: Instant) {
        if self.starved.is_empty() {
            return;
        }
        for position in 0..self.backlogged.len() {
            let token = self.backlogged[position];
            let Some(connection) = self.connections.get_mut(token.index()) else {
                continue;
            };
            if !connection.outbox.is_empty() && connection.holding_up.is_none() {
                connection.holds_up(now);
                self.arm(token);
            }
        }
    }

    /// If frames that have begun have used up all memory, none of them could ever be ended. So one
    /// at a time is read on to its end, beyond the limit: that is at most one frame, and a client
    /// that does not send the rest is silent, and closed for it.
    fn rescue_one(&mut self) {
        let begun = |token: Token, epoch: Option<NonZeroU64>| {
            let connection = self.connections.get(token.index());
            connection.is_some_and(|connection| {
                !connection.inbox.is_empty() && epoch.is_none_or(|epoch| connection.epoch == epoch)
            })
        };
        if self.rescued.is_some_and(|(token, epoch)| begun(token, Some(epoch))) {
            return;
        }
        self.rescued = None;
        if let Some(position) = self.starved.iter().position(|&token| begun(token, None)) {
            let token = self.starved.remove(position);
            let connection = &mut self.connections[token.index()];
            connection.starved = false;
            self.rescued = Some((token, connection.epoch));
            self.resumed.push(token);
        }
    }

    fn end_starvation(&mut self) {
        self.rescued = None;
        for token in std::mem::take(&mut self.starved) {
            if let Some(connection) = self.connections.get_mut(token.index()) {
                connection.starved = false;
                self.resumed.push(token);
            }
        }
        for token in &self.backlogged {
            if let Some(connection) = self.connections.get_mut(token.index())
                && !connection.has_waiters()
            {
                connection.holding_up = None;
            }
        }
    }

    /// Under the policy `disconnect`: closes subscribers, the one with the longest queue first,
    /// until memory is within its limit.
    fn close_the_largest(&mut self, now: Instant) {
        while self.memory_is_full() {
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
