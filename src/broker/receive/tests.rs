//! A message whose route takes long to find, and those beside it.

use std::time::{Duration, Instant};

use super::*;
use crate::broker::Input;
use crate::broker::rules::Rules;

const HEARTBEAT: Duration = Duration::from_secs(10);

struct World {
    broker: Broker,
    now: Instant,
}

impl World {
    /// A client that is greeted.
    fn client(&mut self, role: Role) -> Token {
        self.broker.greeted(role, self.now)
    }

    fn say(&mut self, token: Token, kind: Kind, topic: &[u8], body: &[u8]) {
        let progress = self.broker.hear_frame(token, kind, (topic, body), self.now);
        assert_eq!(progress, Progress::Done);
    }

    fn messages(&self, token: Token) -> u64 {
        self.broker.connections[token.index()].traffic.messages
    }
}

#[test]
fn others_have_their_turn_while_a_route_is_looked_for() {
    let rules = Rules { heartbeat: HEARTBEAT, ..Rules::of_a_test() };
    let broker = Broker::new(rules, 10_000, "test".into());
    let mut world = World { broker, now: Instant::now() };
    let subscriber = world.client(Role::Subscriber);
    for filter in ["t.t.*", "t.*.t", "t.*.*", "*.t.t", "*.t.*", "*.*.t", "*.*.*", "cheap"] {
        world.say(subscriber, Kind::Subscribe, filter.as_bytes(), b"");
    }
    let (costly, cheap) = (world.client(Role::Publisher), world.client(Role::Publisher));
    world.broker.index.limit_calls(4);
    world.broker.take_resumed();
    // One topic visits 14 nodes, the root included, the other one 2.
    world.say(costly, Kind::Publish, b"t.t.t", b"1");
    let mut turns = 0;
    while world.messages(costly) == 0 {
        turns += 1;
        world.say(cheap, Kind::Publish, b"cheap", b"2");
        assert_eq!(world.messages(subscriber), turns, "the cheap one is delivered at once");
        // It is not read, so its silence is not its own.
        world.now += HEARTBEAT * 2 / 3;
        world.broker.expire(world.now, 16);
        assert_eq!(world.broker.take_resumed(), [costly], "it is carried on with");
        assert!(!world.broker.connections[costly.index()].pinged, "in turn {turns}");
        assert!(matches!(world.broker.next_input(costly, false), Input::CarryOn));
        assert_eq!(world.broker.carry_on(costly, world.now), Progress::Done);
        world.broker.end_turn(world.now);
    }
    assert_eq!((turns, world.messages(subscriber)), (3, 4), "each message is delivered once");
}
