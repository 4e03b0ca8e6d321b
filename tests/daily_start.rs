//! `broker --exit-with-stdin`: a broker that a program starts for itself cannot outlive it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn the_end_of_standard_input_stops_the_broker_as_a_signal_does() {
    let mut broker = Command::new(env!("CARGO_BIN_EXE_broker"))
        .args(["--exit-with-stdin", "--config", "/dev/null", "-s", "0", "-p", "0"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the broker starts");
    let mut log = BufReader::new(broker.stderr.take().expect("it is a pipe")).lines();
    let mut said = |what: &str| {
        let line = log.by_ref().map_while(Result::ok).find(|line| line.contains(what));
        line.unwrap_or_else(|| panic!("the log ended without {what:?}"))
    };
    said("listening for subscribers");
    drop(broker.stdin.take());
    said("told to stop");
    said("drained");
    assert_eq!(broker.wait().expect("it ends").code(), Some(0));
}
