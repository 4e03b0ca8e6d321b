//! Queue groups none of whose members has room, and the publishers that wait for them.
//!
//! Owns the waits for groups. Each is kept once, with its group, and each member that has no room
//! is linked with the group once: what is kept grows with publishers plus members, and both sides
//! are let go of without looking for them. Must not decide when to wait.

use std::collections::HashMap;
use std::time::Instant;

use super::connection::GroupWait;
use super::topic_index::GroupKey;
use super::{Broker, Token};

/// The groups that somebody waits for.
#[derive(Default)]
pub(super) struct FullGroups {
    groups: HashMap<GroupKey, FullGroup>,
    /// Grows when a member of any of them may have got room: what was known before need not be
    /// true any more.
    version: u64,
}

/// A group that somebody waits for.
#[derive(Default)]
pub(super) struct FullGroup {
    /// The publishers that wait; each knows its place here.
    pub(super) waiters: Vec<Token>,
    /// All members, and the place of the group in the list of each.
    pub(super) members: Vec<(Token, usize)>,
    /// Bytes of the shortest message that no member had room for, as of a version.
    pub(super) shortest: usize,
    version: u64,
}

/// One of the groups that a member without room makes wait.
pub(crate) struct Membership {
    pub(crate) group: GroupKey,
    /// The member's place in the list of the group.
    pub(crate) place: usize,
}

impl FullGroups {
    /// The group, if anybody waits for it.
    pub(super) fn find(&self, group: GroupKey) -> Option<&FullGroup> {
        self.groups.get(&group)
    }

    /// Whether no member of a group has room for a message of so many bytes, nor gets any by a
    /// flush, as far as that is known without looking at them.
    pub(super) fn is_known_full(&self, group: GroupKey, length: usize) -> bool {
        let full = |full: &FullGroup| full.version == self.version && full.shortest <= length;
        // Mostly there are none at all, and this is asked for each message.
        !self.groups.is_empty() && self.find(group).is_some_and(full)
    }

    /// All publishers that wait for a group, each once.
    pub(super) fn waiters(&self) -> impl Iterator<Item = Token> {
        self.groups.values().flat_map(|full| full.waiters.iter().copied())
    }

    /// All groups that somebody waits for.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (GroupKey, &FullGroup)> {
        self.groups.iter().map(|(group, full)| (*group, full))
    }

    /// What is known of a group's members may have changed.
    pub(super) fn forget_who_is_full(&mut self) {
        self.version += 1;
    }

    fn full(&mut self, group: GroupKey) -> &mut FullGroup {
        self.groups.get_mut(&group).expect("a group is kept as long as anybody is linked with it")
    }
}

impl Broker {
    /// A publisher waits with a message of so many bytes until any member of a queue group has
    /// drained to half, or another one has come, or none is left.
    pub(super) fn wait_for_group(
        &mut self,
        publisher: Token,
        group: GroupKey,
        length: usize,
        now: Instant,
    ) {
        if self.full_groups.find(group).is_none() {
            self.link_members(group, now);
        }
        let version = self.full_groups.version;
        let full = self.full_groups.full(group);
        let known = if full.version == version { full.shortest } else { usize::MAX };
        (full.shortest, full.version) = (known.min(length), version);
        let place = full.waiters.len();
        full.waiters.push(publisher);
        let connection = &mut self.connections[publisher.index()];
        self.stats.pauses += u64::from(!connection.is_paused());
        connection.trouble_mut().group_wait = Some(GroupWait { group, place });
    }

    /// All members of a group hold up somebody from now on.
    fn link_members(&mut self, group: GroupKey, now: Instant) {
        let mut full = FullGroup { shortest: usize::MAX, ..FullGroup::default() };
        for member in self.index.members(group) {
            let groups = &mut self.connections[member.index()].holds_up(now).groups;
            let place = full.members.len();
            full.members.push((member, groups.len()));
            groups.push(Membership { group, place });
        }
        for &(member, _) in &full.members {
            self.arm(member);
        }
        self.full_groups.groups.insert(group, full);
    }

    /// Nobody need wait for this group any more: its members hold up nobody, and those who waited
    /// look again.
    pub(super) fn end_group_waits(&mut self, group: GroupKey) {
        let Some(full) = self.full_groups.groups.remove(&group) else { return };
        for (member, place) in full.members {
            self.unlink_from_member(member, place);
        }
        for publisher in full.waiters {
            let connection = &mut self.connections[publisher.index()];
            connection.trouble_mut().group_wait = None;
            if !connection.is_paused() {
                self.resumed.push(publisher);
            }
        }
    }

    /// The same for all groups.
    pub(super) fn end_all_group_waits(&mut self) {
        let groups: Vec<_> = self.full_groups.groups.keys().copied().collect();
        for group in groups {
            self.end_group_waits(group);
        }
    }

    /// The same for all groups that this connection is a member of.
    pub(super) fn end_group_waits_for(&mut self, member: Token) {
        while let Some((group, _)) = self.connections[member.index()].last_full_group() {
            self.end_group_waits(group);
        }
    }

    /// A publisher that is going waits for no group any more.
    pub(super) fn leave_group_wait(&mut self, publisher: Token) {
        let Some(wait) = self.connections[publisher.index()].take_group_wait() else { return };
        let waiters = &mut self.full_groups.full(wait.group).waiters;
        waiters.swap_remove(wait.place);
        if let Some(&moved) = waiters.get(wait.place) {
            self.connections[moved.index()].trouble_mut().group_wait = Some(wait);
        } else if waiters.is_empty() {
            self.end_group_waits(wait.group);
        }
    }

    /// A connection that leaves all its groups: those who wait for one of them wait for the
    /// members that are left, which hold them up as before. They look again if there is none.
    pub(super) fn leave_full_groups(&mut self, member: Token) {
        while let Some((group, place)) = self.connections[member.index()].last_full_group() {
            self.remove_member(group, place);
        }
    }

    /// The same for one group, which it need not be a member of.
    pub(super) fn leave_full_group(&mut self, member: Token, group: GroupKey) {
        // The member may be in many full groups, so it is looked for in this one: whoever finds it
        // full walks that list, too.
        let Some(full) = self.full_groups.find(group) else { return };
        if let Some(place) = full.members.iter().position(|(found, _)| *found == member) {
            self.remove_member(group, place);
        }
    }

    fn remove_member(&mut self, group: GroupKey, place: usize) {
        let members = &mut self.full_groups.full(group).members;
        let (member, in_member) = members.swap_remove(place);
        let was_last = members.is_empty();
        if let Some(&(moved, in_moved)) = members.get(place)
            && let Some(holding_up) = &mut self.connections[moved.index()].holding_up
        {
            holding_up.groups[in_moved].place = place;
        }
        self.unlink_from_member(member, in_member);
        if was_last {
            self.end_group_waits(group);
        }
    }

    /// Takes a group out of the list of a member, which may hold up nobody then.
    fn unlink_from_member(&mut self, member: Token, place: usize) {
        let connection = &mut self.connections[member.index()];
        let Some(holding_up) = &mut connection.holding_up else { return };
        holding_up.groups.swap_remove(place);
        if let Some(moved) = holding_up.groups.get(place) {
            self.full_groups.full(moved.group).members[moved.place].1 = place;
        }
        if !connection.has_waiters() {
            connection.holding_up = None;
        }
    }
}

#[cfg(test)]
mod tests;
