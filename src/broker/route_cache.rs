//! Topics whose route is known.
//!
//! Owns the bound on what publishers can make the broker remember. A topic that is in here is
//! valid; whether its route is still true is told by the generation that was current when it was
//! made. Must not know how a route is found.

use std::collections::HashMap;
use std::rc::Rc;

/// What the younger half may weigh before it becomes the older half, in bytes. Room for more
/// than 100,000 topics of common length in each half.
const HALF_BYTES: usize = 16 << 20;
/// What an entry weighs beside its topic: the table's part and the allocator's.
const ENTRY_OVERHEAD: usize = 96;

/// A bounded map from topic to route, in two halves: what is used moves to the younger one, and
/// when that is full the older one is forgotten whole.
pub(crate) struct RouteCache<R> {
    // The standard hasher is keyed at random: nobody can make topics that collide.
    young: HashMap<Box<[u8]>, Entry<R>>,
    old: HashMap<Box<[u8]>, Entry<R>>,
    young_bytes: usize,
    half_bytes: usize,
}

struct Entry<R> {
    route: Rc<R>,
    generation: u64,
}

impl<R> RouteCache<R> {
    pub(crate) fn new() -> RouteCache<R> {
        RouteCache {
            young: HashMap::new(),
            old: HashMap::new(),
            young_bytes: 0,
            half_bytes: HALF_BYTES,
        }
    }

    /// The route of a topic. `Err(true)`: there was one but it is stale; the topic is valid.
    pub(crate) fn find(&mut self, topic: &[u8], generation: u64) -> Result<Rc<R>, bool> {
        if let Some(entry) = self.young.get(topic) {
            let fresh = entry.generation == generation;
            return if fresh { Ok(entry.route.clone()) } else { Err(true) };
        }
        let Some((topic, entry)) = self.old.remove_entry(topic) else {
            return Err(false);
        };
        if entry.generation != generation {
            return Err(true);
        }
        let route = entry.route.clone();
        self.insert(topic, entry.route, generation);
        Ok(route)
    }

    pub(crate) fn insert(&mut self, topic: Box<[u8]>, route: Rc<R>, generation: u64) {
        let weight = topic.len() + ENTRY_OVERHEAD;
        if self.young_bytes + weight > self.half_bytes {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.young.insert(topic, Entry { route, generation }).is_none() {
            self.young_bytes += weight;
        }
    }

    pub(crate) fn remove(&mut self, topic: &[u8]) {
        self.old.remove(topic);
        if self.young.remove(topic).is_some() {
            self.young_bytes -= topic.len() + ENTRY_OVERHEAD;
        }
    }

    /// Topics that are known.
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten() {
        let mut cache = RouteCache::new();
        cache.half_bytes = 10 * (ENTRY_OVERHEAD + 8);
        let topic = |number: u64| number.to_be_bytes();
        for number in 0..100 {
            cache.insert(topic(number).into(), Rc::new(number), 0);
            assert_eq!(cache.find(&topic(0), 0).as_deref(), Ok(&0), "after {number}");
            assert!(cache.len() <= 20);
        }
        assert_eq!(cache.find(&topic(99), 0).as_deref(), Ok(&99));
        assert_eq!(cache.find(&topic(50), 0), Err(false));
    }

    #[test]
    fn stale_and_removed_routes_are_not_found() {
        let mut cache = RouteCache::new();
        cache.insert(b"t".as_slice().into(), Rc::new(1), 7);
        assert_eq!(cache.find(b"t", 8), Err(true));
        assert_eq!(cache.find(b"t", 7).as_deref(), Ok(&1));
        cache.remove(b"t");
        assert_eq!((cache.find(b"t", 7), cache.young_bytes), (Err(false), 0));
        cache.remove(b"t");
    }
}
