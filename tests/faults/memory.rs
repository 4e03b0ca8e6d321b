//! Proves that memory stays within `memory_bytes` and 64 MiB whatever stalls: many subscribers
//! that take nothing, of one topic or of their own, messages of all sizes, each policy; and that
//! the policy `disconnect` closes the subscriber that holds most.

use std::thread;
use std::time::Duration;

use crate::support;
use crate::support::frame::publish;
use crate::support::{
    Broker, Event, Meter, NatsPeer, PATIENCE, Peer, Pump, code, eventually, kind, mib,
};

/// By how much a process may be larger than `memory_bytes`.
const ALLOWANCE: usize = 64 << 20;
const POLICIES: [&str; 3] = ["block", "drop", "disconnect"];

/// Stalled subscribers and a publisher at full speed.
struct Case {
    policy: &'static str,
    /// They are NATS clients, whose policy it is.
    nats: bool,
    /// `memory_bytes`, in MiB.
    memory: usize,
    stalled: usize,
    payload: usize,
    /// 1: all subscribe to it. More: each subscriber has its share of them.
    topics: usize,
    lasting: Duration,
}

/// A subscriber that reads nothing.
#[allow(dead_code, reason = "they are kept for their connections")]
enum Stalled {
    Native(Peer),
    Nats(NatsPeer),
}

fn topic(number: usize) -> Vec<u8> {
    format!("topic.{number}").into_bytes()
}

impl Case {
    fn broker(&self) -> Broker {
        let memory = format!("{}MiB", self.memory);
        let policy = if self.nats { "overflow.nats_policy" } else { "overflow.policy" };
        let settings = [
            ("network.nats_port", "0"),
            (policy, self.policy),
            ("overflow.stall_timeout", "600"),
            ("overflow.nats_stall_timeout", "600"),
            ("limits.memory_bytes", &*memory),
        ];
        Broker::with(&settings)
    }

    fn topics_of(&self, number: usize) -> impl Iterator<Item = usize> {
        let first = if self.topics == 1 { 0 } else { number };
        (first..self.topics).step_by(self.stalled)
    }

    fn stalled_subscriber(&self, broker: &Broker, number: usize) -> Stalled {
        // So small that what is sent soon waits in the broker, not in the kernel.
        if self.nats {
            let mut peer = NatsPeer::connect_tiny(broker.nats(), "{\"verbose\":false}");
            for own in self.topics_of(number) {
                peer.send(&format!("SUB topic.{own} {own}\r\n"));
            }
            peer.confirm();
            return Stalled::Nats(peer);
        }
        let mut peer = Peer::connect_tiny(broker.subscribers).hello(b"stalled");
        for own in self.topics_of(number) {
            peer.send(&support::frame::subscribe(&topic(own), b""));
        }
        peer.confirm();
        Stalled::Native(peer)
    }

    fn pump(&self, publisher: &Peer) -> Pump {
        let payload = vec![7; self.payload];
        if self.topics == 1 {
            return Pump::repeating(publisher, &topic(0), &payload);
        }
        let (topics, mut next) = (self.topics, 0);
        let each_time = (256 << 10) / (self.payload + 16) + 1;
        Pump::start(publisher, move |block| {
            for _ in 0..each_time {
                block.extend(publish(&topic(next), &payload));
                next = (next + 1) % topics;
            }
            each_time as u64
        })
    }

    /// The most memory that was ever in use. The broker must still serve others.
    fn peak(&self) -> usize {
        let broker = self.broker();
        let stalled: Vec<_> =
            (0..self.stalled).map(|number| self.stalled_subscriber(&broker, number)).collect();
        let publisher = broker.publisher();
        let pump = self.pump(&publisher);
        thread::sleep(self.lasting);
        pump.kill();
        drop(stalled);
        let mut subscriber = broker.subscriber_of(&[b"still.works"]);
        broker.publisher().publish(b"still.works", b"x");
        subscriber.expect_message(b"still.works", b"x");
        broker.process().peak()
    }

    fn run(&self) -> String {
        let (peak, allowed) = (self.peak(), (self.memory << 20) + ALLOWANCE);
        let Case { policy, stalled, payload, topics, .. } = self;
        let protocol = if self.nats { "NATS" } else { "native" };
        let line = format!(
            "row 1: {policy}, {stalled} {protocol} stalled, payload {payload}, {topics} topics: \
             peak {:.0} MiB of {:.0} allowed",
            mib(peak),
            mib(allowed)
        );
        assert!(peak <= allowed, "{line}");
        line
    }
}

/// Few, and a small limit, which is reached all the same.
fn short(policy: &'static str) {
    for (payload, topics, stalled) in [(16, 1, 40), (16, 200, 8), (1_024, 200, 8), (1 << 20, 1, 40)]
    {
        let lasting = Duration::from_millis(500);
        for nats in [false, true] {
            let case = Case { policy, nats, memory: 4, stalled, payload, topics, lasting };
            println!("{}", case.run());
        }
    }
}

#[test]
fn stalled_subscribers_cost_no_more_than_the_limit_under_block() {
    short("block");
}

#[test]
fn stalled_subscribers_cost_no_more_than_the_limit_under_drop() {
    short("drop");
}

#[test]
fn stalled_subscribers_cost_no_more_than_the_limit_under_disconnect() {
    short("disconnect");
}

#[test]
#[ignore = "1,000 stalled subscribers, 30 s for each of 36 cases"]
fn full_row_1_a_thousand_stalled_subscribers() {
    support::connections::open_files(1_200);
    let seconds = std::env::var("STALLED_SECONDS").ok().and_then(|s| s.parse().ok());
    let lasting = Duration::from_secs(seconds.unwrap_or(30));
    for policy in POLICIES {
        for payload in [16, 1_024, 1 << 20] {
            for topics in [1, 10_000] {
                for nats in [false, true] {
                    let (memory, stalled) = (512, 1_000);
                    let case = Case { policy, nats, memory, stalled, payload, topics, lasting };
                    println!("{}", case.run());
                }
            }
        }
    }
}

/// Each read of a full-speed publisher holds one small message for a stalled subscriber among many
/// for a fast one: a chunk must not be kept for it. Runs until so many bytes, more than
/// `memory_bytes`, are delivered, which could not be if the chunks were kept. Returns the peak.
fn one_small_message_in_every_chunk(bytes: u64) -> usize {
    let broker = Broker::with(&[("limits.memory_bytes", "64MiB")]);
    let fast = Meter::start(broker.subscriber_of(&[b"often"]));
    let stalled: Vec<Peer> = (0..20).map(|_| broker.small_subscriber_of(b"rare")).collect();
    let mut publisher = broker.publisher();
    let (rare, often) = (publish(b"rare", b"small"), publish(b"often", &[7; 1_000]));
    let block = [rare, often.repeat(127)].concat();
    // The kernel's buffers first, so that what follows waits in the outboxes.
    (0..60).for_each(|_| publisher.publish(b"rare", &[7; 100_000]));
    publisher.confirm();
    let pump = Pump::start(&publisher, move |into| {
        into.extend(&block);
        128
    });
    eventually("messages of the fast one", || (fast.bytes() >= bytes).then_some(()));
    pump.kill();
    let peak = broker.process().peak();
    drop(stalled);
    println!(
        "point 4: 20 stalled with a small message in every chunk: peak {:.1} MiB while {:.0} MiB \
         went through",
        mib(peak),
        mib(fast.bytes() as usize)
    );
    peak
}

#[test]
fn one_small_message_for_the_stalled_in_every_chunk_keeps_no_chunk() {
    let peak = one_small_message_in_every_chunk(512 << 20);
    // Were each chunk kept, it would be all of `memory_bytes`.
    assert!(peak <= 48 << 20, "{:.1} MiB for a few small messages", mib(peak));
}

#[test]
#[ignore = "8 GiB at full speed"]
fn full_point_4_one_small_message_in_every_chunk() {
    let peak = one_small_message_in_every_chunk(8 << 30);
    // The small ones alone, tens of thousands for each of 20, come near `memory_bytes` by then.
    assert!(peak <= 96 << 20, "{:.1} MiB for small messages", mib(peak));
}

/// Whether the broker closed it for being slow, after what it had still been sent.
fn was_closed_for_slowness(peer: &mut Peer) -> bool {
    loop {
        match peer.next(PATIENCE) {
            Event::Frame(frame) if frame.kind == kind::PUBLISH => {}
            Event::Frame(frame) => return frame.error_code() == code::SLOW_CONSUMER,
            _ => return false,
        }
    }
}

#[test]
fn disconnect_closes_only_the_subscriber_that_holds_most() {
    let settings = [
        ("overflow.policy", "disconnect"),
        ("limits.memory_bytes", "24MiB"),
        ("limits.outbox_bytes", "1GiB"),
    ];
    let broker = Broker::with(&settings);
    let mut large = broker.small_subscriber_of(b"large");
    let mut small = broker.small_subscriber_of(b"small");
    let mut publisher = broker.publisher();
    // Beyond what the kernel takes, both have queued bytes: the small one fewer.
    for number in 0..1_000_u32 {
        publisher.publish(b"large", &[7; 100_000]);
        if number < 100 {
            publisher.publish(b"small", &[7; 100_000]);
        }
    }
    publisher.confirm();
    assert!(was_closed_for_slowness(&mut large), "who held most was not closed");
    publisher.publish(b"small", b"last");
    let mut messages = 0;
    loop {
        let frame = small.recv();
        if frame.body == b"last" {
            break;
        }
        messages += 1;
    }
    assert_eq!(messages, 100, "who held less lost messages");
    eventually("one line about it", || {
        let log = broker.log().so_far();
        let slow = log.iter().filter(|line| line.contains("slow_consumer"));
        (slow.count() == 1).then_some(())
    });
}
