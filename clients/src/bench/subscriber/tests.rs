//! A subscriber whose bytes arrive in pieces.

use std::net::TcpListener;

use wire::native::error_code::ErrorCode;
use wire::native::frame::{self, Kind};
use wire::nats::line::{self, Line};
use wire::nats::message::MessageLine;

use super::*;
use crate::bench::plan::{Plan, Sizes};

const PROTOCOLS: [Protocol; 2] = [Protocol::Native, Protocol::Nats];

fn plan(verify: bool, protocol: Protocol) -> Plan {
    let sizes = Sizes::parse("24").unwrap();
    Plan { publishers: 2, topics: 3, sizes, verify, protocol, ..Plan::example() }
}

fn subscriber() -> Subscriber {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap().into();
    Subscriber::new(0, stream, Vec::new(), 2)
}

/// Appends a message as a broker delivers it. In the native protocol it looks as it was published.
fn deliver(
    traffic: &Traffic,
    protocol: Protocol,
    (publisher, number, stamp): (usize, u64, u64),
    out: &mut Vec<u8>,
) {
    let mut published = Vec::new();
    traffic.encode(publisher, number, stamp, &mut published);
    if protocol == Protocol::Native {
        return out.append(&mut published);
    }
    let Ok(Some((Line::Publish(line), line_bytes))) = line::parse(&published, 4_096) else {
        panic!("it is a PUB");
    };
    let (subject, total_bytes) = (line.subject, line.total_bytes);
    // With fewer than ten topics their names are one digit.
    let sid = &subject[subject.len() - 1..];
    MessageLine { subject, sid, reply: None, header_bytes: 0, total_bytes }.write(out);
    out.extend_from_slice(&published[line_bytes..]);
}

/// Four messages, of which two are timed, with something else in their middle.
fn stream(traffic: &Traffic, protocol: Protocol) -> Vec<u8> {
    let mut bytes = Vec::new();
    deliver(traffic, protocol, (0, 0, 1), &mut bytes);
    deliver(traffic, protocol, (0, 1, 0), &mut bytes);
    match protocol {
        Protocol::Native => frame::encode(Kind::Lost, 0, b"", &3u64.to_be_bytes(), &mut bytes),
        Protocol::Nats => protocol.ping(&mut bytes),
    }
    deliver(traffic, protocol, (1, 0, 2), &mut bytes);
    deliver(traffic, protocol, (1, 1, 0), &mut bytes);
    bytes
}

fn feed(one: &mut Subscriber, bytes: &[u8], tally: &mut Tally<'_>) {
    let mut scratch = Vec::new();
    let kept = one.restore(&mut scratch, bytes.len());
    scratch[kept..kept + bytes.len()].copy_from_slice(bytes);
    one.read(&scratch[..kept + bytes.len()], 10, tally).unwrap();
}

#[test]
fn messages_are_counted_wherever_the_bytes_are_split() {
    for (protocol, verify) in PROTOCOLS.into_iter().flat_map(|one| [(one, false), (one, true)]) {
        let plan = plan(verify, protocol);
        let traffic = Traffic::new(&plan);
        let bytes = stream(&traffic, protocol);
        let told = if protocol == Protocol::Native { 3 } else { 0 };
        for first in 0..=bytes.len() {
            for second in [first, (first + 1).min(bytes.len()), bytes.len()] {
                let shape = traffic.shape().filter(|_| !verify);
                let mut tally = Tally::new(protocol, shape, verify.then_some(&traffic));
                let mut one = subscriber();
                for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    feed(&mut one, piece, &mut tally);
                }
                assert_eq!(tally.take_counts(), (4, 96), "{protocol:?} {first} {second}");
                let account = tally.account;
                assert_eq!((account.latency.len(), account.told_lost), (2, told));
                assert_eq!(account.faults.told, Vec::<String>::new());
            }
        }
    }
}

#[test]
fn skipping_and_reading_count_the_same_and_notice_what_is_no_message() {
    let plan = plan(false, Protocol::Native);
    let traffic = Traffic::new(&plan);
    let mut bytes = Vec::new();
    for number in 0..9 {
        traffic.encode(0, number, 0, &mut bytes);
    }
    for at in 0..bytes.len() {
        let mut tally = Tally::new(plan.protocol, traffic.shape(), None);
        let mut one = subscriber();
        one.skip(at, &mut tally);
        feed(&mut one, &bytes[at..], &mut tally);
        assert_eq!(tally.take_counts().0, 9, "{at}");

        let mut shifted = subscriber();
        shifted.skip(at + 16, &mut tally);
        let noticed = shifted.read(&bytes[at..], 10, &mut tally).is_err();
        assert!(noticed || bytes.len() - at < 2 * 39, "{at}");
    }
}

#[test]
fn gaps_repeats_and_strangers_are_faults() {
    let plan = plan(true, Protocol::Native);
    let traffic = Traffic::new(&plan);
    let rows = [
        (vec![(0, 0), (0, 2)], "a gap"),
        (vec![(0, 0), (0, 0)], "out of order, or twice"),
        (vec![(1, 1), (1, 0)], "a gap"),
        (vec![(2, 0)], "there is no publisher 2"),
    ];
    for (messages, expected) in rows {
        let mut tally = Tally::new(plan.protocol, None, Some(&traffic));
        let mut bytes = Vec::new();
        for (publisher, number) in &messages {
            traffic.encode(*publisher, *number, 0, &mut bytes);
        }
        feed(&mut subscriber(), &bytes, &mut tally);
        assert!(tally.account.faults.told[0].contains(expected), "{messages:?}: {tally:?}");
    }
}

#[test]
fn the_brokers_refusal_is_told_in_its_words() {
    let plan = plan(false, Protocol::Native);
    let traffic = Traffic::new(&plan);
    let mut tally = Tally::new(plan.protocol, traffic.shape(), None);
    let mut bytes = Vec::new();
    frame::encode_error(ErrorCode::SlowConsumer, true, b"", "too slow", &mut bytes);
    let failure = subscriber().read(&bytes, 1, &mut tally).unwrap_err().unwrap();
    let text = failure.to_string();
    assert!(text.contains("SLOW_CONSUMER: too slow"), "{text}");
}
