//! Other rules for an engine that is at work.
//!
//! Owns what a change means for those who are connected: no client is disconnected by it. New
//! limits act on what comes, connections that wait under an old one look again, and times are
//! counted from the change on, so that none is found late by a rule that did not exist yet.

use std::time::Instant;

use super::connection::State;
use crate::engine::Engine;
use crate::engine::rules::{OverflowPolicy, Rules};
use crate::engine::token::Token;

impl Engine {
    /// Works by `rules` from now on. Call it between turns, and end the turn behind it: connections
    /// may be made ready.
    ///
    /// # Panics
    /// If `max_payload` is another one: clients rely on what WELCOME told them.
    pub fn set_rules(&mut self, rules: Rules, now: Instant) {
        assert!(rules.max_payload == self.rules.max_payload, "clients were told max_payload");
        if rules == self.rules {
            return;
        }
        let old = std::mem::replace(&mut self.rules, rules);
        if self.rules.hello != old.hello {
            self.expect_hellos_anew(now);
        }
        let heartbeat_changed = self.rules.heartbeat != old.heartbeat;
        if self.memory.is_full() {
            // A connection that still finds no memory waits again, and has all the time for it.
            self.end_full_memory();
        }
        for token in self.tokens() {
            self.restart_stall(token, now);
            let connection = &mut self.connections[token.index()];
            if let Some(session) = &mut connection.nats {
                session.blocked = session.blocked.map(|_| now);
                session.unread = session.unread.map(|_| now);
            }
            let protocol = connection.role.protocol;
            let (new, old) = (self.rules.of(protocol), old.of(protocol));
            let room_changed = (new.outbox_bytes, new.policy) != (old.outbox_bytes, old.policy);
            if heartbeat_changed {
                connection.showed_life(now);
            }
            connection.update_room(&self.rules);
            let waits_no_more =
                connection.state == State::Adrift && new.policy != OverflowPolicy::Block;
            if room_changed {
                self.look_again(token);
            }
            if waits_no_more {
                self.end_waiting_for_hub(token);
            }
            self.arm(token);
        }
        self.waits.exempt_all();
        self.memory.exempt(self.memory_held());
    }

    /// An outbox that has room under the new rules does not count as full, nor does any where no
    /// publisher waits now. One that has none still does: or each change would let more be added.
    fn look_again(&mut self, token: Token) {
        let connection = &self.connections[token.index()];
        let rules = *self.rules.of(connection.role.protocol);
        let blocks = rules.policy == OverflowPolicy::Block;
        if connection.outbox.queued() < rules.outbox_bytes || !blocks {
            self.end_stall(token);
        }
        // What was lost is told where it is missing, before other policies queue behind it.
        let drops = rules.policy == OverflowPolicy::Drop;
        if !drops && self.connections[token.index()].state == State::Open {
            self.tell_lost(token);
        }
    }
}

#[cfg(test)]
mod tests;
