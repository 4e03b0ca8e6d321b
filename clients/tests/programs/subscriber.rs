//! The program `subscriber` against brokers that the test controls: what it prints, how it ends.

use std::process::{Command, Stdio};

use wire::native::error_code::ErrorCode;
use wire::native::frame::Kind;

use crate::support::fake::FakeBroker;
use crate::support::process::{
    aimed, command_file, on_a_terminal, run, start, subscriber, subscriber_at,
};

#[test]
fn subscriptions_go_out_as_the_command_line_says() {
    let fake = FakeBroker::start();
    let (_process, mut peer) = subscriber_at(&fake, "--topic a.> --topic b --group g");
    for filter in ["a.>", "b"] {
        let received = peer.receive();
        assert_eq!(received.kind, Kind::Subscribe);
        assert_eq!((received.topic.as_str(), &*received.body), (filter, b"g".as_slice()));
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
            assert_eq!(run(subscriber(&format!("--topic a {form}")), b"").code, Some(2));
            continue;
        }
        let fake = FakeBroker::start();
        let (mut process, mut peer) = subscriber_at(&fake, &format!("--topic t -C 3 {form}"));
        for payload in [b"hi".as_slice(), b"\xFF\x1b", b""] {
            peer.send(Kind::Publish, b"t", payload);
        }
        let finished = process.finish();
        assert_eq!(finished.code, Some(0));
        assert_eq!(finished.stdout.escape_ascii().to_string(), expected.escape_ascii().to_string());
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
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["topic"], "t.\"x\"");
    assert_eq!(lines[0]["payload"], "hi ✓\n");
    assert!(lines[0].get("encoding").is_none());
    assert_eq!((&lines[1]["payload"], &lines[1]["encoding"]), (&"/wA=".into(), &"base64".into()));
    assert!(lines.iter().all(|line| line["time"].as_str().unwrap().ends_with('Z')));
}

#[test]
fn timeout_exits_with_3_and_count_with_0() {
    let fake = FakeBroker::start();
    let (mut process, mut peer) = subscriber_at(&fake, "--topic t -C 2 -W 4");
    peer.send(Kind::Publish, b"t", b"one");
    let finished = process.finish();
    assert_eq!((finished.code, finished.text().as_str()), (Some(3), "t one\n"));

    let (mut process, mut peer) = subscriber_at(&fake, "--topic t -C 2 -W 60");
    peer.send(Kind::Publish, b"t", b"one");
    peer.send(Kind::Publish, b"t", b"two");
    peer.send(Kind::Publish, b"t", b"three");
    let finished = process.finish();
    assert_eq!((finished.code, finished.text().as_str()), (Some(0), "t one\nt two\n"));
}

#[test]
fn timeout_also_ends_the_wait_for_a_broker() {
    let finished = run(subscriber("-h 127.0.0.1 -p 1 --topic t --reconnect -W 0.3"), b"");
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
    assert_eq!((finished.code, finished.text().as_str()), (Some(0), "t one\nt two\n"));
    assert!(finished.stderr.contains("dropped 5 messages"), "{finished:?}");
    assert_eq!(finished.stderr.lines().count(), 1);

    let (mut process, mut peer) = subscriber_at(&fake, "--topic t --fail-on-loss");
    peer.send(Kind::Publish, b"t", b"one");
    peer.send(Kind::Lost, b"", &5u64.to_be_bytes());
    let finished = process.finish();
    assert_eq!((finished.code, finished.text().as_str()), (Some(4), "t one\n"));
}

#[test]
fn a_broker_that_goes_away_exits_with_1_behind_what_it_sent() {
    let fake = FakeBroker::start();
    let (mut process, mut peer) = subscriber_at(&fake, "--topic t");
    peer.send(Kind::Publish, b"t", b"one");
    peer.send_bytes(b"\0\0\0\x0c\x05\0\0\x06#hel");
    peer.close();
    let finished = process.finish();
    assert_eq!((finished.code, finished.text().as_str()), (Some(1), "t one\n"));
    assert!(finished.stderr.contains("connection to the broker was lost"), "{finished:?}");

    let (mut process, mut peer) = subscriber_at(&fake, "--topic t");
    peer.send(Kind::Publish, b"t", b"one");
    peer.send(Kind::Goodbye, b"", b"maintenance");
    peer.close();
    let finished = process.finish();
    assert_eq!((finished.code, finished.text().as_str()), (Some(1), "t one\n"));
    assert!(finished.stderr.contains("shutting down: maintenance"), "{finished:?}");
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
        assert_eq!((received.topic.as_str(), &*received.body), (filter, b"".as_slice()));
    }
    peer.send(Kind::Publish, b"b", b"two");
    let finished = process.finish();
    assert_eq!((finished.code, finished.text().as_str()), (Some(0), "z one\nb two\n"));
    assert!(finished.stderr.contains("; connecting again"), "{finished:?}");
    assert!(finished.stderr.contains("connected again; what was published"), "{finished:?}");
}

#[test]
fn a_refused_topic_of_the_command_line_exits_with_1() {
    let fake = FakeBroker::start();
    let (mut process, mut peer) = subscriber_at(&fake, "--topic t");
    peer.receive();
    peer.send_error(ErrorCode::NotAllowed, false, "t", "not yours");
    let finished = process.finish();
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("NOT_ALLOWED (t): not yours"), "{finished:?}");
}

#[test]
fn subscriber_takes_commands_from_its_input_and_quits() {
    let fake = FakeBroker::start();
    let (mut process, mut peer) = subscriber_at(&fake, "");
    process.feed(b"sub a\n; comment\n\n0.01 sub b g\nunsub a\n");
    let received: Vec<_> = (0..3).map(|_| peer.receive()).collect();
    assert_eq!((received[1].topic.as_str(), &*received[1].body), ("b", b"g".as_slice()));
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
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut peer = fake.welcome();
    drop(child.stdout.take());
    peer.send(Kind::Publish, b"t", b"nobody reads this");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn on_a_terminal_payloads_are_harmless_and_there_is_a_prompt() {
    let fake = FakeBroker::start();
    let executable = env!("CARGO_BIN_EXE_subscriber");
    let mut process = start(on_a_terminal(executable, &aimed(&fake, "--topic t")));
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

#[test]
fn an_unclean_end_and_a_gap_count_as_a_possible_loss() {
    // No reason from the broker: the subscriber may have been too slow.
    let fake = FakeBroker::start();
    let (mut process, mut peer) = subscriber_at(&fake, "--topic t --fail-on-loss --reconnect");
    peer.send(Kind::Publish, b"t", b"one");
    peer.close();
    let finished = process.finish();
    assert_eq!((finished.code, finished.text().as_str()), (Some(4), "t one\n"));
    assert!(finished.stderr.contains("being too slow"), "{finished:?}");
    // The broker sends GOODBYE: no message is missing until it is restarted.
    let (mut process, mut peer) = subscriber_at(&fake, "--topic t --fail-on-loss --reconnect");
    peer.send(Kind::Publish, b"t", b"one");
    peer.send(Kind::Goodbye, b"", b"");
    peer.close();
    let _again = fake.welcome();
    let finished = process.finish();
    assert_eq!(finished.code, Some(4), "{finished:?}");
    assert!(finished.stderr.contains("connected again; what was published in the "));
    // Without --reconnect it is the broker that has ended, and nothing else.
    let (mut process, mut peer) = subscriber_at(&fake, "--topic t --fail-on-loss");
    peer.send(Kind::Goodbye, b"", b"");
    peer.close();
    assert_eq!(process.finish().code, Some(1));
}

#[test]
fn in_the_background_a_terminal_is_not_read() {
    let fake = FakeBroker::start();
    // A shell's part: a session with a terminal, and a job that is not in its foreground. A job
    // that reads is stopped, which ends the wait here with a signal's number.
    let code = "import os, pty, sys
pid, terminal = pty.fork()
if pid:
    while True:
        try: text = os.read(terminal, 1000)
        except OSError: break
        if not text: break
        os.write(1, text)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
job = os.fork()
if not job:
    os.setpgid(0, 0)
    os.execv(sys.argv[1], sys.argv[1:])
_, status = os.waitpid(job, os.WUNTRACED)
os._exit(100 if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status))";
    let mut command = Command::new("python3");
    command.args(["-c", code, env!("CARGO_BIN_EXE_subscriber")]);
    command.args(aimed(&fake, "--topic t -C 1").split_ascii_whitespace());
    let mut process = start(command);
    let mut peer = fake.welcome();
    assert_eq!(peer.receive().topic, "t");
    peer.send(Kind::Publish, b"t", b"for the job");
    let finished = process.finish();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.text().contains("t for the job") && !finished.text().contains("> "));
}

#[test]
fn the_end_of_a_pipe_is_noticed_without_a_message() {
    let fake = FakeBroker::start();
    let mut command = subscriber(&aimed(&fake, "--topic t"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _peer = fake.welcome();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn filters_of_other_brokers_get_a_hint() {
    let fake = FakeBroker::start();
    let (mut process, mut peer) = subscriber_at(&fake, "");
    process.feed(b"sub a.#\n0.01 quit\n");
    // It is a valid topic all the same.
    assert_eq!(peer.receive().topic, "a.#");
    let finished = process.finish();
    assert_eq!(finished.code, Some(0));
    assert!(finished.stderr.contains("\"a.#\" has no wildcard"), "{finished:?}");
}

#[test]
fn no_prompt_is_left_on_the_terminal() {
    let fake = FakeBroker::start();
    let executable = env!("CARGO_BIN_EXE_subscriber");
    let mut process = start(on_a_terminal(executable, &aimed(&fake, "--topic t -C 1")));
    let mut peer = fake.welcome();
    process.await_stdout("> ");
    peer.send(Kind::Publish, b"t", b"last");
    let finished = process.finish();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.text().ends_with("t last\r\n> \r\u{1b}[K"), "{:?}", finished.text());
}
