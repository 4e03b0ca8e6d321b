//! Topic to connection tokens: who receives a message.
//!
//! Owns the routes that are made from subscriptions, and how long each stays true. Must not know
//! what a connection is, nor deliver.
//!
//! Filters without a wildcard are found by name, those with one through a trie of tokens. The
//! receivers of a topic are a [`Route`]; equal sets of receivers share one route, so that telling
//! whether two messages go the same way is comparing pointers.
//!
//! Cost: subscribing and unsubscribing take O(tokens of the filter), whoever else is there. A
//! route that is not cached takes one visit to each trie node that matches the topic's beginning,
//! which is at most the number of wildcard filters times their tokens. That may be millions, so
//! one call visits a limited number of them, and the next one for this topic goes on from there.

use std::collections::VecDeque;
use std::rc::Rc;

use super::Token;
use super::route_cache::{Found, RouteCache};
use super::topic_counts::{TopicCount, TopicCounts};
use wire::topic::{self, TopicError};

mod registry;
mod routes;

use registry::Registry;
use routes::Routes;

/// Changes of wildcard filters that are remembered, so that a cached route which none of them
/// touches need not be found again.
const REMEMBERED_CHANGES: usize = 32;
/// Nodes of the trie that one call for a route may visit: about a millisecond.
const NODES_IN_A_CALL: u64 = 10_000;

/// The receivers of a topic.
#[derive(PartialEq, Eq, Hash)]
pub struct Route {
    /// Connections with a plain filter that matches, once each, in the order of their tokens.
    pub plain: Box<[Token]>,
    /// Queue groups that match; each gives the message to one of its members.
    pub groups: Box<[GroupKey]>,
}

/// Why a topic is given no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoute {
    /// It is no valid topic.
    BadTopic(TopicError),
    /// Finding it is so much work that others should have their turn first. Whoever asks again
    /// goes on with it, whether for this topic or for another one that is as much work.
    NotYet,
}

/// Names a queue group in a route.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct GroupKey(u32);

/// All subscriptions, and the routes made from them.
pub struct TopicIndex {
    registry: Registry,
    cache: RouteCache<Route>,
    /// Grows when a filter with a wildcard changes: any cached route may be stale then.
    generation: u64,
    /// The filters with which it grew, the latest last.
    changes: VecDeque<Box<[u8]>>,
    work: u64,
    /// When so much work is done, it is for the next turn.
    work_until: u64,
    nodes_in_a_call: u64,
    routes: Routes,
}

impl Default for TopicIndex {
    fn default() -> TopicIndex {
        TopicIndex::new(0)
    }
}

impl TopicIndex {
    /// An index without subscriptions; `expected` of them need not be moved in memory later.
    pub fn new(expected: usize) -> TopicIndex {
        TopicIndex {
            registry: Registry::new(expected),
            cache: RouteCache::new(),
            generation: 1,
            changes: VecDeque::new(),
            work: 0,
            work_until: u64::MAX,
            nodes_in_a_call: NODES_IN_A_CALL,
            routes: Routes::new(),
        }
    }

    /// How many subscriptions a connection holds.
    pub fn count(&self, token: Token) -> usize {
        self.registry.held(token).0
    }

    /// What the subscriptions of a connection weigh, and those of all, in bytes.
    pub fn weights(&self, token: Token) -> (usize, usize) {
        (self.registry.held(token).1, self.registry.bytes())
    }

    /// How many subscriptions there are in all.
    pub fn subscriptions(&self) -> usize {
        self.registry.subscriptions()
    }

    /// How many filters somebody holds.
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

    /// Whether that is counted.
    pub(crate) fn is_counting(&self) -> bool {
        self.cache.is_counting()
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

    /// Whether a connection holds a valid filter, in `group` if one is given.
    pub fn holds(&self, token: Token, filter: &[u8], group: Option<&[u8]>) -> bool {
        self.registry.find(token, filter, group).is_some()
    }

    /// Adds a subscription to a valid filter; nothing changes if it is held already.
    pub fn subscribe(&mut self, token: Token, filter: &[u8], group: Option<&[u8]>) {
        if !self.holds(token, filter, group) {
            self.registry.link(token, filter, group);
            self.make_stale(filter);
        }
    }

    /// Ends a subscription; nothing changes if it is not held.
    pub fn unsubscribe(&mut self, token: Token, filter: &[u8], group: Option<&[u8]>) {
        if let Some(subscription) = self.registry.find(token, filter, group) {
            self.registry.unlink(subscription);
            self.make_stale(filter);
        }
    }

    /// Ends all subscriptions of a connection.
    pub fn forget(&mut self, token: Token) {
        while let Some(last) = self.registry.last_of(token) {
            let name: Box<[u8]> = self.registry.name(last).into();
            self.registry.unlink(last);
            self.make_stale(&name);
        }
    }

    /// The receivers of a topic.
    ///
    /// # Errors
    /// Why it is no valid topic, or that it is to be asked for again.
    pub fn route(&mut self, topic: &[u8]) -> Result<Rc<Route>, NoRoute> {
        match self.cache.find(topic, self.generation) {
            Found::Fresh(route) => return Ok(route),
            Found::Stale(route, generation) if self.is_untouched(topic, generation) => {
                self.cache.renew(self.generation);
                return Ok(route);
            }
            Found::Stale(..) => {}
            Found::Unknown => topic::validate_topic(topic).map_err(NoRoute::BadTopic)?,
        }
        if self.has_worked_enough() {
            return Err(NoRoute::NotYet);
        }
        let step = self.registry.matching(topic, self.nodes_in_a_call);
        self.work += step.visited;
        if let Some((other, filters)) = step.other {
            self.remember(&other, filters);
        }
        let filters = step.found.ok_or(NoRoute::NotYet)?;
        Ok(self.remember(topic, filters))
    }

    /// Remembers the route that follows from the wildcard filters which match a topic.
    fn remember(&mut self, topic: &[u8], filters: Vec<u32>) -> Rc<Route> {
        let route = self.make_route(topic, filters);
        let route = self.routes.share(route);
        if !self.cache.insert(topic, route.clone(), self.generation, self.routes.bytes()) {
            self.routes.forget_all_but(&route);
        }
        route
    }

    /// Whether no wildcard filter that has changed since `generation` matches the topic, as far as
    /// changes are remembered.
    fn is_untouched(&self, topic: &[u8], generation: u64) -> bool {
        let since = self.generation.saturating_sub(generation);
        let remembered = usize::try_from(since).is_ok_and(|since| since <= self.changes.len());
        let recent = self.changes.iter().rev().take(since as usize);
        remembered && recent.into_iter().all(|filter| !topic::matches(filter, topic))
    }

    /// The queue group of this name at a filter, if it has members.
    pub fn group(&self, filter: &[u8], group: Option<&[u8]>) -> Option<GroupKey> {
        self.registry.group(filter, group?).map(GroupKey)
    }

    /// The members of a queue group, beginning with the one whose turn it is; none if the last
    /// one has left since the route was made.
    pub fn members(&self, group: GroupKey) -> impl Iterator<Item = Token> {
        self.registry.members(group.0)
    }

    /// The turn passes to the member `skipped` places behind the one that just had it.
    pub fn pass_turn(&mut self, group: GroupKey, skipped: usize) {
        self.registry.pass_turn(group.0, skipped);
    }

    /// Another limit of nodes in a call than the usual one.
    #[cfg(test)]
    pub(super) fn limit_calls(&mut self, nodes: u64) {
        self.nodes_in_a_call = nodes;
    }

    /// Whether some topic's route is half found.
    #[cfg(test)]
    pub(super) fn is_searching(&self) -> bool {
        self.registry.is_searching()
    }

    /// From now on, routes that are not cached may visit so many nodes of the trie, and those of
    /// one call more; without such a call, as many as they want. Whoever is cached is never held
    /// up by the work that others make.
    pub fn begin_turn(&mut self, nodes: u64) {
        self.work_until = self.work + nodes;
    }

    /// Nodes of the trie that routes have visited so far: the work that topics which are not
    /// cached make; and what is like it elsewhere.
    pub fn work(&self) -> u64 {
        self.work
    }

    /// Whether all the work of this turn is done.
    pub fn has_worked_enough(&self) -> bool {
        self.work >= self.work_until
    }

    /// As much work was done elsewhere as if so many nodes were visited.
    pub fn worked(&mut self, nodes: usize) {
        self.work += nodes as u64;
    }

    fn make_route(&self, topic: &[u8], mut filters: Vec<u32>) -> Route {
        filters.extend(self.registry.find_filter(topic));
        let filters = || filters.iter().copied();
        let mut plain: Vec<_> = filters().flat_map(|filter| self.registry.plain(filter)).collect();
        plain.sort_unstable();
        plain.dedup();
        let mut groups: Vec<_> =
            filters().flat_map(|filter| self.registry.groups(filter)).map(GroupKey).collect();
        groups.sort_unstable();
        Route { plain: plain.into(), groups: groups.into() }
    }

    fn make_stale(&mut self, filter: &[u8]) {
        if topic::has_wildcard(filter) {
            self.generation += 1;
            if self.changes.len() == REMEMBERED_CHANGES {
                self.changes.pop_front();
            }
            self.changes.push_back(filter.into());
        } else {
            self.cache.make_stale(filter);
        }
    }
}

#[cfg(test)]
mod tests;
