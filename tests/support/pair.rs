//! A healthy pair, independent of all other clients: one message after the other from a publisher
//! to a subscriber, with the latency of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::frame::kind;
use super::{Broker, Peer};

/// Between two messages, so that the pair itself is no load.
const PAUSE: Duration = Duration::from_millis(1);

/// How long messages took.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    /// The time within which this share of all, 0 to 1, arrived.
    pub(crate) fn percentile(&self, part: f64) -> Duration {
        let last = self.0.len().checked_sub(1).expect("some message was sent");
        self.0[(last as f64 * part).round() as usize]
    }

    pub(crate) fn p99(&self) -> Duration {
        self.percentile(0.99)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

/// A thread that sends and receives messages until it is told to stop.
pub(crate) struct HealthyPair {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl HealthyPair {
    /// A pair on this topic.
    pub(crate) fn start(broker: &Broker, topic: &'static [u8]) -> HealthyPair {
        let mut subscriber = broker.subscriber_of(&[topic]);
        let mut publisher = broker.publisher();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut latencies = Vec::new();
            while latencies.is_empty() || !stopped.load(Ordering::Relaxed) {
                let payload = latencies.len().to_be_bytes();
                let start = Instant::now();
                publisher.publish(topic, &payload);
                expect(&mut subscriber, topic, &payload);
                latencies.push(start.elapsed());
                thread::sleep(PAUSE);
            }
            publisher.frames_until_pong();
            latencies
        });
        HealthyPair { stop, thread }
    }

    /// The latencies of the messages, all of which must have arrived.
    pub(crate) fn stop(self) -> Latencies {
        self.stop.store(true, Ordering::Relaxed);
        let mut latencies = self.thread.join().expect("every message came");
        latencies.sort_unstable();
        Latencies(latencies)
    }

    /// Latencies while `work` is done.
    pub(crate) fn during(broker: &Broker, work: impl FnOnce()) -> Latencies {
        let pair = HealthyPair::start(broker, b"healthy.pair");
        work();
        pair.stop()
    }
}

/// The next message must be this one; heartbeats may come before it.
fn expect(peer: &mut Peer, topic: &[u8], payload: &[u8]) {
    loop {
        let frame = peer.recv();
        if frame.kind == kind::PING {
            continue;
        }
        let same = frame.kind == kind::PUBLISH && frame.topic == topic && frame.body == payload;
        return assert!(same, "another message was due: {frame:?}");
    }
}
