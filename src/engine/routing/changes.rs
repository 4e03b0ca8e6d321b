//! Subscriptions that come and go.
//!
//! Owns the one way in and the one way out: both directions change together, and what is empty then
//! is forgotten. Must not answer questions.

use std::hash::BuildHasher;

use wire::{Encoding, topic};

use super::registry::{
    Filter, Held, InGroup, List, Name, Numbers, Place, Registry, Subscription, key, member_hash,
    remove,
};
use crate::engine::token::Token;

/// About what a subscription costs beside names and nodes, in bytes, if it is alone in a queue
/// group: measured with a million.
const SUBSCRIPTION_BYTES: usize = 256;
/// About what a node of the trie costs that is not shared, in bytes: measured likewise.
const NODE_BYTES: usize = 256;

impl Registry {
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
        let weight = self.weight(list, encoding);
        self.bytes += weight;
        let held = &mut self.by_connection[token.index()];
        held.bytes += weight;
        let subscriptions = &self.subscriptions;
        let members = &mut self.lists[list as usize].members;
        let place = match group {
            None => members.len(),
            Some(_) => members.partition_point(|&it| {
                let found = &subscriptions[it as usize];
                (found.token, found.encoding) < (token, encoding)
            }),
        };
        let in_connection = key(held.subscriptions.len());
        let in_list = key(place);
        let delivered = 0;
        let subscription =
            Subscription { list, token, in_list, in_connection, encoding, delivered };
        let subscription = key(self.subscriptions.insert(subscription));
        members.insert(place, subscription);
        held.subscriptions.push(subscription);
        let (hasher, subscriptions) = (&self.hasher, &self.subscriptions);
        let hash = |&number: &u32| {
            let Subscription { list, token, encoding, .. } = subscriptions[number as usize];
            member_hash(hasher, list, token, encoding)
        };
        self.by_member.insert_unique(hash(&subscription), subscription, hash);
        self.note_interest(list, encoding);
    }

    /// Undoes `link`, and forgets a list, a filter and a group that nothing is left in.
    pub(super) fn unlink(&mut self, number: u32) {
        let Subscription { list, token, in_list, in_connection, encoding, .. } =
            self.subscriptions[number as usize];
        self.note_interest(list, encoding);
        remove(&mut self.by_member, member_hash(&self.hasher, list, token, encoding), number);
        self.limits.remove(&number);
        let weight = self.weight(list, encoding);
        self.bytes -= weight;
        let held = &mut self.by_connection[token.index()];
        held.bytes -= weight;
        held.subscriptions.swap_remove(in_connection as usize);
        if let Some(&moved) = held.subscriptions.get(in_connection as usize) {
            self.subscriptions[moved as usize].in_connection = in_connection;
        }
        self.remove_from_list(list, (token, encoding), in_list);
        if let Encoding::Nats { sid, .. } = encoding {
            self.sids.release(sid);
        }
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

    /// Takes a subscription out of a list.
    fn remove_from_list(&mut self, list: u32, place: Place, in_list: u32) {
        let left = &mut self.lists[list as usize];
        if left.group.is_some() {
            let before = |&it: &u32| {
                let found = &self.subscriptions[it as usize];
                (found.token, found.encoding) < place
            };
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
    fn weight(&self, list: u32, encoding: Encoding) -> usize {
        let List { filter, group, .. } = &self.lists[list as usize];
        let name = &self.filters[*filter as usize].name;
        let nodes = if topic::has_wildcard(name) { topic::tokens(name).count() } else { 0 };
        let group = group.as_ref().map_or(0, |group| self.groups.name(group.group).len());
        let sid = match encoding {
            Encoding::Nats { sid, .. } => {
                sid.value().map_or_else(|_| self.sids.text_bytes(sid), |_| 0)
            }
            Encoding::Native | Encoding::Leaf => 0,
        };
        SUBSCRIPTION_BYTES + 2 * (name.len() + group + sid) + NODE_BYTES * nodes
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
