//! The script of a world: what its limits are and what happens in it, one plain action after the
//! other.
//!
//! Whatever is taken out of a script, the rest still means
//! what it meant, since actions name clients by numbers of their own: that makes failing scripts
//! easy to shrink, and what `{:?}` prints of one is Rust that replays it.

use wire::native::error_code::ErrorCode;

use super::hub;
use super::nats::Line;
use super::*;
use crate::engine::rules::{OverflowPolicy, ReceiverRules};

/// Groups that one connection joins all at once, so that each message is as many deliveries to it.
pub(super) const GROUP_FLOOD: [&str; 40] = [
    "f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9", "f10", "f11", "f12", "f13", "f14",
    "f15", "f16", "f17", "f18", "f19", "f20", "f21", "f22", "f23", "f24", "f25", "f26", "f27",
    "f28", "f29", "f30", "f31", "f32", "f33", "f34", "f35", "f36", "f37", "f38", "f39",
];

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
    /// The same four for NATS clients.
    pub(super) nats: Limits,
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
    /// Its link to a hub, if it has one.
    pub(super) link: Option<LinkSetup>,
    /// The number of its table of users; there are none if there is no such table.
    pub(super) users: usize,
}

/// A world's link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LinkSetup {
    /// The number of its rules in the table of them.
    pub(super) rules: usize,
    pub(super) limits: Limits,
}

/// What holds for the receivers of one protocol.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limits {
    pub(super) max_subscriptions: usize,
    pub(super) outbox_bytes: usize,
    pub(super) policy: OverflowPolicy,
    pub(super) stall_timeout: u64,
}

impl Limits {
    fn rules(&self) -> ReceiverRules {
        ReceiverRules {
            max_subscriptions: self.max_subscriptions,
            outbox_bytes: self.outbox_bytes,
            policy: self.policy,
            stall_timeout: Duration::from_millis(self.stall_timeout),
        }
    }
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
    /// A line of a NATS client.
    Nats(Line),
    /// A line of a hub.
    Hub(hub::Line),
}

/// What an operator changes while the broker runs. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    Outbox(usize),
    Memory(usize),
    Policy(OverflowPolicy),
    Nats(Limits),
    /// HELLO and heartbeat.
    Times(u64, u64),
    /// Connections, subscriptions, the time of a stall and the least rate.
    Rest(usize, usize, u64, usize),
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Action {
    /// A hub is dialled that takes so many bytes of payload, and whose socket holds so many; unless
    /// one is there.
    Dial(usize, usize, usize),
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
    /// The broker has the users of this table from now on.
    Users(usize),
    /// The link has these rules from now on; there is none if there are no such rules.
    Link(usize),
    /// The broker is told to stop.
    Stop,
}

/// A world and what happens in it.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) setup: Setup,
    pub(super) actions: Vec<Action>,
}

impl Setup {
    pub(super) fn rules(&self) -> Rules {
        let time = Duration::from_millis;
        Rules {
            max_connections: self.max_connections,
            max_payload: self.max_payload,
            native: self.of(Protocol::Native).rules(),
            nats: self.nats.rules(),
            link: self.of(Protocol::Leaf).rules(),
            memory_bytes: self.memory_bytes,
            min_rate_bytes_per_second: self.min_rate,
            hello: time(self.hello),
            heartbeat: time(self.heartbeat),
        }
    }

    /// What holds for the receivers of a protocol.
    pub(super) fn of(&self, protocol: Protocol) -> Limits {
        match protocol {
            Protocol::Nats => self.nats,
            Protocol::Leaf => match &self.link {
                Some(link) => link.limits,
                None => self.of(Protocol::Native),
            },
            Protocol::Native => Limits {
                max_subscriptions: self.max_subscriptions,
                outbox_bytes: self.outbox_bytes,
                policy: self.policy,
                stall_timeout: self.stall_timeout,
            },
        }
    }

    pub(super) fn change(&mut self, change: Change) {
        match change {
            Change::Outbox(bytes) => self.outbox_bytes = bytes,
            Change::Memory(bytes) => self.memory_bytes = bytes,
            Change::Policy(policy) => self.policy = policy,
            Change::Nats(limits) => self.nats = limits,
            Change::Times(hello, heartbeat) => (self.hello, self.heartbeat) = (hello, heartbeat),
            Change::Rest(connections, subscriptions, stall, rate) => {
                (self.max_connections, self.max_subscriptions) = (connections, subscriptions);
                (self.stall_timeout, self.min_rate) = (stall, rate);
            }
        }
    }
}
