//! The command line, and the addresses that follow from it: wrong usage, defaults, no broker.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::Command;

use wire::native::error_code::ErrorCode;
use wire::native::frame::Kind;

use crate::support::fake::FakeBroker;
use crate::support::process::{aimed, command_file, publisher, run, start, subscriber};

#[test]
fn wrong_usage_exits_with_2_and_connects_to_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let to = format!("-h 127.0.0.1 -p {}", listener.local_addr().unwrap().port());
    let bad = command_file(b"1 pub a x\nsoon pub a x\n2 shout a\n");
    let bad = bad.path().display();
    let rows = [
        (publisher(&format!("{to} -f /no/such/file.cmd")), "/no/such/file.cmd"),
        (publisher(&format!("{to} -f {bad}")), ":2: \"soon\" is not a number of seconds"),
        (publisher(&format!("{to} -f {bad}")), ":3: expected pub TOPIC MESSAGE"),
        (subscriber(&format!("{to} -f {bad}")), ":1: expected sub TOPIC [GROUP],"),
        (publisher(&format!("{to} --topic a.* --message x")), "--topic \"a.*\""),
        (publisher(&format!("{to} --message x")), "--topic"),
        (publisher(&format!("{to} --topic a --message x --whole")), "--whole"),
        (publisher("-h 127.0.0.1 -p 0"), "--port"),
        (publisher("-h"), "--host"),
        (publisher("-h 127.0.0.1:1 -p 2 --topic a"), "-h 127.0.0.1:1 names port 1, and -p 2"),
        (subscriber("-h 127.0.0.1:x --topic a"), "expected HOST, HOST:PORT or [ADDRESS]:PORT"),
        (subscriber(&format!("{to} --topic a..b")), "--topic \"a..b\""),
        (subscriber(&format!("{to} --topic a --group *")), "--group \"*\""),
        (subscriber(&format!("{to} --group g")), "--topic"),
        (subscriber(&format!("{to} --topic a --json --raw")), "--raw"),
        (subscriber(&format!("{to} --topic a --format %z")), "\"%z\" is not known"),
        (subscriber(&format!("{to} --topic a -W x")), "--timeout"),
        (subscriber(&format!("{to} --topic a --timeout=-1")), "--timeout"),
        (subscriber(&format!("{to} --topic a -C 0")), "--count"),
        (subscriber(&format!("{to} --topic a -i {}", "x".repeat(256))), "client id"),
        (publisher(&format!("{to} --secret-file {bad}")), "expected a secret, as text in one"),
        (publisher(&format!("{to} --user a --secret-file /no/such")), "--secret-file /no/such: "),
        (subscriber(&format!("{to} --topic a --user")), "--user"),
        (subscriber("--list --ca a"), "--tls"),
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
    for (program, flag) in [(publisher as fn(&str) -> Command, "--retry"), (subscriber, "--json")] {
        let help = run(program("--help"), b"");
        assert_eq!(help.code, Some(0));
        assert!(help.text().contains(flag) && help.text().contains("-h, --host"), "{help:?}");
        for flag in ["--version", "-V"] {
            let version = run(program(flag), b"");
            assert_eq!(version.code, Some(0));
            assert!(version.text().contains(env!("CARGO_PKG_VERSION")), "{version:?}");
        }
    }
}

#[test]
fn a_refused_connection_exits_with_1_and_says_where() {
    // Nothing listens on port 1.
    for program in [publisher as fn(&str) -> Command, subscriber] {
        let finished = run(program("-h 127.0.0.1 -p 1 --topic a"), b"x\n");
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stderr.contains("cannot connect to 127.0.0.1:1"), "{finished:?}");
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
    assert!(finished.stderr.contains("does not speak the protocol"), "{finished:?}");
}

#[test]
fn the_text_of_a_refusal_is_escaped() {
    let fake = FakeBroker::start();
    let mut process = start(subscriber(&aimed(&fake, "--topic a")));
    let mut peer = fake.accept();
    peer.send_error(ErrorCode::Unauthorized, true, "", "who\x1b[2J are you");
    let finished = process.finish();
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("UNAUTHORIZED: who\\x1b[2J are you"), "{finished:?}");
}

#[test]
fn a_user_and_its_secret_are_shown_to_the_broker_and_to_nobody_else() {
    let fake = FakeBroker::start();
    let file = command_file(b"hush hush\n");
    let flags = format!("--topic a --user ann --secret-file {}", file.path().display());
    let _flags = start(subscriber(&aimed(&fake, &flags)));
    let body = String::from_utf8(fake.accept().receive().body).unwrap();
    assert!(body.contains("user=ann\n") && body.contains("secret=hush hush\n"), "{body}");

    let mut command = publisher(&aimed(&fake, "--topic a --message x --retry"));
    command.env("BROKER_USER", "eve").env("BROKER_SECRET", "hunter2");
    let mut process = start(command);
    let mut peer = fake.accept();
    let body = String::from_utf8(peer.receive().body).unwrap();
    assert!(body.contains("user=eve\n") && body.contains("secret=hunter2\n"), "{body}");
    peer.send_error(ErrorCode::Unauthorized, true, "", "not a user");
    let finished = process.finish();
    assert_eq!(finished.code, Some(1), "it is not going to change: {finished:?}");
    let hint = "UNAUTHORIZED: not a user; is there a user \"eve\", and is that its secret?";
    assert!(finished.stderr.contains(hint), "{finished:?}");
    assert!(!finished.stderr.contains("hunter2"), "{finished:?}");
}

#[test]
fn a_broker_that_wants_a_user_is_not_asked_again() {
    let fake = FakeBroker::start();
    for (args, hint) in [
        ("--topic a --reconnect", "; the broker wants to know who this is: give --user and"),
        ("--topic a --reconnect --user ann", "; \"ann\" showed no secret: give --secret-file or"),
    ] {
        let mut process = start(subscriber(&aimed(&fake, args)));
        fake.accept().send_error(ErrorCode::Unauthorized, true, "", "");
        let finished = process.finish();
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stderr.contains(hint), "{finished:?}");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
    }
}

#[test]
fn host_and_port_come_from_config_ini() {
    let fake = FakeBroker::start();
    let folder = tempfile::tempdir().unwrap();
    let config =
        format!("[network]\nhost = 0.0.0.0\nsubscriber_port = {}\n", fake.address().port());
    fs::write(folder.path().join("config.ini"), config).unwrap();
    let mut command = subscriber("--topic a -C 1");
    command.current_dir(folder.path());
    let mut process = start(command);
    fake.welcome().send(Kind::Publish, b"a", b"hi");
    assert_eq!(process.finish().text(), "a hi\n");

    fs::write(folder.path().join("config.ini"), "[network]\nsubscriber_port = x\n").unwrap();
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
    assert_eq!(fake.accept().receive().topic, format!("publisher-{}", unnamed.id()));

    let probe = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    let _bound = start(subscriber(&aimed(&fake, &format!("--topic a -r {port}"))));
    assert_eq!(fake.accept().stream.peer_addr().unwrap().port(), port);
}

#[test]
fn an_unknown_host_is_named() {
    let finished = run(subscriber("-h no..such -p 9 --topic a"), b"");
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("the broker's host is not known: no..such: "), "{finished:?}");
}

#[test]
fn a_host_brings_its_port_and_several_are_tried_in_turn() {
    let fake = FakeBroker::start();
    let places = format!("-h 127.0.0.1:1,{} --topic a -C 1", fake.address());
    let mut process = start(subscriber(&places));
    fake.welcome().send(Kind::Publish, b"a", b"hi");
    assert_eq!(process.finish().text(), "a hi\n");
}
