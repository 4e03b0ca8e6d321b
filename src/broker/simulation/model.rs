//! What clients must receive, by the plain definition: a list of subscriptions and a loop.

use std::collections::BTreeMap;

use super::client::{Client, Heard, Said};
use crate::wire::topic::matches;

/// A subscription: by whom, to what, in which queue group.
type Held = (usize, &'static str, Option<&'static str>);

/// All that was carried out so far, and what follows from it.
pub(super) struct Model {
    max_subscriptions: usize,
    held: Vec<Held>,
    /// Messages in the order in which they were carried out; a message's place in it.
    place: BTreeMap<u64, usize>,
    /// By client: the messages that its plain filters matched.
    expected: BTreeMap<usize, Vec<u64>>,
    /// By client: who was ever in a queue group, so that it may receive more than that.
    grouped: BTreeMap<usize, bool>,
    /// Deliveries in all: one for each plain receiver and for each queue group.
    pub(super) matched: u64,
    /// By client: answers that it must get.
    pongs: BTreeMap<usize, usize>,
}

impl Model {
    pub(super) fn new(max_subscriptions: usize) -> Model {
        Model {
            max_subscriptions,
            held: Vec::new(),
            place: BTreeMap::new(),
            expected: BTreeMap::new(),
            grouped: BTreeMap::new(),
            matched: 0,
            pongs: BTreeMap::new(),
        }
    }

    /// The limit of subscriptions is another one.
    pub(super) fn allow(&mut self, max_subscriptions: usize) {
        self.max_subscriptions = max_subscriptions;
    }

    /// A connection receives nothing from now on.
    pub(super) fn forget(&mut self, client: usize) {
        self.held.retain(|held| held.0 != client);
    }

    /// The broker has carried out what a client said.
    pub(super) fn carry(&mut self, client: usize, said: &Said) {
        match said {
            Said::Subscribe(filter, group) => {
                let held = (client, *filter, *group);
                let count = self.held.iter().filter(|held| held.0 == client).count();
                if count < self.max_subscriptions && !self.held.contains(&held) {
                    self.held.push(held);
                    *self.grouped.entry(client).or_default() |= group.is_some();
                }
            }
            Said::Unsubscribe(filter, group) => {
                self.held.retain(|held| *held != (client, *filter, *group));
            }
            Said::Publish(topic, number) => self.publish(topic, *number),
            Said::Ping => *self.pongs.entry(client).or_default() += 1,
            Said::Hello | Said::Pong | Said::BadTopic | Said::Nonsense(_) => {}
        }
    }

    fn publish(&mut self, topic: &str, number: u64) {
        let place = self.place.len();
        assert!(self.place.insert(number, place).is_none(), "a message was carried out twice");
        let matching = self.held.iter().filter(|held| matches(held.1.as_bytes(), topic.as_bytes()));
        let (mut plain, mut groups) = (Vec::new(), Vec::new());
        for (client, filter, group) in matching {
            match group {
                None => plain.push(*client),
                Some(name) => groups.push((*filter, *name)),
            }
        }
        plain.sort_unstable();
        plain.dedup();
        groups.sort_unstable();
        groups.dedup();
        self.matched += (plain.len() + groups.len()) as u64;
        for client in plain {
            self.expected.entry(client).or_default().push(number);
        }
    }

    /// Checks what one client heard. `complete`: it was connected to the end and has read all.
    pub(super) fn check(&self, client: usize, who: &Client, complete: bool) {
        let mut last = None;
        for heard in &who.heard {
            if let Heard::Message(number) = heard {
                let place = self.place.get(number).expect("only what was published is received");
                assert!(last <= Some(*place), "client {client} received out of order");
                last = Some(*place);
            }
        }
        let pongs = who.heard.iter().filter(|heard| **heard == Heard::Pong).count();
        let asked = self.pongs.get(&client).copied().unwrap_or(0);
        assert!(pongs <= asked && (!complete || pongs == asked), "client {client}: {pongs} PONGs");
        let none = Vec::new();
        let expected = self.expected.get(&client).unwrap_or(&none);
        if self.grouped.get(&client).copied().unwrap_or(false) {
            return check_grouped(client, expected, &who.heard, complete);
        }
        let mut rest = expected.iter();
        for heard in &who.heard {
            match heard {
                Heard::Message(number) => {
                    assert_eq!(rest.next(), Some(number), "client {client} received another");
                }
                Heard::Lost(count) => {
                    assert!(*count > 0, "client {client}: LOST is of some");
                    for _ in 0..*count {
                        assert!(rest.next().is_some(), "client {client} was told of too many lost");
                    }
                }
                _ => {}
            }
        }
        assert!(!complete || rest.next().is_none(), "client {client} misses {:?}", rest.next());
    }
}

/// A member of queue groups may receive more than its plain filters say, not less.
fn check_grouped(client: usize, expected: &[u64], heard: &[Heard], complete: bool) {
    let lossless = !heard.iter().any(|heard| matches!(heard, Heard::Lost(_)));
    if complete && lossless {
        for number in expected {
            let received = heard.contains(&Heard::Message(*number));
            assert!(received, "client {client} misses {number}");
        }
    }
}
