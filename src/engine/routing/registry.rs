//! Subscriptions: filters, their lists of members, and what each connection holds.
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

use wire::{Encoding, topic};

use super::groups::Groups;
use super::route::GroupId;
use super::search::Step;
use super::trie::Trie;
use crate::engine::token::Token;

/// About what a subscription costs beside names and nodes, in bytes, if it is alone in a queue
/// group: measured with a million.
const SUBSCRIPTION_BYTES: usize = 256;
/// About what a node of the trie costs that nobody shares, in bytes: measured likewise.
const NODE_BYTES: usize = 256;

/// Numbers of subscriptions; as many as need no more room than a vector lie in place.
type Numbers = SmallVec<[u32; 4]>;

/// The name of a filter or a queue group; most are short enough to lie in place.
pub(super) type Name = SmallVec<[u8; 16]>;

/// The subscriptions to one filter, plain ones or those in one queue group.
struct List {
    filter: u32,
    /// In a queue group they are in the order of their tokens.
    members: Numbers,
    group: Option<Box<InGroup>>,
}

/// What only the list of a queue group has.
struct InGroup {
    /// The number of the group.
    group: u32,
    /// The list's place among those of its filter.
    in_filter: u32,
}

/// A filter that somebody holds.
struct Filter {
    name: Name,
    plain: Option<u32>,
    /// The lists of its queue groups; few filters have any, so these lie apart.
    groups: Option<Box<Numbers>>,
}

/// One connection's subscription, and its places in the two lists that hold it.
struct Subscription {
    list: u32,
    token: Token,
    /// Of no use in the list of a queue group, which is sorted.
    in_list: u32,
    in_connection: u32,
    encoding: Encoding,
}

/// What one connection holds.
#[derive(Default)]
struct Held {
    subscriptions: Numbers,
    bytes: usize,
    groups: u32,
}

/// How much one connection holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holding {
    /// Subscriptions.
    pub subscriptions: usize,
    /// What they weigh, in bytes.
    pub bytes: usize,
    /// Names of queue groups.
    pub groups: usize,
}

/// All subscriptions.
pub(super) struct Registry {
    filters: Slab<Filter>,
    /// Filters by name.
    by_name: HashTable<u32>,
    wildcards: Trie,
    lists: Slab<List>,
    /// Lists of queue groups by filter and group.
    by_group: HashTable<u32>,
    subscriptions: Slab<Subscription>,
    /// Subscriptions by list and token.
    by_member: HashTable<u32>,
    /// By token: the subscriptions of each connection.
    by_connection: Vec<Held>,
    groups: Groups,
    bytes: usize,
    /// Keyed at random: names that collide cannot be made up.
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
            lists: Slab::with_capacity(expected),
            by_group: HashTable::new(),
            subscriptions: Slab::with_capacity(expected),
            by_member: HashTable::new(),
            by_connection: Vec::with_capacity(expected),
            groups: Groups::new(),
            bytes: 0,
            hasher: RandomState::new(),
        }
    }

    /// How much a connection holds.
    pub(super) fn held(&self, token: Token) -> Holding {
        let held = self.by_connection.get(token.index());
        held.map_or(Holding::default(), |held| Holding {
            subscriptions: held.subscriptions.len(),
            bytes: held.bytes,
            groups: held.groups as usize,
        })
    }

    /// How many subscriptions there are in all.
    pub(super) fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// How many filters are held.
    pub(super) fn filters(&self) -> usize {
        self.filters.len()
    }

    /// How many lists and queue groups there are.
    #[cfg(test)]
    pub(super) fn lists_and_groups(&self) -> (usize, usize) {
        (self.lists.len(), self.groups.len())
    }

    /// What all subscriptions weigh, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of a connection's subscription.
    pub(super) fn find(&self, token: Token, filter: &[u8], group: Option<&[u8]>) -> Option<u32> {
        let group = match group {
            Some(name) => Some(self.groups.find(name)?),
            None => None,
        };
        let list = self.find_list(self.find_filter(filter)?, group)?;
        let hash = self.hasher.hash_one((list, token));
        let is_it = |&number: &u32| self.subscriptions[number as usize].is(list, token);
        self.by_member.find(hash, is_it).copied()
    }

    /// A subscription of a connection: the one that is ended at the least cost.
    pub(super) fn last_of(&self, token: Token) -> Option<u32> {
        self.by_connection.get(token.index())?.subscriptions.last().copied()
    }

    /// The filter of a subscription.
    pub(super) fn name(&self, subscription: u32) -> &[u8] {
        let list = self.subscriptions[subscription as usize].list;
        &self.filters[self.lists[list as usize].filter as usize].name
    }

    /// Searches the filters with a wildcard that match a valid topic, in about `nodes` nodes of the
    /// trie.
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

    /// Plain subscriptions to a filter: how each wants its messages, and its connection.
    pub(super) fn plain(&self, filter: u32) -> impl Iterator<Item = (Encoding, Token)> {
        let list = self.filters[filter as usize].plain;
        let members = list.map_or(&[][..], |list| self.members_of(list));
        members.iter().map(|&member| {
            let Subscription { encoding, token, .. } = self.subscriptions[member as usize];
            (encoding, token)
        })
    }

    /// The queue groups with a subscription to a filter, and the list of it.
    pub(super) fn groups(&self, filter: u32) -> impl Iterator<Item = (GroupId, u32)> {
        let lists = self.filters[filter as usize].groups.iter().flat_map(|lists| lists.iter());
        lists.filter_map(|&list| {
            let group = self.lists[list as usize].group.as_ref()?.group;
            Some((self.groups.id(group), list))
        })
    }

    /// Queue groups, by name or of a connection, are looked up in here.
    pub(super) fn queue_groups(&self) -> &Groups {
        &self.groups
    }

    /// The same, to pass a turn.
    pub(super) fn queue_groups_mut(&mut self) -> &mut Groups {
        &mut self.groups
    }

    /// The queue groups of a connection, some of them several times.
    pub(super) fn groups_of(&self, token: Token) -> impl Iterator<Item = GroupId> {
        let held = self.by_connection.get(token.index());
        let subscriptions = held.into_iter().flat_map(|held| held.subscriptions.iter());
        subscriptions.filter_map(|&number| {
            let list = self.subscriptions[number as usize].list;
            Some(self.groups.id(self.lists[list as usize].group.as_ref()?.group))
        })
    }

    /// The subscriptions in a list; none if it is gone.
    pub(super) fn members_of(&self, list: u32) -> &[u32] {
        self.lists.get(list as usize).map_or(&[], |list| &list.members)
    }

    /// The connection of a subscription.
    pub(super) fn token(&self, subscription: u32) -> Token {
        self.subscriptions[subscription as usize].token
    }

    /// How the messages of a subscription are wanted.
    pub(super) fn encoding(&self, subscription: u32) -> Encoding {
        self.subscriptions[subscription as usize].encoding
    }

    /// The list of a filter, of its plain subscriptions or those in a queue group.
    fn find_list(&self, filter: u32, group: Option<u32>) -> Option<u32> {
        let Some(group) = group else { return self.filters[filter as usize].plain };
        let is_it = |&number: &u32| {
            let list = &self.lists[number as usize];
            list.filter == filter && list.group.as_ref().is_some_and(|found| found.group == group)
        };
        self.by_group.find(self.hasher.hash_one((filter, group)), is_it).copied()
    }

    /// Subscribes a connection to a filter: both directions and the look-up.
    pub(super) fn link(
        &mut self,
        token: Token,
        filter: &[u8],
        group: Option<&[u8]>,
        encoding: Encoding,
    ) {
        if self.by_connection.len() <= token.index() {
            self.by_connection.resize_with(token.index() + 1, Held::default);
        }
        let group = group.map(|name| {
            let (group, is_new) = self.groups.join(name, token);
            self.by_connection[token.index()].groups += u32::from(is_new);
            group
        });
        let list = self.list(filter, group);
        let weight = self.weight(list);
        self.bytes += weight;
        let held = &mut self.by_connection[token.index()];
        held.bytes += weight;
        let subscriptions = &self.subscriptions;
        let members = &mut self.lists[list as usize].members;
        let place = match group {
            None => members.len(),
            Some(_) => members.partition_point(|&it| subscriptions[it as usize].token < token),
        };
        let in_connection = key(held.subscriptions.len());
        let in_list = key(place);
        let subscription = Subscription { list, token, in_list, in_connection, encoding };
        let subscription = key(self.subscriptions.insert(subscription));
        members.insert(place, subscription);
        held.subscriptions.push(subscription);
        let (hasher, subscriptions) = (&self.hasher, &self.subscriptions);
        let hash = |&number: &u32| {
            let Subscription { list, token, .. } = subscriptions[number as usize];
            hasher.hash_one((list, token))
        };
        self.by_member.insert_unique(hash(&subscription), subscription, hash);
    }

    /// Undoes `link`, and forgets a list, a filter and a group that nothing is left in.
    pub(super) fn unlink(&mut self, number: u32) {
        let Subscription { list, token, in_list, in_connection, .. } =
            self.subscriptions[number as usize];
        let hash = self.hasher.hash_one((list, token));
        remove(&mut self.by_member, hash, number);
        let weight = self.weight(list);
        self.bytes -= weight;
        let held = &mut self.by_connection[token.index()];
        held.bytes -= weight;
        held.subscriptions.swap_remove(in_connection as usize);
        if let Some(&moved) = held.subscriptions.get(in_connection as usize) {
            self.subscriptions[moved as usize].in_connection = in_connection;
        }
        self.remove_from_list(list, token, in_list);
        self.subscriptions.remove(number as usize);
        let group = self.lists[list as usize].group.as_ref().map(|group| group.group);
        if self.lists[list as usize].members.is_empty() {
            self.remove_list(list);
        }
        let held = &mut self.by_connection[token.index()];
        if let Some(group) = group {
            held.groups -= u32::from(self.groups.leave(group, token));
        }
        if held.subscriptions.is_empty() {
            *held = Held::default();
        }
    }

    /// Takes a connection's subscription out of a list.
    fn remove_from_list(&mut self, list: u32, token: Token, in_list: u32) {
        let left = &mut self.lists[list as usize];
        if left.group.is_some() {
            let before = |&it: &u32| self.subscriptions[it as usize].token < token;
            left.members.remove(left.members.partition_point(before));
            return;
        }
        left.members.swap_remove(in_list as usize);
        if let Some(&moved) = left.members.get(in_list as usize) {
            self.subscriptions[moved as usize].in_list = in_list;
        }
    }

    /// About what a subscription in this list costs in bytes, as if its filter were not shared: its
    /// names, twice, its places in lists, and for a wildcard a node for each token.
    fn weight(&self, list: u32) -> usize {
        let List { filter, group, .. } = &self.lists[list as usize];
        let name = &self.filters[*filter as usize].name;
        let nodes = if topic::has_wildcard(name) { topic::tokens(name).count() } else { 0 };
        let group = group.as_ref().map_or(0, |group| self.groups.name(group.group).len());
        SUBSCRIPTION_BYTES + 2 * (name.len() + group) + NODE_BYTES * nodes
    }

    /// The list of a filter, made if there is none.
    fn list(&mut self, name: &[u8], group: Option<u32>) -> u32 {
        let filter = self.find_filter(name).unwrap_or_else(|| self.add_filter(name));
        self.find_list(filter, group).unwrap_or_else(|| self.add_list(filter, group))
    }

    fn add_list(&mut self, filter: u32, group: Option<u32>) -> u32 {
        let list = key(self.lists.vacant_key());
        let entry = &mut self.filters[filter as usize];
        let in_group = group.map(|group| {
            let lists = entry.groups.get_or_insert_default();
            lists.push(list);
            Box::new(InGroup { group, in_filter: key(lists.len() - 1) })
        });
        self.lists.insert(List { filter, members: Numbers::new(), group: in_group });
        if group.is_some() {
            let (hasher, lists) = (&self.hasher, &self.lists);
            let hash = |&number: &u32| {
                let List { filter, group, .. } = &lists[number as usize];
                hasher.hash_one((*filter, group.as_ref().map_or(0, |group| group.group)))
            };
            self.by_group.insert_unique(hash(&list), list, hash);
        } else {
            entry.plain = Some(list);
        }
        list
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

    fn remove_list(&mut self, list: u32) {
        let List { filter, group, .. } = self.lists.remove(list as usize);
        let entry = &mut self.filters[filter as usize];
        match group {
            None => entry.plain = None,
            Some(group) => {
                let hash = self.hasher.hash_one((filter, group.group));
                remove(&mut self.by_group, hash, list);
                let mut lists = entry.groups.take().expect("its filter lists it");
                lists.swap_remove(group.in_filter as usize);
                if let Some(&moved) = lists.get(group.in_filter as usize)
                    && let Some(moved) = &mut self.lists[moved as usize].group
                {
                    moved.in_filter = group.in_filter;
                }
                entry.groups = Some(lists).filter(|lists| !lists.is_empty());
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

impl Subscription {
    fn is(&self, list: u32, token: Token) -> bool {
        self.list == list && self.token == token
    }
}

pub(super) fn remove(table: &mut HashTable<u32>, hash: u64, number: u32) {
    if let Ok(entry) = table.find_entry(hash, |&found| found == number) {
        entry.remove();
    }
}

/// A slab's key or a list's position in 4 bytes; 4 billion of anything here do not fit in memory.
pub(super) fn key(number: usize) -> u32 {
    u32::try_from(number).expect("fewer than 2^32 subscriptions fit in memory")
}
