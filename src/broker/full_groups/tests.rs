//! What it costs to wait for a queue group, counted in what is kept and who is woken.

use std::time::{Duration, Instant};

use super::super::connection::Role;
use super::super::rules::{OverflowPolicy, Rules};
use super::super::{Broker, CloseReason, Input, Token};
use wire::native::frame::{Kind, encode};

const MEMBERS: usize = 40;
const PUBLISHERS: usize = 30;

/// A group of members whose outboxes are full and whose sockets take nothing.
struct World {
    broker: Broker,
    now: Instant,
    members: Vec<Token>,
}

impl World {
    fn new(stall_timeout: Duration) -> World {
        let rules = Rules { max_connections: 1_000, stall_timeout, ..Rules::of_a_test() };
        let broker = Broker::new(rules, 100_000, "test".to_owned());
        let mut world = World { broker, now: Instant::now(), members: Vec::new() };
        let fills = world.client(Role::Publisher);
        for _ in 0..MEMBERS {
            let member = world.client(Role::Subscriber);
            world.say(member, Kind::Subscribe, b"q", b"g");
            world.broker.blocked(member);
            world.members.push(member);
            // An empty outbox takes any message.
            world.say(fills, Kind::Publish, b"q", &[7; 990]);
        }
        world
    }

    /// A client that is greeted and has taken its WELCOME.
    fn client(&mut self, role: Role) -> Token {
        let token = self.broker.greeted(role, self.now);
        self.take(token, usize::MAX);
        token
    }

    /// A publisher that waits for the group.
    fn waiting(&mut self) -> Token {
        let token = self.client(Role::Publisher);
        self.say(token, Kind::Publish, b"q", &[7; 90]);
        assert!(!self.is_read(token), "it waits");
        token
    }

    fn say(&mut self, token: Token, kind: Kind, topic: &[u8], body: &[u8]) {
        self.broker.hear_frame(token, kind, (topic, body), self.now);
    }

    fn send(&mut self, token: Token, bytes: &[u8]) {
        self.broker.hear(token, bytes, self.now);
    }

    /// The client's socket takes so many bytes, and no more.
    fn take(&mut self, token: Token, bytes: usize) {
        let bytes = bytes.min(self.broker.outbox(token).queued());
        self.broker.sent(token, bytes, self.now);
    }

    fn is_read(&mut self, token: Token) -> bool {
        self.broker.would_hear(token)
    }

    fn end(&mut self, token: Token) {
        self.broker.connection_failed(token);
        self.broker.take_gone();
    }

    /// Entries in all lists that waits are kept in.
    fn kept(&self) -> usize {
        let holding_up =
            self.broker.connections.iter().filter_map(|(_, it)| it.holding_up.as_ref());
        let of_members: usize = holding_up.map(|it| it.waiters.len() + it.groups.len()).sum();
        let groups = self.broker.full_groups.iter();
        of_members + groups.map(|(_, it)| it.waiters.len() + it.members.len()).sum::<usize>()
    }
}

#[test]
fn a_wait_is_kept_once_however_many_members_there_are() {
    let mut world = World::new(Duration::from_secs(1_000));
    let waiting: Vec<_> = (0..PUBLISHERS).map(|_| world.waiting()).collect();
    assert_eq!(world.kept(), PUBLISHERS + 2 * MEMBERS);
    for publisher in waiting {
        world.end(publisher);
    }
    assert_eq!(world.kept(), 0, "publishers that are gone leave nothing");
}

#[test]
fn publishers_that_come_and_go_leave_nothing_while_others_wait() {
    let mut world = World::new(Duration::from_secs(1_000));
    let stays = world.waiting();
    for _ in 0..PUBLISHERS {
        let (one, two) = (world.waiting(), world.waiting());
        world.end(one);
        world.end(two);
    }
    assert_eq!(world.kept(), 1 + 2 * MEMBERS);
    assert!(!world.is_read(stays), "it still waits");
}

#[test]
fn what_has_nothing_to_do_with_the_group_wakes_nobody() {
    let mut world = World::new(Duration::from_secs(1_000));
    let waiting = world.waiting();
    let (plain, other) = (world.client(Role::Subscriber), world.client(Role::Subscriber));
    world.say(plain, Kind::Subscribe, b"q", b"");
    world.say(other, Kind::Subscribe, b"q", b"h");
    world.say(other, Kind::Unsubscribe, b"q", b"h");
    world.say(other, Kind::Unsubscribe, b"q", b"g");
    world.end(plain);
    world.end(other);
    assert!(!world.is_read(waiting), "neither another group nor an end concerns it");
    let another = world.client(Role::Subscriber);
    world.say(another, Kind::Subscribe, b"q", b"g");
    assert!(world.is_read(waiting), "a new member may have room");
}

#[test]
fn waiting_for_a_group_that_is_known_to_be_full_looks_at_no_member() {
    let mut world = World::new(Duration::from_secs(1_000));
    world.waiting();
    let group = world.broker.index.group(b"q", Some(b"g")).expect("it has members");
    let length = world.broker.full_groups.find(group).expect("somebody waits").shortest;
    let known = |world: &World, length| world.broker.full_groups.is_known_full(group, length);
    assert!(known(&world, length) && known(&world, length + 1));
    assert!(!known(&world, length - 1), "a shorter one may fit");
    // It takes a byte: not enough to wake anybody, but there may be room for somebody.
    world.take(world.members[3], 1);
    assert!(!known(&world, length));
    world.waiting();
    assert!(known(&world, length), "somebody has looked");
    world.broker.writable(world.members[5]);
    assert!(!known(&world, length), "a flush may make room");
}

#[test]
fn all_who_wait_look_again_when_one_member_has_drained_to_half() {
    let mut world = World::new(Duration::from_secs(1_000));
    let waiting: Vec<_> = (0..PUBLISHERS).map(|_| world.waiting()).collect();
    world.broker.take_resumed();
    world.take(world.members[3], 400);
    assert!(world.broker.take_resumed().is_empty(), "more than half is queued");
    world.take(world.members[3], 200);
    assert_eq!(world.broker.take_resumed(), waiting);
    assert_eq!(world.kept(), 0);
}

/// Who is closed first does not give the others a new time.
#[test]
fn members_are_judged_each_by_its_own_time_and_the_last_one_wakes_those_who_wait() {
    let mut world = World::new(Duration::from_secs(10));
    let waiting = world.waiting();
    world.now += Duration::from_secs(10);
    let mut closed = 0;
    while closed < MEMBERS {
        assert!(!world.is_read(waiting), "other members are left");
        world.broker.expire(world.now, 16);
        world.broker.end_turn(world.now);
        let reason = |it: &&Token| world.broker.connections[it.index()].reason;
        let slow = |it: &&Token| reason(it) == Some(CloseReason::SlowConsumer);
        let before = std::mem::replace(&mut closed, world.members.iter().filter(slow).count());
        assert!(closed > before, "time has not come for {} members", MEMBERS - closed);
    }
    assert!(world.is_read(waiting));
    assert_eq!(world.kept(), 0);
}

/// Under `drop` nobody waits: each message is a look at all members.
#[test]
fn many_messages_to_a_full_group_are_the_work_of_several_turns() {
    const MANY: usize = 5_000;
    let mut world = World::new(Duration::from_secs(1_000));
    let rules = Rules { policy: OverflowPolicy::Drop, ..world.broker.rules.clone() };
    world.broker.set_rules(rules, world.now);
    let publisher = world.client(Role::Publisher);
    let mut message = Vec::new();
    encode(Kind::Publish, 0, b"q", b"", &mut message);
    world.send(publisher, &message.repeat(MANY));
    let mut turns = 1;
    while matches!(world.broker.next_input(publisher, false), Input::CarryOn) {
        world.broker.end_turn(world.now);
        assert!(world.broker.take_resumed().contains(&publisher), "it is its turn again");
        world.broker.carry_on(publisher, world.now);
        turns += 1;
    }
    assert_eq!(world.broker.stats().dropped, MANY as u64);
    assert!(turns > 1, "all was done in one turn");
}
