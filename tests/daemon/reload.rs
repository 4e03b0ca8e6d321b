//! Proves what SIGHUP does: all that the file says applies or nothing of it, no client is
//! disconnected, and the log says what changed.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use crate::support::broker::command;
use crate::support::frame::{publish, subscribe};
use crate::support::process::ini;
use crate::support::{Broker, Flood, Manager, PATIENCE, Peer, Process, TempDir, code, kind};

/// The words in the log that say how often a reload failed.
const FAILED: &str = "the old settings stay in force";

/// A broker that reads `config.ini` in its directory.
fn start(settings: &[(&str, &str)], arguments: &[&str]) -> Broker {
    let dir = TempDir::new();
    dir.write("config.ini", &ini(settings));
    Broker::run(dir, &[&["-s", "0", "-p", "0"], arguments].concat())
}

/// A subscriber at its limit of subscriptions.
fn is_refused(peer: &mut Peer, filter: &[u8]) {
    peer.send(&subscribe(filter, b""));
    let answers = peer.frames_until_pong();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].error_code(), code::TOO_MANY);
}

#[test]
fn new_limits_apply_to_what_follows_and_no_client_is_disconnected() {
    let broker = start(&[("limits.max_subscriptions", "3"), ("network.max_connections", "9")], &[]);
    let mut subscriber = broker.subscriber_of(&[b"a", b"b"]);
    let mut publisher = broker.publisher();
    broker.reload(&[("limits.max_subscriptions", "1"), ("network.max_connections", "2")]);
    broker.log().wait_for_count("reloaded: limits.max_subscriptions 3 -> 1", 1);
    broker.log().wait_for_count("reloaded: network.max_connections 9 -> 2", 1);
    is_refused(&mut subscriber, b"c");
    let mut late = Peer::connect(broker.subscribers);
    late.expect_refusal(code::TOO_MANY);
    publisher.publish(b"b", b"x");
    subscriber.expect_message(b"b", b"x");
    broker.reload(&[("limits.max_subscriptions", "4")]);
    broker.log().wait_for_count("reloaded: limits.max_subscriptions 1 -> 4", 1);
    subscriber.subscribe(b"c", b"");
    broker.subscriber();
}

#[test]
fn what_needs_a_restart_is_named_each_time_and_keeps_its_value() {
    let broker = start(&[], &[]);
    let new = [
        ("network.host", "::1"),
        ("network.read_bytes", "64KiB"),
        ("limits.max_payload", "7"),
        ("timeouts.drain", "3"),
    ];
    for count in 1..=2 {
        broker.reload(&new);
        for change in [
            "network.host 127.0.0.1 -> ::1: that needs a restart",
            "network.read_bytes 128KiB -> 64KiB: that needs a restart",
            "limits.max_payload 1MiB -> 7: that needs a restart",
        ] {
            broker.log().wait_for_count(change, count);
        }
    }
    broker.log().wait_for_count("reloaded: timeouts.drain 10 -> 3", 1);
    let (mut subscriber, mut publisher) = (broker.subscriber_of(&[b"t"]), broker.publisher());
    publisher.publish(b"t", b"more than 7 bytes");
    subscriber.expect_message(b"t", b"more than 7 bytes");
}

#[test]
fn the_command_line_still_wins() {
    let broker = start(&[("log.level", "warn")], &["--log-level", "info"]);
    let ports = [("network.publisher_port", "1"), ("network.subscriber_port", "2")];
    broker.reload(&[ports[0], ports[1], ("log.level", "off")]);
    broker.log().wait_for_count("reloaded: no setting has changed", 1);
}

#[test]
fn a_file_that_cannot_be_used_changes_nothing() {
    let manager = Manager::new();
    let broker = Broker::watched(&manager, &[("limits.max_subscriptions", "1")]);
    let mut subscriber = broker.subscriber_of(&[b"a"]);
    let path = broker.dir.path().join("config.ini");
    let write = |bytes: &[u8]| fs::write(&path, bytes).expect("a file can be written");
    let good = "[limits]\nmax_subscriptions = 5\n";
    let rows: [(&dyn Fn(), &str); 6] = [
        (&|| write(format!("{good}oops = 1\n").as_bytes()), "config.ini:3: unknown key oops"),
        (&|| write(format!("{good}outbox_bytes = x\n").as_bytes()), "config.ini:3: "),
        // Each of them is valid, but not together with the unchanged read_bytes.
        (&|| write(format!("{good}memory_bytes = 1MiB\n").as_bytes()), "memory_bytes is 1MiB"),
        (&|| write(&[good.as_bytes(), b"; \xFF\n"].concat()), "cannot be read"),
        (&|| fs::remove_file(&path).expect("it was there"), "cannot be read: No such file"),
        (&|| fs::create_dir(&path).expect("the name is free"), "cannot be read: Is a directory"),
    ];
    for (count, (spoil, word)) in (1..).zip(rows) {
        spoil();
        broker.signal("HUP");
        broker.log().wait_for_count(FAILED, count);
        manager.wait_for("RELOADING=1");
        let status = manager.wait_for("READY=1");
        assert!(status.contains(word), "no {word} in {status}");
        assert!(broker.log().so_far().iter().any(|line| line.contains(word)), "{word}");
        is_refused(&mut subscriber, b"b");
    }
    fs::remove_dir(&path).expect("it was there");
    write(good.as_bytes());
    broker.signal("HUP");
    broker.log().wait_for_count("reloaded: limits.max_subscriptions 1 -> 5", 1);
    subscriber.subscribe(b"b", b"");
}

#[test]
fn a_file_that_appears_later_is_read() {
    let broker = Broker::run(TempDir::new(), &["-s", "0", "-p", "0"]);
    broker.reload(&[("limits.max_subscriptions", "1")]);
    broker.log().wait_for_count("reloaded: limits.max_subscriptions 10000 -> 1", 1);
}

#[test]
fn without_a_free_descriptor_the_old_settings_stay_and_the_watchdog_is_fed() {
    let (manager, dir) = (Manager::new(), TempDir::new());
    dir.write("config.ini", "[timeouts]\nhello = 600\n[limits]\nmax_subscriptions = 1\n");
    let program = command(dir.path()).get_program().to_owned();
    let mut shell = Command::new("sh");
    shell.current_dir(dir.path()).env("WATCHDOG_USEC", "1000000");
    shell.arg("-c").arg("ulimit -n 40 && exec \"$0\" -s 0 -p 0").arg(program);
    let broker = Broker::started(dir, Process::spawn(manager.watch(&mut shell)));
    let mut subscriber = broker.subscriber_of(&[b"a"]);
    let connections: Vec<TcpStream> = (0..80)
        .filter_map(|_| TcpStream::connect_timeout(&broker.subscribers, PATIENCE).ok())
        .collect();
    broker.log().wait_for_count("cannot accept", 1);
    broker.reload(&[("limits.max_subscriptions", "5"), ("timeouts.hello", "600")]);
    broker.log().wait_for_count(FAILED, 1);
    let status = loop {
        let message = manager.wait_for("READY=1");
        if message.contains("not reloaded") {
            break message;
        }
    };
    assert!(status.contains("Too many open files"), "{status}");
    is_refused(&mut subscriber, b"b");
    manager.skip();
    manager.wait_for("WATCHDOG=1");
    drop(connections);
    // As soon as descriptors are free again, it is read.
    broker.signal("HUP");
    let deadline = std::time::Instant::now() + PATIENCE;
    while !broker.log().so_far().iter().any(|line| line.contains("1 -> 5")) {
        assert!(std::time::Instant::now() < deadline, "it is not read any more");
        std::thread::sleep(std::time::Duration::from_millis(100));
        broker.signal("HUP");
    }
    subscriber.subscribe(b"b", b"");
}

#[test]
fn a_heartbeat_that_is_switched_on_reaches_those_who_are_connected() {
    let broker = start(&[("timeouts.heartbeat", "0")], &[]);
    let mut silent = broker.subscriber();
    broker.reload(&[("timeouts.heartbeat", "0.3")]);
    let frame = silent.recv();
    assert_eq!(frame.kind, kind::PING, "{frame:?}");
    silent.expect_refusal(code::TIMEOUT);
}

#[test]
fn publishers_go_on_when_the_outbox_that_they_wait_for_may_hold_more() {
    let stall = ("overflow.stall_timeout", "600");
    let broker = start(&[("limits.outbox_bytes", "64KiB"), stall], &[]);
    let stalled = broker.small_subscriber_of(b"t");
    let publisher = broker.publisher();
    let bytes: Vec<u8> = (0..2_400).flat_map(|_| publish(b"t", &[7; 10_000])).collect();
    let flood = Flood::start(publisher.sender(), bytes);
    flood.wait_until_blocked();
    broker.reload(&[("limits.outbox_bytes", "64MiB"), stall]);
    flood.finish();
    drop((stalled, publisher));
}

#[test]
fn a_policy_that_drops_frees_publishers_that_wait() {
    let small = ("limits.outbox_bytes", "64KiB");
    let broker = start(&[small, ("overflow.stall_timeout", "600")], &[]);
    let stalled = broker.small_subscriber_of(b"t");
    let mut publisher = broker.publisher();
    let bytes: Vec<u8> = (0..2_400).flat_map(|_| publish(b"t", &[7; 10_000])).collect();
    let flood = Flood::start(publisher.sender(), bytes);
    flood.wait_until_blocked();
    broker.reload(&[small, ("overflow.policy", "drop")]);
    flood.finish();
    publisher.confirm();
    drop(stalled);
}

#[test]
fn the_log_file_is_opened_anew_so_that_it_can_be_rotated() {
    let broker = start(&[], &[]);
    broker.reload(&[("log.file", "broker.log")]);
    broker.log().wait_for_count("the log goes on in broker.log", 1);
    let (log, old) = (broker.dir.path().join("broker.log"), broker.dir.path().join("broker.log.1"));
    wait_for(&log, "reloaded: log.file (none) -> broker.log");
    fs::rename(&log, &old).expect("it was there");
    broker.signal("HUP");
    wait_for(&log, "reloaded: no setting has changed");
    broker.subscriber();
    wait_for(&log, "connected: subscriber");
    let before = fs::read_to_string(&old).expect("it was there");
    assert!(!before.contains("connected: subscriber"), "{before}");
    broker.reload(&[("log.format", "journal")]);
    broker.log().wait_for_count("<6>reloaded: log.format auto -> journal", 1);
    assert!(broker.log().so_far().iter().all(|line| !line.contains("connected: ")));
}

/// Waits until a file has such a line.
fn wait_for(file: &std::path::Path, words: &str) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(file).unwrap_or_default();
        if text.contains(words) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "waited in vain for {words} in {text}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_log_file_that_cannot_be_opened_fails_the_whole_reload() {
    let broker = start(&[("limits.max_subscriptions", "1")], &[]);
    broker.reload(&[("log.file", "/nonexistent/log"), ("limits.max_subscriptions", "5")]);
    broker.log().wait_for_count("not reloaded: the log /nonexistent/log cannot be opened: No", 1);
    broker.log().wait_for_count(FAILED, 1);
    is_refused(&mut broker.subscriber_of(&[b"a"]), b"b");
}

#[test]
fn the_log_level_changes_and_the_change_itself_is_logged_either_way() {
    let broker = start(&[], &[]);
    broker.reload(&[("log.level", "error")]);
    broker.log().wait_for_count("reloaded: log.level info -> error", 1);
    broker.subscriber();
    broker.reload(&[("log.level", "debug")]);
    broker.log().wait_for_count("reloaded: log.level error -> debug", 1);
    let mut publisher = broker.publisher();
    publisher.send(&[0; 8]);
    publisher.expect_refusal(code::MALFORMED);
    broker.log().wait_for_count("closing publisher", 1);
    let quiet = broker.log().so_far();
    assert!(!quiet.iter().any(|line| line.contains("connected: subscriber")), "{quiet:?}");
}

#[test]
fn more_connections_raise_the_limit_of_descriptors_or_say_that_they_do_not_fit() {
    let dir = TempDir::new();
    dir.write("config.ini", &ini(&[("network.max_connections", "50")]));
    let program = command(dir.path()).get_program().to_owned();
    let mut shell = Command::new("sh");
    let script = "ulimit -Sn 100 && ulimit -Hn 500 && exec \"$0\" -s 0 -p 0";
    shell.current_dir(dir.path()).arg("-c").arg(script).arg(program);
    let broker = Broker::started(dir, Process::spawn(&mut shell));
    let soft = || {
        let limits = fs::read_to_string(format!("/proc/{}/limits", broker.process().id()));
        let limits = limits.expect("it is running");
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u32>().ok())
    };
    assert_eq!(soft(), Some(114), "at the start, for 50 connections");
    broker.reload(&[("network.max_connections", "400")]);
    broker.log().wait_for_count("network.max_connections 50 -> 400", 1);
    assert!(!broker.log().so_far().iter().any(|line| line.contains("LimitNOFILE")));
    broker.reload(&[("network.max_connections", "1000")]);
    let line = &broker.log().wait_for_count("LimitNOFILE", 1)[0];
    assert!(line.contains("max_connections is 1000, but only 500 descriptors"), "{line}");
    assert_eq!(soft(), Some(500));
}

#[test]
fn a_start_with_more_connections_than_descriptors_says_so() {
    let dir = TempDir::new();
    let program = command(dir.path()).get_program().to_owned();
    let mut shell = Command::new("sh");
    let script = "ulimit -n 100 && exec \"$0\" -s 0 -p 0";
    shell.current_dir(dir.path()).arg("-c").arg(script).arg(program);
    let broker = Broker::started(dir, Process::spawn(&mut shell));
    let line = &broker.log().wait_for_count("LimitNOFILE", 1)[0];
    assert!(line.contains("max_connections is 10000, but only 100 descriptors"), "{line}");
}

#[test]
fn a_broker_that_stops_reloads_no_more() {
    let mut broker = start(&[("timeouts.drain", "600")], &[]);
    let mut stalled = broker.small_subscriber_of(b"t");
    let mut publisher = broker.publisher();
    for _ in 0..70 {
        publisher.publish(b"t", &[7; 100_000]);
    }
    publisher.confirm();
    broker.signal("TERM");
    assert_eq!(publisher.frames_until_close().len(), 1);
    broker.reload(&[("timeouts.drain", "0")]);
    broker.log().wait_for_count("not reloaded: the broker is stopping", 1);
    assert_eq!(stalled.frames_until_close().len(), 71);
    drop((stalled, publisher));
    assert_eq!(broker.wait().code(), Some(0));
}
