//! What is due when: hello time-outs, heartbeats, stalls, the end of closing.
//!
//! Owns the queue of deadlines and what happens when one has come. A connection has at most one
//! entry that counts, its `armed` one. Signs of life do not touch the queue: an entry that comes
//! too early is put back at the time that is true by then.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::num::NonZeroU64;
use std::time::Instant;

use slab::Slab;

use super::close_reason::CloseReason;
use super::connection::{Connection, State};
use super::rules::Rules;
use super::{Broker, CLOSING_TIME, Token};
use wire::native::frame::{self, Kind};

/// Room for so many HELLOs that are due is kept when none is.
const MANY_HELLOS: usize = 64;

/// Connections that are looked at in one turn because something is due.
const MOST_LOOKS: usize = 256;
/// So many stale entries are no reason to look for them.
const MANY_DEADLINES: usize = 1_024;

/// What is due when.
#[derive(Default)]
pub(super) struct Deadlines {
    /// Entries by time, earliest first; those of connections that were re-armed since are stale.
    queue: BinaryHeap<Reverse<(Instant, Token)>>,
    /// When each HELLO is due, with the connection's epoch. All have the same time, so the first
    /// one that came is the first one due; and as most are kept, none of them wakes anybody up.
    hellos: VecDeque<(Instant, Token, NonZeroU64)>,
}

impl Connection {
    /// When to look at it next.
    pub(super) fn deadline(&self, rules: &Rules, draining: bool) -> Option<Instant> {
        let silence = match self.state {
            // Nothing else is asked of it any more.
            State::Closing | State::Discarding => return Some(self.since + CLOSING_TIME),
            State::Gone => return None,
            State::Handshake => None,
            State::Open | State::Finishing if rules.heartbeat.is_zero() || draining => None,
            State::Open | State::Finishing => Some(self.since + rules.heartbeat),
        };
        // While draining, the drain time-out is the limit.
        let holding_up = self.holding_up.as_ref().filter(|_| !draining);
        let stall = holding_up.map(|holding_up| holding_up.since + rules.stall_timeout);
        let frame = self.frame_due(rules);
        [stall, silence, frame].into_iter().flatten().min()
    }

    /// Until when the frame that it has begun must end, while memory is full.
    fn frame_due(&self, rules: &Rules) -> Option<Instant> {
        // Whole frames are signs of life, parts of one are not.
        let begun = self.trouble()?.unfinished_since?.max(self.since);
        Some(begun + rules.stall_timeout)
    }
}

impl Broker {
    /// When to call [`expire`](Broker::expire) next. May be earlier than there is something to do.
    pub fn next_deadline(&mut self) -> Option<Instant> {
        let queued = self.deadlines.queue.peek().map(|Reverse((at, _))| *at);
        queued.into_iter().chain(self.next_hello().map(|(at, _)| at)).min()
    }

    /// The connection whose HELLO is due next, and when.
    fn next_hello(&mut self) -> Option<(Instant, Token)> {
        while let Some(&(at, token, epoch)) = self.deadlines.hellos.front() {
            if awaits_hello(&self.connections, token, epoch) {
                return Some((at, token));
            }
            self.deadlines.hellos.pop_front();
        }
        // A crowd that connected at once is not remembered for ever.
        self.deadlines.hellos.shrink_to(MANY_HELLOS);
        None
    }

    /// Expects HELLO of a new connection.
    pub(super) fn expect_hello(&mut self, token: Token, now: Instant) {
        let (due, epoch) = (now + self.rules.hello, self.connections[token.index()].epoch);
        self.deadlines.hellos.push_back((due, token, epoch));
        // The first one may be waited for long, and those behind it be kept long ago.
        if self.deadlines.hellos.len() > MANY_DEADLINES + 2 * self.connections.len() {
            let connections = &self.connections;
            let kept = |&(_, token, epoch): &_| awaits_hello(connections, token, epoch);
            self.deadlines.hellos.retain(kept);
        }
    }

    /// The time for HELLO is another one: all that are due are expected anew.
    pub(super) fn expect_hellos_anew(&mut self, now: Instant) {
        self.deadlines.hellos.clear();
        for token in self.tokens() {
            if self.connections[token.index()].state == State::Handshake {
                self.expect_hello(token, now);
            }
        }
    }

    /// Does what is due, or the first of it where that is much: then the next deadline is still one
    /// that has come. At most `most` connections, and one more, are written to or closed: a crowd
    /// that connected at once is due at once, and a system call for each of thousands would hold
    /// up everybody else.
    pub fn expire(&mut self, now: Instant, most: usize) {
        let expired = |broker: &Broker| broker.dirty.len() + broker.gone.len();
        let before = expired(self);
        for _ in 0..MOST_LOOKS {
            if !self.expire_next(now) || expired(self) >= before + most {
                return;
            }
        }
    }

    /// Does what is due first, if anything is.
    fn expire_next(&mut self, now: Instant) -> bool {
        let queued = self.deadlines.queue.peek().map(|Reverse(first)| *first);
        let is_due = |(at, _): &(Instant, Token)| *at <= now;
        match (self.next_hello().filter(is_due), queued.filter(is_due)) {
            (Some((hello, token)), queued) if queued.is_none_or(|(at, _)| hello <= at) => {
                self.close(token, CloseReason::HelloTimeout, now);
            }
            (_, Some((at, token))) => {
                self.deadlines.queue.pop();
                self.deadline_has_come(token, at, now);
            }
            (_, None) => return false,
        }
        true
    }

    fn deadline_has_come(&mut self, token: Token, at: Instant, now: Instant) {
        let connection = self.connections.get_mut(token.index());
        if let Some(connection) = connection.filter(|connection| connection.armed == Some(at)) {
            connection.armed = None;
            self.look_at(token, now);
            self.arm(token);
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
            self.deadlines.queue.push(Reverse((at, token)));
            self.forget_stale_deadlines();
        }
    }

    /// Entries that were overtaken stay until their time comes; too many of them are removed.
    fn forget_stale_deadlines(&mut self) {
        let most = MANY_DEADLINES + 4 * self.connections.len();
        let connections = &self.connections;
        if self.deadlines.queue.len() > most {
            self.deadlines.queue.retain(|Reverse((at, token))| {
                connections.get(token.index()).is_some_and(|found| found.armed == Some(*at))
            });
        }
    }

    fn look_at(&mut self, token: Token, now: Instant) {
        let connection = &mut self.connections[token.index()];
        if matches!(connection.state, State::Closing | State::Discarding) {
            if connection.since + CLOSING_TIME <= now {
                // Closing was decided before; its reason stands.
                self.abandon(token, CloseReason::ConnectionLost);
            }
            return;
        }
        if connection.frame_due(&self.rules).is_some_and(|due| due <= now) {
            if connection.owes_the_rest() {
                return self.close(token, CloseReason::FrameTimeout, now);
            }
            // It is not read at the moment; its time begins anew when it is.
            connection.forget_unfinished();
        }
        self.judge_stall(token, now);
        self.check_heartbeat(token, now);
    }

    /// Closes a subscriber that has held up others for a whole `stall_timeout` and took too
    /// little.
    fn judge_stall(&mut self, token: Token, now: Instant) {
        let holding_up = &self.connections[token.index()].holding_up;
        let due = holding_up.as_ref().map(|holding_up| holding_up.since + self.rules.stall_timeout);
        let is_due = due.is_some_and(|due| due <= now) && !self.draining;
        if !is_due || !self.is_waited_for(token) {
            return;
        }
        let Some(holding_up) = &mut self.connections[token.index()].holding_up else { return };
        let wanted = self.rules.stall_timeout.as_secs_f64() * self.rules.min_rate_bytes as f64;
        if (holding_up.taken as f64) < wanted {
            self.close(token, CloseReason::SlowConsumer, now);
        } else {
            (holding_up.since, holding_up.taken) = (now, 0);
        }
    }

    fn check_heartbeat(&mut self, token: Token, now: Instant) {
        let heartbeat = self.rules.heartbeat;
        let connection = &mut self.connections[token.index()];
        if heartbeat.is_zero() || self.draining || !connection.is_alive() {
            return;
        }
        if connection.is_unread() {
            connection.showed_life(now);
        } else if connection.since + heartbeat > now {
            // It showed life after this deadline was set.
        } else if connection.pinged {
            self.close(token, CloseReason::HeartbeatTimeout, now);
        } else {
            (connection.since, connection.pinged) = (now, true);
            if connection.state == State::Open && !connection.outbox.has_ping() {
                let mut ping = Vec::new();
                frame::encode(Kind::Ping, 0, b"", b"", &mut ping);
                connection.outbox.push_ping(&self.pool, &ping);
                self.mark_dirty(token);
            }
        }
    }
}

/// Whether the connection that had this token in this epoch has still not sent HELLO.
fn awaits_hello(connections: &Slab<Connection>, token: Token, epoch: NonZeroU64) -> bool {
    let found = connections.get(token.index());
    found.is_some_and(|found| found.epoch == epoch && found.state == State::Handshake)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::connection::Role;

    #[test]
    fn what_is_closing_is_due_when_closing_must_be_over() {
        let rules = Rules { stall_timeout: CLOSING_TIME / 10, ..Rules::of_a_test() };
        let now = Instant::now();
        let mut connection = Connection::new(Role::Subscriber, "test", NonZeroU64::MIN, now);
        connection.state = State::Closing;
        connection.holds_up(now);
        assert_eq!(connection.deadline(&rules, false), Some(now + CLOSING_TIME));
    }

    #[test]
    fn a_crowd_that_is_due_at_once_is_closed_a_few_in_a_turn() {
        let (mut now, crowd) = (Instant::now(), 50);
        let rules = Rules { max_connections: crowd, ..Rules::of_a_test() };
        let mut broker = Broker::new(rules.clone(), 4_096, "test".to_owned());
        for _ in 0..crowd {
            broker.accept(Role::Publisher, "test", now);
        }
        now += rules.hello;
        let mut dirty = Vec::new();
        for turn in 1..=5 {
            assert!(broker.next_deadline().is_some_and(|at| at <= now), "the next turn comes soon");
            broker.expire(now, 10);
            broker.take_dirty(&mut dirty);
            assert_eq!(dirty.len(), turn * 10);
        }
        assert!(broker.next_deadline().is_some_and(|at| at > now), "nothing is due any more");
    }
}
