//! Proves the limits that are answered by TOO_MANY: of connections, where refused ones do not
//! count, and of the subscriptions of one connection.

use std::time::{Duration, Instant};

use crate::support;
use crate::support::frame::{hello, subscribe};
use crate::support::{Broker, Event, PATIENCE, Peer, code, kind};

/// Connects until there is room again.
fn connect_when_there_is_room(address: std::net::SocketAddr) -> Peer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut peer = Peer::connect(address);
        // A refused connection may be gone before its HELLO is sent.
        let _ = peer.try_send(&hello(b"next", b"version=1\n"));
        match peer.next(PATIENCE) {
            Event::Frame(frame) if frame.kind == kind::WELCOME => return peer,
            Event::Frame(frame) => support::peer::check_error(&frame, code::TOO_MANY, true),
            other => panic!("WELCOME or ERROR was due, not {other:?}"),
        }
        assert!(Instant::now() < deadline, "the place that was left is not given away");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn connections_over_the_limit_are_told_too_many_without_hello() {
    let broker = Broker::with(&[("network.max_connections", "3")]);
    // Both ports count, and so do connections without HELLO.
    let mut publisher = broker.publisher();
    let mut subscriber = broker.subscriber_of(&[b"t"]);
    let mut waiting = Peer::connect(broker.publishers);
    publisher.confirm();
    for _ in 0..3 {
        for (_, address) in broker.ports() {
            Peer::connect(address).expect_refusal(code::TOO_MANY);
        }
    }
    waiting.send(&hello(b"late", b"version=1\n"));
    waiting.expect_welcome();
    publisher.publish(b"t", b"x");
    subscriber.expect_message(b"t", b"x");
}

#[test]
fn refused_connections_take_no_place_while_they_stay_open() {
    let broker = Broker::with(&[("network.max_connections", "1")]);
    let first = broker.publisher();
    let mut refused: Vec<Peer> = (0..5).map(|_| Peer::connect(broker.publishers)).collect();
    for peer in &mut refused {
        support::peer::check_error(&peer.recv(), code::TOO_MANY, true);
    }
    drop(first);
    let mut next = connect_when_there_is_room(broker.publishers);
    next.confirm();
    for mut peer in refused {
        peer.expect_close();
    }
}

#[test]
fn each_of_many_refused_connections_is_told_why() {
    let broker = Broker::with(&[("network.max_connections", "1")]);
    let mut first = broker.publisher();
    let peers: Vec<Peer> = (0..600).map(|_| Peer::connect(broker.subscribers)).collect();
    for mut peer in peers {
        peer.expect_refusal(code::TOO_MANY);
    }
    first.confirm();
}

#[test]
fn a_place_is_free_again_after_each_way_to_end_a_connection() {
    let broker = Broker::with(&[("network.max_connections", "1")]);
    let ends: [fn(&mut Peer); 3] = [
        |_| {},
        |peer| {
            peer.half_close();
            peer.expect_close();
        },
        |peer| {
            peer.send(&[0; 8]);
            peer.expect_refusal(code::MALFORMED);
        },
    ];
    for end in ends {
        for (_, address) in broker.ports() {
            let mut peer = connect_when_there_is_room(address);
            end(&mut peer);
        }
    }
}

#[test]
fn subscriptions_over_the_limit_are_ignored_and_the_connection_goes_on() {
    let broker = Broker::with(&[("limits.max_subscriptions", "3")]);
    let mut subscriber = broker.subscriber_of(&[b"a", b"b.*"]);
    subscriber.subscribe(b"c", b"group");
    for (filter, group) in [(b"d".as_slice(), b"".as_slice()), (b">", b""), (b"c", b"other")] {
        subscriber.send(&subscribe(filter, group));
        let error = subscriber.expect_error(code::TOO_MANY, false);
        assert!(error.topic.is_empty() || error.topic == filter, "{error:?}");
    }
    let mut publisher = broker.publisher();
    for topic in [b"d".as_slice(), b"other", b"a", b"b.x", b"c"] {
        publisher.publish(topic, b"x");
    }
    for topic in [b"a".as_slice(), b"b.x", b"c"] {
        subscriber.expect_message(topic, b"x");
    }
    subscriber.confirm();
}

#[test]
fn a_subscription_that_is_held_already_is_not_one_too_many() {
    let broker = Broker::with(&[("limits.max_subscriptions", "2")]);
    let mut subscriber = broker.subscriber_of(&[b"a"]);
    subscriber.subscribe(b"a", b"g");
    subscriber.subscribe(b"a", b"");
    subscriber.subscribe(b"a", b"g");
}

#[test]
fn an_unsubscribe_makes_room_for_another_subscription() {
    let broker = Broker::with(&[("limits.max_subscriptions", "1")]);
    let mut subscriber = broker.subscriber();
    let mut publisher = broker.publisher();
    for filter in [b"a".as_slice(), b"b", b"c"] {
        subscriber.subscribe(filter, b"");
        subscriber.send(&subscribe(b"too.many", b""));
        subscriber.expect_error(code::TOO_MANY, false);
        publisher.publish(filter, b"x");
        subscriber.expect_message(filter, b"x");
        subscriber.unsubscribe(filter, b"");
    }
}

#[test]
fn the_limit_is_each_connections_own() {
    let broker = Broker::with(&[("limits.max_subscriptions", "1")]);
    let mut subscribers: Vec<Peer> = (0..5).map(|_| broker.subscriber_of(&[b"t"])).collect();
    broker.publisher().publish(b"t", b"x");
    for subscriber in &mut subscribers {
        subscriber.expect_message(b"t", b"x");
    }
}
