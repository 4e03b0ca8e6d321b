//! Scripts that failed once, shrunk, so that they never fail again.

use super::nats::{Line, Options, Sent};
use super::script::Action::{Connect, Pass, Say, Turn, Users};
use super::script::Said::{Hello, Nats, Publish, Subscribe};
use super::script::{Action, GROUP_FLOOD, Limits, Script, Setup};
use super::world::play;
use crate::engine::budget;
use crate::engine::rules::OverflowPolicy::{Block, Disconnect};
use crate::engine::sessions::connection::Role;

/// A world whose limits do not matter.
pub(super) fn roomy() -> Setup {
    Setup {
        max_connections: 100,
        max_payload: 3_000,
        max_subscriptions: 100,
        outbox_bytes: 100_000,
        memory_bytes: 10_000_000,
        policy: Block,
        stall_timeout: 3_600_000,
        nats: Limits {
            max_subscriptions: 100,
            outbox_bytes: 100_000,
            policy: Block,
            stall_timeout: 3_600_000,
        },
        min_rate: 0,
        hello: 3_600_000,
        heartbeat: 0,
        read_bytes: 1_000,
        turn_units: budget::TURN,
        watched: true,
        nodes_in_a_call: 1_000,
        link: None,
        users: usize::MAX,
    }
}

pub(super) const WHOLE_TURN: Action = Turn(0);

/// The copy of a half-written message held all of it, so it was sparse itself, and shared by
/// nobody any more.
#[test]
fn large_message_that_is_nearly_written_is_not_kept_whole() {
    let mut actions = vec![
        Connect(1, Role::SUBSCRIBER, 3_000),
        Say(1, Hello),
        Say(1, Subscribe(">", None)),
        WHOLE_TURN,
        Connect(2, Role::PUBLISHER, 1_000),
        Say(2, Hello),
        Say(2, Publish("a", 1, 3_000)),
    ];
    actions.extend([WHOLE_TURN; 10]);
    play(&Script { setup: roomy(), actions });
}

/// A process that was suspended, or a clock that jumped: each client is looked at, none twice.
#[test]
fn time_that_jumps_by_days_closes_whom_it_should() {
    let setup = Setup { heartbeat: 3_000, hello: 2_000, ..roomy() };
    let mut actions = vec![Connect(1, Role::SUBSCRIBER, 3_000), Say(1, Hello), WHOLE_TURN];
    actions.push(Connect(2, Role::SUBSCRIBER, 3_000));
    for _ in 0..3 {
        actions.extend([Pass(86_400_000), WHOLE_TURN, WHOLE_TURN]);
    }
    play(&Script { setup, actions });
}

/// Each slice costs more to remember than a small message has bytes, and there is one for each
/// receiver: a chunk that alternates between two crowds must not be carried out beyond the limit.
#[test]
fn small_messages_to_alternating_crowds_stay_within_memory() {
    let setup = Setup { memory_bytes: 1 << 20, read_bytes: 128 << 10, ..roomy() };
    let mut actions = Vec::new();
    for name in 0..98 {
        let filter = if name % 2 == 0 { "a" } else { "b" };
        actions.extend([Connect(name, Role::SUBSCRIBER, 60), Say(name, Hello)]);
        actions.push(Say(name, Subscribe(filter, None)));
    }
    actions.extend([WHOLE_TURN, Connect(100, Role::PUBLISHER, 1_000), Say(100, Hello)]);
    for pair in 0..3_500 {
        actions.push(Say(100, Publish("a", 2 * pair + 1, 8)));
        actions.push(Say(100, Publish("b", 2 * pair + 2, 8)));
    }
    actions.extend([WHOLE_TURN; 5]);
    let most = play(&Script { setup, actions }).most;
    assert!(most < (1 << 20) + 300_000, "{most} bytes were held");
}

/// Each receiver with a name of its own for its subscription is a copy of what was read: not all of
/// a large read is brought into all of them beyond the limit.
#[test]
fn small_messages_to_many_names_stay_within_memory() {
    let setup = Setup { memory_bytes: 1 << 20, read_bytes: 128 << 10, ..roomy() };
    let options = Options { verbose: Some(false), ..Options::default() };
    let mut actions = Vec::new();
    for (name, sid) in GROUP_FLOOD.into_iter().enumerate() {
        actions.push(Connect(name, Role::NATS, 60));
        let lines = [Line::Connect(options), Line::Sub("a", None, sid)];
        actions.extend(lines.map(|line| Say(name, Nats(line))));
    }
    actions.extend([WHOLE_TURN, Connect(100, Role::PUBLISHER, 1_000), Say(100, Hello)]);
    (1..=7_000).for_each(|number| actions.push(Say(100, Publish("a", number, 8))));
    actions.extend([WHOLE_TURN; 5]);
    let most = play(&Script { setup, actions }).most;
    assert!(most < (1 << 20) + 300_000, "{most} bytes were held");
}

/// A publisher that waits for the only member that it may serve looks again when another one may
/// have the message.
#[test]
fn members_whose_rights_change_are_found_by_those_who_wait_for_the_group() {
    let setup = Setup { outbox_bytes: 60, users: 0, ..roomy() };
    let (ann, ben, publisher) = (1, 2, 3);
    let mut actions = Vec::new();
    for (member, room) in [(ann, 1_000), (ben, 0)] {
        actions.extend([Connect(member, Role::SUBSCRIBER, room), Say(member, Hello)]);
        actions.push(Say(member, Subscribe("a.>", Some("g"))));
    }
    actions.extend([WHOLE_TURN, Connect(publisher, Role::PUBLISHER, 1_000), Say(publisher, Hello)]);
    for number in 1..=10 {
        actions.push(Say(publisher, Publish("a.b", number, 8)));
    }
    // Before, it is denied to the one; behind, to the other.
    actions.extend([WHOLE_TURN, Users(3), WHOLE_TURN]);
    play(&Script { setup, actions });
}

/// Its longest name has no room any more, so it is closed; its shortest one would have some, and
/// nothing is to follow the end.
#[test]
fn one_that_is_closed_is_given_nothing_for_another_queue_group() {
    let limits = Limits { outbox_bytes: 2_000, policy: Disconnect, ..roomy().nats };
    let setup = Setup { nats: limits, read_bytes: 10_000, max_payload: 7_000, ..roomy() };
    let publish = |subject, length, number| {
        let sent = Sent { subject, reply: None, number, headers: None, length };
        Say(1, Nats(Line::Pub(sent)))
    };
    let subscribe = |filter, group, sid| Say(1, Nats(Line::Sub(filter, group, sid)));
    // With one of these lengths, what its socket does not take leaves so much room.
    for length in (6_000..7_000).step_by(10) {
        let mut actions = vec![Connect(1, Role::NATS, 5_000)];
        actions.push(subscribe("*.b", Some("g"), "a-long-name.of-letters"));
        actions.extend([subscribe(">", Some("h"), "3"), publish("a.b.c", length, 1)]);
        actions.extend([subscribe("*.b", None, "007"), subscribe("a.*", None, "1")]);
        actions.push(publish("a.b", 48, 2));
        // It is waited for, and takes nothing.
        actions.extend([WHOLE_TURN, Pass(200), WHOLE_TURN, WHOLE_TURN]);
        play(&Script { setup: setup.clone(), actions });
    }
}
