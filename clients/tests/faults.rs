//! The programs at their edges: bad input, bad brokers, and what they print and exit with then.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use broker::wire::error_code::ErrorCode;
use broker::wire::frame::Kind;

use support::fake::{FakeBroker, Peer};
use support::process::{Process, publisher, run, start, subscriber};

/// A command file that lasts as long as the value.
fn command_file(text: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

fn aimed(fake: &FakeBroker, args: &str) -> String {
    format!("-h 127.0.0.1 -p {} {args}", fake.address().port())
}

/// A subscriber program, connected and welcomed.
fn subscriber_at(fake: &FakeBroker, args: &str) -> (Process, Peer) {
    let process = start(subscriber(&aimed(fake, args)));
    (process, fake.welcome())
}

/// A publisher program, connected and welcomed.
fn publisher_at(fake: &FakeBroker, args: &str) -> (Process, Peer) {
    let process = start(publisher(&aimed(fake, args)));
    (process, fake.welcome())
}

#[test]
fn wrong_usage_exits_with_2_and_connects_to_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let to = format!("-h 127.0.0.1 -p {}", listener.local_addr().unwrap().port());
    let bad = command_file(b"1 pub a x\nsoon pub a x\n2 shout a\n");
    let bad = bad.path().display();
    let rows = [
        (
            publisher(&format!("{to} -f /no/such/file.cmd")),
            "/no/such/file.cmd",
        ),
        (
            publisher(&format!("{to} -f {bad}")),
            ":2: \"soon\" is not a number of seconds",
        ),
        (
            publisher(&format!("{to} -f {bad}")),
            ":3: expected pub TOPIC MESSAGE",
        ),
        (
            subscriber(&format!("{to} -f {bad}")),
            ":1: expected sub TOPIC [GROUP]",
        ),
        (
            publisher(&format!("{to} --topic a.* --message x")),
            "--topic \"a.*\"",
        ),
        (publisher(&format!("{to} --message x")), "--topic"),
        (
            publisher(&format!("{to} --topic a --message x --whole")),
            "--whole",
        ),
        (publisher("-h 127.0.0.1 -p 0"), "--port"),
        (publisher("-h"), "--host"),
        (
            subscriber(&format!("{to} --topic a..b")),
            "--topic \"a..b\"",
        ),
        (
            subscriber(&format!("{to} --topic a --group *")),
            "--group \"*\"",
        ),
        (subscriber(&format!("{to} --group g")), "--topic"),
        (subscriber(&format!("{to} --topic a --json --raw")), "--raw"),
        (
            subscriber(&format!("{to} --topic a --format %z")),
            "\"%z\" is not known",
        ),
        (subscriber(&format!("{to} --topic a -W x")), "--timeout"),
        (
            subscriber(&format!("{to} --topic a --timeout=-1")),
            "--timeout",
        ),
        (subscriber(&format!("{to} --topic a -C 0")), "--count"),
        (
            subscriber(&format!("{to} --topic a -i {}", "x".repeat(256))),
            "client id",
        ),
    ];
    for (command, expected) in rows {
        let what = format!("{command:?}");
        let finished = run(command, b"");
        assert_eq!(finished.code, Some(2), "{what} {finished:?}");
        assert!(finished.stderr.contains(expected), "{what} {finished:?}");
        assert_eq!(finished.text(), "");
    }
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn help_and_version_are_printed_without_a_broker() {
    for (program, flag) in [
        (publisher as fn(&str) -> Command, "--retry"),
        (subscriber, "--json"),
    ] {
        let help = run(program("--help"), b"");
        assert_eq!(help.code, Some(0));
        assert!(
            help.text().contains(flag) && help.text().contains("-h, --host"),
            "{help:?}"
        );
        let version = run(program("--version"), b"");
        assert_eq!(version.code, Some(0));
        assert!(
            version.text().contains(env!("CARGO_PKG_VERSION")),
            "{version:?}"
        );
    }
}

#[test]
fn a_refused_connection_exits_with_1_and_says_where() {
    // Nobody listens on port 1.
    for program in [publisher as fn(&str) -> Command, subscriber] {
        let finished = run(program("-h 127.0.0.1 -p 1 --topic a"), b"x\n");
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(
            finished.stderr.contains("cannot connect to 127.0.0.1:1"),
            "{finished:?}"
        );
        assert_eq!(finished.stderr.lines().count(), 1);
    }
}

#[test]
fn what_is_no_broker_exits_with_1() {
    let fake = FakeBroker::start();
    let mut process = start(subscriber(&aimed(&fake, "--topic a")));
    let mut peer = fake.accept();
    peer.send_bytes(b"SSH-2.0-OpenSSH_9.6\r\n");
    let finished = process.finish();
    assert_eq!(finished.code, Some(1));
    assert!(
        finished.stderr.contains("does not speak the protocol"),
        "{finished:?}"
    );
}

#[test]
fn a_refusing_broker_s_words_are_harmless() {
    let fake = FakeBroker::start();
    let mut process = start(subscriber(&aimed(&fake, "--topic a")));
    let mut peer = fake.accept();
    peer.send_error(ErrorCode::Unauthorized, true, "", "who\x1b[2J are you");
    let finished = process.finish();
    assert_eq!(finished.code, Some(1));
    assert!(
        finished
            .stderr
            .contains("UNAUTHORIZED: who\\x1b[2J are you"),
        "{finished:?}"
    );
}

#[test]
fn host_and_port_come_from_config_ini() {
    let fake = FakeBroker::start();
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[network]\nhost = 0.0.0.0\nsubscriber_port = {}\n",
        fake.address().port()
    );
    fs::write(folder.path().join("config.ini"), config).unwrap();
    let mut command = subscriber("--topic a -C 1");
    command.current_dir(folder.path());
    let mut process = start(command);
    fake.welcome().send(Kind::Publish, b"a", b"hi");
    assert_eq!(process.finish().text(), "a hi\n");

    fs::write(folder.path().join("config.ini"), "[network]\nhots = x\n").unwrap();
    let mut command = subscriber("--topic a");
    command.current_dir(folder.path());
    let finished = run(command, b"");
    assert_eq!(finished.code, Some(2));
    assert!(finished.stderr.contains("config.ini"), "{finished:?}");
}

#[test]
fn id_and_local_port_are_what_was_asked_for() {
    let fake = FakeBroker::start();
    let _named = start(subscriber(&aimed(&fake, "--topic a -i reader")));
    assert_eq!(fake.accept().receive().topic, "reader");
    let unnamed = start(publisher(&aimed(&fake, "")));
    assert_eq!(
        fake.accept().receive().topic,
        format!("publisher-{}", unnamed.id())
    );

    let probe = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    let _bound = start(subscriber(&aimed(&fake, &format!("--topic a -r {port}"))));
    assert_eq!(fake.accept().stream.peer_addr().unwrap().port(), port);
}

#[test]
fn subscriptions_go_out_as_the_command_line_says() {
    let fake = FakeBroker::start();
    let (_process, mut peer) = subscriber_at(&fake, "--topic a.> --topic b --group g");
    for filter in ["a.>", "b"] {
        let received = peer.receive();
        assert_eq!(received.kind, Kind::Subscribe);
        assert_eq!(
            (received.topic.as_str(), &*received.body),
            (filter, b"g".as_slice())
        );
    }
}

#[test]
fn messages_are_printed_in_the_form_that_was_asked_for() {
    let rows: [(&str, &[u8]); 6] = [
        ("", b"t hi\nt \xFF\x1b\nt \n"),
        ("--raw", b"hi\xFF\x1b"),
        ("--format %i:%t:%l:%x;", b"1:t:2:6869;2:t:2:ff1b;3:t:0:;"),
        ("--format %p\\0", b"hi\0\xFF\x1b\0\0"),
        ("--format %%\\n\\t", b"%\n\t%\n\t%\n\t"),
        ("--format", b"error"),
    ];
    for (form, expected) in rows {
        if expected == b"error" {
            assert_eq!(
                run(subscriber(&format!("--topic a {form}")), b"").code,
                Some(2)
            );
            continue;
        }
        let fake = FakeBroker::start();
        let (mut process, mut peer) = subscriber_at(&fake, &format!("--topic t -C 3 {form}"));
        for payload in [b"hi".as_slice(), b"\xFF\x1b", b""] {
            peer.send(Kind::Publish, b"t", payload);
        }
        let finished = process.finish();
        assert_eq!(finished.code, Some(0));
        assert_eq!(
            finished.stdout.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
        assert_eq!(finished.stderr, "");
    }
}

#[test]
fn json_lines_say_how_the_payload_is_encoded() {
    let fake = FakeBroker::start();
    let (mut process, mut peer) = subscriber_at(&fake, "--topic t -C 2 --json");
    peer.send(Kind::Publish, b"t.\"x\"", b"hi \xE2\x9C\x93\n");
    peer.send(Kind::Publish, b"t", b"\xFF\x00");
    let text = process.finish().text();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["topic"], "t.\"x\"");
    assert_eq!(lines[0]["payload"], "hi ✓\n");
    assert!(lines[0].get("encoding").is_none());
    assert_eq!(
        (&lines[1]["payload"], &lines[1]["encoding"]),
        (&"/wA=".into(), &"base64".into())
    );
    assert!(
        lines
            .iter()
            .all(|line| line["time"].as_str().unwrap().ends_with('Z'))
    );
}

#[test]
fn timeout_exits_with_3_and_count_with_0() {
    let fake = FakeBroker::start();
    let (mut process, mut peer) = subscriber_at(&fake, "--topic t -C 2 -W 4");
    peer.send(Kind::Publish, b"t", b"one");
    let finished = process.finish();
    assert_eq!(
        (finished.code, finished.text().as_str()),
        (Some(3), "t one\n")
    );

    let (mut process, mut peer) = subscriber_at(&fake, "--topic t -C 2 -W 60");
    peer.send(Kind::Publish, b"t", b"one");
    peer.send(Kind::Publish, b"t", b"two");
    peer.send(Kind::Publish, b"t", b"three");
    let finished = process.finish();
    assert_eq!(
        (finished.code, finished.text().as_str()),
        (Some(0), "t one\nt two\n")
    );
}

#[test]
fn timeout_also_ends_the_wait_for_a_broker() {
    let finished = run(
        subscriber("-h 127.0.0.1 -p 1 --topic t --reconnect -W 0.3"),
        b"",
    );
    assert_eq!(finished.code, Some(3), "{finished:?}");
    let fake = FakeBroker::start();
    let mut process = start(subscriber(&aimed(&fake, "--topic t -W 0.3")));
    let _silent = fake.accept();
    assert_eq!(process.finish().code, Some(3));
}

#[test]
fn loss_is_told_and_fails_only_if_asked_to() {
    let fake = FakeBroker::start();
    let (mut process, mut peer) = subscriber_at(&fake, "--topic t -C 2");
    peer.send(Kind::Publish, b"t", b"one");
    peer.send(Kind::Lost, b"", &5u64.to_be_bytes());
    peer.send(Kind::Publish, b"t", b"two");
    let finished = process.finish();
    assert_eq!(
        (finished.code, finished.text().as_str()),
        (Some(0), "t one\nt two\n")
    );
    assert!(
        finished.stderr.contains("dropped 5 messages"),
        "{finished:?}"
    );
    assert_eq!(finished.stderr.lines().count(), 1);

    let (mut process, mut peer) = subscriber_at(&fake, "--topic t --fail-on-loss");
    peer.send(Kind::Publish, b"t", b"one");
    peer.send(Kind::Lost, b"", &5u64.to_be_bytes());
    let finished = process.finish();
    assert_eq!(
        (finished.code, finished.text().as_str()),
        (Some(4), "t one\n")
    );
}

#[test]
fn a_broker_that_goes_away_exits_with_1_behind_what_it_sent() {
    let fake = FakeBroker::start();
    let (mut process, mut peer) = subscriber_at(&fake, "--topic t");
    peer.send(Kind::Publish, b"t", b"one");
    peer.send_bytes(b"\0\0\0\x0c\x05\0\0\x06#hel");
    peer.close();
    let finished = process.finish();
    assert_eq!(
        (finished.code, finished.text().as_str()),
        (Some(1), "t one\n")
    );
    assert!(
        finished
            .stderr
            .contains("connection to the broker was lost"),
        "{finished:?}"
    );

    let (mut process, mut peer) = subscriber_at(&fake, "--topic t");
    peer.send(Kind::Publish, b"t", b"one");
    peer.send(Kind::Goodbye, b"", b"maintenance");
    peer.close();
    let finished = process.finish();
    assert_eq!(
        (finished.code, finished.text().as_str()),
        (Some(1), "t one\n")
    );
    assert!(
        finished.stderr.contains("shutting down: maintenance"),
        "{finished:?}"
    );
}

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
    assert!(
        finished.stderr.contains("standard input:1: not confirmed"),
        "{finished:?}"
    );
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
    assert_eq!(
        (lines[0], lines[2], lines.len()),
        ("OK", "OK", 3),
        "{finished:?}"
    );
    assert!(
        lines[1].ends_with(":2: NOT_ALLOWED (b): not yours"),
        "{finished:?}"
    );
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
    assert!(
        lines[1].contains("standard input:2: \"nonsense\""),
        "{finished:?}"
    );
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
        (
            "--topic t",
            b"one\ntwo  \n\nlast",
            &[b"one", b"two  ", b"", b"last"],
        ),
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
            assert_eq!(
                (received.topic.as_str(), &*received.body),
                ("t", *payload),
                "{args}"
            );
        }
        let ping = peer.receive();
        assert_eq!(ping.kind, Kind::Ping, "{args}");
        peer.send(Kind::Pong, b"", &ping.body);
        peer.close();
        let finished = process.finish();
        assert_eq!(
            (finished.code, finished.stderr.as_str()),
            (Some(0), ""),
            "{args}"
        );
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
    for (args, expected) in [
        ("--topic t", "standard input:2: "),
        ("--topic t --whole", "limit of 4"),
    ] {
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
    assert!(
        finished
            .stderr
            .contains("trying again until the broker is there"),
        "{finished:?}"
    );
    assert_eq!(finished.stderr.lines().count(), 1);
}

#[test]
fn retry_does_not_insist_on_a_broker_that_refuses() {
    let fake = FakeBroker::start();
    let mut process = start(publisher(&aimed(&fake, "--topic t --message x --retry")));
    fake.accept()
        .send_error(ErrorCode::Unauthorized, true, "", "no");
    assert_eq!(process.finish().code, Some(1));
}

#[test]
fn reconnect_subscribes_again_to_what_is_wanted_then() {
    let fake = FakeBroker::start();
    let file = command_file(b"0 sub a g\n0 sub b\n0 unsub a g\n");
    let args = format!("--topic z -f {} --reconnect -C 2", file.path().display());
    let (mut process, mut peer) = subscriber_at(&fake, &args);
    let kinds: Vec<_> = (0..4).map(|_| peer.receive().kind).collect();
    assert_eq!(kinds[3], Kind::Unsubscribe);
    peer.send(Kind::Publish, b"z", b"one");
    peer.close();
    drop(fake.accept());
    let mut peer = fake.welcome();
    for filter in ["z", "b"] {
        let received = peer.receive();
        assert_eq!(
            (received.topic.as_str(), &*received.body),
            (filter, b"".as_slice())
        );
    }
    peer.send(Kind::Publish, b"b", b"two");
    let finished = process.finish();
    assert_eq!(
        (finished.code, finished.text().as_str()),
        (Some(0), "z one\nb two\n")
    );
    assert!(
        finished.stderr.contains("lost; connecting again"),
        "{finished:?}"
    );
    assert!(finished.stderr.contains("connected again"), "{finished:?}");
}

#[test]
fn a_refused_topic_of_the_command_line_exits_with_1() {
    let fake = FakeBroker::start();
    let (mut process, mut peer) = subscriber_at(&fake, "--topic t");
    peer.receive();
    peer.send_error(ErrorCode::NotAllowed, false, "t", "not yours");
    let finished = process.finish();
    assert_eq!(finished.code, Some(1));
    assert!(
        finished.stderr.contains("NOT_ALLOWED (t): not yours"),
        "{finished:?}"
    );
}

#[test]
fn subscriber_takes_commands_from_its_input_and_quits() {
    let fake = FakeBroker::start();
    let (mut process, mut peer) = subscriber_at(&fake, "");
    process.feed(b"sub a\n; comment\n\n0.01 sub b g\nunsub a\n");
    let received: Vec<_> = (0..3).map(|_| peer.receive()).collect();
    assert_eq!(
        (received[1].topic.as_str(), &*received[1].body),
        ("b", b"g".as_slice())
    );
    assert_eq!(received[2].kind, Kind::Unsubscribe);
    peer.send(Kind::Publish, b"b", b"x");
    process.await_stdout("b x\n");
    process.feed(b"quit\n");
    assert_eq!(process.finish().code, Some(0));
}

#[test]
fn subscriber_goes_on_printing_when_its_input_ends() {
    let fake = FakeBroker::start();
    let file = command_file(b"0 sub a\n");
    let args = format!("-f {} -C 1", file.path().display());
    let (mut process, mut peer) = subscriber_at(&fake, &args);
    process.close_input();
    assert_eq!(peer.receive().topic, "a");
    peer.send(Kind::Publish, b"a", b"still here");
    assert_eq!(process.finish().text(), "a still here\n");
}

#[test]
fn a_closed_pipe_ends_the_subscriber_quietly() {
    let fake = FakeBroker::start();
    let mut command = subscriber(&aimed(&fake, "--topic t"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut peer = fake.welcome();
    drop(child.stdout.take());
    peer.send(Kind::Publish, b"t", b"nobody reads this");
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), b"".as_slice())
    );
}

#[test]
fn on_a_terminal_payloads_are_harmless_and_there_is_a_prompt() {
    let fake = FakeBroker::start();
    // Python's standard library makes a terminal and passes on what is typed and printed.
    let mut command = Command::new("python3");
    let code = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    command.args(["-c", code, env!("CARGO_BIN_EXE_subscriber")]);
    command.args(aimed(&fake, "--topic t").split(' '));
    let mut process = start(command);
    let mut peer = fake.welcome();
    process.await_stdout("> ");
    peer.send(Kind::Publish, b"t", b"\x1b]0;owned\x07\xC2\x9B\n");
    process.await_stdout("t \\x1b]0;owned\\x07\\u{9b}\\n\r\n");
    process.feed(b"sub other\n");
    assert_eq!(peer.receive().topic, "t");
    assert_eq!(peer.receive().topic, "other");
    process.feed(b"quit\n");
    let finished = process.finish();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(!finished.text().contains("\x1b]"), "{finished:?}");
}
