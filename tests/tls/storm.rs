//! How much a quiet pair feels of thousands of clients that all begin a handshake, and what a
//! connection in TLS costs. Figures, for a quiet machine:
//! `cargo test --release --test tls -- --ignored --nocapture --test-threads 1`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::broker;
use crate::handshake::client_hello;
use crate::support::connections::{connect, open_files};
use crate::support::{Certificates, HealthyPair, Peer};

/// Clients of a storm.
const CLIENTS: usize = 5_000;

#[test]
#[ignore = "takes 5,000 connections, and the whole machine"]
fn a_storm_of_handshakes_is_hardly_felt() {
    open_files(2 * CLIENTS as u64);
    let certificates = Certificates::new();
    let broker = broker(&certificates, &[("tls.mode", "optional"), ("timeouts.hello", "60")]);
    let hello = client_hello(&certificates);
    let calm = HealthyPair::during(&broker, || thread::sleep(Duration::from_secs(2)));
    let mut all: Vec<TcpStream> =
        (0..CLIENTS).map(|_| connect(broker.subscribers).expect("there is room")).collect();
    let cpu = broker.process().cpu_and_sleeps().0;
    let begun = Instant::now();
    let latencies = HealthyPair::during(&broker, || {
        for stream in &mut all {
            stream.write_all(&hello).expect("it is open");
        }
        for stream in &mut all {
            stream.read_exact(&mut [0; 100]).expect("the server's part was due");
        }
    });
    let took = begun.elapsed();
    let cpu = broker.process().cpu_and_sleeps().0 - cpu;
    println!(
        "{CLIENTS} handshakes answered in {took:?}, {:.2} ms of processor time each; a quiet pair: \
         p50 {:?}, p99 {:?}, most {:?} of {}; before p50 {:?}, p99 {:?}",
        cpu as f64 * 10.0 / CLIENTS as f64,
        latencies.percentile(0.5),
        latencies.p99(),
        latencies.percentile(1.0),
        latencies.count(),
        calm.percentile(0.5),
        calm.p99(),
    );
}

#[test]
#[ignore = "shows a figure"]
fn what_an_idle_connection_takes() {
    const IDLE: usize = 200;
    let certificates = Certificates::new();
    let broker = broker(&certificates, &[("tls.mode", "optional")]);
    let relay = certificates.client(broker.subscribers, "");
    let resident = || broker.process().resident();
    let _first: Vec<_> = (0..IDLE).map(|_| Peer::connect(relay.address).hello(b"x")).collect();
    let before = resident();
    let _idle: Vec<_> = (0..IDLE).map(|_| Peer::connect(relay.address).hello(b"x")).collect();
    let secure = resident() - before;
    let _plain: Vec<_> = (0..IDLE).map(|_| broker.subscriber()).collect();
    let plain = resident() - before - secure;
    println!("idle: {} bytes in TLS, {} bytes plain", secure / IDLE, plain / IDLE);
}
