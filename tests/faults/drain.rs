//! Proves that a signal to stop loses nothing that was confirmed, for a reader that reads again
//! within the drain time-out; and that what is lost beyond it is counted in the log, to the
//! message.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::numbered::{Ledger, message};
use crate::support::{Broker, Event, PATIENCE, Peer, kind};

const MESSAGES: u64 = 16_384;
/// With this much padding a payload is 1 KiB.
const FILLING: usize = 1_024 - 20;

/// A broker with confirmed messages that wait for a reader that sleeps.
fn with_messages(drain: &'static str) -> (Broker, Peer) {
    let broker = Broker::with(&[("timeouts.drain", drain), ("limits.outbox_bytes", "64MiB")]);
    let asleep = broker.small_subscriber_of(b"t");
    let mut publisher = broker.publisher();
    for first in (0..MESSAGES).step_by(64) {
        let batch = (first..first + 64).flat_map(|number| message(b"t", 0, number, FILLING));
        publisher.send(&batch.collect::<Vec<u8>>());
    }
    publisher.confirm();
    (broker, asleep)
}

/// SIGTERM while the reader sleeps; how many were lost when it woke up after so long.
fn lost_after(drain: &'static str, sleep: Duration) -> u64 {
    let (mut broker, mut reader) = with_messages(drain);
    broker.signal("TERM");
    thread::sleep(sleep);
    let frames = reader.frames_until_close();
    let (last, messages) = frames.split_last().expect("something came");
    assert_eq!(last.kind, kind::GOODBYE, "GOODBYE was due last: {last:?}");
    let mut ledger = Ledger::default();
    messages.iter().for_each(|message| ledger.take(message));
    assert!(ledger.is_clean(), "{ledger:?}");
    drop(reader);
    assert_eq!(broker.wait().code(), Some(0));
    broker.log().wait_for("the summary", |line| line.contains("everything"));
    MESSAGES - ledger.delivered
}

/// The reader wakes up only when the broker has given up. What it was sent and what the log says
/// was lost: together all.
fn beyond(drain: &'static str) -> (u64, u64) {
    let (mut broker, mut reader) = with_messages(drain);
    let start = Instant::now();
    broker.signal("TERM");
    let least = Duration::from_secs_f64(drain.parse().expect("a number"));
    while start.elapsed() < least {
        assert!(broker.is_running(), "it gave up too early");
        thread::sleep(Duration::from_millis(20));
    }
    broker.wait();
    let line = broker.log().wait_for("the loss", |line| line.contains("drain time-out"));
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "messages").expect("it counts messages");
    let lost: u64 = words[at - 1].parse().expect("the number of messages");
    let mut ledger = Ledger::default();
    loop {
        match reader.next(PATIENCE) {
            Event::Frame(message) => ledger.take(&message),
            Event::Closed(_) | Event::Reset => break,
            Event::Quiet => panic!("the end of the connection was due"),
        }
    }
    assert!(ledger.is_clean(), "{ledger:?}");
    (ledger.delivered, lost)
}

#[test]
fn a_reader_that_wakes_in_time_gets_everything() {
    assert_eq!(lost_after("60", Duration::from_millis(200)), 0);
}

#[test]
fn what_is_lost_beyond_the_drain_timeout_is_counted_in_the_log() {
    let (delivered, lost) = beyond("0.5");
    assert!(lost > 0, "everything was delivered, so this shows nothing");
    assert_eq!(delivered + lost, MESSAGES);
}

#[test]
#[ignore = "half a minute of waiting"]
fn full_row_5_readers_that_wake_late() {
    for seconds in [0.2, 5.0, 8.0] {
        let lost = lost_after("10", Duration::from_secs_f64(seconds));
        println!("row 5: the reader wakes after {seconds} s: {lost} of {MESSAGES} lost");
        assert_eq!(lost, 0);
    }
    let (delivered, lost) = beyond("10");
    println!(
        "row 5: the reader wakes after the drain time-out of 10 s: {delivered} delivered, {lost} \
         lost as the log says, of {MESSAGES}"
    );
    assert!(lost > 0 && delivered + lost == MESSAGES);
}
