//! Whose turn it was in queue groups.
//!
//! Owns the record of it, and the rule: as many messages in a row as there are members go to as
//! many of them, where none was ever short of room.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Group, Member};

/// Messages for queue groups.
#[derive(Default)]
pub(super) struct Rounds {
    going: BTreeMap<Group, Round>,
    ended: Vec<Round>,
}

/// Messages for one queue group while the members that match stayed the same: who got each.
struct Round {
    members: BTreeSet<Member>,
    takers: Vec<Member>,
}

impl Rounds {
    /// One of these members was given a message.
    pub(super) fn take_turn(&mut self, group: Group, members: BTreeSet<Member>, taker: Member) {
        match self.going.get_mut(group) {
            Some(round) if round.members == members => round.takers.push(taker),
            _ => {
                let before = self.going.insert(group, Round { members, takers: vec![taker] });
                self.ended.extend(before);
            }
        }
    }

    /// Checks the rule. Returns how many rows of messages were compared.
    pub(super) fn check(&self) -> u64 {
        let mut compared = 0;
        for round in self.ended.iter().chain(self.going.values()) {
            for row in round.takers.windows(round.members.len()) {
                let distinct: BTreeSet<_> = row.iter().collect();
                assert_eq!(distinct.len(), row.len(), "a member had a turn of another: {row:?}");
                compared += u64::from(row.len() > 1);
            }
        }
        compared
    }
}
