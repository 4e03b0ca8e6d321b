//! The members of a queue group that match a topic, in the order of their turns.
//!
//! Owns the merge of the group's lists, one for each filter that matches. Changes nothing: whose
//! turn has passed is told to the group.

use smallvec::SmallVec;

use super::registry::{Place, Registry};
use super::route::{Member, RouteGroup, SubscriptionId};

/// The members of a queue group that match a topic, from the first one behind the
/// member served last to that one.
pub(super) struct MembersInTurn<'a> {
    registry: &'a Registry,
    /// Each list, and the position of its next member.
    lists: SmallVec<[(&'a [u32], usize); 2]>,
    served: Option<Place>,
    is_second_round: bool,
}

impl Iterator for MembersInTurn<'_> {
    type Item = Member;

    fn next(&mut self) -> Option<Member> {
        loop {
            let heads = self.lists.iter().filter_map(|(list, at)| list.get(*at));
            let next = heads.map(|&member| (self.registry.place(member), member)).min();
            let is_left =
                |(place, _): &(Place, u32)| !self.is_second_round || Some(*place) <= self.served;
            if let Some((place, member)) = next.filter(is_left) {
                for (list, at) in &mut self.lists {
                    let head = list.get(*at).map(|&member| self.registry.place(member));
                    *at += usize::from(head == Some(place));
                }
                let (token, encoding) = place;
                return Some(Member { token, encoding, subscription: SubscriptionId(member) });
            }
            if self.is_second_round {
                return None;
            }
            self.is_second_round = true;
            self.lists.iter_mut().for_each(|(_, at)| *at = 0);
        }
    }
}

impl Registry {
    /// The members of a queue group that match, beginning with the one whose turn it is, each once;
    /// none of a list that is gone.
    pub(super) fn members<'a>(&'a self, group: &'a RouteGroup) -> MembersInTurn<'a> {
        let served = self.queue_groups().served(group.group);
        let first_behind = |&list: &u32| {
            let members = self.members_of(list);
            let behind = |member: &u32| Some(self.place(*member)) <= served;
            (members, members.partition_point(behind))
        };
        let lists = group.lists.iter().map(first_behind).collect();
        MembersInTurn { registry: self, lists, served, is_second_round: false }
    }
}
