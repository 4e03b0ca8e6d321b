//! Proves that whoever does not say HELLO in time is closed at the hello time-out, silent or
//! trickling, however many there are, while a healthy pair goes on.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use support::crowd::{connect, open_files};
use support::frame::hello;
use support::{Beats, Broker, Latencies};

/// A HELLO that takes longer than any time-out at a byte a time.
fn long_hello() -> Vec<u8> {
    hello(b"slow", format!("version=1\nfill={}\n", "x".repeat(600)).as_bytes())
}

/// One connection that is not welcomed, and when it was made.
struct Laggard {
    stream: TcpStream,
    since: Instant,
    trickles: bool,
    closed_after: Option<Duration>,
}

impl Laggard {
    /// Sends one byte more, if it is of that kind, and looks whether the broker has had enough.
    fn step(&mut self, byte: u8) {
        if self.closed_after.is_some() {
            return;
        }
        if self.trickles {
            // An error is the broker's end of it, which is seen below.
            let _ = self.stream.write(&[byte]);
        }
        // The first thing that comes is ERROR, or the end.
        match self.stream.read(&mut [0; 256]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => self.closed_after = Some(self.since.elapsed()),
        }
    }
}

/// So many at once, half of them silent, half of them at a byte each `between`: the shortest and
/// the longest time until one was closed, and what a healthy pair's messages took meanwhile.
fn laggards(
    broker: &Broker,
    count: usize,
    between: Duration,
    most: Duration,
) -> (Duration, Duration, Latencies) {
    let bytes = long_hello();
    let mut all = Vec::new();
    let latencies = Beats::during(broker, || {
        for number in 0..count {
            let address = broker.ports()[number % 2].1;
            let stream = connect(address).expect("there is room");
            stream.set_nonblocking(true).expect("a socket takes its options");
            let (since, trickles) = (Instant::now(), number % 4 < 2);
            all.push(Laggard { stream, since, trickles, closed_after: None });
        }
        let mut next_byte = Instant::now();
        let mut sent = 0_usize;
        while all.iter().any(|one| one.closed_after.is_none()) {
            let trickling = next_byte <= Instant::now();
            if trickling {
                next_byte += between;
                sent += 1;
            }
            let open = all.iter_mut().filter(|one| one.closed_after.is_none());
            for one in open {
                let trickles = one.trickles;
                one.trickles &= trickling;
                one.step(bytes[sent.saturating_sub(1).min(bytes.len() - 1)]);
                one.trickles = trickles;
                assert!(one.since.elapsed() < most, "not closed after {most:?}");
            }
            thread::sleep(Duration::from_millis(10));
        }
    });
    let times = || all.iter().filter_map(|one| one.closed_after);
    let (first, last) = (times().min(), times().max());
    let some = "there are some";
    (first.expect(some), last.expect(some), latencies)
}

#[test]
fn the_silent_and_the_trickling_are_closed_at_the_hello_timeout() {
    let broker = Broker::with(&[("timeouts.hello", "0.8")]);
    let between = Duration::from_millis(50);
    let (first, last, _) = laggards(&broker, 200, between, Duration::from_secs(20));
    println!("closed after {first:?} to {last:?}");
    // The broker's clock may have been read a moment before the connection was seen here.
    assert!(first >= Duration::from_millis(750), "one was closed after {first:?} already");
}

#[test]
#[ignore = "5,000 connections, and wants the machine for itself"]
fn full_row_6_five_thousand_laggards() {
    open_files(5_500);
    let broker = Broker::start();
    let quiet = Beats::during(&broker, || thread::sleep(Duration::from_secs(1)));
    let second = Duration::from_secs(1);
    let (first, last, latencies) = laggards(&broker, 5_000, second, 20 * second);
    println!(
        "row 6: 5,000 at once, half of them silent, half at 1 byte a second: closed after {:.2} \
         to {:.2} s (hello time-out 5 s); a healthy pair's p99 {:.3} ms, {:.3} alone",
        first.as_secs_f64(),
        last.as_secs_f64(),
        latencies.p99().as_secs_f64() * 1e3,
        quiet.p99().as_secs_f64() * 1e3,
    );
    assert!(first >= Duration::from_millis(4_900) && last <= Duration::from_millis(6_000));
    // Beyond twice, a millisecond is for the threads of this test.
    assert!(latencies.p99() <= 2 * quiet.p99() + Duration::from_millis(1));
}
