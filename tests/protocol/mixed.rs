//! Proves the guarantees of delivery all at once, under random traffic: messages of all sizes in
//! ragged writes, readers of all speeds, a small outbox, clients that connect and disconnect.
//! The seed is printed; `BROKER_TEST_SEED` sets it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::frame::{publish, subscribe, unsubscribe};
use crate::support::{Broker, Event, Frame, Peer, kind};

const PUBLISHERS: u32 = 4;
const MESSAGES: u32 = 400;
const TOPICS: [&str; 8] = ["a.b", "a.c", "a.b.c", "b", "b.a", "c.b.a", "#hello", "été.b"];
const END: &[u8] = b"the.end";

/// Pseudorandom numbers, reproducible by their seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// Mostly small sizes, now and then a large one.
    fn size(&mut self) -> usize {
        let limit = [20, 20, 300, 5_000, 150_000][self.below(5) as usize];
        self.below(limit) as usize
    }

    fn topic(&mut self) -> &'static str {
        TOPICS[self.below(TOPICS.len() as u64) as usize]
    }
}

fn seed() -> u64 {
    let given = std::env::var("BROKER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_nanos());
    let seed = given.unwrap_or(time as u64 | 1);
    println!("BROKER_TEST_SEED={seed}");
    seed
}

/// Who sent a message, and its number there.
fn name(message: &Frame) -> (u32, u32) {
    assert_eq!(message.kind, kind::PUBLISH, "only messages were due: {message:?}");
    let (publisher, rest) = message.body.split_first_chunk().expect("a payload has its names");
    let (number, rest) = rest.split_first_chunk().expect("a payload has its names");
    let (publisher, number) = (u32::from_be_bytes(*publisher), u32::from_be_bytes(*number));
    let whole = rest.iter().enumerate().all(|(i, byte)| *byte == filler(publisher, number, i));
    assert!(whole, "message {number} of publisher {publisher} is damaged");
    (publisher, number)
}

/// Checks that a message is unchanged.
fn is_whole(message: &Frame) {
    if message.topic != END {
        name(message);
    }
}

fn filler(publisher: u32, number: u32, at: usize) -> u8 {
    (publisher as usize * 7 + number as usize * 13 + at * 31) as u8
}

/// Publishes its messages in writes that end anywhere.
fn publisher(broker: &Broker, number: u32, mut random: Random) {
    let mut peer = broker.publisher();
    let mut bytes = Vec::new();
    for message in 0..MESSAGES {
        let mut payload = [number.to_be_bytes(), message.to_be_bytes()].concat();
        payload.extend((0..random.size()).map(|i| filler(number, message, i)));
        bytes.extend(publish(random.topic().as_bytes(), &payload));
        let send = random.below(bytes.len() as u64 + 1) as usize;
        if random.below(3) == 0 {
            peer.send(&bytes[..send]);
            bytes.drain(..send);
        }
    }
    peer.send(&bytes);
    peer.confirm();
}

/// Reads all messages up to the end, with a pause now and then.
fn reader(mut peer: Peer, mut random: Random) -> Vec<Frame> {
    let mut messages = Vec::new();
    loop {
        let message = peer.recv();
        if message.topic == END {
            return messages;
        }
        name(&message);
        messages.push(message);
        if random.below(50) == 0 {
            thread::sleep(Duration::from_millis(random.below(4)));
        }
    }
}

/// Subscribes, unsubscribes and leaves again until it is told to stop. What it receives must be
/// whole.
fn churner(broker: &Broker, mut random: Random, stop: &AtomicBool) {
    let filters = ["a.*", ">", "a.b", "*.b", "b", "c.>", "*.*.*"];
    while !stop.load(Ordering::SeqCst) {
        let mut peer = broker.subscriber();
        for _ in 0..random.below(20) {
            let filter = filters[random.below(filters.len() as u64) as usize].as_bytes();
            let group: &[u8] = [b"".as_slice(), b"passing"][random.below(2) as usize];
            match random.below(3) {
                0 => peer.send(&unsubscribe(filter, group)),
                _ => peer.send(&subscribe(filter, group)),
            }
            while let Event::Frame(message) = peer.next(Duration::from_millis(1)) {
                is_whole(&message);
            }
        }
        // Half of the time it disconnects without UNSUBSCRIBE, with messages still under way.
        if random.below(2) == 0 {
            peer.half_close();
            peer.frames_until_close().iter().for_each(is_whole);
        }
    }
}

/// The matching of the protocol, in its plainest form.
fn matches(filter: &str, topic: &[u8]) -> bool {
    let topic = std::str::from_utf8(topic).expect("topics are UTF-8");
    let (mut filter, mut topic) = (filter.split('.'), topic.split('.'));
    loop {
        match (filter.next(), topic.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(wanted), Some(token)) if wanted == "*" || wanted == token => {}
            _ => return false,
        }
    }
}

/// The messages must be some of `all`, in its order. Returns which.
fn places(messages: &[Frame], order: &HashMap<(u32, u32), usize>) -> Vec<usize> {
    let places: Vec<usize> = messages.iter().map(|message| order[&name(message)]).collect();
    assert!(places.is_sorted_by(|a, b| a < b), "another order, or a message twice");
    places
}

/// What the readers got: for each its filter, whether it is a member of a group, and the messages.
fn traffic(broker: &Broker, random: &mut Random) -> Vec<(&'static str, bool, Vec<Frame>)> {
    let filters = [(">", ""), ("a.*", ""), ("*.b", ""), ("a.>", "g"), ("a.>", "g"), ("a.>", "g")];
    let mut fork = || Random(random.below(u64::MAX) | 1);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut readers = Vec::new();
        for (filter, group) in filters {
            let mut peer = broker.subscriber_of(&[END]);
            peer.subscribe(filter.as_bytes(), group.as_bytes());
            let random = fork();
            readers.push((filter, !group.is_empty(), scope.spawn(move || reader(peer, random))));
        }
        for random in [fork(), fork()] {
            let stop = &stop;
            scope.spawn(move || churner(broker, random, stop));
        }
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|number| (number, fork()))
            .map(|(number, random)| scope.spawn(move || publisher(broker, number, random)))
            .collect();
        for publisher in publishers {
            publisher.join().expect("everything is published");
        }
        stop.store(true, Ordering::SeqCst);
        broker.publisher().publish(END, b"");
        let messages = |reader: thread::ScopedJoinHandle<'_, _>| reader.join().expect("it reads");
        readers.into_iter().map(|(f, group, reader)| (f, group, messages(reader))).collect()
    })
}

#[test]
fn under_mixed_traffic_each_subscriber_gets_its_part_of_one_order() {
    let broker = Broker::with(&[
        ("limits.outbox_bytes", "64KiB"),
        ("network.read_bytes", "32KiB"),
        ("overflow.stall_timeout", "600"),
    ]);
    let mut random = Random(seed());
    let got = traffic(&broker, &mut random);

    let all = &got[0].2;
    assert_eq!(all.len(), (PUBLISHERS * MESSAGES) as usize);
    let order: HashMap<(u32, u32), usize> =
        all.iter().enumerate().map(|(place, message)| (name(message), place)).collect();
    for number in 0..PUBLISHERS {
        let own = all.iter().map(name).filter(|name| name.0 == number).map(|name| name.1);
        assert!(own.eq(0..MESSAGES), "publisher {number} is out of order");
    }
    let expected = |filter: &str| -> Vec<usize> {
        (0..all.len()).filter(|place| matches(filter, &all[*place].topic)).collect()
    };
    let mut shared = Vec::new();
    for (filter, member, messages) in &got {
        let places = places(messages, &order);
        if *member {
            shared.extend(places);
        } else {
            assert_eq!(places, expected(filter), "filter {filter}");
        }
    }
    shared.sort_unstable();
    assert_eq!(shared, expected("a.>"), "the group did not get each message once");
}
