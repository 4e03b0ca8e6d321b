//! What one thread of a run has measured, and the sum over all threads.
//!
//! Plain values, which each thread keeps to itself until it ends. What others read meanwhile is in
//! `shared`.

use hdrhistogram::Histogram;

use crate::bench::process;

/// How many faults are described.
const TOLD_FAULTS: usize = 10;
/// The longest latency that is recorded, in nanoseconds: 10 minutes.
const LONGEST_NS: u64 = 600_000_000_000;

/// What a thread has measured.
#[derive(Debug)]
pub(crate) struct Account {
    /// Latency of what was timed, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// How late messages were written, in nanoseconds; empty at full speed.
    pub(crate) late: Histogram<u64>,
    /// Messages that the broker itself reported as lost.
    pub(crate) told_lost: u64,
    /// Faults of the received messages.
    pub(crate) faults: Faults,
    /// CPU seconds of the thread, or of the busiest of several.
    pub(crate) cpu: f64,
}

/// Faults of the received messages.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Descriptions of the first few.
    pub(crate) told: Vec<String>,
    /// How many there are.
    pub(crate) count: u64,
}

impl Account {
    /// Nothing measured yet.
    pub(crate) fn new() -> Account {
        Account {
            latency: latency_histogram(),
            late: latency_histogram(),
            told_lost: 0,
            faults: Faults::default(),
            cpu: 0.0,
        }
    }

    /// At the end of its thread.
    pub(crate) fn closed(self) -> Account {
        Account { cpu: process::thread_cpu(), ..self }
    }

    /// Adds what another thread has measured.
    pub(crate) fn add(&mut self, other: Account) {
        // All have the same bounds, so adding cannot fail.
        let _ = self.latency.add(&other.latency);
        let _ = self.late.add(&other.late);
        self.told_lost += other.told_lost;
        let room = TOLD_FAULTS.saturating_sub(self.faults.told.len());
        self.faults.told.extend(other.faults.told.into_iter().take(room));
        self.faults.count += other.faults.count;
        self.cpu = self.cpu.max(other.cpu);
    }
}

impl Faults {
    /// One more.
    pub(crate) fn add(&mut self, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.told.len() < TOLD_FAULTS {
            self.told.push(text());
        }
    }
}

/// An empty histogram of nanoseconds, three digits precise.
pub(crate) fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("the bounds are in order")
}
