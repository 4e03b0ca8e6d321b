//! Proves that the programs can be killed or stopped at any moment: a publisher that is killed in
//! the middle of a message has sent whole messages or nothing, a subscriber that is killed or
//! stopped is detected and removed, and others are not affected.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::process::{self, Process};
use crate::support::real::Broker;
use crate::support::{PATIENCE, eventually};

/// A line that is long enough to be cut anywhere, and shows it.
fn line(number: usize) -> String {
    format!("<{number}{}{number}>", "-".repeat(20_000))
}

/// Whether it is a line as it was sent.
fn is_whole(text: &str) -> bool {
    let number = text.trim_start_matches('<').split('-').next().unwrap();
    number.parse().is_ok_and(|number| line(number) == text)
}

fn descriptors(process: &Process) -> usize {
    fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap().count()
}

/// Kills real publishers that are in the middle of sending, and subscribers in the middle of
/// receiving. All that a witness prints must be whole messages.
fn killed(rounds: usize) -> usize {
    let broker = Broker::start();
    let before = descriptors(&broker.process);
    let mut witness = broker.ready_subscriber("--format %p\\n --topic lines --topic probe.>");
    for _ in 0..rounds {
        let mut reader = broker.ready_subscriber("--format %p\\n --topic lines --topic probe.>");
        let mut publisher = process::start(broker.publisher("--topic lines"));
        let all: String = (0..200).map(|number| line(number) + "\n").collect();
        publisher.feed(all.as_bytes());
        publisher.kill();
        reader.kill();
    }
    // The two of them have disconnected, the witness stays.
    eventually("descriptors as before", || {
        (descriptors(&broker.process) <= before + 1).then_some(())
    });
    let probe = broker.publisher("--topic probe.end --message the-end");
    assert_eq!(process::run(probe, b"").code, Some(0));
    let printed = witness.await_stdout("the-end");
    witness.kill();
    let lines: Vec<&str> = printed.lines().filter(|text| text.contains("<")).collect();
    for text in &lines {
        assert!(is_whole(text), "a part of a message: {} bytes", text.len());
    }
    lines.len()
}

#[test]
fn programs_that_are_killed_leave_no_part_of_a_message_behind() {
    assert!(killed(3) > 0, "no message came, so this shows nothing");
}

#[test]
#[ignore = "100 publishers and subscribers are killed"]
fn full_row_8_programs_that_are_killed() {
    let lines = killed(100);
    println!(
        "row 8: 100 publishers and 100 subscribers killed: {lines} messages came, all whole, \
         descriptors as before"
    );
    assert!(lines > 0);
}

fn signal(process: &Process, name: &str) {
    let status = Command::new("kill").args(["-s", name, &process.id().to_string()]).status();
    assert!(status.unwrap().success());
}

/// A subscriber program that is stopped is closed by heartbeat; how long that took.
fn stopped(heartbeat: u32) -> Duration {
    let broker = Broker::with_config(&format!("[timeouts]\nheartbeat = {heartbeat}\n"));
    let subscriber = broker.ready_subscriber("--format %p\\n --topic t --topic probe.>");
    let healthy = broker.ready_subscriber("--format %p\\n --topic t --topic probe.>");
    signal(&subscriber, "STOP");
    let start = Instant::now();
    broker.process.await_stderr("heartbeat_timeout");
    let found = start.elapsed();
    let probe = broker.publisher("--topic t --message still-here");
    assert_eq!(process::run(probe, b"").code, Some(0));
    healthy.await_stdout("still-here");
    let log = broker.process.await_stderr("heartbeat_timeout");
    assert_eq!(log.matches("heartbeat_timeout").count(), 1, "only the stopped one goes:\n{log}");
    signal(&subscriber, "CONT");
    found
}

#[test]
fn a_stopped_subscriber_program_is_closed_by_heartbeat_and_others_are_not() {
    assert!(stopped(1) < PATIENCE);
}

#[test]
#[ignore = "wants the machine for itself"]
fn full_row_9_a_stopped_program() {
    let found = stopped(5);
    println!(
        "row 9: a subscriber program stopped by SIGSTOP, heartbeat 5 s: gone after {:.2} s",
        found.as_secs_f64()
    );
    // Two of them, and the second that closing may take where the peer does not answer.
    assert!(found <= Duration::from_millis(11_500));
}
