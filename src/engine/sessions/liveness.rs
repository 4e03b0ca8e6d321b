//! What is due when: hello time-outs, heartbeats, stalls, the end of closing.
//!
//! Owns the queue of deadlines and what happens when one has come. A connection has at most one
//! entry that counts, its `armed` one. Signs of life do not touch the queue: an entry that comes
//! too early is put back at the time that is true by then.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::connection::{Connection, State};
use super::protocol::{Notice, Protocol};
use crate::engine::close_reason::CloseReason;
use crate::engine::rules::{OverflowPolicy, Rules};
use crate::engine::token::Token;
use crate::engine::{Engine, budget};

/// All that closing takes is done this long after the decision to close.
pub(crate) const CLOSING_TIME: Duration = Duration::from_secs(1);
/// A NATS client whose socket takes nothing of what is queued for so long is closed as too slow,
/// under the policy `disconnect`: the `write_deadline` of nats-server.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// NATS clients and hubs ping by themselves and expect to be asked rarely.
const MIN_NATS_HEARTBEAT: Duration = Duration::from_secs(10);
/// Room for so many HELLOs that are due is kept when none is.
const MANY_HELLOS: usize = 64;
/// So many stale entries are no reason to remove them.
const MANY_DEADLINES: usize = 1_024;

/// What is due when.
#[derive(Default)]
pub(crate) struct Deadlines {
    /// Entries by time, earliest first; those of connections that were re-armed since are stale.
    queue: BinaryHeap<Reverse<(Instant, Token)>>,
    /// When each HELLO is due, with the connection's epoch. All have the same time, so the first
    /// one that came is the first one due; and as most are kept, none of them wakes the process.
    hellos: VecDeque<(Instant, Token, NonZeroU64)>,
}

impl Rules {
    /// The silence behind which clients of a protocol are asked for a sign of life; zero: they
    /// never are.
    pub fn heartbeat_of(&self, protocol: Protocol) -> Duration {
        match protocol {
            Protocol::Nats | Protocol::Leaf if !self.heartbeat.is_zero() => {
                self.heartbeat.max(MIN_NATS_HEARTBEAT)
            }
            _ => self.heartbeat,
        }
    }
}

impl Connection {
    /// The silence behind which it is asked for a sign of life; zero: it never is.
    fn heartbeat(&self, rules: &Rules) -> Duration {
        rules.heartbeat_of(self.role.protocol)
    }

    /// When it last showed a sign of life, as far as that is known: its heartbeats since then were
    /// asked for one by one.
    pub(crate) fn last_life(&self, rules: &Rules) -> Instant {
        let asked = self.heartbeat(rules) * u32::from(self.pings);
        self.since.checked_sub(asked).unwrap_or(self.since)
    }

    /// When to look at it next.
    pub(crate) fn deadline(&self, rules: &Rules, draining: bool) -> Option<Instant> {
        let silence = match self.state {
            // Nothing else is asked of it any more.
            State::Closing | State::Discarding => return Some(self.since + CLOSING_TIME),
            State::Gone => return None,
            State::Handshake | State::Adrift => None,
            State::Open | State::Finishing if rules.heartbeat.is_zero() || draining => None,
            State::Open | State::Finishing => Some(self.since + self.heartbeat(rules)),
        };
        // While draining, the drain time-out is the limit.
        let stall = self.stall.as_ref().filter(|_| !draining);
        let stall = stall.map(|stall| stall.since + stall.timeout(rules.of(self.role.protocol)));
        let session = self.nats.as_ref().filter(|_| !draining);
        let blocked = session.and_then(|session| session.blocked).map(|at| at + WRITE_TIME);
        let unread = session.and_then(|session| session.unread);
        let unread = unread.map(|since| since + rules.nats.stall_timeout);
        // Behind its end nothing is asked of a hub.
        let leaf = self.leaf.as_ref().filter(|_| !draining && self.state == State::Open);
        let leaf = leaf.and_then(|session| session.join_due.or(session.ask_due));
        [stall, silence, blocked, unread, leaf].into_iter().flatten().min()
    }
}

impl Engine {
    /// When something is due next. May be earlier than there is something to do.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        let queued = self.deadlines.queue.peek().map(|Reverse((at, _))| *at);
        let hello = self.next_hello().map(|(at, _)| at);
        let frame = self.memory.next_frame_due(&self.rules);
        [queued, hello, frame, self.reports.due()].into_iter().flatten().min()
    }

    /// The connection whose HELLO is due next, and when.
    fn next_hello(&mut self) -> Option<(Instant, Token)> {
        while let Some(&(at, token, epoch)) = self.deadlines.hellos.front() {
            if self.awaits_hello(token, epoch) {
                return Some((at, token));
            }
            self.deadlines.hellos.pop_front();
        }
        // A crowd that connected at once is not remembered for ever.
        self.deadlines.hellos.shrink_to(MANY_HELLOS);
        None
    }

    /// Whether the connection that had this token in this epoch has still not sent HELLO.
    fn awaits_hello(&self, token: Token, epoch: NonZeroU64) -> bool {
        let found = self.connections.get(token.index());
        found.is_some_and(|found| found.epoch == epoch && found.state == State::Handshake)
    }

    /// Expects HELLO of a new connection.
    pub(crate) fn expect_hello(&mut self, token: Token, now: Instant) {
        let (due, epoch) = (now + self.rules.hello, self.connections[token.index()].epoch);
        self.deadlines.hellos.push_back((due, token, epoch));
        // The first one may be waited for long, and those behind it be kept long ago.
        if self.deadlines.hellos.len() > MANY_DEADLINES + 2 * self.connections.len() {
            let mut hellos = std::mem::take(&mut self.deadlines.hellos);
            hellos.retain(|&(_, token, epoch)| self.awaits_hello(token, epoch));
            self.deadlines.hellos = hellos;
        }
    }

    /// The time for HELLO is another one: all that are due are expected anew.
    pub(crate) fn expect_hellos_anew(&mut self, now: Instant) {
        self.deadlines.hellos.clear();
        for token in self.tokens() {
            if self.connections[token.index()].state == State::Handshake {
                self.expect_hello(token, now);
            }
        }
    }

    /// Does what is due within a share of the turn; the rest is still due in the next turn.
    pub(crate) fn expire(&mut self, now: Instant) {
        let until = self.budget.spent() + self.budget.share();
        self.expire_frames(now, until);
        while self.budget.spent() < until && self.expire_next(now) {}
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
                self.budget.charge_turn(budget::FRAME);
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
            self.check_deadline(token, now);
            self.arm(token);
        }
    }

    /// Sees to it that the connection's deadline is in the queue.
    pub(crate) fn arm(&mut self, token: Token) {
        let connection = &mut self.connections[token.index()];
        let Some(at) = connection.deadline(&self.rules, self.draining) else {
            return;
        };
        if connection.armed.is_none_or(|armed| at < armed) {
            connection.armed = Some(at);
            self.deadlines.queue.push(Reverse((at, token)));
            self.remove_stale_deadlines();
        }
    }

    /// Entries that were overtaken stay until their time comes; too many of them are removed.
    fn remove_stale_deadlines(&mut self) {
        let most = MANY_DEADLINES + 4 * self.connections.len();
        let connections = &self.connections;
        if self.deadlines.queue.len() > most {
            self.deadlines.queue.retain(|Reverse((at, token))| {
                connections.get(token.index()).is_some_and(|found| found.armed == Some(*at))
            });
        }
    }

    fn check_deadline(&mut self, token: Token, now: Instant) {
        let connection = &mut self.connections[token.index()];
        if matches!(connection.state, State::Closing | State::Discarding) {
            if connection.since + CLOSING_TIME <= now {
                // Closing was decided before; its reason stands.
                self.abort(token, CloseReason::ConnectionLost);
            }
            return;
        }
        self.judge_stall(token, now);
        self.check_write_time(token, now);
        self.check_unread(token, now);
        self.check_heartbeat(token, now);
        self.check_link(token, now);
    }

    /// Closes a NATS client whose socket has taken nothing for too long.
    fn check_write_time(&mut self, token: Token, now: Instant) {
        let Some(session) = &mut self.connections[token.index()].nats else { return };
        let is_due = session.blocked.is_some_and(|since| since + WRITE_TIME <= now);
        if !is_due || self.draining {
            return;
        }
        if self.rules_of(token).policy != OverflowPolicy::Disconnect {
            // What blocks has a clock for its stall, and what drops may stand still.
            let Some(session) = &mut self.connections[token.index()].nats else { return };
            session.blocked = Some(now);
        } else {
            self.close(token, CloseReason::SlowConsumer, now);
        }
    }

    /// A NATS client that has not been read for too long, since it waits for receivers: the one
    /// with most queued is closed, and the client looks again.
    fn check_unread(&mut self, token: Token, now: Instant) {
        let timeout = self.rules.nats.stall_timeout;
        let Some(session) = &mut self.connections[token.index()].nats else { return };
        if session.unread.is_none_or(|since| since + timeout > now) || self.draining {
            return;
        }
        if let Some(receiver) = self.fullest_waited_for(token) {
            self.close(receiver, CloseReason::SlowConsumer, now);
        } else if let Some(session) = &mut self.connections[token.index()].nats {
            // It waits for something else: memory, or its own answers.
            session.unread = None;
        }
    }

    fn check_heartbeat(&mut self, token: Token, now: Instant) {
        let connection = &mut self.connections[token.index()];
        let heartbeat = connection.heartbeat(&self.rules);
        if heartbeat.is_zero() || self.draining || !connection.is_alive() {
            return;
        }
        if self.waits.is_parked(token) {
            connection.showed_life(now);
        } else if connection.since + heartbeat > now {
            // It showed life after this deadline was set.
        } else if connection.pings >= connection.role.protocol.max_pings() {
            self.close(token, CloseReason::HeartbeatTimeout, now);
        } else {
            connection.since = now;
            connection.pings += 1;
            // A hub's first answer says that it knows what is wanted here.
            let may_be_asked = connection.nats.as_ref().is_none_or(|it| it.has_ponged)
                && connection.leaf.as_ref().is_none_or(|it| it.has_joined());
            let is_open = connection.state == State::Open;
            if is_open && may_be_asked && !connection.outbox.has_ping() {
                let mut ping = Vec::new();
                connection.role.protocol.say(Notice::Ping, &mut ping);
                connection.outbox.push_ping(&self.pool, &ping);
                connection.note_asked();
                connection.update_room(&self.rules);
                self.budget.charge_turn(budget::WRITE);
                self.schedule.mark_dirty(token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::delivery::stall::Stall;
    use crate::engine::sessions::connection::Role;

    #[test]
    fn a_closing_connection_is_due_when_closing_must_be_over() {
        let mut rules = Rules::of_a_test();
        rules.native.stall_timeout = CLOSING_TIME / 10;
        let now = Instant::now();
        let mut connection = Connection::new(Role::SUBSCRIBER, "test", NonZeroU64::MIN, now);
        connection.state = State::Closing;
        connection.stall = Some(Box::new(Stall::new(0, now)));
        assert_eq!(connection.deadline(&rules, false), Some(now + CLOSING_TIME));
    }

    #[test]
    fn a_crowd_that_is_due_at_once_is_closed_over_several_turns() {
        const CROWD: usize = 100;
        let mut now = Instant::now();
        let rules = Rules { max_connections: CROWD, ..Rules::of_a_test() };
        let mut engine = Engine::new(rules.clone(), 4_096, "test".to_owned());
        for _ in 0..CROWD {
            engine.accept(Role::PUBLISHER, "test", now);
        }
        now += rules.hello;
        let (mut turns, mut closed) = (0, 0);
        while closed < CROWD {
            assert!(engine.next_deadline().is_some_and(|at| at <= now), "the next turn comes soon");
            engine.budget.begin_turn();
            engine.expire(now);
            let before = std::mem::replace(&mut closed, engine.schedule.dirty().count());
            assert!((1..=20).contains(&(closed - before)), "{} closed at once", closed - before);
            turns += 1;
        }
        assert!(turns > 3 && engine.next_deadline().is_some_and(|at| at > now));
    }
}
