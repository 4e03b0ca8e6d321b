//! The publishers: a thread each, as fast as it goes or on schedule.
//!
//! As fast as it goes, frames are encoded before the clock starts, and written block by block.

use std::io::{self, Write};
use std::num::NonZeroU64;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use wire::native::frame::{self, Kind};

use crate::bench::failure::Failure;
use crate::bench::link::Link;
use crate::bench::plan::{Amount, Plan};
use crate::bench::process;
use crate::bench::shared::{Shared, latency_histogram};
use crate::bench::traffic::{Blocks, Traffic};

/// Bytes of numbered messages in one write.
const WRITE_BYTES: usize = 64 << 10;
/// From the start of a run until the first message is due, so that all threads are there.
const LEAD_NS: u64 = 20_000_000;

/// On schedule for a time, how long behind its end messages are still sent that were due before: a
/// machine that was busy for a moment makes up for it.
const GRACE_NS: u64 = 500_000_000;

/// What a publisher did.
#[derive(Debug)]
pub(crate) struct Published {
    /// How late messages were written, in nanoseconds; empty as fast as it goes.
    pub(crate) late: Histogram<u64>,
    /// CPU seconds of its thread.
    pub(crate) cpu: f64,
}

/// One publisher.
#[derive(Debug)]
pub(crate) struct PublisherThread<'a> {
    /// What is measured.
    pub(crate) plan: &'a Plan,
    /// What is published.
    pub(crate) traffic: &'a Traffic,
    /// What the threads of the run share.
    pub(crate) shared: &'a Shared,
    /// Which one it is.
    pub(crate) index: usize,
    /// Its connection.
    pub(crate) link: Link,
}

impl PublisherThread<'_> {
    /// Publishes, and has it confirmed.
    ///
    /// # Errors
    /// When the broker refused it or went away; the run then comes to its end.
    pub(crate) fn run(mut self, blocks: Option<Blocks>) -> Result<Published, Failure> {
        let mut late = latency_histogram();
        let sent = match (blocks, self.plan.rate) {
            (_, Some(rate)) => self.on_schedule(rate, &mut late),
            (Some(blocks), None) => self.blocks(blocks),
            (None, None) => self.numbered(),
        };
        let confirmed = match sent {
            Ok(()) => self.link.confirm(),
            Err(error) => Err(self.link.broken(&error)),
        };
        if confirmed.is_err() {
            self.shared.abort.store(true, Release);
        }
        self.shared.confirmed_ns.fetch_max(self.shared.now_ns(), Relaxed);
        self.shared.publishing.fetch_sub(1, Release);
        confirmed.map(|()| Published { late, cpu: process::thread_cpu() })
    }

    /// Messages that this publisher sends, if they are counted.
    fn share(&self) -> u64 {
        let Amount::Messages(messages) = self.plan.amount else {
            return u64::MAX;
        };
        let (publishers, index) = (self.plan.publishers as u64, self.index as u64);
        messages / publishers + u64::from(index < messages % publishers)
    }

    fn over(&self, now: u64) -> bool {
        let late = matches!(self.plan.amount, Amount::Time(time) if now >= nanoseconds(time));
        late || self.is_told_to_stop()
    }

    fn is_told_to_stop(&self) -> bool {
        self.shared.abort.load(Relaxed) || self.shared.stop.load(Relaxed)
    }

    fn blocks(&mut self, mut blocks: Blocks) -> io::Result<()> {
        let mut left = self.share();
        while left > 0 {
            let now = self.shared.now_ns();
            if self.over(now) {
                break;
            }
            let (bytes, messages, payload) = blocks.next(now, left);
            self.link.stream.write_all(bytes)?;
            self.count(messages, payload);
            left = left.saturating_sub(messages);
        }
        Ok(())
    }

    fn numbered(&mut self) -> io::Result<()> {
        let (share, mut number, mut bytes) = (self.share(), 0, Vec::new());
        while number < share {
            let now = self.shared.now_ns();
            if self.over(now) {
                break;
            }
            bytes.clear();
            let (first, mut payload) = (number, 0);
            while number < share && bytes.len() < WRITE_BYTES {
                payload += self.traffic.encode(self.index, number, now, &mut bytes) as u64;
                number += 1;
            }
            self.link.stream.write_all(&bytes)?;
            self.count(number - first, payload);
        }
        Ok(())
    }

    /// Message i of all publishers is due at i / rate; those that are due go out in one write.
    fn on_schedule(&mut self, rate: f64, late: &mut Histogram<u64>) -> io::Result<()> {
        // Sleeping is 50 us coarse unless asked otherwise; where it cannot be asked, so be it.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let (publishers, index) = (self.plan.publishers as u64, self.index as u64);
        let due =
            |number: u64| LEAD_NS + ((index + number * publishers) as f64 * 1e9 / rate) as u64;
        let end = match self.plan.amount {
            Amount::Messages(_) => u64::MAX,
            Amount::Time(time) => LEAD_NS + nanoseconds(time),
        };
        let (share, mut number, mut bytes) = (self.share(), 0, Vec::new());
        let mut spoken = self.shared.now_ns();
        let is_planned = |number: u64| number < share && due(number) < end;
        while is_planned(number) && !self.is_told_to_stop() {
            let now = self.shared.now_ns();
            if now > end.saturating_add(GRACE_NS) {
                // The rate is out of reach; the time is kept, and the report says so.
                break;
            }
            let (first, mut payload) = (number, 0);
            bytes.clear();
            while is_planned(number) && due(number) <= now && bytes.len() < WRITE_BYTES {
                let due = due(number);
                late.saturating_record(now - due);
                payload += self.traffic.encode(self.index, number, due, &mut bytes) as u64;
                number += 1;
            }
            if bytes.is_empty() && now - spoken > nanoseconds(self.link.keepalive) {
                // A PONG that nobody asked for: alive, but nothing is due.
                frame::encode(Kind::Pong, 0, b"", b"", &mut bytes);
            }
            if !bytes.is_empty() {
                self.link.stream.write_all(&bytes)?;
                self.count(number - first, payload);
                spoken = now;
            }
            self.sleep_until(due(number).min(end));
        }
        Ok(())
    }

    /// Sleeps, but never so long that the broker or an end of the run would notice.
    fn sleep_until(&self, due: u64) {
        const LONGEST: Duration = Duration::from_millis(100);
        let now = self.shared.now_ns();
        if due > now {
            thread::sleep(Duration::from_nanos(due - now).min(self.link.keepalive).min(LONGEST));
        }
    }

    fn count(&self, messages: u64, payload: u64) {
        self.shared.published.fetch_add(messages, Relaxed);
        self.shared.published_bytes.fetch_add(payload, Relaxed);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(u64::MAX)
}
