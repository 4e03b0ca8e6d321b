//! Turns under clients that ask for as much work as they can: how long each is, as it is charged,
//! and whether a pair of quiet clients beside them is served.

use std::collections::{HashMap, VecDeque};

use wire::native::frame::{Kind, encode};

use super::*;
use crate::engine::rules::Rules;

const READ_BYTES: usize = 128 << 10;
/// Turns in which whatever was begun must have come to an end.
const MANY_TURNS: usize = 200_000;
/// What one turn may be charged at the most: serving, the flush, five shares for what comes and
/// goes, and what cannot be divided at the end of each.
const LONGEST: u64 = 3 * budget::TURN;

/// Sockets that take everything; what clients send is there at once.
#[derive(Default)]
struct Clients {
    /// By token: what it sends, what it got, and whether it has ended.
    sent: Vec<VecDeque<u8>>,
    got: Vec<usize>,
    ended: Vec<bool>,
    closed: usize,
    /// Steps that the handshake of each has left.
    handshakes: HashMap<Token, usize>,
    news: Option<News>,
}

impl Sockets for Clients {
    fn read(&mut self, token: Token, into: &mut [u8]) -> io::Result<usize> {
        if let Some(left) = self.handshakes.get_mut(&token) {
            *left -= 1;
            let settled = *left == 0;
            self.news = Some(News { units: HANDSHAKE, settled, again: true, ..News::default() });
            if settled {
                self.handshakes.remove(&token);
            }
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let sent = &mut self.sent[token.index()];
        let count = sent.len().min(into.len());
        for (to, from) in into.iter_mut().zip(sent.drain(..count)) {
            *to = from;
        }
        let is_over = count == 0 && self.ended[token.index()];
        if count == 0 && !is_over { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    fn write_vectored(&mut self, token: Token, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.handshakes.contains_key(&token) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        self.got[token.index()] += bytes;
        Ok(bytes)
    }

    fn shut_down(&mut self, _: Token) {}

    fn close(&mut self, _: Token) {
        self.closed += 1;
    }

    fn take_news(&mut self) -> Option<News> {
        self.news.take()
    }
}

/// What a step of a handshake costs, in units: 0.3 ms.
const HANDSHAKE: u64 = 30_000;

/// A broker with a quiet pair of clients.
struct World {
    turn: Turn<Clients>,
    now: Instant,
    publisher: Token,
    subscriber: Token,
    /// What the longest turn was charged.
    longest: u64,
}

impl World {
    fn new(change: impl FnOnce(&mut Rules)) -> World {
        let mut rules =
            Rules { max_connections: 10_000, memory_bytes: 1 << 30, ..Rules::of_a_test() };
        rules.native.max_subscriptions = 10_000;
        rules.native.outbox_bytes = 1 << 20;
        change(&mut rules);
        (rules.nats, rules.link) = (rules.native, rules.native);
        let engine = Engine::new(rules, READ_BYTES, "test".into());
        let turn = Turn::new(engine, Clients::default(), READ_BYTES);
        let none = Token::new(0);
        let now = Instant::now();
        let mut world = World { turn, now, publisher: none, subscriber: none, longest: 0 };
        world.publisher = world.client(Role::PUBLISHER);
        world.subscriber = world.client(Role::SUBSCRIBER);
        world.send(world.subscriber, &frame(Kind::Subscribe, "quiet", b""));
        world.settle();
        world
    }

    fn client(&mut self, role: Role) -> Token {
        self.client_behind(role, 0)
    }

    /// A client whose handshake takes so many steps.
    fn client_behind(&mut self, role: Role, steps: usize) -> Token {
        let token = self.turn.accept(role, "test", self.now);
        let clients = self.turn.sockets_mut();
        for index in clients.sent.len()..=token.index() {
            assert_eq!(index, clients.got.len());
            clients.sent.push(VecDeque::new());
            clients.got.push(0);
            clients.ended.push(false);
        }
        if steps > 0 {
            clients.handshakes.insert(token, steps);
            self.turn.expect_handshake(token);
        }
        let mut hello = Vec::new();
        encode(Kind::Hello, 0, b"test", b"version=1\n", &mut hello);
        self.send(token, &hello);
        token
    }

    fn send(&mut self, token: Token, bytes: &[u8]) {
        self.turn.sockets_mut().sent[token.index()].extend(bytes);
        self.turn.note(token, Readiness { readable: true, ..Readiness::default() });
    }

    fn ends(&mut self, token: Token) {
        self.turn.sockets_mut().ended[token.index()] = true;
        self.turn.note(token, Readiness { ended: true, ..Readiness::default() });
    }

    fn turn(&mut self) {
        self.turn.begin();
        self.turn.run(self.now);
        self.longest = self.longest.max(self.turn.engine().budget.spent());
    }

    /// Turns until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..MANY_TURNS {
            if !self.turn.is_busy() {
                self.longest = 0;
                return;
            }
            self.turn();
        }
        panic!("the broker is busy for ever");
    }

    /// The same, with messages of the quiet pair, one behind the other: each is there in the turn
    /// behind the one that it came in at the latest, and no turn is long.
    fn settle_beside_the_pair(&mut self) {
        let message = frame(Kind::Publish, "quiet", b"hello");
        let (mut turns, mut waited, mut expected) = (0, 0, 0);
        let before = self.turn.sockets_mut().got[self.subscriber.index()];
        while self.turn.is_busy() {
            turns += 1;
            assert!(turns < MANY_TURNS, "the broker is busy for ever");
            let got = self.turn.sockets_mut().got[self.subscriber.index()] - before;
            if got == expected {
                expected += message.len();
                waited = 0;
                self.send(self.publisher, &message);
            }
            assert!(waited < 2, "the pair was not served in {waited} turns, before turn {turns}");
            waited += 1;
            self.turn();
        }
        let (longest, turn) = (self.longest, budget::TURN);
        assert!(longest <= LONGEST, "a turn was charged {longest} of {turn} units");
        assert!(turns > 1, "all of it was done in one turn");
    }
}

fn frame(kind: Kind, topic: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(kind, 0, topic.as_bytes(), body, &mut bytes);
    bytes
}

/// A filter of 101 tokens that shares hardly any of them with others.
fn long_filter(client: usize, number: usize) -> String {
    let tokens: Vec<_> = (0..100).map(|at| format!("{client}x{number}x{at}")).collect();
    format!("*.{}", tokens.join("."))
}

#[test]
fn a_crowd_in_its_handshakes_is_divided_over_turns() {
    let mut world = World::new(|_| {});
    let crowd: Vec<_> = (0..1_000).map(|_| world.client_behind(Role::SUBSCRIBER, 2)).collect();
    world.settle_beside_the_pair();
    let got = &world.turn.sockets_mut().got;
    assert!(crowd.iter().all(|token| got[token.index()] > 0), "each is welcomed");
}

#[test]
fn messages_with_thousands_of_deliveries_each_are_divided_over_turns() {
    let mut world = World::new(|_| {});
    for client in 0..10 {
        let member = world.client(Role::SUBSCRIBER);
        for group in 0..1_000 {
            let group = format!("{client}.{group}");
            world.send(member, &frame(Kind::Subscribe, "t", group.as_bytes()));
        }
    }
    let publisher = world.client(Role::PUBLISHER);
    world.settle();
    world.send(publisher, &frame(Kind::Publish, "t", b"").repeat(100));
    world.settle_beside_the_pair();
}

#[test]
fn one_connection_is_in_so_many_groups_and_no_more() {
    let mut world = World::new(|_| {});
    let member = world.client(Role::SUBSCRIBER);
    for group in 0..1_001 {
        world.send(member, &frame(Kind::Subscribe, "t", format!("g{group}").as_bytes()));
    }
    // Another filter in a group that it is in.
    world.send(member, &frame(Kind::Subscribe, "u", b"g7"));
    world.settle();
    assert_eq!(world.turn.engine().index.held(member).groups, 1_000);
    assert_eq!(world.turn.engine().index.held(member).subscriptions, 1_001);
}

#[test]
fn subscribing_and_unsubscribing_again_and_again_is_divided_over_turns() {
    let mut world = World::new(|_| {});
    let restless = world.client(Role::SUBSCRIBER);
    let subscribe = frame(Kind::Subscribe, "a.*.b", b"");
    let unsubscribe = frame(Kind::Unsubscribe, "a.*.b", b"");
    world.settle();
    world.send(restless, &[subscribe, unsubscribe].concat().repeat(10_000));
    world.settle_beside_the_pair();
}

#[test]
fn topics_that_are_never_cached_are_divided_over_turns() {
    let mut world = World::new(|_| {});
    let publisher = world.client(Role::PUBLISHER);
    world.settle();
    for number in 0..20_000 {
        world.send(publisher, &frame(Kind::Publish, &format!("t.{number}"), b""));
    }
    world.settle_beside_the_pair();
}

#[test]
fn subscribers_with_long_filters_that_vanish_are_forgotten_over_turns() {
    const CLIENTS: usize = 4;
    let mut world = World::new(|_| {});
    let clients: Vec<_> = (0..CLIENTS).map(|_| world.client(Role::SUBSCRIBER)).collect();
    for (number, client) in clients.iter().enumerate() {
        for filter in 0..300 {
            world.send(*client, &frame(Kind::Subscribe, &long_filter(number, filter), b""));
        }
    }
    world.settle();
    let before = world.turn.engine().index_sizes().subscriptions;
    assert_eq!(before, 1 + CLIENTS * 300);
    clients.into_iter().for_each(|client| world.ends(client));
    world.settle_beside_the_pair();
    assert_eq!(world.turn.engine().connections(), 2);
    assert_eq!(world.turn.engine().index_sizes().subscriptions, 1);
    assert_eq!(world.turn.sockets_mut().closed, CLIENTS);
}

#[test]
fn a_fan_out_to_hundreds_lets_a_quiet_pair_in() {
    let mut world = World::new(|_| {});
    for client in 0..600 {
        let reader = world.client(Role::SUBSCRIBER);
        world.send(reader, &frame(Kind::Subscribe, "wide.a", b""));
        if client % 2 == 0 {
            world.send(reader, &frame(Kind::Subscribe, "wide.b", b""));
        }
    }
    let publisher = world.client(Role::PUBLISHER);
    world.settle();
    let two =
        [frame(Kind::Publish, "wide.a", &[7; 100]), frame(Kind::Publish, "wide.b", &[7; 100])];
    world.send(publisher, &two.concat().repeat(1_000));
    world.settle_beside_the_pair();
}

#[test]
fn a_crowd_that_leaves_does_not_stand_in_front_of_those_that_stay() {
    const CROWD: usize = 300;
    let mut world = World::new(|rules| rules.max_connections = CROWD + 2);
    let crowd: Vec<_> = (0..CROWD).map(|_| world.client(Role::SUBSCRIBER)).collect();
    world.settle();
    crowd.into_iter().for_each(|client| world.ends(client));
    world.turn.begin();
    assert!(!world.turn.may_accept(), "those that leave come before those that come");
    world.settle_beside_the_pair();
    world.turn.begin();
    assert!(world.turn.may_accept());
    assert_eq!(world.turn.engine().connections(), 2);
}

#[test]
fn a_crowd_that_comes_is_accepted_over_turns() {
    let mut world = World::new(|_| {});
    world.turn.begin();
    let mut accepted = 0;
    while world.turn.may_accept() {
        world.client(Role::SUBSCRIBER);
        accepted += 1;
    }
    assert!((8..50).contains(&accepted), "{accepted} in one turn");
    world.settle();
}
