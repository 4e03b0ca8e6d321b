//! Subscriptions of NATS clients, which they call by names of their own.
//!
//! Owns what is asked of a subscription by its name, and its end behind so many messages. How
//! subscriptions are kept is told by the registry.

use smallvec::SmallVec;
use wire::{Encoding, Sid};

use super::{Index, LOOKS};
use crate::engine::budget::Budget;
use crate::engine::routing::{GroupId, SubscriptionId};
use crate::engine::token::Token;

impl Index {
    /// What stands for the name that a NATS client gives to a subscription which it makes.
    pub fn keep_sid(&mut self, name: &[u8]) -> Sid {
        self.registry.sids.keep(name)
    }

    /// The name of the subscription that an encoding is for; empty in the native one.
    pub(crate) fn sid_text(&self, encoding: Encoding) -> SmallVec<[u8; 16]> {
        match encoding {
            Encoding::Native | Encoding::Leaf => SmallVec::new(),
            Encoding::Nats { sid, .. } => self.registry.sids.text(sid),
        }
    }

    /// The length of that name, in bytes.
    pub(crate) fn sid_bytes(&self, encoding: Encoding) -> usize {
        match encoding {
            Encoding::Native | Encoding::Leaf => 0,
            Encoding::Nats { sid, .. } => self.registry.sids.text_bytes(sid),
        }
    }

    /// The subscription that a NATS client calls so.
    pub fn find_sid(&self, token: Token, name: &[u8]) -> Option<SubscriptionId> {
        let sid = self.registry.sids.find(name)?;
        self.registry.find_sid(token, sid).map(SubscriptionId)
    }

    /// Ends a subscription of a NATS client behind so many messages in all, counted from its
    /// beginning; at once if it has had them.
    pub fn end_behind(&mut self, id: SubscriptionId, messages: u64, budget: &mut Budget) {
        self.registry.limits.insert(id.0, messages);
        if self.registry.left(id.0) == Some(0) {
            return self.end(id, budget);
        }
        // Routes say whether a receiver ends, so those that lead to it are made anew.
        let name: Box<[u8]> = self.registry.name(id.0).into();
        self.make_stale(&name, budget);
    }

    /// A NATS client takes headers from now on, or takes them no more. Returns whether all of its
    /// subscriptions know that; else the share is used up, and it goes on in the next call.
    pub(crate) fn set_headers(&mut self, token: Token, headers: bool, budget: &mut Budget) -> bool {
        while let Some((number, looks)) = self.registry.next_with_headers(token, !headers) {
            if budget.is_share_used() {
                return false;
            }
            budget.charge(looks / LOOKS);
            self.registry.set_headers(number, headers);
            let name: Box<[u8]> = self.registry.name(number).into();
            self.make_stale(&name, budget);
        }
        true
    }

    /// Ends a subscription.
    pub fn end(&mut self, id: SubscriptionId, budget: &mut Budget) {
        let name: Box<[u8]> = self.registry.name(id.0).into();
        self.registry.unlink(id.0);
        self.make_stale(&name, budget);
    }

    /// Behind how many messages more a subscription ends, if it does.
    pub(crate) fn left(&self, id: SubscriptionId) -> Option<u64> {
        self.registry.left(id.0)
    }

    /// So many messages were delivered for a subscription. Returns whether it is to end now.
    pub(crate) fn note_delivered(&mut self, id: SubscriptionId, messages: u64) -> bool {
        self.registry.subscriptions[id.0 as usize].delivered += messages;
        !self.registry.limits.is_empty() && self.registry.left(id.0) == Some(0)
    }

    /// The queue group of a subscription.
    pub(crate) fn group_of(&self, id: SubscriptionId) -> Option<GroupId> {
        self.registry.group_of(id.0)
    }
}
