//! How a world ends: all read on, nothing is left waiting, the broker stops, and all have left.
//!
//! Owns what must hold then.

use wire::native::error_code::ErrorCode;

use super::client::{Client, Heard};
use super::nats::{self, Line};
use super::nats_model::is_accepted;
use super::script::Said;
use super::transcript::Ending;
use super::world::{Trace, World};
use super::*;
use crate::engine::rules::OverflowPolicy;

/// Turns in which whatever was begun must have come to an end.
const MANY_TURNS: usize = 100_000;

impl World {
    /// All clients read on and say no more; then all must be delivered and none left waiting. Then
    /// the broker is told to stop, and ends with GOODBYE for all.
    pub(super) fn finish(mut self) -> Trace {
        for client in &mut self.turn.sockets_mut().clients {
            // Half a frame could hold up the others for as long as the hello time-out.
            if client.mute && !client.finished {
                self.edges.note("message cut by the end of input", 1);
                client.finished = true;
            }
        }
        self.settle();
        self.check_settled();
        self.check_link();
        self.stop();
        for _ in 0..50 {
            self.settle();
            for client in &mut self.turn.sockets_mut().clients {
                client.finished |= client.hung_up && !client.closed;
            }
        }
        self.check_end();
        self.check_link();
        let sockets = self.turn.sockets_mut();
        Trace { most: self.most, hash: sockets.hash, edges: self.edges }
    }

    /// Turns, with all clients reading, until nothing happens any more.
    fn settle(&mut self) {
        let mut turns = 0;
        while turns < 3 || self.turn.is_busy() || !self.sockets().is_quiet() {
            turns += 1;
            assert!(turns < MANY_TURNS, "the broker is busy for ever");
            for client in self.sockets().clients.iter_mut().filter(|client| !client.closed) {
                client.make_room(1 << 30);
                if client.is_talking() {
                    client.answer_pings();
                }
            }
            self.make_turns(None);
        }
        self.recount();
    }
}

impl World {
    /// What must hold when all clients have read all and say no more.
    fn check_settled(&mut self) {
        let (engine, sockets) = self.turn.engine_and_sockets();
        let stopping = engine.is_draining();
        let may_drop = self.policies.contains(&OverflowPolicy::Drop);
        for (number, client) in sockets.clients.iter().enumerate() {
            let alive = client.is_talking() && !client.hung_up && !stopping;
            if alive {
                let connection = &engine.connections[client.token.index()];
                let obstacle = engine.waits.obstacle(client.token);
                let (processed, said) = (client.processed, client.said.len());
                let waits_for_hub = waits_for_gone_hub(engine, obstacle);
                assert!(waits_for_hub || processed == said, "{number} not heard: {obstacle:?}");
                assert!(connection.outbox.is_empty() && connection.untold() == 0);
                assert!(waits_for_hub || obstacle.is_none(), "client {number} waits for ever");
                assert!(!client.has_partial(), "client {number} has half a frame");
                check_traffic(number, client, engine);
            }
            let connection = engine.connections.get(client.token.index()).filter(|_| alive);
            let dropped = connection.and_then(|it| it.losses()).map_or(0, |it| it.dropped);
            let ending = Ending { complete: alive, may_drop, dropped: alive.then_some(dropped) };
            self.model.check(number, client, ending);
            if client.role == Role::HUB {
                self.edges.note("message dropped for a hub", dropped);
            }
            if client.role == Role::NATS && dropped > 0 {
                self.edges.note("NATS message dropped", dropped);
            }
        }
    }

    /// What must hold when all have left.
    fn check_end(&mut self) {
        let (engine, sockets) = self.turn.engine_and_sockets();
        assert_eq!(engine.connections(), 0, "all have left");
        let sizes = engine.index_sizes();
        let left = (engine.memory_held(), sizes.subscriptions, sizes.filters);
        assert_eq!(left, (0, 0, 0), "nothing is left");
        assert_eq!(engine.pool.sparse(), 0);
        let may_drop = self.policies.contains(&OverflowPolicy::Drop);
        // Where anything blocks, full memory closes whoever holds some of it.
        let link = self.setup.link.as_ref().map(|link| link.limits.policy);
        let policies: Vec<_> = self.policies.iter().copied().chain(link).collect();
        for (number, client) in sockets.clients.iter().enumerate() {
            let read_all = client.was_open && !client.broken;
            let complete = client.heard_goodbye() || (client.role == Role::NATS && read_all);
            self.model.check(number, client, Ending { complete, may_drop, dropped: None });
            match client.role.protocol {
                Protocol::Native => check_last_words(number, client, &policies),
                Protocol::Nats => {
                    let stale = nats::Heard::Error("Stale Connection".to_owned());
                    let is_stale = client.transcript.last() == Some(&stale);
                    self.edges.note("NATS client closed: stale", is_stale.into());
                    check_last_error(number, client);
                }
                Protocol::Leaf => {}
            }
        }
        let messages = |client: &Client| -> u64 {
            client.heard.iter().filter(|heard| matches!(heard, Heard::Message(_))).count() as u64
        };
        let heard: u64 = sockets.clients.iter().map(messages).sum();
        let stats = engine.stats();
        let (deliveries, undelivered) = (stats.deliveries, stats.undelivered);
        assert_eq!(deliveries, heard + undelivered, "each message is heard or undelivered");
        let processed = sockets.clients.iter().flat_map(|it| &it.said[..it.processed]);
        let messages = processed.filter(|said| is_accepted(said)).count() as u64;
        let messages = messages - self.model.denied_messages
            + self.model.link.accepted
            + self.model.link.accepted_before;
        assert_eq!(stats.denied, self.model.denied, "what users may not do is counted");
        assert_eq!((stats.bytes_out, stats.messages_in), (sockets.taken, messages), "counters");
        // Full memory leaves a member of a group without room, too.
        let block = self.policies.iter().all(|policy| *policy == OverflowPolicy::Block);
        let roomy = (block || self.setup.memory_bytes >= 10_000_000)
            && stats.memory_pauses == 0
            && !self.changed;
        let dropped = stats.dropped - self.model.kept_from_hub();
        if roomy && !self.was_short && stats.pauses + dropped == 0 {
            let compared = self.model.check_turns();
            self.edges.note("turns of a queue group compared", compared);
        }
        self.edges.note("write of many slices", u64::from(sockets.most_slices > 64));
        self.note_edges();
    }
}

/// Whether a hub that has gone is among those that could end a wait: none comes any more.
fn waits_for_gone_hub(engine: &Engine, obstacle: Option<Obstacle>) -> bool {
    let mut gone = engine.connections.iter().filter(|(_, it)| it.state == State::Adrift);
    gone.any(|(at, hub)| match obstacle {
        Some(Obstacle::Outbox(receiver)) => receiver == Token::new(at),
        Some(Obstacle::Group(group)) => engine.index.is_member(group, Token::new(at)),
        // What waits for it holds memory until its stall is judged.
        Some(Obstacle::Memory) => hub.stall.is_some(),
        _ => false,
    })
}

/// A subscriber's counts are those of what it heard.
fn check_traffic(number: usize, client: &Client, engine: &Engine) {
    if !client.role.may_subscribe {
        return;
    }
    let (mut messages, mut lost) = (0, 0);
    for heard in &client.heard {
        match heard {
            Heard::Message(_) => messages += 1,
            Heard::Lost(count) => lost += count,
            _ => {}
        }
    }
    let connection = &engine.connections[client.token.index()];
    let mut dropped = connection.losses().map_or(0, |losses| losses.dropped);
    if client.role != Role::SUBSCRIBER {
        // It is not told; its transcript shows it.
        dropped = 0;
    }
    assert_eq!((messages, lost), (connection.traffic.messages, dropped), "client {number}");
}

/// The error that ended a NATS client's conversation is one that it deserved.
fn check_last_error(number: usize, client: &Client) {
    let heard = &client.said[..client.said.len().min(client.processed + 1)];
    let Some(nats::Heard::Error(text)) = client.transcript.last() else { return };
    let deserves = |said: &Said| match said {
        Said::Nats(Line::Nonsense(_, error)) => text == error,
        Said::Nats(Line::Connect(_)) => text == "no responders requires headers support",
        // It may be the answer to what was not right, and the connection went on.
        Said::Nats(Line::Sub(..)) => {
            text == "Invalid Subject"
                || text == "maximum subscriptions exceeded"
                || text.starts_with("Permissions Violation for Subscription")
        }
        Said::Nats(Line::Pub(_)) => {
            text == "Invalid Publish Subject"
                || text.starts_with("Permissions Violation for Publish")
        }
        _ => false,
    };
    let others = ["Stale Connection", "maximum connections exceeded"];
    let is_deserved = others.contains(&text.as_str()) || heard.iter().any(deserves);
    assert!(is_deserved, "client {number} was told {text:?}");
}

/// How a conversation that the broker ended must have ended.
fn check_last_words(number: usize, client: &Client, policies: &[OverflowPolicy]) {
    // The frame that ended it was not processed.
    let heard = &client.said[..client.said.len().min(client.processed + 1)];
    let nonsense = heard.iter().find_map(|said| match said {
        Said::Nonsense(code) => Some(*code),
        _ => None,
    });
    let fatal = client.fatal();
    // Without a HELLO in front, a second one is the first and no nonsense.
    let greeted = matches!(heard.first(), Some(Said::Hello));
    if let (true, Some(nonsense), Some(fatal)) = (greeted, nonsense, fatal) {
        let other = [ErrorCode::SlowConsumer, ErrorCode::Timeout];
        assert!(nonsense == fatal || other.contains(&fatal), "client {number}: {fatal}");
    }
    let slow = fatal == Some(ErrorCode::SlowConsumer);
    let may_be_slow = policies.iter().any(|policy| *policy != OverflowPolicy::Drop);
    assert!(!slow || may_be_slow, "client {number}");
}
