//! When the messages of one publisher, or requester, are due, and when it has sent them all.
//!
//! Plain arithmetic on the run's clock; must not wait for anything.

use std::time::Duration;

use crate::bench::plan::{Amount, Plan};

/// From the start of a run until the first message is due, so that all threads are there.
const LEAD_NS: u64 = 20_000_000;
/// For a timed run on schedule, how long after its end messages that were due before are still
/// sent: a machine that was busy for a moment catches up.
const GRACE_NS: u64 = 500_000_000;

/// The messages that one publisher has to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    rate: Option<f64>,
    publishers: u64,
    index: u64,
    share: u64,
    /// When the time of the plan is over.
    pub(crate) end: u64,
}

impl Schedule {
    /// That of publisher `index`.
    pub(crate) fn new(plan: &Plan, index: usize) -> Schedule {
        let (publishers, index) = (plan.publishers as u64, index as u64);
        let lead = if plan.rate.is_some() { LEAD_NS } else { 0 };
        let (share, end) = match plan.amount {
            Amount::Messages(messages) => {
                (messages / publishers + u64::from(index < messages % publishers), u64::MAX)
            }
            Amount::Time(time) => (u64::MAX, lead.saturating_add(nanoseconds(time))),
        };
        Schedule { rate: plan.rate, publishers, index, share, end }
    }

    /// Messages to send, if limited by number; else the largest number.
    pub(crate) fn share(&self) -> u64 {
        self.share
    }

    /// When a message is due: message i of all publishers at i / rate; at full speed, at once.
    pub(crate) fn due(&self, number: u64) -> u64 {
        match self.rate {
            Some(rate) => {
                let place = (self.index + number * self.publishers) as f64;
                LEAD_NS + (place * 1e9 / rate) as u64
            }
            None => 0,
        }
    }

    /// Whether a message is to be sent at all.
    pub(crate) fn has(&self, number: u64) -> bool {
        number < self.share && self.due(number) < self.end
    }

    /// Whether nothing more is to be sent, even if it was due. On schedule, the rate could not be
    /// reached then; the run ends in time, and the report says so.
    pub(crate) fn is_over(&self, now: u64) -> bool {
        match self.rate {
            Some(_) => now > self.end.saturating_add(GRACE_NS),
            None => now >= self.end,
        }
    }
}

/// A time on the run's clock.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_take_turns_and_share_what_is_counted() {
        let amount = Amount::Messages(5);
        let plan = Plan { publishers: 2, rate: Some(1e9), amount, ..Plan::example() };
        let schedules = [0, 1].map(|index| Schedule::new(&plan, index));
        let due = schedules.map(|one| [one.due(0), one.due(1)].map(|due| due - LEAD_NS));
        assert_eq!(due, [[0, 2], [1, 3]]);
        assert_eq!(schedules.map(|one| one.share()), [3, 2]);
        assert!(schedules[0].has(2) && !schedules[0].has(3));
    }

    #[test]
    fn a_time_ends_at_once_or_with_what_was_due() {
        let amount = Amount::Time(Duration::from_secs(1));
        let fast = Schedule::new(&Plan { amount, ..Plan::example() }, 0);
        assert!(!fast.is_over(999_999_999) && fast.is_over(1_000_000_000));
        let timed = Schedule::new(&Plan { amount, rate: Some(10.0), ..Plan::example() }, 0);
        assert!(timed.has(9) && !timed.has(10));
        assert!(!timed.is_over(LEAD_NS + 1_500_000_000) && timed.is_over(LEAD_NS + 1_500_000_001));
    }
}
