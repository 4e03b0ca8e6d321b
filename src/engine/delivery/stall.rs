//! Receivers whose outboxes were found full, and what becomes of those that stay so.
//!
//! Owns the clock of a stall. A receiver that was found full counts as full until it has drained to
//! the level of its stall; then all that wait for it look again. Must not decide who waits.

use std::time::{Duration, Instant};

use super::waits::Obstacle;
use crate::engine::close_reason::CloseReason;
use crate::engine::rules::{OverflowPolicy, ReceiverRules};
use crate::engine::sessions::connection::State;
use crate::engine::token::Token;
use crate::engine::{Engine, budget};

/// A receiver that was found full.
pub(crate) struct Stall {
    /// When its clock began.
    pub(crate) since: Instant,
    /// Bytes that its socket took since then.
    taken: u64,
    /// It counts as full until no more than so many bytes are queued.
    level: usize,
    /// It was found so because memory is full, not for a message to it.
    pub(crate) for_memory: bool,
}

/// A NATS client that is disconnected when its outbox is full is waited for as long as it takes so
/// many bytes in so long: 6 MiB a second. nats-server holds its publishers up for 10 ms a read.
const PACE_BYTES: u64 = 64 << 10;
const PACE_TIME: Duration = Duration::from_millis(10);

impl Stall {
    pub(crate) fn new(level: usize, now: Instant) -> Stall {
        Stall { since: now, taken: 0, level, for_memory: false }
    }

    /// How long it may last until it is looked at.
    pub(crate) fn timeout(&self, rules: &ReceiverRules) -> Duration {
        if self.is_short(rules) { PACE_TIME } else { rules.stall_timeout }
    }

    /// Whether publishers wait for it though it would be disconnected.
    fn is_short(&self, rules: &ReceiverRules) -> bool {
        rules.policy == OverflowPolicy::Disconnect && !self.for_memory
    }
}

impl Engine {
    /// A receiver has no room for a message of so many bytes, and a flush makes none.
    pub(super) fn begin_stall(&mut self, token: Token, length: usize, now: Instant) {
        // Down to half, or to where the message fits if that is less. A short wait ends soon.
        let connection = &mut self.connections[token.index()];
        let limit = connection.limit(&self.rules);
        let is_short = self.rules.of(connection.role.protocol).policy != OverflowPolicy::Block;
        let level = if is_short { limit - limit / 8 } else { limit / 2 };
        let level = level.min(limit.saturating_sub(length));
        match &mut connection.stall {
            Some(stall) => {
                stall.level = stall.level.max(level);
                // Its time may be shorter now.
                if std::mem::take(&mut stall.for_memory) {
                    self.arm(token);
                }
            }
            None => {
                connection.stall = Some(Box::new(Stall::new(level, now)));
                connection.update_room(&self.rules);
                self.arm(token);
                self.reports.found_full(token, now);
            }
        }
    }

    /// Memory is full, and this receiver has something queued: it counts as full until all of that
    /// is taken.
    pub(super) fn begin_stall_for_memory(&mut self, token: Token, now: Instant) {
        let connection = &mut self.connections[token.index()];
        if connection.stall.is_none() {
            connection.stall = Some(Box::new(Stall { for_memory: true, ..Stall::new(0, now) }));
            connection.update_room(&self.rules);
            self.arm(token);
        }
    }

    /// The socket of a receiver took so many bytes.
    pub(crate) fn note_taken(&mut self, token: Token, count: usize) {
        let connection = &mut self.connections[token.index()];
        let Some(stall) = &mut connection.stall else { return };
        stall.taken += count as u64;
        if connection.outbox.queued() <= stall.level {
            self.end_stall(token);
        }
    }

    /// A receiver does not count as full any more: all that wait for it look again.
    pub(crate) fn end_stall(&mut self, token: Token) {
        let connection = &mut self.connections[token.index()];
        if connection.stall.take().is_some() {
            connection.update_room(&self.rules);
            self.waits.wake(Obstacle::Outbox(token), &mut self.schedule);
            self.wake_groups_of(token);
        }
    }

    /// The same for a receiver that was found full for memory alone.
    pub(super) fn end_stall_for_memory(&mut self, token: Token) {
        let stall = &self.connections[token.index()].stall;
        if stall.as_ref().is_some_and(|stall| stall.for_memory) {
            self.end_stall(token);
        }
    }

    /// Its clock begins anew.
    pub(crate) fn restart_stall(&mut self, token: Token, now: Instant) {
        if let Some(stall) = &mut self.connections[token.index()].stall {
            (stall.since, stall.taken) = (now, 0);
        }
    }

    /// Closes a receiver that has held up others for a whole `stall_timeout` and took too little.
    pub(crate) fn judge_stall(&mut self, token: Token, now: Instant) {
        let Some(stall) = &self.connections[token.index()].stall else { return };
        let timeout = stall.timeout(self.rules_of(token));
        let is_due = stall.since + timeout <= now && !self.draining;
        if !is_due {
            return;
        }
        if stall.is_short(self.rules_of(token)) {
            return self.judge_pace(token, now);
        }
        let taken = stall.taken as f64;
        let seconds = timeout.as_secs_f64();
        let (is_waited_for, looks) = self.waits.is_waited_for(token, &self.index);
        self.budget.charge_turn(looks * budget::LOOK);
        let holds_memory = self.memory.is_full() && !self.outbox(token).is_empty();
        // One that does not block is waited for beside others of its queue group that do.
        let connection = &self.connections[token.index()];
        let blocks = connection.policy(&self.rules) == OverflowPolicy::Block;
        let is_to_blame = (is_waited_for && blocks) || holds_memory;
        let least = seconds * self.rules.min_rate_bytes_per_second as f64;
        if !is_to_blame {
            self.end_stall(token);
        } else if taken < least || connection.state == State::Adrift {
            self.close(token, CloseReason::SlowConsumer, now);
        } else {
            self.restart_stall(token, now);
        }
    }

    /// Waits on for a NATS client that keeps up well enough, or no more.
    fn judge_pace(&mut self, token: Token, now: Instant) {
        let connection = &mut self.connections[token.index()];
        let taken = connection.stall.as_ref().map_or(0, |stall| stall.taken);
        if taken >= PACE_BYTES {
            return self.restart_stall(token, now);
        }
        if let Some(session) = &mut connection.nats {
            session.is_too_slow = true;
        }
        self.end_stall(token);
    }

    /// Of the receivers that a parked connection waits for, the one with most queued.
    pub(crate) fn fullest_waited_for(&mut self, token: Token) -> Option<Token> {
        if !matches!(self.waits.obstacle(token)?, Obstacle::Outbox(_) | Obstacle::Group(_)) {
            return None;
        }
        let route = self.waits.route(token)?.clone();
        let plain = route.plain.iter().flat_map(|audience| audience.receivers.iter().copied());
        let members = route.groups.iter().flat_map(|group| self.index.members(group));
        let is_full = |token: &Token| {
            // The route is kept as it was, and some of its receivers may be gone.
            let found = self.connections.get(token.index());
            found.is_some_and(|it| it.is_receiver() && it.stall.is_some())
        };
        let receivers = plain.chain(members.map(|member| member.token));
        let fullest = receivers.filter(is_full).max_by_key(|it| self.outbox(*it).queued());
        self.budget.charge_turn(route.receivers() as u64 * budget::LOOK);
        fullest
    }

    /// What holds for a receiver.
    pub(crate) fn rules_of(&self, token: Token) -> &ReceiverRules {
        self.rules.of(self.connections[token.index()].role.protocol)
    }
}
