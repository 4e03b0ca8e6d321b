//! Clients that ask for as much work as they can, and what that means for a quiet pair of clients
//! beside them: all requested work is done, and the pair is served meanwhile. Its latencies are
//! reported at full size, and so is the memory of publishers that wait.

use std::collections::HashMap;
use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::support::connections::{FILES_OF_ALL_TESTS, open_files};
use crate::support::frame::{hello, publish, subscribe, unsubscribe};
use crate::support::{Broker, HealthyPair, Http, Latencies, Peer, Pump, eventually, mib};

/// By how much a process may be larger than `memory_bytes`, without its connections.
const ALLOWANCE: usize = 64 << 20;
/// What a connection and what a subscription may add to it, in bytes.
const CONNECTION_BYTES: usize = 1_000;
const SUBSCRIPTION_BYTES: usize = 1_000;
/// How long all requested work may take.
const LONG: Duration = Duration::from_secs(180);

/// A broker without heartbeats: the clients here do not answer them.
fn broker(settings: &[(&str, &str)]) -> Broker {
    Broker::with(&[settings, &[("timeouts.heartbeat", "0")]].concat())
}

/// A thread that reads all that many subscribers receive, and counts the bytes.
struct Readers {
    stop: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Readers {
    fn start(peers: &[Peer]) -> Readers {
        let mut poll = Poll::new().expect("the system can poll");
        let mut streams = HashMap::new();
        for (index, peer) in peers.iter().enumerate() {
            let stream = peer.sender();
            stream.set_nonblocking(true).expect("a socket takes its options");
            let mut stream = TcpStream::from_std(stream);
            let registry = poll.registry();
            let registered = registry.register(&mut stream, Token(index), Interest::READABLE);
            registered.expect("a socket can be polled");
            streams.insert(Token(index), stream);
        }
        let (stop, bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&bytes));
        let thread = thread::spawn(move || {
            let mut events = Events::with_capacity(1_024);
            let mut buffer = vec![0; 256 << 10];
            while !stopped.load(Ordering::Relaxed) {
                let _ = poll.poll(&mut events, Some(Duration::from_millis(50)));
                for event in &events {
                    let Some(stream) = streams.get_mut(&event.token()) else { continue };
                    let count = read_all(stream, &mut buffer);
                    counted.fetch_add(count, Ordering::Relaxed);
                }
            }
        });
        Readers { stop, bytes, thread: Some(thread) }
    }

    /// Waits until so many bytes have arrived in total, and no more.
    fn expect(&self, bytes: u64) {
        let deadline = Instant::now() + LONG;
        let got = || self.bytes.load(Ordering::Relaxed);
        while got() < bytes {
            assert!(Instant::now() < deadline, "{} of {bytes} bytes came", got());
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(got(), bytes, "more came than was published");
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Bytes that are there now.
fn read_all(stream: &mut TcpStream, buffer: &mut [u8]) -> u64 {
    let mut bytes = 0;
    loop {
        match stream.read(buffer) {
            Ok(0) => return bytes,
            Ok(count) => bytes += count as u64,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return bytes,
        }
    }
}

/// The pair beside this work.
fn beside(broker: &Broker, work: impl FnOnce()) -> Latencies {
    HealthyPair::during(broker, work)
}

/// Prints the pair's latencies.
fn report(what: &str, latencies: &Latencies, wanted: &str) {
    let millis = |part| latencies.percentile(part).as_secs_f64() * 1e3;
    println!(
        "work: {what}: the pair beside it: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms (wanted: \
         {wanted}; {} messages)",
        millis(0.5),
        millis(0.99),
        millis(1.0),
        latencies.count()
    );
}

const QUIET: &str = "p99 5 ms, max 30 ms";
const FAN_OUT: &str = "p50 10 ms, max 60 ms";

/// Connections that are in so many queue groups each: a message is a delivery to each group. (The
/// groups do not match the pair's topic, or it would wait for the members by rule.)
fn many_groups(connections: usize, groups: usize, messages: usize) -> Latencies {
    let broker = broker(&[]);
    let members: Vec<Peer> = (0..connections)
        .map(|number| {
            let mut member = broker.subscriber();
            let name = |group: usize| format!("{number}.{group}").into_bytes();
            let all = (0..groups).flat_map(|group| subscribe(b"busy.>", &name(group)));
            member.send(&all.collect::<Vec<_>>());
            member.confirm();
            member
        })
        .collect();
    let readers = Readers::start(&members);
    let message = publish(b"busy.t", b"");
    let mut publisher = broker.publisher();
    beside(&broker, || {
        publisher.send(&message.repeat(messages));
        readers.expect((connections * groups * messages * message.len()) as u64);
    })
}

/// Clients that subscribe and unsubscribe again and again, so many times in one write.
fn many_changes(clients: usize, in_a_write: usize, lasting: Duration) -> Latencies {
    let broker = broker(&[]);
    let mut peers: Vec<Peer> = (0..clients).map(|_| broker.subscriber()).collect();
    let latencies = beside(&broker, || {
        let change = |client: usize| {
            let filter = format!("busy.*.{client}").into_bytes();
            [subscribe(&filter, b""), unsubscribe(&filter, b"")].concat()
        };
        let pumps: Vec<Pump> = peers
            .iter()
            .enumerate()
            .map(|(client, peer)| {
                let block = change(client).repeat(in_a_write / 2);
                Pump::start(peer, move |into| {
                    into.extend(&block);
                    in_a_write as u64
                })
            })
            .collect();
        thread::sleep(lasting);
        pumps.into_iter().for_each(|pump| _ = pump.stop());
        peers.iter_mut().for_each(Peer::confirm);
    });
    // The last of each was an UNSUBSCRIBE.
    let mut publisher = broker.publisher();
    publisher.publish(b"busy.t.0", b"to none");
    publisher.frames_until_pong();
    peers.iter_mut().for_each(Peer::confirm);
    latencies
}

/// Publishers that name a new topic with each message, so that no route is known.
fn many_topics(publishers: usize, lasting: Duration) -> Latencies {
    const IN_A_WRITE: u64 = 5_000;
    let broker = broker(&[]);
    let mut peers: Vec<Peer> = (0..publishers).map(|_| broker.publisher()).collect();
    let mut last = broker.subscriber_of(&[b"busy.last"]);
    let latencies = beside(&broker, || {
        let pumps: Vec<Pump> = peers
            .iter()
            .enumerate()
            .map(|(publisher, peer)| {
                let mut number = 0;
                Pump::start(peer, move |into| {
                    for _ in 0..IN_A_WRITE {
                        into.extend(publish(format!("busy.{publisher}.{number}").as_bytes(), b""));
                        number += 1;
                    }
                    IN_A_WRITE
                })
            })
            .collect();
        thread::sleep(lasting);
        pumps.into_iter().for_each(|pump| _ = pump.stop());
        for peer in &mut peers {
            assert_eq!(peer.frames_until_pong(), [], "each of them was processed");
        }
    });
    peers[0].publish(b"busy.last", b"x");
    last.expect_message(b"busy.last", b"x");
    latencies
}

/// A filter with a wildcard and so many tokens that hardly any other filter has.
fn long_filter(round: usize, number: usize, tokens: usize) -> Vec<u8> {
    let token = |at| format!("{round:x}{number:03x}{at:02x}");
    let tokens: Vec<_> = (1..tokens).map(token).collect();
    format!("*.{}", tokens.join(".")).into_bytes()
}

/// Subscribers of so many long filters each that disconnect together, again and again.
fn heavy_clients_disconnect(clients: usize, filters: usize, rounds: usize) -> Latencies {
    /// A thousand of them weigh no more than a connection may hold.
    const TOKENS: usize = 120;
    let broker = broker(&[]);
    let latencies = beside(&broker, || {
        for round in 0..rounds {
            let heavy: Vec<Peer> = (0..clients)
                .map(|client| {
                    let filter = |number| long_filter(round * clients + client, number, TOKENS);
                    assert!(filter(0).len() <= 1_024);
                    let all = (0..filters).flat_map(|number| subscribe(&filter(number), b""));
                    let mut peer = broker.subscriber();
                    peer.send(&all.collect::<Vec<_>>());
                    peer.confirm();
                    peer
                })
                .collect();
            drop(heavy);
            let gone = || {
                let log = broker.log().so_far();
                let gone = log.iter().filter(|line| line.contains("disconnected: subscriber"));
                (gone.count() >= (round + 1) * clients).then_some(())
            };
            eventually("the end of all of them", gone);
            // Their subscriptions are removed after that.
            thread::sleep(Duration::from_millis(200));
        }
    });
    // What they held is free again: another one may hold as much.
    let mut peer = broker.subscriber();
    (0..filters).for_each(|number| peer.send(&subscribe(&long_filter(0, number, TOKENS), b"")));
    peer.confirm();
    latencies
}

/// Readers of two topics that are published in turn at full speed, so that each message is a run
/// of its own: all of them read the first, every other one the second.
fn two_topics_in_turn(readers: usize, payload: usize, lasting: Duration) -> Latencies {
    let broker = broker(&[]);
    let peers: Vec<Peer> = (0..readers)
        .map(|number| match number % 2 {
            0 => broker.subscriber_of(&[b"busy.a", b"busy.b"]),
            _ => broker.subscriber_of(&[b"busy.a"]),
        })
        .collect();
    let counting = Readers::start(&peers);
    let publisher = broker.publisher();
    let payload = vec![7; payload];
    let two = [publish(b"busy.a", &payload), publish(b"busy.b", &payload)].concat();
    let in_a_write = (64 << 10) / two.len();
    let (block, length) = (two.repeat(in_a_write), two.len() / 2);
    beside(&broker, || {
        let pump = Pump::start(&publisher, move |into| {
            into.extend(&block);
            in_a_write as u64
        });
        thread::sleep(lasting);
        let pairs = pump.stop() as usize;
        counting.expect((pairs * length * (readers + readers.div_ceil(2))) as u64);
    })
}

/// So many publishers that wait for so many full outboxes, with `memory` bytes for all and `outbox`
/// bytes for each. Returns how much of the broker's memory is resident then.
fn publishers_wait(publishers: usize, receivers: usize, memory: usize, outbox: usize) -> usize {
    /// So large that it has no room where one of a filler has none.
    const PAYLOAD: usize = 2_048;
    const FILLERS: usize = 4;
    open_files((2 * (publishers + receivers + FILLERS) + 200) as u64);
    let (memory_bytes, outbox_bytes) = (memory.to_string(), outbox.to_string());
    let broker = broker(&[
        ("limits.memory_bytes", &memory_bytes),
        ("limits.outbox_bytes", &outbox_bytes),
        ("overflow.stall_timeout", "600"),
        ("network.max_connections", "20000"),
        ("monitor.address", "127.0.0.1:0"),
        ("timeouts.hello", "60"),
    ]);
    let topic = |number: usize| format!("own.{number}").into_bytes();
    let stalled: Vec<Peer> = (0..receivers)
        .map(|number| {
            let mut peer = Peer::connect_tiny(broker.subscribers).hello(b"stalled");
            peer.send(&[subscribe(b"all", b""), subscribe(&topic(number), b"")].concat());
            peer.confirm();
            peer
        })
        .collect();
    // Each fills its part of the outboxes in turn, until one of them, and so nearly all, are full.
    let fillers: Vec<Peer> = (0..FILLERS).map(|_| broker.publisher()).collect();
    let pumps: Vec<Pump> = fillers
        .iter()
        .enumerate()
        .map(|(filler, peer)| {
            let mut next = filler;
            Pump::start(peer, move |into| {
                into.extend(publish(&topic(next), &[7; PAYLOAD / 2]));
                next = if next + FILLERS < receivers { next + FILLERS } else { filler };
                1
            })
        })
        .collect();
    let monitor = broker.monitor();
    let paused = |cause: &str| {
        let name = format!("broker_paused_publishers{{cause=\"{cause}\"}}");
        Http::get(monitor, "/metrics").sample(&name) as usize
    };
    wait("full outboxes", || paused("subscriber") == FILLERS);
    let waiting: Vec<Peer> = (0..publishers)
        .map(|_| {
            let mut peer = Peer::connect(broker.publishers);
            let message = publish(b"all", &[8; PAYLOAD]);
            peer.send(&[hello(b"waiting", b"version=1\n"), message].concat());
            peer
        })
        .collect();
    // The first messages that arrive may have been accepted.
    let all = FILLERS + publishers;
    wait("publishers that wait", || paused("subscriber") + paused("memory") + 20 >= all);
    let (resident, peak) = (broker.process().resident(), broker.process().peak());
    let connections = publishers + receivers + FILLERS;
    let allowed =
        memory + ALLOWANCE + connections * CONNECTION_BYTES + 2 * receivers * SUBSCRIPTION_BYTES;
    let line = format!(
        "work: {publishers} publishers wait for {receivers} full outboxes ({} of them for memory): \
         RSS {:.0} MiB, at most {:.0}; {:.0} allowed",
        paused("memory"),
        mib(resident),
        mib(peak),
        mib(allowed)
    );
    println!("{line}");
    assert!(peak <= allowed, "{line}");
    pumps.into_iter().for_each(Pump::kill);
    drop((stalled, waiting));
    resident
}

/// Waits for something that may take long.
fn wait(what: &str, is_there: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_there() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn each_group_gets_each_message_however_many_one_connection_is_in() {
    many_groups(3, 100, 50);
}

#[test]
fn subscriptions_that_change_all_the_time_are_all_changed() {
    many_changes(2, 2_000, Duration::from_millis(500));
}

#[test]
fn topics_that_no_route_is_known_of_are_all_published_to() {
    many_topics(2, Duration::from_millis(500));
}

#[test]
fn what_clients_with_long_filters_held_is_free_after_they_disconnect() {
    heavy_clients_disconnect(2, 100, 2);
}

#[test]
fn all_readers_get_both_of_two_topics_in_turn() {
    open_files(FILES_OF_ALL_TESTS);
    two_topics_in_turn(40, 100, Duration::from_millis(500));
}

#[test]
fn publishers_that_wait_for_full_outboxes_are_within_the_limit_of_memory() {
    open_files(FILES_OF_ALL_TESTS);
    publishers_wait(150, 150, 16 << 20, 64 << 10);
}

#[test]
#[ignore = "half a minute, and wants the machine for itself"]
fn full_work_1_ten_thousand_queue_groups() {
    report("1: 10 connections in 1,000 groups each", &many_groups(10, 1_000, 1_000), QUIET);
}

#[test]
#[ignore = "opens 20,000 files, and wants the machine for itself"]
fn full_work_2_thousands_of_publishers_wait() {
    publishers_wait(4_800, 5_000, 512 << 20, 88 << 10);
}

#[test]
#[ignore = "ten seconds, and wants the machine for itself"]
fn full_work_3_subscriptions_that_change_all_the_time() {
    let latencies = many_changes(8, 10_000, Duration::from_secs(10));
    report("3: 8 clients that subscribe and unsubscribe, 10,000 in a write", &latencies, QUIET);
}

#[test]
#[ignore = "ten seconds, and wants the machine for itself"]
fn full_work_4_topics_that_are_never_cached() {
    let latencies = many_topics(2, Duration::from_secs(10));
    report("4: 2 publishers of a new topic with each message", &latencies, QUIET);
}

#[test]
#[ignore = "half a minute, and wants the machine for itself"]
fn full_work_5_heavy_clients_that_disconnect() {
    let latencies = heavy_clients_disconnect(8, 1_000, 5);
    report("5: 8 clients of 1,000 long filters come and vanish, 5 times", &latencies, QUIET);
}

#[test]
#[ignore = "half a minute, and wants the machine for itself"]
fn full_work_6_two_topics_in_turn() {
    open_files(1_500);
    for payload in [100, 1] {
        let latencies = two_topics_in_turn(600, payload, Duration::from_secs(10));
        report(&format!("6: 600 readers, two topics in turn, {payload} B"), &latencies, FAN_OUT);
    }
}
