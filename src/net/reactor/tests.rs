//! The loop with sockets of its own process: what the turn's own tests cannot see.

use std::io::{Read, Write};
use std::net::TcpStream;

use wire::native::frame::{Kind, encode};

use super::*;
use crate::engine::sessions::connection::Role;

/// A reactor for so many connections.
fn reactor(connections: usize) -> Reactor {
    let mut config = Config::default();
    config.network.max_connections = connections;
    config.network.host = "127.0.0.1".to_owned();
    (config.network.publisher_port, config.network.subscriber_port) = (0, 0);
    Reactor::new(&config, None).unwrap()
}

/// A client that has said HELLO and this.
fn client(reactor: &Reactor, role: Role, bytes: &[u8]) -> TcpStream {
    let listener = reactor.listeners.iter().find(|listener| listener.role == role).unwrap();
    let mut stream = TcpStream::connect(listener.address().unwrap().unwrap()).unwrap();
    let mut all = Vec::new();
    encode(Kind::Hello, 0, b"test", b"version=1\n", &mut all);
    all.extend_from_slice(bytes);
    stream.write_all(&all).unwrap();
    stream
}

fn frame(kind: Kind, topic: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(kind, 0, topic, b"", &mut bytes);
    bytes
}

fn turn_until(reactor: &mut Reactor, done: impl Fn(&Engine) -> bool) {
    let mut events = Events::with_capacity(EVENTS);
    while !done(reactor.turn.engine()) {
        reactor.wait(&mut events).unwrap();
        reactor.turn.begin();
        reactor.note(&events);
        reactor.accept();
        reactor.run_turn();
    }
}

#[test]
fn a_message_goes_from_one_port_to_the_other() {
    let mut reactor = reactor(10);
    let mut subscriber = client(&reactor, Role::SUBSCRIBER, &frame(Kind::Subscribe, b"t"));
    turn_until(&mut reactor, |engine| engine.index_sizes().subscriptions == 1);
    let message = frame(Kind::Publish, b"t");
    let publisher = client(&reactor, Role::PUBLISHER, &message);
    turn_until(&mut reactor, |engine| engine.stats().deliveries == 1);
    drop(publisher);
    turn_until(&mut reactor, |engine| engine.connections() == 1);
    reactor.turn.engine_mut().shut_down(reactor.clock.now());
    turn_until(&mut reactor, |engine| engine.stats().bytes_out > 0 && engine.is_draining());
    reactor.end_turn();
    drop(reactor);
    let mut got = Vec::new();
    subscriber.read_to_end(&mut got).unwrap();
    assert!(got.windows(message.len()).any(|part| part == message), "{got:?}");
}

#[test]
fn both_listeners_are_accepted_from_in_turn() {
    let mut reactor = reactor(200);
    let _crowd: Vec<_> = (0..60).map(|_| client(&reactor, Role::PUBLISHER, b"")).collect();
    let _one = client(&reactor, Role::SUBSCRIBER, b"");
    let mut events = Events::with_capacity(EVENTS);
    while !reactor.listeners.iter().all(|listener| listener.ready) {
        reactor.wait(&mut events).unwrap();
        reactor.note(&events);
    }
    reactor.turn.begin();
    reactor.accept();
    let load = reactor.turn.engine().load();
    assert_eq!(load.crowd.subscribers, 1, "it does not stand behind the crowd");
    assert!((2..60).contains(&load.crowd.publishers), "{} in one turn", load.crowd.publishers);
    turn_until(&mut reactor, |engine| engine.connections() == 61);
}
