//! The program `publisher` beside brokers that do as the test says: what is sent, what is told.

use std::time::{Duration, Instant};

use wire::native::error_code::ErrorCode;
use wire::native::frame::Kind;

use crate::support::fake::FakeBroker;
use crate::support::process::{aimed, command_file, on_a_terminal, publisher, publisher_at, start};

#[test]
fn a_publisher_notices_at_once_that_the_broker_goes_away() {
    let fake = FakeBroker::start();
    // While it waits for a command to be due …
    let file = command_file(b"3600 pub t never\n");
    let args = format!("-f {}", file.path().display());
    let (mut process, peer) = publisher_at(&fake, &args);
    peer.close();
    assert_eq!(process.finish().code, Some(1));
    // … while it waits for input …
    let (mut process, mut peer) = publisher_at(&fake, "");
    peer.send(Kind::Goodbye, b"", b"maintenance");
    peer.close();
    let finished = process.finish();
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("maintenance"), "{finished:?}");
    // … and while it waits for a confirmation.
    let (mut process, mut peer) = publisher_at(&fake, "");
    process.feed(b"pub t x\n");
    assert_eq!(peer.receive().kind, Kind::Publish);
    peer.close();
    let finished = process.finish();
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("standard input:1: not confirmed"), "{finished:?}");
}

#[test]
fn each_command_is_ok_or_has_the_broker_s_error() {
    let fake = FakeBroker::start();
    let file = command_file(b"0 pub a one\n0 pub b two\n0 pub c three\n");
    let (mut process, mut peer) = publisher_at(&fake, &format!("-f {}", file.path().display()));
    for (topic, payload) in [("a", b"one".as_slice()), ("b", b"two"), ("c", b"three")] {
        let received = peer.receive();
        assert_eq!((received.topic.as_str(), &*received.body), (topic, payload));
    }
    let ping = peer.receive();
    peer.send_error(ErrorCode::NotAllowed, false, "b", "not yours");
    peer.send(Kind::Pong, b"", &ping.body);
    process.await_stderr("OK\n");
    process.close_input();
    let ping = peer.receive();
    peer.send(Kind::Pong, b"", &ping.body);
    peer.close();
    let finished = process.finish();
    assert_eq!(finished.code, Some(1));
    let lines: Vec<&str> = finished.stderr.lines().collect();
    assert_eq!((lines[0], lines[2], lines.len()), ("OK", "OK", 3), "{finished:?}");
    assert!(lines[1].ends_with(":2: NOT_ALLOWED (b): not yours"), "{finished:?}");
}

#[test]
fn nothing_is_ok_before_the_broker_confirms_it() {
    let fake = FakeBroker::start();
    let (mut process, mut peer) = publisher_at(&fake, "");
    process.feed(b"pub a one\n");
    assert_eq!(peer.receive().kind, Kind::Publish);
    let ping = peer.receive();
    // The bad line is told by then, so the missing OK is not just late.
    process.feed(b"nonsense\nquit\n");
    peer.send(Kind::Pong, b"", &ping.body);
    let ping = peer.receive();
    peer.send(Kind::Pong, b"", &ping.body);
    peer.close();
    let finished = process.finish();
    let lines: Vec<&str> = finished.stderr.lines().collect();
    assert_eq!((lines[0], lines.len()), ("OK", 2), "{finished:?}");
    assert!(lines[1].contains("standard input:2: \"nonsense\""), "{finished:?}");
    assert_eq!(finished.code, Some(1));
}

#[test]
fn commands_wait_for_their_seconds_counted_from_the_one_before() {
    let fake = FakeBroker::start();
    let file = command_file(b"0.4 pub a one\n0.3 pub a two\n");
    // Counted from before the program starts, so that a slow machine makes it later, never earlier.
    let started = Instant::now();
    let (process, mut peer) = publisher_at(&fake, &format!("-f {}", file.path().display()));
    assert_eq!(peer.receive_past_pings().body, b"one");
    assert!(started.elapsed() >= Duration::from_millis(400));
    assert_eq!(peer.receive_past_pings().body, b"two");
    assert!(started.elapsed() >= Duration::from_millis(700));
    drop(process);
}

#[test]
fn publisher_takes_lines_a_message_or_all_of_its_input() {
    type Row<'a> = (&'a str, &'a [u8], &'a [&'a [u8]]);
    let rows: [Row<'_>; 6] = [
        ("--topic t", b"one\ntwo  \n\nlast", &[b"one", b"two  ", b"", b"last"]),
        ("--topic t", b"", &[]),
        ("--topic t --message hi", b"ignored\n", &[b"hi"]),
        ("--topic t --message --x", b"", &[b"--x"]),
        ("--topic t --whole", b"a\nb\0\xFF\n", &[b"a\nb\0\xFF\n"]),
        ("--topic t --whole", b"", &[b""]),
    ];
    for (args, input, expected) in rows {
        let fake = FakeBroker::start();
        let (mut process, mut peer) = publisher_at(&fake, args);
        process.feed(input);
        process.close_input();
        for payload in expected {
            let received = peer.receive();
            assert_eq!((received.topic.as_str(), &*received.body), ("t", *payload), "{args}");
        }
        let ping = peer.receive();
        assert_eq!(ping.kind, Kind::Ping, "{args}");
        peer.send(Kind::Pong, b"", &ping.body);
        peer.close();
        let finished = process.finish();
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{args}");
    }
}

#[test]
fn lines_are_sent_as_they_come() {
    let fake = FakeBroker::start();
    let (mut process, mut peer) = publisher_at(&fake, "--topic t");
    process.feed(b"one\nhal");
    assert_eq!(peer.receive().body, b"one");
    process.feed(b"f\n");
    assert_eq!(peer.receive().body, b"half");
}

#[test]
fn a_line_or_a_file_over_the_broker_s_limit_fails() {
    for (args, expected) in
        [("--topic t", "standard input:2: "), ("--topic t --whole", "limit of 4")]
    {
        let fake = FakeBroker::start();
        let mut process = start(publisher(&aimed(&fake, args)));
        let _peer = fake.welcome_with(4, 0.0);
        process.feed(b"ok\ntoo long");
        process.close_input();
        let finished = process.finish();
        assert_eq!(finished.code, Some(1));
        assert!(finished.stderr.contains(expected), "{finished:?}");
    }
}

#[test]
fn retry_waits_until_the_broker_is_there() {
    let fake = FakeBroker::start();
    let mut process = start(publisher(&aimed(&fake, "--topic t --message x --retry")));
    for _ in 0..3 {
        drop(fake.accept());
    }
    let mut peer = fake.welcome();
    assert_eq!(peer.receive_past_pings().body, b"x");
    let ping = peer.receive();
    peer.send(Kind::Pong, b"", &ping.body);
    peer.close();
    let finished = process.finish();
    assert_eq!(finished.code, Some(0));
    assert!(finished.stderr.contains("trying again until the broker is there"), "{finished:?}");
    assert_eq!(finished.stderr.lines().count(), 1);
}

#[test]
fn retry_does_not_insist_on_a_broker_that_refuses() {
    let fake = FakeBroker::start();
    let mut process = start(publisher(&aimed(&fake, "--topic t --message x --retry")));
    fake.accept().send_error(ErrorCode::Unauthorized, true, "", "no");
    assert_eq!(process.finish().code, Some(1));
}

#[test]
fn on_a_terminal_there_is_a_prompt_and_ok_is_on_standard_output() {
    let fake = FakeBroker::start();
    let executable = env!("CARGO_BIN_EXE_publisher");
    let mut process = start(on_a_terminal(executable, &aimed(&fake, "")));
    let mut peer = fake.welcome();
    process.await_stdout("> ");
    process.feed(b"pub t typed\n");
    assert_eq!(peer.receive().body, b"typed");
    let ping = peer.receive();
    peer.send(Kind::Pong, b"", &ping.body);
    process.await_stdout("OK\r\n> ");
    process.feed(b"quit\n");
    let ping = peer.receive();
    peer.send(Kind::Pong, b"", &ping.body);
    peer.close();
    assert_eq!(process.finish().code, Some(0));
}
