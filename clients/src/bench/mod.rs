//! The program `bench-publisher`, which measures what a broker and a machine can do.
//!
//! | module | what it owns |
//! | --- | --- |
//! | `args`, `plan` | what the user typed, and what it means |
//! | `protocol` | what is written to a broker and read from it, for each protocol |
//! | `traffic`, `blocks` | the messages; many of them in one write |
//! | `schedule` | when messages are due |
//! | `link`, `secure` | a connection: handshake and confirmations; TLS between it and the broker |
//! | `publish` | the publishers' threads |
//! | `receive`, `subscriber` | the subscribers' thread; one subscriber's bytes |
//! | `requests` | the threads of requesters and responders |
//! | `shared`, `account` | the counters shared by threads; what each has measured |
//! | `workers` | the threads of a run |
//! | `run`, `outcome` | one run, from connecting to its figures |
//! | `embedded`, `process` | a broker of our own; figures from /proc |
//! | `figures`, `report`, `html`, `progress` | the table of figures, and how they are reported |
//! | `warnings` | what is doubtful about them |
//! | `page` | the file that the page is written to |

use std::fs;
use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use clap::{Command, CommandFactory, Parser};
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use args::{BenchArgs, Format};
use failure::Failure;
use page::Page;
use progress::Progress;
use report::Report;
use run::Broker;

mod account;
mod args;
mod blocks;
mod embedded;
mod failure;
mod figures;
mod html;
mod link;
mod outcome;
mod page;
mod plan;
mod process;
mod progress;
mod protocol;
mod publish;
mod receive;
mod report;
mod requests;
mod run;
mod schedule;
mod secure;
mod shared;
mod subscriber;
mod traffic;
mod warnings;
mod workers;

const FAILED: u8 = 1;
const USAGE: u8 = 2;

/// Runs the program; its exit code: 0 fine, 1 failed, 2 wrong usage.
pub fn run() -> ExitCode {
    match bench(&BenchArgs::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench-publisher: {failure}");
            ExitCode::from(match failure {
                Failure::Usage(_) => USAGE,
                Failure::Failed(_) => FAILED,
            })
        }
    }
}

/// Its command line, for manuals and completions.
pub fn command() -> Command {
    BenchArgs::command()
}

fn bench(args: &BenchArgs) -> Result<(), Failure> {
    let plan = args.plan()?;
    let baseline = args.baseline().map(|path| read_baseline(path)).transpose()?;
    // Before the run, so that a bad path does not cost the results.
    let page = args.html().map(|path| Page::open(path)).transpose()?;
    let stop = stop_on_signals()?;
    let mut broker = Broker::find(&plan, Arc::clone(&stop))?;
    if broker.is_embedded() {
        eprintln!("started a broker of our own: {}", broker.address());
    }
    let mut progress = Progress::new(plan.runs);
    let mut runs = Vec::new();
    for _ in 0..plan.runs {
        progress.next_run();
        runs.push(broker.run(&plan, &mut progress)?);
        if stop.load(Relaxed) {
            break;
        }
    }
    let is_cut_short = stop.load(Relaxed);
    let report = Report::new(plan, process::machine(), &broker, runs, is_cut_short, baseline);
    drop(broker);
    if let Some(page) = page {
        page.write(&html::page(&report)?)?;
    }
    print(&report, args.format())?;
    verdict(&report)
}

/// Set by SIGINT and SIGTERM: the run ends, and its figures are reported. A second signal ends the
/// program at once.
fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag unset.
        flag::register_conditional_default(signal, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| Failure::new(format!("signals cannot be handled: {error}")))?;
    }
    Ok(stop)
}

fn print(report: &Report, format: Format) -> Result<(), Failure> {
    let text = match format {
        Format::Text => report.text(),
        Format::Json => format!("{:#}\n", report.json()),
        Format::Csv => report.csv(),
    };
    if format != Format::Text {
        report.warnings().for_each(|warning| eprintln!("{warning}"));
    }
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(format!("the report cannot be printed: {error}")))
}

fn verdict(report: &Report) -> Result<(), Failure> {
    if report.is_cut_short {
        return Err(Failure::new("interrupted"));
    }
    match report.flaws() {
        (lost, faults) if report.plan.verify && (lost > 0 || faults > 0) => {
            Err(Failure::new(format!("not verified: {lost} messages lost, {faults} faults")))
        }
        _ => Ok(()),
    }
}

fn read_baseline(path: &Path) -> Result<Value, Failure> {
    let bad = |why: String| Failure::Usage(format!("--baseline {}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    if !value["median"].is_object() {
        return Err(bad("is no report that --json wrote".to_owned()));
    }
    Ok(value)
}
