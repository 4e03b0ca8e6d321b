//! Proves that a broker with nothing to do sleeps: while it is idle, while a client is held up or
//! not read, and while it waits for a slow client to close or to drain.

use std::thread;
use std::time::Duration;

use crate::support::frame::{ping, publish};
use crate::support::http::request;
use crate::support::{Broker, Flood, Http, Hub, Peer, Process, code};

/// How long a broker is watched.
const WATCHED: Duration = Duration::from_millis(800);
/// Hundredths of a second of processor time that it may use meanwhile. A loop that spins uses all
/// it gets: 80 of them, or a good part of that on a busy machine.
const MOST_TIME: u64 = 5;
/// How often it may wake up meanwhile. The deadlines of these tests need a few.
const MOST_SLEEPS: u64 = 10;

/// Watches for a while; it must all but sleep.
fn sleeps(process: &Process) {
    // Work that is still under way may end first.
    thread::sleep(Duration::from_millis(50));
    let before = process.cpu_and_sleeps();
    thread::sleep(WATCHED);
    let after = process.cpu_and_sleeps();
    let (time, sleeps) = (after.0 - before.0, after.1 - before.1);
    assert!(time <= MOST_TIME, "it used {time} hundredths of a second for nothing");
    assert!(sleeps <= MOST_SLEEPS, "it woke up {sleeps} times for nothing");
}

fn messages(count: usize) -> Vec<u8> {
    (0..count).flat_map(|_| publish(b"t", &[7; 10_000])).collect()
}

#[test]
fn an_idle_broker_sleeps() {
    let broker = Broker::start();
    sleeps(broker.process());
    let mut peers: Vec<Peer> = (0..20).map(|_| broker.subscriber_of(&[b"t"])).collect();
    let mut publisher = broker.publisher();
    publisher.publish(b"t", b"x");
    for peer in &mut peers {
        peer.expect_message(b"t", b"x");
    }
    sleeps(broker.process());
    drop(peers);
    sleeps(broker.process());
}

#[test]
fn a_broker_sleeps_between_attempts_and_while_it_is_linked() {
    let mut hub = Hub::start();
    let servers = hub.address.to_string();
    let wait = [("link.reconnect_min", "3"), ("link.reconnect_max", "3")];
    let settings = [&[("link.servers", &*servers), ("timeouts.hello", "9")][..], &wait].concat();
    let broker = Broker::with(&settings);
    // It waits for INFO, then for what the hub has to say, and then until it dials again.
    let silent = hub.accept_silent();
    sleeps(broker.process());
    hub.close();
    drop(silent);
    broker.log().wait_for("a wait", |line| line.contains("[WARN] link: "));
    sleeps(broker.process());
    hub.reopen();
    let link = hub.accept();
    broker.log().wait_for("it joins", |line| line.contains("link: joined"));
    sleeps(broker.process());
    link.confirm();
}

#[test]
fn a_watched_broker_sleeps_without_requests() {
    let broker = Broker::with(&[("monitor.address", "127.0.0.1:0"), ("timeouts.heartbeat", "0")]);
    sleeps(broker.process());
    let mut http = Http::connect(broker.monitor());
    for target in ["/", "/metrics", "/connections"] {
        http.send(&request("GET", target));
        assert_eq!(http.response().status, 200);
    }
    // An open connection has a deadline, and nothing else.
    sleeps(broker.process());
    drop(http);
    sleeps(broker.process());
}

#[test]
fn a_connection_with_half_a_frame_costs_nothing() {
    let broker = Broker::with(&[("timeouts.hello", "600")]);
    let mut silent = Peer::connect(broker.publishers);
    silent.send(&[0, 0]);
    let mut partial = broker.publisher();
    partial.send(&publish(b"t", &[7; 300_000])[..200_000]);
    broker.publisher().confirm();
    sleeps(broker.process());
}

#[test]
fn a_held_up_publisher_and_a_stalled_subscriber_cost_nothing() {
    let settings = [("limits.outbox_bytes", "64KiB"), ("overflow.stall_timeout", "600")];
    let broker = Broker::with(&settings);
    let mut stalled = broker.small_subscriber_of(b"t");
    let publisher = broker.publisher();
    let flood = Flood::start(publisher.sender(), messages(2_400));
    flood.wait_until_blocked();
    sleeps(broker.process());
    for _ in 0..2_400 {
        stalled.expect_message(b"t", &[7; 10_000]);
    }
    flood.finish();
    sleeps(broker.process());
}

#[test]
fn a_stalled_subscriber_that_loses_messages_costs_nothing() {
    let settings = [("limits.outbox_bytes", "64KiB"), ("overflow.policy", "drop")];
    let broker = Broker::with(&settings);
    let stalled = broker.small_subscriber_of(b"t");
    let mut publisher = broker.publisher();
    publisher.send(&messages(2_400));
    publisher.confirm();
    sleeps(broker.process());
    drop(stalled);
}

#[test]
fn a_client_that_is_not_read_costs_nothing() {
    let broker = Broker::start();
    let peer = Peer::connect_small(broker.publishers).hello(b"flooding");
    // More than the kernel's largest receive buffer, 32 MiB, may hold of them.
    let pings = (0..600_000).flat_map(|_| ping(&[b'x'; 64])).collect();
    let flood = Flood::start(peer.sender(), pings);
    flood.wait_until_blocked();
    sleeps(broker.process());
}

#[test]
fn a_client_that_half_closed_and_does_not_read_costs_nothing() {
    let broker = Broker::start();
    let mut stalled = broker.small_subscriber_of(b"t");
    let mut publisher = broker.publisher();
    publisher.send(&messages(700));
    publisher.confirm();
    stalled.half_close();
    sleeps(broker.process());
    let messages = stalled.frames_until_close();
    assert_eq!(messages.len(), 700);
}

#[test]
fn waiting_for_a_refused_client_to_close_costs_nothing() {
    let broker = Broker::start();
    let mut peer = broker.publisher();
    peer.send(&[0; 8]);
    peer.expect_refusal(code::MALFORMED);
    sleeps(broker.process());
}

#[test]
fn draining_for_a_stalled_subscriber_costs_nothing() {
    let broker = Broker::with(&[("timeouts.drain", "600")]);
    let mut stalled = broker.small_subscriber_of(b"t");
    let mut publisher = broker.publisher();
    publisher.send(&messages(700));
    publisher.confirm();
    broker.signal("TERM");
    assert_eq!(publisher.frames_until_close().len(), 1);
    drop(publisher);
    sleeps(broker.process());
    assert_eq!(stalled.frames_until_close().len(), 701);
}
