//! A mixed load for as long as one likes, with a report at the end: publishers at a steady pace,
//! fast and slow subscribers, wildcards, queue groups, clients that connect, disconnect and reset,
//! and idle connections. `SOAK_MINUTES` says how long (1 if it is not set):
//!
//! `SOAK_MINUTES=10 cargo test --test faults soak -- --ignored --nocapture`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crate::support::numbered::Ledger;
use crate::support::traffic::{self, END, Ending, GroupLedger, Habit, Sent};
use crate::support::{Broker, Peer, eventually, mib};

const STREAMS: u32 = 4;
/// Bytes a second of each publisher, at most: the slow reader takes less than all of it.
const RATE: u64 = 1 << 20;
const MEMBERS: usize = 3;
const IDLE: usize = 50;
/// Memory that may come on top between the middle and the end, in bytes.
const FLAT: usize = 16 << 20;

/// What the system reports about the broker at one moment.
#[derive(Clone, Copy)]
struct Sample {
    resident: usize,
    descriptors: usize,
    /// Hundredths of a second of processor time.
    time: u64,
}

impl Sample {
    fn of(broker: &Broker) -> Sample {
        let process = broker.process();
        let (time, _) = process.cpu_and_sleeps();
        Sample { resident: process.resident(), descriptors: process.descriptors(), time }
    }
}

/// A reader: name, filters, habit, and whether it gets every stream or only the first.
fn readers() -> Vec<(&'static str, &'static [&'static [u8]], Habit, bool)> {
    let slow = Habit { rate: Some(3 << 20), pauses: None };
    let pausing =
        Habit { rate: None, pauses: Some((Duration::from_secs(10), Duration::from_secs(1))) };
    vec![
        ("fast, all", &[b"load.>"], Habit::default(), true),
        ("pausing, overlapping wildcards", &[b"load.>", b"load.*.*", b"*.stream.*"], pausing, true),
        ("slow, all", &[b"load.stream.*", END], slow, true),
        ("fast, one stream", &[b"load.stream.0", END], Habit::default(), false),
    ]
}

/// The outcome.
struct Report {
    lasting: Duration,
    sent: Vec<Sent>,
    ledgers: Vec<(&'static str, Ledger, bool)>,
    /// Messages that the queue group received, missed, received twice.
    group: (u64, u64, u64),
    visits: u64,
    /// At the start, in the middle, at the end under load, and when all have disconnected.
    samples: [Sample; 4],
}

/// Runs the load for so long.
fn soak(lasting: Duration) -> Report {
    let mut broker = Broker::start();
    let start = Sample::of(&broker);
    let idle: Vec<Peer> = (0..IDLE).map(|_| broker.subscriber_of(&[b"nobody.>"])).collect();
    let (stop, leave) = (AtomicBool::new(false), AtomicBool::new(false));
    let group = Arc::new(GroupLedger::default());
    let (samples, sent, ledgers, visits) = thread::scope(|scope| {
        let (broker, stop, leave) = (&broker, &stop, &leave);
        let readers: Vec<_> = readers()
            .into_iter()
            .map(|(name, filters, habit, all)| {
                let peer = broker.subscriber_of(filters);
                (name, scope.spawn(move || traffic::reader(peer, habit)), all)
            })
            .collect();
        let members: Vec<_> = (0..MEMBERS)
            .map(|_| {
                let mut peer = broker.subscriber_of(&[END]);
                peer.subscribe(b"load.stream.*", b"workers");
                let group = Arc::clone(&group);
                scope.spawn(move || traffic::read(peer, Habit::default(), |m| group.take(m)))
            })
            .collect();
        let erratic_clients = [1, 2, 3].map(|seed| {
            let pause = Duration::from_millis(20);
            scope.spawn(move || traffic::erratic_client(broker, seed, pause, leave))
        });
        let publishers: Vec<_> = (0..STREAMS)
            .map(|stream| scope.spawn(move || traffic::publisher(broker, stream, RATE, stop)))
            .collect();
        let beside = scope.spawn(|| answer_heartbeats(idle, stop));
        thread::sleep(lasting / 2);
        let middle = Sample::of(broker);
        thread::sleep(lasting / 2);
        let end = Sample::of(broker);
        stop.store(true, Ordering::Relaxed);
        let sent: Vec<Sent> = publishers.into_iter().map(joined).collect();
        leave.store(true, Ordering::Relaxed);
        let visits = erratic_clients.map(joined).iter().sum();
        let mut last = broker.publisher();
        last.publish(END, b"");
        last.confirm();
        let ledger = |(name, reader, all)| {
            let (ledger, ending): (Ledger, Ending) = joined(reader);
            assert_eq!(ending, Ending::End, "{name}");
            (name, ledger, all)
        };
        let ledgers: Vec<_> = readers.into_iter().map(ledger).collect();
        members.into_iter().for_each(|member| assert_eq!(joined(member), Ending::End));
        joined(beside);
        ([middle, end], sent, ledgers, visits)
    });
    eventually("all descriptors back", || {
        (broker.process().descriptors() == start.descriptors).then_some(())
    });
    let samples = [start, samples[0], samples[1], Sample::of(&broker)];
    broker.signal("TERM");
    assert_eq!(broker.wait().code(), Some(0));
    let group = group.account(&sent);
    Report { lasting, sent, ledgers, group, visits, samples }
}

/// Idle clients that only answer heartbeats.
fn answer_heartbeats(mut idle: Vec<Peer>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(500));
        idle.iter_mut().for_each(|peer| {
            peer.frames_until_pong();
        });
    }
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().expect("every role ends well")
}

impl Report {
    /// Messages of all streams.
    fn sent(&self) -> u64 {
        self.sent.iter().map(|sent| sent.written).sum()
    }

    fn print(&self, started: Instant) {
        println!("soak: {:.1} minutes, all in {:.1} s", minutes(self.lasting), seconds(started));
        println!("soak: sent {} messages, all confirmed", self.sent());
        for (name, ledger, _) in &self.ledgers {
            let Ledger { delivered, bytes, lost, doubled, .. } = ledger;
            println!(
                "soak: {name}: delivered {delivered} ({:.0} MiB), lost {lost}, doubled or out of \
                 order {doubled}",
                mib(*bytes as usize)
            );
        }
        let (came, lost, doubled) = self.group;
        println!("soak: queue group: delivered {came}, lost {lost}, doubled {doubled}");
        println!("soak: {} connections of erratic clients", self.visits);
        let names = ["start", "middle", "end", "when all have gone"];
        for (name, sample) in names.iter().zip(&self.samples) {
            println!(
                "soak: {name}: memory {:.1} MiB, descriptors {}, processor time {:.1} s",
                mib(sample.resident),
                sample.descriptors,
                sample.time as f64 / 100.0
            );
        }
    }

    fn check(&self) {
        for (name, ledger, all) in &self.ledgers {
            assert!(ledger.is_clean(), "{name}: {ledger:?}");
            let streams = self.sent.iter().filter(|sent| *all || sent.stream == 0);
            for sent in streams {
                assert_eq!(sent.written, sent.confirmed, "{sent:?}");
                assert_eq!(ledger.reached(sent.stream), sent.written, "{name}: {sent:?}");
            }
        }
        assert_eq!(self.group, (self.sent(), 0, 0), "the queue group");
        assert!(self.sent() > 0 && self.visits > 0, "nothing was done");
        let [_, middle, end, _] = self.samples;
        assert!(end.resident <= middle.resident + FLAT, "memory is not flat");
    }
}

fn minutes(lasting: Duration) -> f64 {
    lasting.as_secs_f64() / 60.0
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

#[test]
fn a_few_seconds_of_everything() {
    soak(Duration::from_secs(2)).check();
}

#[test]
#[ignore = "takes SOAK_MINUTES"]
fn full_soak() {
    let minutes = std::env::var("SOAK_MINUTES").ok().and_then(|minutes| minutes.parse().ok());
    let started = Instant::now();
    let report = soak(Duration::from_secs_f64(60.0 * minutes.unwrap_or(1.0)));
    report.print(started);
    report.check();
}
