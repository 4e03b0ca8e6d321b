//! Proves that idle connections cost next to nothing: memory for each, and no work at all.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::support::connections::{FILES_OF_ALL_TESTS, Greeting, open_files};
use crate::support::process::ini;
use crate::support::{Broker, mib};

/// Bytes of memory that an idle, subscribed connection may cost.
const EACH: f64 = 768.0;

/// So many subscribed connections; the bytes that each cost, and how often the broker woke up and
/// how many hundredths of a second it used while it was watched.
fn idle(count: usize, watched: Duration) -> (f64, u64, u64) {
    // No heartbeat, and nothing that the log sums up later, so that there is nothing to do at all.
    let broker = Broker::with(&[("timeouts.heartbeat", "0")]);
    let quiet = ini(&[("timeouts.heartbeat", "0"), ("log.level", "warn")]);
    broker.dir.write("settings.ini", &quiet);
    broker.signal("HUP");
    broker.log().wait_for("the other level", |line| line.contains("reloaded: log.level"));
    let greeting = Greeting::new(&broker, b"idle.topic");
    // The first ones cause what it keeps for good.
    let enter = |count: usize| -> Vec<TcpStream> {
        let stream = || greeting.enter(broker.subscribers).expect("there is room");
        (0..count).map(|_| stream()).collect()
    };
    let _first = enter(100);
    let before = broker.process().resident();
    let _crowd = enter(count);
    let each = (broker.process().resident() - before) as f64 / count as f64;
    let start = broker.process().settled_cpu_and_sleeps();
    thread::sleep(watched);
    let end = broker.process().cpu_and_sleeps();
    (each, end.1 - start.1, end.0 - start.0)
}

#[test]
fn idle_connections_cost_little_memory_and_no_work() {
    open_files(FILES_OF_ALL_TESTS);
    let (each, woken, time) = idle(1_000, Duration::from_millis(300));
    // With so few, single pages make a difference.
    assert!(each <= 2.0 * EACH, "{each:.0} bytes for each");
    assert_eq!((woken, time), (0, 0), "it woke up or worked");
}

#[test]
#[ignore = "10,000 connections"]
fn full_row_3_ten_thousand_idle_connections() {
    open_files(10_500);
    let start = Broker::start().process().resident();
    let (each, woken, time) = idle(9_800, Duration::from_secs(10));
    println!(
        "row 3: {:.2} MiB resident at the start of 4 allowed; 9,800 idle connections: {each:.0} \
         bytes each of {EACH:.0} allowed, woken {woken} times and {time} hundredths of a second \
         of work in 10 s",
        mib(start)
    );
    assert!(start <= 4 << 20, "{:.2} MiB at the start", mib(start));
    assert!(each <= EACH, "{each:.0} bytes for each");
    assert_eq!((woken, time), (0, 0), "it woke up or worked");
}
