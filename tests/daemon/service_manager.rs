//! Proves what a service manager is told over the whole life of the daemon: readiness, status,
//! watchdog, reload and stop; and that nothing waits for a service manager.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::broker::command;
use crate::support::frame::publish;
use crate::support::manager::value;
use crate::support::{Broker, Manager, PATIENCE, Peer, Process, TempDir};

/// A watched broker with a watchdog of so many microseconds.
fn with_watchdog(manager: &Manager, interval: &str) -> Broker {
    let dir = TempDir::new();
    let mut command = command(dir.path());
    command.args(["-s", "0", "-p", "0"]).env("WATCHDOG_USEC", interval);
    Broker::started(dir, Process::spawn(manager.watch(&mut command)))
}

/// A stalled subscriber with more queued than the kernel takes.
fn stalled(broker: &Broker) -> Peer {
    let stalled = broker.small_subscriber_of(b"t");
    let mut publisher = broker.publisher();
    for _ in 0..70 {
        publisher.publish(b"t", &[7; 100_000]);
    }
    publisher.confirm();
    stalled
}

/// The microseconds that a message asks for.
fn extension(message: &str) -> u64 {
    value(message, "EXTEND_TIMEOUT_USEC").and_then(|time| time.parse().ok()).expect("a number")
}

#[test]
fn it_is_ready_when_both_ports_are_open_and_not_before() {
    let manager = Manager::new();
    let broker = Broker::watched(&manager, &[]);
    let first = manager.next(PATIENCE).expect("a message is due");
    assert!(first.starts_with("READY=1\nSTATUS=0 connections"), "{first}");
    let (mut subscriber, mut publisher) = (broker.subscriber_of(&[b"t"]), broker.publisher());
    publisher.publish(b"t", b"x");
    subscriber.expect_message(b"t", b"x");
}

#[test]
fn one_that_cannot_open_a_port_is_never_ready() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let (manager, dir) = (Manager::new(), TempDir::new());
    for arguments in [["-s", "0", "-p", &port], ["-s", &port, "-p", "0"]] {
        let mut command = command(dir.path());
        let process = Process::spawn(manager.watch(command.args(arguments)));
        assert_eq!(process.outcome().0, Some(1));
        // Only its status is sent: why it does not start.
        let told = manager.next(Duration::ZERO).expect("the reason is told");
        assert!(told.starts_with("STATUS=cannot listen for "), "{told}");
        assert_eq!(manager.next(Duration::ZERO), None);
    }
}

#[test]
fn a_socket_with_a_path_is_as_good_as_one_with_an_abstract_name() {
    // Not below the build directory, whose path may be too long for the name of a socket.
    let path = std::env::temp_dir().join(format!("broker-test-{}.notify", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("the name is free");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes its options");
    let dir = TempDir::new();
    let mut command = command(dir.path());
    command.args(["-s", "0", "-p", "0"]).env("NOTIFY_SOCKET", &path);
    let _process = Process::spawn(&mut command);
    let mut bytes = [0; 100];
    let received = socket.recv(&mut bytes);
    let _ = std::fs::remove_file(&path);
    assert!(received.is_ok() && bytes.starts_with(b"READY=1\n"), "{received:?}");
}

#[test]
fn a_reload_is_told_with_its_time_and_ends_ready() {
    let manager = Manager::new();
    let broker = Broker::watched(&manager, &[]);
    manager.wait_for("READY=1");
    let settings = [("limits.max_subscriptions", "7")];
    broker.reload(&settings);
    let begin = manager.next(PATIENCE).expect("a message is due");
    assert_eq!(begin.lines().count(), 2, "{begin}");
    assert_eq!(value(&begin, "RELOADING"), Some("1"));
    let time = value(&begin, "MONOTONIC_USEC").and_then(|time| time.parse::<u64>().ok());
    assert!(time.is_some_and(|time| time > 0), "{begin}");
    let end = manager.next(PATIENCE).expect("a message is due");
    assert!(end.starts_with("READY=1\nSTATUS=0 connections"), "{end}");
    broker.log().wait_for_count("reloaded: limits.max_subscriptions 10000 -> 7", 1);
}

#[test]
fn a_failed_reload_stays_in_the_status_until_a_good_one() {
    let manager = Manager::new();
    let broker = Broker::watched(&manager, &[]);
    manager.wait_for("READY=1");
    broker.dir.write("config.ini", "[limits]\nmax_pyload = 1\nmax_subscriptions = x\n");
    broker.signal("HUP");
    manager.wait_for("RELOADING=1");
    let end = manager.wait_for("READY=1");
    assert_eq!(end.lines().count(), 2, "a status is one line: {end}");
    for words in ["not reloaded", "config.ini:2: ", "config.ini:3: ", "0 connections"] {
        assert!(end.contains(words), "no {words} in {end}");
    }
    let status = figures_after_traffic(&manager, &broker);
    assert!(status.contains("config.ini:2: "), "{status}");
    broker.reload(&[]);
    assert!(!manager.wait_for("READY=1").contains("not reloaded"));
}

#[test]
fn an_error_of_any_length_fits_into_a_status_message() {
    let manager = Manager::new();
    let broker = Broker::watched(&manager, &[]);
    manager.wait_for("READY=1");
    let keys: Vec<_> = (0..100).map(|number| format!("listener_{number} = tcp\n")).collect();
    broker.dir.write("config.ini", &format!("[network]\n{}", keys.concat()));
    broker.signal("HUP");
    let end = manager.wait_for("READY=1");
    assert!(end.contains("config.ini:2: ") && end.contains("0 connections"), "{end}");
    assert!(end.len() < 2_048, "systemd ignores a message beyond 4096 bytes: {}", end.len());
    broker.log().wait_for_count("config.ini:21: ", 1);
}

/// Keeps the broker busy until it sends figures.
fn figures_after_traffic(manager: &Manager, broker: &Broker) -> String {
    let (mut subscriber, mut publisher) = (broker.subscriber_of(&[b"t"]), broker.publisher());
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        publisher.publish(b"t", b"x");
        subscriber.expect_message(b"t", b"x");
        if let Some(message) = manager.next(Duration::from_millis(100)) {
            return message;
        }
    }
    panic!("no figures while messages were delivered");
}

#[test]
fn figures_are_told_while_something_happens_and_not_when_idle() {
    let manager = Manager::new();
    let broker = Broker::watched(&manager, &[("timeouts.heartbeat", "0")]);
    manager.wait_for("READY=1");
    let status = figures_after_traffic(&manager, &broker);
    assert!(status.starts_with("STATUS=2 connections, 1 subscriptions; "), "{status}");
    let idle = Broker::watched(&manager, &[]);
    manager.wait_for("READY=1");
    // Longer than it would take; there is no condition to wait for.
    assert_eq!(manager.next(Duration::from_secs(7)), None);
    drop(idle);
}

#[test]
fn the_loop_itself_feeds_the_watchdog_so_a_stopped_one_does_not() {
    let manager = Manager::new();
    let broker = with_watchdog(&manager, "400000");
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    broker.signal("STOP");
    // What was under way may still arrive.
    thread::sleep(Duration::from_millis(100));
    manager.skip();
    assert_eq!(manager.next(Duration::from_secs(2)), None, "a stopped broker lives");
    broker.signal("CONT");
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
}

#[test]
fn without_a_watchdog_or_with_that_of_another_process_there_is_no_sign_of_life() {
    for (key, text) in [("WATCHDOG_PID", "1"), ("WATCHDOG_USEC", "0"), ("WATCHDOG_USEC", "x")] {
        let (manager, dir) = (Manager::new(), TempDir::new());
        let mut command = command(dir.path());
        command.args(["-s", "0", "-p", "0"]).env("WATCHDOG_USEC", "100000").env(key, text);
        let broker = Broker::started(dir, Process::spawn(manager.watch(&mut command)));
        manager.wait_for("READY=1");
        assert_eq!(manager.next(Duration::from_millis(500)), None, "{key}={text}");
        drop(broker);
    }
}

#[test]
fn stopping_asks_for_time_again_and_again_while_it_drains() {
    let manager = Manager::new();
    let mut broker = Broker::watched(&manager, &[("timeouts.drain", "600")]);
    let mut slow = stalled(&broker);
    broker.signal("TERM");
    let first = manager.wait_for("STOPPING=1");
    assert!(value(&first, "STATUS").is_some_and(|text| text.starts_with("draining; ")), "{first}");
    assert_eq!(extension(&first), 25_000_000, "a part of the drain, so that it must ask again");
    let second = manager.wait_for("EXTEND_TIMEOUT_USEC");
    assert_eq!(extension(&second), 25_000_000);
    assert!(broker.is_running());
    assert_eq!(slow.frames_until_close().len(), 71);
    drop(slow);
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn a_short_drain_asks_for_no_more_than_it_takes() {
    let manager = Manager::new();
    let mut broker = Broker::watched(&manager, &[("timeouts.drain", "0.5")]);
    let slow = stalled(&broker);
    manager.skip();
    broker.signal("TERM");
    assert_eq!(extension(&manager.wait_for("STOPPING=1")), 5_500_000);
    broker.wait();
    assert_eq!(manager.skip(), 0, "nothing was left to tell");
    drop(slow);
}

#[test]
fn a_service_manager_that_does_not_listen_blocks_nothing_and_hears_the_end() {
    let manager = Manager::new();
    let broker = Broker::watched(&manager, &[]);
    // More than a socket's queue holds.
    for count in 1..=30 {
        broker.signal("HUP");
        broker.log().wait_for_count("reloaded: no setting", count);
    }
    let (mut subscriber, mut publisher) = (broker.subscriber_of(&[b"t"]), broker.publisher());
    publisher.publish(b"t", b"x");
    subscriber.expect_message(b"t", b"x");
    let mut last = manager.wait_for("READY=1");
    while let Some(message) = manager.next(Duration::from_secs(1)) {
        last = message;
    }
    assert!(last.starts_with("READY=1\n"), "the end of the last reload was forgotten: {last}");
}

#[test]
fn a_service_manager_that_is_not_there_is_only_mentioned() {
    for name in ["@nobody-listens-here", "/nonexistent/notify", "vsock:2:9999"] {
        let dir = TempDir::new();
        let mut command = command(dir.path());
        command.args(["-s", "0", "-p", "0"]).env("NOTIFY_SOCKET", name);
        let broker = Broker::started(dir, Process::spawn(&mut command));
        broker.log().wait_for_count("the service manager", 1);
        let mut publisher = broker.publisher();
        publisher.send(&publish(b"t", b"x"));
        publisher.confirm();
    }
}

#[test]
fn for_the_journal_lines_have_a_priority_and_no_time() {
    let dir = TempDir::new();
    let program = command(dir.path());
    // The variable names standard error by its device and inode, which only its process knows.
    let script = "export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); exec \"$0\" -s 0 -p 0";
    let mut command = Command::new("sh");
    command.current_dir(dir.path()).arg("-c").arg(script).arg(program.get_program());
    let broker = Broker::started(dir, Process::spawn(&mut command));
    broker.signal("HUP");
    broker.log().wait_for("a line", |line| line == "<6>reloaded: no setting has changed");
    let lines = broker.log().so_far();
    let has_priority = |line: &&String| line.starts_with("<6>") || line.starts_with("<4>");
    assert_eq!(lines.iter().filter(has_priority).count(), lines.len(), "{lines:?}");
}

#[test]
fn a_stream_that_is_not_the_journals_has_times_though_the_variable_is_inherited() {
    let dir = TempDir::new();
    let mut command = command(dir.path());
    command.args(["-s", "0", "-p", "0"]).env("JOURNAL_STREAM", "8:4711");
    let broker = Broker::started(dir, Process::spawn(&mut command));
    let lines = broker.log().so_far();
    assert!(lines.iter().all(|line| line.contains("Z [INFO] ")), "{lines:?}");
}

#[test]
fn an_idle_broker_wakes_up_for_its_watchdog_alone() {
    let manager = Manager::new();
    let broker = with_watchdog(&manager, "2000000");
    manager.wait_for("WATCHDOG=1");
    let before = broker.process().cpu_and_sleeps().1;
    manager.skip();
    thread::sleep(Duration::from_secs(5));
    let woken = broker.process().cpu_and_sleeps().1 - before;
    let told = manager.skip() as u64;
    assert!(told >= 3, "the watchdog was fed {told} times in 5 s");
    assert!(woken <= told + 1, "it woke up {woken} times to feed the watchdog {told} times");
    let Some(calls) = system_calls(broker.process(), Duration::from_secs(5)) else { return };
    let others: Vec<&String> =
        calls.iter().filter(|call| *call != "epoll_wait" && *call != "sendto").collect();
    assert!(others.is_empty(), "system calls beyond the watchdog's: {others:?}");
    let sent = calls.iter().filter(|call| *call == "sendto").count();
    assert!(sent >= 3 && calls.len() <= 2 * sent + 2, "{calls:?}");
}

/// The system calls that a process makes in this time; `None` without strace, which is not allowed
/// where everything must be tested.
fn system_calls(process: &Process, watched: Duration) -> Option<Vec<String>> {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "strace is not installed");
        eprintln!("without strace the system calls are not looked at");
        return None;
    }
    let dir = TempDir::new();
    let (file, pid) = (dir.path().join("calls"), process.id().to_string());
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-p", &pid, "-o"]).arg(&file);
    let mut strace = Process::spawn(&mut command);
    thread::sleep(watched);
    strace.signal("INT");
    strace.wait();
    let calls = std::fs::read_to_string(&file).expect("strace has written");
    let name = |line: &str| {
        let call = line.split_once(' ')?.1.trim_start();
        let end = call.find('(')?;
        (!call.starts_with(['+', '-', '<'])).then(|| call[..end].to_owned())
    };
    Some(calls.lines().filter_map(name).collect())
}
