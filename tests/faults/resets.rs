//! Proves that connections that are reset in the middle of a frame leave nothing behind: no part
//! of a message is delivered, no descriptor stays open, no memory is kept.

use std::io::{Read, Write};
use std::thread;

use crate::support::connections::{connect, reset};
use crate::support::frame::{hello, publish, subscribe};
use crate::support::numbered::{self, Ledger, Random};
use crate::support::traffic::{END, Habit, reader};
use crate::support::{Broker, eventually};

/// Threads that reset connections.
const THREADS: u64 = 4;
/// By how much memory may grow, in bytes.
const GROWTH: usize = 1 << 20;

/// Publishers that are reset in the middle of a message, and now and then a subscriber in the
/// middle of being delivered to.
fn resets(broker: &Broker, stream: u32, count: u64) {
    let greeting = hello(b"reset", b"version=1\n");
    let mut random = Random::new(u64::from(stream) + 77);
    for number in 0..count {
        if number % 10 == 9 {
            let mut stream = connect(broker.subscribers).expect("there is room");
            let all = [greeting.clone(), subscribe(b"load.>", b"")].concat();
            stream.write_all(&all).expect("the broker reads");
            let _ = stream.read(&mut [0; 100]).expect("WELCOME comes");
            reset(&stream);
            continue;
        }
        let topic = format!("load.stream.{stream}");
        let whole = numbered::message(topic.as_bytes(), stream, number, 1_000);
        let cut = 1 + random.below(whole.len() as u64 - 1) as usize;
        let mut stream = connect(broker.publishers).expect("there is room");
        let bytes = [&greeting[..], &whole[..cut]].concat();
        stream.write_all(&bytes).expect("the broker reads");
        if random.below(2) == 0 {
            // Sometimes the broker has read the part before the reset.
            let _ = stream.read(&mut [0; 100]).expect("WELCOME comes");
        }
        reset(&stream);
    }
}

/// So many resets. Returns what the witness received, by how much memory grew, and the descriptors
/// before and after.
fn storm(count: u64) -> (Ledger, usize, usize, usize) {
    let broker = Broker::start();
    let witness = broker.subscriber_of(&[b"load.>"]);
    let witness = thread::spawn(move || reader(witness, Habit::default()).0);
    let before = broker.process().descriptors();
    let round = |count: u64| {
        thread::scope(|scope| {
            for stream in 0..THREADS as u32 {
                let broker = &broker;
                scope.spawn(move || resets(broker, stream, count / THREADS));
            }
        });
        // They are closed when the broker has seen each of them.
        eventually("the end of all of them", || {
            (broker.process().descriptors() <= before).then_some(())
        });
    };
    // The first ones cause what it keeps for good.
    round(count.div_ceil(10).max(400));
    let memory = broker.process().resident();
    round(count);
    let grown = broker.process().resident().saturating_sub(memory);
    let after = broker.process().descriptors();
    let mut last = broker.publisher();
    last.send(&publish(END, b""));
    last.confirm();
    (witness.join().expect("nothing damaged came"), grown, before, after)
}

#[test]
fn connections_reset_in_the_middle_of_a_frame_leave_nothing_behind() {
    let (witness, grown, before, after) = storm(2_000);
    assert_eq!(witness.delivered, 0, "a part of a message was delivered");
    assert!(grown <= GROWTH, "{} KiB came on top", grown >> 10);
    assert_eq!(before, after, "descriptors");
}

#[test]
#[ignore = "100,000 connections"]
fn full_row_8_a_hundred_thousand_resets() {
    let (witness, grown, before, after) = storm(100_000);
    println!(
        "row 8: 100,000 resets in the middle of a frame: {} partial messages delivered, {} KiB \
         more of 1,024 allowed, {before} descriptors before, {after} after",
        witness.delivered,
        grown >> 10
    );
    assert_eq!(witness.delivered, 0);
    assert!(grown <= GROWTH && before == after);
}
