//! What hubs were told and given, compared with what they must be.
//!
//! Owns the comparison at the end of a world. What they must be told and given is said by
//! `hub_model`.

use std::collections::{BTreeMap, BTreeSet};

use super::client::Client;
use super::hub::{Given, Heard, MARK, PERMISSIONS};
use super::hub_model::{Hub, Item};
use super::model::Model;
use super::transcript::Ending;

/// What a hub was told of: by filter and name of a queue group, how many there are.
type Told = BTreeMap<(String, Option<String>), u32>;

impl Model {
    /// How many subscriptions here no hub is asked for.
    pub(super) fn not_asked_for(&self) -> u64 {
        let here = self.held.iter().filter(|held| !self.is_hub(held.client));
        here.filter(|held| !self.link.asks_for(held.filter)).count() as u64
    }

    /// Messages that were surely kept from hubs while they were there.
    pub(super) fn kept_from_hub(&self) -> u64 {
        self.link.hubs.values().map(|hub| hub.dropped).sum()
    }

    /// Whether the figures of the link count a hub.
    pub(super) fn is_counted(&self, client: usize) -> bool {
        self.link.hubs[&client].is_counted
    }

    /// The hub that is there, and how many filters it wants.
    pub(super) fn hub_filters(&self) -> Option<(usize, usize)> {
        self.link.current.map(|hub| (hub, self.count(hub)))
    }

    /// How many filters a hub was told that it was not told the end of.
    pub(super) fn filters_told(&self, client: usize, heard: &[Heard]) -> usize {
        self.link.hubs[&client].told(client, heard).len()
    }

    /// Checks what a hub heard, and returns how many messages it did not get.
    pub(super) fn check_hub(&self, client: usize, who: &Client, ending: Ending) -> u64 {
        let hub = &self.link.hubs[&client];
        let pongs = who.hub.iter().filter(|heard| **heard == Heard::Pong).count();
        let asked = hub.windows.len() - 1;
        assert!(pongs <= asked && (!ending.complete || pongs == asked), "hub {client}: {pongs}");
        let told = hub.told(client, &who.hub);
        if ending.complete {
            assert!(!hub.is_loop, "hub {client} leads back here");
            self.check_told(client, &told);
        }
        let (between, behind) = hub.missed(client, &who.hub, self.link.may_drop);
        let missed = between + behind;
        let may_miss = missed == 0 || self.link.may_drop || !ending.complete;
        assert!(may_miss, "hub {client} misses {missed} messages");
        if let Some(dropped) = ending.dropped {
            assert_eq!(dropped, missed + hub.dropped, "hub {client} misses messages");
        }
        missed + hub.dropped + hub.refused
    }

    /// Checks that what a hub was told is what is wanted here.
    fn check_told(&self, client: usize, told: &Told) {
        let hub = &self.link.hubs[&client];
        if !hub.is_greeted {
            return assert!(told.is_empty(), "hub {client} has not said what it permits");
        }
        let mut wanted = BTreeMap::new();
        for held in self.held.iter().filter(|held| !self.is_hub(held.client)) {
            if self.link.asks_for(held.filter) {
                let interest = (held.filter.to_owned(), held.group.map(str::to_owned));
                let weight = wanted.entry(interest).or_insert(0);
                *weight = if held.group.is_some() { *weight + 1 } else { 1 };
            }
        }
        for (interest, weight) in told {
            let is_wanted = wanted.contains_key(interest);
            assert!(is_wanted, "hub {client} was told of {interest:?} {weight} for nobody");
        }
        let permitted = &PERMISSIONS[hub.permissions];
        for (interest, weight) in wanted.iter().filter(|(it, _)| permitted.may_ask_for(&it.0)) {
            assert_eq!(told.get(interest), Some(weight), "hub {client}: {interest:?}");
        }
    }

    /// Messages that a hub has not confirmed.
    pub(super) fn unconfirmed(&self, client: usize, heard: &[Heard]) -> u64 {
        let answers = self.link.hubs[&client].answers;
        let (mut pings, mut confirmed, mut messages) = (0, 0, 0);
        for what in heard {
            match what {
                Heard::Ping => {
                    pings += 1;
                    confirmed = if pings <= answers { messages } else { confirmed };
                }
                Heard::Message(..) => messages += 1,
                _ => {}
            }
        }
        messages - confirmed
    }
}

impl Hub {
    /// What a hub was told of filters, and that it was told so rightly.
    fn told(&self, client: usize, heard: &[Heard]) -> Told {
        let (mut told, mut pongs, mut is_first) = (BTreeMap::new(), 0, true);
        let begin = [Heard::Connect, Heard::Want(MARK.to_owned(), None)];
        let length = heard.len().min(begin.len());
        assert_eq!(heard[..length], begin[..length], "hub {client} hears first who comes");
        for what in &heard[length..] {
            match what {
                Heard::Want(filter, group) => {
                    let window = &self.windows[pongs];
                    let mut permitted =
                        window.iter().map(|it| PERMISSIONS[*it].may_ask_for(filter));
                    assert!(permitted.any(|may| may), "hub {client} was told of {filter}");
                    let (group, weight) = group.clone().unzip();
                    let weight = weight.unwrap_or(1);
                    let before = told.insert((filter.clone(), group), weight);
                    assert!(before != Some(weight), "hub {client} was told {filter} twice");
                    assert!(weight > 0, "hub {client}: {filter} has no members");
                }
                Heard::End(filter, group) => {
                    let before = told.remove(&(filter.clone(), group.clone()));
                    assert!(before.is_some(), "hub {client} was not told of {filter}");
                }
                Heard::Pong => pongs += 1,
                Heard::Ping => self.check_joining(client, &told, pongs, &mut is_first),
                Heard::Error(text) => assert_eq!(text, "'Loop detected'", "hub {client}"),
                Heard::Connect => panic!("hub {client} hears once who comes"),
                Heard::Message(..) => {}
            }
        }
        told
    }

    /// The first PING comes behind all that was wanted when it was dialled.
    fn check_joining(&self, client: usize, told: &Told, pongs: usize, is_first: &mut bool) {
        if !std::mem::take(is_first) {
            return;
        }
        for (filter, group) in &self.lasting {
            let mut permitted = self.windows[..=pongs].iter().flatten();
            let is_told = told.contains_key(&((*filter).to_owned(), group.map(str::to_owned)));
            let may_be = permitted.all(|it| PERMISSIONS[*it].may_ask_for(filter));
            assert!(is_told || !may_be, "hub {client} is asked before it was told of {filter}");
        }
    }

    /// Messages that it did not get in between, and behind the last one that it got.
    pub(super) fn missed(&self, client: usize, heard: &[Heard], may_drop: bool) -> (u64, u64) {
        let (mut items, mut missed) = (self.items.iter(), 0);
        for what in heard {
            let Heard::Message(given, _) = what else { continue };
            loop {
                let next = items.next();
                let item = next.unwrap_or_else(|| panic!("hub {client} was given {given:?}"));
                if item.is(given) {
                    break;
                }
                // One for groups was not dropped, or they would not be named.
                let may_be = may_drop && item.is_plain && item.names.is_empty();
                assert!(may_be, "hub {client} was given {given:?}, not {:?}", item.given);
                missed += 1;
            }
        }
        (missed, items.count() as u64)
    }
}

impl Item {
    fn is(&self, given: &Given) -> bool {
        let names: BTreeSet<_> = given.groups.iter().map(String::as_str).collect();
        let is_alike = (&self.given.line, self.given.body) == (&given.line, given.body);
        is_alike && names.len() == given.groups.len() && names == self.names
    }
}
