//! Subscriptions: filters, their lists of members, and what each connection holds.
//!
//! Owns subscriptions in both directions, and answers questions about them. Every change goes
//! through `link` and `unlink` (in `changes`), which keep both directions and forget what is empty.
//! Must not know of routes.
//!
//! There may be a million of all this, mostly of one kind: a connection with one filter of its
//! own. So short lists lie where they belong instead of on the heap, and the tables that look
//! something up hold only its number.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use wire::{Encoding, Sid};

use super::groups::Groups;
use super::index::Changed;
use super::route::{GroupId, SubscriptionId};
use super::search::Step;
use super::sids::Sids;
use super::trie::Trie;
use crate::engine::token::Token;

/// Numbers of subscriptions; as many as need no more room than a vector lie in place.
pub(super) type Numbers = SmallVec<[u32; 4]>;

/// The name of a filter or a queue group; most are short enough to lie in place.
pub(super) type Name = SmallVec<[u8; 16]>;

/// Where a member of a queue group stands among the others: a native connection is one member
/// however many of its subscriptions name the group, of a NATS client each subscription is one.
pub(super) type Place = (Token, Encoding);

/// The subscriptions to one filter, plain ones or those in one queue group.
pub(super) struct List {
    pub(super) filter: u32,
    /// In a queue group they are in the order of their places.
    pub(super) members: Numbers,
    pub(super) group: Option<Box<InGroup>>,
}

/// What only the list of a queue group has.
pub(super) struct InGroup {
    /// The number of the group.
    pub(super) group: u32,
    /// The list's place among those of its filter.
    pub(super) in_filter: u32,
}

/// A filter that is held.
pub(super) struct Filter {
    pub(super) name: Name,
    pub(super) plain: Option<u32>,
    /// The lists of its queue groups; few filters have any, so these lie apart.
    pub(super) groups: Option<Box<Numbers>>,
}

/// One connection's subscription, and its places in the two lists that hold it.
pub(super) struct Subscription {
    pub(super) list: u32,
    pub(super) token: Token,
    /// Of no use in the list of a queue group, which is sorted.
    pub(super) in_list: u32,
    pub(super) in_connection: u32,
    pub(super) encoding: Encoding,
    /// Messages delivered to a NATS client for it.
    pub(super) delivered: u64,
}

/// A subscription as its connection sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subscribed<'a> {
    pub(crate) id: SubscriptionId,
    pub(crate) filter: &'a [u8],
    pub(crate) group: Option<&'a [u8]>,
    /// How its messages are wanted.
    pub(crate) encoding: Encoding,
    /// Messages delivered to a NATS client for it.
    pub(crate) delivered: u64,
}

/// What one connection holds.
#[derive(Default)]
pub(super) struct Held {
    pub(super) subscriptions: Numbers,
    pub(super) bytes: usize,
    pub(super) groups: u32,
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
    pub(super) filters: Slab<Filter>,
    /// Filters by name.
    pub(super) by_name: HashTable<u32>,
    pub(super) wildcards: Trie,
    pub(super) lists: Slab<List>,
    /// Lists of queue groups by filter and group.
    pub(super) by_group: HashTable<u32>,
    pub(super) subscriptions: Slab<Subscription>,
    /// Subscriptions by what connections call them: native ones by list and token, those of NATS
    /// clients by token and sid.
    pub(super) by_member: HashTable<u32>,
    /// Behind how many messages in all subscriptions end; of those that do.
    pub(super) limits: HashMap<u32, u64>,
    pub(super) sids: Sids,
    /// By token: the subscriptions of each connection.
    pub(super) by_connection: Vec<Held>,
    pub(super) groups: Groups,
    pub(super) changed: Changed,
    pub(super) bytes: usize,
    /// Keyed at random: names that collide cannot be made up.
    pub(super) hasher: RandomState,
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
            limits: HashMap::new(),
            sids: Sids::default(),
            by_connection: Vec::with_capacity(expected),
            groups: Groups::new(),
            changed: None,
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

    /// The number of a native connection's subscription, or a link's.
    pub(super) fn find(
        &self,
        token: Token,
        filter: &[u8],
        group: Option<&[u8]>,
        encoding: Encoding,
    ) -> Option<u32> {
        let group = match group {
            Some(name) => Some(self.groups.find(name)?),
            None => None,
        };
        let list = self.find_list(self.find_filter(filter)?, group)?;
        let is_it = |&number: &u32| {
            let found = &self.subscriptions[number as usize];
            (found.list, found.token, found.encoding) == (list, token, encoding)
        };
        let hash = member_hash(&self.hasher, list, token, encoding);
        self.by_member.find(hash, is_it).copied()
    }

    /// The number of the subscription that a NATS client calls so.
    pub(super) fn find_sid(&self, token: Token, sid: Sid) -> Option<u32> {
        let is_it = |&number: &u32| {
            let found = &self.subscriptions[number as usize];
            found.token == token && found.sid() == Some(sid)
        };
        let encoding = Encoding::Nats { sid, headers: false };
        self.by_member.find(member_hash(&self.hasher, 0, token, encoding), is_it).copied()
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

    /// Plain subscriptions to a filter: how each wants its messages, its connection, and its
    /// number.
    pub(super) fn plain(&self, filter: u32) -> impl Iterator<Item = (Encoding, Token, u32)> {
        let list = self.filters[filter as usize].plain;
        let members = list.map_or(&[][..], |list| self.members_of(list));
        members.iter().map(|&member| {
            let Subscription { encoding, token, .. } = self.subscriptions[member as usize];
            (encoding, token, member)
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

    /// Whether any of these subscriptions ends behind so many messages.
    pub(super) fn has_limits(&self, mut subscriptions: impl Iterator<Item = u32>) -> bool {
        !self.limits.is_empty() && subscriptions.any(|it| self.limits.contains_key(&it))
    }

    /// The queue group of a subscription.
    pub(super) fn group_of(&self, subscription: u32) -> Option<GroupId> {
        let list = self.subscriptions[subscription as usize].list;
        Some(self.groups.id(self.lists[list as usize].group.as_ref()?.group))
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
        subscriptions.filter_map(|&number| self.group_of(number))
    }

    /// The subscriptions of a connection.
    pub(super) fn subscribed_by(&self, token: Token) -> impl Iterator<Item = Subscribed<'_>> {
        let held = self.by_connection.get(token.index());
        held.into_iter().flat_map(|held| held.subscriptions.iter()).map(|&number| {
            let Subscription { list, encoding, delivered, .. } =
                self.subscriptions[number as usize];
            let group = self.lists[list as usize].group.as_ref();
            let group = group.map(|found| self.groups.name(found.group));
            let (id, filter) = (SubscriptionId(number), self.name(number));
            Subscribed { id, filter, group, encoding, delivered }
        })
    }

    /// The filters of a connection's plain subscriptions, and how it wants their messages.
    pub(super) fn plain_of(&self, token: Token) -> impl Iterator<Item = (&[u8], Encoding)> {
        let held = self.by_connection.get(token.index());
        let numbers = held.into_iter().flat_map(|held| held.subscriptions.iter());
        numbers.filter_map(|&number| {
            let Subscription { list, encoding, .. } = self.subscriptions[number as usize];
            self.lists[list as usize].group.is_none().then(|| (self.name(number), encoding))
        })
    }

    /// How a connection's subscriptions want their messages.
    #[cfg(test)]
    pub(super) fn encodings_of(&self, token: Token) -> impl Iterator<Item = Encoding> {
        let held = self.by_connection.get(token.index());
        let numbers = held.into_iter().flat_map(|held| held.subscriptions.iter());
        numbers.map(|&number| self.subscriptions[number as usize].encoding)
    }

    /// The first subscription of a connection that takes headers or does not, and how many were
    /// looked at.
    pub(super) fn next_with_headers(&self, token: Token, wanted: bool) -> Option<(u32, u64)> {
        let held = &self.by_connection.get(token.index())?.subscriptions;
        let has = |number: &u32| {
            let encoding = self.subscriptions[*number as usize].encoding;
            matches!(encoding, Encoding::Nats { headers, .. } if headers == wanted)
        };
        let place = held.iter().position(has)?;
        Some((held[place], place as u64 + 1))
    }

    /// A subscription takes headers or does not. Its place among those of its queue group stays.
    pub(super) fn set_headers(&mut self, number: u32, takes: bool) {
        if let Encoding::Nats { headers, .. } = &mut self.subscriptions[number as usize].encoding {
            *headers = takes;
        }
    }

    /// The subscriptions in a list; none if it is gone.
    pub(super) fn members_of(&self, list: u32) -> &[u32] {
        self.lists.get(list as usize).map_or(&[], |list| &list.members)
    }

    /// Where a subscription stands among those of its queue group.
    pub(super) fn place(&self, subscription: u32) -> Place {
        let Subscription { token, encoding, .. } = self.subscriptions[subscription as usize];
        (token, encoding)
    }

    /// Behind how many messages more a subscription ends, if it does.
    pub(super) fn left(&self, subscription: u32) -> Option<u64> {
        let limit = self.limits.get(&subscription)?;
        Some(limit.saturating_sub(self.subscriptions[subscription as usize].delivered))
    }

    /// The list of a filter, of its plain subscriptions or those in a queue group.
    pub(super) fn find_list(&self, filter: u32, group: Option<u32>) -> Option<u32> {
        let Some(group) = group else { return self.filters[filter as usize].plain };
        let is_it = |&number: &u32| {
            let list = &self.lists[number as usize];
            list.filter == filter && list.group.as_ref().is_some_and(|found| found.group == group)
        };
        self.by_group.find(self.hasher.hash_one((filter, group)), is_it).copied()
    }
}

impl Subscription {
    /// What a NATS client calls it.
    pub(super) fn sid(&self) -> Option<Sid> {
        match self.encoding {
            Encoding::Native | Encoding::Leaf => None,
            Encoding::Nats { sid, .. } => Some(sid),
        }
    }
}

/// The hash by which a subscription is found: by its list, or by its sid if it has one.
pub(super) fn member_hash(
    hasher: &RandomState,
    list: u32,
    token: Token,
    encoding: Encoding,
) -> u64 {
    match encoding {
        Encoding::Native | Encoding::Leaf => hasher.hash_one((list, token)),
        Encoding::Nats { sid, .. } => hasher.hash_one((sid, token)),
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
