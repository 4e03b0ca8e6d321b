//! Times: when a command is due, and how long to pause before connecting again.
//!
//! Does not sleep; the caller waits, perhaps for other events as well.

use std::time::{Duration, Instant};

/// The first pause before connecting again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before connecting again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The time at which commands are due, each counted from the one before.
pub(super) struct Pace {
    previous: Instant,
}

impl Pace {
    /// The first command counts from `now`.
    pub(super) fn starting(now: Instant) -> Pace {
        Pace { previous: now }
    }

    /// How long it is from `now` until a command that waits `wait` is due.
    pub(super) fn until_due(&self, wait: Duration, now: Instant) -> Duration {
        wait.saturating_sub(now.saturating_duration_since(self.previous))
    }

    /// A command has completed.
    pub(super) fn completed(&mut self, now: Instant) {
        self.previous = now;
    }
}

/// Growing pauses, each shortened at random so that many clients do not reconnect all at once.
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    /// Starts with the shortest pause.
    pub(super) fn new() -> Backoff {
        Backoff { next: FIRST_PAUSE }
    }

    /// The next pause.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next.mul_f64(0.5 + 0.5 * fastrand::f64());
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_due_counted_from_the_one_before() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let wait = Duration::from_secs(3);
        let mut pace = Pace::starting(start);
        assert_eq!(pace.until_due(wait, start), wait);
        assert_eq!(pace.until_due(wait, after(2)), Duration::from_secs(1));
        assert_eq!(pace.until_due(wait, after(9)), Duration::ZERO);
        pace.completed(after(9));
        assert_eq!(pace.until_due(wait, after(10)), Duration::from_secs(2));
    }

    #[test]
    fn pauses_grow_to_a_limit_and_vary() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..20).map(|_| backoff.pause()).collect();
        assert!(pauses[0] <= FIRST_PAUSE && pauses[0] >= FIRST_PAUSE / 2);
        assert!(pauses[19] <= LONGEST_PAUSE && pauses[19] >= LONGEST_PAUSE / 2);
        assert!(pauses[10..].windows(2).any(|pair| pair[0] != pair[1]));
    }
}
