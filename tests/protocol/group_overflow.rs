//! Proves what happens to a queue group's messages when members have no room: another member takes
//! them, and if none can, the overflow policy applies to just one.

use crate::support;
use crate::support::frame::publish;
use crate::support::{Broker, Flood, Frame, Peer, code, kind};

const PAYLOAD: usize = 10_000;
/// More than the buffers of both kernels' ends and the outboxes of two members hold.
const MANY: u32 = 3_000;

fn broker(policy: &str) -> Broker {
    let room = ("limits.outbox_bytes", "64KiB");
    let patience = ("overflow.stall_timeout", "600");
    Broker::with(&[("overflow.policy", policy), room, patience])
}

/// A member with small kernel buffers, that does not read unless it is asked to.
fn stalled_member(broker: &Broker) -> Peer {
    let mut peer = Peer::connect_small(broker.subscribers).hello(b"stalled");
    peer.subscribe(b"jobs", b"g");
    peer
}

fn messages(numbers: std::ops::Range<u32>) -> Vec<u8> {
    let payload = |number: u32| [&number.to_be_bytes(), [7; PAYLOAD - 4].as_slice()].concat();
    numbers.flat_map(|number| publish(b"jobs", &payload(number))).collect()
}

fn number(message: &Frame) -> u32 {
    assert_eq!((message.kind, message.body.len()), (kind::PUBLISH, PAYLOAD), "{message:?}");
    u32::from_be_bytes(*message.body.first_chunk().expect("payloads begin with a number"))
}

/// Each number from 0 on must be there exactly once.
fn all_once(mut numbers: Vec<u32>, count: u32) {
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..count), "not each message exactly once");
}

/// All that has been queued for a peer: the frames before the PONG.
fn queued(peer: &mut Peer) -> Vec<Frame> {
    peer.frames_until_pong()
}

#[test]
fn under_block_the_member_that_reads_again_gets_what_is_held_up() {
    let broker = broker("block");
    let mut members = [stalled_member(&broker), stalled_member(&broker)];
    let mut publisher = broker.publisher();
    let flood = Flood::start(publisher.sender(), messages(0..MANY));
    flood.wait_until_blocked();
    // One of them keeps reading, the other one does not read until all is sent.
    let [idle, reader] = &mut members;
    let mut got = Vec::new();
    while !flood.is_done() {
        if let support::Event::Frame(frame) = reader.next(std::time::Duration::from_millis(20)) {
            got.push(number(&frame));
        }
    }
    flood.finish();
    publisher.half_close();
    let reader = std::thread::scope(|scope| {
        // The publisher may be held up still, for its last messages.
        let closing = scope.spawn(|| publisher.expect_close());
        while !closing.is_finished() {
            if let support::Event::Frame(frame) = reader.next(std::time::Duration::from_millis(20))
            {
                got.push(number(&frame));
            }
        }
        reader
    });
    got.extend(queued(reader).iter().map(number));
    assert!(got.len() > MANY as usize / 4, "the reader got only {}", got.len());
    got.extend(queued(idle).iter().map(number));
    all_once(got, MANY);
}

#[test]
fn under_drop_each_loss_is_counted_on_one_member() {
    let broker = broker("drop");
    let mut members = [stalled_member(&broker), stalled_member(&broker)];
    let mut publisher = broker.publisher();
    publisher.send(&messages(0..MANY));
    publisher.confirm();
    let (mut delivered, mut lost) = (0, 0);
    for member in &mut members {
        for frame in queued(member) {
            if frame.kind == kind::LOST {
                lost += frame.lost();
            } else {
                number(&frame);
                delivered += 1;
            }
        }
        // Losses not reported yet are reported as soon as the outbox has drained.
        while delivered + lost < u64::from(MANY) {
            match member.next(std::time::Duration::from_millis(200)) {
                support::Event::Frame(frame) => lost += frame.lost(),
                _ => break,
            }
        }
    }
    assert!(lost > 0, "nothing was lost, so this shows nothing");
    assert_eq!(delivered + lost, u64::from(MANY));
}

#[test]
fn under_disconnect_the_members_that_are_left_go_on() {
    let broker = broker("disconnect");
    let mut healthy = broker.subscriber_of(&[b"end"]);
    let mut stalled = stalled_member(&broker);
    let mut publisher = broker.publisher();
    // The only member so far, so that it is the one that is closed.
    publisher.send(&messages(0..MANY));
    publisher.confirm();
    healthy.subscribe(b"jobs", b"g");
    for i in 0..50 {
        publisher.send(&messages(i..i + 1));
        assert_eq!(number(&healthy.recv()), i);
    }
    // Whether the ERROR still reaches the closed one depends on the second for closing.
    while let support::Event::Frame(frame) = stalled.next(support::PATIENCE) {
        if frame.kind == kind::ERROR {
            support::peer::check_error(&frame, code::SLOW_CONSUMER, true);
        }
    }
}
