//! Queue groups: a name, its members, and whose turn it is.
//!
//! Owns groups by name and by number, and which connections are in them. There is one turn for each
//! group: next is the member behind the one served last, in the order of their places, whatever the
//! topic. Must not know filters.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use super::registry::{Name, Place, key, remove};
use super::route::GroupId;
use crate::engine::token::Token;

/// All queue groups that have members.
pub(super) struct Groups {
    groups: Slab<Group>,
    by_name: HashTable<u32>,
    /// Given to the next group, so that a number that is used again is told from its former owner.
    generation: u32,
    hasher: RandomState,
}

struct Group {
    name: Name,
    generation: u32,
    /// Each member and how many of its subscriptions name the group, by token.
    members: SmallVec<[(Token, u32); 2]>,
    /// The member served last.
    served: Option<Place>,
}

impl Groups {
    pub(super) fn new() -> Groups {
        Groups {
            groups: Slab::new(),
            by_name: HashTable::new(),
            generation: 0,
            hasher: RandomState::new(),
        }
    }

    /// The number of the group with this name.
    pub(super) fn find(&self, name: &[u8]) -> Option<u32> {
        let is_it = |&number: &u32| *self.groups[number as usize].name == *name;
        self.by_name.find(self.hasher.hash_one(name), is_it).copied()
    }

    /// A subscription of a connection names the group. Returns the group's number, and whether the
    /// connection was no member before.
    pub(super) fn join(&mut self, name: &[u8], token: Token) -> (u32, bool) {
        let number = self.find(name).unwrap_or_else(|| self.add(name));
        let members = &mut self.groups[number as usize].members;
        match members.binary_search_by_key(&token, |(member, _)| *member) {
            Ok(place) => {
                members[place].1 += 1;
                (number, false)
            }
            Err(place) => {
                members.insert(place, (token, 1));
                (number, true)
            }
        }
    }

    /// Undoes `join` once. Returns whether the connection is no member any more.
    pub(super) fn leave(&mut self, number: u32, token: Token) -> bool {
        let group = &mut self.groups[number as usize];
        let found = group.members.binary_search_by_key(&token, |(member, _)| *member);
        let Ok(place) = found else { return false };
        group.members[place].1 -= 1;
        if group.members[place].1 > 0 {
            return false;
        }
        group.members.remove(place);
        if group.members.is_empty() {
            let Group { name, .. } = self.groups.remove(number as usize);
            remove(&mut self.by_name, self.hasher.hash_one(&name[..]), number);
        }
        true
    }

    /// What the group with this number is called everywhere else.
    pub(super) fn id(&self, number: u32) -> GroupId {
        GroupId { number, generation: self.groups[number as usize].generation }
    }

    /// Whether a connection is a member; of a group that is gone, none is.
    pub(super) fn is_member(&self, id: GroupId, token: Token) -> bool {
        self.get(id).is_some_and(|group| {
            group.members.binary_search_by_key(&token, |(member, _)| *member).is_ok()
        })
    }

    /// The member served last, if the group is there and any was.
    pub(super) fn served(&self, id: GroupId) -> Option<Place> {
        self.get(id)?.served
    }

    /// This member has had its turn.
    pub(super) fn pass_turn(&mut self, id: GroupId, served: Place) {
        let group = self.groups.get_mut(id.number as usize);
        if let Some(group) = group.filter(|group| group.generation == id.generation) {
            group.served = Some(served);
        }
    }

    /// The name of the group with this number.
    pub(super) fn name(&self, number: u32) -> &[u8] {
        &self.groups[number as usize].name
    }

    /// How many groups have members.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    fn get(&self, id: GroupId) -> Option<&Group> {
        let group = self.groups.get(id.number as usize)?;
        (group.generation == id.generation).then_some(group)
    }

    fn add(&mut self, name: &[u8]) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        let number = key(self.groups.insert(Group {
            name: Name::from_slice(name),
            generation: self.generation,
            members: SmallVec::new(),
            served: None,
        }));
        let (hasher, groups) = (&self.hasher, &self.groups);
        let hash = |&number: &u32| hasher.hash_one(&groups[number as usize].name[..]);
        self.by_name.insert_unique(hash(&number), number, hash);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_its_name_and_a_member_counts_once() {
        let mut groups = Groups::new();
        let (one, two) = (Token::new(1), Token::new(2));
        let (number, new) = groups.join(b"g", one);
        assert!(new);
        assert_eq!(groups.join(b"g", one), (number, false));
        assert_eq!(groups.join(b"g", two), (number, true));
        assert_ne!(groups.join(b"h", two).0, number);
        let id = groups.id(number);
        assert!(!groups.leave(number, one) && groups.is_member(id, one));
        assert!(groups.leave(number, one) && !groups.is_member(id, one));
        assert!(groups.leave(number, two));
        assert_eq!(groups.len(), 1);
        assert_eq!(groups.find(b"g"), None);
    }

    #[test]
    fn a_group_that_takes_the_number_of_another_is_not_taken_for_it() {
        let mut groups = Groups::new();
        let token = Token::new(1);
        let (number, _) = groups.join(b"g", token);
        let before = groups.id(number);
        groups.leave(number, token);
        assert_eq!(groups.join(b"h", token).0, number);
        groups.pass_turn(before, (token, wire::Encoding::Native));
        assert_eq!(groups.served(groups.id(number)), None);
        assert!(!groups.is_member(before, token));
    }
}
