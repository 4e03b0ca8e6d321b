//! Proves rules 1 and 2 of the protocol: HELLO is accepted or refused as its grammar says, WELCOME
//! has the required fields, the port decides the role, and nothing needs to wait for WELCOME.

use crate::support::frame::{hello, ping, publish, subscribe};
use crate::support::{Broker, Frame, Peer, code, kind};

/// The `key=value` lines of a WELCOME, each of which must be whole.
fn lines(welcome: &Frame) -> Vec<(String, String)> {
    let body = std::str::from_utf8(&welcome.body).expect("WELCOME is UTF-8");
    assert!(body.ends_with('\n'), "the last line of WELCOME is not ended: {body:?}");
    let pair = |line: &str| {
        let (key, value) = line.split_once('=').expect("a line of WELCOME has a =");
        (key.to_owned(), value.to_owned())
    };
    body.lines().map(pair).collect()
}

/// The value of a key that must be there exactly once.
fn value(welcome: &Frame, key: &str) -> String {
    let found: Vec<_> = lines(welcome).into_iter().filter(|(k, _)| k == key).collect();
    assert_eq!(found.len(), 1, "{key} is not there once: {welcome:?}");
    found[0].1.clone()
}

fn number(welcome: &Frame, key: &str) -> f64 {
    value(welcome, key).parse().expect("the value is a number")
}

/// WELCOME of a new connection.
fn welcome(broker: &Broker) -> Frame {
    let mut peer = Peer::connect(broker.subscribers);
    peer.send(&hello(b"curious", b"version=1\n"));
    peer.expect_welcome()
}

#[test]
fn the_bytes_of_the_worked_example_are_welcomed_and_delivered() {
    let broker = Broker::start();
    let mut subscriber = broker.subscriber_of(&[b"#hello"]);
    let mut publisher = Peer::connect(broker.publishers);
    publisher.send(b"\x00\x00\x00\x10\x01\x00\x00\x02p1version=1\n");
    publisher.expect_welcome();
    publisher.send(b"\x00\x00\x00\x0C\x05\x00\x00\x06#hellohi");
    let message = subscriber.recv();
    assert_eq!(message.bytes(), b"\x00\x00\x00\x0C\x05\x00\x00\x06#hellohi");
}

#[test]
fn welcome_names_version_server_and_the_defaults() {
    let welcome = welcome(&Broker::start());
    assert_eq!(value(&welcome, "version"), "1");
    let server = value(&welcome, "server");
    let (name, version) = server.split_once('/').expect("server is name/version");
    assert!(!name.is_empty() && version.starts_with(|c: char| c.is_ascii_digit()), "{server}");
    assert_eq!(value(&welcome, "max_payload"), "1048576");
    assert!((number(&welcome, "heartbeat") - 30.0).abs() < 1e-9);
    assert!(!welcome.topic.is_empty(), "WELCOME has no broker's id");
}

#[test]
fn welcome_says_what_is_configured() {
    let settings = [("limits.max_payload", "64KiB"), ("timeouts.heartbeat", "2.5")];
    let welcome = welcome(&Broker::with(&settings));
    assert_eq!(value(&welcome, "max_payload"), "65536");
    assert!((number(&welcome, "heartbeat") - 2.5).abs() < 1e-9);
}

#[test]
fn welcome_says_heartbeat_0_when_there_is_none() {
    let welcome = welcome(&Broker::with(&[("timeouts.heartbeat", "0")]));
    assert!(number(&welcome, "heartbeat").abs() < 1e-9);
}

#[test]
fn both_ports_give_the_same_welcome() {
    let broker = Broker::start();
    let welcomes = broker.ports().map(|(_, address)| {
        let mut peer = Peer::connect(address);
        peer.send(&hello(b"same", b"version=1\n"));
        peer.expect_welcome()
    });
    assert_eq!(welcomes[0], welcomes[1]);
}

#[test]
fn ids_are_0_to_255_bytes_of_utf8_without_controls() {
    let broker = Broker::start();
    let accents = ["é".repeat(127), "a".into()].concat();
    let rows: [(&[u8], bool); 14] = [
        (b"", true),
        (b"p1", true),
        (b"an id with spaces, dots... and */>", true),
        ("übermäßig".as_bytes(), true),
        (&[b'a'; 255], true),
        (accents.as_bytes(), true),
        (&[b'a'; 256], false),
        (b"a\nb", false),
        (b"\0", false),
        (b"a\x1F", false),
        (b"\x7F", false),
        (b"\xFF", false),
        (b"half \xC3", false),
        (b"surrogate \xED\xA0\x80", false),
    ];
    for (port, address) in broker.ports() {
        for (id, good) in rows {
            println!("{port}: id {}", id.escape_ascii());
            let mut peer = Peer::connect(address);
            peer.send(&hello(id, b"version=1\n"));
            if good {
                peer.expect_welcome();
                peer.confirm();
            } else {
                peer.expect_refusal(code::MALFORMED);
            }
        }
    }
}

/// A HELLO body of `len` bytes that is in order but for its length.
fn body_of(len: usize) -> Vec<u8> {
    [b"version=1\npad=".as_slice(), &vec![b'x'; len - 15], b"\n"].concat()
}

#[test]
fn hello_lines_that_parse_and_name_version_1_are_welcomed() {
    let broker = Broker::start();
    let longest = body_of(4_096);
    let rows: [&[u8]; 9] = [
        b"version=1\n",
        b"version=1\nuser=me\nsecret=mine\n",
        b"secret=a=b==\nuser=me\nversion=1\n",
        b"version=1\nuser=\n",
        b"version=1\nfuture-key=whatever it is\n",
        "version=1\nclé=été\n".as_bytes(),
        b"version=1\nVersion=2\n",
        b"other=1\nversion=1\nanother=1\n",
        &longest,
    ];
    for (port, address) in broker.ports() {
        for body in rows {
            println!("{port}: HELLO {}", body.escape_ascii());
            let mut peer = Peer::connect(address);
            peer.send(&hello(b"id", body));
            peer.expect_welcome();
            peer.confirm();
        }
    }
}

#[test]
fn hello_lines_that_do_not_parse_are_malformed_and_other_versions_are_version() {
    let broker = Broker::start();
    let too_long = body_of(4_097);
    let rows: [(&[u8], u16); 20] = [
        (b"version=1", code::MALFORMED),
        (b"version\n", code::MALFORMED),
        (b"version=1\n\n", code::MALFORMED),
        (b"\n", code::MALFORMED),
        (b"\nversion=1\n", code::MALFORMED),
        (b"version=1\nnonsense\n", code::MALFORMED),
        (b"version=1\nversion=1\n", code::MALFORMED),
        (b"version=1\nversion=2\n", code::MALFORMED),
        (b"version=1\nx=1\ny=2\nx=3\n", code::MALFORMED),
        (b"version=1\nx=\xFF\n", code::MALFORMED),
        (b"version=1\nuser=me", code::MALFORMED),
        (b"version=2\nnonsense\n", code::MALFORMED),
        (b"user=me\nuser=me\n", code::MALFORMED),
        (&too_long, code::MALFORMED),
        (b"", code::VERSION),
        (b"user=me\n", code::VERSION),
        (b"version=2\n", code::VERSION),
        (b"version=\n", code::VERSION),
        (b"version=1\r\n", code::VERSION),
        (b"version=01\n", code::VERSION),
    ];
    for (port, address) in broker.ports() {
        for (body, code) in rows {
            println!("{port}: HELLO {}", body.escape_ascii());
            let mut peer = Peer::connect(address);
            peer.send(&hello(b"id", body));
            peer.expect_refusal(code);
        }
    }
}

#[test]
fn the_version_is_looked_at_after_the_id() {
    let broker = Broker::start();
    let mut peer = Peer::connect(broker.publishers);
    peer.send(&hello(b"bad\nid", b"version=2\n"));
    peer.expect_refusal(code::MALFORMED);
}

#[test]
fn frames_right_after_hello_are_processed_after_welcome() {
    let broker = Broker::start();
    let mut subscriber = Peer::connect(broker.subscribers);
    let hello = hello(b"hasty", b"version=1\n");
    subscriber.send(&[hello.clone(), subscribe(b"a", b""), ping(b"1")].concat());
    subscriber.expect_welcome();
    assert_eq!(subscriber.recv().kind, kind::PONG);

    let mut publisher = Peer::connect(broker.publishers);
    publisher.send(&[hello, publish(b"a", b"early"), ping(b"2")].concat());
    publisher.expect_welcome();
    assert_eq!(publisher.recv().kind, kind::PONG);
    subscriber.expect_message(b"a", b"early");
}

#[test]
fn hello_cut_at_every_byte_is_welcomed() {
    let broker = Broker::start();
    // Its PONG proves that the broker has had a turn with the first part.
    let mut clock = broker.publisher();
    let bytes = hello(b"slow", b"version=1\n");
    for cut in 1..bytes.len() {
        let mut peer = Peer::connect(broker.subscribers);
        peer.send(&bytes[..cut]);
        clock.confirm();
        peer.send(&bytes[cut..]);
        peer.expect_welcome();
        peer.confirm();
    }
}

#[test]
fn several_connections_may_use_one_id() {
    let broker = Broker::start();
    let mut first = broker.subscriber_of(&[b"t"]);
    let mut second = broker.subscriber_of(&[b"t"]);
    let mut publishers = [broker.publisher(), broker.publisher()];
    for publisher in &mut publishers {
        publisher.publish(b"t", b"x");
        publisher.confirm();
    }
    for subscriber in [&mut first, &mut second] {
        subscriber.expect_message(b"t", b"x");
        subscriber.expect_message(b"t", b"x");
    }
}
