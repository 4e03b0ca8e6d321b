//! Whether there is memory to read what a client sends.
//!
//! Owns the limits of memory for reading, and what may be used beyond them so that frames that have
//! begun can be ended. Must not free memory: that is done at the end of a turn.

use wire::native::frame::{LENGTH_OVERHEAD, MAX_CONTROL_LENGTH};

use super::memory::{MAY_FINISH, NO_MESSAGES};
use super::waits::Obstacle;
use crate::engine::buffers::chunk::Pool;
use crate::engine::rules::OverflowPolicy;
use crate::engine::sessions::connection::State;
use crate::engine::sessions::protocol::Protocol;
use crate::engine::token::Token;
use crate::engine::{Engine, Input};

/// Beyond `memory_bytes`, this much more may be used for frames that have begun where no receivers
/// block: reading goes on then when outboxes are full.
const READING_RESERVE: usize = 16 << 20;
/// The part of `memory_bytes` that may be used beyond it for what is no message.
const BRIEF_RESERVE: usize = 64;
/// The part of `memory_bytes` that may be used beyond that to end frames that have begun.
const FRAME_RESERVE: usize = 32;

/// What is read at a time of what is no message.
const BRIEF_BYTES: usize = LENGTH_OVERHEAD + MAX_CONTROL_LENGTH;

impl Engine {
    /// A chunk to read into, if memory allows. What is not a message is read even so: it is short,
    /// and clients must not be found silent because others are slow. But not of a client that does
    /// not read its answers, nor without limit of one that may publish: parts of it stay where they
    /// were read, and thousands of those would hold more than there is.
    pub(crate) fn fill(&mut self, token: Token) -> Input {
        let has_begun = self.connections[token.index()].inbox.has_begun();
        if self.memory.has(token, MAY_FINISH) {
            self.memory.mark(token, MAY_FINISH, has_begun);
            if has_begun {
                return self.fill_frame(token);
            }
        }
        let wanted = self.connections[token.index()].inbox.reservation(&self.pool);
        let (limit, brief_reserve) = (self.reading_limit(), self.brief_reserve());
        let parked = self.waits.bytes();
        let is_full = |pool: &Pool| wanted > 0 && pool.held() + parked + wanted > limit;
        if is_full(&self.pool) && self.pool.sparse() > self.pool.chunk_bytes() {
            self.compact();
        }
        let is_writable = self.schedule.is_writable(token);
        let connection = &mut self.connections[token.index()];
        // Of one that may publish and subscribe, all is read that stands in front of a message.
        let is_nats = connection.role.protocol != Protocol::Native && !has_begun;
        let is_brief =
            !connection.role.may_publish || connection.state == State::Handshake || is_nats;
        let reads_no_answers = !is_writable && connection.outbox.answers() > 0;
        if !is_full(&self.pool) {
            self.memory.mark(token, NO_MESSAGES, false);
            Input::Read(connection.inbox.fill(&self.pool))
        } else if is_brief
            && !reads_no_answers
            && (!is_nats || self.pool.held() + parked + BRIEF_BYTES <= limit + brief_reserve)
        {
            let mut filling = connection.inbox.fill(&self.pool);
            filling.restrict_to(BRIEF_BYTES);
            self.memory.mark(token, NO_MESSAGES, is_nats);
            Input::Read(filling)
        } else {
            self.park(token, Obstacle::Memory, None);
            Input::Wait
        }
    }

    /// The same for one that may end its frame beyond the limit: there is room for the whole of
    /// it at once, or it would stop in the middle and wait for others that wait for it.
    fn fill_frame(&mut self, token: Token) -> Input {
        let limit = self.frame_limit();
        let held = self.memory_held();
        let inbox = &mut self.connections[token.index()].inbox;
        let wanted = inbox.frame_reservation(&self.pool);
        // What fits into a chunk is in one already, which the next one takes the place of.
        if wanted <= self.pool.chunk_bytes() || held + wanted <= limit {
            return Input::Read(inbox.fill_frame(&self.pool));
        }
        self.park(token, Obstacle::Memory, None);
        Input::Wait
    }

    /// Up to where there is memory for reading.
    pub(super) fn reading_limit(&self) -> usize {
        match self.rules.has_policy(OverflowPolicy::Block) {
            true => self.rules.memory_bytes,
            false => self.rules.memory_bytes + READING_RESERVE,
        }
    }

    /// If frames that have begun have used up all memory, none of them could ever be ended. So
    /// they are read on to their end, as many at a time as the reserve has room for.
    pub(super) fn let_frames_end(&mut self) {
        let mut room = self.frame_limit().saturating_sub(self.memory_held());
        let (connections, pool, memory) = (&self.connections, &self.pool, &mut self.memory);
        self.waits.wake_for_memory(&mut self.schedule, |token| {
            let inbox = &connections[token.index()].inbox;
            let wanted = inbox.frame_reservation(pool);
            let goes = !inbox.is_empty() && wanted <= room;
            if goes {
                room -= wanted;
                memory.mark(token, MAY_FINISH, true);
                // What was read beyond the limit holds memory, too, and must not hold it for ever.
                memory.mark(token, NO_MESSAGES, false);
            }
            goes
        });
    }

    /// Up to where there is memory for frames that have begun, whatever else was read beyond the
    /// limit.
    fn frame_limit(&self) -> usize {
        self.reading_limit() + self.brief_reserve() + self.frame_reserve()
    }

    /// What may be used beyond the limit for what is no message.
    pub(super) fn brief_reserve(&self) -> usize {
        (self.rules.memory_bytes / BRIEF_RESERVE).max(self.pool.chunk_bytes())
    }

    /// What may be used beyond that to end frames that have begun: enough for one of any size.
    pub(super) fn frame_reserve(&self) -> usize {
        let largest = self.rules.max_payload + usize::from(u16::MAX) + self.pool.chunk_bytes();
        largest.max(self.rules.memory_bytes / FRAME_RESERVE)
    }
}
