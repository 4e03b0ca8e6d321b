//! How long the turns of the loop took, as a histogram.
//!
//! Owns its buckets. Must not read a clock.

use std::time::Duration;

/// Upper ends of the buckets, in microseconds. A turn that takes longer than the last of them can
/// be felt by clients.
const BOUNDS_MICROS: [u64; 13] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 1_000_000];

/// All turns since the start.
#[derive(Default)]
pub(super) struct Turns {
    /// Turns in each bucket, and those beyond the last one.
    counts: [u64; BOUNDS_MICROS.len() + 1],
    total: Duration,
}

impl Turns {
    /// Counts a turn that took so long.
    pub(super) fn observe(&mut self, took: Duration) {
        let bucket = BOUNDS_MICROS.partition_point(|bound| Duration::from_micros(*bound) < took);
        self.counts[bucket] += 1;
        self.total += took;
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long all took together.
    pub(super) fn total(&self) -> Duration {
        self.total
    }

    /// Each bucket's upper end in seconds, and how many turns took no longer.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let ends = BOUNDS_MICROS.iter().map(|micros| *micros as f64 / 1e6);
        ends.zip(self.counts).scan(0, |sum, (end, count)| {
            *sum += count;
            Some((end, *sum))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_take_their_upper_end() {
        let mut turns = Turns::default();
        for micros in [0, 10, 11, 1_000_000, 1_000_001] {
            turns.observe(Duration::from_micros(micros));
        }
        let buckets: Vec<_> = turns.buckets().collect();
        assert_eq!(buckets[0], (0.000_01, 2));
        assert_eq!(buckets[1], (0.000_025, 3));
        assert_eq!(buckets.last(), Some(&(1.0, 4)));
        assert_eq!(turns.count(), 5);
        assert_eq!(turns.total(), Duration::from_micros(2_000_022));
    }
}
