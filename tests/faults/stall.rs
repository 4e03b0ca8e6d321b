//! Proves that a stalled subscriber harms only itself: the rate of a healthy one beside it, the
//! rate of publishers of other topics, and how long the messages of others take.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::support;
use crate::support::frame::publish;
use crate::support::{Beats, Broker, Meter, Peer, Pump, eventually};

const PAYLOAD: [u8; 4_096] = [7; 4_096];

/// How far a test goes: how long one measurement takes, how often it is done, and what is left of
/// a healthy subscriber's rate at least.
struct Extent {
    measured: Duration,
    rounds: usize,
    /// Which of them counts.
    judge: fn(Vec<f64>) -> f64,
    least: f64,
    /// Under `block`, in seconds.
    stall_timeout: &'static str,
}

/// Seconds, and so generous that a busy machine changes nothing: the best of a few.
const SHORT: Extent = Extent {
    measured: Duration::from_millis(200),
    rounds: 4,
    judge: best,
    least: 0.2,
    stall_timeout: "0.5",
};
const FULL: Extent = Extent {
    measured: Duration::from_secs(2),
    rounds: 7,
    judge: median,
    least: 0.9,
    stall_timeout: "10",
};

/// Bytes a second in millions.
fn megabytes(rate: f64) -> f64 {
    rate / 1e6
}

fn best(values: Vec<f64>) -> f64 {
    values.into_iter().fold(0.0, f64::max)
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Publishes at full speed, but is never further ahead of the healthy one than half an outbox.
fn as_fast_as_taken(publisher: &Peer, healthy: Arc<Meter>) -> Pump {
    let frames = publish(b"t", &PAYLOAD).repeat(64);
    let mut sent = 0;
    Pump::start(publisher, move |block| {
        if sent > healthy.bytes() + (4 << 20) {
            thread::sleep(Duration::from_micros(50));
            return 0;
        }
        sent += frames.len() as u64;
        block.extend(&frames);
        64
    })
}

/// A healthy subscriber's rate with a stalled one beside it, as a part of its rate without: many
/// rounds, since the machine does other things as well.
fn beside_a_stalled_one(policy: &str, extent: &Extent) {
    let broker = Broker::with(&[("overflow.policy", policy)]);
    let healthy = Arc::new(Meter::start(broker.subscriber_of(&[b"t"])));
    let publisher = broker.publisher();
    let pump = match policy {
        // Or the healthy one would be closed at the first hiccup of this test's own threads.
        "disconnect" => as_fast_as_taken(&publisher, Arc::clone(&healthy)),
        _ => Pump::repeating(&publisher, b"t", &PAYLOAD),
    };
    thread::sleep(extent.measured);
    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..extent.rounds {
        let without = healthy.rate(extent.measured);
        let stalled = stalled_one(&broker);
        let with = healthy.rate(extent.measured);
        drop(stalled);
        // A machine that had no time for the pump at all says nothing.
        if without > 0.0 {
            ratios.push(with / without);
        }
        rates.push(without);
    }
    pump.kill();
    let (ratio, rate) = ((extent.judge)(ratios.clone()), megabytes(median(rates)));
    println!(
        "row 2: {policy}: {rate:.0} MB/s without a stalled subscriber, x {ratio:.2} with one; all \
         rounds: {ratios:.2?}"
    );
    assert!(ratio >= extent.least, "{policy}: of its rate is left: {ratios:?}");
}

/// Under `block` the healthy one waits, until the stalled one is closed by rule; publishers of
/// other topics do not.
fn beside_a_stalled_one_that_blocks(extent: &Extent) {
    let settings = [("overflow.stall_timeout", extent.stall_timeout)];
    let broker = Broker::with(&settings);
    let healthy = Meter::start(broker.subscriber_of(&[b"t"]));
    let other = Meter::start(broker.subscriber_of(&[b"other"]));
    let (publisher, of_other) = (broker.publisher(), broker.publisher());
    let pumps = [
        Pump::repeating(&publisher, b"t", &PAYLOAD),
        Pump::repeating(&of_other, b"other", &PAYLOAD),
    ];
    thread::sleep(extent.measured);
    let lasting = extent.measured * 2;
    let before = (healthy.rate(lasting), other.rate(lasting));
    let stalled = stalled_one(&broker);
    // It holds them up as soon as its outbox and the kernel's buffers are full.
    let start = Instant::now();
    eventually("a pause", || (healthy.rate(Duration::from_millis(20)) == 0.0).then_some(()));
    let others = other.rate(extent.measured) / before.1;
    eventually("the end of the stalled one", || {
        let closed = |line: &String| line.contains("slow_consumer");
        broker.log().so_far().iter().any(closed).then_some(())
    });
    let paused = start.elapsed();
    eventually("messages again", || (healthy.rate(Duration::from_millis(20)) > 0.0).then_some(()));
    let after = (0..extent.rounds).map(|_| healthy.rate(lasting)).collect();
    drop(stalled);
    pumps.into_iter().for_each(Pump::kill);
    let ratio = (extent.judge)(after) / before.0;
    println!(
        "row 2: block: {:.0} MB/s, x {ratio:.2} after the stalled one was closed ({:.1} s after \
         it came); publishers of other topics meanwhile x {others:.2}",
        megabytes(before.0),
        paused.as_secs_f64()
    );
    assert!(ratio >= extent.least, "x {ratio:.2} of its rate is left");
    assert!(others >= extent.least, "publishers of other topics: x {others:.2}");
}

/// A stalled subscriber that joins where messages are under way.
fn stalled_one(broker: &Broker) -> Peer {
    let mut peer = Peer::connect_small(broker.subscribers).hello(b"stalled");
    peer.send(&support::frame::subscribe(b"t", b""));
    peer
}

#[test]
fn beside_a_stalled_subscriber_a_healthy_one_goes_on_under_drop() {
    beside_a_stalled_one("drop", &SHORT);
}

#[test]
fn beside_a_stalled_subscriber_a_healthy_one_goes_on_under_disconnect() {
    beside_a_stalled_one("disconnect", &SHORT);
}

#[test]
fn under_block_a_healthy_subscriber_waits_by_rule_and_other_topics_do_not() {
    beside_a_stalled_one_that_blocks(&SHORT);
}

#[test]
#[ignore = "a minute, and wants the machine for itself"]
fn full_row_2_rates_beside_a_stalled_subscriber() {
    beside_a_stalled_one("drop", &FULL);
    beside_a_stalled_one("disconnect", &FULL);
    beside_a_stalled_one_that_blocks(&FULL);
}

/// How long the messages of a healthy pair take beside a publisher at full speed, its fast
/// subscriber, and ten stalled ones: the 99th percentile.
fn fairness(policy: &str, lasting: Duration) -> (Duration, usize) {
    let settings = [("overflow.policy", policy), ("overflow.stall_timeout", "600")];
    let broker = Broker::with(&settings);
    let fast = Meter::start(broker.subscriber_of(&[b"busy"]));
    // Under `block` the stalled ones hold up a publisher of their own, or nobody would be at full
    // speed.
    let stalled_topic: &[u8] = if policy == "block" { b"held.up" } else { b"busy" };
    let stalled: Vec<Peer> = (0..10).map(|_| broker.small_subscriber_of(stalled_topic)).collect();
    let (publisher, held_up) = (broker.publisher(), broker.publisher());
    let pumps = [
        Pump::repeating(&publisher, b"busy", &PAYLOAD),
        Pump::repeating(&held_up, b"held.up", &PAYLOAD),
    ];
    // Until the outboxes are full.
    thread::sleep(lasting / 2);
    let latencies = Beats::during(&broker, || thread::sleep(lasting));
    pumps.into_iter().for_each(Pump::kill);
    drop((stalled, fast));
    (latencies.p99(), latencies.count())
}

#[test]
fn a_publisher_at_full_speed_keeps_nobody_waiting_for_long() {
    for policy in ["block", "drop"] {
        // The clients of this test want the processor as well, and so does the whole machine.
        let most = Duration::from_millis(100);
        let lasting = Duration::from_millis(600);
        let in_time = (0..5).any(|_| fairness(policy, lasting).0 <= most);
        assert!(in_time, "{policy}: more than {most:?} again and again");
    }
}

#[test]
#[ignore = "half a minute, and wants the machine for itself"]
fn full_point_3_fairness() {
    for policy in ["block", "drop"] {
        let (p99, count) = fairness(policy, Duration::from_secs(10));
        println!(
            "point 3: {policy}: beside a publisher at full speed and 10 stalled subscribers, \
             p99 {:.2} ms of 10 allowed ({count} messages)",
            p99.as_secs_f64() * 1e3
        );
        assert!(p99 <= Duration::from_millis(10), "{policy}: p99 {p99:?}");
    }
}
