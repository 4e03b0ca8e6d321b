//! Topics whose route is known.
//!
//! Owns the bound on what publishers can make the broker remember. A topic that is in here is
//! valid; whether its route is still true is told by the generation that was current when it was
//! made. Must not know how a route is found.
//!
//! Publishers tend to go through their topics in the same order again and again. So each topic
//! remembers which one was asked for after it, and that one is tried before anything is hashed:
//! a hundred thousand topics in turn then cost one comparison each, in memory that lies in the
//! order in which it is needed.
//!
//! A topic gets a place when it is asked for a second time. Room for it is made by forgetting a few
//! old ones that were not asked for lately (the CLOCK algorithm, Corbató 1968): each insertion pays
//! for itself, and none for a whole cache.

use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use super::counts::{TopicCount, TopicCounts};
use super::route::Route;
use super::routes::Routes;
use super::seen::Seen;
use super::table::Table;

/// What all entries and their routes together may weigh, in bytes. Room for more than 200,000
/// topics of common length.
const CACHE_BYTES: usize = 32 << 20;
/// What an entry weighs beside its topic, in bytes: itself, its part of the table, and the
/// allocator's.
const ENTRY_OVERHEAD: usize = 128;
/// Entries asked for lately that are passed over at most before one is forgotten even so.
const MAX_SPARED: usize = 16;

/// A bounded map from topic to route.
pub(super) struct Cache {
    entries: Vec<Option<Entry>>,
    /// Places of `entries` that hold none.
    free: Vec<u32>,
    /// Places of `entries`, by topic.
    places: Table<u32>,
    /// Keyed at random: topics that collide cannot be made up.
    hasher: RandomState,
    routes: Routes,
    /// Topics that were asked for once.
    seen: Seen,
    /// The route of the last one of them, so that adjacent messages to many of them are one run.
    last_new: Option<Rc<Route>>,
    /// The place that was asked for last.
    last: usize,
    /// Where the search for an entry to forget goes on.
    hand: usize,
    bytes: usize,
    limit_bytes: usize,
    /// What was published to the topics, if that is watched.
    counts: Option<Box<TopicCounts>>,
}

struct Entry {
    topic: Rc<[u8]>,
    hash: u64,
    route: Rc<Route>,
    generation: u64,
    /// The place that was asked for after this one the last time.
    follower: u32,
    /// It was asked for since the hand passed.
    is_used: bool,
    permits: Permits,
}

/// Which distinct grants to publish are known to have a topic, or not: one bit for each of the
/// first 64. Those of more users are looked at again.
#[derive(Clone, Copy, Default)]
struct Permits {
    known: u64,
    granted: u64,
}

impl Permits {
    fn bit(place: usize) -> Option<u64> {
        1_u64.checked_shl(place.try_into().ok()?)
    }
}

/// What is known of a topic.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cached {
    /// Its route.
    Fresh(Rc<Route>),
    /// It is valid; this was its route in an earlier generation, 0 if it is known to have changed.
    Stale(Rc<Route>, u64),
    /// Nothing.
    Unknown,
}

impl Cache {
    pub(super) fn new() -> Cache {
        Cache {
            entries: Vec::new(),
            free: Vec::new(),
            places: Table::default(),
            hasher: RandomState::new(),
            routes: Routes::default(),
            seen: Seen::default(),
            last_new: None,
            last: 0,
            hand: 0,
            bytes: 0,
            limit_bytes: CACHE_BYTES,
            counts: None,
        }
    }

    /// What is known of a topic, if it was found out in `generation`.
    pub(super) fn find(&mut self, topic: &[u8], generation: u64) -> Cached {
        let guess = self.entry(self.last).map_or(0, |last| last.follower as usize);
        let place = match self.entry(guess) {
            Some(entry) if *entry.topic == *topic => guess,
            _ => match self.place_of(topic) {
                Some(place) => place,
                None => return Cached::Unknown,
            },
        };
        if place != guess {
            self.set_follower(place);
        }
        self.last = place;
        let Some(entry) = &mut self.entries[place] else { return Cached::Unknown };
        entry.is_used = true;
        if entry.generation == generation {
            Cached::Fresh(entry.route.clone())
        } else {
            Cached::Stale(entry.route.clone(), entry.generation)
        }
    }

    /// The route that was found last is true in this generation, too.
    pub(super) fn renew(&mut self, generation: u64) {
        if let Some(Some(entry)) = self.entries.get_mut(self.last) {
            entry.generation = generation;
        }
    }

    /// Whether the grants at a place have a topic, if that is known; the topic was just looked for.
    pub(super) fn permit(&self, topic: &[u8], place: usize) -> Option<bool> {
        let bit = Permits::bit(place)?;
        let last = self.entry(self.last).filter(|last| *last.topic == *topic)?;
        (last.permits.known & bit != 0).then_some(last.permits.granted & bit != 0)
    }

    /// It was found out.
    pub(super) fn note_permit(&mut self, topic: &[u8], place: usize, granted: bool) {
        let last = self.entries.get_mut(self.last).and_then(Option::as_mut);
        let last = last.filter(|last| *last.topic == *topic);
        if let (Some(bit), Some(last)) = (Permits::bit(place), last) {
            last.permits.known |= bit;
            last.permits.granted |= if granted { bit } else { 0 };
        }
    }

    /// Nothing is known of grants any more.
    pub(super) fn forget_permits(&mut self) {
        for entry in self.entries.iter_mut().flatten() {
            entry.permits = Permits::default();
        }
    }

    /// Whether the route of an unknown topic is to be remembered: it was asked for before.
    pub(super) fn is_worth_a_place(&mut self, topic: &[u8]) -> bool {
        self.seen.note(topic)
    }

    /// A route that is not remembered: the last such one, if it is equal to that.
    pub(super) fn shared(&mut self, route: Route) -> Rc<Route> {
        if let Some(last) = self.last_new.as_ref().filter(|last| ***last == route) {
            return last.clone();
        }
        self.last_new.insert(Rc::new(route)).clone()
    }

    /// Remembers the route of a valid topic. Returns the route, shared with other topics, and how
    /// many topics were forgotten for it.
    pub(super) fn insert(
        &mut self,
        topic: &[u8],
        route: Route,
        generation: u64,
    ) -> (Rc<Route>, u64) {
        let route = self.routes.share(route);
        if let Some(last) = self.last_new.as_mut().filter(|last| **last == route) {
            *last = route.clone();
        }
        let hash = self.hasher.hash_one(topic);
        if let Some(place) = self.place_by(hash, topic)
            && let Some(entry) = &mut self.entries[place]
        {
            let old = std::mem::replace(&mut entry.route, route.clone());
            (entry.generation, entry.is_used) = (generation, true);
            self.routes.release(&old);
            return (route, self.make_room(place));
        }
        self.bytes += weight(topic);
        let topic: Rc<[u8]> = topic.into();
        let entry = Entry {
            topic: topic.clone(),
            hash,
            route: route.clone(),
            generation,
            follower: 0,
            is_used: true,
            permits: Permits::default(),
        };
        let place = self.free.pop().map_or(self.entries.len(), |free| free as usize);
        match self.entries.get_mut(place) {
            Some(free) => *free = Some(entry),
            None => self.entries.push(Some(entry)),
        }
        if let Some(counts) = &mut self.counts {
            counts.learn(place, &topic);
        }
        // 32 MiB of entries are far fewer than 2^32.
        self.places.insert(hash, place as u32);
        self.set_follower(place);
        self.last = place;
        (route, self.make_room(place))
    }

    /// Forgets entries until the rest is within the limit, all but the one at `kept`.
    fn make_room(&mut self, kept: usize) -> u64 {
        let (mut forgotten, mut spared) = (0, 0);
        while self.bytes + self.routes.bytes() > self.limit_bytes && self.len() > 1 {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.entries.len();
            let Some(entry) = self.entries[place].as_mut().filter(|_| place != kept) else {
                continue;
            };
            if entry.is_used && spared < MAX_SPARED {
                entry.is_used = false;
                spared += 1;
                continue;
            }
            spared = 0;
            forgotten += 1;
            self.forget(place);
        }
        forgotten
    }

    fn forget(&mut self, place: usize) {
        let Some(entry) = self.entries[place].take() else { return };
        self.free.push(place as u32);
        self.places.remove(entry.hash, |it| *it as usize == place);
        self.bytes -= weight(&entry.topic);
        self.routes.release(&entry.route);
        if let Some(counts) = &mut self.counts {
            counts.forget(place, &entry.topic);
        }
    }

    fn entry(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place)?.as_ref()
    }

    /// Where the entry of a topic is.
    fn place_of(&self, topic: &[u8]) -> Option<usize> {
        self.place_by(self.hasher.hash_one(topic), topic)
    }

    /// The same for a topic of this hash.
    fn place_by(&self, hash: u64, topic: &[u8]) -> Option<usize> {
        let is_it = |place: &u32| self.entry(*place as usize).is_some_and(|it| *it.topic == *topic);
        self.places.find(hash, is_it).map(|place| *place as usize)
    }

    /// The topic at this place was asked for behind the last one.
    fn set_follower(&mut self, place: usize) {
        if let Some(Some(last)) = self.entries.get_mut(self.last) {
            last.follower = place as u32;
        }
    }

    /// Another limit than the usual one, in bytes.
    #[cfg(test)]
    pub(super) fn limit(&mut self, bytes: usize) {
        self.limit_bytes = bytes;
    }

    /// Counts from now on what is published.
    ///
    /// # Panics
    /// If a topic was asked for already.
    pub(super) fn count_with(&mut self, counts: TopicCounts) {
        assert!(self.entries.is_empty(), "counting begins with the first topic");
        self.counts = Some(Box::new(counts));
    }

    /// Messages were published to a topic.
    pub(super) fn count(&mut self, topic: &[u8], messages: u64, bytes: u64) {
        let Some(guess) = self.counts.as_ref().map(|counts| counts.guess()) else { return };
        let place = match self.entries.get(guess) {
            Some(Some(entry)) if *entry.topic == *topic => Some(guess),
            _ => self.place_of(topic),
        };
        if let Some(counts) = &mut self.counts {
            counts.add(place, topic, messages, bytes);
        }
    }

    /// What was counted, if anything is.
    pub(super) fn counts(&self) -> Option<&TopicCounts> {
        self.counts.as_deref()
    }

    /// The topics that most was published to, the busiest first.
    pub(super) fn busiest(&self, count: usize) -> Vec<TopicCount> {
        let topics = self.entries.iter().map(|entry| entry.as_ref().map(|entry| &entry.topic));
        self.counts.as_ref().map_or(Vec::new(), |counts| counts.busiest(count, topics))
    }

    /// The route of one topic has changed; no generation is 0.
    pub(super) fn make_stale(&mut self, topic: &[u8]) {
        if let Some(place) = self.place_of(topic)
            && let Some(entry) = &mut self.entries[place]
        {
            entry.generation = 0;
        }
    }

    /// Topics that are known.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}

fn weight(topic: &[u8]) -> usize {
    topic.len() + ENTRY_OVERHEAD
}

#[cfg(test)]
mod tests;
