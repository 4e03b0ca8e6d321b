//! Proves that connections without HELLO in time are closed at the hello time-out, silent or
//! trickling, however many there are, while a healthy pair continues.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::connections::{connect, open_files};
use crate::support::frame::hello;
use crate::support::{Broker, HealthyPair, Latencies};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// A HELLO that takes longer than any time-out here at a byte a time.
fn long_hello() -> Vec<u8> {
    hello(b"slow", format!("version=1\nfill={}\n", "x".repeat(600)).as_bytes())
}

/// One connection that is not welcomed, and when it was made.
struct PendingHandshake {
    stream: TcpStream,
    since: Instant,
    closed_after: Option<Duration>,
}

/// How often trickling connections are served, so that they do not all send in the same instant.
const TICK: Duration = Duration::from_millis(10);

/// So many at once, half of them silent, half of them at a byte each `between`: the shortest and
/// the longest time until one was closed, and what a healthy pair's messages took meanwhile.
fn time_out_handshakes(
    broker: &Broker,
    count: usize,
    between: Duration,
    most: Duration,
) -> (Duration, Duration, Latencies) {
    let mut all = Vec::new();
    let latencies = HealthyPair::during(broker, || {
        let poll = Poll::new().expect("the system can wait for sockets");
        for number in 0..count {
            let address = broker.ports()[number % 2].1;
            let stream = connect(address).expect("there is room");
            stream.set_nonblocking(true).expect("a socket takes its options");
            let mut stream = TcpStream::from_std(stream);
            let registered =
                poll.registry().register(&mut stream, Token(number), Interest::READABLE);
            registered.expect("a socket can be waited for");
            all.push(PendingHandshake { stream, since: Instant::now(), closed_after: None });
        }
        trickle_until_closed(&mut all, poll, between, most);
    });
    let times = || all.iter().filter_map(|one| one.closed_after);
    let (first, last) = (times().min(), times().max());
    let some = "there are some";
    (first.expect(some), last.expect(some), latencies)
}

/// The first half sends byte after byte. Anything received is the end: ERROR, or a failure.
fn trickle_until_closed(
    all: &mut [PendingHandshake],
    mut poll: Poll,
    between: Duration,
    most: Duration,
) {
    let bytes = long_hello();
    let trickling = all.len() / 2;
    let a_tick = trickling.div_ceil((between.as_millis() / TICK.as_millis()) as usize);
    let mut events = Events::with_capacity(1_024);
    let mut sent = 0;
    let mut next_tick = Instant::now();
    let mut open = all.len();
    while open > 0 {
        let wait = next_tick.saturating_duration_since(Instant::now());
        poll.poll(&mut events, Some(wait)).expect("the system can wait for sockets");
        for event in &events {
            let one = &mut all[event.token().0];
            assert!(one.since.elapsed() < most, "not closed after {most:?}");
            open -= usize::from(one.closed_after.is_none());
            one.closed_after.get_or_insert_with(|| one.since.elapsed());
        }
        if next_tick <= Instant::now() {
            next_tick += TICK;
            for _ in 0..a_tick {
                let one = &mut all[sent % trickling];
                if one.closed_after.is_none() {
                    // An error is the broker's end of it, which is seen above.
                    let _ = one.stream.write(&bytes[sent / trickling..][..1]);
                }
                sent += 1;
            }
        }
    }
}

#[test]
fn the_silent_and_the_trickling_are_closed_at_the_hello_timeout() {
    let broker = Broker::with(&[("timeouts.hello", "0.8")]);
    let between = Duration::from_millis(50);
    let (first, last, _) = time_out_handshakes(&broker, 200, between, Duration::from_secs(20));
    println!("closed after {first:?} to {last:?}");
    // The broker's clock may have been read a moment before the connection was seen here.
    assert!(first >= Duration::from_millis(750), "one was closed after {first:?} already");
}

#[test]
#[ignore = "5,000 connections, and wants the machine for itself"]
fn full_row_6_five_thousand_laggards() {
    open_files(5_500);
    let broker = Broker::start();
    let quiet = HealthyPair::during(&broker, || thread::sleep(Duration::from_secs(1)));
    let second = Duration::from_secs(1);
    let (first, last, latencies) = time_out_handshakes(&broker, 5_000, second, 20 * second);
    println!(
        "row 6: 5,000 at once, half of them silent, half at 1 byte a second: closed after {:.2} \
         to {:.2} s (hello time-out 5 s); a healthy pair's p99 {:.3} ms, {:.3} alone (wanted: \
         twice that and 1 ms, which is for the threads of this test)",
        first.as_secs_f64(),
        last.as_secs_f64(),
        latencies.p99().as_secs_f64() * 1e3,
        quiet.p99().as_secs_f64() * 1e3,
    );
    assert!(first >= Duration::from_millis(4_900) && last <= Duration::from_millis(6_000));
}
