//! Who waits for what, and what that costs, counted in what is kept and which connections are
//! woken.

use std::time::{Duration, Instant};

use wire::native::frame::{Kind, encode};

use super::waits::Obstacle;
use crate::engine::close_reason::CloseReason;
use crate::engine::rules::{OverflowPolicy, Rules};
use crate::engine::sessions::connection::Role;
use crate::engine::token::Token;
use crate::engine::{Engine, Progress};

const MEMBERS: usize = 40;
const PUBLISHERS: usize = 30;
const LONG: Duration = Duration::from_secs(1_000);

/// Clients whose sockets take nothing unless they are let.
struct World {
    engine: Engine,
    now: Instant,
}

impl World {
    fn new(change: impl FnOnce(&mut Rules)) -> World {
        let mut rules = Rules { max_connections: 1_000, ..Rules::of_a_test() };
        change(&mut rules);
        (rules.nats, rules.link) = (rules.native, rules.native);
        World { engine: Engine::new(rules, 100_000, "test".to_owned()), now: Instant::now() }
    }

    /// A queue group of members whose outboxes are full and whose sockets take nothing.
    fn with_full_group(stall_timeout: Duration) -> (World, Vec<Token>) {
        let mut world = World::new(|rules| rules.native.stall_timeout = stall_timeout);
        let fills = world.client(Role::PUBLISHER);
        let members = (0..MEMBERS).map(|_| {
            let member = world.stalled(b"q", b"g");
            // An empty outbox takes any message; then not even the one that has waited longest is
            // admitted.
            world.publish(fills, b"q", 1_050);
            member
        });
        let members = members.collect();
        (world, members)
    }

    /// A client that is greeted and has taken its WELCOME.
    fn client(&mut self, role: Role) -> Token {
        let token = self.engine.greeted(role, self.now);
        self.take(token, usize::MAX);
        token
    }

    /// A subscriber whose socket takes nothing.
    fn stalled(&mut self, filter: &[u8], group: &[u8]) -> Token {
        let token = self.client(Role::SUBSCRIBER);
        self.say(token, Kind::Subscribe, filter, group);
        self.engine.blocked(token, self.now);
        token
    }

    /// A publisher that waits with a message to a topic.
    fn waiting(&mut self, topic: &[u8]) -> Token {
        let token = self.client(Role::PUBLISHER);
        self.publish(token, topic, 90);
        assert!(!self.is_read(token), "it waits");
        token
    }

    fn say(&mut self, token: Token, kind: Kind, topic: &[u8], body: &[u8]) -> Progress {
        self.engine.hear_frame(token, kind, (topic, body), self.now)
    }

    fn publish(&mut self, token: Token, topic: &[u8], length: usize) {
        assert_eq!(self.say(token, Kind::Publish, topic, &vec![7; length]), Progress::Done);
    }

    /// The client's socket takes so many bytes, and no more.
    fn take(&mut self, token: Token, bytes: usize) {
        let bytes = bytes.min(self.engine.outbox(token).queued());
        self.engine.sent(token, bytes, self.now);
    }

    fn is_read(&mut self, token: Token) -> bool {
        self.engine.would_hear(token)
    }

    fn ready(&mut self) -> Vec<Token> {
        let mut ready = self.engine.take_ready();
        ready.sort_unstable();
        ready
    }

    fn end(&mut self, token: Token) {
        self.engine.connection_failed(token);
        self.engine.budget.begin_turn();
        self.engine.end_turn(self.now);
        self.engine.take_gone(self.now);
        self.engine.reap();
    }

    fn kept(&self) -> (usize, usize) {
        (self.engine.waits.all().len(), self.engine.waits.bytes())
    }
}

#[test]
fn a_wait_is_kept_once_however_many_members_there_are() {
    let (mut world, _) = World::with_full_group(LONG);
    let first = world.waiting(b"q");
    let (_, with_one) = world.kept();
    let waiting: Vec<_> = (1..PUBLISHERS).map(|_| world.waiting(b"q")).collect();
    let (count, bytes) = world.kept();
    assert_eq!(count, PUBLISHERS);
    assert!(bytes <= with_one + PUBLISHERS * 200, "{bytes} bytes, {with_one} with one");
    for publisher in waiting.into_iter().chain([first]) {
        world.end(publisher);
    }
    assert_eq!(world.kept(), (0, 0), "publishers that are gone leave nothing");
}

/// Each waits for one of them, with the route that all of them share.
#[test]
fn many_publishers_that_wait_for_many_outboxes_keep_no_pairs() {
    let mut world = World::new(|_| {});
    let fills = world.client(Role::PUBLISHER);
    for _ in 0..200 {
        world.stalled(b"t", b"");
    }
    world.publish(fills, b"t", 990);
    let before = world.engine.memory_held();
    for _ in 0..200 {
        world.waiting(b"t");
    }
    world.engine.end_turn(world.now);
    let held = world.engine.memory_held() - before;
    assert!(held < 200 * 700, "{held} bytes for 200 that wait, their messages included");
}

#[test]
fn what_has_nothing_to_do_with_the_group_wakes_no_publisher() {
    let (mut world, _) = World::with_full_group(LONG);
    let waiting = world.waiting(b"q");
    let (plain, other) = (world.client(Role::SUBSCRIBER), world.client(Role::SUBSCRIBER));
    world.say(plain, Kind::Subscribe, b"r", b"");
    world.say(other, Kind::Subscribe, b"q", b"h");
    world.say(other, Kind::Unsubscribe, b"q", b"h");
    world.end(plain);
    world.end(other);
    assert!(!world.is_read(waiting), "neither another group nor an end concerns it");
    let another = world.client(Role::SUBSCRIBER);
    world.say(another, Kind::Subscribe, b"r", b"g");
    assert!(world.is_read(waiting), "a new member may have room, whatever its filter");
}

#[test]
fn a_group_that_is_known_to_be_full_is_not_looked_at_again() {
    let (mut world, members) = World::with_full_group(LONG);
    world.waiting(b"q");
    let spent = |world: &mut World| {
        let before = world.engine.budget.spent();
        world.waiting(b"q");
        world.engine.budget.spent() - before
    };
    let known = spent(&mut world);
    assert!(known < MEMBERS as u64, "{known} units, as if each member was looked at");
    // Enough to wake those that wait; the first of them looks at all members.
    world.take(members[3], 600);
    let fills = world.client(Role::PUBLISHER);
    world.publish(fills, b"q", 500);
    assert!(spent(&mut world) > known);
    assert_eq!(spent(&mut world), known);
}

/// A name with members of two filters: those of one topic may be full, and those of another not.
#[test]
fn members_of_another_topic_are_looked_at_though_the_group_is_waited_for() {
    let (mut world, _) = World::with_full_group(LONG);
    world.waiting(b"q");
    let free = world.client(Role::SUBSCRIBER);
    world.say(free, Kind::Subscribe, b"free", b"g");
    let again = world.waiting(b"q");
    let publisher = world.client(Role::PUBLISHER);
    world.publish(publisher, b"free", 90);
    assert!(world.is_read(publisher) && !world.is_read(again));
    assert_eq!(world.engine.connections[free.index()].traffic.messages, 1);
}

#[test]
fn all_that_wait_look_again_when_one_member_has_drained_to_half() {
    let (mut world, members) = World::with_full_group(LONG);
    let waiting: Vec<_> = (0..PUBLISHERS).map(|_| world.waiting(b"q")).collect();
    world.ready();
    world.take(members[3], 400);
    assert!(world.ready().is_empty(), "more than half is queued");
    world.take(members[3], 200);
    assert_eq!(world.ready(), waiting);
    assert_eq!(world.kept().0, 0);
}

/// A member that is closed first does not give the others a new time.
#[test]
fn members_are_judged_each_by_its_own_time_and_the_last_one_wakes_those_that_wait() {
    let (mut world, members) = World::with_full_group(Duration::from_secs(10));
    let waiting = world.waiting(b"q");
    world.now += Duration::from_secs(10);
    let mut closed = 0;
    while closed < MEMBERS {
        world.engine.budget.begin_turn();
        world.engine.expire(world.now);
        let reason = |it: &&Token| world.engine.connections[it.index()].reason;
        let slow = |it: &&Token| reason(it) == Some(CloseReason::SlowConsumer);
        let before = std::mem::replace(&mut closed, members.iter().filter(slow).count());
        assert!(closed > before, "time has not come for {} members", MEMBERS - closed);
        // It looks again whenever a member has left.
        assert!(world.is_read(waiting));
        if closed < MEMBERS {
            world.engine.go_on(waiting, world.now);
            assert!(!world.is_read(waiting), "other members are left");
        }
    }
    world.engine.go_on(waiting, world.now);
    assert_eq!(world.kept(), (0, 0));
}

/// Under `drop` no publisher waits: each message is a look at all members.
#[test]
fn many_messages_to_a_full_group_are_the_work_of_several_turns() {
    const MANY: usize = 5_000;
    let (mut world, _) = World::with_full_group(LONG);
    let mut rules = world.engine.rules.clone();
    rules.native.policy = OverflowPolicy::Drop;
    world.engine.set_rules(rules, world.now);
    let publisher = world.client(Role::PUBLISHER);
    let mut message = Vec::new();
    encode(Kind::Publish, 0, b"q", b"", &mut message);
    let mut progress = world.engine.hear(publisher, &message.repeat(MANY), world.now);
    let mut turns = 1;
    while progress == Progress::Yield {
        progress = world.engine.go_on(publisher, world.now);
        turns += 1;
    }
    assert_eq!(world.engine.stats().dropped, MANY as u64);
    assert!(turns > 10, "all was done in {turns} turns");
}

/// A publisher whose route is wide, beside others that keep its receivers so full that it would
/// never find all of them with room at once.
#[test]
fn the_connection_that_has_waited_longest_needs_no_room() {
    const RECEIVERS: usize = 8;
    let mut world = World::new(|_| {});
    let names: Vec<_> = (0..RECEIVERS).map(|number| format!("n.{number}").into_bytes()).collect();
    let mut narrow = Vec::new();
    let receivers: Vec<_> = names
        .iter()
        .map(|name| {
            let receiver = world.stalled(name, b"");
            world.say(receiver, Kind::Subscribe, b"wide", b"");
            narrow.push(world.client(Role::PUBLISHER));
            receiver
        })
        .collect();
    let fill = |world: &mut World| {
        for (publisher, name) in narrow.iter().zip(&names) {
            while world.is_read(*publisher) {
                match world.engine.connections[publisher.index()].inbox.has_backlog() {
                    true => drop(world.engine.go_on(*publisher, world.now)),
                    false => world.publish(*publisher, name, 90),
                }
            }
        }
    };
    fill(&mut world);
    let wide = world.client(Role::PUBLISHER);
    world.publish(wide, b"wide", 90);
    // Those that were there before it come first.
    for step in 0..4 * RECEIVERS {
        if world.engine.connections[wide.index()].traffic.messages > 0 {
            break;
        }
        assert!(step + 1 < 4 * RECEIVERS, "it waits for ever");
        world.take(receivers[step % RECEIVERS], 600);
        fill(&mut world);
        if world.is_read(wide) {
            world.engine.go_on(wide, world.now);
        }
    }
    let limit = world.engine.rules.native.outbox_bytes;
    for receiver in receivers {
        let queued = world.engine.outbox(receiver).queued();
        assert!(queued <= limit + 110, "{queued} bytes: over the limit by more than one message");
    }
}

#[test]
fn an_outbox_that_was_found_full_counts_as_full_until_it_has_drained_to_half() {
    let mut world = World::new(|_| {});
    let (receiver, first) = (world.stalled(b"t", b""), world.client(Role::PUBLISHER));
    world.publish(first, b"t", 900);
    let second = world.waiting(b"t");
    world.take(receiver, 300);
    let third = world.waiting(b"t");
    assert_eq!(world.engine.waits.obstacle(third), Some(Obstacle::Outbox(receiver)));
    world.take(receiver, 150);
    world.ready();
    for waited in [second, third] {
        assert!(world.is_read(waited), "it has drained to half");
        assert_eq!(world.engine.go_on(waited, world.now), Progress::Done);
    }
}

#[test]
fn a_receiver_that_no_parked_connection_needs_is_not_closed() {
    let mut world = World::new(|rules| rules.native.stall_timeout = Duration::from_secs(10));
    let (receiver, fills) = (world.stalled(b"t", b""), world.client(Role::PUBLISHER));
    world.publish(fills, b"t", 900);
    let waiting = world.waiting(b"t");
    world.end(waiting);
    world.now += Duration::from_secs(10);
    world.engine.budget.begin_turn();
    world.engine.expire(world.now);
    assert!(world.engine.connections[receiver.index()].is_talking());
    let _again = world.waiting(b"t");
    world.now += Duration::from_secs(10);
    world.engine.expire(world.now);
    assert!(!world.engine.connections[receiver.index()].is_talking());
}

#[test]
fn losses_that_are_told_are_no_answers() {
    let mut world = World::new(|rules| rules.native.policy = OverflowPolicy::Drop);
    let (receiver, publisher) = (world.stalled(b"t", b""), world.client(Role::PUBLISHER));
    world.publish(publisher, b"t", 900);
    world.publish(publisher, b"t", 900);
    world.take(receiver, 900 + 9);
    assert!(world.engine.outbox(receiver).queued() > 0, "LOST waits");
    assert_eq!(world.engine.outbox(receiver).answers(), 0);
}

#[test]
fn a_receiver_that_is_done_holds_up_no_publisher() {
    let mut world = World::new(|_| {});
    let (receiver, fills) = (world.stalled(b"t", b""), world.client(Role::PUBLISHER));
    world.publish(fills, b"t", 900);
    let waiting = world.waiting(b"t");
    world.engine.end_of_input(receiver);
    assert!(!world.engine.outbox(receiver).is_empty(), "what it was given is still delivered");
    assert!(world.is_read(waiting));
    assert_eq!(world.engine.go_on(waiting, world.now), Progress::Done);
    assert_eq!(world.kept(), (0, 0));
}
