//! What the threads of one run share: the clock and the counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Instant;

use hdrhistogram::Histogram;

/// The longest latency that is told apart, in nanoseconds: 10 minutes.
const LONGEST_NS: u64 = 600_000_000_000;

/// Counters of a run. Each is written by one side; the reader of the figures reads all.
#[derive(Debug)]
pub(crate) struct Shared {
    start: Instant,
    /// Messages written by publishers.
    pub(crate) published: AtomicU64,
    /// Their payloads.
    pub(crate) published_bytes: AtomicU64,
    /// When the last publisher was confirmed.
    pub(crate) confirmed_ns: AtomicU64,
    /// Messages that subscribers have received.
    pub(crate) delivered: AtomicU64,
    /// Their payloads.
    pub(crate) delivered_bytes: AtomicU64,
    /// When the last of them came.
    pub(crate) delivered_ns: AtomicU64,
    /// Publishers that have not ended; with 0 of them `published` is final.
    pub(crate) publishing: AtomicUsize,
    /// Something failed: everybody is to stop.
    pub(crate) abort: AtomicBool,
    /// The user has had enough: what was published by now is the run.
    pub(crate) stop: Arc<AtomicBool>,
}

impl Shared {
    /// Starts the clock of a run with so many publishers, which end early when `stop` says so.
    pub(crate) fn new(publishers: usize, stop: Arc<AtomicBool>) -> Shared {
        Shared {
            start: Instant::now(),
            published: AtomicU64::new(0),
            published_bytes: AtomicU64::new(0),
            confirmed_ns: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            delivered_bytes: AtomicU64::new(0),
            delivered_ns: AtomicU64::new(0),
            publishing: AtomicUsize::new(publishers),
            abort: AtomicBool::new(false),
            stop,
        }
    }

    /// Nanoseconds since the start of the run; never 0.
    pub(crate) fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64 + 1
    }
}

/// An empty histogram of nanoseconds, three digits precise.
pub(crate) fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("the bounds are in order")
}
