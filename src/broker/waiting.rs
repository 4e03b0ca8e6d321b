//! Who waits for whom: publishers for the outboxes of subscribers.
//!
//! Owns the waits in both directions. A wait is told from all others by its epoch, so that what is
//! left of one that is over is recognized wherever it lies. Must not decide when to wait.

use std::time::Instant;

use super::connection::{GroupWait, Waiter};
use super::topic_index::GroupKey;
use super::{Broker, Token};

impl Broker {
    /// A publisher waits until an outbox that was too full for its messages has drained to half.
    pub(super) fn pause(&mut self, publisher: Token, receiver: Token, now: Instant) {
        let epoch = self.connections[publisher.index()].epoch;
        let waiter = Waiter { publisher, epoch, for_group: false };
        let holding_up = self.connections[receiver.index()].holding_up.as_ref();
        if holding_up.is_some_and(|holding_up| holding_up.waiters.last() == Some(&waiter)) {
            return;
        }
        self.add_waiter(receiver, waiter, now);
        let connection = &mut self.connections[publisher.index()];
        self.stats.pauses += u64::from(!connection.is_paused());
        connection.trouble_mut().waits_for += 1;
    }

    /// A publisher waits until any member of a queue group has drained to half, or the group has
    /// changed.
    pub(super) fn wait_for_group(&mut self, publisher: Token, group: GroupKey, now: Instant) {
        let epoch = self.next_epoch();
        let members: Vec<_> = self.index.members(group).collect();
        for member in members {
            self.add_waiter(member, Waiter { publisher, epoch, for_group: true }, now);
        }
        let connection = &mut self.connections[publisher.index()];
        self.stats.pauses += u64::from(!connection.is_paused());
        connection.trouble_mut().group_wait = Some(GroupWait { group, epoch });
        self.waiting_for_groups.push(publisher);
    }

    fn add_waiter(&mut self, receiver: Token, waiter: Waiter, now: Instant) {
        let connection = &mut self.connections[receiver.index()];
        connection.holds_up(now).waiters.push(waiter);
        self.arm(receiver);
    }

    /// Those who waited for this outbox need not any more.
    pub(super) fn release_waiters(&mut self, receiver: Token) {
        let connection = &mut self.connections[receiver.index()];
        let waiters = connection.holding_up.take().map(|holding_up| holding_up.waiters);
        for waiter in waiters.unwrap_or_default() {
            let publisher = self.connections.get_mut(waiter.publisher.index());
            let Some(publisher) = publisher.filter(|publisher| publisher.waits(&waiter)) else {
                continue;
            };
            if waiter.for_group {
                self.end_group_wait(waiter.publisher);
                continue;
            }
            publisher.trouble_mut().waits_for -= 1;
            if !publisher.is_paused() {
                self.resumed.push(waiter.publisher);
            }
        }
    }

    /// Members have come or gone: whoever waits for a group looks again.
    pub(super) fn groups_changed(&mut self) {
        for publisher in std::mem::take(&mut self.waiting_for_groups) {
            if self.connections.contains(publisher.index()) {
                self.end_group_wait(publisher);
            }
        }
    }

    /// A publisher need not wait for a queue group any more, so none of its members holds it up.
    fn end_group_wait(&mut self, publisher: Token) {
        let connection = &mut self.connections[publisher.index()];
        let Some(wait) = connection.trouble_mut().group_wait.take() else { return };
        if !connection.is_paused() {
            self.resumed.push(publisher);
        }
        self.waiting_for_groups.retain(|&token| token != publisher);
        for member in self.index.members(wait.group) {
            let member = &mut self.connections[member.index()];
            let Some(holding_up) = &mut member.holding_up else { continue };
            holding_up.waiters.retain(|waiter| waiter.epoch != wait.epoch);
            if holding_up.waiters.is_empty() {
                member.holding_up = None;
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
        let waited_for = for_memory || !holding_up.waiters.is_empty();
        if waited_for {
            self.connections[receiver.index()].holding_up = Some(holding_up);
        }
        waited_for
    }
}
