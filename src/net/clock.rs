//! The time that the broker goes by: monotonic, and without the time in which the process was
//! stopped.
//!
//! A process that is suspended for a minute could not hear its clients for a minute. They must not
//! all be found silent when it goes on, so that minute did not happen, nor did the sleep that it
//! began in: how much of that came before is not known. A deadline that was two seconds away still
//! is, and who was asked for a sign of life has the time to answer.

use std::time::{Duration, Instant};

/// Waking up this much later than asked, or a turn that took so long, means: we were stopped.
const STOPPED: Duration = Duration::from_secs(1);

/// A clock that stands still while the process does.
pub(super) struct Clock {
    /// What the broker was last told, and when that was.
    now: Instant,
    at: Instant,
}

impl Clock {
    pub(super) fn new() -> Clock {
        let now = Instant::now();
        Clock { now, at: now }
    }

    /// The time of this turn.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// How long ago `advance` was called: reads the clock.
    pub(super) fn since_advance(&self) -> Duration {
        self.at.elapsed()
    }

    /// When this turn began by the clock that never stands still, which others go by.
    pub(super) fn real(&self) -> Instant {
        self.at
    }

    /// Time has passed since the last call, `expected` of it in sleep (`None`: as long as it took).
    pub(super) fn advance(&mut self, expected: Option<Duration>) -> Instant {
        let at = Instant::now();
        self.now += counted(at.saturating_duration_since(self.at), expected);
        self.at = at;
        self.now
    }
}

/// How much of the time that passed counts.
fn counted(passed: Duration, expected: Option<Duration>) -> Duration {
    match expected {
        // Without sleep, the turn itself may have been that long: then not all of it is forgotten,
        // or no time-out would ever come under a load that makes many such turns.
        Some(Duration::ZERO) => passed.min(STOPPED),
        Some(expected) if passed > expected + STOPPED => Duration::ZERO,
        _ => passed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_the_process_was_stopped_does_not_count() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        assert_eq!(counted(second, Some(second)), second);
        assert_eq!(counted(second * 2, Some(second)), second * 2, "a little late is late");
        assert_eq!(counted(minute, Some(second)), Duration::ZERO);
        assert_eq!(counted(minute, Some(Duration::ZERO)), second, "it may have been a long turn");
        assert_eq!(counted(minute, None), minute, "an idle sleep has no end to be late for");
    }

    #[test]
    fn time_never_goes_back() {
        let mut clock = Clock::new();
        let before = clock.now();
        assert!(clock.advance(None) >= before);
        assert!(clock.now() >= before);
    }
}
