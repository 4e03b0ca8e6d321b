//! What permissions mean for routes.
//!
//! Owns who is not given a topic though a filter of its matches, and what is remembered of who may
//! publish to it. What is granted to whom is told by `access`.

use std::rc::Rc;

use super::Index;
use crate::engine::access::{Grants, User};
use crate::engine::budget::{self, Budget};
use crate::engine::token::Token;

/// Matches all topics.
const ALL: &[u8] = b">";

impl Index {
    /// A connection is not to be given topics that match any of these filters, from now on; `None`:
    /// it may be given all.
    pub(crate) fn withhold(&mut self, token: Token, denied: Option<&Rc<[Box<[u8]>]>>) {
        let before = match denied {
            Some(filters) => self.withheld.insert(token, filters.clone()),
            None => self.withheld.remove(&token),
        };
        if before.as_ref() != denied && self.held(token).subscriptions > 0 {
            self.note_change(ALL);
        }
    }

    /// A link is to be given topics that all of these grant, from now on.
    pub(crate) fn export(&mut self, token: Token, grants: Box<[Grants]>) {
        self.exported.remove(&token);
        if !grants.is_empty() {
            self.exported.insert(token, grants);
        }
        self.note_change(ALL);
    }

    /// A connection is gone, whose token may be another one's: nothing is kept from that.
    pub(crate) fn end_withholding(&mut self, token: Token) {
        self.withhold(token, None);
        self.exported.remove(&token);
    }

    /// Whether any connection is not to be given everything.
    pub(super) fn withholds(&self) -> bool {
        !self.withheld.is_empty() || !self.exported.is_empty()
    }

    /// Whether a topic is kept from a connection.
    pub(crate) fn is_withheld(&self, token: Token, topic: &[u8]) -> bool {
        let exported = self.exported.get(&token);
        if exported.is_some_and(|grants| grants.iter().any(|it| !it.has(topic))) {
            return true;
        }
        let denied = self.withheld.get(&token);
        denied.is_some_and(|denied| denied.iter().any(|it| wire::topic::matches(it, topic)))
    }

    /// Members of a group's lists that are not to be given a topic, in order.
    pub(super) fn withheld_members(
        &self,
        lists: impl Iterator<Item = u32>,
        topic: &[u8],
    ) -> Box<[Token]> {
        if !self.withholds() {
            return Box::default();
        }
        let members = lists.flat_map(|list| self.registry.members_of(list));
        let tokens = members.map(|member| self.registry.place(*member).0);
        let mut withheld: Vec<_> = tokens.filter(|it| self.is_withheld(*it, topic)).collect();
        withheld.sort_unstable();
        withheld.dedup();
        withheld.into()
    }

    /// Whether a user may publish to a valid topic whose route was just asked for.
    pub(crate) fn may_publish(&mut self, topic: &[u8], user: &User, budget: &mut Budget) -> bool {
        if let Some(known) = self.cache.permit(topic, user.place) {
            return known;
        }
        budget.charge(user.rights.publish.len() as u64 * budget::GRANT);
        let granted = user.rights.publish.has(topic);
        self.cache.note_permit(topic, user.place, granted);
        granted
    }

    /// Who may publish what is to be looked at again.
    pub(crate) fn forget_permits(&mut self) {
        self.cache.forget_permits();
    }
}
