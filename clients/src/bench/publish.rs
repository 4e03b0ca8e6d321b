//! The publishers: a thread each, at full speed or on schedule.
//!
//! At full speed, messages are encoded before the clock starts, and written block by block.

use std::num::NonZeroU64;
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::bench::account::Account;
use crate::bench::blocks::Blocks;
use crate::bench::failure::{Failure, Stopped};
use crate::bench::link::Link;
use crate::bench::schedule::{Schedule, nanoseconds};
use crate::bench::shared::Shared;
use crate::bench::traffic::Traffic;

/// Bytes of messages in one write that were encoded for it.
const WRITE_BYTES: usize = 64 << 10;
/// How often a publisher reads and answers what the broker has sent.
const POLL_NS: u64 = 1_000_000_000;

/// One publisher.
#[derive(Debug)]
pub(crate) struct PublisherThread<'a> {
    /// What is published.
    pub(crate) traffic: &'a Traffic,
    /// When.
    pub(crate) schedule: Schedule,
    /// What the threads of the run share.
    pub(crate) shared: &'a Shared,
    /// Which one it is.
    pub(crate) index: usize,
    /// Its connection.
    pub(crate) link: Link,
    /// When it last read what the broker has sent.
    pub(crate) polled: u64,
}

/// How messages are made and when they go out.
#[derive(Debug)]
pub(crate) enum Pace {
    /// At full speed, over and over again the same ones.
    Blocks(Blocks),
    /// At full speed, each with its number.
    Numbered,
    /// Each when it is due.
    Scheduled,
}

impl PublisherThread<'_> {
    /// Publishes, and waits for the confirmation.
    ///
    /// # Errors
    /// When the broker refused it or was lost; the run then ends.
    pub(crate) fn run(mut self, pace: Pace) -> Result<Account, Stopped> {
        let mut account = Account::new();
        let sent = match pace {
            Pace::Blocks(blocks) => self.blocks(blocks),
            Pace::Numbered => self.numbered(),
            Pace::Scheduled => self.on_schedule(&mut account.late),
        };
        let confirmed = sent.and_then(|()| self.link.confirm());
        self.shared.publisher_ends(confirmed.is_ok());
        confirmed?;
        Ok(account.closed())
    }

    fn is_over(&self, now: u64) -> bool {
        self.schedule.is_over(now) || self.shared.is_told_to_stop()
    }

    fn blocks(&mut self, mut blocks: Blocks) -> Result<(), Failure> {
        let mut left = self.schedule.share();
        while left > 0 {
            let now = self.shared.now_ns();
            if self.is_over(now) {
                break;
            }
            self.poll_incoming(now)?;
            let (bytes, messages, payload) = blocks.next(now, left);
            self.link.write(bytes)?;
            self.shared.add_published(messages, payload);
            left = left.saturating_sub(messages);
        }
        Ok(())
    }

    fn numbered(&mut self) -> Result<(), Failure> {
        let (share, mut number, mut bytes) = (self.schedule.share(), 0, Vec::new());
        while number < share {
            let now = self.shared.now_ns();
            if self.is_over(now) {
                break;
            }
            self.poll_incoming(now)?;
            bytes.clear();
            let (first, mut payload) = (number, 0);
            while number < share && bytes.len() < WRITE_BYTES {
                payload += self.traffic.encode(self.index, number, now, &mut bytes).len() as u64;
                number += 1;
            }
            self.link.write(&bytes)?;
            self.shared.add_published(number - first, payload);
        }
        Ok(())
    }

    /// Messages that are due go out in one write.
    fn on_schedule(&mut self, late: &mut Histogram<u64>) -> Result<(), Failure> {
        sleep_precisely();
        let (schedule, mut number, mut bytes) = (self.schedule, 0, Vec::new());
        let mut spoken = self.shared.now_ns();
        while schedule.has(number) {
            let now = self.shared.now_ns();
            if self.is_over(now) {
                break;
            }
            self.poll_incoming(now)?;
            let (first, mut payload) = (number, 0);
            bytes.clear();
            while schedule.has(number) && schedule.due(number) <= now && bytes.len() < WRITE_BYTES {
                let due = schedule.due(number);
                late.saturating_record(now - due);
                payload += self.traffic.encode(self.index, number, due, &mut bytes).len() as u64;
                number += 1;
            }
            if bytes.is_empty() && now - spoken > nanoseconds(self.link.keepalive()) {
                self.link.protocol.alive(&mut bytes);
                spoken = now;
            }
            if !bytes.is_empty() {
                self.link.write(&bytes)?;
                self.shared.add_published(number - first, payload);
                spoken = now;
            }
            self.sleep_until(schedule.due(number).min(schedule.end));
        }
        Ok(())
    }

    /// Sleeps, but not so long that a PING or the end of the run would have to wait.
    fn sleep_until(&self, due: u64) {
        const LONGEST: Duration = Duration::from_millis(100);
        let now = self.shared.now_ns();
        if due > now {
            thread::sleep(Duration::from_nanos(due - now).min(self.link.keepalive()).min(LONGEST));
        }
    }

    fn poll_incoming(&mut self, now: u64) -> Result<(), Failure> {
        if now - self.polled > POLL_NS {
            self.polled = now;
            self.link.poll_incoming()?;
        }
        Ok(())
    }
}

/// The timer slack of a sleep is 50 us by default; where it cannot be changed, it stays.
pub(crate) fn sleep_precisely() {
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}
