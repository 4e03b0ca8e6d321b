//! Messages in and out as data, short forms, addresses from the environment, and programs that
//! outlive a broker.

use std::time::Instant;

use wire::native::frame::Kind;

use crate::support::fake::{FakeBroker, Peer};
use crate::support::process::{aimed, publisher, publisher_at, run, start, subscriber};
use crate::support::real::Broker;

/// Topics and payloads.
type Messages = Vec<(String, Vec<u8>)>;

/// Everything that is published up to the end, by topic; PINGs are answered.
fn published(mut peer: Peer) -> Messages {
    let mut messages = Vec::new();
    while let Some(received) = peer.try_receive() {
        match received.kind {
            Kind::Ping => peer.send(Kind::Pong, b"", &received.body),
            _ => messages.push((received.topic, received.body)),
        }
    }
    messages
}

/// What such a publisher publishes of this input, its exit code and its output.
fn publishes(args: &str, input: &[u8]) -> (Messages, Option<i32>, String) {
    let fake = FakeBroker::start();
    let (mut process, peer) = publisher_at(&fake, args);
    process.feed(input);
    process.close_input();
    let messages = published(peer);
    let finished = process.finish();
    (messages, finished.code, finished.stderr)
}

fn message(topic: &str, payload: &[u8]) -> (String, Vec<u8>) {
    (topic.to_owned(), payload.to_vec())
}

#[test]
fn topics_and_messages_have_short_forms() {
    let (messages, code, _) = publishes("a.b hello", b"");
    assert_eq!((messages, code), (vec![message("a.b", b"hello")], Some(0)));
    let (messages, code, _) = publishes("a.b", b"one\ntwo\n");
    assert_eq!((messages.len(), code), (2, Some(0)));
    let (messages, _, _) = publishes("a.b --message -x", b"");
    assert_eq!(messages, [message("a.b", b"-x")]);

    let fake = FakeBroker::start();
    let _process = start(subscriber(&aimed(&fake, "a.> b --topic c --group g")));
    let mut peer = fake.welcome();
    let mut topics: Vec<_> = (0..3).map(|_| peer.receive().topic).collect();
    topics.sort();
    assert_eq!(topics, ["a.>", "b", "c"]);
}

#[test]
fn lines_bring_their_topics() {
    let (messages, code, said) = publishes("--key-separator :", b"a:1\nnothing\nb:2:3\na..b:x\n");
    assert_eq!(messages, [message("a", b"1"), message("b", b"2:3")]);
    assert_eq!(code, Some(1));
    assert!(said.contains("publisher: standard input:2: there is no \":\""), "{said}");
    assert!(said.contains("publisher: standard input:4: \"a..b\" cannot be used: "), "{said}");

    let input =
        b"{\"topic\":\"a\",\"payload\":\"x\"}\n\n{\"topic\":\"b\",\"payload_base64\":\"/wA=\"}\n";
    let (messages, code, said) = publishes("--json", input);
    assert_eq!(messages, [message("a", b"x"), message("b", b"\xFF\x00")]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
}

#[test]
fn what_a_subscriber_prints_as_json_a_publisher_relays() {
    let broker = Broker::start();
    let source = broker.ready_subscriber("--json --topic from.> --topic probe.>");
    let copies = broker.ready_subscriber("--format %t:%x\\n --topic from.> --topic probe.>");
    for (topic, text) in [("from.text", "grüße\n"), ("from.empty", "")] {
        let sent = run(broker.publisher(&format!("--topic {topic} --whole")), text.as_bytes());
        assert_eq!(sent.code, Some(0));
    }
    let sent = run(broker.publisher("--topic from.bytes --whole"), b"\xFF\x00");
    assert_eq!(sent.code, Some(0));
    let printed = source.await_stdout("from.bytes");
    let printed = printed.lines().filter(|line| line.contains("from.")).collect::<Vec<_>>();
    copies.await_stdout("from.bytes:ff00\n");
    let relayed = run(broker.publisher("--json"), printed.join("\n").as_bytes());
    assert_eq!(relayed.code, Some(0), "{relayed:?}");
    let all = crate::support::eventually("the copies", || {
        let all = copies.stdout();
        (all.matches("from.bytes:ff00\n").count() == 2).then_some(all)
    });
    assert_eq!(all.matches("from.text:6772c3bcc39f650a\n").count(), 2, "{all}");
    assert_eq!(all.matches("from.empty:\n").count(), 2, "{all}");
}

#[test]
fn a_message_is_repeated_with_pauses() {
    let started = Instant::now();
    let (messages, code, _) = publishes("t tick --repeat 3 --every 0.1", b"");
    assert_eq!((messages.len(), code), (3, Some(0)));
    assert!(started.elapsed().as_millis() >= 200);
}

#[test]
fn a_timeout_ends_whatever_is_waited_for() {
    let fake = FakeBroker::start();
    // A broker that confirms nothing.
    let (mut process, _peer) = publisher_at(&fake, "t x --timeout 0.3");
    let finished = process.finish();
    assert_eq!(finished.code, Some(3), "{finished:?}");
    assert!(finished.stderr.contains("--timeout has ended it"), "{finished:?}");
    let bad = run(publisher("-h 127.0.0.1 -p 1 t x --timeout=-1"), b"");
    assert_eq!(bad.code, Some(2), "{bad:?}");
}

#[test]
fn round_trips_are_measured() {
    let broker = Broker::start();
    let finished = run(broker.publisher("--ping --repeat 3"), b"");
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let text = finished.text();
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.contains("1: broker/") && text.contains("3 round trips: min "), "{text}");
}

#[test]
fn the_environment_says_where_the_broker_is() {
    let fake = FakeBroker::start();
    let port = fake.address().port().to_string();
    let mut command = subscriber("a -C 1");
    command.env("BROKER_HOST", "127.0.0.1").env("BROKER_SUBSCRIBER_PORT", &port);
    let mut process = start(command);
    fake.welcome().send(Kind::Publish, b"a", b"hi");
    assert_eq!(process.finish().text(), "a hi\n");
    // The command line takes precedence.
    let mut command = subscriber(&format!("a -C 1 -h {}", fake.address()));
    command.env("BROKER_HOST", "no..such:7").env("BROKER_SUBSCRIBER_PORT", "1");
    let mut process = start(command);
    fake.welcome().send(Kind::Publish, b"a", b"again");
    assert_eq!(process.finish().text(), "a again\n");
    let mut command = publisher("a x");
    command.env("BROKER_PUBLISHER_PORT", "http");
    let bad = run(command, b"");
    assert_eq!(bad.code, Some(2));
    assert!(bad.stderr.contains("BROKER_PUBLISHER_PORT=http: expected a port"), "{bad:?}");
}

#[test]
fn retry_survives_a_restart_and_sends_again_what_was_not_confirmed() {
    let fake = FakeBroker::start();
    let (mut process, mut peer) = publisher_at(&fake, "t --retry");
    process.feed(b"one\n");
    assert_eq!(peer.receive().body, b"one");
    peer.send(Kind::Goodbye, b"", b"upgrade");
    peer.close();
    process.feed(b"two\n");
    process.close_input();
    let messages = published(fake.welcome());
    // The loss may be noticed before the second is read, or after it.
    assert_eq!(messages, [message("t", b"one"), message("t", b"two")]);
    let finished = process.finish();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stderr.contains("upgrade; trying again"), "{finished:?}");
    assert!(finished.stderr.contains("sent again; some may come twice"), "{finished:?}");
}

#[test]
fn a_goodbye_in_place_of_a_welcome_is_asked_again() {
    let fake = FakeBroker::start();
    let mut process = start(publisher(&aimed(&fake, "t x")));
    let mut peer = fake.accept();
    peer.send(Kind::Goodbye, b"", b"");
    peer.close();
    assert_eq!(published(fake.welcome()), [message("t", b"x")]);
    assert_eq!(process.finish().code, Some(0));
}
