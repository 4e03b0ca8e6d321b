//! Proves the protocol's table of checks, row by row on both ports: what is refused, with which
//! code, how soon, whether that ends the connection, and that the rows are tried in their order.

use std::net::SocketAddr;

use crate::support::frame::{header, hello, ping, pong, publish, raw, subscribe, unsubscribe};
use crate::support::{Broker, Peer, code, kind};

/// Bytes of payload that the brokers of this file take.
const MAX_PAYLOAD: u32 = 1_000;
/// Every kind that a header can name, known or not, but HELLO.
const NOT_HELLO: [u8; 13] = [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x7F, 0xFF];

fn broker() -> Broker {
    Broker::with(&[("limits.max_payload", "1000")])
}

/// Each of these headers, sent alone, must be answered at once by the code and end the connection.
fn refused_by_header(address: SocketAddr, welcomed: bool, rows: &[(u32, u8, u8, u16)], code: u16) {
    for &(length, kind, flags, topic_len) in rows {
        println!("{address}: length {length} kind {kind} flags {flags} topic {topic_len}");
        let mut peer = Peer::connect(address);
        if welcomed {
            peer = peer.hello(b"checked");
        }
        peer.send(&header(length, kind, flags, topic_len));
        peer.expect_refusal(code);
    }
}

/// These whole frames must be answered by a fatal ERROR.
fn refused(address: SocketAddr, rows: &[Vec<u8>], code: u16) {
    for bytes in rows {
        println!("{address}: {}", bytes[..bytes.len().min(60)].escape_ascii());
        let mut peer = Peer::connect(address).hello(b"checked");
        peer.send(bytes);
        peer.expect_refusal(code);
    }
}

#[test]
fn check_1_lengths_that_do_not_fit_are_malformed_first_of_all() {
    let broker = broker();
    for (_, address) in broker.ports() {
        for welcomed in [false, true] {
            for kind in [kind::HELLO, kind::PUBLISH, kind::SUBSCRIBE, kind::PING, 0, 0xEE] {
                let rows = [
                    (0, kind, 0, 0),
                    (3, kind, 0, 0),
                    (3, kind, 0xFF, 0),
                    (4, kind, 0, 1),
                    (4, kind, 0, 65_535),
                    (10, kind, 0, 7),
                    (65_538, kind, 0, 65_535),
                ];
                refused_by_header(address, welcomed, &rows, code::MALFORMED);
            }
        }
    }
}

#[test]
fn check_2_a_first_frame_of_another_kind_is_hello_expected() {
    let broker = broker();
    for (_, address) in broker.ports() {
        for kind in NOT_HELLO {
            // Anything else that is wrong with it is checked later in the table.
            let rows = [(4, kind, 0, 0), (4, kind, 0xFF, 0), (u32::MAX, kind, 0, 65_535)];
            refused_by_header(address, false, &rows, code::HELLO_EXPECTED);
        }
    }
}

#[test]
fn check_2_a_second_hello_is_hello_expected() {
    let broker = broker();
    for (_, address) in broker.ports() {
        let again = (14, kind::HELLO, 0, 0);
        let flagged = (14, kind::HELLO, 1, 0);
        let huge = (u32::MAX, kind::HELLO, 0, 0);
        refused_by_header(address, true, &[again, flagged, huge], code::HELLO_EXPECTED);
        refused(address, &[hello(b"checked", b"version=1\n")], code::HELLO_EXPECTED);
    }
}

#[test]
fn check_3_a_hello_with_a_flag_is_malformed() {
    let broker = broker();
    for (_, address) in broker.ports() {
        for flags in [0x01, 0x02, 0x80, 0xFF] {
            let rows = [(14, kind::HELLO, flags, 0), (u32::MAX, kind::HELLO, flags, 0)];
            refused_by_header(address, false, &rows, code::MALFORMED);
        }
    }
}

#[test]
fn check_3_unknown_kinds_and_flags_are_malformed() {
    let broker = broker();
    for (_, address) in broker.ports() {
        for kind in [0, 11, 0x10, 0x7F, 0x85, 0xFF] {
            let rows = [(4, kind, 0, 0), (4, kind, 1, 0), (u32::MAX, kind, 0, 0)];
            refused_by_header(address, true, &rows, code::MALFORMED);
        }
        for kind in 2..=10 {
            // ERROR alone defines a flag, and it is bit 0.
            let first_bad = if kind == kind::ERROR { 0x02 } else { 0x01 };
            for flags in [first_bad, 0x04, 0x80, 0xFF] {
                let rows = [(5, kind, flags, 1), (u32::MAX, kind, flags, 0)];
                refused_by_header(address, true, &rows, code::MALFORMED);
            }
        }
    }
}

#[test]
fn check_4_kinds_of_the_other_port_and_of_the_broker_are_not_allowed() {
    let broker = broker();
    let always = [kind::WELCOME, kind::ERROR, kind::LOST, kind::GOODBYE];
    let at_publishers = [kind::SUBSCRIBE, kind::UNSUBSCRIBE];
    let at_subscribers = [kind::PUBLISH];
    for (address, others) in [
        (broker.publishers, at_publishers.as_slice()),
        (broker.subscribers, at_subscribers.as_slice()),
    ] {
        for &kind in always.iter().chain(others) {
            let rows = [(5, kind, 0, 1), (u32::MAX, kind, 0, 1)];
            refused_by_header(address, true, &rows, code::NOT_ALLOWED);
        }
        refused_by_header(address, true, &[(6, kind::ERROR, 1, 0)], code::NOT_ALLOWED);
    }
}

#[test]
fn check_5_a_publish_over_max_payload_is_too_large_by_its_header() {
    let rows = [
        (4 + 1 + MAX_PAYLOAD + 1, kind::PUBLISH, 0, 1),
        (4 + MAX_PAYLOAD + 1, kind::PUBLISH, 0, 0),
        (4 + 65_535 + MAX_PAYLOAD + 1, kind::PUBLISH, 0, 65_535),
        (4 + 65_535 + MAX_PAYLOAD + 1, kind::PUBLISH, 0, 1),
        (u32::MAX, kind::PUBLISH, 0, 65_535),
        (u32::MAX, kind::PUBLISH, 0, 0),
    ];
    refused_by_header(broker().publishers, true, &rows, code::TOO_LARGE);
}

#[test]
fn check_5_other_kinds_over_8192_are_too_large_by_their_header() {
    let broker = broker();
    let rows = |kind| [(8_193, kind, 0, 0), (8_193, kind, 0, 8_000), (u32::MAX, kind, 0, 0)];
    for (_, address) in broker.ports() {
        refused_by_header(address, false, &rows(kind::HELLO), code::TOO_LARGE);
        refused_by_header(address, true, &rows(kind::PING), code::TOO_LARGE);
        refused_by_header(address, true, &rows(kind::PONG), code::TOO_LARGE);
    }
    for kind in [kind::SUBSCRIBE, kind::UNSUBSCRIBE] {
        refused_by_header(broker.subscribers, true, &rows(kind), code::TOO_LARGE);
    }
}

#[test]
fn check_5_frames_of_just_the_largest_length_are_read() {
    let broker = broker();
    let mut publisher = broker.publisher();
    // As long as a PUBLISH can be; its topic is what is wrong with it.
    publisher.send(&publish(&[b'x'; 65_535], &[0; MAX_PAYLOAD as usize]));
    publisher.expect_error(code::BAD_TOPIC, false);
    publisher.confirm();

    let mut subscriber = broker.subscriber();
    for frame in [subscribe, unsubscribe] {
        subscriber.send(&frame(&[b'x'; 8_188], b""));
        subscriber.expect_error(code::BAD_TOPIC, false);
    }
    subscriber.confirm();

    let mut peer = Peer::connect(broker.publishers);
    peer.send(&hello(&[b'x'; 4_092], &[b'y'; 4_096]));
    peer.expect_refusal(code::MALFORMED);
}

#[test]
fn check_6_pings_and_pongs_with_a_topic_or_over_64_bytes_are_malformed() {
    let broker = broker();
    let rows = [
        raw(kind::PING, 0, b"t", b""),
        raw(kind::PONG, 0, b"t", b""),
        raw(kind::PING, 0, b"t", &[0; 65]),
        ping(&[b'x'; 65]),
        pong(&[b'x'; 65]),
        ping(&[b'x'; 8_188]),
        pong(&[b'x'; 8_188]),
    ];
    for (_, address) in broker.ports() {
        refused(address, &rows, code::MALFORMED);
    }
}

#[test]
fn check_6_bad_names_of_queue_groups_are_malformed_even_with_a_bad_filter() {
    let broker = broker();
    let names: [&[u8]; 13] = [
        &[b'g'; 256],
        b"a b",
        b".",
        b"a.",
        b".a",
        b"a..b",
        b"*",
        b">",
        b"a.*.b",
        b"a.>",
        b"tab\t",
        b"\x7F",
        b"\xFF",
    ];
    for name in names {
        let rows = [
            subscribe(b"good", name),
            subscribe(b"bad..filter", name),
            unsubscribe(b"good", name),
            unsubscribe(b"", name),
        ];
        refused(broker.subscribers, &rows, code::MALFORMED);
    }
}

/// What is wrong both in a topic of PUBLISH and in a filter.
fn bad_everywhere() -> Vec<Vec<u8>> {
    let too_many = vec!["t"; 129].join(".");
    let mut rows = vec![vec![b'x'; 1_025], too_many.into_bytes()];
    rows.extend([b"".as_slice(), b".", b"a.", b".a", b"a..b", b"a b", b" "].map(<[u8]>::to_vec));
    rows.extend([b"\0".as_slice(), b"a\n", b"\x1F", b"a.\x7F", b"\xFF"].map(<[u8]>::to_vec));
    rows.extend([b"half.\xC3".as_slice(), b"\xED\xA0\x80", b"\xC0\x80"].map(<[u8]>::to_vec));
    rows
}

/// Sends one bad frame after the other on one connection: each has an ERROR of its own.
fn each_is_bad_topic(peer: &mut Peer, kind: u8, topics: &[Vec<u8>]) {
    for topic in topics {
        println!("kind {kind}: {}", topic.escape_ascii());
        peer.send(&raw(kind, 0, topic, b""));
        let error = peer.expect_error(code::BAD_TOPIC, false);
        let about = error.topic.is_empty() || topic.starts_with(&error.topic);
        assert!(about, "not what it is about: {error:?}");
        peer.confirm();
    }
}

#[test]
fn check_7_bad_topics_are_refused_and_the_connection_goes_on() {
    let broker = broker();
    let mut everything = broker.subscriber_of(&[b">"]);
    let mut publisher = broker.publisher();
    let mut topics = bad_everywhere();
    let wildcards: [&[u8]; 6] = [b"*", b">", b"a.*", b"*.a", b"a.>", b">.a"];
    topics.extend(wildcards.map(<[u8]>::to_vec));
    each_is_bad_topic(&mut publisher, kind::PUBLISH, &topics);
    publisher.publish(b"good", b"still here");
    everything.expect_message(b"good", b"still here");
}

#[test]
fn check_7_bad_filters_are_refused_and_the_connection_goes_on() {
    let broker = broker();
    let mut subscriber = broker.subscriber();
    let mut filters = bad_everywhere();
    filters.extend([b">.a".as_slice(), b">.>", b"a.>.b", b"a.>.>"].map(<[u8]>::to_vec));
    each_is_bad_topic(&mut subscriber, kind::SUBSCRIBE, &filters);
    each_is_bad_topic(&mut subscriber, kind::UNSUBSCRIBE, &filters);
    subscriber.subscribe(b"good", b"");
    broker.publisher().publish(b"good", b"still here");
    subscriber.expect_message(b"good", b"still here");
}

#[test]
fn check_7_topics_at_the_limits_are_good() {
    let broker = broker();
    let longest = [b'x'; 1_024];
    let many = vec!["t"; 128].join(".");
    let rows: [&[u8]; 9] = [
        &longest,
        many.as_bytes(),
        b"#hello",
        "température".as_bytes(),
        b"a*.b>",
        b"**.>>",
        b"/etc+#",
        "\u{80}".as_bytes(),
        "\u{a0}\u{2028}".as_bytes(),
    ];
    let mut publisher = broker.publisher();
    for topic in rows {
        println!("{}", topic.escape_ascii());
        let mut subscriber = broker.subscriber_of(&[topic]);
        publisher.publish(topic, b"x");
        subscriber.expect_message(topic, b"x");
        subscriber.unsubscribe(topic, b"");
        let mut member = broker.subscriber();
        member.subscribe(topic, &[b'g'; 255]);
        publisher.publish(topic, b"y");
        member.expect_message(topic, b"y");
    }
}

#[test]
fn many_bad_frames_in_one_write_get_an_error_each_in_order() {
    let broker = broker();
    let mut publisher = broker.publisher();
    let bytes: Vec<u8> =
        (0..50).flat_map(|i| publish(format!("no good {i}").as_bytes(), b"")).collect();
    publisher.send(&bytes);
    for i in 0..50 {
        let error = publisher.expect_error(code::BAD_TOPIC, false);
        let about = format!("no good {i}").into_bytes();
        assert!(error.topic.is_empty() || error.topic == about, "{i}: {error:?}");
    }
    publisher.confirm();
}

#[test]
fn an_unsolicited_pong_is_ignored() {
    let broker = broker();
    for (_, address) in broker.ports() {
        let mut peer = Peer::connect(address).hello(b"talkative");
        peer.send(&[pong(b""), pong(b"what?"), pong(&[0xFF; 64])].concat());
        peer.confirm();
    }
}

#[test]
fn other_protocols_are_told_that_hello_is_expected() {
    let broker = broker();
    let rows: [&[u8]; 9] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /x HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03 a TLS client hello",
        b"CONNECT {\"verbose\":false}\r\nPING\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3C\x00\x04mqtt",
        b"AMQP\x00\x00\x09\x01",
    ];
    for (port, address) in broker.ports() {
        for bytes in rows {
            println!("{port}: {}", bytes.escape_ascii());
            let mut peer = Peer::connect(address);
            peer.send(bytes);
            peer.expect_refusal(code::HELLO_EXPECTED);
        }
    }
}

#[test]
fn a_refused_connection_harms_no_other() {
    let broker = broker();
    let mut subscriber = broker.subscriber_of(&[b"t"]);
    let mut publisher = broker.publisher();
    for (_, address) in broker.ports() {
        let mut bad = Peer::connect(address);
        bad.send(&[0xFF; 1_000]);
        bad.expect_refusal(code::HELLO_EXPECTED);
    }
    publisher.publish(b"t", b"x");
    subscriber.expect_message(b"t", b"x");
}
