//! Scripts with a hub that failed once, shrunk, so that they never fail again.

use super::hub::Line::{Info, Mark, Message, Ping, Pong, Want};
use super::kept::{WHOLE_TURN, roomy};
use super::nats::{Line, Options, Sent};
use super::script::Action::{Answer, Break, Connect, Dial, Finish, Pass, Read, Say, Turn};
use super::script::Said::{Hello, Hub, Nats, Publish, Subscribe};
use super::script::{Action, Limits, LinkSetup, Script, Setup};
use super::world::play;
use crate::engine::rules::OverflowPolicy::{Block, Drop};
use crate::engine::sessions::connection::Role;

/// The hub, and two clients.
const HUB: usize = 9;
const ONE: usize = 1;
const TWO: usize = 2;

/// A world with a link of these rules.
fn linked(rules: usize) -> Setup {
    let limits = Limits { policy: Drop, ..roomy().nats };
    Setup { link: Some(LinkSetup { rules, limits }), ..roomy() }
}

/// A hub that takes so much is dialled and joins.
fn joins(max_payload: usize) -> [Action; 5] {
    let greeted = Say(HUB, Hub(Info(0)));
    [Dial(HUB, max_payload, 1 << 20), greeted, WHOLE_TURN, Answer(HUB), WHOLE_TURN]
}

fn publish(client: usize, subject: &'static str, number: u64) -> Action {
    let sent = Sent { subject, reply: None, number, headers: None, length: 8 };
    Say(client, Nats(Line::Pub(sent)))
}

/// What a hub wanted is kept until another one has joined, and here none ever does.
#[test]
fn a_broker_that_has_lost_its_hub_comes_to_an_end() {
    for end in [Break(HUB), Finish(HUB)] {
        let mut actions = joins(1 << 20).to_vec();
        actions.extend([Say(HUB, Hub(Want("*", None))), WHOLE_TURN, end, WHOLE_TURN]);
        play(&Script { setup: linked(0), actions });
    }
}

/// It was due for ever, and no turn came to an end.
#[test]
fn a_hub_that_ends_before_it_has_joined_is_not_looked_at_again_and_again() {
    let setup = Setup { hello: 2_000, ..linked(0) };
    let actions = vec![Dial(HUB, 1 << 20, 0), WHOLE_TURN, Finish(HUB), WHOLE_TURN, Pass(3_000)];
    play(&Script { setup, actions: [actions, vec![WHOLE_TURN; 3]].concat() });
}

/// Nothing waits to be told to a hub, which is told no losses.
#[test]
fn what_a_hub_does_not_take_leaves_it_as_it_was() {
    let mut actions = joins(8).to_vec();
    actions.extend([Say(HUB, Hub(Want("*.b", None))), Connect(ONE, Role::PUBLISHER, 1_000)]);
    actions.extend([Say(ONE, Hello), WHOLE_TURN, Say(ONE, Publish("a.b", 1, 30))]);
    play(&Script { setup: linked(0), actions });
}

/// A group is a name, but its members want what matches their filters, as far as that may go out.
#[test]
fn a_message_for_a_group_is_lost_for_those_whose_filters_match() {
    for (rules, filter) in [(0, "a.b.c"), (3, ">")] {
        let mut actions = joins(300).to_vec();
        actions.extend([Say(HUB, Hub(Want(filter, Some(("g", 2))))), WHOLE_TURN]);
        actions.extend([
            Connect(ONE, Role::NATS, 1_000),
            Say(ONE, Nats(Line::Sub("b.c", Some("g"), "1"))),
        ]);
        // The only member here is the publisher, and wants nothing of its own.
        let options = Options { echo: Some(false), ..Options::default() };
        actions.extend([Say(ONE, Nats(Line::Connect(options))), publish(ONE, "b.c", 1)]);
        actions.extend([Say(ONE, Nats(Line::Sub("b.c", Some("g"), "1"))), publish(ONE, "b.c", 2)]);
        play(&Script { setup: linked(rules), actions });
    }
}

/// The new hub is given the message for its group, the one of before would want it as well.
#[test]
fn what_is_lost_for_a_hub_of_before_counts_while_the_next_one_joins() {
    let mut actions = joins(1 << 20).to_vec();
    actions.extend([Say(HUB, Hub(Want(">", None))), WHOLE_TURN, Break(HUB), WHOLE_TURN]);
    actions.extend([Dial(HUB, 1 << 20, 10), Say(HUB, Hub(Want(">", Some(("g", 1))))), WHOLE_TURN]);
    actions.extend([Connect(ONE, Role::NATS, 1_000), publish(ONE, "b", 1), WHOLE_TURN]);
    play(&Script { setup: linked(0), actions });
}

/// The answer to a question that came before all was told is not the one that says so.
#[test]
fn a_hub_is_not_asked_for_a_sign_of_life_before_it_has_joined() {
    let setup = Setup { heartbeat: 3_000, ..linked(1) };
    let mut actions = vec![Connect(ONE, Role::SUBSCRIBER, 1 << 20), Say(ONE, Hello)];
    actions.extend([Say(ONE, Subscribe("*.b.>", None)), WHOLE_TURN]);
    actions.extend([Dial(HUB, 1 << 20, 1 << 20), Pass(86_400_000), WHOLE_TURN]);
    play(&Script { setup, actions });
}

/// The member here has no room, the one behind the hub may not be given the message at first.
#[test]
fn publishers_that_wait_for_a_group_hear_of_what_a_hub_permits() {
    let block = Limits { policy: Block, ..roomy().nats };
    let link = LinkSetup { rules: 0, limits: block };
    let nats = Limits { outbox_bytes: 60, ..block };
    let setup = Setup { link: Some(link), nats, ..roomy() };
    let mut actions = vec![Dial(HUB, 1 << 20, 0), Say(HUB, Hub(Want("a.>", Some(("h", 3)))))];
    actions.extend([Say(HUB, Hub(Info(2))), Connect(ONE, Role::NATS, 0)]);
    actions.extend([Say(ONE, Nats(Line::Sub("a.>", Some("h"), "1"))), WHOLE_TURN]);
    actions.push(Connect(TWO, Role::NATS, 1_000));
    actions.extend((1..=5).map(|number| publish(TWO, "a.c", number)));
    actions.extend([WHOLE_TURN, Say(HUB, Hub(Info(1))), Say(HUB, Hub(Ping)), WHOLE_TURN]);
    play(&Script { setup, actions });
}

/// Each piece that is read over of a message is no line of its own, wherever it is cut.
#[test]
fn messages_that_are_too_large_are_read_over_however_they_are_cut() {
    let sent = Sent { subject: "a", reply: Some("r.1"), number: 1, headers: Some(12), length: 9 };
    for cut in 1..100 {
        let setup = Setup { max_payload: 30, read_bytes: 64, ..linked(0) };
        let mut actions = joins(1 << 20).to_vec();
        actions.extend([Connect(ONE, Role::SUBSCRIBER, 1 << 20), Say(ONE, Hello)]);
        actions.extend([Say(ONE, Subscribe("a", None)), WHOLE_TURN]);
        actions.push(Say(HUB, Hub(super::hub::Line::TooLarge(300))));
        actions.extend([Say(HUB, Hub(Message(sent, &["g"]))), Say(HUB, Hub(Pong))]);
        actions.extend([Turn(cut), Turn(cut + 1), Turn(cut + 2), Read(HUB, 100), WHOLE_TURN]);
        play(&Script { setup, actions });
    }
}

/// One waits with a message that is too large for the hub, another one's is not.
#[test]
fn a_group_is_not_full_for_what_its_hub_takes() {
    let setup = Setup { outbox_bytes: 300, ..linked(0) };
    let mut actions = joins(30).to_vec();
    actions.push(Say(HUB, Hub(Want("a.>", Some(("h", 2))))));
    actions.extend([Connect(ONE, Role::SUBSCRIBER, 20), Say(ONE, Hello)]);
    actions.extend([Say(ONE, Subscribe("a.>", Some("h"))), WHOLE_TURN]);
    for (client, length) in [(TWO, 200), (TWO + 1, 200), (TWO + 2, 17)] {
        actions.extend([Connect(client, Role::PUBLISHER, 1_000), Say(client, Hello)]);
        actions.extend([Say(client, Publish("a.b", client as u64, length)), WHOLE_TURN]);
    }
    play(&Script { setup, actions });
}

/// It is lost for the members elsewhere, who have no turn that could pass.
#[test]
fn a_message_that_is_too_large_for_a_hub_takes_no_turn_of_its_group() {
    let mut actions = joins(8).to_vec();
    actions.push(Say(HUB, Hub(Want(">", Some(("g", 2))))));
    for (client, filter) in [(ONE, "a.>"), (TWO, "a.*")] {
        actions.extend([Connect(client, Role::SUBSCRIBER, 1 << 20), Say(client, Hello)]);
        actions.extend([Say(client, Subscribe(filter, Some("g"))), WHOLE_TURN]);
    }
    actions.extend([Connect(TWO + 1, Role::PUBLISHER, 1_000), Say(TWO + 1, Hello)]);
    for (number, topic) in ["b", "a.c", "b", "a.b"].into_iter().enumerate() {
        actions.extend([Say(TWO + 1, Publish(topic, number as u64, 12)), WHOLE_TURN]);
    }
    play(&Script { setup: linked(2), actions });
}

/// It was about to close, and still to be told why.
#[test]
fn a_hub_that_leads_back_is_told_so_though_the_link_changes() {
    let mut actions = joins(1 << 20).to_vec();
    actions.extend([Say(HUB, Hub(Want("a", None))), Connect(ONE, Role::PUBLISHER, 1_000)]);
    actions.extend([Say(ONE, Hello), Say(ONE, Publish("a", 1, 52)), Say(HUB, Hub(Mark))]);
    actions.extend([Turn(2_686_345_190_484_780_555), Action::Link(1)]);
    play(&Script { setup: linked(3), actions });
}
