//! The look at a queue group: which member gets a message.
//!
//! Owns the choice. Whether a member has room is told by the look at any receiver.

use std::time::Instant;

use wire::Encoding;

use super::{Exception, Run};
use crate::engine::buffers::chunk::Slice;
use crate::engine::delivery::waits::Obstacle;
use crate::engine::routing::{Member, Route, RouteGroup};
use crate::engine::rules::OverflowPolicy;
use crate::engine::token::Token;
use crate::engine::{Engine, budget};

impl Engine {
    /// Chooses the member of a queue group that gets a message: the first one with room, beginning
    /// with the one whose turn it is. If none has room, the policy strikes that one.
    pub(super) fn look_at_group(
        &mut self,
        group: &RouteGroup,
        source: &Slice,
        run: &Run,
        route: &Route,
        is_scarce: bool,
        now: Instant,
    ) {
        // One that wants no messages of its own passes over itself.
        let looks_at_all = |token: Token| self.connections[token.index()].wants_echo();
        let is_known_full = !self.admission.is_oldest
            && self.admission.silent.is_none()
            && self.waits.is_group_full(group, looks_at_all)
            && !self.is_for_choosy_hub(group);
        if is_known_full && self.rules.has_policy(OverflowPolicy::Block) {
            self.admission.full_group = Some(Obstacle::Group(group.group));
            return;
        }
        let (mut looks, mut first, mut chosen, mut hub) = (0, None, None, None);
        let mut full = Vec::new();
        for member in self.index.members(group) {
            looks += 1;
            let token = member.token;
            if !self.connections[token.index()].is_receiver() || self.is_silent(token) {
                continue;
            }
            if member.encoding == Encoding::Leaf {
                // Members elsewhere come last: as servers do, one here is served first.
                hub = Some(member);
                continue;
            }
            first = first.or(Some(member));
            let length = self.copies_in(member.encoding).of(run);
            let is_closing = self.admission.closing.contains(&token);
            if !is_closing && self.takes_one(token, length, run, route, is_scarce) {
                chosen = Some((member, length));
                break;
            }
            full.push((token, length));
        }
        self.budget.charge(looks * budget::LOOK);
        if chosen.is_none()
            && let Some(hub) = hub
        {
            let length = self.copies_in(hub.encoding).of(run) + self.name_bytes(group.group);
            first = first.or(Some(hub));
            let is_lost = self.connections[hub.token.index()].is_lost();
            let may_take = !is_lost && self.hub_takes(source, run);
            if may_take && self.takes_one(hub.token, length, run, route, is_scarce) {
                chosen = Some((hub, length));
            } else if may_take {
                full.push((hub.token, length));
            }
        }
        if let Some((member, length)) = chosen {
            let tells = self.connections[member.token.index()].untold() > 0;
            self.admission.choose(member, tells.then_some(Exception::TellLost), length);
            return;
        }
        match first {
            Some(first) => self.find_none(group, first, full, now),
            None => self.admission.members.push(None),
        }
    }

    /// No member of a queue group has room: they are flushed, or waited for, or the policy strikes
    /// the first one.
    fn find_none(
        &mut self,
        group: &RouteGroup,
        first: Member,
        full: Vec<(Token, usize)>,
        now: Instant,
    ) {
        let before = self.admission.flush_first.len();
        let schedule = &self.schedule;
        let writable = full.iter().map(|it| it.0).filter(|member| schedule.is_writable(*member));
        self.admission.flush_first.extend(writable);
        if self.admission.flush_first.len() > before {
            return;
        }
        // One that is waited for may get room, and so may the others then; where none is, the
        // policy strikes.
        let is_worth_it = |member: Token| self.connections[member.index()].holds_up(&self.rules);
        if full.iter().any(|(member, _)| is_worth_it(*member)) {
            full.into_iter().for_each(|(member, length)| self.begin_stall(member, length, now));
            self.admission.full_group = Some(Obstacle::Group(group.group));
            return;
        }
        let exception = match self.rules_of(first.token).policy {
            OverflowPolicy::Disconnect => {
                self.admission.closing.push(first.token);
                Exception::Close
            }
            // One that blocks and is not worth it is a hub, which takes none of this.
            OverflowPolicy::Drop | OverflowPolicy::Block => Exception::Drop,
        };
        self.admission.choose(first, Some(exception), 0);
    }

    /// Whether a member takes a message of so many bytes, with all other copies of it.
    fn takes_one(
        &self,
        member: Token,
        length: usize,
        run: &Run,
        route: &Route,
        is_scarce: bool,
    ) -> bool {
        let plain = self.copies_of(member, route).of(run);
        let planned = self.admission.planned(member) + plain;
        self.room_behind(member, planned, is_scarce) >= length
            || self.takes_any(member, length + planned)
    }
}
