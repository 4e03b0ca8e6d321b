//! Proves that crafted frames, names and bytes get an error and nothing else: each class of input
//! that broke other brokers has a test of its own. What many clients do together is in
//! `hostile_masses.rs`, other protocols on the port in `checks.rs`.

use crate::support;
use crate::support::frame::{header, hello, ping, publish, raw, subscribe};
use crate::support::{Broker, Event, PATIENCE, Peer, code, kind};

/// Bytes that could control a terminal or cut a line in two.
fn control_bytes() -> impl Iterator<Item = u8> {
    (0..=0x1F).chain([0x7F])
}

/// The broker must still serve all others.
fn still_works(broker: &Broker) {
    let mut subscriber = broker.subscriber_of(&[b"still.works"]);
    broker.publisher().publish(b"still.works", b"x");
    subscriber.expect_message(b"still.works", b"x");
}

#[test]
fn a_declared_length_of_gigabytes_before_the_handshake_reserves_nothing() {
    let broker = Broker::start();
    still_works(&broker);
    let before = broker.process().resident();
    let mut peers = Vec::new();
    for (_, address) in broker.ports() {
        for length in [u32::MAX, 0xFFFF_FFF0, 0x8000_0000, 0x7FFF_FFFF, 1 << 30] {
            for topic_len in [0, 255, 65_535] {
                let mut peer = Peer::connect(address);
                peer.send(&header(length, kind::HELLO, 0, topic_len));
                peer.expect_error(code::TOO_LARGE, true);
                peers.push(peer);
            }
        }
    }
    let grown = broker.process().resident().saturating_sub(before) >> 20;
    assert!(grown < 16, "{grown} MiB more for {} headers", peers.len());
    peers.iter_mut().for_each(Peer::expect_close);
    still_works(&broker);
}

#[test]
fn a_large_first_frame_that_is_not_hello_is_refused_by_its_header() {
    let broker = Broker::start();
    for (port, address) in broker.ports() {
        for first in [publish(b"t", &[7; 1 << 20]), raw(kind::WELCOME, 0, b"", &[7; 300_000])] {
            println!("{port}: kind {}", first[4]);
            let mut peer = Peer::connect(address);
            peer.send(&first);
            peer.expect_refusal(code::HELLO_EXPECTED);
        }
    }
    still_works(&broker);
}

#[test]
fn a_second_hello_ends_the_connection_behind_what_came_before_it() {
    let broker = Broker::start();
    let mut everything = broker.subscriber_of(&[b">"]);
    let again = hello(b"somebody else", b"version=1\n");
    let mut publisher = broker.publisher();
    publisher.send(&[publish(b"a", b"before"), again.clone(), publish(b"a", b"behind")].concat());
    publisher.expect_refusal(code::HELLO_EXPECTED);
    everything.expect_message(b"a", b"before");

    let mut subscriber = broker.subscriber();
    subscriber.send(&[subscribe(b"b", b""), again, subscribe(b"c", b"")].concat());
    subscriber.expect_refusal(code::HELLO_EXPECTED);
    everything.confirm();
    still_works(&broker);
}

#[test]
fn frames_before_hello_are_refused_although_a_hello_follows() {
    let broker = Broker::start();
    let mut everything = broker.subscriber_of(&[b">"]);
    let greeting = hello(b"late", b"version=1\n");
    for (address, first) in [
        (broker.publishers, publish(b"a", b"too early")),
        (broker.publishers, ping(b"")),
        (broker.subscribers, subscribe(b"a", b"")),
    ] {
        let mut peer = Peer::connect(address);
        peer.send(&[first, greeting.clone()].concat());
        peer.expect_refusal(code::HELLO_EXPECTED);
    }
    everything.confirm();
}

#[test]
fn an_empty_topic_is_refused_and_not_delivered() {
    let broker = Broker::start();
    let mut everything = broker.subscriber_of(&[b">", b"*"]);
    let mut publisher = broker.publisher();
    for payload in [b"".as_slice(), b"x", &[0; 70_000]] {
        publisher.send(&publish(b"", payload));
        publisher.expect_error(code::BAD_TOPIC, false);
    }
    publisher.confirm();
    let mut subscriber = broker.subscriber();
    for group in [b"".as_slice(), b"g"] {
        subscriber.send(&subscribe(b"", group));
        subscriber.expect_error(code::BAD_TOPIC, false);
    }
    subscriber.confirm();
    everything.confirm();
}

#[test]
fn odd_prefixes_of_topics_are_ordinary() {
    let broker = Broker::start();
    let topics: [&[u8]; 11] = [
        b"#",
        b"#.a",
        b"+",
        b"+.a",
        b"$SYS.broker.clients",
        b"$share.g.t",
        b"$JS.API.>x",
        b"_INBOX.1.2",
        b"/a//b",
        b"~!@%^&()",
        "\u{feff}a".as_bytes(),
    ];
    let mut everything = broker.subscriber_of(&[b">"]);
    let mut publisher = broker.publisher();
    for topic in topics {
        println!("{}", topic.escape_ascii());
        let mut subscriber = broker.subscriber_of(&[topic]);
        publisher.publish(topic, b"payload");
        // Not a wildcard, not an order to the broker, not hidden from `>`.
        publisher.publish(b"other.topic", b"");
        publisher.confirm();
        everything.expect_message(topic, b"payload");
        everything.expect_message(b"other.topic", b"");
        subscriber.expect_message(topic, b"payload");
        subscriber.confirm();
    }
}

#[test]
fn frames_that_only_the_broker_sends_are_not_forwarded() {
    let broker = Broker::start();
    let mut everything = broker.subscriber_of(&[b">"]);
    let frames = [
        raw(kind::WELCOME, 0, b"b", b"version=1\nserver=x/1\nmax_payload=1\nheartbeat=0\n"),
        raw(kind::ERROR, 1, b"everything", &[0, 4, b'n', b'o']),
        raw(kind::ERROR, 0, b"", b""),
        raw(kind::LOST, 0, b"", &7u64.to_be_bytes()),
        raw(kind::GOODBYE, 0, b"", b"go home"),
    ];
    for (port, address) in broker.ports() {
        for frame in &frames {
            println!("{port}: {}", frame.escape_ascii());
            let mut peer = Peer::connect(address).hello(b"impostor");
            peer.send(frame);
            peer.expect_refusal(code::NOT_ALLOWED);
        }
    }
    everything.confirm();
}

#[test]
fn a_frame_shorter_than_its_header_is_malformed_or_waited_for() {
    let broker = Broker::start();
    for (_, address) in broker.ports() {
        for length in 0..4 {
            let mut peer = Peer::connect(address);
            peer.send(&header(length, kind::HELLO, 0, 0));
            peer.expect_refusal(code::MALFORMED);
            let mut peer = Peer::connect(address).hello(b"short");
            peer.send(&header(length, kind::PING, 0, 0));
            peer.expect_refusal(code::MALFORMED);
        }
        for cut in 1..8 {
            let mut peer = Peer::connect(address).hello(b"cut");
            let frame = ping(b"");
            peer.send(&frame[..cut]);
            assert_eq!(peer.next(std::time::Duration::from_millis(10)), Event::Quiet);
            peer.send(&frame[cut..]);
            assert_eq!(peer.recv().kind, kind::PONG);
            peer.send(&frame[..cut]);
            peer.half_close();
            peer.expect_close();
        }
    }
}

#[test]
fn control_bytes_are_refused_in_topics_and_filters() {
    let broker = Broker::start();
    let mut everything = broker.subscriber_of(&[b">"]);
    let mut publisher = broker.publisher();
    let mut subscriber = broker.subscriber();
    for byte in control_bytes() {
        for topic in [vec![byte], vec![b'a', byte], vec![byte, b'a'], vec![b'a', b'.', byte]] {
            publisher.send(&publish(&topic, b"x"));
            publisher.expect_error(code::BAD_TOPIC, false);
            subscriber.send(&subscribe(&topic, b""));
            subscriber.expect_error(code::BAD_TOPIC, false);
        }
    }
    publisher.confirm();
    everything.confirm();
}

#[test]
fn control_bytes_are_refused_in_ids_and_group_names() {
    let broker = Broker::start();
    for byte in control_bytes() {
        for (_, address) in broker.ports() {
            let mut peer = Peer::connect(address);
            peer.send(&hello(&[b'i', byte, b'd'], b"version=1\n"));
            peer.expect_refusal(code::MALFORMED);
        }
        let mut peer = broker.subscriber();
        peer.send(&subscribe(b"a", &[b'g', byte]));
        peer.expect_refusal(code::MALFORMED);
    }
}

#[test]
fn control_bytes_in_payloads_are_forwarded_untouched() {
    let broker = Broker::start();
    let mut subscriber = broker.subscriber_of(&[b"t"]);
    let mut publisher = broker.publisher();
    let all: Vec<u8> = (0..=255).collect();
    for payload in [all.as_slice(), b"\r\n\r\n", b"\0\0\0\0", b"\x1b[2J\x1b]0;x\x07", b"+OK\r\n"] {
        publisher.publish(b"t", payload);
        subscriber.expect_message(b"t", payload);
    }
}

#[test]
fn odd_ids_and_topics_never_reach_the_log_as_they_are() {
    let dir = support::TempDir::new();
    let broker = Broker::run(dir, &["-s", "0", "-p", "0", "--log-level", "trace"]);
    let ids =
        ["\u{9b}31m", "\u{85}forged", "\u{202e}desrever", "\u{2028}line", "\u{2029}", "\u{ad}"];
    for id in ids {
        let mut peer = Peer::connect(broker.publishers).hello(id.as_bytes());
        for topic in [id.as_bytes(), b"\x1b[31m", b"a\nINFO forged", b"a\rb", b"\0", b"\x07\xFF"] {
            peer.send(&publish(topic, b"\x1b[2J"));
        }
        peer.frames_until_pong();
        let address = peer.address().to_string();
        peer.half_close();
        peer.expect_close();
        // The line of the end is the last with the id.
        broker.log().wait_for(&address, |line| line.contains(&address) && line.contains("disc"));
    }
    for line in broker.log().so_far() {
        let odd = |c: char| c.is_control() || ids.iter().any(|id| id.starts_with(c));
        assert!(!line.contains(odd), "raw in the log: {}", line.escape_debug());
    }
}

#[test]
fn wildcards_in_ids_are_only_letters() {
    let broker = Broker::start();
    for id in [b">".as_slice(), b"*", b"a.*", b"$SYS.>", b"#"] {
        let mut subscriber = Peer::connect(broker.subscribers).hello(id);
        subscriber.subscribe(b"own", b"");
        let mut publisher = Peer::connect(broker.publishers).hello(id);
        publisher.publish(b"a.b", b"not asked for");
        publisher.publish(b"own", b"asked for");
        subscriber.expect_message(b"own", b"asked for");
        subscriber.confirm();
    }
}

#[test]
fn wildcards_in_group_names_are_malformed_and_inside_a_word_only_letters() {
    let broker = Broker::start();
    for name in [b"*".as_slice(), b">", b"g.*", b"g.>", b"*.g"] {
        let mut peer = broker.subscriber();
        peer.send(&subscribe(b"t", name));
        peer.expect_refusal(code::MALFORMED);
    }
    // Two groups, not one that matches the other's name: each gets every message.
    let mut members = [b"g*".as_slice(), b"gx"].map(|name| {
        let mut peer = broker.subscriber();
        peer.subscribe(b"t", name);
        peer
    });
    let mut publisher = broker.publisher();
    for i in 0..10u8 {
        publisher.publish(b"t", &[i]);
        members.iter_mut().for_each(|member| member.expect_message(b"t", &[i]));
    }
}

#[test]
fn sums_of_lengths_do_not_overflow() {
    let broker = Broker::start();
    let lengths = [u32::MAX, u32::MAX - 1, u32::MAX - 3, u32::MAX - 4, u32::MAX - 7, 1 << 31];
    let kinds = [kind::PUBLISH, kind::SUBSCRIBE, kind::PING, kind::HELLO];
    for (port, address) in broker.ports() {
        for length in lengths {
            for topic_len in [0, 1, 4, 8, 0x7FFF, 0xFFFF] {
                for kind in kinds {
                    println!("{port}: length {length} kind {kind} topic {topic_len}");
                    let mut peer = Peer::connect(address).hello(b"overflow");
                    peer.send(&[header(length, kind, 0, topic_len), vec![b'x'; 64]].concat());
                    let Event::Frame(frame) = peer.next(PATIENCE) else {
                        panic!("an ERROR was due");
                    };
                    let codes = [code::TOO_LARGE, code::NOT_ALLOWED, code::HELLO_EXPECTED];
                    assert!(codes.contains(&frame.error_code()), "{frame:?}");
                    peer.expect_close();
                }
            }
        }
    }
    still_works(&broker);
}
