//! A simulated world: the broker, its clients, a fake network and a fake clock.
//!
//! It drives the broker exactly as the reactor does, with a ready list fed only by events and by
//! what the broker hands back, so that a wake-up that the broker forgets is a client that waits
//! for ever.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;

use super::client::{Client, Heard};
use super::edges::Edges;
use super::model::Model;
use super::random::Random;
use super::script::{Action, Change, Said, Script, Setup};
use super::*;
use crate::broker::rules::OverflowPolicy;

mod turns;

/// Turns in which whatever was begun must have come to an end.
const MANY_TURNS: usize = 100_000;

pub(super) struct World {
    pub(super) setup: Setup,
    pub(super) broker: Broker,
    pub(super) model: Model,
    pub(super) edges: Edges,
    pub(super) now: Instant,
    pub(super) clients: Vec<Client>,
    /// Which client has a token now.
    pub(super) by_token: BTreeMap<Token, usize>,
    /// Which client an action means.
    by_name: BTreeMap<usize, usize>,
    ready: VecDeque<usize>,
    /// Decides how many bytes the next reads take; `None`: all that are there.
    cuts: Option<Random>,
    /// A receiver broke in the middle of a delivery: the model counts it, the broker does not.
    broke_midway: bool,
    /// An outbox was half full once, so queue groups may have passed over a member.
    pub(super) was_short: bool,
    /// Subscribers closed for being slow.
    pub(super) slow: u64,
    /// The most that was held behind a turn.
    pub(super) most: usize,
    /// Bytes that clients received.
    taken: u64,
    /// Policies that were ever in force, and whether any rule is another one than at the start.
    policies: Vec<OverflowPolicy>,
    pub(super) changed: bool,
    hash: u64,
}

/// What a world leaves: a hash of everything that clients received in its order, and the edges
/// that it reached.
pub(super) struct Trace {
    pub(super) most: usize,
    pub(super) hash: u64,
    pub(super) edges: Edges,
}

/// Plays a script to its end, and what must hold behind it.
pub(super) fn play(script: &Script) -> Trace {
    let mut world = World::new(&script.setup);
    for action in &script.actions {
        world.apply(*action);
    }
    world.finish()
}

impl World {
    fn new(setup: &Setup) -> World {
        World {
            model: Model::new(setup.max_subscriptions),
            broker: watched(setup),
            edges: Edges::default(),
            now: epoch(),
            clients: Vec::new(),
            by_token: BTreeMap::new(),
            by_name: BTreeMap::new(),
            ready: VecDeque::new(),
            cuts: None,
            broke_midway: false,
            was_short: false,
            slow: 0,
            most: 0,
            taken: 0,
            policies: vec![setup.policy],
            changed: false,
            hash: 0xCBF2_9CE4_8422_2325,
            setup: setup.clone(),
        }
    }

    /// One thing happens. What is said about a client that has gone, or never came, is nothing.
    fn apply(&mut self, action: Action) {
        match action {
            Action::Connect(name, role, room) => self.connect(name, role, room),
            Action::Say(name, said) => {
                // The broker sees nothing of it before the next turn.
                return self.with(name, |world, number| {
                    let max_payload = world.setup.max_payload;
                    world.clients[number].say(said, max_payload);
                    world.edges.note("frame never ended", u64::from(world.clients[number].mute));
                    world.arrives(number);
                });
            }
            Action::Read(name, room) => {
                self.with(name, |world, number| world.give_room(number, room));
            }
            Action::Answer(name) => self.with(name, World::answer_pings),
            Action::Finish(name) => self.with(name, |world, number| {
                world.clients[number].finished = true;
                world.arrives(number);
            }),
            Action::Break(name) => self.with(name, |world, number| {
                world.clients[number].broken = true;
                world.arrives(number);
            }),
            Action::Pass(milliseconds) => {
                self.now += Duration::from_millis(milliseconds);
                return;
            }
            Action::Turn(serves, cuts) => {
                self.cuts = (cuts > 0).then(|| Random::new(cuts));
                self.turn(serves);
                self.check_turn();
            }
            Action::Rule(change) => self.change_rules(change),
            Action::Stop => self.stop(),
        }
        self.recount();
    }

    fn with(&mut self, name: usize, act: impl FnOnce(&mut World, usize)) {
        let number = self.by_name.get(&name).copied();
        if let Some(number) = number.filter(|number| self.clients[*number].is_talking()) {
            act(self, number);
        }
    }

    fn connect(&mut self, name: usize, role: Role, room: usize) {
        if self.broker.is_draining() {
            return;
        }
        let token = self.broker.accept(role, "sim", self.now);
        let number = self.clients.len();
        self.clients.push(Client::new(token, role, room, self.now));
        self.by_name.insert(name, number);
        assert!(self.by_token.insert(token, number).is_none(), "a token has one owner");
        let again = self.clients[..number].iter().any(|client| client.token == token);
        self.edges.note("token used again", u64::from(again));
        self.edges.note("hundreds of connections", u64::from(self.by_token.len() >= 200));
        self.arrives(number);
    }

    /// The broker is told to stop.
    fn stop(&mut self) {
        if self.broker.is_draining() {
            return;
        }
        let queued = self.broker.connections.iter().any(|(_, found)| !found.outbox.is_empty());
        self.edges.note("told to stop while somebody was busy", u64::from(queued));
        self.broker.shut_down(self.now);
        self.note_closing();
    }

    /// A rule becomes another one. Nobody may be closed by that, nor be forgotten.
    fn change_rules(&mut self, change: Change) {
        if self.broker.is_draining() {
            return;
        }
        // What is due under the old rules happens.
        self.turn(usize::MAX);
        let old = self.setup.rules();
        self.setup.change(change);
        self.changed = true;
        self.policies.push(self.setup.policy);
        self.model.allow(self.setup.max_subscriptions);
        let talking = |broker: &Broker| -> Vec<_> {
            let all = broker.connections.iter();
            all.filter(|(_, connection)| connection.is_talking()).map(|(at, _)| at).collect()
        };
        let before = talking(&self.broker);
        self.broker.set_rules(self.setup.rules(), self.now);
        self.broker.expire(self.now, 16);
        self.broker.end_turn(self.now);
        // Under the same rules, one more turn may close one more for its memory.
        let closed = talking(&self.broker) != before;
        assert!(!closed || self.setup.rules() == old, "new rules closed somebody");
        self.edges.note("rules changed", 1);
        self.turn(usize::MAX);
    }

    /// Everybody reads on and says no more; then all must be delivered and nobody left waiting.
    /// Then the broker is told to stop, and ends with GOODBYE for all.
    fn finish(mut self) -> Trace {
        self.cuts = None;
        for number in 0..self.clients.len() {
            // Half a frame could hold up the others for as long as the hello time-out.
            if self.clients[number].mute {
                self.edges.note("message cut by the end of input", 1);
                self.clients[number].finished = true;
                self.arrives(number);
            }
        }
        self.settle();
        assert!(self.ready.is_empty() && !self.broker.has_dirty(), "somebody is still busy");
        self.check_settled();
        self.stop();
        for _ in 0..50 {
            self.settle();
            for number in 0..self.clients.len() {
                let client = &mut self.clients[number];
                if client.hung_up && !client.closed && !client.finished {
                    client.finished = true;
                    self.arrives(number);
                }
            }
        }
        self.check_end();
        Trace { most: self.most, hash: self.hash, edges: self.edges }
    }

    /// Turns, with everybody reading, until nothing happens any more.
    fn settle(&mut self) {
        let mut turns = 0;
        while turns < 3 || !self.ready.is_empty() || self.broker.has_dirty() {
            turns += 1;
            assert!(turns < MANY_TURNS, "somebody is busy for ever");
            for number in 0..self.clients.len() {
                self.give_room(number, 1 << 30);
                if self.clients[number].is_talking() {
                    self.answer_pings(number);
                }
            }
            self.turn(usize::MAX);
            self.check_turn();
        }
        self.recount();
    }

    fn give_room(&mut self, number: usize, room: usize) {
        let client = &mut self.clients[number];
        let was_full = client.room == 0;
        client.room = client.room.max(room);
        if was_full && client.room > 0 && !client.closed {
            self.broker.writable(client.token);
            make_ready(&mut self.ready, number, client);
        }
    }

    fn answer_pings(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let unanswered = std::mem::take(&mut client.unanswered);
        for _ in 0..unanswered {
            client.say(Said::Pong, 0);
        }
        if unanswered > 0 {
            self.arrives(number);
        }
    }

    /// An event of a client's socket reaches the broker.
    fn arrives(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if !client.closed {
            client.readable = true;
            make_ready(&mut self.ready, number, client);
        }
    }
}

impl World {
    /// What must hold when everybody has read all and says no more.
    fn check_settled(&mut self) {
        let stopping = self.broker.is_draining();
        for number in 0..self.clients.len() {
            let client = &self.clients[number];
            let alive = client.is_talking() && !client.hung_up && !stopping;
            if alive {
                let connection = &self.broker.connections[client.token.index()];
                let waits = (connection.is_paused(), connection.starved);
                let (carried, said) = (client.carried, client.said.len());
                assert_eq!(carried, said, "client {number} is not heard: {waits:?}");
                assert!(connection.outbox.is_empty() && connection.lost() == 0);
                assert!(!connection.is_unread(), "client {number} waits for ever");
                assert!(!client.has_partial(), "client {number} has half a frame");
                self.check_traffic(number);
            }
            self.model.check(number, client, alive);
        }
    }

    /// A subscriber's counts are those of what it heard.
    fn check_traffic(&self, number: usize) {
        let client = &self.clients[number];
        if client.role == Role::Publisher {
            return;
        }
        let (mut messages, mut lost) = (0, 0);
        for heard in &client.heard {
            match heard {
                Heard::Message(_) => messages += 1,
                Heard::Lost(count) => lost += count,
                _ => {}
            }
        }
        let connection = &self.broker.connections[client.token.index()];
        let dropped = connection.trouble().map_or(0, |trouble| trouble.dropped);
        assert_eq!((messages, lost), (connection.traffic.messages, dropped), "client {number}");
    }

    /// What must hold when all have left.
    fn check_end(&mut self) {
        let broker = &self.broker;
        assert_eq!(broker.connections(), 0, "all have left");
        let (subscriptions, filters, _) = broker.index_sizes();
        assert_eq!((broker.memory_held(), subscriptions, filters), (0, 0, 0), "nothing is left");
        assert_eq!(broker.pool.sparse(), 0);
        for (number, client) in self.clients.iter().enumerate() {
            self.model.check(number, client, client.heard_goodbye());
            self.check_last_words(number, client);
        }
        let messages = |client: &Client| -> u64 {
            client.heard.iter().filter(|heard| matches!(heard, Heard::Message(_))).count() as u64
        };
        let heard: u64 = self.clients.iter().map(messages).sum();
        let stats = broker.stats();
        let (deliveries, undelivered) = (stats.deliveries, stats.undelivered);
        assert_eq!(deliveries, heard + undelivered, "each message is heard or undelivered");
        let is_message = |said: &&Said| matches!(said, Said::Publish(..));
        let carried = self.clients.iter().flat_map(|client| &client.said[..client.carried]);
        let messages = carried.filter(is_message).count() as u64;
        assert_eq!((stats.bytes_out, stats.messages_in), (self.taken, messages), "counters");
        // Full memory leaves a member of a group without room, too, but under `block`.
        let block = self.setup.policy == OverflowPolicy::Block;
        let roomy = (block || self.setup.memory_bytes >= 10_000_000) && !self.changed;
        if roomy && !self.was_short && stats.pauses + stats.dropped == 0 {
            let compared = self.model.check_turns(&self.clients);
            self.edges.note("turns of a queue group compared", compared);
        }
        self.note_edges();
    }

    /// How a conversation that the broker ended must have ended.
    fn check_last_words(&self, number: usize, client: &Client) {
        let nonsense = client.said[..client.carried].iter().find_map(|said| match said {
            Said::Nonsense(code) => Some(*code),
            _ => None,
        });
        let fatal = client.fatal();
        // Without a HELLO in front, a second one is the first and no nonsense.
        let greeted = matches!(client.said.first(), Some(Said::Hello));
        if let (true, Some(nonsense), Some(fatal)) = (greeted, nonsense, fatal) {
            let other = [ErrorCode::SlowConsumer, ErrorCode::Timeout];
            assert!(nonsense == fatal || other.contains(&fatal), "client {number}: {fatal}");
        }
        let slow = fatal == Some(ErrorCode::SlowConsumer);
        assert!(
            !slow || self.policies.iter().any(|policy| *policy != OverflowPolicy::Drop),
            "client {number}"
        );
    }
}

/// A broker that counts messages by topic if somebody looks, and interrupts searches early.
fn watched(setup: &Setup) -> Broker {
    let mut broker = Broker::new(setup.rules(), setup.read_bytes, "sim".into());
    if setup.watched {
        broker.count_topics(&[">"]);
    }
    broker.index.limit_calls(setup.nodes_in_a_call);
    broker
}

fn make_ready(ready: &mut VecDeque<usize>, number: usize, client: &mut Client) {
    if !client.ready && !client.closed {
        client.ready = true;
        ready.push_back(number);
    }
}

/// Some moment to count from; the time of day is nothing to the broker.
fn epoch() -> Instant {
    Instant::now()
}
