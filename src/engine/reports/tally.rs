//! How many lines of a kind a log gets, and what is told of those that had none.
//!
//! Owns the counting. Is told the time; must not know what is counted.

use std::time::{Duration, Instant};

use log::{Level, log};

/// So many lines of a kind in a period; what is beyond them is summed up at its end.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) level: Level,
    pub(crate) lines: u64,
    pub(crate) period: Duration,
}

/// Clients are not let in, each of which costs them nothing.
pub(crate) const LOG_INS: Limit =
    Limit { level: Level::Warn, lines: 1, period: Duration::from_secs(1) };

/// What has happened of one kind since its period began.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    began: Option<Instant>,
    events: u64,
}

/// What is to be said of a period: how many there were, how many of them without a line, and how
/// long it was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    events: u64,
    untold: u64,
    time: Duration,
}

impl Tally {
    /// Counts one more, and whether it has a line of its own. A period with something to sum up
    /// lasts until that is done.
    pub(crate) fn count(&mut self, limit: Limit, now: Instant) -> bool {
        let is_over = self.began.is_none_or(|at| at + limit.period <= now);
        if is_over && self.events <= limit.lines {
            (self.began, self.events) = (Some(now), 0);
        }
        self.events += 1;
        self.events <= limit.lines
    }

    /// When there is something to sum up.
    pub(crate) fn due(&self, limit: Limit) -> Option<Instant> {
        self.began.filter(|_| self.events > limit.lines).map(|at| at + limit.period)
    }

    /// What there is to sum up, if it is due, or in any case; the period has ended then.
    pub(crate) fn sum_up(&mut self, limit: Limit, now: Instant, in_any_case: bool) -> Option<Sum> {
        self.due(limit).filter(|at| in_any_case || *at <= now)?;
        let Tally { began, events } = std::mem::take(self);
        let time = began.map_or(limit.period, |at| now.saturating_duration_since(at));
        Some(Sum { events, untold: events - limit.lines, time })
    }
}

impl Sum {
    /// Tells it: so many of `what`, for the reason `why`.
    pub(crate) fn tell(&self, limit: Limit, what: &str, why: &str) {
        let Sum { events, untold, time } = self;
        let seconds = time.as_secs_f64();
        log!(
            limit.level,
            "{events} {what} in the last {seconds:.0} s{why}; {untold} of them have no line of \
             their own above level debug"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { level: Level::Info, lines: 3, period: Duration::from_secs(10) };

    #[test]
    fn what_is_beyond_the_lines_of_a_period_is_summed_up_at_its_end() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut tally = Tally::default();
        assert!((0..3).all(|second| tally.count(LIMIT, after(second))));
        assert_eq!(tally.due(LIMIT), None, "all have been told");
        assert!(tally.count(LIMIT, after(10)), "another period");
        let told = (0..1_000).filter(|_| tally.count(LIMIT, after(11))).count();
        assert_eq!((told, tally.due(LIMIT)), (2, Some(after(20))));
        assert_eq!(tally.sum_up(LIMIT, after(19), false), None);
        assert!(!tally.count(LIMIT, after(21)), "the sum has not been told yet");
        let time = Duration::from_secs(12);
        let sum = Sum { events: 1_002, untold: 999, time };
        assert_eq!(tally.sum_up(LIMIT, after(22), false), Some(sum));
        assert_eq!((tally.due(LIMIT), tally.sum_up(LIMIT, after(40), true)), (None, None));
        assert!(tally.count(LIMIT, after(22)));
    }
}
