//! The outcome of a run: figures computed from what its threads have measured and the CPU used.
//!
//! Owns the sums and ratios. Must not wait for anything, nor know how figures are reported.

use std::sync::atomic::Ordering::Relaxed;

use hdrhistogram::Histogram;

use crate::bench::account::{Account, Faults};
use crate::bench::figures::Figures;
use crate::bench::plan::Plan;
use crate::bench::process::{self, Cpu};
use crate::bench::protocol::Protocol;
use crate::bench::shared::Shared;

/// The shortest run for which the system's ticks, of 10 ms each, are precise enough.
const TICKS_SECONDS: f64 = 0.5;
/// The least CPU time, in seconds, that they can attribute: 20 of them.
const TOLD_APART_SECONDS: f64 = 0.2;

/// One run, done.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its figures.
    pub(crate) figures: Figures,
    /// Latency of all messages that were timed, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// Throughput over time.
    pub(crate) timeline: Vec<Sample>,
    /// Faults of the received messages; without `--verify` few are detected.
    pub(crate) faults: Faults,
}

/// The counters at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// Seconds since the start of the run.
    pub(crate) seconds: f64,
    /// Messages published until then.
    pub(crate) published: u64,
    /// Messages delivered until then.
    pub(crate) delivered: u64,
}

/// CPU time used so far, by process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    broker: Option<Cpu>,
    own: f64,
    machine: Option<f64>,
    broker_peak_kib: Option<f64>,
}

impl Usage {
    /// Of the broker's process, if it is known, and of ours.
    pub(crate) fn now(pid: Option<u32>) -> Usage {
        Usage {
            broker: pid.and_then(process::cpu_of),
            own: process::own_cpu(),
            machine: process::machine_cpu(),
            broker_peak_kib: pid.and_then(process::peak_memory_kib),
        }
    }

    /// What was used since then.
    pub(crate) fn since(&self, before: &Usage) -> Usage {
        let broker = self.broker.zip(before.broker).map(|(now, then)| {
            let (user, system) = (now.user - then.user, now.system - then.system);
            // The finer clock is that of the threads which still run: one that ended meanwhile
            // takes its time along.
            Cpu { user, system, total: (now.total - then.total).max(user + system) }
        });
        let machine = self.machine.zip(before.machine).map(|(now, then)| now - then);
        Usage { broker, machine, own: self.own - before.own, ..*self }
    }
}

impl Run {
    /// From what all threads together have measured.
    pub(crate) fn new(
        plan: &Plan,
        shared: &Shared,
        used: &Usage,
        account: Account,
        timeline: Vec<Sample>,
    ) -> Run {
        let mut figures = counted(plan, shared);
        figures.told_lost = (plan.protocol == Protocol::Native).then_some(account.told_lost);
        let seconds = figures.seconds;
        let messages = if plan.deliveries() > 0 { figures.delivered } else { figures.published };
        if let Some(broker) = used.broker {
            let per_thousand = |cpu: f64| cpu * 1e9 / messages.max(1) as f64;
            figures.broker_cpu_us = Some(per_thousand(broker.total));
            figures.broker_cores = Some(broker.total / seconds);
            if seconds >= TICKS_SECONDS {
                let parts = broker.user + broker.system;
                figures.broker_user_percent =
                    (parts >= TOLD_APART_SECONDS).then(|| broker.user / parts * 100.0);
                let others = |all: f64| ((all - used.own - broker.total) / seconds).max(0.0);
                figures.other_cores = used.machine.map(others);
            }
        }
        figures.broker_peak_kib = used.broker_peak_kib;
        figures.own_cores = used.own / seconds;
        figures.busiest_thread_cores = account.cpu / seconds;
        figures.set_latency(&account.latency);
        if !account.late.is_empty() {
            figures.send_late_p99_us = Some(account.late.value_at_quantile(0.99) as f64 / 1e3);
        }
        Run { figures, latency: account.latency, timeline, faults: account.faults }
    }
}

fn counted(plan: &Plan, shared: &Shared) -> Figures {
    let published = shared.published.load(Relaxed);
    let delivered = shared.delivered.load(Relaxed);
    let publishing = seconds(shared.confirmed_ns.load(Relaxed));
    let delivering = seconds(shared.delivered_ns.load(Relaxed));
    let expected = published * plan.deliveries() as u64;
    let (bytes, time) = match plan.deliveries() {
        0 => (shared.published_bytes.load(Relaxed), publishing),
        _ => (shared.delivered_bytes.load(Relaxed), delivering),
    };
    Figures {
        seconds: publishing.max(delivering),
        is_of_requests: plan.requests.is_some(),
        published,
        published_per_s: published as f64 / publishing,
        expected,
        delivered,
        delivered_per_s: delivered as f64 / delivering,
        mb_per_s: bytes as f64 / 1e6 / time,
        lost: expected.saturating_sub(delivered),
        ..Figures::default()
    }
}

/// Never 0, so that rates are numbers.
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds.max(1) as f64 / 1e9
}
