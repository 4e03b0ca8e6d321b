//! Other rules for a broker that is at work.
//!
//! Owns what a change means for those who are connected: nobody is disconnected by it. New limits
//! act on what comes, whoever waits under an old one looks again, and times are counted from the
//! change on, so that nobody is found late by a rule that did not exist yet.

use std::time::Instant;

use super::connection::State;
use super::rules::{OverflowPolicy, Rules};
use super::{Broker, Token};

impl Broker {
    /// Works by `rules` from now on. Call it between turns, and end the turn behind it: some may
    /// be resumed.
    ///
    /// # Panics
    /// If `max_payload` is another one: clients rely on what WELCOME told them.
    pub fn set_rules(&mut self, rules: Rules, now: Instant) {
        assert!(rules.max_payload == self.rules.max_payload, "clients were told max_payload");
        assert!(self.interrupted.is_none(), "a turn ends what it has begun to deliver");
        if rules == self.rules {
            return;
        }
        let old = std::mem::replace(&mut self.rules, rules);
        self.count_times_anew(&old, now);
        if self.is_starving {
            // Who still finds no memory starves again, and has all the time for it.
            self.end_starvation();
        }
        self.end_all_group_waits();
        for token in self.tokens() {
            self.look_again(token);
            self.arm(token);
        }
        self.spared = self.memory_held();
    }

    /// Whoever could be found late under the new times is measured from now on.
    fn count_times_anew(&mut self, old: &Rules, now: Instant) {
        let new = &self.rules;
        let heartbeat = new.heartbeat != old.heartbeat;
        let hello = new.hello != old.hello;
        for (_, connection) in &mut self.connections {
            if let Some(holding_up) = &mut connection.holding_up {
                (holding_up.since, holding_up.taken) = (now, 0);
            }
            if heartbeat {
                connection.showed_life(now);
            }
        }
        if hello {
            self.expect_hellos_anew(now);
        }
    }

    /// Publishers need not wait for an outbox that has room under the new rules, nor for any if
    /// nobody waits now. One that has none still does: or each change would let them add to it.
    fn look_again(&mut self, token: Token) {
        let blocks = self.rules.policy == OverflowPolicy::Block;
        let connection = &self.connections[token.index()];
        let has_room = connection.outbox.queued() < self.rules.outbox_bytes;
        if connection.has_waiters() && (has_room || !blocks) {
            self.release_waiters(token);
        }
        // What was lost is told where it is missing, before other policies queue behind it.
        let drops = self.rules.policy == OverflowPolicy::Drop;
        if !drops && self.connections[token.index()].state == State::Open {
            self.tell_lost(token);
        }
    }
}

#[cfg(test)]
mod tests;
