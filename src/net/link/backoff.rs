//! How long to wait before the next attempt.
//!
//! Owns how the wait grows, and what keeps many brokers from dialling at the same moment. Must not
//! wait, nor know the time.

use std::time::Duration;

use wire::leaf::hub_error::Wait;

/// Attempts behind which the wait does not double any more: it is beyond all limits by then.
const MAX_DOUBLINGS: u32 = 20;
/// By how much a wait that the hub gives a reason for is longer, by chance.
const SPREAD: Duration = Duration::from_secs(1);

/// Waits between attempts.
pub(super) struct Backoff {
    least: Duration,
    most: Duration,
    /// Attempts in vain, one after the other.
    failures: u32,
}

impl Backoff {
    /// Waits from `least` to `most`.
    pub(super) fn new(least: Duration, most: Duration) -> Backoff {
        Backoff { least, most, failures: 0 }
    }

    /// An attempt has succeeded.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// An attempt was in vain, or the link was lost. How long to wait before the next one, where
    /// so many servers are dialled in turn: with each round through them up to twice as long as
    /// before. `chance`, from 0 to 1, decides between half of that and all. What an error of the
    /// hub asks for is the least.
    pub(super) fn wait(&mut self, servers: usize, asked: Option<Wait>, chance: f64) -> Duration {
        let rounds = self.failures / u32::try_from(servers.max(1)).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let longest = self.least.saturating_mul(2 << rounds.min(MAX_DOUBLINGS)).min(self.most);
        let wait = longest.mul_f64(f64::midpoint(chance.clamp(0.0, 1.0), 1.0)).max(self.least);
        // Usually, the settings decide.
        match asked {
            None | Some(Wait::Usual) => wait,
            Some(asked) => wait.max(asked.least() + SPREAD.mul_f64(chance.clamp(0.0, 1.0))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn waits_double_from_the_least_to_the_most() {
        let mut backoff = Backoff::new(seconds(1), seconds(30));
        let longest: Vec<_> = (0..7).map(|_| backoff.wait(1, None, 1.0).as_secs()).collect();
        assert_eq!(longest, [2, 4, 8, 16, 30, 30, 30]);
        backoff.reset();
        let shortest: Vec<_> = (0..7).map(|_| backoff.wait(1, None, 0.0).as_secs()).collect();
        assert_eq!(shortest, [1, 2, 4, 8, 15, 15, 15]);
        let mut long = Backoff::new(seconds(1), seconds(30));
        (0..10_000).for_each(|_| assert!(long.wait(1, None, 0.5) <= seconds(30)));
    }

    #[test]
    fn a_wait_grows_when_all_servers_were_dialled() {
        let mut backoff = Backoff::new(seconds(1), seconds(30));
        let waits: Vec<_> = (0..7).map(|_| backoff.wait(3, None, 1.0).as_secs()).collect();
        assert_eq!(waits, [2, 2, 2, 4, 4, 4, 8]);
    }

    #[test]
    fn equal_limits_leave_nothing_to_chance() {
        let mut backoff = Backoff::new(seconds(5), seconds(5));
        assert_eq!(backoff.wait(1, None, 0.0), seconds(5));
        assert_eq!(backoff.wait(1, None, 1.0), seconds(5));
    }

    #[test]
    fn what_the_hub_asks_for_is_the_least() {
        let mut backoff = Backoff::new(seconds(1), seconds(2));
        assert_eq!(backoff.wait(1, Some(Wait::Usual), 0.0), seconds(1));
        assert_eq!(backoff.wait(1, Some(Wait::Version), 0.0), seconds(5));
        assert_eq!(backoff.wait(1, Some(Wait::Long), 1.0), seconds(31));
        assert_eq!(backoff.wait(1, Some(Wait::Credentials), 0.5).as_millis(), 30_500);
        let mut patient = Backoff::new(seconds(60), seconds(90));
        assert!(patient.wait(1, Some(Wait::Long), 0.0) >= seconds(60));
    }
}
