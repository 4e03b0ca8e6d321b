//! The engine and its turn in the scenarios of `docs/performance.md`, over simulated sockets.

use std::io::{self, IoSlice};
use std::time::Instant;

use broker::config::Config;
use broker::engine::Engine;
use broker::engine::sessions::connection::Role;
use broker::engine::token::Token;
use broker::engine::turn::{Readiness, Sockets, Turn};
use wire::native::frame::{Kind, encode};
use wire::nats::client::publish;

/// The connections and what is published.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    /// Its name in reports.
    pub(crate) name: &'static str,
    /// Connections that publish.
    pub(crate) publishers: usize,
    /// Connections that receive.
    pub(crate) subscribers: usize,
    /// Topics, published to in turn.
    pub(crate) topics: usize,
    /// Bytes of each payload.
    pub(crate) size: usize,
    /// What each subscriber subscribes to.
    pub(crate) filters: Filters,
    /// Which clients use NATS.
    pub(crate) nats: Nats,
}

/// Which clients of a scenario use NATS; the others use the native protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nats {
    None,
    Publishers,
    Subscribers,
    /// With the same sids for the same filters.
    All,
    /// Each subscriber with sids of its own.
    OwnSids,
}

/// What a subscriber subscribes to.
#[derive(Clone, Copy)]
pub(crate) enum Filters {
    /// All topics, by one wildcard.
    Wildcard,
    /// All topics, by their names.
    Names,
    /// One topic of its own.
    Own,
    /// So many topics that are not published to.
    NoneOf(usize),
}

/// The scenarios that the broker is compared in.
pub(crate) const SCENARIOS: [Scenario; 16] = [
    scenario("one-to-one-16B", 1, 1, 1, 16, Filters::Names),
    scenario("one-to-one-1KiB", 1, 1, 1, 1_024, Filters::Names),
    scenario("fan-out-100x128B", 1, 100, 1, 128, Filters::Names),
    scenario("fan-in-10-pubs-128B", 10, 1, 1, 128, Filters::Names),
    scenario("topics-1000-128B", 1, 10, 1_000, 128, Filters::Names),
    scenario("wildcard-100000-topics", 1, 1, 100_000, 128, Filters::Wildcard),
    scenario("disjoint-1000x1000", 1, 1_000, 1_000, 128, Filters::Own),
    scenario("no-match-1000-filters", 1, 1, 1, 128, Filters::NoneOf(1_000)),
    scenario("one-to-one-16B", 1, 1, 1, 16, Filters::Names).in_nats("nats-1-1-16B", Nats::All),
    scenario("", 1, 1, 1, 1_024, Filters::Names).in_nats("nats-1-1-1KiB", Nats::All),
    scenario("", 1, 1, 1, 65_536, Filters::Names).in_nats("nats-1-1-64KiB", Nats::All),
    scenario("", 1, 100, 1, 128, Filters::Names).in_nats("nats-fan-out-100", Nats::All),
    scenario("", 1, 100, 1, 128, Filters::Names).in_nats("nats-own-sids-100", Nats::OwnSids),
    scenario("", 1, 10, 10, 128, Filters::Names).in_nats("nats-10-topics-to-10", Nats::All),
    scenario("", 1, 100, 1, 128, Filters::Names).in_nats("native-to-nats-100", Nats::Subscribers),
    scenario("", 1, 100, 1, 128, Filters::Names).in_nats("nats-to-native-100", Nats::Publishers),
];

impl Scenario {
    const fn in_nats(self, name: &'static str, nats: Nats) -> Scenario {
        Scenario { name, nats, ..self }
    }

    fn subscribers_speak_nats(&self) -> bool {
        matches!(self.nats, Nats::Subscribers | Nats::All | Nats::OwnSids)
    }

    fn publishers_speak_nats(&self) -> bool {
        matches!(self.nats, Nats::Publishers | Nats::All | Nats::OwnSids)
    }
}

const fn scenario(
    name: &'static str,
    publishers: usize,
    subscribers: usize,
    topics: usize,
    size: usize,
    filters: Filters,
) -> Scenario {
    Scenario { name, publishers, subscribers, topics, size, filters, nats: Nats::None }
}

/// A broker in a scenario, ready for input.
pub(crate) struct World {
    turn: Turn<Sources>,
    publishers: Vec<Token>,
    now: Instant,
}

/// What publishers send, over and over, and subscribers take.
#[derive(Default)]
pub(crate) struct Sources {
    /// What a client sends after connecting.
    first: Vec<u8>,
    stream: Vec<u8>,
    /// By token: where a publisher is in the stream.
    at: Vec<usize>,
    /// Reads of it that returned something.
    reads: usize,
    /// Bytes that subscribers were given.
    delivered: usize,
    /// Whether the turn is one that is counted.
    is_counted: bool,
}

impl Sockets for Sources {
    // A read stands for a system call: it is left out of what is counted.
    #[inline(never)]
    fn read(&mut self, token: Token, into: &mut [u8]) -> io::Result<usize> {
        if self.is_counted {
            counted_pause(|| self.read_into(token, into))
        } else {
            self.read_into(token, into)
        }
    }

    fn write_vectored(&mut self, _: Token, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        self.delivered += bytes;
        Ok(bytes)
    }

    fn shut_down(&mut self, _: Token) {}

    fn close(&mut self, _: Token) {}
}

impl Sources {
    /// What a read returns.
    fn read_into(&mut self, token: Token, into: &mut [u8]) -> io::Result<usize> {
        if !self.first.is_empty() {
            let count = self.first.len().min(into.len());
            into[..count].copy_from_slice(&self.first[..count]);
            self.first.drain(..count);
            return Ok(count);
        }
        let Some(at) = self.at.get_mut(token.index()).filter(|_| !self.stream.is_empty()) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let count = into.len().min(self.stream.len() - *at);
        into[..count].copy_from_slice(&self.stream[*at..*at + count]);
        *at = (*at + count) % self.stream.len();
        self.reads += 1;
        Ok(count)
    }
}

/// Work in here is not counted: counting is switched at the beginning and end of this function.
#[inline(never)]
fn counted_pause<T>(work: impl FnOnce() -> T) -> T {
    work()
}

impl World {
    /// Connects and subscribes all clients.
    pub(crate) fn new(scenario: &Scenario) -> World {
        let mut config = Config::default();
        config.limits.max_subscriptions = 1_000_000;
        let read_bytes = config.network.read_bytes;
        let mut engine = Engine::new(config.rules(), read_bytes, "bench".into());
        // As with the monitor on.
        if std::env::var_os("COUNT_TOPICS").is_some() {
            engine.count_topics(&["bench.1", "other.>"]);
        }
        let turn = Turn::new(engine, Sources::default(), read_bytes);
        let mut world = World { turn, publishers: Vec::new(), now: Instant::now() };
        for number in 0..scenario.subscribers {
            world.subscriber(scenario, number);
        }
        let is_nats = scenario.publishers_speak_nats();
        let role = if is_nats { Role::NATS } else { Role::PUBLISHER };
        for _ in 0..scenario.publishers {
            let token = world.connect(role, &[]);
            world.publishers.push(token);
        }
        let sources = world.turn.sockets_mut();
        for number in 0..scenario.topics.max(1_000) {
            let topic = format!("bench.{}", number % scenario.topics);
            let payload = vec![0x55; scenario.size];
            if is_nats {
                publish(topic.as_bytes(), None, b"", &payload, &mut sources.stream);
            } else {
                encode(Kind::Publish, 0, topic.as_bytes(), &payload, &mut sources.stream);
            }
        }
        sources.at = vec![0; scenario.publishers + scenario.subscribers];
        world
    }

    fn subscriber(&mut self, scenario: &Scenario, number: usize) {
        let mut bytes = Vec::new();
        let is_nats = scenario.subscribers_speak_nats();
        let mut sid = if scenario.nats == Nats::OwnSids { number * scenario.topics } else { 0 };
        let mut subscribe = |filter: String| {
            sid += 1;
            if is_nats {
                bytes.extend_from_slice(format!("SUB {filter} {sid}\r\n").as_bytes());
            } else {
                encode(Kind::Subscribe, 0, filter.as_bytes(), b"", &mut bytes);
            }
        };
        match scenario.filters {
            Filters::Wildcard => subscribe("bench.>".into()),
            Filters::Own => subscribe(format!("bench.{number}")),
            Filters::Names => (0..scenario.topics).for_each(|n| subscribe(format!("bench.{n}"))),
            Filters::NoneOf(count) => (0..count).for_each(|n| subscribe(format!("other.{n}.*"))),
        }
        self.connect(if is_nats { Role::NATS } else { Role::SUBSCRIBER }, &bytes);
    }

    /// A client that sends HELLO and this.
    fn connect(&mut self, role: Role, bytes: &[u8]) -> Token {
        let token = self.turn.accept(role, "bench", self.now);
        let first = &mut self.turn.sockets_mut().first;
        if role == Role::NATS {
            let wanted = "\"verbose\":false,\"headers\":true,\"no_responders\":true";
            first.extend_from_slice(format!("CONNECT {{{wanted}}}\r\n").as_bytes());
        } else {
            encode(Kind::Hello, 0, b"bench", b"version=1\n", first);
        }
        first.extend_from_slice(bytes);
        self.turn.note(token, Readiness { readable: true, ..Readiness::default() });
        while self.turn.is_busy() {
            self.turn.begin();
            self.turn.run(self.now);
        }
        token
    }

    /// One turn: each publisher has something to read, and all is taken by the subscribers.
    pub(crate) fn turn(&mut self) {
        for position in 0..self.publishers.len() {
            let readable = Readiness { readable: true, ..Readiness::default() };
            self.turn.note(self.publishers[position], readable);
        }
        self.turn.sockets_mut().is_counted = true;
        self.counted_turn();
        self.turn.sockets_mut().is_counted = false;
    }

    /// Turns that are not counted, until the route of each topic is known: it is remembered when
    /// the topic is published to for the second time.
    pub(crate) fn warm_up(&mut self, scenario: &Scenario) {
        let enough = 2 * scenario.topics.max(1_000) as u64 + 1_000;
        while self.messages() < enough {
            for publisher in &self.publishers {
                let readable = Readiness { readable: true, ..Readiness::default() };
                self.turn.note(*publisher, readable);
            }
            self.turn.begin();
            self.turn.run(self.now);
        }
    }

    /// What the broker does in a turn: the function that the instruction count is about, by its
    /// name.
    #[inline(never)]
    fn counted_turn(&mut self) {
        self.turn.begin();
        self.turn.run(self.now);
    }

    /// Messages that were delivered so far.
    pub(crate) fn deliveries(&self) -> u64 {
        self.turn.engine().stats().deliveries
    }

    /// Messages that were accepted so far.
    pub(crate) fn messages(&self) -> u64 {
        self.turn.engine().stats().messages_in
    }

    /// Reads of each publisher so far.
    pub(crate) fn reads(&mut self) -> usize {
        let publishers = self.publishers.len();
        self.turn.sockets_mut().reads / publishers
    }

    /// Bytes that subscribers were given so far.
    pub(crate) fn delivered(&mut self) -> usize {
        self.turn.sockets_mut().delivered
    }
}
