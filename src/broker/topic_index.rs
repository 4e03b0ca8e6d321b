//! Topic to connection tokens: who receives a message.
//!
//! Owns subscriptions in both directions (who hears a filter, what a connection holds) and the
//! routes made from them. Every change goes through `link` and `unlink`, which keep both
//! directions and forget what is empty. Must not know what a connection is, nor deliver.
//!
//! Filters without a wildcard are found by name, those with one through a trie of tokens. The
//! receivers of a topic are a [`Route`]; equal sets of receivers share one route, so that telling
//! whether two messages go the same way is comparing pointers.
//!
//! Cost: subscribing and unsubscribing take O(tokens of the filter), whoever else is there. A
//! route that is not cached takes one visit to each trie node that matches the topic's beginning,
//! which is at most the number of wildcard filters times their tokens.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::rc::Rc;

use slab::Slab;

use super::Token;
use super::route_cache::{Found, RouteCache};
use super::trie::Trie;
use crate::wire::topic::{self, TopicError};

/// Routes that nobody uses are looked for when there are this many, and twice as many as the
/// last time.
const ROUTES_BEFORE_PURGE: usize = 1_024;
/// About what a subscription costs beside names and nodes, in bytes: measured with a million.
const SUBSCRIPTION_BYTES: usize = 256;
/// About what a node of the trie costs that nobody shares, in bytes: measured likewise.
const NODE_BYTES: usize = 256;
/// Changes of wildcard filters that are remembered, so that a cached route which none of them
/// touches need not be found again.
const REMEMBERED_CHANGES: usize = 32;

/// The receivers of a topic.
#[derive(PartialEq, Eq, Hash)]
pub struct Route {
    /// Connections with a plain filter that matches, once each, in the order of their tokens.
    pub plain: Box<[Token]>,
    /// Queue groups that match; each gives the message to one of its members.
    pub groups: Box<[GroupKey]>,
}

/// Names a queue group in a route.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct GroupKey(u32);

/// Who hears one filter, plainly or in one queue group.
struct Audience {
    filter: u32,
    group: Option<Box<[u8]>>,
    members: Vec<u32>,
    /// Position of the member whose turn it is, for a queue group.
    turn: usize,
}

/// A filter that somebody holds.
struct Filter {
    name: Rc<[u8]>,
    plain: Option<u32>,
    groups: BTreeMap<Box<[u8]>, u32>,
}

/// One connection's membership in one audience, and its places in both lists that hold it.
struct Subscription {
    audience: u32,
    token: Token,
    in_audience: u32,
    in_connection: u32,
}

/// What one connection holds.
#[derive(Default)]
struct Held {
    subscriptions: Vec<u32>,
    bytes: usize,
}

/// All subscriptions.
pub struct TopicIndex {
    filters: Slab<Filter>,
    by_name: HashMap<Rc<[u8]>, u32>,
    wildcards: Trie,
    audiences: Slab<Audience>,
    subscriptions: Slab<Subscription>,
    by_member: HashMap<(u32, Token), u32>,
    /// By token: the subscriptions of each connection.
    by_connection: Vec<Held>,
    bytes: usize,
    cache: RouteCache<Route>,
    /// Grows when a filter with a wildcard changes: any cached route may be stale then.
    generation: u64,
    /// The filters with which it grew, the latest last.
    changes: VecDeque<Box<[u8]>>,
    work: u64,
    routes: HashSet<Rc<Route>>,
    purge_at: usize,
}

impl Default for TopicIndex {
    fn default() -> TopicIndex {
        TopicIndex::new()
    }
}

impl TopicIndex {
    /// An index without subscriptions.
    pub fn new() -> TopicIndex {
        TopicIndex {
            filters: Slab::new(),
            by_name: HashMap::new(),
            wildcards: Trie::new(),
            audiences: Slab::new(),
            subscriptions: Slab::new(),
            by_member: HashMap::new(),
            by_connection: Vec::new(),
            bytes: 0,
            cache: RouteCache::new(),
            generation: 1,
            changes: VecDeque::new(),
            work: 0,
            routes: HashSet::new(),
            purge_at: ROUTES_BEFORE_PURGE,
        }
    }

    /// How many subscriptions a connection holds.
    pub fn count(&self, token: Token) -> usize {
        self.by_connection.get(token.index()).map_or(0, |held| held.subscriptions.len())
    }

    /// What the subscriptions of a connection weigh, and those of all, in bytes.
    pub fn weights(&self, token: Token) -> (usize, usize) {
        (self.by_connection.get(token.index()).map_or(0, |held| held.bytes), self.bytes)
    }

    /// How many subscriptions there are in all.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// How many filters somebody holds.
    pub fn filters(&self) -> usize {
        self.filters.len()
    }

    /// How many topics the cache of routes knows.
    pub fn cached_topics(&self) -> usize {
        self.cache.len()
    }

    /// Whether a connection holds a valid filter, in `group` if one is given.
    pub fn holds(&self, token: Token, filter: &[u8], group: Option<&[u8]>) -> bool {
        self.find(token, filter, group).is_some()
    }

    /// Adds a subscription to a valid filter; nothing changes if it is held already.
    pub fn subscribe(&mut self, token: Token, filter: &[u8], group: Option<&[u8]>) {
        if !self.holds(token, filter, group) {
            let audience = self.audience(filter, group);
            self.link(token, audience);
            self.make_stale(filter);
        }
    }

    /// Ends a subscription; nothing changes if it is not held.
    pub fn unsubscribe(&mut self, token: Token, filter: &[u8], group: Option<&[u8]>) {
        if let Some(subscription) = self.find(token, filter, group) {
            self.unlink(subscription);
            self.make_stale(filter);
        }
    }

    /// Ends all subscriptions of a connection.
    pub fn forget(&mut self, token: Token) {
        while let Some(&last) =
            self.by_connection.get(token.index()).and_then(|held| held.subscriptions.last())
        {
            let audience = self.subscriptions[last as usize].audience;
            let filter = self.audiences[audience as usize].filter;
            let name = self.filters[filter as usize].name.clone();
            self.unlink(last);
            self.make_stale(&name);
        }
        if let Some(held) = self.by_connection.get_mut(token.index()) {
            *held = Held::default();
        }
    }

    /// The receivers of a topic.
    ///
    /// # Errors
    /// Why it is no valid topic.
    pub fn route(&mut self, topic: &[u8]) -> Result<Rc<Route>, TopicError> {
        match self.cache.find(topic, self.generation) {
            Found::Fresh(route) => return Ok(route),
            Found::Stale(route, generation) if self.is_untouched(topic, generation) => {
                self.cache.insert(topic, route.clone(), self.generation, 0);
                return Ok(route);
            }
            Found::Stale(..) => {}
            Found::Unknown => topic::validate_topic(topic)?,
        }
        let route = self.find_route(topic);
        let (route, weight) = self.shared(route);
        self.cache.insert(topic, route.clone(), self.generation, weight);
        Ok(route)
    }

    /// Whether no wildcard filter that has changed since `generation` matches the topic, as far as
    /// changes are remembered.
    fn is_untouched(&self, topic: &[u8], generation: u64) -> bool {
        let since = self.generation.saturating_sub(generation);
        let remembered = usize::try_from(since).is_ok_and(|since| since <= self.changes.len());
        let recent = self.changes.iter().rev().take(since as usize);
        remembered && recent.into_iter().all(|filter| !topic::matches(filter, topic))
    }

    /// The members of a queue group, beginning with the one whose turn it is; none if the last
    /// one has left since the route was made.
    pub fn members(&self, group: GroupKey) -> impl Iterator<Item = Token> {
        let audience = self.audiences.get(group.0 as usize);
        let (later, first) = audience
            .map_or((&[][..], &[][..]), |audience| audience.members.split_at(audience.turn));
        first.iter().chain(later).map(|&member| self.subscriptions[member as usize].token)
    }

    /// The turn passes to the member `skipped` places behind the one that just had it.
    pub fn pass_turn(&mut self, group: GroupKey, skipped: usize) {
        let audience = &mut self.audiences[group.0 as usize];
        audience.turn = (audience.turn + skipped + 1) % audience.members.len().max(1);
    }

    /// Nodes of the trie that routes have visited so far: the work that topics which are not
    /// cached make.
    pub fn work(&self) -> u64 {
        self.work
    }

    fn find_route(&mut self, topic: &[u8]) -> Route {
        let mut matching = Vec::new();
        matching.extend(self.by_name.get(topic).copied());
        self.work += self.wildcards.matching(topic, &mut matching) as u64;
        let filters = || matching.iter().map(|&filter| &self.filters[filter as usize]);
        let audiences = filters().filter_map(|filter| filter.plain);
        let mut plain: Vec<_> = audiences
            .flat_map(|audience| &self.audiences[audience as usize].members)
            .map(|&member| self.subscriptions[member as usize].token)
            .collect();
        plain.sort_unstable();
        plain.dedup();
        let mut groups: Vec<_> =
            filters().flat_map(|filter| filter.groups.values().map(|&key| GroupKey(key))).collect();
        groups.sort_unstable();
        Route { plain: plain.into(), groups: groups.into() }
    }

    /// The one route with these receivers, and its bytes if it is new.
    fn shared(&mut self, route: Route) -> (Rc<Route>, usize) {
        if let Some(shared) = self.routes.get(&route) {
            return (shared.clone(), 0);
        }
        if self.routes.len() >= self.purge_at {
            self.routes.retain(|route| Rc::strong_count(route) > 1);
            self.purge_at = ROUTES_BEFORE_PURGE.max(self.routes.len() * 2);
        }
        let route = Rc::new(route);
        self.routes.insert(route.clone());
        let weight = size_of::<Route>() + size_of_val(&*route.plain) + size_of_val(&*route.groups);
        (route, weight)
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

    fn find(&self, token: Token, filter: &[u8], group: Option<&[u8]>) -> Option<u32> {
        let filter = &self.filters[*self.by_name.get(filter)? as usize];
        let audience = match group {
            None => filter.plain?,
            Some(name) => *filter.groups.get(name)?,
        };
        self.by_member.get(&(audience, token)).copied()
    }

    /// The audience of a filter, made if there is none.
    fn audience(&mut self, filter: &[u8], group: Option<&[u8]>) -> u32 {
        let filter = match self.by_name.get(filter) {
            Some(&filter) => filter,
            None => self.add_filter(filter),
        };
        let entry = &mut self.filters[filter as usize];
        let found = match group {
            None => entry.plain,
            Some(name) => entry.groups.get(name).copied(),
        };
        found.unwrap_or_else(|| {
            let group = group.map(Box::from);
            let audience = Audience { filter, group: group.clone(), members: Vec::new(), turn: 0 };
            let audience = key(self.audiences.insert(audience));
            match group {
                None => entry.plain = Some(audience),
                Some(name) => {
                    entry.groups.insert(name, audience);
                }
            }
            audience
        })
    }

    fn add_filter(&mut self, name: &[u8]) -> u32 {
        let name: Rc<[u8]> = name.into();
        let filter = Filter { name: name.clone(), plain: None, groups: BTreeMap::new() };
        let filter = key(self.filters.insert(filter));
        if topic::has_wildcard(&name) {
            self.wildcards.insert(&name, filter);
        }
        self.by_name.insert(name, filter);
        filter
    }

    /// Makes a connection a member of an audience: both directions and the look-up.
    fn link(&mut self, token: Token, audience: u32) {
        if self.by_connection.len() <= token.index() {
            self.by_connection.resize_with(token.index() + 1, Held::default);
        }
        let weight = self.weight(audience);
        self.bytes += weight;
        let held = &mut self.by_connection[token.index()];
        held.bytes += weight;
        let members = &mut self.audiences[audience as usize].members;
        let subscription = Subscription {
            audience,
            token,
            in_audience: key(members.len()),
            in_connection: key(held.subscriptions.len()),
        };
        let subscription = key(self.subscriptions.insert(subscription));
        members.push(subscription);
        held.subscriptions.push(subscription);
        self.by_member.insert((audience, token), subscription);
    }

    /// About what a subscription in this audience costs in bytes, as if nobody shared its filter:
    /// its names, twice, its places in lists, and for a wildcard a node for each token.
    fn weight(&self, audience: u32) -> usize {
        let Audience { filter, group, .. } = &self.audiences[audience as usize];
        let name = &self.filters[*filter as usize].name;
        let nodes = if topic::has_wildcard(name) { topic::tokens(name).count() } else { 0 };
        let names = 2 * (name.len() + group.as_ref().map_or(0, |group| group.len()));
        SUBSCRIPTION_BYTES + names + NODE_BYTES * nodes
    }

    /// Undoes `link`, and forgets an audience and a filter that nobody is left in.
    fn unlink(&mut self, subscription: u32) {
        let Subscription { audience, token, in_audience, in_connection } =
            self.subscriptions.remove(subscription as usize);
        self.by_member.remove(&(audience, token));
        let weight = self.weight(audience);
        self.bytes -= weight;
        let held = &mut self.by_connection[token.index()];
        held.bytes -= weight;
        held.subscriptions.swap_remove(in_connection as usize);
        if let Some(&moved) = held.subscriptions.get(in_connection as usize) {
            self.subscriptions[moved as usize].in_connection = in_connection;
        }
        let left = &mut self.audiences[audience as usize];
        left.members.swap_remove(in_audience as usize);
        if let Some(&moved) = left.members.get(in_audience as usize) {
            self.subscriptions[moved as usize].in_audience = in_audience;
        }
        if left.turn >= left.members.len() {
            left.turn = 0;
        }
        if left.members.is_empty() {
            self.remove_audience(audience);
        }
    }

    fn remove_audience(&mut self, audience: u32) {
        let Audience { filter, group, .. } = self.audiences.remove(audience as usize);
        let entry = &mut self.filters[filter as usize];
        match group {
            None => entry.plain = None,
            Some(name) => {
                entry.groups.remove(&name);
            }
        }
        if entry.plain.is_none() && entry.groups.is_empty() {
            let Filter { name, .. } = self.filters.remove(filter as usize);
            self.by_name.remove(&name);
            if topic::has_wildcard(&name) {
                self.wildcards.remove(&name);
            }
        }
    }
}

/// A slab's key or a list's position in 4 bytes; 4 billion of anything here do not fit in memory.
fn key(number: usize) -> u32 {
    u32::try_from(number).expect("fewer than 2^32 subscriptions fit in memory")
}

#[cfg(test)]
mod tests;
