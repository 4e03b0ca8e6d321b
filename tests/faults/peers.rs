//! Proves that silent peers are detected by heartbeat: those that keep their socket open and never
//! answer, and those whose packets no longer arrive.

use std::io::Read;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::connections::{Greeting, open_files};
use crate::support::{Broker, PATIENCE, TempDir};

/// Set in the copy of this program that runs in a network namespace of its own.
const IN_OWN_NETWORK: &str = "FAULTS_IN_A_NETWORK_OF_ITS_OWN";

/// The log line before a connection is closed for its silence, and the one at its end.
const CLOSING: [&str; 2] = ["closing", "heartbeat_timeout"];
const DISCONNECTED: [&str; 2] = ["disconnected", "heartbeat_timeout"];

/// Waits for so many lines with these words.
fn all(words: [&str; 2], broker: &Broker, count: usize) {
    let deadline = Instant::now() + 6 * PATIENCE;
    let found = || {
        let lines = broker.log().so_far();
        lines.iter().filter(|line| words.iter().all(|word| line.contains(word))).count()
    };
    while found() < count {
        assert!(Instant::now() < deadline, "{} of {count} were found", found());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Peers that send nothing more, as a stopped process whose kernel still acknowledges: how long
/// until the first was detected, all of them, and all were removed. Each time counts from the
/// connection of the first, or of the last.
fn silent_peers(count: usize, heartbeat: &'static str) -> [Duration; 3] {
    let broker = Broker::with(&[("timeouts.heartbeat", heartbeat), ("log.level", "debug")]);
    let greeting = Greeting::new(&broker, b"silence");
    let start = Instant::now();
    let enter = || greeting.enter(broker.subscribers).expect("there is room");
    let peers: Vec<_> = (0..count).map(|_| enter()).collect();
    let all_in = Instant::now();
    all(CLOSING, &broker, 1);
    let first = start.elapsed();
    all(CLOSING, &broker, count);
    let last = all_in.elapsed();
    all(DISCONNECTED, &broker, count);
    let gone = all_in.elapsed();
    for mut peer in peers {
        // PING arrived, ERROR and the end.
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).expect("the end is orderly");
        assert!(rest.len() > 8, "it was not asked before it was closed");
    }
    [first, last, gone]
}

#[test]
fn peers_that_never_answer_are_closed_after_two_heartbeats() {
    let [first, ..] = silent_peers(50, "1");
    assert!(first >= Duration::from_millis(1_900), "one was closed after {first:?} already");
}

#[test]
#[ignore = "1,000 silent peers, and a network of its own"]
fn full_row_9_silent_and_half_open_peers() {
    open_files(1_200);
    if std::env::var_os(IN_OWN_NETWORK).is_some() {
        return half_open_peers();
    }
    let times = silent_peers(1_000, "2").map(|time| time.as_secs_f64());
    println!(
        "row 9: 1,000 peers that never answer, heartbeat 2 s: found after {:.2} to {:.2} s, all \
         gone after {:.2} s",
        times[0], times[1], times[2]
    );
    // Two heartbeats; closing may take a second where the peer does not answer.
    assert!(times[1] <= 4.5 && times[2] <= 5.5);
    // Once more in a network that can be cut without affecting others.
    let this = std::env::current_exe().expect("a process knows its program");
    let name = "peers::full_row_9_silent_and_half_open_peers";
    let output = Command::new("unshare")
        .args(["--map-root-user", "--net"])
        .arg(this)
        .args(["--ignored", "--exact", name, "--nocapture"])
        .env(IN_OWN_NETWORK, "yes")
        .output()
        .expect("there is unshare");
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines().filter(|line| line.contains("row 9")).for_each(|line| println!("{line}"));
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// Switches the loopback interface of this network, which is not the machine's.
fn interface(state: &str) {
    let status = Command::new("ip").args(["link", "set", "lo", state]).status();
    assert!(status.expect("there is ip").success(), "lo {state}");
}

/// The network is cut: packets of neither side arrive, and neither is notified. All connections
/// must be detected and freed, and new ones are accepted when the network is up again.
fn half_open_peers() {
    interface("up");
    let dir = TempDir::new();
    dir.write("config.ini", "[timeouts]\nheartbeat = 2\n[log]\nlevel = debug\n");
    let broker = Broker::run(dir, &["-s", "0", "-p", "0"]);
    let greeting = Greeting::new(&broker, b"silence");
    let descriptors = broker.process().descriptors();
    let enter = || greeting.enter(broker.subscribers).expect("there is room");
    let peers: Vec<_> = (0..200).map(|_| enter()).collect();
    interface("down");
    let cut = Instant::now();
    all(CLOSING, &broker, peers.len());
    let found = cut.elapsed();
    all(DISCONNECTED, &broker, peers.len());
    while broker.process().descriptors() > descriptors {
        assert!(cut.elapsed() < PATIENCE, "descriptors are still open");
        thread::sleep(Duration::from_millis(10));
    }
    println!(
        "row 9: 200 half-open peers, heartbeat 2 s: found after {:.2} s, all gone and their \
         descriptors free after {:.2} s",
        found.as_secs_f64(),
        cut.elapsed().as_secs_f64()
    );
    assert!(found <= Duration::from_millis(4_500) && cut.elapsed().as_secs_f64() <= 6.0);
    interface("up");
    broker.subscriber_of(&[b"back"]).confirm();
}
