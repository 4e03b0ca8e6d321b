//! What is wanted on each side of the link.
//!
//! Owns what the hub was told of filters here, and how changes of that become lines: each filter
//! that somebody here holds, once, and for queue groups how many members there are. What the hub
//! wants are subscriptions of its connection. Must not know messages.
//!
//! Of a filter that changes many times in a turn the hub hears once, and in a turn no more than a
//! share of it is told; what is left, and what it does not read yet, is told later.

use std::collections::HashMap;
use std::time::Instant;

use log::warn;
use wire::Encoding;
use wire::leaf::line::Line;
use wire::leaf::permissions::Permissions;
use wire::leaf::subject::{check_filter, is_loop_mark};
use wire::topic::{includes, overlaps, validate_group};

use crate::engine::access::Grants;
use crate::engine::buffers::chunk::Own;
use crate::engine::close_reason::CloseReason;
use crate::engine::delivery::waits::Obstacle;
use crate::engine::routing::Interest;
use crate::engine::sessions::requests::{MAX_ANSWER_BYTES, MIN_INDEX_BYTES};
use crate::engine::token::Token;
use crate::engine::{Engine, budget};

/// Members of a queue group that are counted for one unit.
const MEMBERS: u64 = 8;

/// What a hub was told.
#[derive(Default)]
pub(super) struct Told {
    /// Each filter, with the name of a queue group if it is for one, and its weight.
    filters: HashMap<Interest, u32>,
    /// The next list of subscribers that it was not told of yet; `None`: it was told of all.
    next: Option<usize>,
    /// What it allows to ask for; `None`: it has not said that yet, and is told nothing.
    allowed: Option<Permissions>,
}

impl Told {
    /// A hub has said what it allows to ask for: from now on it is told, and if that is something
    /// else than before, of what it allows now.
    pub(super) fn begin(&mut self, allowed: Permissions) {
        if self.allowed.as_ref() != Some(&allowed) {
            self.next = Some(0);
        }
        self.allowed = Some(allowed);
    }

    /// How many filters it was told.
    pub(super) fn len(&self) -> usize {
        self.filters.len()
    }

    /// Appends what the hub is to be told of a filter that has so many subscribers here now.
    fn tell(&mut self, interest: Interest, weight: u32, out: &mut Vec<u8>) {
        let (filter, group) = (&*interest.filter, interest.group.as_deref());
        let told = self.filters.get(&interest).copied();
        // What it was told when that was allowed ends in any case.
        let permits = |allowed: &Permissions| allowed.permits_interest(filter);
        let is_allowed = weight == 0 || self.allowed.as_ref().is_some_and(permits);
        if weight == told.unwrap_or(0) || !is_allowed {
            return;
        }
        if weight == 0 {
            Line::EndInterest { filter, group }.write(out);
            self.filters.remove(&interest);
        } else {
            Line::Interest { filter, group: group.map(|name| (name, weight)) }.write(out);
            self.filters.insert(interest, weight);
        }
    }
}

impl Engine {
    /// Tells the hub of filters here that were not told yet, for a share of the turn and as long as
    /// it reads them. Returns whether nothing is left.
    pub(super) fn tell_interest(&mut self, hub: Token) -> bool {
        let Some(link) = self.link.as_mut().filter(|link| link.told.allowed.is_some()) else {
            return false;
        };
        let until = self.budget.spent() + self.budget.share();
        let answers = self.connections[hub.index()].outbox.answers();
        let mut lines = Vec::new();
        while answers + lines.len() <= MAX_ANSWER_BYTES && self.budget.spent() < until {
            let interest = match link.told.next {
                Some(from) => {
                    let Some((next, interest)) = self.index.next_interest(from) else {
                        link.told.next = None;
                        continue;
                    };
                    link.told.next = Some(next);
                    interest
                }
                None => match self.index.changed_interest() {
                    Some(interest) => interest,
                    None => break,
                },
            };
            self.budget.charge_turn(budget::FRAME);
            if is_asked_for(&link.rules.import, &interest.filter) {
                let weight = self.index.local_weight(&interest);
                self.budget.charge_turn(u64::from(weight) / MEMBERS);
                link.told.tell(interest, weight, &mut lines);
            }
        }
        let is_done = link.told.next.is_none() && !self.index.has_changed_interest();
        if !lines.is_empty() {
            self.push_own(hub, &lines, Own::Answer);
        }
        is_done
    }

    /// The hub wants messages that match a filter.
    pub(crate) fn hear_interest(
        &mut self,
        token: Token,
        filter: &[u8],
        group: Option<(&[u8], u32)>,
        now: Instant,
    ) {
        if is_loop_mark(filter) {
            let own = self.link.as_ref().is_some_and(|link| *link.mark == *filter);
            if own {
                self.close(token, CloseReason::LoopDetected, now);
            }
            return;
        }
        let (name, weight) = group.unzip();
        let is_carried =
            check_filter(filter).is_ok() && name.is_none_or(|name| validate_group(name).is_ok());
        if !is_carried {
            return self.count_not_carried();
        }
        if weight == Some(0) {
            return self.hear_end(token, filter, name);
        }
        let held = self.index.held(token).subscriptions;
        // Half of what there is, so that clients here find room for theirs.
        let most = self.rules.memory_bytes.max(MIN_INDEX_BYTES) / 2;
        if held < self.rules.link.max_subscriptions && self.index.bytes() < most {
            return self.want(token, filter, name);
        }
        // All of it is more than is wanted, and nothing is lost.
        if let Some(link) = &mut self.link
            && !std::mem::replace(&mut link.is_folded, true)
        {
            warn!("the hub wants more filters than can be kept, {held}: it is sent everything");
        }
        self.want(token, b">", None);
    }

    /// It does not any more.
    pub(crate) fn hear_end(&mut self, token: Token, filter: &[u8], group: Option<&[u8]>) {
        let mut forward = self.link.iter().flat_map(|link| &link.rules.forward);
        if group.is_none() && forward.any(|it| **it == *filter) {
            return;
        }
        if let Some(group) = group.and_then(|name| self.index.group(name)) {
            self.waits.wake(Obstacle::Group(group), &mut self.schedule);
        }
        self.index.unsubscribe(token, filter, group, Encoding::Leaf, &mut self.budget);
    }

    /// Messages that match a filter are sent to the hub from now on.
    pub(super) fn want(&mut self, token: Token, filter: &[u8], group: Option<&[u8]>) {
        self.index.subscribe(token, filter, group, Encoding::Leaf, &mut self.budget);
        if let Some(group) = group.and_then(|name| self.index.group(name)) {
            self.waits.wake(Obstacle::Group(group), &mut self.schedule);
        }
    }
}

/// Whether the hub is asked for what a filter matches: some of it may be taken.
fn is_asked_for(import: &Grants, filter: &[u8]) -> bool {
    import.allow.iter().any(|allowed| overlaps(allowed, filter))
        && !import.deny.iter().any(|denied| includes(denied, filter))
}
