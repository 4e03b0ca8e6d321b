//! A benchmark's results as text, JSON and CSV.
//!
//! Owns the texts and formats of reports; measures nothing. Doubts about figures are in `warnings`.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::bench::figures::{Figures, METRICS, Metric, Spread, ratios, spread_json, then};
use crate::bench::outcome::Run;
use crate::bench::plan::{Place, Plan};
use crate::bench::run::Broker;
use crate::bench::warnings;

/// Room for the longest unit.
const UNIT_WIDTH: usize = 23;

/// Everything in a report.
#[derive(Debug)]
pub(crate) struct Report {
    /// The plan of the run.
    pub(crate) plan: Plan,
    /// The machine.
    pub(crate) machine: Value,
    /// The broker's name and version.
    pub(crate) server: String,
    /// Its address.
    pub(crate) address: String,
    /// Its process, if it could be seen.
    pub(crate) broker_pid: Option<u32>,
    /// The runs; at least one.
    pub(crate) runs: Vec<Run>,
    /// The user has ended it early.
    pub(crate) is_cut_short: bool,
    baseline: Option<Value>,
}

impl Report {
    /// Of these runs, compared with an earlier report if there is one.
    pub(crate) fn new(
        plan: Plan,
        machine: Value,
        broker: &Broker,
        runs: Vec<Run>,
        is_cut_short: bool,
        baseline: Option<Value>,
    ) -> Report {
        Report {
            plan,
            machine,
            server: broker.server.clone(),
            address: broker.address(),
            broker_pid: broker.pid,
            runs,
            is_cut_short,
            baseline,
        }
    }

    /// Messages lost, and faults found, in all runs.
    pub(crate) fn flaws(&self) -> (u64, u64) {
        let lost = self.runs.iter().map(|run| run.figures.lost).sum();
        (lost, self.runs.iter().map(|run| run.faults.count).sum())
    }

    /// The text report.
    pub(crate) fn text(&self) -> String {
        let mut out = self.set_up_lines().join("\n");
        out.push_str("\n\n");
        let figures = self.figures();
        let several = figures.len() > 1;
        out.push_str(&heads(several, self.baseline.is_some()));
        for metric in METRICS {
            if let Some(spread) = Spread::of(metric, &figures) {
                let then = self.baseline.as_ref().map(|earlier| then(metric, earlier));
                out.push_str(&line(metric, &spread, several, then));
            }
        }
        for fault in self.faults().chain(self.warnings()) {
            // Writing to a string cannot fail.
            let _ = write!(out, "\n{fault}");
        }
        if self.plan.verify && self.flaws() == (0, 0) {
            out.push_str(match self.plan.requests {
                Some(_) => "\nverified: one answer to each request, with its content",
                None => "\nverified: order, content, no gap, no duplicate",
            });
        }
        out.trim_end().to_owned() + "\n"
    }

    /// The JSON report; also what `--baseline` reads.
    pub(crate) fn json(&self) -> Value {
        let figures = self.figures();
        let runs: Vec<Value> = self.runs.iter().map(run_json).collect();
        let faults: Vec<String> = self.faults().collect();
        let mut report = json!({
            "program": "bench-publisher",
            "version": env!("CARGO_PKG_VERSION"),
            "options": self.plan.to_json(),
            "machine": self.machine,
            "broker": {
                "server": self.server,
                "address": self.address,
                "embedded": self.plan.place == Place::Embedded,
                "pid": self.broker_pid,
            },
            "runs": runs,
            "median": spread_json(&figures, |spread| spread.median),
            "min": spread_json(&figures, |spread| spread.min),
            "max": spread_json(&figures, |spread| spread.max),
            "faults": faults,
            "warnings": self.warnings().collect::<Vec<_>>(),
        });
        if let Some(ratios) = self.ratios() {
            report["ratios"] = Value::Object(ratios);
        }
        report
    }

    /// The CSV report: a header, and a row for each run.
    pub(crate) fn csv(&self) -> String {
        let options = self.plan.to_json();
        let options = options.as_object().cloned().unwrap_or_default();
        let keys = options.keys().map(String::as_str).chain(METRICS.iter().map(|one| one.key));
        let mut out = "run,".to_owned() + &keys.collect::<Vec<_>>().join(",") + "\n";
        for (number, run) in (1..).zip(&self.runs) {
            let figures = run.figures.to_json();
            let values = options.values().chain(METRICS.iter().map(|one| &figures[one.key]));
            let cells: Vec<String> = values.map(cell).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{number},{}", cells.join(","));
        }
        out
    }

    /// What was measured, and where.
    pub(crate) fn set_up_lines(&self) -> Vec<String> {
        let text = |key: &str| self.machine[key].as_str().unwrap_or("unknown");
        let whose = match (&self.plan.place, self.broker_pid) {
            (Place::Embedded, Some(pid)) => format!("a process of its own ({pid}), "),
            (_, Some(pid)) => format!("process {pid}, "),
            (_, None) => "its process cannot be seen from here, ".to_owned(),
        };
        let build = match self.machine["optimized"].as_bool() {
            Some(false) => " (a debug build: slow)",
            _ => "",
        };
        vec![
            format!("bench-publisher {}{build}: {}", env!("CARGO_PKG_VERSION"), self.plan),
            format!("broker   {}, {whose}{}", self.server, self.address),
            format!(
                "machine  {} cores, {}, {}, {} {}",
                self.machine["cores"],
                text("cpu"),
                text("memory"),
                text("system"),
                text("kernel")
            ),
        ]
    }

    /// What is known to be doubtful about the figures.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        let many = self.runs.len() > 1;
        let load_difference = self
            .baseline
            .as_ref()
            .and_then(|then| warnings::load_difference(&self.plan, &self.machine, then));
        let load_difference =
            load_difference.map(|what| format!("warning: the baseline is of another load: {what}"));
        let cut = self.is_cut_short.then(|| "warning: interrupted; the figures so far".to_owned());
        let of_runs = (1..).zip(&self.runs).flat_map(move |(number, run)| {
            let whose = if many { format!(" in run {number}") } else { String::new() };
            let found =
                warnings::of_run(&self.plan, &self.machine, &run.figures, self.is_cut_short);
            found.into_iter().map(move |what| format!("warning{whose}: {what}"))
        });
        cut.into_iter().chain(load_difference).chain(of_runs)
    }

    fn figures(&self) -> Vec<Figures> {
        self.runs.iter().map(|run| run.figures).collect()
    }

    fn ratios(&self) -> Option<Map<String, Value>> {
        Some(ratios(&self.figures(), self.baseline.as_ref()?))
    }

    fn faults(&self) -> impl Iterator<Item = String> {
        self.runs.iter().flat_map(|run| {
            let untold = run.faults.count - run.faults.told.len() as u64;
            let rest = (untold > 0).then(|| format!("and {untold} faults more"));
            run.faults.told.iter().map(|fault| format!("fault: {fault}")).chain(rest)
        })
    }
}

/// The column headers; none for a single column.
fn heads(several: bool, compared: bool) -> String {
    let mut heads = format!("{:<24}{:>16}", "", if several { "median" } else { "now" });
    if several {
        heads += &format!(" {:>16} {:>16}", "min", "max");
    }
    if compared {
        heads += &format!(" {:>16} {:<UNIT_WIDTH$} {:>9}", "then", "", "now/then");
    }
    if several || compared { heads + "\n" } else { String::new() }
}

/// `then`: the baseline's figure, if there is a baseline and it has one.
fn line(metric: &Metric, spread: &Spread, several: bool, then: Option<Option<f64>>) -> String {
    let number = |value: f64| number(value, metric.digits);
    let mut line = format!("{:<24}{:>16}", metric.label, number(spread.median));
    if several {
        line += &format!(" {:>16} {:>16}", number(spread.min), number(spread.max));
    }
    let Some(then) = then else { return line + " " + metric.unit + "\n" };
    line += &format!(" {:>16} {:<UNIT_WIDTH$}", then.map(number).unwrap_or_default(), metric.unit);
    if let Some(then) = then.filter(|then| *then != 0.0) {
        line += &format!(" {:>8.3}x", spread.median / then);
    }
    line.trim_end().to_owned() + "\n"
}

/// With a comma between thousands.
fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::new();
    for (at, digit) in whole.char_indices() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if digits > 0 {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

fn run_json(run: &Run) -> Value {
    let mut value = run.figures.to_json();
    let points = run.timeline.iter().map(|one| json!([one.seconds, one.published, one.delivered]));
    value["timeline"] = points.collect();
    value["faults"] = json!(run.faults.count);
    value
}

/// A value as printed in a table.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let rows = [(0.0, 0, "0"), (999.4, 0, "999"), (1_000.0, 0, "1,000"), (0.126, 2, "0.13")];
        for (value, digits, expected) in rows {
            assert_eq!(number(value, digits), expected);
        }
        assert_eq!(number(1_234_567.89, 1), "1,234,567.9");
    }
}
