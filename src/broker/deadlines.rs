//! What is due when: hello time-outs, heartbeats, stalls, the end of closing.
//!
//! Owns the queue of deadlines and what happens when one has come. A connection has at most one
//! entry that counts, its `armed` one. Signs of life do not touch the queue: an entry that comes
//! too early is put back at the time that is true by then.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::close_reason::CloseReason;
use super::connection::{Connection, HoldingUp, State};
use super::rules::Rules;
use super::{Broker, Token};
use crate::wire::frame::{self, Kind};

/// Entries by time, earliest first; those of connections that were re-armed since are stale.
#[derive(Default)]
pub(super) struct Deadlines(BinaryHeap<Reverse<(Instant, Token)>>);

impl Connection {
    /// When to look at it next.
    fn deadline(&self, rules: &Rules, draining: bool) -> Option<Instant> {
        let stall = self.holding_up.map(|holding_up| holding_up.since + rules.stall_timeout);
        let silence = match self.state {
            State::Handshake => Some(self.last_life + rules.hello),
            State::Open | State::Finishing if rules.heartbeat.is_zero() || draining => None,
            State::Open | State::Finishing => {
                Some(self.pinged.unwrap_or(self.last_life) + rules.heartbeat)
            }
            State::Closing | State::Discarding => None,
            State::Gone => return None,
        };
        [stall, silence, self.closes_at].into_iter().flatten().min()
    }
}

impl Broker {
    /// When to call [`expire`](Broker::expire) next. May be earlier than there is something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.0.peek().map(|Reverse((at, _))| *at)
    }

    /// Does what is due.
    pub fn expire(&mut self, now: Instant) {
        while let Some(&Reverse((at, token))) = self.deadlines.0.peek()
            && at <= now
        {
            self.deadlines.0.pop();
            let Some(connection) = self.connections.get_mut(token.index()) else {
                continue;
            };
            if connection.armed == Some(at) {
                connection.armed = None;
                self.look_at(token, now);
                self.arm(token);
            }
        }
    }

    /// Sees to it that the connection's deadline is in the queue.
    pub(super) fn arm(&mut self, token: Token) {
        let connection = &mut self.connections[token.index()];
        let Some(at) = connection.deadline(&self.rules, self.draining) else {
            return;
        };
        if connection.armed.is_none_or(|armed| at < armed) {
            connection.armed = Some(at);
            self.deadlines.0.push(Reverse((at, token)));
        }
    }

    fn look_at(&mut self, token: Token, now: Instant) {
        let connection = &self.connections[token.index()];
        if connection.closes_at.is_some_and(|at| at <= now) {
            // Closing was decided before; its reason stands.
            return self.abandon(token, CloseReason::ConnectionLost);
        }
        let state = connection.state;
        if state == State::Handshake && connection.last_life + self.rules.hello <= now {
            return self.close(token, CloseReason::HelloTimeout, now);
        }
        if let Some(holding_up) = connection.holding_up
            && holding_up.since + self.rules.stall_timeout <= now
        {
            self.judge_stall(token, holding_up, now);
        }
        if matches!(state, State::Open | State::Finishing) {
            self.check_heartbeat(token, now);
        }
    }

    /// A subscriber has held up publishers for a whole `stall_timeout`.
    fn judge_stall(&mut self, token: Token, holding_up: HoldingUp, now: Instant) {
        let wanted = self.rules.stall_timeout.as_secs_f64() * self.rules.min_rate_bytes as f64;
        if (holding_up.taken as f64) < wanted {
            self.close(token, CloseReason::SlowConsumer, now);
        } else {
            let again = HoldingUp { since: now, taken: 0 };
            self.connections[token.index()].holding_up = Some(again);
        }
    }

    fn check_heartbeat(&mut self, token: Token, now: Instant) {
        let heartbeat = self.rules.heartbeat;
        let connection = &mut self.connections[token.index()];
        if heartbeat.is_zero() || self.draining || !connection.is_talking_or_finishing() {
            return;
        }
        if connection.is_unread() {
            connection.showed_life(now);
        } else if let Some(pinged) = connection.pinged {
            if pinged + heartbeat <= now {
                self.close(token, CloseReason::HeartbeatTimeout, now);
            }
        } else if connection.last_life + heartbeat <= now {
            connection.pinged = Some(now);
            if connection.state == State::Open && !connection.outbox.has_ping() {
                let mut ping = Vec::new();
                frame::encode(Kind::Ping, 0, b"", b"", &mut ping);
                connection.outbox.push_ping(&self.pool, &ping);
                self.mark_dirty(token);
            }
        }
    }
}

impl Connection {
    fn is_talking_or_finishing(&self) -> bool {
        self.is_talking() || self.state == State::Finishing
    }
}
