//! Proves rules 6 and 10 of the protocol: what a half-closed client sent and is owed is delivered,
//! a partial frame is dropped, and the last frame arrives whatever else is under way.

use std::time::{Duration, Instant};

use crate::support;
use crate::support::frame::{hello, ping, publish, subscribe};
use crate::support::{Broker, Event, Flood, PATIENCE, Peer, code, kind};

#[test]
fn what_a_half_closing_publisher_sent_is_delivered_and_answered() {
    let broker = Broker::start();
    let mut subscriber = broker.subscriber_of(&[b"t"]);
    let mut publisher = broker.publisher();
    let payload = [7; 100_000];
    for _ in 0..30 {
        publisher.publish(b"t", &payload);
    }
    publisher.send(&[publish(b"bad topic", b""), ping(b"last")].concat());
    publisher.half_close();
    publisher.expect_error(code::BAD_TOPIC, false);
    let pong = publisher.recv();
    assert_eq!((pong.kind, pong.body.as_slice()), (kind::PONG, b"last".as_slice()));
    publisher.expect_close();
    for _ in 0..30 {
        subscriber.expect_message(b"t", &payload);
    }
}

#[test]
fn hello_work_and_fin_in_one_write_are_processed() {
    let broker = Broker::start();
    let mut subscriber = broker.subscriber_of(&[b"t"]);
    let mut publisher = Peer::connect(broker.publishers);
    publisher.send(&[hello(b"brief", b"version=1\n"), publish(b"t", b"x")].concat());
    publisher.half_close();
    publisher.expect_welcome();
    publisher.expect_close();
    subscriber.expect_message(b"t", b"x");
}

#[test]
fn a_half_closed_subscriber_is_given_its_whole_outbox() {
    let broker = Broker::start();
    let mut subscriber = broker.small_subscriber_of(b"t");
    let mut publisher = broker.publisher();
    // More than the kernel takes on the way, less than the outbox's limit.
    let payload = [7; 100_000];
    for _ in 0..70 {
        publisher.publish(b"t", &payload);
    }
    publisher.confirm();
    subscriber.send(&ping(b"last"));
    subscriber.half_close();
    let frames = subscriber.frames_until_close();
    let messages = frames.iter().filter(|f| f.kind == kind::PUBLISH && f.body == payload);
    assert_eq!(messages.count(), 70);
    assert_eq!(frames.iter().filter(|f| f.kind == kind::PONG).count(), 1);
    assert_eq!(frames.len(), 71);
}

#[test]
fn a_partial_frame_at_the_end_is_dropped() {
    let broker = Broker::start();
    let mut subscriber = broker.subscriber_of(&[b"t"]);
    let whole = publish(b"t", b"whole");
    for cut in 1..whole.len() {
        let mut publisher = broker.publisher();
        publisher.send(&[&whole, &whole[..cut]].concat());
        publisher.half_close();
        publisher.expect_close();
        subscriber.expect_message(b"t", b"whole");
    }
    subscriber.confirm();
}

#[test]
fn a_client_that_ends_before_its_hello_is_whole_gets_an_orderly_end() {
    let broker = Broker::start();
    let bytes = hello(b"id", b"version=1\n");
    for (_, address) in broker.ports() {
        for cut in 0..bytes.len() {
            let mut peer = Peer::connect(address);
            peer.send(&bytes[..cut]);
            peer.half_close();
            peer.expect_close();
        }
    }
}

#[test]
fn an_error_before_the_end_is_answered_before_the_end() {
    let broker = Broker::start();
    let mut peer = broker.publisher();
    peer.send(&[subscribe(b"t", b""), publish(b"t", b"")].concat());
    peer.half_close();
    peer.expect_refusal(code::NOT_ALLOWED);
}

#[test]
fn nothing_after_a_fatal_error_is_processed() {
    let broker = Broker::start();
    let mut subscriber = broker.subscriber_of(&[b"t"]);
    let mut bad = broker.publisher();
    bad.send(&[publish(b"t", b"before"), subscribe(b"t", b""), publish(b"t", b"behind")].concat());
    bad.expect_refusal(code::NOT_ALLOWED);
    broker.publisher().publish(b"t", b"another's");
    subscriber.expect_message(b"t", b"before");
    subscriber.expect_message(b"t", b"another's");
}

#[test]
fn the_error_arrives_although_the_client_still_has_megabytes_under_way() {
    let broker = Broker::start();
    for (port, address) in broker.ports() {
        println!("{port}");
        let mut peer = Peer::connect(address).hello(b"flooding");
        // Not a frame, followed by more than kernel buffers hold: the broker must read and discard.
        let flood = Flood::start(peer.sender(), vec![0xFF; 16 << 20]);
        peer.expect_refusal(code::MALFORMED);
        drop(peer);
        drop(flood);
    }
}

#[test]
fn after_the_last_frame_the_broker_reads_and_discards() {
    let broker = Broker::start();
    let mut peer = broker.publisher();
    peer.send(&[0xFF; 8]);
    peer.send(&vec![0xFF; 8 << 20]);
    peer.expect_refusal(code::MALFORMED);
}

#[test]
fn a_client_that_does_not_close_is_closed_all_the_same() {
    let broker = Broker::start();
    let mut peer = broker.publisher();
    peer.send(&[0; 8]);
    peer.expect_refusal(code::MALFORMED);
    // Once the broker has closed its socket, what is sent is answered by a reset.
    let deadline = Instant::now() + PATIENCE;
    while peer.try_send(b"x").is_ok() {
        assert!(Instant::now() < deadline, "the socket is still open");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_half_written_message_is_finished_before_the_error_and_queued_ones_are_dropped() {
    let broker = Broker::with(&[("limits.outbox_bytes", "64MiB")]);
    let mut subscriber = broker.small_subscriber_of(b"t");
    let mut publisher = broker.publisher();
    let payload = [7; 500_000];
    for _ in 0..60 {
        publisher.publish(b"t", &payload);
    }
    publisher.confirm();
    subscriber.send(&publish(b"not", b"allowed here"));
    let mut frames = subscriber.frames_until_close();
    let last = frames.pop().expect("at least the ERROR comes");
    support::peer::check_error(&last, code::NOT_ALLOWED, true);
    assert!(frames.iter().all(|f| f.kind == kind::PUBLISH && f.body == payload));
    assert!(frames.len() < 60, "what was queued was not dropped");
}

#[test]
fn what_a_held_up_publisher_sent_before_its_fin_is_delivered() {
    let settings = [("limits.outbox_bytes", "64KiB"), ("overflow.stall_timeout", "600")];
    let broker = Broker::with(&settings);
    let mut stalled = broker.small_subscriber_of(b"t");
    let mut publisher = broker.publisher();
    // More than the outbox and the kernel take, and no more than waits on the publisher's side.
    for i in 0..30 {
        publisher.publish(b"t", &[i; 100_000]);
    }
    publisher.half_close();
    for i in 0..30 {
        stalled.expect_message(b"t", &[i; 100_000]);
    }
    publisher.expect_close();
}

#[test]
fn a_refused_client_that_never_reads_gives_its_place_away_soon() {
    let settings = [("network.max_connections", "2"), ("timeouts.heartbeat", "600")];
    let broker = Broker::with(&settings);
    let mut stalled = broker.small_subscriber_of(b"t");
    let mut publisher = broker.publisher();
    for _ in 0..70 {
        publisher.publish(b"t", &[7; 100_000]);
    }
    publisher.confirm();
    // There is no room for the ERROR, and there never will be.
    stalled.send(&publish(b"not", b"allowed here"));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut next = Peer::connect(broker.subscribers);
        let _ = next.try_send(&hello(b"next", b"version=1\n"));
        if matches!(next.next(PATIENCE), Event::Frame(frame) if frame.kind == kind::WELCOME) {
            break;
        }
        assert!(Instant::now() < deadline, "its place is not given away");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_client_that_disconnects_is_noticed_and_harms_no_other() {
    let broker = Broker::start();
    let mut staying = broker.subscriber_of(&[b"t"]);
    let mut publisher = broker.publisher();
    for _ in 0..20 {
        let vanishing = broker.subscriber_of(&[b"t"]);
        publisher.publish(b"t", &[1; 50_000]);
        // With unread messages in its buffers the system resets the connection.
        drop(vanishing);
        publisher.publish(b"t", b"after");
        assert_eq!(staying.recv().body.len(), 50_000);
        staying.expect_message(b"t", b"after");
    }
    assert_eq!(staying.next(Duration::from_millis(1)), Event::Quiet);
}
