//! Instructions per message of a whole turn of the core, counted by callgrind.
//!
//! Unlike times, counts hardly depend on the machine or its load, so they can guard against
//! regressions: `cargo bench --bench instructions` fails when a scenario takes over 5 % more than
//! `benches/instructions.txt` says, and `-- --record` writes that file anew. Needs valgrind.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, ExitCode};

#[allow(dead_code, reason = "each bench uses its part of the support")]
mod support;
use support::{SCENARIOS, Scenario, World};

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");
/// How much more than recorded is a regression.
const TOLERANCE: f64 = 1.05;
/// Reads of each publisher that are counted.
const READS: usize = 200;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(name) = arguments.iter().position(|word| word == "--scenario") {
        measured(&arguments[name + 1]);
        return ExitCode::SUCCESS;
    }
    let counts: Vec<_> =
        SCENARIOS.iter().map(|scenario| (scenario.name, count(scenario))).collect();
    if arguments.iter().any(|word| word == "--record") {
        return record(&counts);
    }
    compare(&counts)
}

/// What runs under valgrind: prints how many messages were in the counted turns.
fn measured(name: &str) {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name);
    let scenario = scenario.expect("a scenario of this file's own list");
    let mut world = World::new(scenario);
    world.warm_up(scenario);
    let (messages, reads) = (world.messages(), world.reads());
    while world.reads() < reads + READS {
        world.turn();
    }
    println!("{}", world.messages() - messages);
}

/// Instructions per message.
fn count(scenario: &Scenario) -> f64 {
    let out = std::env::temp_dir().join(format!("instructions-{}", std::process::id()));
    let own = std::env::current_exe().expect("the program that runs is there");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counted_*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(own)
        .args(["--scenario", scenario.name])
        .output()
        .expect("valgrind runs: install it with `apt-get install valgrind`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
    let profile = std::fs::read_to_string(&out).expect("callgrind has written its file");
    let _ = std::fs::remove_file(&out);
    let total = profile.lines().find_map(|line| line.strip_prefix("totals: "));
    let total: f64 = total.expect("callgrind tells the total").trim().parse().expect("a number");
    total / messages
}

fn record(counts: &[(&str, f64)]) -> ExitCode {
    let mut text = String::from(
        "# Instructions per message: `cargo bench --bench instructions -- --record`\n",
    );
    for (name, count) in counts {
        let _ = writeln!(text, "{name} {count:.2}");
    }
    print!("{text}");
    std::fs::write(RECORD, text).expect("the record can be written");
    ExitCode::SUCCESS
}

fn compare(counts: &[(&str, f64)]) -> ExitCode {
    let text = std::fs::read_to_string(RECORD).expect("the record is in the repository");
    let recorded: BTreeMap<&str, f64> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, count)| Some((name, count.parse().ok()?)))
        .collect();
    let mut code = ExitCode::SUCCESS;
    for (name, count) in counts {
        let before = recorded.get(name).copied().unwrap_or(0.0);
        let verdict = if *count > before * TOLERANCE { "REGRESSION" } else { "ok" };
        println!(
            "{name:28} {count:10.2} instructions a message, recorded {before:10.2}: {verdict}"
        );
        if verdict != "ok" {
            code = ExitCode::FAILURE;
        }
    }
    code
}
