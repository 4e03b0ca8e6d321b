//! The script of a world: what its limits are and what happens in it, one plain action after the
//! other.
//!
//! Owns the way from a seed to a script. Whatever is taken out of a script, the rest still means
//! what it meant, since actions name clients by numbers of their own: that makes failing scripts
//! easy to shrink, and what `{:?}` prints of one is Rust that replays it.

use wire::native::error_code::ErrorCode;

use super::random::Random;
use super::*;
use crate::engine::rules::{OverflowPolicy, ReceiverRules};

const TOPICS: [&str; 7] = ["a", "b", "a.b", "a.c", "b.c", "a.b.c", "b.b.b.b"];
const FILTERS: [&str; 12] =
    ["a", "b", "a.b", "a.c", "a.*", "*.b", "*.c", ">", "a.>", "*", "*.b.>", "a.b.c"];
const GROUPS: [&str; 2] = ["g", "h"];
/// Groups that one connection joins all at once, so that each message is as many deliveries to it.
pub(super) const GROUP_FLOOD: [&str; 40] = [
    "f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9", "f10", "f11", "f12", "f13", "f14",
    "f15", "f16", "f17", "f18", "f19", "f20", "f21", "f22", "f23", "f24", "f25", "f26", "f27",
    "f28", "f29", "f30", "f31", "f32", "f33", "f34", "f35", "f36", "f37", "f38", "f39",
];
/// Clients of a world that has a crowd.
const CROWD: usize = 300;
/// Frames of a flood that is answered frame by frame.
const FLOOD: usize = 1_500;
/// Connections that come and go behind one another.
const VISITORS: usize = 150;
const HOUR: u64 = 3_600_000;

/// A world's limits. Times are in milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) max_connections: usize,
    pub(super) max_payload: usize,
    pub(super) max_subscriptions: usize,
    pub(super) outbox_bytes: usize,
    pub(super) memory_bytes: usize,
    pub(super) policy: OverflowPolicy,
    pub(super) stall_timeout: u64,
    pub(super) min_rate: usize,
    pub(super) hello: u64,
    pub(super) heartbeat: u64,
    pub(super) read_bytes: usize,
    /// Units of a turn's budget.
    pub(super) turn_units: u64,
    /// The figures are watched.
    pub(super) watched: bool,
    /// Nodes that one call for a route may visit.
    pub(super) nodes_in_a_call: u64,
}

/// What a client asks for with one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Said {
    Hello,
    Subscribe(&'static str, Option<&'static str>),
    Unsubscribe(&'static str, Option<&'static str>),
    /// A message with this number, and the length of its payload.
    Publish(&'static str, u64, usize),
    Ping,
    Pong,
    /// A frame that is refused, and the connection goes on.
    BadTopic,
    /// A frame that ends the connection.
    Nonsense(ErrorCode),
    /// SUBSCRIBE in many queue groups.
    JoinMany,
    /// A message that is never ended: so many bytes of it. Nothing can come behind it.
    Part(usize),
}

/// What an operator changes while the broker runs. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    Outbox(usize),
    Memory(usize),
    Policy(OverflowPolicy),
    /// HELLO and heartbeat.
    Times(u64, u64),
    /// Connections, subscriptions, the time of a stall and the least rate.
    Rest(usize, usize, u64, usize),
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Action {
    /// A client connects, whose socket holds so many bytes.
    Connect(usize, Role, usize),
    Say(usize, Said),
    /// A client takes what it has received: its socket holds so many bytes again.
    Read(usize, usize),
    /// A client answers the PINGs that it has received.
    Answer(usize),
    /// A client closes its sending side.
    Finish(usize),
    /// A client's connection breaks.
    Break(usize),
    /// So many milliseconds pass.
    Pass(u64),
    /// The broker makes a turn; this number decides which pieces of what is on its way have arrived
    /// by then (0: all of it).
    Turn(u64),
    /// The broker has other rules from now on.
    Rule(Change),
    /// The broker is told to stop.
    Stop,
}

/// A world and what happens in it.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) setup: Setup,
    pub(super) actions: Vec<Action>,
}

/// Makes up a script.
struct Author {
    random: Random,
    actions: Vec<Action>,
    roles: Vec<Role>,
    next_message: u64,
    max_payload: usize,
    /// Something happens to one of so many who came last; most of the earlier ones have gone.
    recent: usize,
    with_groups: bool,
    with_nonsense: bool,
    with_parts: bool,
    with_floods: bool,
    with_changes: bool,
    /// Sizes of socket buffers in this world.
    rooms: [usize; 4],
}

impl Setup {
    pub(super) fn rules(&self) -> Rules {
        let time = Duration::from_millis;
        let native = ReceiverRules {
            max_subscriptions: self.max_subscriptions,
            outbox_bytes: self.outbox_bytes,
            policy: self.policy,
            stall_timeout: time(self.stall_timeout),
        };
        Rules {
            max_connections: self.max_connections,
            max_payload: self.max_payload,
            native,
            nats: native,
            memory_bytes: self.memory_bytes,
            min_rate_bytes_per_second: self.min_rate,
            hello: time(self.hello),
            heartbeat: time(self.heartbeat),
        }
    }

    pub(super) fn change(&mut self, change: Change) {
        match change {
            Change::Outbox(bytes) => self.outbox_bytes = bytes,
            Change::Memory(bytes) => self.memory_bytes = bytes,
            Change::Policy(policy) => self.policy = policy,
            Change::Times(hello, heartbeat) => (self.hello, self.heartbeat) = (hello, heartbeat),
            Change::Rest(connections, subscriptions, stall, rate) => {
                (self.max_connections, self.max_subscriptions) = (connections, subscriptions);
                (self.stall_timeout, self.min_rate) = (stall, rate);
            }
        }
    }
}

impl Script {
    /// What this seed stands for.
    pub(super) fn of(seed: u64, steps: usize) -> Script {
        let mut random = Random::new(seed);
        let crowded = random.chance(4);
        let setup = setup(&mut random, crowded);
        let mut author = Author {
            actions: Vec::new(),
            roles: Vec::new(),
            next_message: 0,
            max_payload: setup.max_payload,
            recent: if crowded { 2 * CROWD } else { 12 },
            with_groups: random.chance(50),
            with_nonsense: random.chance(50),
            with_parts: random.chance(10),
            with_floods: random.chance(5),
            with_changes: random.chance(20),
            rooms: random.pick(&[
                [0, 1, 10, 100],
                [100, 1_000, 10_000, 100_000],
                [0, 0, 50, 5_000],
                [1 << 20; 4],
            ]),
            random,
        };
        if crowded {
            (0..CROWD).for_each(|_| author.connect());
        }
        let stop = if author.random.chance(20) { author.random.below(steps) } else { steps };
        for step in 0..steps {
            if step == stop {
                author.actions.push(Action::Stop);
            }
            author.step();
        }
        Script { setup, actions: author.actions }
    }
}

fn setup(random: &mut Random, crowded: bool) -> Setup {
    let policies = [OverflowPolicy::Block, OverflowPolicy::Drop, OverflowPolicy::Disconnect];
    Setup {
        max_connections: if crowded { 2 * CROWD } else { random.pick(&[5, 20, 100]) },
        max_payload: random.pick(&[20, 300, 3_000]),
        max_subscriptions: random.pick(&[2, 5, 100]),
        outbox_bytes: random.pick(&[1, 60, 300, 2_000, 100_000]),
        memory_bytes: random.pick(&[20_000, 100_000, 10_000_000]),
        policy: random.pick(&policies),
        stall_timeout: random.pick(&[1_000, HOUR]),
        min_rate: random.pick(&[0, 100]),
        hello: random.pick(&[2_000, HOUR]),
        heartbeat: random.pick(&[0, 3_000, HOUR]),
        read_bytes: random.pick(&[64, 100, 256, 1_000, 10_000]),
        turn_units: random.pick(&[2_000, 20_000, budget::TURN]),
        watched: random.chance(50),
        nodes_in_a_call: random.pick(&[1, 4, 1_000]),
    }
}

impl Author {
    /// One thing happens, or a few.
    fn step(&mut self) {
        match self.random.below(100) {
            0..8 => self.connect(),
            8..50 => self.say_something(),
            50..60 => self.read_something(),
            60..62 => self.leave(),
            62..67 => {
                let times = [10, 200, 1_500, 1_500, 60_000, 24 * HOUR];
                self.actions.push(Action::Pass(self.random.pick(&times)));
            }
            67 if self.with_changes => self.change_a_rule(),
            _ => self.turn(),
        }
    }

    fn change_a_rule(&mut self) {
        let any = setup(&mut self.random, false);
        self.actions.push(Action::Rule(match self.random.below(5) {
            0 => Change::Outbox(any.outbox_bytes),
            1 => Change::Memory(any.memory_bytes),
            2 => Change::Policy(any.policy),
            3 => Change::Times(any.hello, any.heartbeat),
            _ => Change::Rest(
                any.max_connections,
                any.max_subscriptions,
                any.stall_timeout,
                any.min_rate,
            ),
        }));
    }

    fn connect(&mut self) {
        let role = self.random.pick(&[Role::PUBLISHER, Role::SUBSCRIBER, Role::SUBSCRIBER]);
        let client = self.roles.len();
        self.roles.push(role);
        self.actions.push(Action::Connect(client, role, self.random.pick(&self.rooms)));
        if self.random.chance(95) {
            self.actions.push(Action::Say(client, Said::Hello));
        }
    }

    fn any_client(&mut self) -> Option<usize> {
        let last = self.roles.len().checked_sub(1)?;
        Some(last - self.random.below(self.roles.len().min(self.recent)))
    }

    fn say_something(&mut self) {
        let Some(client) = self.any_client() else { return };
        if self.with_floods && self.random.chance(3) {
            // The answers are more than a client may leave unread, or the work is more than a
            // turn's.
            let role = self.roles[client];
            match (self.random.below(5), role.may_subscribe) {
                (4, _) => self.flood_visitors(),
                (0, true) => self.actions.push(Action::Say(client, Said::JoinMany)),
                (1, true) => self.flood_changes(client),
                (2, false) => self.flood_messages(client),
                _ => self.actions.extend([Action::Say(client, Said::BadTopic); FLOOD]),
            }
        }
        for _ in 0..self.random.pick(&[1, 1, 1, 5, 30]) {
            let said = self.something(self.roles[client]);
            self.actions.push(Action::Say(client, said));
        }
    }

    /// Subscribes and unsubscribes again and again.
    fn flood_changes(&mut self, client: usize) {
        let filter = self.random.pick(&FILTERS);
        let changes = [Said::Subscribe(filter, None), Said::Unsubscribe(filter, None)];
        let changes = changes.map(|said| Action::Say(client, said));
        (0..FLOOD / 2).for_each(|_| self.actions.extend(changes));
    }

    /// Connections that come, begin a frame and break, one after the other.
    fn flood_visitors(&mut self) {
        for _ in 0..VISITORS {
            let client = self.roles.len();
            self.roles.push(Role::PUBLISHER);
            self.actions.extend([
                Action::Connect(client, Role::PUBLISHER, 1_000),
                Action::Say(client, Said::Hello),
                Action::Say(client, Said::Part(1)),
                Action::Turn(0),
                Action::Break(client),
                Action::Turn(0),
            ]);
        }
    }

    /// Small messages to topics in turn, so that no two adjacent ones need be one run.
    fn flood_messages(&mut self, client: usize) {
        for step in 0..FLOOD / 5 {
            self.next_message += 1;
            let said = Said::Publish(TOPICS[step % TOPICS.len()], self.next_message, 8);
            self.actions.push(Action::Say(client, said));
        }
    }

    fn something(&mut self, role: Role) -> Said {
        if self.with_nonsense && self.random.chance(1) {
            return Said::Nonsense(self.random.pick(&[
                ErrorCode::Malformed,
                ErrorCode::HelloExpected,
                ErrorCode::NotAllowed,
                ErrorCode::TooLarge,
            ]));
        }
        let group = (self.with_groups && self.random.chance(40)).then(|| self.random.pick(&GROUPS));
        match (self.random.below(20), role.may_publish) {
            (0, _) => Said::Ping,
            (1, _) => Said::BadTopic,
            (2, _) => Said::Pong,
            (3..6, false) => Said::Unsubscribe(self.random.pick(&FILTERS), group),
            (_, false) => Said::Subscribe(self.random.pick(&FILTERS), group),
            (3, true) if self.with_parts => Said::Part(1 + self.random.below(self.max_payload)),
            (_, true) => {
                self.next_message += 1;
                let large = self.random.below(20) == 0;
                let length = if large { self.max_payload } else { 8 + self.random.below(60) };
                let topic = self.random.pick(&TOPICS);
                Said::Publish(topic, self.next_message, length.min(self.max_payload))
            }
        }
    }

    fn read_something(&mut self) {
        let Some(client) = self.any_client() else { return };
        let room = self.random.pick(&self.rooms) + self.random.below(10);
        self.actions.push(Action::Read(client, room));
        if self.random.chance(80) {
            self.actions.push(Action::Answer(client));
        }
    }

    fn leave(&mut self) {
        let Some(client) = self.any_client() else { return };
        let finish = self.random.chance(50);
        self.actions.push(if finish { Action::Finish(client) } else { Action::Break(client) });
    }

    fn turn(&mut self) {
        let whole = self.random.chance(30);
        self.actions.push(Action::Turn(if whole { 0 } else { self.random.next() | 1 }));
    }
}
