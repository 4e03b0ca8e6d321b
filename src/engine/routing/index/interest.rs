//! What is subscribed to here, as a hub is told it: each filter once, each queue group with the
//! number of its members.
//!
//! Owns the list of what has changed since it was told, which is kept only while somebody watches.
//! What hubs want themselves is left out. Must not know what was told.

use std::collections::BTreeSet;

use wire::Encoding;

use super::Index;
use crate::engine::routing::registry::{Registry, key};

/// A filter, of plain subscriptions or of those in a queue group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Interest {
    pub(crate) filter: Box<[u8]>,
    /// The name of the group.
    pub(crate) group: Option<Box<[u8]>>,
}

/// What has changed since it was asked for; `None`: nobody watches. Each is there once, however
/// often it has changed, and comes in the order of names.
pub(in crate::engine::routing) type Changed = Option<BTreeSet<Interest>>;

impl Registry {
    /// A subscription in a list comes or goes.
    pub(in crate::engine::routing) fn note_interest(&mut self, list: u32, encoding: Encoding) {
        if self.changed.is_none() || encoding == Encoding::Leaf {
            return;
        }
        let interest = self.interest(list);
        if let Some(changed) = &mut self.changed {
            changed.insert(interest);
        }
    }

    fn interest(&self, list: u32) -> Interest {
        let found = &self.lists[list as usize];
        let group = found.group.as_ref().map(|group| self.queue_groups().name(group.group).into());
        Interest { filter: self.filters[found.filter as usize].name[..].into(), group }
    }
}

impl Index {
    /// Changes are listed from now on, or not any more.
    pub(crate) fn watch_interest(&mut self, watch: bool) {
        self.registry.changed = watch.then(BTreeSet::new);
    }

    /// Whether something has changed.
    pub(crate) fn has_changed_interest(&self) -> bool {
        self.registry.changed.as_ref().is_some_and(|changed| !changed.is_empty())
    }

    /// Something that has changed; it counts as told then.
    pub(crate) fn changed_interest(&mut self) -> Option<Interest> {
        self.registry.changed.as_mut()?.pop_first()
    }

    /// What there is from a place on, and the place behind it; `None`: there is no more.
    pub(crate) fn next_interest(&self, from: usize) -> Option<(usize, Interest)> {
        let lists = &self.registry.lists;
        // Places that are free lie between those that are not.
        let last = lists.capacity();
        let place = (from..last).find(|place| lists.contains(*place))?;
        Some((place + 1, self.registry.interest(key(place))))
    }

    /// How many subscribe here: of a queue group its members, else whether anybody does.
    pub(crate) fn local_weight(&self, interest: &Interest) -> u32 {
        let registry = &self.registry;
        let group = match &interest.group {
            Some(name) => match registry.queue_groups().find(name) {
                Some(group) => Some(group),
                None => return 0,
            },
            None => None,
        };
        let list = registry.find_filter(&interest.filter);
        let list = list.and_then(|filter| registry.find_list(filter, group));
        let members = list.map_or(&[][..], |list| registry.members_of(list));
        let mut local = members.iter().filter(|it| registry.place(**it).1 != Encoding::Leaf);
        match group {
            // One is enough, and a filter may have a million.
            None => u32::from(local.next().is_some()),
            Some(_) => u32::try_from(local.count()).unwrap_or(u32::MAX),
        }
    }
}
