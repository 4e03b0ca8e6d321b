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

use std::collections::HashMap;
use std::rc::Rc;

use super::topic_counts::{TopicCount, TopicCounts};

/// What all entries together may weigh, in bytes; beyond it all are forgotten. Room for more than
/// 200,000 topics of common length.
const CACHE_BYTES: usize = 32 << 20;
/// What an entry weighs beside its topic: itself, its part of the table, and the allocator's.
const ENTRY_OVERHEAD: usize = 128;

/// A bounded map from topic to route.
pub(crate) struct RouteCache<R> {
    entries: Vec<Entry<R>>,
    /// The standard hasher is keyed at random: nobody can make topics that collide.
    by_topic: HashMap<Rc<[u8]>, u32>,
    /// The entry that was asked for last.
    last: usize,
    bytes: usize,
    limit: usize,
    /// What was published to the topics, if somebody watches that.
    counts: Option<Box<TopicCounts>>,
}

struct Entry<R> {
    topic: Rc<[u8]>,
    route: Rc<R>,
    generation: u64,
    /// The entry that was asked for after this one the last time.
    follower: u32,
}

/// What is known of a topic.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<R> {
    /// Its route.
    Fresh(Rc<R>),
    /// It is valid; this was its route in an earlier generation, 0 if it is known to have changed.
    Stale(Rc<R>, u64),
    /// Nothing.
    Unknown,
}

impl<R> RouteCache<R> {
    pub(crate) fn new() -> RouteCache<R> {
        RouteCache {
            entries: Vec::new(),
            by_topic: HashMap::new(),
            last: 0,
            bytes: 0,
            limit: CACHE_BYTES,
            counts: None,
        }
    }

    /// What is known of a topic, if it was found out in `generation`.
    pub(crate) fn find(&mut self, topic: &[u8], generation: u64) -> Found<R> {
        let guess = self.entries.get(self.last).map_or(0, |last| last.follower as usize);
        let position = match self.entries.get(guess) {
            Some(entry) if *entry.topic == *topic => guess,
            _ => match self.by_topic.get(topic) {
                Some(&position) => position as usize,
                None => return Found::Unknown,
            },
        };
        if position != guess {
            self.entries[self.last].follower = position as u32;
        }
        self.last = position;
        let entry = &self.entries[position];
        if entry.generation == generation {
            Found::Fresh(entry.route.clone())
        } else {
            Found::Stale(entry.route.clone(), entry.generation)
        }
    }

    /// The route that was found last is true in this generation, too.
    pub(crate) fn renew(&mut self, generation: u64) {
        if let Some(entry) = self.entries.get_mut(self.last) {
            entry.generation = generation;
        }
    }

    /// Remembers the route of a valid topic. `routes`: bytes of all routes that are kept for
    /// topics. `false`: with them it would be too much, so all other topics are forgotten, and
    /// their routes should be.
    pub(crate) fn insert(
        &mut self,
        topic: &[u8],
        route: Rc<R>,
        generation: u64,
        routes: usize,
    ) -> bool {
        let mut known = self.by_topic.get(topic).copied();
        let bytes = topic.len() + ENTRY_OVERHEAD;
        let added = if known.is_some() { 0 } else { bytes };
        let fits = self.bytes + added + routes <= self.limit;
        if !fits {
            self.forget_all();
            known = None;
        }
        if let Some(position) = known {
            let entry = &mut self.entries[position as usize];
            (entry.route, entry.generation) = (route, generation);
            return true;
        }
        self.bytes += bytes;
        let position = self.entries.len();
        if let Some(last) = self.entries.get_mut(self.last) {
            last.follower = position as u32;
        }
        if let Some(counts) = &mut self.counts {
            counts.learn(topic);
        }
        let topic: Rc<[u8]> = topic.into();
        self.by_topic.insert(topic.clone(), position as u32);
        self.entries.push(Entry { topic, route, generation, follower: 0 });
        self.last = position;
        fits
    }

    /// Another limit than the usual one, in bytes.
    #[cfg(test)]
    pub(crate) fn limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    fn forget_all(&mut self) {
        let mut counts = self.counts.take();
        if let Some(counts) = &mut counts {
            counts.forget(self.entries.iter().map(|entry| &entry.topic));
        }
        *self = RouteCache { limit: self.limit, counts, ..RouteCache::new() };
    }

    /// Counts from now on what is published; nothing may have been asked for yet.
    pub(crate) fn count_with(&mut self, counts: TopicCounts) {
        assert!(self.entries.is_empty(), "counting begins with the first topic");
        self.counts = Some(Box::new(counts));
    }

    /// Messages were published to a topic.
    pub(crate) fn count(&mut self, topic: &[u8], messages: u64, bytes: u64) {
        let Some(counts) = &mut self.counts else { return };
        let guess = counts.guess();
        let place = match self.entries.get(guess) {
            Some(entry) if *entry.topic == *topic => Some(guess),
            _ => self.by_topic.get(topic).map(|&place| place as usize),
        };
        counts.add(place, topic, messages, bytes);
    }

    /// Whether anything is counted.
    pub(crate) fn is_counting(&self) -> bool {
        self.counts.is_some()
    }

    /// What was counted, if anything is.
    pub(crate) fn counts(&self) -> Option<&TopicCounts> {
        self.counts.as_deref()
    }

    /// The topics that most was published to, the busiest first.
    pub(crate) fn busiest(&self, count: usize) -> Vec<TopicCount> {
        let topics = self.entries.iter().map(|entry| &entry.topic);
        self.counts.as_ref().map_or(Vec::new(), |counts| counts.busiest(count, topics))
    }

    /// The route of one topic has changed; no generation is 0.
    pub(crate) fn make_stale(&mut self, topic: &[u8]) {
        if let Some(&position) = self.by_topic.get(topic) {
            self.entries[position as usize].generation = 0;
        }
    }

    /// Topics that are known.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    fn topic(number: u64) -> [u8; 8] {
        number.to_be_bytes()
    }

    #[test]
    fn topics_are_found_in_any_order() {
        let mut cache = RouteCache::new();
        for number in 0..100 {
            assert_eq!(cache.find(&topic(number), 1), Found::Unknown);
            cache.insert(&topic(number), Rc::new(number), 1, 0);
        }
        let forwards = 0..100;
        let backwards = (0..100).rev();
        let scattered = (0..1_000).map(|step| step * 37 % 100);
        for number in forwards.clone().chain(forwards).chain(backwards).chain(scattered) {
            assert_eq!(cache.find(&topic(number), 1), Found::Fresh(Rc::new(number)));
        }
    }

    #[test]
    fn topics_made_to_collide_in_one_cache_do_not_in_another() {
        let hash = || RouteCache::<()>::new().by_topic.hasher().hash_one(b"t".as_slice());
        assert_ne!(hash(), hash());
    }

    #[test]
    fn memory_is_bounded_whatever_is_asked_for() {
        let mut cache = RouteCache::new();
        cache.limit = 10 * (ENTRY_OVERHEAD + 8);
        for number in 0..1_000 {
            assert_eq!(cache.find(&topic(number), 1), Found::Unknown);
            cache.insert(&topic(number), Rc::new(number), 1, 0);
            assert_eq!(cache.find(&topic(number), 1), Found::Fresh(Rc::new(number)));
            assert!(cache.len() <= 10 && cache.bytes <= cache.limit);
        }
    }

    #[test]
    fn what_is_counted_outlives_what_is_forgotten() {
        let mut cache = RouteCache::new();
        cache.limit = 10 * (ENTRY_OVERHEAD + 8);
        cache.count_with(TopicCounts::new(&[">"]));
        for number in 0..1_000 {
            let topic = topic(number % 25);
            if cache.find(&topic, 1) == Found::Unknown {
                cache.insert(&topic, Rc::new(number), 1, 0);
            }
            cache.count(&topic, 2, 10);
        }
        let busiest = cache.busiest(100);
        assert_eq!(busiest.len(), 25);
        assert!(busiest.iter().all(|(_, count)| (count.messages, count.bytes) == (80, 400)));
        // A route that is too heavy to be kept with others is counted as well.
        cache.insert(b"heavy", Rc::new(0), 1, 0);
        cache.insert(b"heavy", Rc::new(0), 2, cache.limit);
        assert_eq!(cache.len(), 1);
        cache.count(b"heavy", 1_000, 1);
        assert_eq!(cache.busiest(1)[0].1.messages, 1_000);
        let listed: Vec<_> = cache.counts().unwrap().listed().map(|(_, p)| p.messages).collect();
        assert_eq!(listed, [3_000]);
    }

    #[test]
    fn routes_weigh_too() {
        let mut cache = RouteCache::new();
        cache.limit = 10_000;
        assert!(cache.insert(b"a", Rc::new(1), 1, 6_000));
        assert!(cache.insert(b"b", Rc::new(2), 1, 6_000));
        assert_eq!(cache.len(), 2);
        assert!(!cache.insert(b"a", Rc::new(3), 2, 12_000), "together they are too heavy");
        assert_eq!(cache.len(), 1);
        assert_eq!(cache.find(b"a", 2), Found::Fresh(Rc::new(3)));
    }

    #[test]
    fn stale_routes_are_not_given() {
        let mut cache = RouteCache::new();
        cache.insert(b"t", Rc::new(1), 7, 0);
        assert_eq!(cache.find(b"t", 8), Found::Stale(Rc::new(1), 7));
        assert_eq!(cache.find(b"t", 7), Found::Fresh(Rc::new(1)));
        cache.renew(8);
        assert_eq!(cache.find(b"t", 8), Found::Fresh(Rc::new(1)));
        cache.renew(7);
        cache.make_stale(b"t");
        cache.make_stale(b"unknown");
        assert_eq!(cache.find(b"t", 7), Found::Stale(Rc::new(1), 0));
        cache.insert(b"t", Rc::new(2), 8, 0);
        assert_eq!(cache.find(b"t", 8), Found::Fresh(Rc::new(2)));
        assert_eq!(cache.len(), 1);
    }
}
