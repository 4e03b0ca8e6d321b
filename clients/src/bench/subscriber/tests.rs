//! What a subscriber makes of bytes that come in pieces.

use std::net::TcpListener;

use super::*;
use crate::bench::plan::{Amount, Place, Plan, Sizes};
use crate::bench::shared::latency_histogram;

fn plan(verify: bool) -> Plan {
    Plan {
        place: Place::Embedded,
        broker_pid: None,
        publishers: 2,
        subscribers: 1,
        topics: 3,
        wildcard: false,
        sizes: Sizes::parse("24").unwrap(),
        seed: 1,
        amount: Amount::Messages(1),
        rate: None,
        verify,
        runs: 1,
    }
}

fn subscriber() -> Subscriber {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    Subscriber::new(0, stream, Vec::new(), 2)
}

/// Four messages, of which two are timed, with a LOST of 3 in their middle.
fn stream(traffic: &Traffic) -> Vec<u8> {
    let mut bytes = Vec::new();
    traffic.encode(0, 0, 1, &mut bytes);
    traffic.encode(0, 1, 0, &mut bytes);
    frame::encode(Kind::Lost, 0, b"", &3u64.to_be_bytes(), &mut bytes);
    traffic.encode(1, 0, 2, &mut bytes);
    traffic.encode(1, 1, 0, &mut bytes);
    bytes
}

fn feed(one: &mut Subscriber, bytes: &[u8], tally: &mut Tally<'_>) {
    let mut scratch = Vec::new();
    let kept = one.restore(&mut scratch, bytes.len());
    scratch[kept..kept + bytes.len()].copy_from_slice(bytes);
    one.read(&scratch[..kept + bytes.len()], 10, tally).unwrap();
}

#[test]
fn frames_are_counted_wherever_the_bytes_are_split() {
    for verify in [false, true] {
        let plan = plan(verify);
        let traffic = Traffic::new(&plan);
        let bytes = stream(&traffic);
        for first in 0..=bytes.len() {
            for second in [first, (first + 1).min(bytes.len()), bytes.len()] {
                let uniform = traffic.uniform().filter(|_| !verify);
                let checked = verify.then_some(&traffic);
                let mut tally = Tally::new(uniform, checked, latency_histogram());
                let mut one = subscriber();
                for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    feed(&mut one, piece, &mut tally);
                }
                assert_eq!(tally.take_counts(), (4, 96), "{verify} {first} {second}");
                assert_eq!((tally.latency.len(), tally.told_lost), (2, 3));
                assert_eq!(tally.faults, Vec::<String>::new());
            }
        }
    }
}

#[test]
fn skipping_and_reading_count_the_same_and_notice_what_is_no_message() {
    let plan = plan(false);
    let traffic = Traffic::new(&plan);
    let mut bytes = Vec::new();
    for number in 0..9 {
        traffic.encode(0, number, 0, &mut bytes);
    }
    for at in 0..bytes.len() {
        let mut tally = Tally::new(traffic.uniform(), None, latency_histogram());
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
    let plan = plan(true);
    let traffic = Traffic::new(&plan);
    let rows = [
        (vec![(0, 0), (0, 2)], "a gap"),
        (vec![(0, 0), (0, 0)], "out of order, or twice"),
        (vec![(1, 1), (1, 0)], "a gap"),
        (vec![(2, 0)], "there is no publisher 2"),
    ];
    for (messages, expected) in rows {
        let mut tally = Tally::new(None, Some(&traffic), latency_histogram());
        let mut bytes = Vec::new();
        for (publisher, number) in &messages {
            traffic.encode(*publisher, *number, 0, &mut bytes);
        }
        feed(&mut subscriber(), &bytes, &mut tally);
        assert!(tally.faults[0].contains(expected), "{messages:?}: {:?}", tally.faults);
    }
}

#[test]
fn the_brokers_refusal_is_told_in_its_words() {
    use wire::native::error_code::ErrorCode;
    let plan = plan(false);
    let traffic = Traffic::new(&plan);
    let mut tally = Tally::new(traffic.uniform(), None, latency_histogram());
    let mut bytes = Vec::new();
    frame::encode_error(ErrorCode::SlowConsumer, true, b"", "too slow", &mut bytes);
    let failure = subscriber().read(&bytes, 1, &mut tally).unwrap_err().unwrap();
    let text = failure.to_string();
    assert!(text.contains("SLOW_CONSUMER: too slow"), "{text}");
}
