//! The face of the room: subscriptions come and go, topics are asked for.
//!
//! Owns how long a route stays true. Must not know what a connection is, nor deliver.
//!
//! Filters without a wildcard are found by name, those with one through a trie of tokens.
//!
//! Cost: subscribing and unsubscribing take O(tokens of the filter), whatever else is there (in a
//! queue group, a move of its members in memory). A route that is not cached takes one visit to
//! each trie node that matches the topic's beginning, which is at most the number of wildcard
//! filters times their tokens. That may be millions, so a search goes on in the caller's next turn
//! when its share is used up.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use wire::Encoding;
use wire::topic::{self, TopicError};

use super::cache::{Cache, Cached};
use super::counts::{TopicCount, TopicCounts};
use super::registry::{Holding, Registry, Subscribed};
use super::route::{Audience, GroupId, Member, Route, RouteGroup, SubscriptionId};
use crate::engine::access::Grants;
use crate::engine::budget::{self, Budget};
use crate::engine::token::Token;

pub(super) use interest::Changed;
pub(crate) use interest::Interest;

/// Changes of wildcard filters that are remembered, so that a cached route which none of them
/// touches need not be found again.
const REMEMBERED_CHANGES: usize = 32;
/// Nodes of the trie that one call for a route visits at least, or no search would end in a turn
/// whose budget is used up.
const MIN_NODES: u64 = 16;
/// Subscriptions of one connection that are looked at for one unit.
const LOOKS: u64 = 8;
/// A route is remembered at its first use already if finding it took more nodes than this.
const COSTLY_NODES: u64 = 64;

/// Why a topic is given no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoute {
    /// It is no valid topic.
    BadTopic(TopicError),
    /// Finding it is so much work that others come first. Asking again goes on with it, whether for
    /// this topic or for another one that is as much work.
    NotYet,
}

/// All subscriptions, and the routes made from them.
pub struct Index {
    registry: Registry,
    cache: Cache,
    /// Grows when a filter with a wildcard changes: any cached route may be stale then.
    generation: u64,
    /// The filters with which it grew, the latest last.
    changes: VecDeque<Box<[u8]>>,
    /// The route that was asked for last is not remembered.
    is_last_new: bool,
    /// What connections are not to be given, though their filters match it.
    withheld: HashMap<Token, Rc<[Box<[u8]>]>>,
    /// What a link may be given, or the one before it: topics that all of these grant.
    exported: HashMap<Token, Box<[Grants]>>,
    /// Another limit of nodes in a call than the budget's.
    #[cfg(test)]
    max_nodes: u64,
}

impl Index {
    /// An index without subscriptions; `expected` of them need not be moved in memory later.
    pub fn new(expected: usize) -> Index {
        Index {
            registry: Registry::new(expected),
            cache: Cache::new(),
            generation: 1,
            changes: VecDeque::new(),
            is_last_new: false,
            withheld: HashMap::new(),
            exported: HashMap::new(),
            #[cfg(test)]
            max_nodes: u64::MAX,
        }
    }

    /// How much a connection holds.
    pub fn held(&self, token: Token) -> Holding {
        self.registry.held(token)
    }

    /// What all subscriptions weigh, in bytes.
    pub fn bytes(&self) -> usize {
        self.registry.bytes()
    }

    /// How many subscriptions there are in all.
    pub fn subscriptions(&self) -> usize {
        self.registry.subscriptions()
    }

    /// How many filters are held.
    pub fn filters(&self) -> usize {
        self.registry.filters()
    }

    /// How many topics the cache of routes knows.
    pub fn cached_topics(&self) -> usize {
        self.cache.len()
    }

    /// Counts from now on what is published to which topic.
    pub(crate) fn count_with(&mut self, counts: TopicCounts) {
        self.cache.count_with(counts);
    }

    /// Messages were published to a topic.
    pub(crate) fn count_messages(&mut self, topic: &[u8], messages: u64, bytes: u64) {
        self.cache.count(topic, messages, bytes);
    }

    /// What was counted, if anything is.
    pub(crate) fn counts(&self) -> Option<&TopicCounts> {
        self.cache.counts()
    }

    /// The topics that most was published to, the busiest first.
    pub(crate) fn busiest(&self, count: usize) -> Vec<TopicCount> {
        self.cache.busiest(count)
    }

    /// Whether a native connection holds a valid filter, in `group` if one is given.
    pub fn holds(&self, token: Token, filter: &[u8], group: Option<&[u8]>) -> bool {
        self.registry.find(token, filter, group, Encoding::Native).is_some()
    }

    /// Adds a subscription to a valid filter. Nothing changes if a native connection or a link
    /// holds it already; a sid must not be in use.
    pub fn subscribe(
        &mut self,
        token: Token,
        filter: &[u8],
        group: Option<&[u8]>,
        encoding: Encoding,
        budget: &mut Budget,
    ) {
        let is_named = matches!(encoding, Encoding::Nats { .. });
        if is_named || self.registry.find(token, filter, group, encoding).is_none() {
            self.registry.link(token, filter, group, encoding);
            self.make_stale(filter, budget);
        }
    }

    /// Ends a subscription of a native connection or a link; nothing changes if it is not held.
    pub fn unsubscribe(
        &mut self,
        token: Token,
        filter: &[u8],
        group: Option<&[u8]>,
        encoding: Encoding,
        budget: &mut Budget,
    ) {
        if let Some(subscription) = self.registry.find(token, filter, group, encoding) {
            self.registry.unlink(subscription);
            self.make_stale(filter, budget);
        }
    }

    /// Ends subscriptions of a connection until `until` units are spent in this turn, and one in
    /// any case. Returns whether none is left.
    pub fn give_up(&mut self, token: Token, budget: &mut Budget, until: u64) -> bool {
        while let Some(last) = self.registry.last_of(token) {
            let name: Box<[u8]> = self.registry.name(last).into();
            self.registry.unlink(last);
            self.make_stale(&name, budget);
            if budget.spent() >= until {
                break;
            }
        }
        self.registry.last_of(token).is_none()
    }

    /// The receivers of a topic.
    ///
    /// # Errors
    /// Why it is no valid topic, or that it is to be asked for again.
    pub fn route(&mut self, topic: &[u8], budget: &mut Budget) -> Result<Rc<Route>, NoRoute> {
        let mut is_known = true;
        match self.cache.find(topic, self.generation) {
            Cached::Fresh(route) => return Ok(route),
            Cached::Stale(route, generation) if self.is_untouched(topic, generation, budget) => {
                self.cache.renew(self.generation);
                return Ok(route);
            }
            Cached::Stale(..) => {}
            Cached::Unknown => {
                is_known = false;
                topic::validate_topic(topic).map_err(NoRoute::BadTopic)?;
            }
        }
        let (filters, is_costly) = self.search(topic, budget)?;
        let route = self.make_route(topic, &filters, budget);
        self.is_last_new = false;
        if is_known || is_costly || self.cache.is_worth_a_place(topic) {
            Ok(self.remember(topic, route, budget))
        } else {
            self.is_last_new = true;
            Ok(self.cache.shared(route))
        }
    }

    /// Whether a hub wants a subject that is no topic, since a token of it is a wildcard: by its
    /// letters, as NATS takes it. Nothing of that is remembered.
    ///
    /// # Errors
    /// That it is to be asked for again.
    pub(crate) fn wants(
        &mut self,
        hub: Token,
        subject: &[u8],
        budget: &mut Budget,
    ) -> Result<bool, NoRoute> {
        if self.is_withheld(hub, subject) {
            return Ok(false);
        }
        let (filters, _) = self.search(subject, budget)?;
        let of_hub = |filter: &u32| self.registry.plain(*filter).any(|(_, token, _)| token == hub);
        Ok(filters.iter().any(of_hub))
    }

    /// The filters with a wildcard that match, and whether finding the last of them took many
    /// nodes.
    ///
    /// # Errors
    /// That it is to be asked for again.
    fn search(&mut self, topic: &[u8], budget: &mut Budget) -> Result<(Vec<u32>, bool), NoRoute> {
        if budget.is_share_used() {
            return Err(NoRoute::NotYet);
        }
        let nodes = (budget.left_of_share() / budget::NODE).max(MIN_NODES);
        #[cfg(test)]
        let nodes = nodes.min(self.max_nodes);
        let step = self.registry.matching(topic, nodes);
        budget.charge(budget::ROUTE + step.visited * budget::NODE);
        if let Some((other, filters)) = step.other {
            let route = self.make_route(&other, &filters, budget);
            self.remember(&other, route, budget);
        }
        let filters = step.found.ok_or(NoRoute::NotYet)?;
        Ok((filters, step.visited > COSTLY_NODES))
    }

    /// The topic that was asked for last is published to again. The first time that it is, that is
    /// remembered.
    pub(crate) fn asked_for_again(&mut self, topic: &[u8], budget: &mut Budget) {
        if std::mem::take(&mut self.is_last_new) {
            // Nothing is lost if there is no route now: it is asked for again.
            let _ = self.route(topic, budget);
        }
    }

    /// Remembers the route of a topic.
    fn remember(&mut self, topic: &[u8], route: Route, budget: &mut Budget) -> Rc<Route> {
        let (route, forgotten) = self.cache.insert(topic, route, self.generation);
        budget.charge(forgotten * budget::EVICTION);
        route
    }

    /// Whether no wildcard filter that has changed since `generation` matches the topic, as far as
    /// changes are remembered.
    fn is_untouched(&self, topic: &[u8], generation: u64, budget: &mut Budget) -> bool {
        let since = self.generation.saturating_sub(generation);
        let remembered = usize::try_from(since).is_ok_and(|since| since <= self.changes.len());
        if !remembered {
            return false;
        }
        budget.charge(since * budget::LOOK);
        let mut recent = self.changes.iter().rev().take(since as usize);
        recent.all(|filter| !topic::matches(filter, topic))
    }

    /// The queue group of this name, if it has members.
    pub fn group(&self, name: &[u8]) -> Option<GroupId> {
        let groups = self.registry.queue_groups();
        groups.find(name).map(|number| groups.id(number))
    }

    /// The queue groups that a connection is a member of, some of them several times.
    pub fn groups_of(&self, token: Token) -> impl Iterator<Item = GroupId> {
        self.registry.groups_of(token)
    }

    /// The filters of a connection's plain subscriptions, and how it wants their messages.
    pub(crate) fn plain_of(&self, token: Token) -> impl Iterator<Item = (&[u8], Encoding)> {
        self.registry.plain_of(token)
    }

    /// The subscriptions of a connection.
    pub(crate) fn subscribed_by(&self, token: Token) -> impl Iterator<Item = Subscribed<'_>> {
        self.registry.subscribed_by(token)
    }

    /// Whether a connection is a member of a queue group.
    pub fn is_member(&self, group: GroupId, token: Token) -> bool {
        self.registry.queue_groups().is_member(group, token)
    }

    /// The members of a queue group that match, and how they want their messages, beginning with
    /// the one whose turn it is; none if the last one has left since the route was made.
    pub fn members<'a>(&'a self, group: &'a RouteGroup) -> impl Iterator<Item = Member> + 'a {
        let members = self.registry.members(group);
        members.filter(|member| group.withheld.binary_search(&member.token).is_err())
    }

    /// This member of a queue group has had its turn.
    pub fn pass_turn(&mut self, group: GroupId, served: &Member) {
        self.registry.queue_groups_mut().pass_turn(group, (served.token, served.encoding));
    }

    /// Another limit of nodes in a call than the budget's.
    #[cfg(test)]
    pub(crate) fn limit_calls(&mut self, nodes: u64) {
        self.max_nodes = nodes;
    }

    /// The name of a queue group that has members.
    pub(crate) fn group_name(&self, group: GroupId) -> &[u8] {
        self.registry.queue_groups().name(group.number)
    }

    /// The names of a NATS client's subscriptions, and whether they take headers.
    #[cfg(test)]
    pub(crate) fn names_of(&self, token: Token) -> Vec<(Box<[u8]>, bool)> {
        let name = |encoding| match encoding {
            Encoding::Native | Encoding::Leaf => None,
            Encoding::Nats { headers, .. } => Some((self.sid_text(encoding)[..].into(), headers)),
        };
        self.registry.encodings_of(token).filter_map(name).collect()
    }

    /// Whether some topic's route is half found.
    #[cfg(test)]
    pub(crate) fn is_searching(&self) -> bool {
        self.registry.is_searching()
    }

    fn make_route(&self, topic: &[u8], filters: &[u32], budget: &mut Budget) -> Route {
        let own = self.registry.find_filter(topic);
        let filters = || filters.iter().copied().chain(own);
        let mut plain: Vec<_> = filters().flat_map(|filter| self.registry.plain(filter)).collect();
        if self.withholds() {
            plain.retain(|(_, token, _)| !self.is_withheld(*token, topic));
        }
        let mut lists: Vec<_> = filters().flat_map(|filter| self.registry.groups(filter)).collect();
        budget.charge((plain.len() + lists.len()) as u64 * budget::RECEIVER);
        plain.sort_unstable();
        // A native connection gets a message once, whatever subscriptions match, and so does a hub.
        plain.dedup_by_key(|(encoding, token, _)| (*encoding, *token));
        lists.sort_unstable();
        let audience = |same: &[(Encoding, Token, u32)]| Audience {
            encoding: same[0].0,
            receivers: same.iter().map(|(_, token, _)| *token).collect(),
            subscriptions: match same[0].0 {
                Encoding::Native | Encoding::Leaf => Box::default(),
                Encoding::Nats { .. } => same.iter().map(|it| SubscriptionId(it.2)).collect(),
            },
        };
        let needs_look = self.registry.has_limits(plain.iter().map(|it| it.2))
            || has_twice(plain.iter().map(|it| it.1));
        let group = |same: &[(GroupId, u32)]| RouteGroup {
            group: same[0].0,
            lists: same.iter().map(|(_, list)| *list).collect(),
            withheld: self.withheld_members(same.iter().map(|(_, list)| *list), topic),
        };
        Route {
            plain: plain.chunk_by(|a, b| a.0 == b.0).map(audience).collect(),
            groups: lists.chunk_by(|a, b| a.0 == b.0).map(group).collect(),
            needs_look,
        }
    }

    /// Charges a change of a filter, and sees to it that routes which it touches are made anew.
    fn make_stale(&mut self, filter: &[u8], budget: &mut Budget) {
        if topic::has_wildcard(filter) {
            let tokens = topic::tokens(filter).count() as u64;
            budget.charge(budget::SUBSCRIPTION + tokens * budget::FILTER_TOKEN);
            self.note_change(filter);
        } else {
            budget.charge(budget::SUBSCRIPTION);
            self.cache.make_stale(filter);
        }
    }

    /// Routes of topics that match a filter may be others now.
    fn note_change(&mut self, filter: &[u8]) {
        self.generation += 1;
        if self.changes.len() == REMEMBERED_CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back(filter.into());
    }
}

/// Whether a connection stands in several audiences; those are sorted by themselves.
fn has_twice(receivers: impl Iterator<Item = Token> + Clone) -> bool {
    if receivers.clone().is_sorted_by(|a, b| a < b) {
        return false;
    }
    let mut all: Vec<_> = receivers.collect();
    all.sort_unstable();
    all.windows(2).any(|pair| pair[0] == pair[1])
}

mod interest;
mod names;
mod permits;
#[cfg(test)]
mod tests;
