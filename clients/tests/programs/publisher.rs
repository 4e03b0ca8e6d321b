//! The program `publisher` against brokers that the test controls: what it sends and reports.

use std::process::Stdio;
use std::time::{Duration, Instant};

use wire::native::error_code::ErrorCode;
use wire::native::frame::Kind;

use crate::support::fake::{FakeBroker, Peer};
use crate::support::process::{
    Process, aimed, command_file, on_a_terminal, publisher, publisher_at, run, start,
};

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
    // The bad line has been reported by then, so the missing OK is not just late.
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
fn lines_over_the_broker_s_limit_are_told_and_the_rest_goes_on() {
    let rows: [(&str, &[u8]); 2] = [
        ("--topic t", b"ok\nmuch too long\nlast"),
        ("", b"pub t ok\npub t much too long\npub t last\n"),
    ];
    for (args, input) in rows {
        let fake = FakeBroker::start();
        let mut process = start(publisher(&aimed(&fake, args)));
        let mut peer = fake.welcome_with(4, 0.0);
        process.feed(input);
        process.close_input();
        let mut payloads = Vec::new();
        while let Some(received) = peer.try_receive() {
            match received.kind {
                Kind::Publish => payloads.push(received.body),
                Kind::Ping => peer.send(Kind::Pong, b"", &received.body),
                other => panic!("{other:?}"),
            }
        }
        drop(peer);
        assert_eq!(payloads, [b"ok".to_vec(), b"last".to_vec()], "{args}");
        let finished = process.finish();
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let told = "publisher: standard input:2: the payload of 13 bytes is over the broker's \
                    limit of 4 bytes";
        assert!(finished.stderr.contains(told), "{finished:?}");
    }
}

#[test]
fn a_whole_input_over_the_limit_is_told_by_its_true_size() {
    let fake = FakeBroker::start();
    let mut command = publisher(&aimed(&fake, "--topic t --whole"));
    let file = command_file(b"a file of 24 bytes, yes.");
    command.stdin(std::fs::File::open(file.path()).unwrap()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let _peer = fake.welcome_with(4, 0.0);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("payload of 24 bytes is over the broker's limit of 4"), "{text}");
}

#[test]
fn quit_has_a_delay_and_a_place_in_files() {
    let fake = FakeBroker::start();
    let file = command_file(b"0 pub t one\n0.1 quit\n0 pub t never\n");
    let (mut process, mut peer) = publisher_at(&fake, &format!("-f {}", file.path().display()));
    let mut payloads = Vec::new();
    while let Some(received) = peer.try_receive() {
        match received.kind {
            Kind::Ping => peer.send(Kind::Pong, b"", &received.body),
            _ => payloads.push(received.body),
        }
    }
    drop(peer);
    assert_eq!(payloads, [b"one"]);
    assert_eq!(process.finish().code, Some(0));
}

#[test]
fn commands_come_from_standard_input_as_from_a_file() {
    let fake = FakeBroker::start();
    let (mut process, mut peer) = publisher_at_input(&fake, "-f -", b"0 pub t one\n0 pub t two\n");
    assert_eq!(peer.receive().body, b"one");
    assert_eq!(peer.receive().body, b"two");
    for _ in 0..2 {
        let ping = peer.receive();
        peer.send(Kind::Pong, b"", &ping.body);
    }
    peer.close();
    assert_eq!(process.finish().code, Some(0));
    let bad = run(publisher("-h 127.0.0.1 -p 1 -f -"), b"pub t no seconds\n");
    assert_eq!(bad.code, Some(2));
    assert!(bad.stderr.contains("standard input:1: "), "{bad:?}");
}

/// A publisher program whose input has ended when it connects.
fn publisher_at_input(fake: &FakeBroker, args: &str, input: &[u8]) -> (Process, Peer) {
    let mut process = start(publisher(&aimed(fake, args)));
    process.feed(input);
    process.close_input();
    (process, fake.welcome())
}

#[test]
fn the_subscribers_port_is_recognised() {
    let fake = FakeBroker::start();
    let mut process = start(publisher(&aimed(&fake, "--topic t --message x")));
    let mut peer = fake.welcome();
    peer.receive();
    peer.send_error(ErrorCode::NotAllowed, true, "", "not on this port");
    peer.close();
    let finished = process.finish();
    let hint = format!("is {} the subscribers' port?", fake.address().port());
    assert!(finished.code == Some(1) && finished.stderr.contains(&hint), "{finished:?}");
}

#[test]
fn the_end_of_what_is_typed_ends_the_wait_as_well() {
    let fake = FakeBroker::start();
    let executable = env!("CARGO_BIN_EXE_publisher");
    let mut process = start(on_a_terminal(executable, &aimed(&fake, "")));
    let mut peer = fake.welcome();
    process.await_stdout("> ");
    process.feed(b"help\n");
    process.await_stdout("pub TOPIC MESSAGE");
    // Ctrl-D after a command that is due in 100 s.
    process.feed(b"100 pub t never\n\x04");
    let ping = peer.receive();
    assert_eq!(ping.kind, Kind::Ping);
    peer.send(Kind::Pong, b"", &ping.body);
    peer.close();
    let finished = process.finish();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(!finished.text().ends_with("> "), "{finished:?}");
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
fn retry_ends_when_the_broker_refuses() {
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
