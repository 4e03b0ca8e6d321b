//! The figures of a run, their names and units in one table, and their medians.

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// The results of a run.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Figures {
    /// From the start to the last confirmation or delivery, in seconds.
    pub(crate) seconds: f64,
    /// Whether messages are requests, and deliveries their answers.
    pub(crate) is_of_requests: bool,
    /// Messages that were published and confirmed.
    pub(crate) published: u64,
    /// The same for each second until the last confirmation.
    pub(crate) published_per_s: f64,
    /// Messages that all subscribers together should have received.
    pub(crate) expected: u64,
    /// Messages that they received.
    pub(crate) delivered: u64,
    /// The same for each second until the last of them.
    pub(crate) delivered_per_s: f64,
    /// Payload that they received, in 1,000,000 bytes a second; published, if there are none.
    pub(crate) mb_per_s: f64,
    /// Messages that were expected and did not arrive.
    pub(crate) lost: u64,
    /// Messages that the broker itself reported as lost, where the protocol has that.
    pub(crate) told_lost: Option<u64>,
    /// Messages that were timed.
    pub(crate) timed: u64,
    /// Latency at [`QUANTILES`] and its maximum, in microseconds; those for which there were
    /// too few messages are missing.
    pub(crate) latency_us: [Option<f64>; 6],
    /// How late messages were written, in microseconds; only on schedule.
    pub(crate) send_late_p99_us: Option<f64>,
    /// The broker's CPU for 1,000 deliveries (or published messages, without subscribers), in
    /// microseconds.
    pub(crate) broker_cpu_us: Option<f64>,
    /// How much of it was in the broker's own code.
    pub(crate) broker_user_percent: Option<f64>,
    /// Cores that the broker used.
    pub(crate) broker_cores: Option<f64>,
    /// The most memory that it had resident since its start, in KiB.
    pub(crate) broker_peak_kib: Option<f64>,
    /// Cores that this program used.
    pub(crate) own_cores: f64,
    /// Cores that the busiest of its threads used.
    pub(crate) busiest_thread_cores: f64,
    /// Cores that all other processes used, and the machine's host took.
    pub(crate) other_cores: Option<f64>,
}

/// The quantiles of the latency that are reported, besides the maximum.
pub(crate) const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 0.9999];

/// How a figure is reported.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metric {
    /// Its name in JSON and CSV.
    pub(crate) key: &'static str,
    /// Its name in the text report.
    pub(crate) label: &'static str,
    /// Its unit in the text report.
    pub(crate) unit: &'static str,
    /// Digits after the decimal point; 0: it is a count.
    pub(crate) digits: usize,
    /// Its value, where it was measured.
    pub(crate) of: fn(&Figures) -> Option<f64>,
}

macro_rules! metrics {
    ($($key:literal, $label:literal, $unit:literal, $digits:literal, $of:expr;)*) => {
        &[$(Metric { key: $key, label: $label, unit: $unit, digits: $digits, of: $of }),*]
    };
}

/// All figures, in the order in which they are reported.
pub(crate) const METRICS: &[Metric] = metrics! {
    "seconds", "time", "s", 3, |f| Some(f.seconds);
    "published", "published", "messages", 0, |f| f.of_messages(f.published as f64);
    "published_per_s", "published", "messages/s", 0, |f| f.of_messages(f.published_per_s);
    "expected", "expected", "messages", 0, |f| f.of_messages(f.expected as f64);
    "delivered", "delivered", "messages", 0, |f| f.of_messages(f.delivered as f64);
    "delivered_per_s", "delivered", "messages/s", 0, |f| f.of_messages(f.delivered_per_s);
    "requests", "requested", "requests", 0, |f| f.of_requests(f.published as f64);
    "round_trips", "answered", "requests", 0, |f| f.of_requests(f.delivered as f64);
    "round_trips_per_s", "round trips", "round trips/s", 0, |f| f.of_requests(f.delivered_per_s);
    "mb_per_s", "payload", "MB/s", 1, |f| Some(f.mb_per_s);
    "lost", "lost", "messages", 0, |f| Some(f.lost as f64);
    "lost_told", "of them told by LOST", "messages", 0, |f| f.told_lost.map(|lost| lost as f64);
    "latency_samples", "messages timed", "messages", 0, |f| Some(f.timed as f64);
    "latency_p50_us", "latency p50", "µs", 1, |f| f.latency_us[0];
    "latency_p90_us", "latency p90", "µs", 1, |f| f.latency_us[1];
    "latency_p99_us", "latency p99", "µs", 1, |f| f.latency_us[2];
    "latency_p99_9_us", "latency p99.9", "µs", 1, |f| f.latency_us[3];
    "latency_p99_99_us", "latency p99.99", "µs", 1, |f| f.latency_us[4];
    "latency_max_us", "latency max", "µs", 1, |f| f.latency_us[5];
    "send_late_p99_us", "written late p99", "µs", 1, |f| f.send_late_p99_us;
    "broker_cpu_us_per_1000", "broker CPU", "µs per 1,000 deliveries", 2,
        |f| f.broker_cpu_us.filter(|_| f.expected > 0).and_then(|cpu| f.of_messages(cpu));
    "broker_cpu_us_per_1000_published", "broker CPU", "µs per 1,000 messages", 2,
        |f| f.broker_cpu_us.filter(|_| f.expected == 0).and_then(|cpu| f.of_messages(cpu));
    "broker_cpu_us_per_round_trip", "broker CPU", "µs per round trip", 2,
        |f| f.broker_cpu_us.and_then(|cpu| f.of_requests(cpu / 1e3));
    "broker_user_percent", "in its own code", "%", 0, |f| f.broker_user_percent;
    "broker_cores", "broker CPU", "cores", 2, |f| f.broker_cores;
    "broker_peak_kib", "broker peak memory", "KiB", 0, |f| f.broker_peak_kib;
    "own_cores", "bench-publisher CPU", "cores", 2, |f| Some(f.own_cores);
    "busiest_thread_cores", "its busiest thread", "cores", 2, |f| Some(f.busiest_thread_cores);
    "other_cores", "other processes' CPU", "cores", 2, |f| f.other_cores;
};

impl Figures {
    /// Takes the percentiles of the latency, if any message was timed.
    pub(crate) fn set_latency(&mut self, latency: &Histogram<u64>) {
        self.timed = latency.len();
        if latency.is_empty() {
            return;
        }
        self.latency_us = [Some(latency.max() as f64 / 1e3); 6];
        for (value, quantile) in self.latency_us.iter_mut().zip(QUANTILES) {
            // At least one message must be slower, or it would equal the maximum.
            let slower = latency.len() as f64 * (1.0 - quantile);
            let told = slower > 0.999;
            *value = told.then(|| latency.value_at_quantile(quantile) as f64 / 1e3);
        }
    }

    /// A figure that messages have and requests have not.
    fn of_messages(&self, value: f64) -> Option<f64> {
        (!self.is_of_requests).then_some(value)
    }

    /// A figure that requests have and messages have not.
    fn of_requests(&self, value: f64) -> Option<f64> {
        self.is_of_requests.then_some(value)
    }

    /// As an object, figures that were not measured being null.
    pub(crate) fn to_json(self) -> Value {
        object(|metric| (metric.of)(&self))
    }
}

/// One figure over all runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    /// The value in the middle; the mean of two, if their number is even.
    pub(crate) median: f64,
    /// The least.
    pub(crate) min: f64,
    /// The greatest.
    pub(crate) max: f64,
}

impl Spread {
    /// Of `metric` over `runs`; `None`: it was not measured in any of them.
    pub(crate) fn of(metric: &Metric, runs: &[Figures]) -> Option<Spread> {
        let mut values: Vec<f64> = runs.iter().filter_map(metric.of).collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Some(Spread { median, min, max })
    }
}

/// One part of the spread of each figure, as an object.
pub(crate) fn spread_json(runs: &[Figures], part: fn(&Spread) -> f64) -> Value {
    object(|metric| Spread::of(metric, runs).as_ref().map(part))
}

/// The median of a figure in an earlier report.
pub(crate) fn then(metric: &Metric, baseline: &Value) -> Option<f64> {
    baseline.get("median")?.get(metric.key)?.as_f64()
}

/// How the medians compare with those of an earlier report: now / then, by key.
pub(crate) fn ratios(runs: &[Figures], baseline: &Value) -> Map<String, Value> {
    let ratio = |metric: &Metric| {
        let then = then(metric, baseline)?;
        let now = Spread::of(metric, runs)?.median;
        (then != 0.0).then(|| (metric.key.to_owned(), json!(now / then)))
    };
    METRICS.iter().filter_map(ratio).collect()
}

fn object(value: impl Fn(&Metric) -> Option<f64>) -> Value {
    let entry = |metric: &Metric| {
        let value = match value(metric) {
            // Counts are whole numbers; half of one is a median.
            Some(value) if metric.digits == 0 && value.fract() == 0.0 => json!(value as u64),
            other => json!(other),
        };
        (metric.key.to_owned(), value)
    };
    Value::Object(METRICS.iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(key: &str) -> &'static Metric {
        METRICS.iter().find(|metric| metric.key == key).unwrap()
    }

    fn runs(seconds: &[f64]) -> Vec<Figures> {
        seconds.iter().map(|s| Figures { seconds: *s, ..Figures::default() }).collect()
    }

    #[test]
    fn medians_are_in_the_middle() {
        let of = |values: &[f64]| Spread::of(metric("seconds"), &runs(values));
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(of(&[4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of(metric("latency_p50_us"), &runs(&[1.0])), None);
    }

    #[test]
    fn a_percentile_needs_a_message_that_was_slower() {
        let of = |count: u64| {
            let mut latency = crate::bench::account::latency_histogram();
            (1..=count).for_each(|n| latency.record(n * 1_000).unwrap());
            let mut figures = Figures::default();
            figures.set_latency(&latency);
            figures.latency_us.map(|value| value.is_some())
        };
        assert_eq!(of(0), [false; 6]);
        assert_eq!(of(1), [false, false, false, false, false, true]);
        assert_eq!(of(1_040), [true, true, true, true, false, true]);
        assert_eq!(of(10_000), [true; 6]);
    }

    #[test]
    fn ratios_are_of_what_both_have() {
        let baseline = json!({"median": {"seconds": 4.0, "published": 0, "broker_cores": 1.0}});
        let ratios = ratios(&runs(&[1.0, 2.0, 3.0]), &baseline);
        assert_eq!(Value::Object(ratios), json!({"seconds": 0.5}));
    }

    #[test]
    fn counts_are_whole_numbers_in_json() {
        let figures = Figures { delivered: 7, seconds: 2.0, ..Figures::default() };
        let value = figures.to_json();
        assert_eq!(value["delivered"].as_u64(), Some(7));
        assert_eq!(
            (value["seconds"].as_f64(), &value["latency_p50_us"]),
            (Some(2.0), &json!(null))
        );
    }
}
