//! What the threads of one run share: the clock and the counters.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Instant;

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
    /// When the last of them arrived.
    pub(crate) delivered_ns: AtomicU64,
    /// Publishers that have not ended; with 0 of them `published` is final.
    pub(crate) publishing: AtomicUsize,
    /// Something failed: all threads are to stop.
    pub(crate) abort: AtomicBool,
    /// The user has interrupted the run, which is what was published by now.
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

    /// Whether nothing more is to be published.
    pub(crate) fn is_told_to_stop(&self) -> bool {
        self.abort.load(Relaxed) || self.stop.load(Relaxed)
    }

    /// Counts what was written.
    pub(crate) fn add_published(&self, messages: u64, bytes: u64) {
        self.published.fetch_add(messages, Relaxed);
        self.published_bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts what has arrived until `now`.
    pub(crate) fn add_delivered(&self, messages: u64, bytes: u64, now: u64) {
        if messages > 0 {
            self.delivered.fetch_add(messages, Relaxed);
            self.delivered_bytes.fetch_add(bytes, Relaxed);
            self.delivered_ns.fetch_max(now, Relaxed);
        }
    }

    /// A publisher has ended; successfully, if all that it wrote is confirmed.
    pub(crate) fn publisher_ends(&self, well: bool) {
        if !well {
            self.abort.store(true, Release);
        }
        self.confirmed_ns.fetch_max(self.now_ns(), Relaxed);
        self.publishing.fetch_sub(1, Release);
    }

    /// Nanoseconds since the start of the run; never 0.
    pub(crate) fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64 + 1
    }
}
