//! The loop with sockets of its own process, turn by turn.

use std::io::Write;
use std::net::TcpStream;

use super::super::flush::FLUSH_BYTES;
use super::*;
use crate::broker::connection::Role;
use wire::native::frame::{Kind, encode};

/// Filters of the greedy subscriber, and topics that are sent at once.
const FILTERS: usize = 60;
const TOPICS: usize = 600;

/// A reactor for so many connections.
fn reactor(connections: usize) -> Reactor {
    let mut config = Config::default();
    config.network.max_connections = connections;
    config.network.host = "127.0.0.1".to_owned();
    (config.network.publisher_port, config.network.subscriber_port) = (0, 0);
    config.network.read_bytes = 16 << 10;
    Reactor::new(&config, None).unwrap()
}

/// A client that has said HELLO and this.
fn client(reactor: &Reactor, role: Role, bytes: &[u8]) -> TcpStream {
    let listener = reactor.listeners.iter().find(|listener| listener.role == role).unwrap();
    let mut stream = TcpStream::connect(listener.address().unwrap()).unwrap();
    let mut all = Vec::new();
    encode(Kind::Hello, 0, b"test", b"version=1\n", &mut all);
    all.extend_from_slice(bytes);
    stream.write_all(&all).unwrap();
    stream
}

fn frames(kind: Kind, topics: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    topics.for_each(|topic| encode(kind, 0, &topic, b"", &mut bytes));
    bytes
}

/// A filter of 128 tokens that shares only few of them with others, all of which are looked at for
/// a topic of `t`s: few such topics are as much as one connection may look at in a turn.
fn starry(number: usize) -> Vec<u8> {
    let token = |bit: usize| if number >> (bit % 8) & 1 == 0 { b"*." } else { b"t." };
    (0..127).flat_map(token).chain(b"nobody").copied().collect()
}

fn turn_until(reactor: &mut Reactor, done: impl Fn(&Reactor) -> bool) {
    let mut events = Events::with_capacity(EVENTS);
    while !done(reactor) {
        reactor.wait(&mut events).unwrap();
        reactor.note(&events);
        reactor.accept();
        reactor.serve();
        reactor.flush();
        reactor.end_turn();
    }
}

/// Until so many are there with so many subscriptions, and nothing is left to do for them.
fn settle(reactor: &mut Reactor, subscriptions: usize, connections: usize) {
    turn_until(reactor, |reactor| {
        let sizes = (reactor.broker.index_sizes().0, reactor.broker.connections());
        let is_idle = reactor.peers.ready() == 0 && !reactor.broker.has_dirty();
        sizes == (subscriptions, connections) && is_idle
    });
}

#[test]
fn a_pass_that_only_carries_on_costly_topics_ends_the_turn() {
    let mut reactor = reactor(10);
    let filters = frames(Kind::Subscribe, (0..FILTERS).map(starry));
    let _greedy = client(&reactor, Role::Subscriber, &filters);
    let healthy = frames(Kind::Subscribe, std::iter::once(b"healthy".to_vec()));
    let _healthy = client(&reactor, Role::Subscriber, &healthy);
    let mut publisher = client(&reactor, Role::Publisher, b"");
    let mut costly = client(&reactor, Role::Publisher, b"");
    turn_until(&mut reactor, |reactor| {
        let (subscriptions, ..) = reactor.broker.index_sizes();
        subscriptions == FILTERS + 1 && reactor.broker.connections() == 4
    });
    // All that was read or written is over, so that only what comes now is ready.
    turn_until(&mut reactor, |reactor| reactor.peers.ready() == 0 && !reactor.broker.has_dirty());

    let message = frames(Kind::Publish, std::iter::once(b"healthy".to_vec()));
    publisher.write_all(&message).unwrap();
    let topic = |number: usize| [b"t.".repeat(127), number.to_string().into_bytes()].concat();
    costly.write_all(&frames(Kind::Publish, (0..TOPICS).map(topic))).unwrap();
    let mut events = Events::with_capacity(EVENTS);
    while reactor.peers.ready() < 2 {
        reactor.wait(&mut events).unwrap();
        reactor.note(&events);
        // The first of both may have come alone: a wait would not sleep, as it is ready.
    }
    reactor.serve();
    let carried = reactor.broker.stats().messages_in;
    assert!((1..=8).contains(&carried), "{carried} messages, most of them costly, in one turn");
    assert!(reactor.broker.has_dirty(), "the healthy message is flushed behind that");

    let all = TOPICS as u64 + 1;
    turn_until(&mut reactor, |reactor| reactor.broker.stats().messages_in == all);
}

#[test]
fn a_crowd_that_leaves_does_not_stand_in_front_of_those_that_stay() {
    const CROWD: usize = 3 * FEW;
    let all = CROWD + 2;
    let mut reactor = reactor(all);
    let subscribe = |topic: &[u8]| frames(Kind::Subscribe, std::iter::once(topic.to_vec()));
    let _healthy = client(&reactor, Role::Subscriber, &subscribe(b"healthy"));
    let mut publisher = client(&reactor, Role::Publisher, b"");
    let joins = subscribe(b"crowd");
    let crowd: Vec<_> = (0..CROWD).map(|_| client(&reactor, Role::Subscriber, &joins)).collect();
    settle(&mut reactor, CROWD + 1, all);

    drop(crowd);
    publisher.write_all(&frames(Kind::Publish, std::iter::once(b"healthy".to_vec()))).unwrap();
    let _newcomer = client(&reactor, Role::Subscriber, b"");
    let mut events = Events::with_capacity(EVENTS);
    while reactor.peers.ending() < CROWD
        || reactor.peers.ready() == 0
        || !reactor.listeners.iter().any(|listener| listener.ready)
    {
        reactor.wait(&mut events).unwrap();
        reactor.note(&events);
    }
    // As behind a short turn.
    reactor.crowd = FEW;
    reactor.accept();
    assert_eq!(reactor.broker.connections(), all, "nobody comes before those have left");
    reactor.serve();
    assert_eq!(reactor.broker.stats().messages_in, 1, "it was noted behind the crowd");
    reactor.end_turn();
    assert_eq!(reactor.broker.connections(), all - FEW, "a few leave in each turn");
    turn_until(&mut reactor, |reactor| {
        let expected = all - CROWD + 1;
        reactor.peers.ending() == 0 && reactor.broker.connections() == expected
    });
}

#[test]
fn a_flush_to_many_is_interrupted_for_whoever_was_not_served_in_the_turn() {
    const READERS: usize = 40;
    let mut reactor = reactor(READERS + 3);
    reactor.read_bytes = 128 << 10;
    let subscribe = |topic: &[u8]| frames(Kind::Subscribe, std::iter::once(topic.to_vec()));
    let (wide, healthy) = (subscribe(b"wide"), subscribe(b"healthy"));
    let _readers: Vec<_> =
        (0..READERS).map(|_| client(&reactor, Role::Subscriber, &wide)).collect();
    let _healthy = client(&reactor, Role::Subscriber, &healthy);
    let mut busy = client(&reactor, Role::Publisher, b"");
    let mut publisher = client(&reactor, Role::Publisher, b"");
    settle(&mut reactor, READERS + 1, READERS + 3);

    // Together more than is written before others are let in.
    let mut message = Vec::new();
    encode(Kind::Publish, 0, b"wide", &[7; 120_000], &mut message);
    assert!(READERS * message.len() > FLUSH_BYTES + message.len());
    busy.write_all(&message).unwrap();
    let mut events = Events::with_capacity(EVENTS);
    while reactor.broker.stats().messages_in == 0 {
        reactor.wait(&mut events).unwrap();
        reactor.note(&events);
        reactor.serve();
    }
    publisher.write_all(&frames(Kind::Publish, std::iter::once(b"healthy".to_vec()))).unwrap();
    reactor.flush_letting_others_in();
    assert_eq!(reactor.broker.stats().messages_in, 2, "it came in the middle of the flush");
    assert!(!reactor.broker.has_dirty(), "and was flushed there");
    assert_eq!(reactor.broker.stats().bytes_out as usize / message.len(), READERS);
}
