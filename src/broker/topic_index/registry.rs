//! Who hears what: filters, their audiences, and what each connection holds.
//!
//! Owns subscriptions in both directions. Every change goes through `link` and `unlink`, which
//! keep both directions and forget what is empty. Must not know of routes.
//!
//! There may be a million of all this, mostly of one kind: a connection with one filter of its
//! own. So short lists lie where they belong instead of on the heap, and the tables that look
//! something up hold only its number.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use super::super::Token;
use super::super::trie::{Step, Trie};
use wire::topic;

/// About what a subscription costs beside names and nodes, in bytes, if it is alone in a queue
/// group: measured with a million.
const SUBSCRIPTION_BYTES: usize = 256;
/// About what a node of the trie costs that nobody shares, in bytes: measured likewise.
const NODE_BYTES: usize = 256;

/// Numbers of subscriptions; as many as need no more room than a vector lie in place.
type Numbers = SmallVec<[u32; 4]>;

/// The name of a filter or a queue group; most are short enough to lie in place.
type Name = SmallVec<[u8; 16]>;

/// Who hears one filter, plainly or in one queue group.
struct Audience {
    filter: u32,
    members: Numbers,
    group: Option<Box<Group>>,
}

/// What only the audience of a queue group has.
struct Group {
    name: Name,
    /// Position of the member whose turn it is.
    turn: u32,
    /// Its place in the list of its filter.
    in_filter: u32,
}

/// A filter that somebody holds.
struct Filter {
    name: Name,
    plain: Option<u32>,
    /// The audiences of its queue groups; few filters have any, so the list lies apart.
    groups: Option<Box<Numbers>>,
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
    subscriptions: Numbers,
    bytes: usize,
}

/// All subscriptions.
pub(super) struct Registry {
    filters: Slab<Filter>,
    /// Filters by name.
    by_name: HashTable<u32>,
    wildcards: Trie,
    audiences: Slab<Audience>,
    /// Audiences of queue groups by filter and name.
    by_group: HashTable<u32>,
    subscriptions: Slab<Subscription>,
    /// Subscriptions by audience and token.
    by_member: HashTable<u32>,
    /// By token: the subscriptions of each connection.
    by_connection: Vec<Held>,
    bytes: usize,
    /// Keyed at random: nobody can make names that collide.
    hasher: RandomState,
}

impl Registry {
    /// A registry without subscriptions, and address space for `expected` ones: it costs no
    /// memory before they come, and growing a table of them would leave its old places behind.
    pub(super) fn new(expected: usize) -> Registry {
        Registry {
            filters: Slab::with_capacity(expected),
            by_name: HashTable::new(),
            wildcards: Trie::new(),
            audiences: Slab::with_capacity(expected),
            by_group: HashTable::new(),
            subscriptions: Slab::with_capacity(expected),
            by_member: HashTable::new(),
            by_connection: Vec::with_capacity(expected),
            bytes: 0,
            hasher: RandomState::new(),
        }
    }

    /// How many subscriptions a connection holds, and what they weigh in bytes.
    pub(super) fn held(&self, token: Token) -> (usize, usize) {
        let held = self.by_connection.get(token.index());
        held.map_or((0, 0), |held| (held.subscriptions.len(), held.bytes))
    }

    /// How many subscriptions there are in all.
    pub(super) fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// How many filters somebody holds.
    pub(super) fn filters(&self) -> usize {
        self.filters.len()
    }

    /// How many audiences there are.
    #[cfg(test)]
    pub(super) fn audiences(&self) -> usize {
        self.audiences.len()
    }

    /// What all subscriptions weigh, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of a connection's subscription.
    pub(super) fn find(&self, token: Token, filter: &[u8], group: Option<&[u8]>) -> Option<u32> {
        let audience = self.find_audience(self.find_filter(filter)?, group)?;
        let hash = self.hasher.hash_one((audience, token));
        let is_it = |&number: &u32| self.subscriptions[number as usize].is(audience, token);
        self.by_member.find(hash, is_it).copied()
    }

    /// The subscription of a connection that was made last, as far as anybody can tell.
    pub(super) fn last_of(&self, token: Token) -> Option<u32> {
        self.by_connection.get(token.index())?.subscriptions.last().copied()
    }

    /// The filter of a subscription.
    pub(super) fn name(&self, subscription: u32) -> &[u8] {
        let audience = self.subscriptions[subscription as usize].audience;
        &self.filters[self.audiences[audience as usize].filter as usize].name
    }

    /// Looks for the filters with a wildcard that match a valid topic, for about `nodes` nodes of
    /// the trie.
    pub(super) fn matching(&mut self, topic: &[u8], nodes: u64) -> Step {
        self.wildcards.matching(topic, nodes)
    }

    /// Whether there is such a search that goes on later.
    #[cfg(test)]
    pub(super) fn is_searching(&self) -> bool {
        self.wildcards.is_searching()
    }

    /// The filter with this name.
    pub(super) fn find_filter(&self, name: &[u8]) -> Option<u32> {
        let is_it = |&filter: &u32| *self.filters[filter as usize].name == *name;
        self.by_name.find(self.hasher.hash_one(name), is_it).copied()
    }

    /// Connections that hold a filter without a queue group.
    pub(super) fn plain(&self, filter: u32) -> impl Iterator<Item = Token> {
        let audience = self.filters[filter as usize].plain;
        let members = audience.map_or(&[][..], |audience| self.audience_members(audience));
        members.iter().map(|&member| self.subscriptions[member as usize].token)
    }

    /// The audiences of a filter's queue groups.
    pub(super) fn groups(&self, filter: u32) -> impl Iterator<Item = u32> {
        self.filters[filter as usize].groups.iter().flat_map(|groups| groups.iter().copied())
    }

    /// The audience of a filter's queue group of this name.
    pub(super) fn group(&self, filter: &[u8], group: &[u8]) -> Option<u32> {
        self.find_audience(self.find_filter(filter)?, Some(group))
    }

    /// The members of a queue group, beginning with the one whose turn it is; none if the
    /// audience is gone.
    pub(super) fn members(&self, audience: u32) -> impl Iterator<Item = Token> {
        let turn = self.audiences.get(audience as usize).map_or(0, Audience::turn);
        let (later, first) = self.audience_members(audience).split_at(turn);
        first.iter().chain(later).map(|&member| self.subscriptions[member as usize].token)
    }

    /// The turn passes to the member `skipped` places behind the one that just had it.
    pub(super) fn pass_turn(&mut self, audience: u32, skipped: usize) {
        let audience = &mut self.audiences[audience as usize];
        if let Some(group) = &mut audience.group {
            let turn = group.turn as usize + skipped + 1;
            group.turn = key(turn % audience.members.len().max(1));
        }
    }

    fn audience_members(&self, audience: u32) -> &[u32] {
        self.audiences.get(audience as usize).map_or(&[], |audience| &audience.members)
    }

    /// The audience of a filter, plainly or in a queue group.
    fn find_audience(&self, filter: u32, group: Option<&[u8]>) -> Option<u32> {
        let Some(name) = group else { return self.filters[filter as usize].plain };
        let is_it = |&number: &u32| {
            let audience = &self.audiences[number as usize];
            audience.filter == filter && audience.group.as_ref().is_some_and(|g| *g.name == *name)
        };
        self.by_group.find(self.hasher.hash_one((filter, name)), is_it).copied()
    }

    /// Makes a connection a member of the audience of a filter: both directions and the look-up.
    pub(super) fn link(&mut self, token: Token, filter: &[u8], group: Option<&[u8]>) {
        let audience = self.audience(filter, group);
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
        let (hasher, subscriptions) = (&self.hasher, &self.subscriptions);
        let hash = |&number: &u32| {
            let Subscription { audience, token, .. } = subscriptions[number as usize];
            hasher.hash_one((audience, token))
        };
        self.by_member.insert_unique(hash(&subscription), subscription, hash);
    }

    /// Undoes `link`, and forgets an audience and a filter that nobody is left in.
    pub(super) fn unlink(&mut self, subscription: u32) {
        let Subscription { audience, token, in_audience, in_connection } =
            self.subscriptions.remove(subscription as usize);
        let hash = self.hasher.hash_one((audience, token));
        remove(&mut self.by_member, hash, subscription);
        let weight = self.weight(audience);
        self.bytes -= weight;
        let held = &mut self.by_connection[token.index()];
        held.bytes -= weight;
        held.subscriptions.swap_remove(in_connection as usize);
        if let Some(&moved) = held.subscriptions.get(in_connection as usize) {
            self.subscriptions[moved as usize].in_connection = in_connection;
        }
        if held.subscriptions.is_empty() {
            *held = Held::default();
        }
        let left = &mut self.audiences[audience as usize];
        left.members.swap_remove(in_audience as usize);
        if let Some(&moved) = left.members.get(in_audience as usize) {
            self.subscriptions[moved as usize].in_audience = in_audience;
        }
        if let Some(group) = &mut left.group
            && group.turn as usize >= left.members.len()
        {
            group.turn = 0;
        }
        if left.members.is_empty() {
            self.remove_audience(audience);
        }
    }

    /// About what a subscription in this audience costs in bytes, as if nobody shared its filter:
    /// its names, twice, its places in lists, and for a wildcard a node for each token.
    fn weight(&self, audience: u32) -> usize {
        let Audience { filter, group, .. } = &self.audiences[audience as usize];
        let name = &self.filters[*filter as usize].name;
        let nodes = if topic::has_wildcard(name) { topic::tokens(name).count() } else { 0 };
        let names = 2 * (name.len() + group.as_ref().map_or(0, |group| group.name.len()));
        SUBSCRIPTION_BYTES + names + NODE_BYTES * nodes
    }

    /// The audience of a filter, made if there is none.
    fn audience(&mut self, name: &[u8], group: Option<&[u8]>) -> u32 {
        let filter = self.find_filter(name).unwrap_or_else(|| self.add_filter(name));
        self.find_audience(filter, group).unwrap_or_else(|| self.add_audience(filter, group))
    }

    fn add_audience(&mut self, filter: u32, group: Option<&[u8]>) -> u32 {
        let audience = key(self.audiences.vacant_key());
        let entry = &mut self.filters[filter as usize];
        let group = group.map(|name| {
            let groups = entry.groups.get_or_insert_default();
            groups.push(audience);
            let (name, in_filter) = (Name::from_slice(name), key(groups.len() - 1));
            Box::new(Group { name, turn: 0, in_filter })
        });
        let in_group = group.is_some();
        self.audiences.insert(Audience { filter, members: Numbers::new(), group });
        if in_group {
            let (hasher, audiences) = (&self.hasher, &self.audiences);
            let hash = |&number: &u32| {
                let Audience { filter, group, .. } = &audiences[number as usize];
                hasher.hash_one((*filter, group.as_ref().map_or(&[][..], |group| &group.name)))
            };
            self.by_group.insert_unique(hash(&audience), audience, hash);
        } else {
            entry.plain = Some(audience);
        }
        audience
    }

    fn add_filter(&mut self, name: &[u8]) -> u32 {
        let filter = key(self.filters.insert(Filter {
            name: Name::from_slice(name),
            plain: None,
            groups: None,
        }));
        if topic::has_wildcard(name) {
            self.wildcards.insert(name, filter);
        }
        let (hasher, filters) = (&self.hasher, &self.filters);
        let hash = |&filter: &u32| hasher.hash_one(&filters[filter as usize].name[..]);
        self.by_name.insert_unique(hash(&filter), filter, hash);
        filter
    }

    fn remove_audience(&mut self, audience: u32) {
        let Audience { filter, group, .. } = self.audiences.remove(audience as usize);
        let entry = &mut self.filters[filter as usize];
        match group {
            None => entry.plain = None,
            Some(group) => {
                let hash = self.hasher.hash_one((filter, &group.name[..]));
                remove(&mut self.by_group, hash, audience);
                let mut groups = entry.groups.take().expect("its filter lists it");
                groups.swap_remove(group.in_filter as usize);
                if let Some(&moved) = groups.get(group.in_filter as usize)
                    && let Some(moved) = &mut self.audiences[moved as usize].group
                {
                    moved.in_filter = group.in_filter;
                }
                entry.groups = Some(groups).filter(|groups| !groups.is_empty());
            }
        }
        if entry.plain.is_none() && entry.groups.is_none() {
            let Filter { name, .. } = self.filters.remove(filter as usize);
            remove(&mut self.by_name, self.hasher.hash_one(&name[..]), filter);
            if topic::has_wildcard(&name) {
                self.wildcards.remove(&name);
            }
        }
    }
}

impl Audience {
    /// Position of the member whose turn it is.
    fn turn(&self) -> usize {
        self.group.as_ref().map_or(0, |group| group.turn as usize)
    }
}

impl Subscription {
    fn is(&self, audience: u32, token: Token) -> bool {
        self.audience == audience && self.token == token
    }
}

fn remove(table: &mut HashTable<u32>, hash: u64, number: u32) {
    if let Ok(entry) = table.find_entry(hash, |&found| found == number) {
        entry.remove();
    }
}

/// A slab's key or a list's position in 4 bytes; 4 billion of anything here do not fit in memory.
fn key(number: usize) -> u32 {
    u32::try_from(number).expect("fewer than 2^32 subscriptions fit in memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever chooses topics or filters does not know which of them collide: the key of the hash
    /// is another one in each broker.
    #[test]
    fn topics_made_to_collide_in_one_broker_do_not_in_another() {
        let hash = || Registry::new(0).hasher.hash_one(b"t".as_slice());
        assert_ne!(hash(), hash());
    }
}
