//! Who waits for whom: publishers for the outboxes of subscribers.
//!
//! Owns the waits in both directions. A wait is told from all others by its epoch, so that what is
//! left of one that is over is recognized wherever it lies. Must not decide when to wait, and
//! leaves it to `full_groups` how a publisher waits for any of many.

use std::time::Instant;

use super::connection::Waiter;
use super::{Broker, Token};

impl Broker {
    /// A publisher waits until an outbox that was too full for its messages has drained to half.
    pub(super) fn pause(&mut self, publisher: Token, receiver: Token, now: Instant) {
        let epoch = self.connections[publisher.index()].epoch;
        let waiter = Waiter { publisher, epoch };
        let holding_up = self.connections[receiver.index()].holding_up.as_ref();
        if holding_up.is_some_and(|holding_up| holding_up.waiters.last() == Some(&waiter)) {
            return;
        }
        self.connections[receiver.index()].holds_up(now).waiters.push(waiter);
        self.arm(receiver);
        let connection = &mut self.connections[publisher.index()];
        self.stats.pauses += u64::from(!connection.is_paused());
        connection.trouble_mut().waits_for += 1;
    }

    /// Those who waited for this outbox need not any more.
    pub(super) fn release_waiters(&mut self, receiver: Token) {
        self.end_group_waits_for(receiver);
        let connection = &mut self.connections[receiver.index()];
        let waiters = connection.holding_up.take().map(|holding_up| holding_up.waiters);
        for waiter in waiters.unwrap_or_default() {
            let publisher = self.connections.get_mut(waiter.publisher.index());
            let Some(publisher) = publisher.filter(|publisher| publisher.waits(&waiter)) else {
                continue;
            };
            publisher.trouble_mut().waits_for -= 1;
            if !publisher.is_paused() {
                self.resumed.push(waiter.publisher);
            }
        }
    }

    /// Whether somebody really waits for this subscriber: publishers that are still there, or, as
    /// long as memory is full, everybody for what it has queued.
    pub(super) fn is_waited_for(&mut self, receiver: Token) -> bool {
        let Some(mut holding_up) = self.connections[receiver.index()].holding_up.take() else {
            return false;
        };
        holding_up.waiters.retain(|waiter| {
            let publisher = self.connections.get(waiter.publisher.index());
            publisher.is_some_and(|publisher| publisher.waits(waiter))
        });
        let for_memory = self.is_starving && !self.outbox(receiver).is_empty();
        let waited_for =
            for_memory || !(holding_up.waiters.is_empty() && holding_up.groups.is_empty());
        if waited_for {
            self.connections[receiver.index()].holding_up = Some(holding_up);
        }
        waited_for
    }
}
