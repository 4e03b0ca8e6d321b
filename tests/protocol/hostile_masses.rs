//! Proves that masses of hostile clients, frames and subscriptions cost memory within the limits,
//! leave nothing behind, and do not keep the broker from serving others.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support;
use crate::support::connections::{FILES_OF_ALL_TESTS, open_files};
use crate::support::frame::{hello, ping, publish, raw, subscribe, unsubscribe};
use crate::support::{Broker, Event, Flood, PATIENCE, Peer, code, kind};

/// By how much a process may be larger than `memory_bytes`.
const ALLOWANCE: usize = 64 << 20;

/// A publisher and a subscriber that have nothing to do with anything else.
struct Healthy {
    publisher: Peer,
    subscriber: Peer,
    sent: u64,
}

impl Healthy {
    fn pair(broker: &Broker) -> Healthy {
        let subscriber = broker.subscriber_of(&[b"healthy.pair"]);
        Healthy { publisher: broker.publisher(), subscriber, sent: 0 }
    }

    /// One message is delivered and confirmed.
    fn round_trip(&mut self) {
        self.sent += 1;
        let payload = self.sent.to_be_bytes();
        self.publisher.publish(b"healthy.pair", &payload);
        self.subscriber.expect_message(b"healthy.pair", &payload);
        self.publisher.confirm();
    }
}

#[test]
fn thousands_of_half_handshakes_time_out_while_a_healthy_pair_goes_on() {
    open_files(FILES_OF_ALL_TESTS);
    let broker = Broker::with(&[("timeouts.hello", "3")]);
    let mut healthy = Healthy::pair(&broker);
    let whole = hello(b"half", b"version=1\n");
    let mut halves = Vec::new();
    for number in 0..2_000 {
        let address = broker.ports()[number % 2].1;
        let mut peer = Peer::connect(address);
        // Some connections send nothing at all.
        let cut = number % whole.len();
        peer.send(&whole[..cut]);
        halves.push(peer);
        if number % 50 == 0 {
            healthy.round_trip();
        }
    }
    for (number, peer) in halves.iter_mut().enumerate() {
        peer.expect_error(code::TIMEOUT, true);
        if number % 50 == 0 {
            healthy.round_trip();
        }
    }
    healthy.round_trip();
}

/// Connects, sends something that is refused or incomplete, and disconnects.
fn refused_handshake(broker: &Broker, number: usize) {
    let (_, address) = broker.ports()[number % 2];
    let long = vec![b'k'; 4_097];
    let rows: [(Vec<u8>, Option<u16>); 7] = [
        (hello(b"x", b"version=2\n"), Some(code::VERSION)),
        (hello(b"x\n", b"version=1\n"), Some(code::MALFORMED)),
        (hello(b"x", &long), Some(code::MALFORMED)),
        (publish(b"t", b"x"), Some(code::HELLO_EXPECTED)),
        (raw(kind::HELLO, 7, b"", b""), Some(code::MALFORMED)),
        (hello(b"x", b"version=1\n")[..9].to_vec(), None),
        (Vec::new(), None),
    ];
    let (bytes, refusal) = &rows[number % rows.len()];
    let mut peer = Peer::connect(address);
    peer.send(bytes);
    if let Some(code) = refusal {
        peer.expect_error(*code, true);
    }
}

#[test]
fn refused_handshakes_leave_no_descriptor_and_no_memory_behind() {
    let broker = Broker::start();
    let mut healthy = Healthy::pair(&broker);
    healthy.round_trip();
    let descriptors = broker.process().descriptors();
    let back = || {
        let deadline = Instant::now() + PATIENCE;
        while broker.process().descriptors() != descriptors {
            let open = broker.process().descriptors();
            assert!(Instant::now() < deadline, "{open} descriptors, {descriptors} before");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    (0..700).for_each(|number| refused_handshake(&broker, number));
    back();
    let before = broker.process().resident();
    (0..3_500).for_each(|number| refused_handshake(&broker, number));
    back();
    let grown = broker.process().resident().saturating_sub(before);
    assert!(grown < 4 << 20, "{} KiB more after 3,500 refused handshakes", grown >> 10);
    healthy.round_trip();
}

/// The smallest messages there are, every other one for a stalled subscriber: each is a slice of
/// its own, which costs more to remember than it has bytes.
fn crafted(policy: &str) {
    const MEMORY: usize = 4 << 20;
    let broker = Broker::with(&[
        ("overflow.policy", policy),
        ("overflow.stall_timeout", "600"),
        ("limits.memory_bytes", "4MiB"),
        ("limits.outbox_bytes", "256MiB"),
    ]);
    let mut stalled = broker.small_subscriber_of(b"a");
    let mut publisher = broker.publisher();
    // The kernel's buffers first, so that what follows has to wait in the outbox.
    let mut filler = Vec::new();
    (0..100).for_each(|_| filler.extend(publish(b"a", &[7; 100_000])));
    let pair = [publish(b"a", b""), publish(b"b", b"")].concat();
    assert_eq!(pair.len(), 18);
    filler.extend(pair.repeat(500_000));
    let flood = Flood::start(publisher.sender(), filler);
    if policy == "block" {
        flood.wait_until_blocked();
    } else {
        flood.finish();
        publisher.confirm();
    }
    let resident = broker.process().resident();
    assert!(resident <= MEMORY + ALLOWANCE, "{policy}: {} MiB in use", resident >> 20);
    if policy == "disconnect" {
        let last = loop {
            match stalled.next(PATIENCE) {
                Event::Frame(frame) if frame.kind == kind::PUBLISH => {}
                other => break other,
            }
        };
        let Event::Frame(error) = last else { panic!("an ERROR was due: {last:?}") };
        assert_eq!(error.error_code(), code::SLOW_CONSUMER);
    }
}

#[test]
fn crafted_small_messages_cost_no_more_than_the_limit_under_block() {
    crafted("block");
}

#[test]
fn crafted_small_messages_cost_no_more_than_the_limit_under_drop() {
    crafted("drop");
}

#[test]
fn crafted_small_messages_cost_no_more_than_the_limit_under_disconnect() {
    crafted("disconnect");
}

/// A filter of 128 tokens, each `*` or `t` by a bit of a number that is different for each filter,
/// and a last token that no topic has.
fn wildcard_filter(number: u64) -> Vec<u8> {
    let mut bits = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut filter = Vec::new();
    for _ in 0..127 {
        filter.extend(if bits & 1 == 0 { b"*." } else { b"t." });
        bits = bits.rotate_right(1);
    }
    filter.extend(b"nobody");
    filter
}

#[test]
fn topics_of_128_tokens_against_10000_wildcard_filters_do_not_block_others() {
    let broker = Broker::start();
    let mut healthy = Healthy::pair(&broker);
    let mut subscriber = broker.subscriber();
    // They cost a node for each token: beyond what one connection may take up, they are refused.
    let mut refused = 0;
    for first in (0..10_000).step_by(100) {
        let numbers = first..first + 100;
        let filters = numbers.flat_map(|number| subscribe(&wildcard_filter(number), b""));
        subscriber.send(&filters.collect::<Vec<u8>>());
        let refusals = subscriber.frames_until_pong();
        refusals.iter().for_each(|frame| support::peer::check_error(frame, code::TOO_MANY, false));
        refused += refusals.len();
    }
    assert!((1..10_000).contains(&refused), "{refused} of 10,000 were refused");
    let mut publisher = broker.publisher();
    for number in 0..10 {
        // Each is another topic, so that no route is known yet.
        let topic = [b"t.".repeat(127), format!("n{number}").into_bytes()].concat();
        publisher.publish(&topic, b"");
        healthy.round_trip();
    }
    publisher.confirm();
    subscriber.confirm();
}

#[test]
fn a_million_subscriptions_are_held_and_published_through() {
    const EACH: usize = 10_000;
    let broker = Broker::start();
    let mut healthy = Healthy::pair(&broker);
    let mut subscribers: Vec<Peer> = (0..100)
        .map(|number| {
            let mut peer = broker.subscriber();
            let all: Vec<u8> = (0..EACH)
                .flat_map(|i| subscribe(format!("s.{number}.{i}").as_bytes(), b""))
                .collect();
            peer.send(&all);
            peer
        })
        .collect();
    subscribers.iter_mut().for_each(Peer::confirm);
    healthy.round_trip();
    let mut publisher = broker.publisher();
    for (number, peer) in subscribers.iter_mut().enumerate() {
        for i in [0, number, EACH - 1] {
            let topic = format!("s.{number}.{i}");
            publisher.publish(topic.as_bytes(), b"x");
            peer.expect_message(topic.as_bytes(), b"x");
        }
        // One more than it may hold.
        peer.send(&subscribe(b"one.more", b""));
        peer.expect_error(code::TOO_MANY, false);
    }
    drop(subscribers);
    healthy.round_trip();
}

#[test]
fn subscribe_and_unsubscribe_storms_on_a_busy_topic_do_not_block_others() {
    open_files(FILES_OF_ALL_TESTS);
    let broker = Broker::start();
    let mut healthy = Healthy::pair(&broker);
    let mut peers: Vec<Peer> = (0..1_000).map(|_| broker.subscriber_of(&[b"crowded.t"])).collect();
    let mut stormy = broker.subscriber();
    for filter in [b"crowded.t".as_slice(), b"crowded.*"] {
        let change = [subscribe(filter, b""), unsubscribe(filter, b"")].concat();
        let storm = Flood::start(stormy.sender(), change.repeat(50_000));
        while !storm.is_done() {
            healthy.round_trip();
        }
        storm.finish();
        stormy.confirm();
    }
    broker.publisher().publish(b"crowded.t", b"once for each");
    peers.iter_mut().for_each(|peer| peer.expect_message(b"crowded.t", b"once for each"));
    stormy.confirm();
}

/// A client that sends the same frame over and over and never reads an answer.
fn unread_answers(broker: &Broker, mut flooder: Peer, frame: &[u8]) {
    let mut healthy = Healthy::pair(broker);
    let before = broker.process().resident();
    let flood = Flood::start(flooder.sender(), frame.repeat((64 << 20) / frame.len()));
    flood.wait_until_blocked();
    for _ in 0..20 {
        healthy.round_trip();
    }
    let grown = broker.process().resident().saturating_sub(before);
    assert!(grown < 16 << 20, "{} MiB for answers that nobody reads", grown >> 20);
    // It was only held up: what it sent is answered as soon as it reads.
    assert!(matches!(flooder.next(PATIENCE), Event::Frame(_)));
    drop(flooder);
}

#[test]
fn a_flood_of_pings_by_a_client_that_does_not_read_is_not_read() {
    let broker = Broker::start();
    for (_, address) in broker.ports() {
        let flooder = Peer::connect_small(address).hello(b"flooder");
        unread_answers(&broker, flooder, &ping(&[b'p'; 64]));
    }
}

/// A client that sends one stream of bytes over and over, and never reads.
struct Flooder {
    socket: TcpStream,
    at: usize,
    _peer: Peer,
}

impl Flooder {
    fn new(peer: Peer) -> Flooder {
        let socket = peer.sender();
        socket.set_nonblocking(true).expect("a socket takes its options");
        Flooder { socket, at: 0, _peer: peer }
    }

    /// Sends what the socket takes at this moment; how much that was.
    fn send_on(&mut self, bytes: &[u8]) -> usize {
        let sent = self.socket.write(&bytes[self.at..]).unwrap_or(0);
        self.at = (self.at + sent) % bytes.len();
        sent
    }
}

#[test]
fn floods_of_pings_by_hundreds_that_do_not_read_stay_within_memory_bytes() {
    const FLOODERS: usize = 400;
    open_files(FILES_OF_ALL_TESTS);
    let broker = Broker::with(&[
        ("limits.memory_bytes", "4MiB"),
        ("overflow.stall_timeout", "600"),
        ("timeouts.heartbeat", "0"),
    ]);
    let mut healthy = broker.subscriber();
    let before = broker.process().resident();
    let peer = || Peer::connect_tiny(broker.subscribers).hello(b"flooder");
    let mut flooders: Vec<_> = (0..FLOODERS).map(|_| Flooder::new(peer())).collect();
    // One that does not read may leave 64 KiB of answers.
    let pings = ping(&[b'p'; 56]).repeat(1_024);
    let mut quiet = 0;
    while quiet < 3 {
        let sent: usize = flooders.iter_mut().map(|flooder| flooder.send_on(&pings)).sum();
        quiet = if sent > 0 { 0 } else { quiet + 1 };
        // The broker has read all that it is going to read of them.
        healthy.confirm();
    }
    let grown = broker.process().resident().saturating_sub(before);
    assert!(grown < 14 << 20, "{} MiB for answers that nobody reads", grown >> 20);
    healthy.confirm();
}

#[test]
fn a_flood_of_bad_topics_by_a_client_that_does_not_read_is_not_read() {
    let broker = Broker::start();
    let publisher = Peer::connect_small(broker.publishers).hello(b"flooder");
    unread_answers(&broker, publisher, &publish(b"a..b", b""));
    let subscriber = Peer::connect_small(broker.subscribers).hello(b"flooder");
    unread_answers(&broker, subscriber, &subscribe(b">.a", b""));
}

#[test]
fn frames_that_are_begun_and_not_ended_hold_up_others_for_one_stall_timeout_at_most() {
    // Nothing but the rule itself can free the healthy pair.
    let broker = Broker::with(&[
        ("limits.memory_bytes", "4MiB"),
        ("overflow.stall_timeout", "2"),
        ("timeouts.hello", "600"),
        ("timeouts.heartbeat", "0"),
    ]);
    let mut healthy = Healthy::pair(&broker);
    let whole = publish(b"never", &[7; 1 << 20]);
    let begun = &whole[..whole.len() - 1];
    let attackers: Vec<Peer> = (0..12).map(|_| broker.publisher()).collect();
    let floods: Vec<_> =
        attackers.iter().map(|peer| Flood::start(peer.sender(), begun.to_vec())).collect();
    broker.log().wait_for("full memory", |line| line.contains("memory_bytes is reached"));
    healthy.round_trip();
    broker.log().wait_for_count("frame_timeout", 3);
    drop((attackers, floods));
    healthy.round_trip();
}
