//! How busy this process keeps a processor: its processor time now, beside that of a while ago.
//!
//! Owns the earlier figure. It is told the time and the figure; must not ask for either.

use std::time::{Duration, Instant};

/// Over less than this a share would be chance: the system counts hundredths of a second.
const SHORTEST: Duration = Duration::from_secs(1);

/// The share of a processor.
pub(super) struct Cpu {
    /// When processor time was looked at last, and the seconds that it was.
    at: Instant,
    seconds: f64,
    percent: f64,
}

impl Cpu {
    /// Of a process that has begun at `now`.
    pub(super) fn new(now: Instant) -> Cpu {
        Cpu { at: now, seconds: 0.0, percent: 0.0 }
    }

    /// The share in percent since it was last asked for, a second ago or more. `seconds` is the
    /// processor time so far; 0 if that is not known.
    pub(super) fn percent(&mut self, seconds: Option<f64>, now: Instant) -> f64 {
        let time = now.saturating_duration_since(self.at);
        if let Some(seconds) = seconds.filter(|_| time >= SHORTEST) {
            let share = (seconds - self.seconds).max(0.0) / time.as_secs_f64();
            let tenths = (share * 1_000.0).round();
            *self = Cpu { at: now, seconds, percent: tenths / 10.0 };
        }
        self.percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_the_time_since_it_was_asked_for() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut cpu = Cpu::new(start);
        let rows = [
            (Some(0.5), 500, 0.0),
            (Some(1.0), 2_000, 50.0),
            (Some(2.0), 2_900, 50.0),
            (None, 4_000, 50.0),
            (Some(5.0), 4_000, 200.0),
            (Some(5.0), 5_000, 0.0),
        ];
        for (seconds, ms, percent) in rows {
            assert_eq!(cpu.percent(seconds, after(ms)), percent, "{ms}");
        }
    }
}
