//! What clients must receive, by the plain definition: a list of subscriptions and a loop.

use std::collections::{BTreeMap, BTreeSet};

use wire::topic::matches;

use super::client::{Client, Heard};
use super::script::Said;

/// A subscription: by whom, to what, in which queue group.
type Held = (usize, &'static str, Option<&'static str>);
/// A queue group is its name.
type Group = &'static str;

/// All that was processed so far, and what follows from it.
pub(super) struct Model {
    max_subscriptions: usize,
    held: Vec<Held>,
    /// Messages in the order in which they were processed; a message's place in it.
    place: BTreeMap<u64, usize>,
    /// By client: the messages that its plain filters matched.
    expected: BTreeMap<usize, Vec<u64>>,
    /// By client: who was ever in a queue group, so that it may receive more than that.
    grouped: BTreeMap<usize, bool>,
    /// Deliveries in all: one for each plain receiver and for each queue group.
    pub(super) matched: u64,
    /// By client: answers that it must get.
    pongs: BTreeMap<usize, usize>,
    /// Messages for one queue group that went by without a change of the members that match; for
    /// the messages that only one group matched.
    rounds: BTreeMap<Group, Round>,
    ended_rounds: Vec<Round>,
    /// SUBSCRIBEs that were too many.
    pub(super) refused: u64,
}

/// Messages for one queue group while its members stayed the same.
struct Round {
    members: BTreeSet<usize>,
    /// Messages; `None` for one that more than one group matched.
    messages: Vec<Option<u64>>,
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
            rounds: BTreeMap::new(),
            ended_rounds: Vec::new(),
            refused: 0,
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

    /// The broker has processed what a client said. Returns whether a subscription has changed.
    pub(super) fn process(&mut self, client: usize, said: Said) -> bool {
        let before = self.held.len();
        match said {
            Said::Subscribe(filter, group) => {
                let held = (client, filter, group);
                let count = self.held.iter().filter(|held| held.0 == client).count();
                if self.held.contains(&held) {
                    return false;
                }
                if count >= self.max_subscriptions {
                    self.refused += 1;
                    return false;
                }
                self.held.push(held);
                *self.grouped.entry(client).or_default() |= group.is_some();
            }
            Said::Unsubscribe(filter, group) => {
                self.held.retain(|held| *held != (client, filter, group));
            }
            Said::Publish(topic, number, _) => self.publish(topic, number),
            Said::Ping => *self.pongs.entry(client).or_default() += 1,
            Said::Hello
            | Said::Pong
            | Said::BadTopic
            | Said::Nonsense(_)
            | Said::Part(_)
            | Said::JoinMany => {}
        }
        before != self.held.len()
    }

    fn publish(&mut self, topic: &str, number: u64) {
        let place = self.place.len();
        assert!(self.place.insert(number, place).is_none(), "a message was processed twice");
        let matching = self.held.iter().filter(|held| matches(held.1.as_bytes(), topic.as_bytes()));
        let (mut plain, mut groups) = (Vec::new(), BTreeMap::<Group, BTreeSet<usize>>::new());
        for (client, _, group) in matching {
            match group {
                None => plain.push(*client),
                Some(name) => drop(groups.entry(*name).or_default().insert(*client)),
            }
        }
        plain.sort_unstable();
        plain.dedup();
        self.matched += (plain.len() + groups.len()) as u64;
        for client in plain {
            self.expected.entry(client).or_default().push(number);
        }
        let alone = groups.len() == 1;
        for (group, members) in groups {
            self.take_turn(group, &members, alone.then_some(number));
        }
    }

    fn take_turn(&mut self, group: Group, members: &BTreeSet<usize>, number: Option<u64>) {
        let new = || Round { members: members.clone(), messages: Vec::new() };
        let round = self.rounds.entry(group).or_insert_with(new);
        if round.members != *members {
            self.ended_rounds.push(std::mem::replace(round, new()));
        }
        round.messages.push(number);
    }

    /// The members of a queue group, or of several, that match a topic; some several times.
    pub(super) fn members(
        &self,
        topic: &str,
        is_group: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = usize> {
        let held = self.held.iter().filter(move |(_, filter, group)| {
            group.is_some_and(&is_group) && matches(filter.as_bytes(), topic.as_bytes())
        });
        held.map(|held| held.0)
    }

    /// Whether any client was ever in a queue group.
    pub(super) fn has_groups(&self) -> bool {
        self.grouped.values().any(|is_grouped| *is_grouped)
    }

    /// Subscriptions in queue groups.
    pub(super) fn grouped_subscriptions(&self) -> u64 {
        self.held.iter().filter(|held| held.2.is_some()).count() as u64
    }

    /// Whether a client was ever in a queue group.
    pub(super) fn is_grouped(&self, client: usize) -> bool {
        self.grouped.get(&client).copied().unwrap_or(false)
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
        if self.is_grouped(client) {
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

    /// Checks that the members of queue groups took turns: where none of them was ever short of
    /// room, as many messages in a row as there are members went to as many of them. Returns how
    /// many messages were compared.
    pub(super) fn check_turns(&self, clients: &[Client]) -> u64 {
        let mut receivers = BTreeMap::<u64, Vec<usize>>::new();
        for (number, client) in clients.iter().enumerate() {
            for heard in &client.heard {
                if let Heard::Message(message) = heard {
                    receivers.entry(*message).or_default().push(number);
                }
            }
        }
        for (client, messages) in &self.expected {
            for message in messages {
                let Some(all) = receivers.get_mut(message) else { continue };
                if let Some(position) = all.iter().position(|receiver| receiver == client) {
                    all.swap_remove(position);
                }
            }
        }
        let receiver = |message: &u64| receivers.get(message).filter(|all| all.len() == 1);
        let mut compared = 0;
        for round in self.ended_rounds.iter().chain(self.rounds.values()) {
            for row in round.messages.windows(round.members.len()) {
                let found: Vec<_> =
                    row.iter().flatten().filter_map(receiver).map(|all| all[0]).collect();
                let distinct: BTreeSet<_> = found.iter().collect();
                assert_eq!(distinct.len(), found.len(), "a member had a turn of another: {row:?}");
                compared += if found.len() > 1 { 1 } else { 0 };
            }
        }
        compared
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
