//! How fast topics are published to: what was counted now, beside what was counted a while ago.
//!
//! Owns the earlier counts. It is told the time and the counts; must not ask for either.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::snapshot::Topic;
use crate::engine::routing::counts::Published;

/// The longest time that rates are averaged over, as long as they are asked for that often.
const WINDOW: Duration = Duration::from_secs(10);
/// Over less than this a rate would be chance.
const SHORTEST: Duration = Duration::from_millis(100);

/// Counts of an earlier moment: of those topics that are shown, so no more than a few hundred.
#[derive(Default)]
pub(super) struct TopicRates {
    earlier: Option<(Instant, HashMap<String, Published>)>,
}

/// Messages and bytes a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate {
    pub(super) messages: f64,
    pub(super) bytes: f64,
}

impl TopicRates {
    /// The rate of each topic since the earlier moment; `None` where there is none to tell.
    pub(super) fn of<'a>(
        &mut self,
        topics: impl Iterator<Item = &'a Topic> + Clone,
        now: Instant,
    ) -> Vec<Option<Rate>> {
        let earlier = self.earlier.as_ref();
        let time = earlier.map(|(at, _)| now.saturating_duration_since(*at));
        let rate = |topic: &Topic| {
            let (time, (_, counts)) = (time.filter(|time| *time >= SHORTEST)?, earlier?);
            let (then, now) = (counts.get(&topic.name)?, &topic.published);
            let of = |now: u64, then: u64| now.saturating_sub(then) as f64 / time.as_secs_f64();
            let (messages, bytes) = (of(now.messages, then.messages), of(now.bytes, then.bytes));
            Some(Rate { messages, bytes })
        };
        let rates = topics.clone().map(rate).collect();
        if time.is_none_or(|time| time >= WINDOW) {
            let counts = topics.map(|topic| (topic.name.clone(), topic.published));
            self.earlier = Some((now, counts.collect()));
        }
        rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_time_since_an_earlier_request() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let topic = |messages| Topic {
            name: "t".into(),
            published: Published { messages, bytes: 10 * messages },
        };
        let mut rates = TopicRates::default();
        let mut of = |messages, at| {
            let topics = [topic(messages)];
            rates.of(topics.iter(), at)[0].map(|rate| (rate.messages, rate.bytes))
        };
        assert_eq!(of(5, start), None, "there is nothing to compare with");
        assert_eq!(of(25, after(2)), Some((10.0, 100.0)));
        assert_eq!(of(105, after(10)), Some((10.0, 100.0)), "and begins anew here");
        assert_eq!(of(105, after(11)), Some((0.0, 0.0)));
        assert_eq!(of(105, after(11)), Some((0.0, 0.0)));
    }
}
