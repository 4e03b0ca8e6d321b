//! The users of simulated worlds, and what they may do.
//!
//! Owns the tables that a world's users are taken from, for the engine and, as plain lists, for the
//! model.

use std::rc::Rc;

use wire::topic::{includes, matches};

use super::*;
use crate::engine::access::{Grants, Rights, User, Users};

/// Filters.
type List = &'static [&'static str];

/// What a user may do.
pub(super) struct May {
    name: &'static str,
    /// The user id that its processes have; those of others are the guest's.
    uid: u32,
    publish: (List, List),
    subscribe: (List, List),
    groups: Option<List>,
    /// It may publish once to the reply of each message that it is given.
    pub(super) responds: bool,
}

/// All that there is.
const ALL: List = &[">"];
/// Nothing.
const NONE: List = &[];
/// Who shows nothing.
const GUEST: &str = "guest";

/// How many of the tables, the first, have nobody who responds.
pub(super) const SILENT: usize = 4;

/// The tables; a world may change to any of them, or to one more that has no users.
pub(super) const TABLES: [&[May]; 6] = [
    &[
        may("ann", 1, (ALL, &["b.>"]), (ALL, &["a.b"]), None),
        may("ben", 2, (&["a", "a.>", "b"], &["a.c"]), (&["a", "a.>", "*.b"], &["*.c"]), G),
        may(GUEST, 0, (ALL, &["b", "r.2"]), (ALL, &["a.c", "b"]), None),
    ],
    // Others may do more, and some less; one has the rights of another of before.
    &[
        may("ann", 1, (ALL, NONE), (ALL, NONE), None),
        may("ben", 2, (ALL, &["b.>"]), (&["*", "*.*", "*.b.>"], &["b.c"]), None),
        may(GUEST, 0, (&["a", "a.>", "r.>"], &["a.b"]), (ALL, &["a"]), H),
    ],
    // The processes of one who is missing are the guest's.
    &[
        may("ann", 1, (&["*"], NONE), (&["*"], NONE), H),
        may(GUEST, 0, (ALL, &["a.>"]), (&["a", "a.>", "b", "r.>", "*.c"], NONE), G),
    ],
    // As in the first, but what is denied.
    &[
        may("ann", 1, (ALL, &["a"]), (ALL, &["b"]), None),
        may("ben", 2, (&["a", "a.>", "b"], &["a.b"]), (&["a", "a.>", "*.b"], &["a.b"]), G),
        may(GUEST, 0, (ALL, &["b.c", "r.1"]), (ALL, &["*.c"]), None),
    ],
    // The guest responds.
    &[may(GUEST, 0, (&["b", "*.b", "*.c"], NONE), (ALL, NONE), None).responding()],
    &[may(GUEST, 0, (ALL, &["r.*", "a"]), (ALL, &["b"]), None).responding()],
];
const G: Option<List> = Some(&["g", "f1"]);
const H: Option<List> = Some(&["h"]);

const fn may(
    name: &'static str,
    uid: u32,
    publish: (List, List),
    subscribe: (List, List),
    groups: Option<List>,
) -> May {
    May { name, uid, publish, subscribe, groups, responds: false }
}

impl May {
    const fn responding(self) -> May {
        May { responds: true, ..self }
    }

    /// Whether it may publish to a topic.
    pub(super) fn publish(&self, topic: &str) -> bool {
        let (allow, deny) = self.publish;
        any(allow, topic, matches) && !any(deny, topic, matches)
    }

    /// Whether it may subscribe.
    pub(super) fn subscribe(&self, filter: &str, group: Option<&str>) -> bool {
        let (allow, deny) = self.subscribe;
        let may_join = |group| self.groups.is_none_or(|groups| groups.contains(&group));
        any(allow, filter, includes) && !any(deny, filter, includes) && group.is_none_or(may_join)
    }

    /// Whether a topic is kept from it, whatever it subscribes to.
    pub(super) fn is_denied(&self, topic: &str) -> bool {
        any(self.subscribe.1, topic, matches)
    }
}

fn any(list: List, name: &str, is_it: fn(&[u8], &[u8]) -> bool) -> bool {
    list.iter().any(|filter| is_it(filter.as_bytes(), name.as_bytes()))
}

/// What a process of this user id may do by the table of this number; `None`: everything.
pub(super) fn find(table: usize, uid: Option<u32>) -> Option<&'static May> {
    let table = TABLES.get(table)?;
    let own = table.iter().find(|it| it.uid > 0 && Some(it.uid) == uid);
    own.or_else(|| table.iter().find(|it| it.name == GUEST))
}

/// The user id of a client's process, if the broker knows that.
pub(super) fn uid(name: usize, role: Role) -> Option<u32> {
    let is_known = role.protocol == Protocol::Native && !name.is_multiple_of(3);
    is_known.then_some((name % 3) as u32)
}

/// The table of this number, for the engine.
pub(super) fn table(number: usize) -> Option<Users> {
    let list = |list: List| list.iter().map(|it| Box::from(it.as_bytes())).collect::<Vec<_>>();
    let grants = |(allow, deny): (List, List)| Grants {
        allow: list(allow).into(),
        deny: Rc::from(list(deny)),
    };
    let user = |it: &May| User {
        name: it.name.to_owned(),
        uids: (it.uid > 0).then_some(it.uid).into_iter().collect(),
        rights: Rights {
            publish: grants(it.publish),
            subscribe: grants(it.subscribe),
            groups: it.groups.map(|groups| list(groups).into()),
            allow_responses: it.responds,
        },
        ..User::default()
    };
    let table = TABLES.get(number)?;
    Some(Users::new(table.iter().map(user).collect(), Some(GUEST)))
}
