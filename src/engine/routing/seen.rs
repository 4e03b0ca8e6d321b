//! Topics that were asked for once.
//!
//! Owns the memory of topics that are not worth a place in the cache yet. A topic gets one when it
//! is asked for a second time: of those that are used once, such as the reply topics of requests,
//! there is no end, and they would push out the routes that are needed again and again. Must not
//! know routes.
//!
//! Two Bloom filters (Bloom 1970) of two hash functions each: one that is being filled, and the one
//! before it. A topic is remembered until [`GENERATION`] to twice as many others came; one in some
//! twenty is taken to be known though it is not, which does no harm.

use std::hash::{BuildHasher, RandomState};

/// Topics that one filter is filled with: more than the cache has room for.
const GENERATION: usize = 256 << 10;
/// Bits of a filter, a power of two: 256 KiB.
const BITS: usize = 2 << 20;

/// Which topics were asked for lately.
#[derive(Default)]
pub(super) struct Seen {
    /// Nothing before the first topic.
    current: Vec<u64>,
    previous: Vec<u64>,
    noted: usize,
    /// Keyed at random: topics that collide cannot be made up.
    hasher: RandomState,
}

impl Seen {
    /// Notes a topic. Returns whether it was noted before.
    pub(super) fn note(&mut self, topic: &[u8]) -> bool {
        if self.current.is_empty() || self.noted >= GENERATION {
            let empty = vec![0; BITS / 64];
            self.previous = std::mem::replace(&mut self.current, empty);
            self.noted = 0;
        }
        let hash = self.hasher.hash_one(topic);
        let bits = [hash as usize % BITS, (hash >> 32) as usize % BITS];
        let is_in = |filter: &[u64]| {
            !filter.is_empty() && bits.iter().all(|bit| filter[bit / 64] >> (bit % 64) & 1 == 1)
        };
        let was_seen = is_in(&self.current) || is_in(&self.previous);
        if !is_in(&self.current) {
            self.noted += 1;
            bits.iter().for_each(|bit| self.current[bit / 64] |= 1 << (bit % 64));
        }
        was_seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_known_the_second_time_even_behind_many_others() {
        let mut seen = Seen::default();
        assert!(!seen.note(b"first"));
        let others = || (0..GENERATION as u32 - 1).map(u32::to_be_bytes);
        let taken_for_known = others().filter(|other| seen.note(other)).count();
        assert!(taken_for_known < GENERATION / 20, "{taken_for_known}");
        assert!(seen.note(b"first"));
        assert!(others().all(|other| seen.note(&other)));
    }

    #[test]
    fn topics_are_forgotten_behind_twice_as_many_as_a_filter_takes() {
        let mut seen = Seen::default();
        let noted = |seen: &mut Seen, from: u32| {
            let topics = (from..from + 2 * GENERATION as u32 + 1).map(u32::to_be_bytes);
            topics.filter(|topic| !seen.note(topic)).count()
        };
        noted(&mut seen, 0);
        noted(&mut seen, 1 << 30);
        let forgotten = noted(&mut seen, 0);
        assert!(forgotten > GENERATION, "{forgotten}");
    }
}
