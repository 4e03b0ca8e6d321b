//! What a change of rules does to those who are connected.

use std::time::{Duration, Instant};

use wire::native::frame::{Frame, Kind, Reader};

use crate::engine::rules::{OverflowPolicy, Rules};
use crate::engine::sessions::connection::Role;
use crate::engine::token::Token;
use crate::engine::turn::Readiness;
use crate::engine::{Engine, Progress};

const SECOND: Duration = Duration::from_secs(1);

/// An engine, and clients whose sockets take nothing unless they are let.
struct World {
    engine: Engine,
    now: Instant,
    rules: Rules,
}

impl World {
    fn new(change: impl FnOnce(&mut Rules)) -> World {
        let mut rules = Rules::of_a_test();
        change(&mut rules);
        (rules.nats, rules.link) = (rules.native, rules.native);
        let engine = Engine::new(rules.clone(), 10_000, "test".into());
        World { engine, now: Instant::now(), rules }
    }

    fn change(&mut self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.rules);
        (self.rules.nats, self.rules.link) = (self.rules.native, self.rules.native);
        self.engine.set_rules(self.rules.clone(), self.now);
        self.turn();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.turn();
    }

    fn turn(&mut self) {
        self.engine.budget.begin_turn();
        self.engine.expire(self.now);
        self.engine.end_turn(self.now);
        // Connections that were woken look again.
        for token in self.engine.take_ready() {
            if self.engine.connections[token.index()].inbox.has_backlog() {
                self.engine.go_on(token, self.now);
            }
        }
    }

    /// A client that is greeted and has taken its WELCOME.
    fn client(&mut self, role: Role) -> Token {
        let token = self.engine.greeted(role, self.now);
        self.take_all(token);
        token
    }

    /// A subscriber of `t` whose socket takes nothing.
    fn stalled(&mut self) -> Token {
        let token = self.client(Role::SUBSCRIBER);
        self.say(token, Kind::Subscribe, b"t", b"");
        self.engine.blocked(token, self.now);
        token
    }

    /// Sends a frame; it is processed, or kept.
    fn say(&mut self, token: Token, kind: Kind, topic: &[u8], body: &[u8]) {
        let progress = self.engine.hear_frame(token, kind, (topic, body), self.now);
        assert_eq!(progress, Progress::Done);
    }

    fn publish(&mut self, publisher: Token, length: usize) {
        self.say(publisher, Kind::Publish, b"t", &vec![7; length]);
    }

    fn is_read(&mut self, token: Token) -> bool {
        self.engine.would_hear(token)
    }

    /// The client's socket takes all; the kinds of frames that it got.
    fn take_all(&mut self, token: Token) -> Vec<Kind> {
        let readiness = Readiness { writable: true, ..Readiness::default() };
        self.engine.schedule.note(token, readiness);
        self.engine.writable(token);
        let slices = self.engine.outbox(token).slices();
        let bytes: Vec<u8> = slices.flat_map(|slice| slice.bytes().to_vec()).collect();
        self.engine.sent(token, bytes.len(), self.now);
        let (mut at, mut kinds) = (0, Vec::new());
        while let Some(frame) = Frame::decode(&bytes[at..], Reader::Client, 10_000).unwrap() {
            at += frame.encoded_len();
            kinds.push(frame.kind);
        }
        kinds
    }

    fn is_talking(&self, token: Token) -> bool {
        self.engine.connections[token.index()].is_talking()
    }
}

#[test]
fn publishers_resume_when_the_outbox_has_room_under_a_new_limit() {
    let mut world = World::new(|_| {});
    let (stalled, publisher) = (world.stalled(), world.client(Role::PUBLISHER));
    world.publish(publisher, 900);
    world.publish(publisher, 900);
    assert!(!world.is_read(publisher));
    world.change(|rules| rules.native.outbox_bytes = 900);
    assert!(!world.is_read(publisher), "there is no room under that one either");
    world.change(|rules| rules.native.outbox_bytes = 2_000);
    assert!(world.is_read(publisher), "there is room, though less than half");
    assert!(world.is_talking(stalled));
}

#[test]
fn publishers_resume_when_the_policy_lets_none_wait() {
    for policy in [OverflowPolicy::Drop, OverflowPolicy::Disconnect] {
        let mut world = World::new(|_| {});
        let (stalled, publisher) = (world.stalled(), world.client(Role::PUBLISHER));
        world.publish(publisher, 900);
        world.publish(publisher, 900);
        world.change(|rules| rules.native.policy = policy);
        assert!(world.is_read(publisher));
        assert!(world.is_talking(stalled), "the change itself closes none");
        world.publish(publisher, 900);
        assert_eq!(world.is_talking(stalled), policy == OverflowPolicy::Drop, "what comes does");
    }
}

#[test]
fn publishers_that_wait_for_a_queue_group_look_again() {
    let mut world = World::new(|_| {});
    let (member, publisher) = (world.client(Role::SUBSCRIBER), world.client(Role::PUBLISHER));
    world.say(member, Kind::Subscribe, b"t", b"group");
    world.engine.blocked(member, world.now);
    world.publish(publisher, 900);
    world.publish(publisher, 900);
    assert!(!world.is_read(publisher));
    world.change(|rules| rules.native.outbox_bytes = 2_000);
    assert_eq!(world.take_all(member), [Kind::Publish; 2]);
}

#[test]
fn publishers_resume_when_there_is_memory_again() {
    let mut world = World::new(|rules| {
        rules.memory_bytes = 30_000;
        rules.native.outbox_bytes = 1 << 20;
    });
    let (_stalled, publisher) = (world.stalled(), world.client(Role::PUBLISHER));
    for _ in 0..10 {
        if !world.is_read(publisher) {
            break;
        }
        world.publish(publisher, 9_000);
        world.turn();
    }
    assert!(!world.is_read(publisher), "memory is not full, so this shows nothing");
    world.change(|rules| rules.memory_bytes = 1 << 20);
    assert!(world.is_read(publisher));
}

#[test]
fn memory_that_was_held_already_closes_none_and_what_comes_does() {
    let mut world = World::new(|rules| {
        rules.native.policy = OverflowPolicy::Disconnect;
        rules.native.outbox_bytes = 1 << 20;
    });
    let (stalled, publisher) = (world.stalled(), world.client(Role::PUBLISHER));
    for _ in 0..5 {
        world.publish(publisher, 9_000);
    }
    world.turn();
    world.change(|rules| rules.memory_bytes = 30_000);
    world.pass(SECOND);
    assert!(world.engine.memory_held() > 30_000 && world.is_talking(stalled));
    world.publish(publisher, 9_000);
    world.turn();
    assert!(!world.is_talking(stalled));
}

#[test]
fn losses_are_told_before_other_policies_queue_behind_them() {
    let mut world = World::new(|rules| rules.native.policy = OverflowPolicy::Drop);
    let (stalled, publisher) = (world.stalled(), world.client(Role::PUBLISHER));
    world.publish(publisher, 900);
    world.publish(publisher, 900);
    world.change(|rules| rules.native.policy = OverflowPolicy::Block);
    world.publish(publisher, 900);
    assert_eq!(world.take_all(stalled), [Kind::Publish, Kind::Lost]);
    world.turn();
    assert_eq!(world.take_all(stalled), [Kind::Publish]);
}

#[test]
fn heartbeat_that_is_switched_on_counts_from_then_for_those_connected() {
    let mut world = World::new(|_| {});
    let silent = world.client(Role::SUBSCRIBER);
    world.pass(500 * SECOND);
    assert_eq!(world.engine.next_deadline(), None);
    world.change(|rules| rules.heartbeat = 5 * SECOND);
    assert_eq!(world.engine.next_deadline(), Some(world.now + 5 * SECOND));
    assert!(world.take_all(silent).is_empty());
    world.pass(5 * SECOND);
    assert_eq!(world.take_all(silent), [Kind::Ping]);
    world.change(|rules| rules.heartbeat = SECOND);
    world.pass(SECOND);
    assert!(world.is_talking(silent), "it had more time when it was asked");
    world.pass(SECOND);
    assert!(!world.is_talking(silent));
}

#[test]
fn shorter_time_for_hello_counts_from_the_change() {
    let mut world = World::new(|_| {});
    let silent = world.engine.accept(Role::PUBLISHER, "test", world.now);
    world.pass(100 * SECOND);
    world.change(|rules| rules.hello = 2 * SECOND);
    assert!(world.is_talking(silent));
    assert_eq!(world.engine.next_deadline(), Some(world.now + 2 * SECOND));
    world.pass(2 * SECOND);
    assert!(!world.is_talking(silent));
}

#[test]
fn shorter_time_to_stall_counts_from_the_change() {
    let mut world = World::new(|_| {});
    let (stalled, publisher) = (world.stalled(), world.client(Role::PUBLISHER));
    world.publish(publisher, 900);
    world.publish(publisher, 900);
    world.pass(500 * SECOND);
    world.change(|rules| rules.native.stall_timeout = 3 * SECOND);
    assert!(world.is_talking(stalled));
    world.pass(2 * SECOND);
    assert!(world.is_talking(stalled));
    world.pass(SECOND);
    assert!(!world.is_talking(stalled) && world.is_read(publisher));
}

#[test]
fn lower_limits_act_on_what_comes() {
    let mut world = World::new(|_| {});
    let subscriber = world.client(Role::SUBSCRIBER);
    for filter in [b"a", b"b", b"c"] {
        world.say(subscriber, Kind::Subscribe, filter, b"");
    }
    world.change(|rules| (rules.native.max_subscriptions, rules.max_connections) = (1, 1));
    assert!(world.is_talking(subscriber));
    assert_eq!(world.engine.index_sizes().subscriptions, 3);
    world.say(subscriber, Kind::Subscribe, b"d", b"");
    assert_eq!(world.take_all(subscriber), [Kind::Error]);
    let late = world.engine.accept(Role::SUBSCRIBER, "test", world.now);
    assert!(!world.is_talking(late) && world.is_talking(subscriber));
}

#[test]
fn publishers_that_memory_holds_up_are_read_under_a_policy_that_drops() {
    let mut world = World::new(|rules| {
        rules.memory_bytes = 30_000;
        rules.native.outbox_bytes = 1 << 20;
    });
    let (_stalled, publisher) = (world.stalled(), world.client(Role::PUBLISHER));
    for _ in 0..10 {
        if world.is_read(publisher) {
            world.publish(publisher, 9_000);
        }
        world.turn();
    }
    assert!(!world.is_read(publisher), "memory is not full, so this shows nothing");
    world.change(|rules| rules.native.policy = OverflowPolicy::Drop);
    assert!(world.is_read(publisher));
}
