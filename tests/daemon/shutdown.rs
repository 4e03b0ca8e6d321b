//! Proves rule 8 of the protocol and what the daemon makes of it: a signal drains, GOODBYE is the
//! last frame, a second signal or the drain time-out ends the wait.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support;
use crate::support::frame::publish;
use crate::support::{Broker, Event, Frame, PATIENCE, Peer, kind};

/// More than the kernel takes for one connection, less than the default outbox holds.
const MANY: u32 = 70;
const PAYLOAD: usize = 100_000;

/// Numbered messages, confirmed, for a subscriber that has not read any.
fn publish_many(publisher: &mut Peer, topic: &[u8], count: u32) {
    for i in 0..count {
        let mut payload = vec![7; PAYLOAD];
        payload[..4].copy_from_slice(&i.to_be_bytes());
        publisher.publish(topic, &payload);
    }
    publisher.confirm();
}

/// GOODBYE must be the last frame; returns those before it.
fn until_goodbye(peer: &mut Peer) -> Vec<Frame> {
    let mut frames = peer.frames_until_close();
    let last = frames.pop().expect("GOODBYE was due before the end");
    let shape = (last.kind, last.flags, last.topic.len());
    assert_eq!(shape, (kind::GOODBYE, 0, 0), "GOODBYE was due last: {last:?}");
    assert!(std::str::from_utf8(&last.body).is_ok(), "the reason is not UTF-8: {last:?}");
    frames
}

/// Checks that these are the messages from 0 on, and how many.
fn are_numbered(frames: &[Frame], count: u32) {
    let number = |frame: &Frame| {
        assert_eq!((frame.kind, frame.body.len()), (kind::PUBLISH, PAYLOAD), "{frame:?}");
        u32::from_be_bytes(*frame.body.first_chunk().expect("the payload is long enough"))
    };
    assert!(frames.iter().map(number).eq(0..count), "not messages 0 to {count}");
}

/// A broker that is draining because of one subscriber that does not read. Draining has certainly
/// begun: the publisher has received its GOODBYE.
fn draining(drain: &'static str) -> (Broker, Peer) {
    let broker = Broker::with(&[("timeouts.drain", drain)]);
    let mut publisher = broker.publisher();
    let stalled = broker.small_subscriber_of(b"t");
    publish_many(&mut publisher, b"t", MANY);
    broker.signal("TERM");
    until_goodbye(&mut publisher);
    (broker, stalled)
}

#[test]
fn a_signal_delivers_everything_then_goodbye_and_exits_with_0() {
    for signal in ["TERM", "INT"] {
        println!("{signal}");
        let mut broker = Broker::with(&[("timeouts.drain", "600")]);
        let mut publisher = broker.publisher();
        let mut subscriber = broker.small_subscriber_of(b"t");
        let mut idle = broker.subscriber();
        publish_many(&mut publisher, b"t", MANY);
        broker.signal(signal);
        assert_eq!(until_goodbye(&mut idle), []);
        assert_eq!(until_goodbye(&mut publisher), []);
        assert!(broker.is_running(), "it does not wait for its subscriber");
        are_numbered(&until_goodbye(&mut subscriber), MANY);
        drop((idle, publisher, subscriber));
        assert_eq!(broker.wait().code(), Some(0));
    }
}

#[test]
fn without_connections_a_signal_just_ends_it() {
    for signal in ["TERM", "INT"] {
        let mut broker = Broker::with(&[("timeouts.drain", "600")]);
        broker.signal(signal);
        assert_eq!(broker.wait().code(), Some(0));
    }
}

#[test]
fn clients_that_do_not_close_after_goodbye_are_not_waited_for() {
    let mut broker = Broker::with(&[("timeouts.drain", "600")]);
    let mut peers = [broker.publisher(), broker.subscriber()];
    broker.signal("TERM");
    for peer in &mut peers {
        assert_eq!(until_goodbye(peer), []);
    }
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn clients_without_hello_and_with_half_a_frame_are_not_waited_for() {
    let mut broker = Broker::with(&[("timeouts.drain", "600"), ("timeouts.hello", "600")]);
    let mut early = Peer::connect(broker.publishers);
    early.send(&[0, 0]);
    let mut partial = broker.publisher();
    partial.send(&publish(b"t", &[7; 1_000])[..500]);
    broker.publisher().confirm();
    broker.signal("TERM");
    assert_eq!(until_goodbye(&mut partial), []);
    assert_eq!(broker.wait().code(), Some(0));
    drop(early);
}

#[test]
fn losses_that_are_untold_are_told_before_goodbye() {
    let settings =
        [("timeouts.drain", "600"), ("overflow.policy", "drop"), ("limits.outbox_bytes", "64KiB")];
    let mut broker = Broker::with(&settings);
    let mut publisher = broker.publisher();
    let mut stalled = broker.small_subscriber_of(b"t");
    publish_many(&mut publisher, b"t", 3 * MANY);
    broker.signal("TERM");
    let frames = until_goodbye(&mut stalled);
    let (lost, messages): (Vec<_>, Vec<_>) = frames.into_iter().partition(|f| f.kind == kind::LOST);
    let lost: u64 = lost.iter().map(Frame::lost).sum();
    assert!(lost > 0, "nothing was lost, so this shows nothing");
    assert_eq!(messages.len() as u64 + lost, u64::from(3 * MANY));
    drop((publisher, stalled));
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn a_broker_that_drains_accepts_no_connection() {
    let (mut broker, mut stalled) = draining("600");
    for (port, address) in broker.ports() {
        let connected = TcpStream::connect_timeout(&address, PATIENCE);
        assert!(connected.is_err(), "the {port}' port still accepts");
    }
    are_numbered(&until_goodbye(&mut stalled), MANY);
    drop(stalled);
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once_with_1() {
    for signal in ["TERM", "INT"] {
        let (mut broker, stalled) = draining("600");
        assert!(broker.is_running(), "it does not wait for its subscriber");
        broker.signal(signal);
        assert_eq!(broker.wait().code(), Some(1));
        drop(stalled);
    }
}

#[test]
fn the_drain_timeout_ends_the_wait_and_the_slow_get_no_goodbye() {
    let start = Instant::now();
    let (mut broker, mut stalled) = draining("0.5");
    let status = broker.wait();
    assert!(start.elapsed() >= Duration::from_millis(500), "it did not wait for its subscriber");
    assert!(status.code().is_some(), "it was killed: {status}");
    let mut messages = 0;
    while let Event::Frame(frame) = stalled.next(PATIENCE) {
        assert_eq!(frame.kind, kind::PUBLISH, "only messages were due: {frame:?}");
        messages += 1;
    }
    assert!(messages < MANY, "everything came, so this shows nothing");
}

#[test]
fn a_held_up_publisher_does_not_hold_up_the_end() {
    let settings = [
        ("timeouts.drain", "600"),
        ("limits.outbox_bytes", "64KiB"),
        ("overflow.stall_timeout", "600"),
    ];
    let mut broker = Broker::with(&settings);
    let mut stalled = broker.small_subscriber_of(b"t");
    let publisher = broker.publisher();
    let bytes: Vec<u8> = (0..300).flat_map(|_| publish(b"t", &[7; PAYLOAD])).collect();
    let flood = support::Flood::start(publisher.sender(), bytes);
    flood.wait_until_blocked();
    broker.signal("TERM");
    let messages = until_goodbye(&mut stalled);
    assert!(messages.iter().all(|f| f.kind == kind::PUBLISH && f.body == [7; PAYLOAD]));
    drop((stalled, publisher));
    assert_eq!(broker.wait().code(), Some(0));
}
