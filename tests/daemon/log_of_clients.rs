//! Proves that the log names the clients that matter to an operator, each cause in words that can
//! be searched for, and that a storm of clients is summed up in a few lines.

use std::net::{Shutdown, TcpStream};

use crate::support::frame::publish;
use crate::support::{Broker, Flood, Http, eventually};

/// Lines that a storm may have besides its sum, for each kind.
const ROUTINE_LINES: usize = 100;
const FAULT_LINES: usize = 10;

/// A line of this level with all of these words.
fn is_line(line: &str, level: &str, words: &[&str]) -> bool {
    line.contains(&format!("[{level}]")) && words.iter().all(|word| line.contains(word))
}

fn count(broker: &Broker, level: &str, words: &[&str]) -> usize {
    broker.log().so_far().iter().filter(|line| is_line(line, level, words)).count()
}

/// Waits for a line of this level about the end, for this reason, of the client of a stream.
fn expect_end(broker: &Broker, level: &str, peer: &TcpStream, reason: &str) {
    let address = peer.local_addr().expect("it is connected").to_string();
    let words = ["disconnected: publisher ", &address, reason];
    broker.log().wait_for(reason, |line| is_line(line, level, &words));
}

#[test]
fn clients_that_the_broker_gives_up_are_warned_of_and_others_are_not() {
    let broker = Broker::with(&[("timeouts.hello", "0.2")]);
    let silent = TcpStream::connect(broker.publishers).expect("it accepts");
    expect_end(&broker, "WARN", &silent, "hello_timeout");
    let broker = Broker::with(&[("network.max_connections", "1")]);
    let publisher = broker.publisher();
    let refused = TcpStream::connect(broker.publishers).expect("it accepts");
    expect_end(&broker, "WARN", &refused, "too_many_connections");
    let stream = publisher.sender();
    drop(publisher);
    stream.shutdown(Shutdown::Both).expect("it is connected");
    expect_end(&broker, "INFO", &stream, "client_closed");
}

#[test]
fn a_storm_of_refused_clients_is_a_few_lines_and_a_sum() {
    let broker = Broker::with(&[("network.max_connections", "1")]);
    let _publisher = broker.publisher();
    for _ in 0..300 {
        drop(TcpStream::connect(broker.publishers).expect("it accepts"));
    }
    let mut told = 0;
    let of_all = ["disconnected: ", "too_many_connections"];
    // A busy machine may need more than one second, each with a sum of its own.
    eventually("sums that make up for the missing lines", || {
        let lines = broker.log().so_far();
        let sums = lines.iter().filter(|line| is_line(line, "WARN", &["connections ended in"]));
        told = sums.clone().filter_map(|line| untold(line)).sum();
        let seconds = sums.count();
        let lines = count(&broker, "WARN", &of_all);
        assert!(lines <= (seconds + 2) * FAULT_LINES, "{lines} lines in {seconds} seconds");
        (lines + told == 300).then_some(())
    });
    assert!(told > 0);
}

/// How many connections a sum says have no line.
fn untold(line: &str) -> Option<usize> {
    let (before, _) = line.split_once(" of them have no line of their own")?;
    before.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_storm_of_short_lived_clients_is_summed_up_at_the_latest_when_the_broker_ends() {
    let mut broker = Broker::start();
    for _ in 0..300 {
        let mut client = broker.publisher();
        client.half_close();
        client.expect_close();
    }
    broker.signal("TERM");
    assert_eq!(broker.wait().code(), Some(0));
    let lines = broker.log().all();
    for (line_words, sum_words) in
        [("] connected: ", " connections in"), ("] disconnected: ", " ended in")]
    {
        let lines: Vec<_> = lines.lines().filter(|line| line.contains("[INFO]")).collect();
        let own = lines.iter().filter(|line| line.contains(line_words)).count();
        let sums: usize =
            lines.iter().filter(|line| line.contains(sum_words)).filter_map(|it| untold(it)).sum();
        assert_eq!(own + sums, 300, "{lines:#?}");
        assert!(sums > 0 && own >= ROUTINE_LINES, "{own}");
    }
}

#[test]
fn at_level_debug_no_client_is_without_a_line() {
    let broker = Broker::with(&[("log.level", "debug")]);
    for _ in 0..150 {
        let mut client = broker.publisher();
        client.half_close();
        client.expect_close();
    }
    broker.log().wait_for_count("disconnected: publisher", 150);
    assert_eq!(count(&broker, "DEBUG", &["disconnected: "]), 150 - ROUTINE_LINES);
}

/// Lines with these words, and the whole seconds that the broker has been up by now.
fn lines_and_seconds(broker: &Broker, words: &str) -> (usize, f64) {
    let stats = Http::get(broker.monitor(), "/stats").json();
    (count(broker, "WARN", &[words]), stats["uptime_seconds"].as_f64().expect("a number"))
}

#[test]
fn a_subscriber_that_holds_up_publishers_is_named_with_their_number() {
    let broker = Broker::with(&[
        ("limits.outbox_bytes", "64KiB"),
        ("overflow.stall_timeout", "600"),
        ("monitor.address", "127.0.0.1:0"),
    ]);
    let mut slow = broker.small_subscriber_of(b"t");
    let publisher = broker.publisher();
    let flood = Flood::start(publisher.sender(), publish(b"t", &[7; 10_000]).repeat(2_400));
    let address = slow.address().to_string();
    let words = ["subscriber ", &address, " holds up 1 publisher, with "];
    broker.log().wait_for("who is slow", |line| is_line(line, "WARN", &words));
    // It falls behind and catches up again and again.
    for _ in 0..2_400 {
        slow.expect_message(b"t", &[7; 10_000]);
    }
    flood.finish();
    let (lines, seconds) = lines_and_seconds(&broker, "holds up");
    assert!(lines as f64 <= seconds + 1.0, "{lines} lines in {seconds} s");
}

#[test]
fn a_subscriber_that_messages_are_kept_from_is_named_once_a_second() {
    let broker = Broker::with(&[
        ("limits.outbox_bytes", "64KiB"),
        ("overflow.policy", "drop"),
        ("monitor.address", "127.0.0.1:0"),
    ]);
    let slow = broker.small_subscriber_of(b"t");
    let mut publisher = broker.publisher();
    publisher.send(&publish(b"t", &[7; 10_000]).repeat(2_400));
    publisher.confirm();
    let words = ["dropping for subscriber ", &slow.address().to_string(), " messages so far, "];
    broker.log().wait_for("who loses messages", |line| is_line(line, "WARN", &words));
    let (lines, seconds) = lines_and_seconds(&broker, "dropping for");
    assert!(lines as f64 <= seconds + 1.0, "{lines} lines in {seconds} s");
}

#[test]
fn a_subscriber_that_is_closed_for_its_slowness_is_warned_of() {
    let broker =
        Broker::with(&[("limits.outbox_bytes", "64KiB"), ("overflow.policy", "disconnect")]);
    let slow = broker.small_subscriber_of(b"t");
    let mut publisher = broker.publisher();
    publisher.send(&publish(b"t", &[7; 10_000]).repeat(2_400));
    publisher.confirm();
    let words = ["disconnected: subscriber ", &slow.address().to_string(), ": slow_consumer; "];
    broker.log().wait_for("who was closed", |line| is_line(line, "WARN", &words));
}

#[test]
fn at_level_debug_it_is_told_who_subscribes_to_what() {
    let broker = Broker::with(&[("log.level", "debug")]);
    let mut subscriber = broker.subscriber();
    subscriber.subscribe(b"a.*", b"");
    subscriber.subscribe(b"jobs", b"workers");
    subscriber.unsubscribe(b"a.*", b"");
    let address = subscriber.address().to_string();
    for (what, which) in [
        ("] subscribed: ", "\"a.*\""),
        ("] subscribed: ", "\"jobs\" in queue group \"workers\""),
        ("] unsubscribed: ", "\"a.*\""),
    ] {
        broker.log().wait_for(which, |line| is_line(line, "DEBUG", &[what, &address, which]));
    }
}
