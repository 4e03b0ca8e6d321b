//! The progress display during a run: a bar on a terminal, a line a second elsewhere. All on
//! standard error.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressStyle};

use crate::bench::outcome::Sample;
use crate::bench::plan::{Amount, Plan};

/// Steps of a whole bar.
const STEPS: u64 = 1_000;

/// The progress of a benchmark, run by run.
#[derive(Debug)]
pub(crate) struct Progress {
    run: usize,
    runs: usize,
    bar: Option<ProgressBar>,
    line: Sample,
}

impl Progress {
    /// For so many runs.
    pub(crate) fn new(runs: usize) -> Progress {
        Progress { run: 0, runs, bar: None, line: START }
    }

    /// The next run begins.
    pub(crate) fn next_run(&mut self) {
        self.run += 1;
        if stderr().is_terminal() {
            let style = ProgressStyle::with_template("{prefix}{bar:30} {msg}")
                .expect("the template is one that indicatif knows");
            let bar = ProgressBar::new(STEPS).with_style(style);
            if self.runs > 1 {
                bar.set_prefix(format!("run {}/{} ", self.run, self.runs));
            }
            self.bar = Some(bar);
        }
        self.line = START;
    }

    /// A line of text besides the progress.
    pub(crate) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// How far the run is.
    pub(crate) fn update(&mut self, plan: &Plan, now: &Sample) {
        if now.seconds < self.line.seconds {
            // The run was restarted.
            self.line = START;
        }
        let elapsed = now.seconds - self.line.seconds;
        let done = match plan.amount {
            Amount::Messages(messages) => now.published as f64 / messages as f64,
            Amount::Time(time) => now.seconds / time.as_secs_f64(),
        };
        if let Some(bar) = &self.bar {
            bar.set_position((done.min(1.0) * STEPS as f64) as u64);
        }
        if elapsed < 1.0 {
            return;
        }
        let rate = |now: u64, then: u64| rate(now.saturating_sub(then) as f64 / elapsed);
        let [published, delivered] = plan.words();
        let text = format!(
            "{published} {}, {delivered} {}",
            rate(now.published, self.line.published),
            rate(now.delivered, self.line.delivered)
        );
        match &self.bar {
            Some(bar) => bar.set_message(text),
            None if self.runs > 1 => {
                eprintln!("run {}/{}, {:.0} s: {text}", self.run, self.runs, now.seconds);
            }
            None => eprintln!("{:.0} s: {text}", now.seconds),
        }
        self.line = *now;
    }

    /// The run is over.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Messages a second, with about three digits that count.
fn rate(per_second: f64) -> String {
    match per_second {
        few if few < 1e4 => format!("{few:.0}/s"),
        some if some < 1e6 => format!("{:.1} k/s", some / 1e3),
        many => format!("{:.3} M/s", many / 1e6),
    }
}

const START: Sample = Sample { seconds: 0.0, published: 0, delivered: 0 };

#[cfg(test)]
mod tests {
    use super::rate;

    #[test]
    fn rates_have_the_unit_that_suits_them() {
        let rows = [
            (0.0, "0/s"),
            (1_000.4, "1000/s"),
            (10_000.0, "10.0 k/s"),
            (999_000.0, "999.0 k/s"),
            (1_234_567.0, "1.235 M/s"),
        ];
        for (value, expected) in rows {
            assert_eq!(rate(value), expected);
        }
    }
}
