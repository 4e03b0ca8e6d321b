//! Proves that messages reach the subscribers of their topics, byte for byte, once per connection,
//! in one order, however they are cut on the way in, and that PONG confirms what came before its
//! PING.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use crate::support;
use crate::support::frame::{ping, publish, subscribe};
use crate::support::{Broker, Frame, Peer, kind};

/// Bytes that differ from place to place, every value among them.
fn payload(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251 + seed) as u8).collect()
}

#[test]
fn payloads_of_every_size_arrive_byte_for_byte() {
    let broker = Broker::start();
    let mut subscriber = broker.subscriber_of(&[b"data"]);
    let mut publisher = broker.publisher();
    let sizes = [0, 1, 2, 255, 256, 4_095, 4_096, 65_535, 65_536, 262_144, 300_001, 1_048_576];
    for (seed, size) in sizes.into_iter().enumerate() {
        let payload = payload(size, seed);
        publisher.publish(b"data", &payload);
        subscriber.expect_message(b"data", &payload);
    }
    publisher.confirm();
}

#[test]
fn payloads_that_look_like_frames_stay_payloads() {
    let broker = Broker::start();
    let mut subscriber = broker.subscriber_of(&[b"t"]);
    let mut publisher = broker.publisher();
    let nested = [publish(b"t", b"inner"), ping(b"x"), b"\0\0\0\x04".to_vec()].concat();
    publisher.publish(b"t", &nested);
    publisher.publish(b"t", b"after");
    subscriber.expect_message(b"t", &nested);
    subscriber.expect_message(b"t", b"after");
}

#[test]
fn max_payload_is_taken_to_its_last_byte() {
    let broker = Broker::with(&[("limits.max_payload", "1000")]);
    let mut subscriber = broker.subscriber_of(&[b">"]);
    let mut publisher = broker.publisher();
    let topic = [b'x'; 1_024];
    for topic in [b"t".as_slice(), &topic] {
        publisher.publish(topic, &payload(1_000, 0));
        subscriber.expect_message(topic, &payload(1_000, 0));
    }
}

#[test]
fn frames_larger_than_one_read_arrive_whole() {
    let broker = Broker::with(&[("network.read_bytes", "4KiB")]);
    let mut subscriber = broker.subscriber_of(&[b">"]);
    let mut publisher = broker.publisher();
    let sizes = [4_070, 4_086, 4_087, 4_088, 4_089, 8_192, 100_000, 1_048_576, 10, 1_048_576];
    for (seed, size) in sizes.into_iter().enumerate() {
        publisher.publish(b"t", &payload(size, seed));
    }
    for (seed, size) in sizes.into_iter().enumerate() {
        subscriber.expect_message(b"t", &payload(size, seed));
    }
}

#[test]
fn no_client_gets_what_it_did_not_subscribe_to_and_a_publisher_gets_nothing() {
    let broker = Broker::start();
    let mut subscriber = broker.subscriber_of(&[b"wanted"]);
    let mut publisher = broker.publisher();
    publisher.publish(b"unwanted", b"x");
    publisher.publish(b"wanted.not", b"x");
    publisher.publish(b"wanted", b"y");
    publisher.confirm();
    subscriber.expect_message(b"wanted", b"y");
    subscriber.confirm();
}

#[test]
fn a_message_is_not_kept_for_who_subscribes_later() {
    let broker = Broker::start();
    let mut publisher = broker.publisher();
    publisher.publish(b"t", b"early");
    publisher.confirm();
    let mut subscriber = broker.subscriber_of(&[b"t"]);
    publisher.publish(b"t", b"late");
    subscriber.expect_message(b"t", b"late");
}

/// Filter, topic, whether the one matches the other.
const MATCHES: [(&str, &str, bool); 62] = [
    ("a", "a", true),
    ("a", "A", false),
    ("A", "A", true),
    ("a", "b", false),
    ("a", "a.b", false),
    ("a", "aa", false),
    ("aa", "a", false),
    ("a.b", "a", false),
    ("a.b", "a.b", true),
    ("a.b", "a.c", false),
    ("a.b", "b.a", false),
    ("a.b", "a.b.c", false),
    ("a.b.c", "a.b.c", true),
    ("ab", "a.b", false),
    ("*", "a", true),
    ("*", "température", true),
    ("*", "a.b", false),
    ("*.*", "a", false),
    ("*.*", "a.b", true),
    ("*.*", "a.b.c", false),
    ("*.*.*", "a.b.c", true),
    ("a.*", "a", false),
    ("a.*", "a.b", true),
    ("a.*", "a.b.c", false),
    ("a.*", "b.a", false),
    ("*.b", "a.b", true),
    ("*.b", "b.b", true),
    ("*.b", "a.c", false),
    ("*.b", "b", false),
    ("*.b", "a.b.b", false),
    ("a.*.c", "a.b.c", true),
    ("a.*.c", "a.c", false),
    ("a.*.c", "a.b.b.c", false),
    ("a.*.c", "a.b.d", false),
    ("*.*.c", "x.y.c", true),
    ("*.*.c", "x.y.d", false),
    (">", "a", true),
    (">", "a.b.c.d", true),
    (">", "#hello", true),
    ("a.>", "a", false),
    ("a.>", "a.b", true),
    ("a.>", "a.b.c.d", true),
    ("a.>", "b.a", false),
    ("a.>", "aa.b", false),
    ("a.b.>", "a.b.c", true),
    ("a.b.>", "a.b", false),
    ("*.>", "a", false),
    ("*.>", "a.b", true),
    ("*.>", "a.b.c.d", true),
    ("a.*.>", "a.b", false),
    ("a.*.>", "a.b.c", true),
    ("*.b.>", "a.b.c.d", true),
    ("*.b.>", "a.c.d", false),
    ("a*", "ab", false),
    ("a*", "a*", true),
    ("**", "a", false),
    ("**", "**", true),
    ("a>", "a>", true),
    (">>", "a.b", false),
    ("#hello", "#hello", true),
    ("température.*", "température.été", true),
    ("temp\u{e9}rature", "tempe\u{301}rature", false),
];

fn distinct(
    column: impl Fn(&(&'static str, &'static str, bool)) -> &'static str,
) -> Vec<&'static str> {
    MATCHES.iter().map(column).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The topics of the messages that a subscriber gets before the one on `last`.
fn topics_until(peer: &mut Peer, last: &str) -> Vec<String> {
    let topic = |message: Frame| String::from_utf8(message.topic).expect("topics are UTF-8");
    peer.messages_until(last.as_bytes()).into_iter().map(topic).collect()
}

#[test]
fn filters_match_the_topics_of_the_table() {
    let broker = Broker::start();
    let mut subscribers: BTreeMap<&str, Peer> = BTreeMap::new();
    for filter in distinct(|row| row.0) {
        let peer = broker.subscriber_of(&[filter.as_bytes(), b"the.very.end.of.it"]);
        subscribers.insert(filter, peer);
    }
    let mut publisher = broker.publisher();
    for topic in distinct(|row| row.1) {
        publisher.publish(topic.as_bytes(), b"x");
    }
    publisher.publish(b"the.very.end.of.it", b"x");
    let got: BTreeMap<&str, Vec<String>> = subscribers
        .iter_mut()
        .map(|(filter, peer)| (*filter, topics_until(peer, "the.very.end.of.it")))
        .collect();
    for (filter, topic, matches) in MATCHES {
        let times = got[filter].iter().filter(|got| *got == topic).count();
        assert_eq!(times, usize::from(matches), "filter {filter}, topic {topic}");
    }
}

#[test]
fn a_connection_that_holds_all_filters_of_the_table_gets_each_topic_once() {
    let broker = Broker::start();
    let mut subscriber = broker.subscriber();
    for filter in distinct(|row| row.0) {
        subscriber.subscribe(filter.as_bytes(), b"");
    }
    let mut publisher = broker.publisher();
    let topics = distinct(|row| row.1);
    for _ in 0..2 {
        for topic in &topics {
            publisher.publish(topic.as_bytes(), b"x");
        }
        publisher.publish(b"the.very.end.of.it", b"x");
        assert_eq!(topics_until(&mut subscriber, "the.very.end.of.it"), topics);
    }
}

#[test]
fn overlapping_filters_deliver_once_and_to_each_connection() {
    let broker = Broker::start();
    let mut one = broker.subscriber_of(&[b"a.b", b"a.*", b"*.b", b"a.>", b">", b"*.*"]);
    let mut two = broker.subscriber_of(&[b"a.*", b"a.b"]);
    let mut publisher = broker.publisher();
    for payload in [b"1", b"2", b"3"] {
        publisher.publish(b"a.b", payload);
    }
    for subscriber in [&mut one, &mut two] {
        for payload in [b"1", b"2", b"3"] {
            subscriber.expect_message(b"a.b", payload);
        }
        publisher.confirm();
        subscriber.confirm();
    }
}

#[test]
fn subscribing_twice_changes_nothing_and_one_unsubscribe_ends_it() {
    let broker = Broker::start();
    let mut subscriber = broker.subscriber_of(&[b"t", b"t", b"w.*", b"w.*", b"end"]);
    let mut publisher = broker.publisher();
    publisher.publish(b"t", b"1");
    publisher.publish(b"w.x", b"2");
    publisher.publish(b"end", b"");
    subscriber.expect_message(b"t", b"1");
    subscriber.expect_message(b"w.x", b"2");
    subscriber.expect_message(b"end", b"");

    subscriber.unsubscribe(b"t", b"");
    subscriber.unsubscribe(b"w.*", b"");
    publisher.publish(b"t", b"3");
    publisher.publish(b"w.x", b"4");
    publisher.publish(b"end", b"");
    subscriber.expect_message(b"end", b"");
}

#[test]
fn unsubscribing_what_is_not_held_changes_nothing() {
    let broker = Broker::start();
    let mut subscriber = broker.subscriber_of(&[b"a.*"]);
    for filter in [b"a.b".as_slice(), b"a", b"*", b">", b"a.>", b"never"] {
        subscriber.unsubscribe(filter, b"");
    }
    subscriber.unsubscribe(b"a.*", b"group");
    broker.publisher().publish(b"a.b", b"x");
    subscriber.expect_message(b"a.b", b"x");
}

#[test]
fn unsubscribing_one_filter_leaves_those_that_overlap_it() {
    let broker = Broker::start();
    let filters: [&[u8]; 4] = [b"a.b", b"a.*", b"a.>", b">"];
    let mut subscriber = broker.subscriber_of(&filters);
    let mut publisher = broker.publisher();
    for filter in &filters[..3] {
        publisher.publish(b"a.b", filter);
        subscriber.expect_message(b"a.b", filter);
        subscriber.unsubscribe(filter, b"");
    }
    publisher.publish(b"a.b", b"last");
    subscriber.expect_message(b"a.b", b"last");
}

#[test]
fn subscriptions_of_a_connection_end_with_it() {
    let broker = Broker::start();
    let mut leaving = broker.subscriber_of(&[b"t"]);
    let mut staying = broker.subscriber_of(&[b"t"]);
    leaving.half_close();
    leaving.expect_close();
    let mut newcomer = broker.subscriber_of(&[b"other"]);
    let mut publisher = broker.publisher();
    publisher.publish(b"t", b"1");
    publisher.publish(b"other", b"2");
    staying.expect_message(b"t", b"1");
    newcomer.expect_message(b"other", b"2");
}

#[test]
fn frames_cut_at_every_byte_are_processed_once() {
    let broker = Broker::start();
    let mut subscriber = broker.subscriber_of(&[b"some.topic"]);
    let mut publisher = broker.publisher();
    // Its PONG proves that the broker has had a turn with the first part.
    let mut clock = broker.publisher();
    let bytes = publish(b"some.topic", b"payload");
    for cut in 1..bytes.len() {
        publisher.send(&bytes[..cut]);
        clock.confirm();
        publisher.send(&bytes[cut..]);
        subscriber.expect_message(b"some.topic", b"payload");
    }
    for byte in &bytes {
        publisher.send(&[*byte]);
        clock.confirm();
    }
    subscriber.expect_message(b"some.topic", b"payload");
    publisher.confirm();
    subscriber.confirm();
}

#[test]
fn two_frames_cut_at_every_byte_are_processed_in_order() {
    let broker = Broker::start();
    let mut subscriber = broker.subscriber_of(&[b">"]);
    let mut publisher = broker.publisher();
    let mut clock = broker.publisher();
    let bytes = [publish(b"one", b"1"), publish(b"two", b"22")].concat();
    for cut in 1..bytes.len() {
        publisher.send(&bytes[..cut]);
        clock.confirm();
        publisher.send(&bytes[cut..]);
        subscriber.expect_message(b"one", b"1");
        subscriber.expect_message(b"two", b"22");
    }
}

#[test]
fn ten_thousand_frames_in_one_write_are_all_processed_in_order() {
    let broker = Broker::start();
    let mut subscriber = broker.subscriber_of(&[b"n.*"]);
    let mut publisher = broker.publisher();
    let frame = |i: u32| publish(format!("n.{}", i % 7).as_bytes(), &i.to_be_bytes());
    let mut bytes: Vec<u8> = (0..10_000).flat_map(frame).collect();
    bytes.extend(ping(b"done"));
    publisher.send(&bytes);
    for i in 0..10_000u32 {
        subscriber.expect_message(format!("n.{}", i % 7).as_bytes(), &i.to_be_bytes());
    }
    let pong = publisher.recv();
    assert_eq!((pong.kind, pong.body.as_slice()), (kind::PONG, b"done".as_slice()));
}

#[test]
fn subscribing_and_unsubscribing_in_one_write_are_processed_in_order() {
    let broker = Broker::start();
    let mut subscriber = broker.subscriber();
    let on = subscribe(b"t", b"");
    let off = support::frame::unsubscribe(b"t", b"");
    subscriber.send(&[on.clone(), off.clone(), ping(b"1")].concat());
    assert_eq!(subscriber.recv().kind, kind::PONG);
    let mut publisher = broker.publisher();
    publisher.publish(b"t", b"not wanted");
    publisher.confirm();
    subscriber.send(&[off, on, ping(b"2")].concat());
    assert_eq!(subscriber.recv().kind, kind::PONG);
    publisher.publish(b"t", b"wanted");
    subscriber.expect_message(b"t", b"wanted");
}

/// `publisher number, message number`, as the payload of the tests of order.
fn numbered(publisher: u32, message: u32) -> [u8; 8] {
    let mut payload = [0; 8];
    payload[..4].copy_from_slice(&publisher.to_be_bytes());
    payload[4..].copy_from_slice(&message.to_be_bytes());
    payload
}

/// Publishes from several connections at once, in writes of different sizes.
fn publish_from_all(broker: &Broker, publishers: u32, messages: u32) {
    thread::scope(|scope| {
        for number in 0..publishers {
            let mut peer = broker.publisher();
            scope.spawn(move || {
                let topic = format!("t.{number}");
                let frame = |m| publish(topic.as_bytes(), &numbered(number, m));
                let frames: Vec<Vec<u8>> = (0..messages).map(frame).collect();
                for some in frames.chunks(1 + number as usize * 3) {
                    peer.send(&some.concat());
                }
                peer.confirm();
            });
        }
    });
}

#[test]
fn all_subscribers_see_one_order_and_each_publishers_own() {
    const PUBLISHERS: u32 = 4;
    const MESSAGES: u32 = 500;
    let broker = Broker::start();
    let mut all = [b">".as_slice(), b"t.*", b"*.>"].map(|f| broker.subscriber_of(&[f]));
    let mut some = broker.subscriber_of(&[b"t.1", b"t.3"]);
    publish_from_all(&broker, PUBLISHERS, MESSAGES);
    let read = |peer: &mut Peer, count| -> Vec<Frame> { (0..count).map(|_| peer.recv()).collect() };
    let total = PUBLISHERS * MESSAGES;
    let orders: Vec<Vec<Frame>> = all.iter_mut().map(|peer| read(peer, total)).collect();
    assert!(orders.iter().all(|order| *order == orders[0]), "the orders differ");
    for number in 0..PUBLISHERS {
        let own = orders[0].iter().filter(|m| m.body[..4] == number.to_be_bytes());
        let expected = (0..MESSAGES).map(|m| numbered(number, m).to_vec());
        assert!(own.map(|m| m.body.clone()).eq(expected), "publisher {number} is out of order");
    }
    let wanted = |m: &&Frame| m.topic == b"t.1" || m.topic == b"t.3";
    let expected: Vec<Frame> = orders[0].iter().filter(wanted).cloned().collect();
    assert!(read(&mut some, 2 * MESSAGES) == expected, "the order of some differs from all");
}

#[test]
fn pong_carries_the_pings_body_for_both_roles() {
    let broker = Broker::start();
    let bodies: [&[u8]; 4] = [b"", b"x", b"\x00\xFF\n", &[0xAB; 64]];
    for (_, address) in broker.ports() {
        let mut peer = Peer::connect(address).hello(b"pinging");
        for body in bodies {
            peer.send(&ping(body));
        }
        for body in bodies {
            let pong = peer.recv();
            let is_pong = pong.kind == kind::PONG && pong.flags == 0 && pong.topic.is_empty();
            assert!(is_pong && pong.body == body, "{pong:?}");
        }
    }
}

#[test]
fn pong_confirms_that_earlier_messages_and_subscriptions_are_in_force() {
    let broker = Broker::start();
    let mut publisher = broker.publisher();
    for round in 0..50u8 {
        // Were the subscription not in force with its PONG, the message would be lost; were the
        // message not under way with its own, the next subscriber could get it too.
        let mut subscriber = broker.subscriber_of(&[b"t"]);
        publisher.publish(b"t", &[round]);
        publisher.confirm();
        subscriber.expect_message(b"t", &[round]);
        subscriber.confirm();
    }
}

#[test]
fn many_connections_and_topics_at_once_keep_apart() {
    let broker = Broker::start();
    let topic = |i: usize| format!("room.{i}").into_bytes();
    let mut subscribers: Vec<Peer> = (0..60).map(|i| broker.subscriber_of(&[&topic(i)])).collect();
    let mut publishers: Vec<Peer> = (0..20).map(|_| broker.publisher()).collect();
    for i in 0..60 {
        publishers[i % 20].publish(&topic(i), &payload(1_000, i));
    }
    for (i, subscriber) in subscribers.iter_mut().enumerate() {
        subscriber.expect_message(&topic(i), &payload(1_000, i));
    }
    publishers.iter_mut().for_each(Peer::confirm);
    subscribers.iter_mut().for_each(Peer::confirm);
}
