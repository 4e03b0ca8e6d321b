//! Whether whatever is due is done in time.
//!
//! Owns the world's own clocks: of silence, of sockets that take nothing, of clients that are not
//! read.

use std::time::{Duration, Instant};

use super::script::{Limits, Setup};
use super::world::World;
use super::*;
use crate::engine::close_reason::CloseReason;
use crate::engine::delivery::waits::Obstacle;
use crate::engine::rules::OverflowPolicy;
use crate::engine::sessions::liveness::CLOSING_TIME;

/// What a NATS client may take nothing for, unless it blocks.
const WRITE_TIME: Duration = Duration::from_secs(10);

/// The silence behind which a client is asked for a sign of life, and how many are too many.
fn heartbeat(setup: &Setup, protocol: Protocol) -> (u64, usize) {
    match protocol {
        Protocol::Native => (setup.heartbeat, 3),
        Protocol::Nats | Protocol::Leaf => (setup.heartbeat.max(10_000), 4),
    }
}

impl World {
    /// Whatever is due was done, and the next turn comes in time for the rest.
    pub(super) fn check_deadlines(&mut self) {
        let next = self.turn.next_deadline();
        let (engine, sockets) = self.turn.engine_and_sockets();
        let (draining, now) = (engine.is_draining(), sockets.now);
        // More may be due than one turn does: then the next one comes at once.
        let is_behind = next.is_some_and(|next| next <= now);
        let in_time = |at: Instant| is_behind || (at > now && next.is_some_and(|it| it <= at));
        let millis = Duration::from_millis;
        for (index, connection) in &engine.connections {
            let token = Token::new(index);
            let client = &mut sockets.clients[sockets.owners[&token]];
            let state = connection.state;
            let due = connection.deadline(&engine.rules, draining);
            let armed = connection.armed.filter(|_| due.is_some());
            assert!(due.is_none_or(|due| armed.is_some_and(|at| at <= due)), "{token:?}");
            // It is not read, or its turn has not come: that is no silence of its own.
            let is_read = !engine.waits.is_parked(token)
                && !connection.inbox.has_backlog()
                && !engine.schedule.is_listed(token);
            if !is_read {
                (client.last_sign, client.silences) = (now, 0);
            }
            if self.changed {
                continue;
            }
            let hello = client.since + millis(self.setup.hello);
            let is_early = connection.reason == Some(CloseReason::HelloTimeout) && hello > now;
            assert!(!is_early, "{token:?}: HELLO was not due");
            match state {
                State::Handshake => {
                    assert!(in_time(hello), "{token:?}: HELLO is due");
                }
                State::Closing | State::Discarding => {
                    assert!(in_time(connection.since + CLOSING_TIME), "{token:?}: closing");
                }
                State::Open if connection.leaf.as_ref().is_some_and(|it| !it.has_joined()) => {
                    assert!(draining || in_time(hello), "{token:?}: the hub is to have joined");
                }
                State::Open | State::Finishing | State::Gone | State::Adrift => {}
            }
            let stall = connection.stall.as_ref().filter(|_| !draining && connection.is_alive());
            let stall_timeout = self.setup.of(connection.role.protocol).stall_timeout;
            let due = stall.map(|stall| stall.since + millis(stall_timeout));
            assert!(due.is_none_or(in_time), "{token:?}: a stall is to be judged");
            if self.setup.heartbeat == 0 || state != State::Open || draining || is_behind {
                continue;
            }
            assert!(next.is_some(), "{token:?}: its heartbeat is watched");
            let (heartbeat, silences) = heartbeat(&self.setup, connection.role.protocol);
            if client.last_sign + millis(heartbeat) <= now {
                (client.last_sign, client.silences) = (now, client.silences + 1);
            }
            // The first silence is answered by PING, the last by the end.
            assert!(client.silences < silences, "{token:?} is silent and still there");
        }
    }

    /// A NATS client that takes nothing is closed in time, and so is a receiver of one that is not
    /// read.
    pub(super) fn check_patience(&mut self) {
        let next = self.turn.next_deadline();
        let (engine, sockets) = self.turn.engine_and_sockets();
        let now = sockets.now;
        let is_exempt = engine.is_draining() || self.changed || next.is_some_and(|at| at <= now);
        let Limits { policy, stall_timeout, .. } = self.setup.nats;
        let timeout = Duration::from_millis(stall_timeout);
        for (index, connection) in &engine.connections {
            let token = Token::new(index);
            let client = &mut sockets.clients[sockets.owners[&token]];
            let stuck = client.stuck.is_some_and(|since| since + WRITE_TIME <= now);
            if connection.role.protocol != Protocol::Nats {
                continue;
            }
            let is_slow = connection.reason == Some(CloseReason::SlowConsumer);
            self.edges.note("NATS client closed: slow consumer", is_slow.into());
            self.edges.note("NATS client took nothing for long", (is_slow && stuck).into());
            if !connection.is_alive() {
                continue;
            }
            let may_be_stuck = is_exempt || policy != OverflowPolicy::Disconnect;
            assert!(!stuck || may_be_stuck, "{token:?} takes nothing and is still there");
            let waits = matches!(
                engine.waits.obstacle(token),
                Some(Obstacle::Outbox(_) | Obstacle::Group(_))
            );
            let since = client.unread.filter(|(processed, _)| *processed == client.processed);
            client.unread = waits.then_some(since.unwrap_or((client.processed, now)));
            let unread = client.unread.is_some_and(|(_, since)| since + timeout <= now);
            self.edges.note("NATS client waits for receivers", waits.into());
            assert!(!unread || is_exempt, "{token:?} was not read for too long");
        }
    }
}
