//! A message whose route takes long to find, and those beside it.

use std::time::{Duration, Instant};

use super::*;
use wire::native::frame::Kind;

use crate::engine::rules::Rules;
use crate::engine::sessions::connection::Role;

const HEARTBEAT: Duration = Duration::from_secs(10);

struct World {
    engine: Engine,
    now: Instant,
}

impl World {
    /// A client that is greeted.
    fn client(&mut self, role: Role) -> Token {
        self.engine.greeted(role, self.now)
    }

    fn say(&mut self, token: Token, kind: Kind, topic: &[u8], body: &[u8]) -> Progress {
        self.engine.hear_frame(token, kind, (topic, body), self.now)
    }

    fn messages(&self, token: Token) -> u64 {
        self.engine.connections[token.index()].traffic.messages
    }
}

#[test]
fn others_have_their_turn_while_a_route_is_looked_for() {
    let rules = Rules { heartbeat: HEARTBEAT, ..Rules::of_a_test() };
    let engine = Engine::new(rules, 10_000, "test".into());
    let mut world = World { engine, now: Instant::now() };
    let subscriber = world.client(Role::SUBSCRIBER);
    for filter in ["t.t.*", "t.*.t", "t.*.*", "*.t.t", "*.t.*", "*.*.t", "*.*.*", "cheap"] {
        world.say(subscriber, Kind::Subscribe, filter.as_bytes(), b"");
    }
    let (costly, cheap) = (world.client(Role::PUBLISHER), world.client(Role::PUBLISHER));
    world.engine.index.limit_calls(4);
    // One topic visits 14 nodes, the root included, the other one 2.
    let mut progress = world.say(costly, Kind::Publish, b"t.t.t", b"1");
    let mut turns = 0;
    while world.messages(costly) == 0 {
        turns += 1;
        assert_eq!(progress, Progress::Yield, "others first");
        assert_eq!(world.say(cheap, Kind::Publish, b"cheap", b"2"), Progress::Done);
        assert_eq!(world.messages(subscriber), turns, "the cheap one is delivered at once");
        // It is not read, so its silence is not its own.
        world.now += HEARTBEAT * 2 / 3;
        world.engine.budget.begin_turn();
        world.engine.expire(world.now);
        assert!(!world.engine.connections[costly.index()].pings > 0, "in turn {turns}");
        progress = world.engine.go_on(costly, world.now);
        world.engine.end_turn(world.now);
    }
    assert_eq!((turns, world.messages(subscriber)), (3, 4), "each message is delivered once");
}
