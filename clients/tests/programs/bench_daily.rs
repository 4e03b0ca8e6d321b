//! `bench-publisher` in daily use: ended early, asked for too much, without a broker to start.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::bench::{bench, program, stderr, stdout};

#[test]
fn the_time_is_kept_where_the_rate_is_out_of_reach() {
    let started = Instant::now();
    // No machine reaches a billion a second.
    let output = bench("--rate 1e9 --seconds 1");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("1000000000/s were out of reach"), "{text}");
    let seconds = text.lines().find(|line| line.starts_with("time ")).unwrap();
    let seconds: f64 = seconds.split_whitespace().nth(1).unwrap().parse().unwrap();
    // What is in sockets at the end is still delivered, however slow the machine.
    assert!(seconds < started.elapsed().as_secs_f64());
    assert!(seconds >= 1.0);
}

#[test]
fn an_interrupted_run_tells_its_figures_so_far() {
    let mut bench = program("--seconds 600 --json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(bench.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("1 s: ") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended early");
    }
    assert!(
        Command::new("kill").args(["-INT", &bench.id().to_string()]).status().unwrap().success()
    );
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    let output = bench.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{rest}");
    assert!(rest.contains("bench-publisher: interrupted"), "{rest}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let run = &report["runs"][0];
    assert!(run["published"].as_u64() > Some(0), "{run:#}");
    assert_eq!(run["published"], run["delivered"]);
    assert_eq!(report["warnings"][0], "warning: interrupted; the figures so far");
}

#[test]
fn without_a_broker_it_says_what_to_build() {
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("bench-publisher");
    fs::copy(env!("CARGO_BIN_EXE_bench-publisher"), &alone).unwrap();
    let output = Command::new(&alone).env("PATH", "").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("cargo build --release --bin broker"), "{text}");
}
