//! The publishers: a thread each, as fast as it goes or on schedule.
//!
//! As fast as it goes, messages are encoded before the clock starts, and written block by block.

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
/// How often a publisher looks at what the broker says, and answers.
const HEED_NS: u64 = 1_000_000_000;

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
    /// When it last looked at what the broker says.
    pub(crate) heeded: u64,
}

/// How messages are made and when they go out.
#[derive(Debug)]
pub(crate) enum Pace {
    /// As fast as it goes, over and over again the same ones.
    Blocks(Blocks),
    /// As fast as it goes, each with its number.
    Numbered,
    /// Each when it is due.
    Scheduled,
}

impl PublisherThread<'_> {
    /// Publishes, and has it confirmed.
    ///
    /// # Errors
    /// When the broker refused it or went away; the run then comes to its end.
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
            self.heed(now)?;
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
            self.heed(now)?;
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

    /// Those that are due go out in one write.
    fn on_schedule(&mut self, late: &mut Histogram<u64>) -> Result<(), Failure> {
        sleep_precisely();
        let (schedule, mut number, mut bytes) = (self.schedule, 0, Vec::new());
        let mut spoken = self.shared.now_ns();
        while schedule.has(number) {
            let now = self.shared.now_ns();
            if self.is_over(now) {
                break;
            }
            self.heed(now)?;
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

    /// Sleeps, but never so long that the broker or an end of the run would notice.
    fn sleep_until(&self, due: u64) {
        const LONGEST: Duration = Duration::from_millis(100);
        let now = self.shared.now_ns();
        if due > now {
            thread::sleep(Duration::from_nanos(due - now).min(self.link.keepalive()).min(LONGEST));
        }
    }

    fn heed(&mut self, now: u64) -> Result<(), Failure> {
        if now - self.heeded > HEED_NS {
            self.heeded = now;
            self.link.heed()?;
        }
        Ok(())
    }
}

/// Sleeping is 50 us coarse unless asked otherwise; where it cannot be asked, so be it.
pub(crate) fn sleep_precisely() {
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}
