//! The broker's core in the scenarios of `docs/performance.md`, without sockets.

use std::io::IoSlice;
use std::time::Instant;

use broker::broker::chunk::Filling;
use broker::broker::connection::Role;
use broker::broker::{Broker, Input, Progress, Token};
use broker::config::Config;
use wire::native::frame::{Kind, encode};

/// Who is there and what is published.
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
    /// So many topics that nobody publishes to.
    NoneOf(usize),
}

/// The scenarios that the broker is compared in.
pub(crate) const SCENARIOS: [Scenario; 8] = [
    scenario("one-to-one-16B", 1, 1, 1, 16, Filters::Names),
    scenario("one-to-one-1KiB", 1, 1, 1, 1_024, Filters::Names),
    scenario("fan-out-100x128B", 1, 100, 1, 128, Filters::Names),
    scenario("fan-in-10-pubs-128B", 10, 1, 1, 128, Filters::Names),
    scenario("topics-1000-128B", 1, 10, 1_000, 128, Filters::Names),
    scenario("wildcard-100000-topics", 1, 1, 100_000, 128, Filters::Wildcard),
    scenario("disjoint-1000x1000", 1, 1_000, 1_000, 128, Filters::Own),
    scenario("no-match-1000-filters", 1, 1, 1, 128, Filters::NoneOf(1_000)),
];

const fn scenario(
    name: &'static str,
    publishers: usize,
    subscribers: usize,
    topics: usize,
    size: usize,
    filters: Filters,
) -> Scenario {
    Scenario { name, publishers, subscribers, topics, size, filters }
}

/// A broker in a scenario, ready to be fed.
pub(crate) struct World {
    broker: Broker,
    publishers: Vec<Token>,
    /// What a publisher sends, over and over, and where it is.
    stream: Vec<u8>,
    at: usize,
    read_bytes: usize,
    now: Instant,
    dirty: Vec<Token>,
    /// Bytes that subscribers were given.
    pub(crate) delivered: usize,
}

impl World {
    /// Connects and subscribes everybody.
    pub(crate) fn new(scenario: &Scenario) -> World {
        let mut config = Config::default();
        config.limits.max_subscriptions = 1_000_000;
        let read_bytes = config.network.read_bytes;
        let mut broker = Broker::new(config.rules(), read_bytes, "bench".into());
        // As with the monitor on.
        if std::env::var_os("COUNT_TOPICS").is_some() {
            broker.count_topics(&["bench.1", "other.>"]);
        }
        let (publishers, stream, dirty) = (Vec::new(), Vec::new(), Vec::new());
        let (at, delivered, now) = (0, 0, Instant::now());
        let mut world = World { broker, publishers, stream, at, read_bytes, now, dirty, delivered };
        for number in 0..scenario.subscribers {
            world.subscriber(scenario, number);
        }
        for _ in 0..scenario.publishers {
            let token = world.connect(Role::Publisher);
            world.publishers.push(token);
        }
        for number in 0..scenario.topics.max(1_000) {
            let topic = format!("bench.{}", number % scenario.topics);
            let payload = vec![0x55; scenario.size];
            encode(Kind::Publish, 0, topic.as_bytes(), &payload, &mut world.stream);
        }
        world
    }

    fn subscriber(&mut self, scenario: &Scenario, number: usize) {
        let token = self.connect(Role::Subscriber);
        let mut bytes = Vec::new();
        let mut subscribe =
            |filter: String| encode(Kind::Subscribe, 0, filter.as_bytes(), b"", &mut bytes);
        match scenario.filters {
            Filters::Wildcard => subscribe("bench.>".into()),
            Filters::Own => subscribe(format!("bench.{number}")),
            Filters::Names => (0..scenario.topics).for_each(|n| subscribe(format!("bench.{n}"))),
            Filters::NoneOf(count) => (0..count).for_each(|n| subscribe(format!("other.{n}.*"))),
        }
        for part in bytes.chunks(self.read_bytes) {
            self.feed(token, part);
        }
        self.flush();
    }

    fn connect(&mut self, role: Role) -> Token {
        let token = self.broker.accept(role, "bench", self.now);
        let mut hello = Vec::new();
        encode(Kind::Hello, 0, b"bench", b"version=1\n", &mut hello);
        self.feed(token, &hello);
        self.flush();
        token
    }

    /// One turn: each publisher is read once, everything is taken by the subscribers.
    pub(crate) fn turn(&mut self) {
        for position in 0..self.publishers.len() {
            let (token, start) = (self.publishers[position], self.at);
            let Input::Read(mut filling) = self.broker.next_input(token, true) else {
                panic!("a publisher whose messages are taken is never paused");
            };
            let spare = filling.spare(self.read_bytes);
            let count = spare.len().min(self.stream.len() - start);
            spare[..count].copy_from_slice(&self.stream[start..start + count]);
            // Several publishers send the same bytes, each from the beginning of a frame.
            if position + 1 == self.publishers.len() {
                self.at = (start + count) % self.stream.len();
            }
            self.counted_receive(token, filling, count);
        }
        self.counted_flush();
    }

    // What the broker does in a turn, without the copy that stands for a read from a socket: the
    // functions that the instruction count is about, by their names.

    #[inline(never)]
    fn counted_receive(&mut self, token: Token, filling: Filling, count: usize) {
        let progress = self.broker.received(token, filling, count, false, self.now);
        assert!(progress == Progress::Done, "outboxes have room");
    }

    #[inline(never)]
    fn counted_flush(&mut self) {
        self.flush();
        self.broker.end_turn(self.now);
    }

    fn feed(&mut self, token: Token, bytes: &[u8]) {
        let Input::Read(mut filling) = self.broker.next_input(token, true) else {
            panic!("a connection that has just begun is read");
        };
        filling.spare(self.read_bytes)[..bytes.len()].copy_from_slice(bytes);
        self.broker.received(token, filling, bytes.len(), true, self.now);
    }

    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        self.broker.take_dirty(&mut dirty);
        for token in dirty.drain(..) {
            while !self.broker.outbox(token).is_empty() {
                let mut slices = [IoSlice::new(&[]); 64];
                let (_, bytes) = self.broker.outbox(token).gather(&mut slices);
                self.delivered += bytes;
                self.broker.sent(token, bytes, self.now);
            }
        }
        self.dirty = dirty;
    }

    /// Messages that were delivered so far.
    pub(crate) fn deliveries(&self) -> u64 {
        self.broker.stats().deliveries
    }

    /// Messages that were accepted so far.
    pub(crate) fn messages(&self) -> u64 {
        self.broker.stats().messages_in
    }
}
