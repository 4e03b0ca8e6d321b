//! Proves what happens to a subscriber that is slower than its messages, under each policy, and
//! that a client that does not read its answers is not read (rule 9).

use std::thread;
use std::time::{Duration, Instant};

use crate::support;
use crate::support::frame::{ping, publish};
use crate::support::{Broker, Event, Flood, Frame, PATIENCE, Peer, code, kind};

/// Bytes of a payload in these tests.
const PAYLOAD: usize = 10_000;
/// So many of them are more than the buffers of both kernels' ends and the outbox hold.
const MANY: u32 = 2_400;
/// Attempts at what must be done within the second that closing a connection may take: a busy
/// machine may not manage it each time.
const TRIES: usize = 5;

fn broker(policy: &str, more: &[(&'static str, &'static str)]) -> Broker {
    let mut settings = vec![("overflow.policy", policy), ("limits.outbox_bytes", "64KiB")];
    settings.extend(more);
    Broker::with(&settings)
}

/// A payload that begins with its number.
fn payload(number: u32) -> Vec<u8> {
    let mut payload = vec![number as u8; PAYLOAD];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    payload
}

fn number(message: &Frame) -> u32 {
    assert_eq!(message.kind, kind::PUBLISH, "a message was due: {message:?}");
    let number = message.body.first_chunk().expect("the test's payloads begin with a number");
    let number = u32::from_be_bytes(*number);
    assert!(message.body == payload(number), "message {number} is damaged");
    number
}

/// The frames of these messages.
fn messages(topic: &[u8], numbers: std::ops::Range<u32>) -> Vec<u8> {
    numbers.flat_map(|number| publish(topic, &payload(number))).collect()
}

/// Reads until `count` messages have been delivered or reported as lost.
fn account(peer: &mut Peer, count: u32) -> u64 {
    account_from(peer, 0, count)
}

/// Reads until the messages from `first` to before `end` have been delivered or reported as lost,
/// and checks that each LOST is exactly where the messages that it counts are missing. Returns how
/// many were lost.
fn account_from(peer: &mut Peer, first: u32, end: u32) -> u64 {
    let (mut next, mut lost) = (u64::from(first), 0);
    while next < u64::from(end) {
        let frame = peer.recv();
        if frame.kind == kind::LOST {
            assert!(frame.lost() >= 1, "a LOST of nothing");
            lost += frame.lost();
            next += frame.lost();
        } else {
            assert_eq!(u64::from(number(&frame)), next, "LOST is wrong or in the wrong place");
            next += 1;
        }
    }
    assert_eq!(next, u64::from(end), "more was told as lost than was published");
    lost
}

/// All frames until the end, or `None` if the connection ended in the middle of one.
fn frames_until_end(peer: &mut Peer) -> Option<Vec<Frame>> {
    let mut frames = Vec::new();
    loop {
        match peer.next(PATIENCE) {
            Event::Frame(frame) => frames.push(frame),
            Event::Closed(0) => return Some(frames),
            Event::Closed(_) | Event::Reset => return None,
            Event::Quiet => panic!("the connection does not end"),
        }
    }
}

/// What a subscriber that was closed for its slowness has got: messages from the first on without
/// a gap, then the ERROR. False: the machine was too slow for the ERROR to arrive.
fn ends_with_slow_consumer(peer: &mut Peer, count: u32) -> bool {
    let Some(mut frames) = frames_until_end(peer) else {
        return false;
    };
    let last = frames.pop().expect("at least the ERROR comes");
    support::peer::check_error(&last, code::SLOW_CONSUMER, true);
    assert!(frames.iter().map(number).eq(0..frames.len() as u32), "messages are missing");
    assert!(frames.len() < count as usize, "nothing was dropped");
    true
}

#[test]
fn block_loses_nothing_and_touches_no_publisher_of_other_topics() {
    let broker = broker("block", &[("overflow.stall_timeout", "600")]);
    let mut stalled = broker.small_subscriber_of(b"busy");
    let mut healthy = broker.subscriber_of(&[b"calm"]);
    let mut held_up = broker.publisher();
    let flood = Flood::start(held_up.sender(), messages(b"busy", 0..MANY));
    flood.wait_until_blocked();

    let mut other = broker.publisher();
    for i in 0..200 {
        other.publish(b"calm", &payload(i));
        other.confirm();
        assert_eq!(number(&healthy.recv()), i);
    }
    flood.wait_until_blocked();
    for i in 0..MANY {
        assert_eq!(number(&stalled.recv()), i);
    }
    flood.finish();
    held_up.confirm();
    stalled.confirm();
}

#[test]
fn block_holds_up_every_publisher_of_the_topic_and_loses_nothing_of_any() {
    let broker = broker("block", &[("overflow.stall_timeout", "600")]);
    let mut stalled = broker.small_subscriber_of(b"busy.*");
    let mut publishers: Vec<Peer> = (0..3).map(|_| broker.publisher()).collect();
    let start = |(i, peer): (usize, &Peer)| {
        Flood::start(peer.sender(), messages(format!("busy.{i}").as_bytes(), 0..MANY))
    };
    let floods: Vec<Flood> = publishers.iter().enumerate().map(start).collect();
    floods.iter().for_each(Flood::wait_until_blocked);
    let mut next = [0; 3];
    for _ in 0..3 * MANY {
        let message = stalled.recv();
        let publisher = usize::from(message.topic[5] - b'0');
        assert_eq!(number(&message), next[publisher], "of publisher {publisher}");
        next[publisher] += 1;
    }
    floods.into_iter().for_each(Flood::finish);
    publishers.iter_mut().for_each(Peer::confirm);
}

#[test]
fn block_delivers_what_a_held_up_publisher_sent_before_its_fin() {
    let broker = broker("block", &[("overflow.stall_timeout", "600")]);
    let mut stalled = broker.small_subscriber_of(b"busy");
    let mut publisher = broker.publisher();
    let flood = Flood::start(publisher.sender(), messages(b"busy", 0..MANY));
    flood.wait_until_blocked();
    for i in 0..MANY / 2 {
        assert_eq!(number(&stalled.recv()), i);
    }
    let reader = thread::spawn(move || {
        for i in MANY / 2..MANY {
            assert_eq!(number(&stalled.recv()), i);
        }
    });
    flood.finish();
    publisher.half_close();
    publisher.expect_close();
    reader.join().expect("every message arrives");
}

#[test]
fn block_frees_the_publisher_when_the_stalled_subscriber_closes() {
    let broker = broker("block", &[("overflow.stall_timeout", "600")]);
    let stalled = broker.small_subscriber_of(b"busy");
    let mut publisher = broker.publisher();
    let flood = Flood::start(publisher.sender(), messages(b"busy", 0..MANY));
    flood.wait_until_blocked();
    drop(stalled);
    flood.finish();
    publisher.confirm();
}

#[test]
fn block_closes_a_subscriber_that_takes_nothing_for_stall_timeout() {
    for _ in 0..TRIES {
        let broker = broker("block", &[("overflow.stall_timeout", "0.5")]);
        let mut stalled = broker.small_subscriber_of(b"busy");
        let mut healthy = broker.subscriber_of(&[b"calm"]);
        let mut publisher = broker.publisher();
        let flood = Flood::start(publisher.sender(), messages(b"busy", 0..MANY));
        // The publisher continues only because the stalled subscriber is closed.
        flood.finish();
        publisher.publish(b"calm", &payload(1));
        let in_time = ends_with_slow_consumer(&mut stalled, MANY);
        publisher.confirm();
        assert_eq!(number(&healthy.recv()), 1);
        if in_time {
            return;
        }
    }
    panic!("the ERROR never arrived");
}

/// For the tests of `min_rate`: an outbox so large that a slow reader cannot drain it to half,
/// and so free its publisher, within `stall_timeout`.
const LARGE_OUTBOX: [(&str, &str); 2] =
    [("limits.outbox_bytes", "16MiB"), ("overflow.stall_timeout", "1")];

/// Takes some bytes, at a few MiB a second.
fn take_slowly(peer: &mut Peer) -> usize {
    thread::sleep(Duration::from_millis(5));
    peer.take_bytes(16_384).unwrap_or(0)
}

#[test]
fn block_closes_a_subscriber_that_takes_less_than_min_rate() {
    for _ in 0..TRIES {
        let [outbox, stall] = LARGE_OUTBOX;
        let broker = Broker::with(&[outbox, stall, ("overflow.min_rate", "1GiB")]);
        let mut slow = broker.small_subscriber_of(b"busy");
        let publisher = broker.publisher();
        let flood = Flood::start(publisher.sender(), messages(b"busy", 0..3 * MANY));
        // It takes some all the time; once its publisher is free it has been closed.
        let mut taken = 0;
        while !flood.is_done() {
            taken += take_slowly(&mut slow);
        }
        flood.finish();
        assert!(taken > 0);
        if ends_with_slow_consumer(&mut slow, 3 * MANY) {
            return;
        }
    }
    panic!("the ERROR never arrived");
}

#[test]
fn block_keeps_a_slow_subscriber_that_takes_min_rate() {
    // Long enough that a busy machine lets this test take something in the meantime.
    let stall = ("overflow.stall_timeout", "3");
    let broker = Broker::with(&[LARGE_OUTBOX[0], stall, ("overflow.min_rate", "1KiB")]);
    let mut slow = broker.small_subscriber_of(b"busy");
    let mut publisher = broker.publisher();
    let flood = Flood::start(publisher.sender(), messages(b"busy", 0..3 * MANY));
    flood.wait_until_blocked();
    // For twice stall_timeout it is the one that holds things up, but it takes bytes.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(7) {
        assert!(take_slowly(&mut slow) > 0, "it is closed");
    }
    assert!(!flood.is_done(), "nobody was held up, so this shows nothing");
    for i in 0..3 * MANY {
        assert_eq!(number(&slow.recv()), i);
    }
    flood.finish();
    publisher.confirm();
    slow.confirm();
}

#[test]
fn drop_tells_exactly_how_many_were_lost_and_where() {
    let broker = broker("drop", &[]);
    let mut stalled = broker.small_subscriber_of(b"busy");
    let mut publisher = broker.publisher();
    // No publisher is held up, so all of it is accepted although the subscriber does not read.
    publisher.send(&messages(b"busy", 0..MANY));
    publisher.confirm();
    let lost = account(&mut stalled, MANY);
    assert!(lost > 0, "nothing was lost, so this shows nothing");
    stalled.confirm();

    // Once it has drained everything works as before.
    for i in 0..100 {
        publisher.publish(b"busy", &payload(i));
        assert_eq!(number(&stalled.recv()), i);
    }
    stalled.confirm();
}

#[test]
fn drop_tells_of_the_loss_before_a_message_that_finds_room_again() {
    let settings = [("overflow.policy", "drop"), ("limits.outbox_bytes", "8MiB")];
    let broker = Broker::with(&settings);
    let mut slow = broker.small_subscriber_of(b"busy");
    let mut publisher = broker.publisher();
    publisher.send(&messages(b"busy", 0..MANY));
    publisher.confirm();
    // Room for some more, while most of the outbox still waits in front of it.
    let before = MANY / 4;
    for i in 0..before {
        assert_eq!(number(&slow.recv()), i);
    }
    for i in MANY..MANY + 50 {
        publisher.send(&messages(b"busy", i..i + 1));
        publisher.confirm();
    }
    let lost = account_from(&mut slow, before, MANY + 50);
    assert!(lost > 0, "nothing was lost, so this shows nothing");
    slow.confirm();
}

#[test]
fn drop_accounts_for_all_while_losses_and_deliveries_take_turns() {
    let broker = broker("drop", &[]);
    let mut stalled = broker.small_subscriber_of(b"busy");
    let mut publisher = broker.publisher();
    let reader = thread::spawn(move || {
        let lost = account(&mut stalled, 2 * MANY);
        stalled.confirm();
        lost
    });
    publisher.send(&messages(b"busy", 0..2 * MANY));
    publisher.confirm();
    reader.join().expect("the account is exact");
}

#[test]
fn drop_counts_for_each_subscriber_by_itself() {
    let broker = broker("drop", &[]);
    let mut stalled = broker.small_subscriber_of(b"busy");
    let mut healthy = broker.subscriber_of(&[b"busy"]);
    let mut publisher = broker.publisher();
    for i in 0..MANY {
        publisher.publish(b"busy", &payload(i));
        assert_eq!(number(&healthy.recv()), i);
    }
    assert!(account(&mut stalled, MANY) > 0, "nothing was lost, so this shows nothing");
    healthy.confirm();
}

#[test]
fn disconnect_closes_the_subscriber_and_holds_up_no_publisher() {
    for _ in 0..TRIES {
        let broker = broker("disconnect", &[]);
        let mut stalled = broker.small_subscriber_of(b"busy");
        let mut healthy = broker.subscriber_of(&[b"calm"]);
        let mut publisher = broker.publisher();
        publisher.send(&messages(b"busy", 0..MANY));
        let in_time = ends_with_slow_consumer(&mut stalled, MANY);
        publisher.publish(b"calm", &payload(1));
        publisher.confirm();
        assert_eq!(number(&healthy.recv()), 1);
        if in_time {
            return;
        }
    }
    panic!("the ERROR never arrived");
}

#[test]
fn an_empty_outbox_takes_one_message_however_large() {
    for policy in ["block", "drop", "disconnect"] {
        println!("{policy}");
        let settings = [("overflow.policy", policy), ("limits.outbox_bytes", "1KiB")];
        let broker = Broker::with(&settings);
        let mut subscriber = broker.subscriber_of(&[b"t"]);
        let mut publisher = broker.publisher();
        for i in 0..5 {
            let payload = vec![i; 1 << 20];
            publisher.publish(b"t", &payload);
            subscriber.expect_message(b"t", &payload);
            // The outbox is empty again once its bytes are taken, which this waits for.
            subscriber.confirm();
        }
    }
}

#[test]
fn a_queue_group_passes_over_the_member_that_has_no_room() {
    const BATCH: u32 = 4;
    for policy in ["block", "drop", "disconnect"] {
        println!("{policy}");
        let broker = broker(policy, &[("overflow.stall_timeout", "600")]);
        let mut stalled = Peer::connect_small(broker.subscribers).hello(b"stalled");
        stalled.subscribe(b"jobs", b"g");
        let mut healthy = broker.subscriber_of(&[b"end"]);
        healthy.subscribe(b"jobs", b"g");
        let mut publisher = broker.publisher();
        let mut got = Vec::new();
        for batch in 0..MANY / BATCH {
            let numbers = batch * BATCH..(batch + 1) * BATCH;
            publisher.send(&messages(b"jobs", numbers));
            publisher.publish(b"end", b"");
            got.extend(healthy.messages_until(b"end").iter().map(number));
        }
        assert!(got.len() > MANY as usize / 2, "the stalled member was not passed over");
        while got.len() < MANY as usize {
            got.push(number(&stalled.recv()));
        }
        got.sort_unstable();
        assert!(got.into_iter().eq(0..MANY), "not each message exactly once");
        stalled.confirm();
    }
}

#[test]
fn a_client_that_does_not_read_its_pongs_is_not_read_and_gets_them_all_later() {
    // More than the kernel's largest receive buffer, 32 MiB, may hold of them.
    const PINGS: u32 = 600_000;
    let broker = Broker::start();
    for (port, address) in broker.ports() {
        println!("{port}");
        let mut peer = Peer::connect_small(address).hello(b"flooding");
        let body = |i: u32| [i.to_be_bytes().as_slice(), &[b'x'; 60]].concat();
        let flood = Flood::start(peer.sender(), (0..PINGS).flat_map(|i| ping(&body(i))).collect());
        flood.wait_until_blocked();
        broker.publisher().confirm();
        for i in 0..PINGS {
            let pong = peer.recv();
            assert!(pong.kind == kind::PONG && pong.body == body(i), "PONG {i}: {pong:?}");
        }
        flood.finish();
        peer.confirm();
    }
}

#[test]
fn a_client_that_does_not_read_its_errors_is_not_read_and_gets_them_all_later() {
    const FRAMES: u32 = 20_000;
    let broker = Broker::start();
    let mut peer = Peer::connect_small(broker.publishers).hello(b"flooding");
    let topic = |i: u32| format!("no good {i} {}", "x".repeat(900)).into_bytes();
    let flood =
        Flood::start(peer.sender(), (0..FRAMES).flat_map(|i| publish(&topic(i), b"")).collect());
    for _ in 0..FRAMES {
        peer.expect_error(code::BAD_TOPIC, false);
    }
    flood.finish();
    peer.confirm();
}
