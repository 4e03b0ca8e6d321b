//! What was published to which topic, for those who watch the broker.
//!
//! Owns the figures: exact ones for the filters that an operator has listed, and one for each topic
//! that the cache of routes knows, by its place there. Must not find topics: the cache has done
//! that already when it asks to count.
//!
//! Memory is bounded by the cache. Of the topics that the cache forgets, the busiest are remembered
//! here; all others start again at 0. So a figure is never too high, and it is too low only for a
//! topic that was forgotten and not among the [`REMEMBERED`] busiest of those. Listed filters are
//! counted on their own and are always exact.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::rc::Rc;

use wire::topic;

/// Topics that are remembered of those that the cache of routes has forgotten.
pub const REMEMBERED: usize = 1_024;
/// Filters that may be listed: each has a bit.
pub const MAX_LISTED: usize = 32;

/// What was published to a topic, or to all topics that a filter matches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// Messages.
    pub messages: u64,
    /// Their bytes, as frames.
    pub bytes: u64,
}

/// A topic and what was published to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicCount {
    /// The topic, or the filter.
    pub topic: Rc<[u8]>,
    /// What was published to it, or to all topics that it matches.
    pub published: Published,
}

impl Published {
    fn add(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes += bytes;
    }
}

/// The figures of all topics.
pub(crate) struct TopicCounts {
    listed: Vec<TopicCount>,
    /// By the topic's place in the cache of routes.
    known: Vec<Known>,
    /// The one that was counted last.
    last: usize,
    remembered: HashMap<Rc<[u8]>, Published>,
}

/// Messages, bytes and topic, so that they sort by how busy the topic is.
type Ranked<'a> = (u64, u64, &'a Rc<[u8]>);

struct Known {
    published: Published,
    /// The listed filters that match, by their places.
    listed: u32,
    /// The topic that was counted after this one the last time: publishers tend to go through
    /// their topics in the same order again and again.
    follower: u32,
}

impl TopicCounts {
    /// Counts topics, and all that match a filter of `listed`.
    ///
    /// # Panics
    /// If more than [`MAX_LISTED`] are listed.
    pub(crate) fn new(listed: &[&str]) -> TopicCounts {
        assert!(listed.len() <= MAX_LISTED, "the settings allow no more");
        let listed = listed.iter().map(|filter| TopicCount {
            topic: filter.as_bytes().into(),
            published: Published::default(),
        });
        let (known, remembered) = (Vec::new(), HashMap::new());
        TopicCounts { listed: listed.collect(), known, last: 0, remembered }
    }

    /// The cache has a new topic at this place.
    pub(crate) fn learn(&mut self, place: usize, topic: &[u8]) {
        let published = self.remembered.remove(topic).unwrap_or_default();
        let known = Known { published, listed: self.matching(topic), follower: 0 };
        if place < self.known.len() {
            self.known[place] = known;
        } else {
            assert!(place == self.known.len(), "places are taken one after the other");
            self.known.push(known);
        }
    }

    /// The place of the topic that is probably counted next.
    pub(crate) fn guess(&self) -> usize {
        self.known.get(self.last).map_or(0, |last| last.follower as usize)
    }

    /// Messages were published to the topic at a place of the cache; it may be at none.
    pub(crate) fn add(&mut self, place: Option<usize>, topic: &[u8], messages: u64, bytes: u64) {
        let mut listed = match place.filter(|place| *place < self.known.len()) {
            Some(place) => {
                // Places fit, as those in the cache do.
                self.known[self.last].follower = place as u32;
                self.last = place;
                let known = &mut self.known[place];
                known.published.add(messages, bytes);
                known.listed
            }
            None => self.add_unknown(topic, messages, bytes),
        };
        while listed != 0 {
            self.listed[listed.trailing_zeros() as usize].published.add(messages, bytes);
            listed &= listed - 1;
        }
    }

    #[cold]
    fn add_unknown(&mut self, topic: &[u8], messages: u64, bytes: u64) -> u32 {
        self.remember(topic.into(), Published { messages, bytes });
        self.matching(topic)
    }

    /// Adds to what is remembered, and keeps only the busiest when that is too much.
    fn remember(&mut self, topic: Rc<[u8]>, published: Published) {
        let remembered = self.remembered.entry(topic).or_default();
        remembered.add(published.messages, published.bytes);
        if self.remembered.len() > 2 * REMEMBERED {
            let mut ranked: Vec<_> = self.remembered.values().map(|it| it.messages).collect();
            let (_, least, _) = ranked.select_nth_unstable_by_key(REMEMBERED, |it| Reverse(*it));
            let least = *least;
            self.remembered.retain(|_, published| published.messages > least);
        }
    }

    fn matching(&self, topic: &[u8]) -> u32 {
        let bits = self.listed.iter().zip(0..).map(|(listed, place)| (&listed.topic, 1 << place));
        bits.filter(|(filter, _)| topic::matches(filter, topic)).map(|(_, bit)| bit).sum()
    }

    /// The cache forgets the topic at this place.
    pub(crate) fn forget(&mut self, place: usize, topic: &Rc<[u8]>) {
        let published = std::mem::take(&mut self.known[place].published);
        if published.messages > 0 {
            self.remember(topic.clone(), published);
        }
    }

    /// The topics that most was published to, the busiest first; `topics` are those of the cache
    /// by their places. Looks at each once.
    pub(crate) fn busiest<'a>(
        &self,
        count: usize,
        topics: impl Iterator<Item = Option<&'a Rc<[u8]>>>,
    ) -> Vec<TopicCount> {
        let known = topics.zip(&self.known);
        let known = known.filter_map(|(topic, known)| Some((topic?, known.published)));
        let remembered = self.remembered.iter().map(|(topic, published)| (topic, *published));
        // The least busy of those that are kept is on top, so most topics cost one comparison.
        let mut kept: BinaryHeap<Reverse<Ranked<'_>>> = BinaryHeap::new();
        for (topic, published) in known.chain(remembered).filter(|(_, p)| p.messages > 0) {
            let is_full = kept.len() >= count;
            let least = kept.peek().map(|Reverse((messages, ..))| *messages);
            if is_full && least.is_none_or(|least| published.messages <= least) {
                continue;
            }
            kept.push(Reverse((published.messages, published.bytes, topic)));
            if is_full {
                kept.pop();
            }
        }
        let mut busiest: Vec<_> = kept.into_iter().map(|Reverse(entry)| entry).collect();
        busiest.sort_unstable_by_key(|&(messages, _, topic)| (Reverse(messages), topic));
        let figures = |(messages, bytes, topic): Ranked<'_>| TopicCount {
            topic: topic.clone(),
            published: Published { messages, bytes },
        };
        busiest.into_iter().map(figures).collect()
    }

    /// The listed filters and their figures, in the order of the list.
    pub(crate) fn listed(&self) -> &[TopicCount] {
        &self.listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(number: usize) -> Rc<[u8]> {
        format!("t.{number}").into_bytes().into()
    }

    fn names(busiest: &[TopicCount]) -> Vec<(String, u64)> {
        let name = |topic: &[u8]| String::from_utf8_lossy(topic).into_owned();
        busiest.iter().map(|it| (name(&it.topic), it.published.messages)).collect()
    }

    #[test]
    fn the_busiest_come_first_and_no_more_than_asked_for() {
        let topics: Vec<_> = (0..100).map(topic).collect();
        let mut counts = TopicCounts::new(&[]);
        topics.iter().enumerate().for_each(|(place, topic)| counts.learn(place, topic));
        for (place, name) in topics.iter().enumerate() {
            counts.add(Some(place), name, (place as u64 * 37) % 100, 1);
        }
        let busiest = counts.busiest(3, topics.iter().map(Some));
        let found = names(&busiest);
        assert_eq!(found.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [99, 98, 97]);
        assert_eq!(counts.busiest(0, topics.iter().map(Some)), []);
        assert_eq!(
            counts.busiest(1_000, topics.iter().map(Some)).len(),
            99,
            "one was not published to"
        );
    }

    #[test]
    fn listed_filters_count_all_that_match_for_ever() {
        let mut counts = TopicCounts::new(&["t.*", "t.1", "other"]);
        let topics = [topic(1), topic(2)];
        for round in 1..=3 {
            topics.iter().enumerate().for_each(|(place, topic)| counts.learn(place, topic));
            counts.add(Some(0), &topics[0], 2, 20);
            counts.add(Some(1), &topics[1], 1, 10);
            counts.add(None, &topics[1], 1, 10);
            let listed: Vec<_> = counts
                .listed()
                .iter()
                .map(|it| (it.published.messages, it.published.bytes))
                .collect();
            assert_eq!(listed, [(4 * round, 40 * round), (2 * round, 20 * round), (0, 0)]);
            topics.iter().enumerate().for_each(|(place, topic)| counts.forget(place, topic));
        }
    }

    #[test]
    fn the_busiest_outlive_the_cache() {
        let topics: Vec<_> = (0..2 * REMEMBERED + 10).map(topic).collect();
        let mut counts = TopicCounts::new(&[]);
        for (place, name) in topics.iter().enumerate() {
            counts.learn(place, name);
            counts.add(Some(place), name, place as u64 + 1, 1);
        }
        topics.iter().enumerate().for_each(|(place, topic)| counts.forget(place, topic));
        assert!(counts.remembered.len() <= 2 * REMEMBERED, "{}", counts.remembered.len());
        let most = topics.len() as u64;
        let none: [Option<&Rc<[u8]>>; 0] = [];
        let busiest = counts.busiest(REMEMBERED, none.into_iter());
        assert_eq!(names(&busiest)[0].1, most, "though no route is cached");
        assert_eq!(busiest.last().unwrap().published.messages, most - REMEMBERED as u64 + 1);
        // The busiest one is published to again, and so is one that was not remembered.
        let again = [topics[topics.len() - 1].clone(), topics[0].clone()];
        for (place, name) in again.iter().enumerate() {
            counts.learn(place, name);
            counts.add(Some(place), name, 1, 1);
        }
        let busiest = counts.busiest(usize::MAX, again.iter().map(Some));
        assert_eq!(busiest[0].published.messages, most + 1);
        assert_eq!(busiest.last().map(|it| it.published.messages), Some(1));
    }
}
