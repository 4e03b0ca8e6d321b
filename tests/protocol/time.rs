//! Proves rule 7 of the protocol: how long HELLO may take, when a silent client is sent PING and
//! when it is closed, and what counts as a sign of life.

use std::time::{Duration, Instant};

use crate::support;
use crate::support::frame::{hello, ping, pong, publish};
use crate::support::{Broker, Event, Flood, PATIENCE, Peer, code, kind};

/// What the broker's clock may lack of ours.
const SLACK: Duration = Duration::from_millis(20);

fn with_heartbeat(seconds: &str) -> Broker {
    Broker::with(&[("timeouts.heartbeat", seconds)])
}

/// Nothing may have arrived earlier than so long after `start`.
fn not_before(start: Instant, seconds: f64) {
    let due = Duration::from_secs_f64(seconds) - SLACK;
    assert!(start.elapsed() >= due, "it came after {:?}, too soon", start.elapsed());
}

/// Waits until a silent connection is closed: two heartbeats, on the broker's clock.
/// `meanwhile` is called again and again.
fn two_heartbeats(broker: &Broker, mut meanwhile: impl FnMut()) {
    let mut silent = broker.publisher();
    let deadline = Instant::now() + PATIENCE;
    loop {
        meanwhile();
        match silent.next(Duration::from_millis(20)) {
            Event::Frame(frame) if frame.kind == kind::PING => {}
            Event::Frame(frame) => return support::peer::check_error(&frame, code::TIMEOUT, true),
            Event::Quiet => assert!(Instant::now() < deadline, "silence is not noticed"),
            other => panic!("ERROR was due: {other:?}"),
        }
    }
}

#[test]
fn no_hello_in_time_is_timeout() {
    let broker = Broker::with(&[("timeouts.hello", "0.3")]);
    for (_, address) in broker.ports() {
        let start = Instant::now();
        let mut peer = Peer::connect(address);
        peer.expect_refusal(code::TIMEOUT);
        not_before(start, 0.3);
    }
}

#[test]
fn a_hello_that_trickles_in_is_timeout() {
    let broker = Broker::with(&[("timeouts.hello", "0.4")]);
    for (_, address) in broker.ports() {
        let body = [b"version=1\npad=".as_slice(), &[b'x'; 4_000], b"\n"].concat();
        let mut peer = Peer::connect(address);
        let start = Instant::now();
        let mut bytes = hello(b"slow", &body).into_iter();
        loop {
            let byte = bytes.next().expect("the time-out comes before the frame is whole");
            peer.send(&[byte]);
            match peer.next(Duration::from_millis(10)) {
                Event::Quiet => {}
                Event::Frame(frame) => {
                    support::peer::check_error(&frame, code::TIMEOUT, true);
                    break;
                }
                other => panic!("ERROR was due: {other:?}"),
            }
        }
        not_before(start, 0.4);
        peer.expect_close();
    }
}

#[test]
fn a_hello_in_time_ends_the_hello_timeout() {
    let broker = Broker::with(&[("timeouts.hello", "0.3")]);
    let mut welcomed = broker.publisher();
    for _ in 0..2 {
        Peer::connect(broker.subscribers).expect_refusal(code::TIMEOUT);
    }
    welcomed.confirm();
}

#[test]
fn a_silent_client_is_pinged_after_one_heartbeat_and_closed_after_two() {
    let broker = with_heartbeat("0.4");
    for (_, address) in broker.ports() {
        let start = Instant::now();
        let mut peer = Peer::connect(address).hello(b"silent");
        let ping = peer.recv();
        not_before(start, 0.4);
        assert_eq!((ping.kind, ping.flags, ping.topic.len()), (kind::PING, 0, 0), "{ping:?}");
        assert!(ping.body.len() <= 64, "{ping:?}");
        peer.expect_refusal(code::TIMEOUT);
        not_before(start, 0.8);
    }
}

#[test]
fn that_its_socket_takes_the_ping_is_no_sign_of_life_of_a_client() {
    // Counted from the PING the end would come after three heartbeats, not two. That the machine
    // is so slow as to make it look like that can happen, but not each time.
    let in_time = (0..5).any(|_| {
        let broker = with_heartbeat("0.6");
        let mut peer = broker.subscriber();
        let start = Instant::now();
        assert_eq!(peer.recv().kind, kind::PING);
        peer.expect_refusal(code::TIMEOUT);
        start.elapsed() < Duration::from_millis(1_600)
    });
    assert!(in_time, "the end comes later than two heartbeats");
}

#[test]
fn answering_each_ping_keeps_a_client_alive() {
    let broker = with_heartbeat("0.5");
    for (_, address) in broker.ports() {
        let mut peer = Peer::connect(address).hello(b"alive");
        for _ in 0..4 {
            let ping = peer.recv();
            assert_eq!(ping.kind, kind::PING, "{ping:?}");
            peer.send(&pong(&ping.body));
        }
        peer.confirm();
    }
}

#[test]
fn any_whole_frame_is_a_sign_of_life() {
    let broker = with_heartbeat("1");
    let mut publisher = broker.publisher();
    let mut pinging = broker.subscriber();
    let mut ponging = broker.subscriber();
    for _ in 0..2 {
        two_heartbeats(&broker, || {
            publisher.publish(b"t", b"x");
            ponging.send(&pong(b"unasked"));
            pinging.send(&ping(b"here"));
        });
    }
    for peer in [&mut publisher, &mut pinging, &mut ponging] {
        let before = peer.frames_until_pong();
        let others = before.iter().filter(|f| f.kind != kind::PONG && f.kind != kind::PING);
        assert_eq!(others.count(), 0, "{before:?}");
    }
}

#[test]
fn parts_of_a_frame_are_no_sign_of_life() {
    let broker = with_heartbeat("0.4");
    let mut peer = broker.publisher();
    let start = Instant::now();
    let bytes = publish(b"topic", &[0; 2_000]);
    for byte in bytes {
        peer.send(&[byte]);
        match peer.next(Duration::from_millis(10)) {
            Event::Frame(frame) if frame.kind == kind::PING => {}
            Event::Frame(frame) => {
                support::peer::check_error(&frame, code::TIMEOUT, true);
                not_before(start, 0.7);
                return peer.expect_close();
            }
            Event::Quiet => {}
            other => panic!("ERROR was due: {other:?}"),
        }
    }
    panic!("the frame is whole and no time-out came");
}

#[test]
fn a_subscriber_whose_socket_takes_messages_is_alive() {
    let broker = with_heartbeat("1");
    let mut subscriber = broker.subscriber_of(&[b"t"]);
    let mut publisher = broker.publisher();
    for _ in 0..2 {
        two_heartbeats(&broker, || publisher.publish(b"t", b"tick"));
    }
    publisher.publish(b"t", b"end");
    loop {
        let frame = subscriber.recv();
        assert!(matches!(frame.kind, kind::PUBLISH | kind::PING), "{frame:?}");
        if frame.body == b"end" {
            break;
        }
    }
    subscriber.frames_until_pong();
}

#[test]
fn heartbeat_0_means_that_silence_is_fine() {
    let settings = [("timeouts.heartbeat", "0"), ("timeouts.hello", "0.2")];
    let broker = Broker::with(&settings);
    let mut silent = [broker.publisher(), broker.subscriber()];
    // The broker's other time-outs go by meanwhile.
    for _ in 0..5 {
        Peer::connect(broker.publishers).expect_refusal(code::TIMEOUT);
    }
    for peer in &mut silent {
        assert_eq!(peer.next(Duration::from_millis(1)), Event::Quiet);
        peer.confirm();
    }
}

#[test]
fn a_publisher_that_is_held_up_is_not_silent() {
    let settings = [
        ("timeouts.heartbeat", "1"),
        ("limits.outbox_bytes", "64KiB"),
        ("overflow.stall_timeout", "600"),
    ];
    let broker = Broker::with(&settings);
    let mut stalled = broker.small_subscriber_of(b"t");
    let mut publisher = broker.publisher();
    let frames: Vec<u8> = (0..240).flat_map(|_| publish(b"t", &[7; 100_000])).collect();
    let flood = Flood::start(publisher.sender(), frames);
    let mut keep_alive = || stalled.send(&pong(b""));
    for _ in 0..3 {
        two_heartbeats(&broker, &mut keep_alive);
    }
    flood.wait_until_blocked();
    for _ in 0..240 {
        let message = stalled.recv();
        assert_eq!((message.kind, message.body.len()), (kind::PUBLISH, 100_000), "{message:?}");
    }
    flood.finish();
    let before = publisher.frames_until_pong();
    assert!(before.iter().all(|frame| frame.kind == kind::PING), "{before:?}");
}

#[test]
fn a_client_that_is_not_read_for_its_unread_answers_is_not_silent() {
    // More than the kernel's largest receive buffer, 32 MiB, may hold of them.
    const PINGS: usize = 600_000;
    // Made before the connection is, since the client is silent meanwhile.
    let pings: Vec<u8> = (0..PINGS).flat_map(|_| ping(&[b'x'; 64])).collect();
    let broker = with_heartbeat("0.5");
    let mut peer = Peer::connect_small(broker.publishers).hello(b"flooding");
    let flood = Flood::start(peer.sender(), pings);
    flood.wait_until_blocked();
    for _ in 0..3 {
        two_heartbeats(&broker, || {});
    }
    for _ in 0..PINGS {
        let frame = peer.recv();
        assert_eq!(frame.kind, kind::PONG, "{frame:?}");
    }
    flood.finish();
}
