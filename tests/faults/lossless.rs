//! Proves that under `block` nothing is lost: what was confirmed is delivered once and in order to
//! every subscriber that keeps reading, however slowly, through pauses, clients that connect and
//! disconnect at random, and a signal to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::mib;
use crate::support::numbered::Ledger;
use crate::support::traffic::{Ending, Habit, Sent, erratic_client, publisher, reader};
use crate::support::{Broker, PATIENCE};

const STREAMS: u32 = 3;
/// Bytes a second that the throttled reader takes, which limits all publishers.
const THROTTLED: u64 = 3 << 20;
/// By how much memory may grow between the first and the last part of the time, in bytes.
const FLAT: usize = 16 << 20;

/// The outcome of a run.
struct Outcome {
    sent: Vec<Sent>,
    ledgers: Vec<(&'static str, Ledger)>,
    visits: u64,
    /// Resident bytes, at even distances.
    memory: Vec<usize>,
}

/// The readers: a fast one, a throttled one, one that pauses.
fn habits(lasting: Duration) -> [(&'static str, Habit); 3] {
    let pauses = Some((lasting / 20, Duration::from_millis(500)));
    [
        ("fast", Habit::default()),
        ("throttled", Habit { rate: Some(THROTTLED), pauses: None }),
        ("pausing", Habit { rate: None, pauses }),
    ]
}

/// Full speed for so long, and then SIGTERM in the middle of it.
fn run(lasting: Duration) -> Outcome {
    let settings = [("limits.outbox_bytes", "1MiB"), ("timeouts.drain", "60")];
    let mut broker = Broker::with(&settings);
    // Publishers continue until GOODBYE.
    let (stop, never) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut memory = Vec::new();
    let (sent, ledgers, visits) = thread::scope(|scope| {
        let readers = habits(lasting).map(|(name, habit)| {
            let peer = broker.subscriber_of(&[b"load.>"]);
            (name, scope.spawn(move || reader(peer, habit)))
        });
        let (broker, stop, never) = (&broker, &stop, &never);
        let erratic_clients = [1, 2].map(|seed| {
            let pause = Duration::from_millis(10);
            scope.spawn(move || erratic_client(broker, seed, pause, stop))
        });
        let publishers: Vec<_> = (0..STREAMS)
            .map(|stream| scope.spawn(move || publisher(broker, stream, u64::MAX, never)))
            .collect();
        let start = Instant::now();
        while start.elapsed() < lasting {
            thread::sleep((lasting / 200).min(PATIENCE));
            memory.push(broker.process().resident());
        }
        broker.signal("TERM");
        let sent = publishers.into_iter().map(|p| p.join().expect("it publishes")).collect();
        let ledgers = readers.map(|(name, reader)| {
            let (ledger, ending) = reader.join().expect("every message is as it was sent");
            assert_eq!(ending, Ending::Goodbye, "the {name} reader");
            (name, ledger)
        });
        stop.store(true, Ordering::Relaxed);
        let visits = erratic_clients.map(|n| n.join().expect("it does not panic")).iter().sum();
        (sent, ledgers.to_vec(), visits)
    });
    assert_eq!(broker.wait().code(), Some(0));
    Outcome { sent, ledgers, visits, memory }
}

/// No reader may miss a message.
fn check(outcome: &Outcome) {
    for (name, ledger) in &outcome.ledgers {
        assert!(ledger.is_clean(), "the {name} reader: {ledger:?}");
        for sent in &outcome.sent {
            let reached = ledger.reached(sent.stream);
            let range = sent.confirmed..=sent.written;
            assert!(range.contains(&reached), "the {name} reader got {reached} of {sent:?}");
            // A message accepted after the last confirmation is delivered to all readers or to
            // none.
            assert_eq!(reached, outcome.ledgers[0].1.reached(sent.stream), "{name}");
        }
    }
    assert!(outcome.sent.iter().all(|sent| sent.confirmed > 0), "nothing was published");
    assert!(outcome.visits > 0, "no erratic client connected");
}

#[test]
fn what_was_confirmed_is_delivered_once_and_in_order_up_to_the_signal() {
    check(&run(Duration::from_secs(3)));
}

#[test]
#[ignore = "takes 10 minutes"]
fn full_point_1_ten_minutes_without_a_loss() {
    let seconds = std::env::var("LOSSLESS_SECONDS").ok().and_then(|s| s.parse().ok());
    let outcome = run(Duration::from_secs(seconds.unwrap_or(600)));
    let (sent, confirmed) = outcome.sent.iter().fold((0, 0), |(written, confirmed), sent| {
        (written + sent.written, confirmed + sent.confirmed)
    });
    let quarter = outcome.memory.len() / 4;
    let mean = |part: &[usize]| part.iter().sum::<usize>() / part.len().max(1);
    let early = mean(&outcome.memory[quarter..2 * quarter]);
    let late = mean(&outcome.memory[3 * quarter..]);
    println!(
        "point 1: {sent} messages written, {confirmed} confirmed before SIGTERM, {} visits of \
         erratic_clients, memory {:.1} MiB in the second quarter, {:.1} MiB in the last",
        outcome.visits,
        mib(early),
        mib(late),
    );
    for (name, ledger) in &outcome.ledgers {
        let Ledger { delivered, bytes, lost, doubled, .. } = ledger;
        println!(
            "point 1: {name} reader: {delivered} delivered ({:.0} MiB), {lost} lost, {doubled} \
             doubled or out of order",
            mib(*bytes as usize)
        );
    }
    check(&outcome);
    assert!(late <= early + FLAT, "memory is not flat");
}
