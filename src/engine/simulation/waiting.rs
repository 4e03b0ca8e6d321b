//! What a turn may do to connections that wait and to receivers that are waited for.
//!
//! Owns the comparison of what waits behind a turn with what waited before it. What must hold at
//! any moment is checked by `audit`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use wire::leaf::{MAX_LINE_BYTES, line};
use wire::native::frame::{HEADER_BYTES, Header};
use wire::nats::client::{self, ServerLine};

use super::client::Client;
use super::hub;
use super::model::Model;
use super::nats::{Line, Sent};
use super::script::Said;
use super::sockets::SimSockets;
use super::world::World;
use super::*;
use crate::engine::buffers::outbox::Outbox;
use crate::engine::close_reason::CloseReason;
use crate::engine::delivery::waits::Obstacle;
use crate::engine::routing::GroupId;
use crate::engine::rules::OverflowPolicy;
use crate::engine::sessions::protocol::Protocol;

/// What waited before a turn.
pub(super) struct Waiting {
    obstacles: BTreeMap<Token, Obstacle>,
    /// Connections that were refused a delivery and have made none since, parked or woken.
    refused: BTreeSet<Token>,
    /// The connection that had waited longest, and how much of what it said was processed.
    oldest: Option<(Token, usize)>,
    /// What was queued for each connection, and those that were alive.
    queued: BTreeMap<Token, usize>,
    alive: BTreeSet<Token>,
    /// Receivers that were found full and are needed by a connection that waits.
    needed: BTreeSet<Token>,
}

/// The next message of a client.
fn next_message(client: &Client) -> Option<Sent> {
    match *client.said.get(client.processed)? {
        Said::Publish(subject, number, length) => {
            Some(Sent { subject, reply: None, number, headers: None, length: length.max(8) })
        }
        Said::Nats(Line::Pub(sent)) | Said::Hub(hub::Line::Message(sent, _)) => Some(sent),
        _ => None,
    }
}

/// The queue groups that the next message of a hub names.
fn named(client: &Client) -> Option<&'static [&'static str]> {
    match client.said.get(client.processed)? {
        Said::Hub(hub::Line::Message(_, groups)) => Some(groups),
        _ => None,
    }
}

/// The members of a queue group that match the next message of a client, by the model: the route
/// that a connection was refused on may name lists that are gone.
pub(super) fn members(
    engine: &Engine,
    sockets: &SimSockets,
    model: &Model,
    (token, group): (Token, GroupId),
) -> Vec<Token> {
    let publisher = sockets.owner(token);
    let next = next_message(&sockets.clients[publisher]).expect("it waits to deliver a message");
    let names = named(&sockets.clients[publisher]);
    let is_it = |name: &str| {
        let is_named = names.is_none_or(|names| names.contains(&name));
        is_named && engine.index.group(name.as_bytes()) == Some(group)
    };
    let members = model.members(publisher, next, is_it);
    members.map(|number| sockets.clients[number].token).collect()
}

/// Bytes of the messages in an outbox, none of which is cut, before all copies of the last one.
pub(super) fn before_last(outbox: &Outbox, protocol: Protocol) -> usize {
    let mut bytes = Vec::new();
    for slice in outbox.slices().filter(|slice| !slice.is_own()) {
        bytes.extend_from_slice(slice.bytes());
    }
    let (mut messages, mut rest) = (Vec::new(), &bytes[..]);
    while let Some((line, length)) = extent(rest, protocol)
        && let Some(message) = rest.get(line..length)
    {
        // What copies of one message have in common; more messages may look like it.
        messages.push((message, length));
        rest = &rest[length..];
    }
    let last = messages.last().map(|(last, _)| *last);
    let before = messages.iter().filter(|(message, _)| Some(*message) != last);
    before.map(|(_, length)| length).sum()
}

/// Bytes in front of the payload, and of all of the message that begins here.
fn extent(bytes: &[u8], protocol: Protocol) -> Option<(usize, usize)> {
    match protocol {
        Protocol::Native => {
            let header = Header::parse(bytes.first_chunk()?).ok()?;
            Some((HEADER_BYTES + header.topic_len(), header.frame_len()))
        }
        Protocol::Nats => {
            let (line, at) = client::parse(bytes, 8_192).ok()??;
            let ServerLine::Message(message) = line else { return None };
            let body = at + message.header_bytes as usize;
            Some((body, at + message.total_bytes as usize + 2))
        }
        Protocol::Leaf => {
            let (line, at) = line::parse(bytes, MAX_LINE_BYTES).ok()??;
            let line::Line::Message(message) = line else { return None };
            Some((at, at + message.total_bytes as usize + 2))
        }
    }
}

impl World {
    /// What waits.
    pub(super) fn waiting(&mut self) -> Waiting {
        let (engine, sockets) = self.turn.engine_and_sockets();
        let waits = &engine.waits;
        let all = || engine.connections.iter().map(|(index, found)| (Token::new(index), found));
        let oldest = all().map(|(token, _)| token).find(|token| waits.is_oldest(*token));
        let stalled = all().filter(|(_, found)| found.stall.is_some()).map(|(token, _)| token);
        Waiting {
            refused: all().map(|(it, _)| it).filter(|it| waits.route(*it).is_some()).collect(),
            obstacles: waits.all().into_iter().map(|(obstacle, it)| (it, obstacle)).collect(),
            oldest: oldest.map(|it| (it, sockets.clients[sockets.owner(it)].processed)),
            queued: all().map(|(token, found)| (token, found.outbox.queued())).collect(),
            alive: all().filter(|(_, it)| it.is_alive()).map(|(token, _)| token).collect(),
            needed: stalled.filter(|it| waits.waiters_for(*it, &engine.index) > 0).collect(),
        }
    }

    /// What a turn did to those that wait.
    pub(super) fn check_waiting(&mut self, before: &Waiting, left: u64) {
        self.check_kept();
        if !self.setup.rules().has_policy(OverflowPolicy::Block) {
            return;
        }
        let parked = self.engine().waits.all();
        for (obstacle, token) in parked {
            let is_refused = matches!(obstacle, Obstacle::Outbox(_) | Obstacle::Group(_));
            if is_refused && before.obstacles.get(&token) != Some(&obstacle) {
                self.check_clocks(token, before);
                self.check_privilege(token, obstacle, before);
            }
        }
        self.check_closed(before, left);
    }

    /// A connection that was refused a delivery has it still to make, and what waits is counted.
    fn check_kept(&mut self) {
        let (engine, _) = self.turn.engine_and_sockets();
        let (mut refused, mut routes) = (0, HashMap::new());
        for (index, connection) in &engine.connections {
            let Some(route) = engine.waits.route(Token::new(index)) else { continue };
            assert!(connection.inbox.has_backlog(), "refused, and has nothing to deliver");
            refused += 1;
            routes.insert(std::rc::Rc::as_ptr(route), route.bytes());
        }
        let routes: usize = routes.values().sum();
        let counted = engine.memory_held() - engine.pool.held();
        assert!(counted >= 100 * refused + routes, "{refused} wait, {counted} bytes are counted");
    }

    /// All receivers that a connection in this turn found full have begun their clocks. Only those
    /// are looked at here to which nothing happened in this turn.
    fn check_clocks(&mut self, token: Token, before: &Waiting) {
        let (engine, sockets) = self.turn.engine_and_sockets();
        let Some(route) = engine.waits.route(token) else { return };
        let publisher = sockets.owner(token);
        let Some(next) = next_message(&sockets.clients[publisher]) else {
            return;
        };
        // The connection that has waited longest needs no room but in those over their limits.
        let was_oldest = before.oldest.is_some_and(|(oldest, _)| oldest == token);
        let needs_no_room = was_oldest || engine.waits.is_oldest(token);
        for receiver in route.plain.iter().flat_map(|audience| &audience.receivers) {
            // The route is kept as it was.
            let Some(connection) = engine.connections.get(receiver.index()) else { continue };
            let limits = self.setup.of(connection.role.protocol);
            if limits.policy != OverflowPolicy::Block {
                continue;
            }
            let needed = {
                let copies = route.plain_copies(*receiver);
                self.model.plain_bytes(publisher, next, sockets.owner(*receiver), copies)
            };
            let room = if needs_no_room { 0 } else { needed };
            let queued = connection.outbox.queued();
            let same = before.queued.get(receiver) == Some(&queued)
                && needed > 0
                && connection.state == State::Open
                && !engine.schedule.is_writable(*receiver)
                && !sockets.was_written(*receiver);
            let is_full = queued > 0 && queued + room > limits.outbox_bytes;
            let is_timed = connection.stall.is_some();
            assert!(!(same && is_full) || is_timed, "{receiver:?} is full, and its clock stands");
        }
    }

    /// The connection that has waited longest is not refused a delivery again, but for an outbox
    /// that is over its limit.
    fn check_privilege(&mut self, token: Token, obstacle: Obstacle, before: &Waiting) {
        let (engine, sockets) = self.turn.engine_and_sockets();
        let processed = sockets.clients[sockets.owner(token)].processed;
        if before.oldest != Some((token, processed)) || !engine.waits.is_oldest(token) {
            return;
        }
        let is_over = |receiver: Token| {
            let connection = &engine.connections[receiver.index()];
            let same = connection.state == State::Open && !sockets.was_written(receiver);
            let limits = self.setup.of(connection.role.protocol);
            let blocks = limits.policy == OverflowPolicy::Block;
            !same || !blocks || connection.outbox.queued() > limits.outbox_bytes
        };
        let allowed = match obstacle {
            Obstacle::Outbox(receiver) => is_over(receiver),
            Obstacle::Group(group) => {
                members(engine, sockets, &self.model, (token, group)).into_iter().all(is_over)
            }
            Obstacle::Memory | Obstacle::Answers(_) => true,
        };
        assert!(allowed, "{token:?} has waited longest, and is refused again: {obstacle:?}");
    }

    /// Only receivers that are waited for are closed for being slow. Others must not have ended in
    /// the same turn: they may have waited for it.
    fn check_closed(&mut self, before: &Waiting, left: u64) {
        let (engine, sockets) = self.turn.engine_and_sockets();
        // Full memory closes those that hold some of it, too.
        if self.changed || self.setup.memory_bytes < 10_000_000 {
            return;
        }
        let is_slow = |token: &&Token| {
            let connection = engine.connections.get(token.index());
            let slow = connection.filter(|it| it.reason == Some(CloseReason::SlowConsumer));
            let blocks = |protocol| self.setup.of(protocol).policy == OverflowPolicy::Block;
            slow.is_some_and(|it| blocks(it.role.protocol))
        };
        let slow: Vec<_> = before.alive.iter().filter(is_slow).collect();
        // So may a NATS client that was closed as slow itself.
        let may_publish = |token: &&Token| {
            let connection = engine.connections.get(token.index());
            connection.is_some_and(|it| it.role.may_publish)
        };
        if left > slow.len() as u64 || (left > 1 && slow.iter().any(may_publish)) {
            return;
        }
        for token in slow {
            // Its groups may be given up already.
            let mut routes = engine
                .connections
                .iter()
                .filter_map(|(index, _)| engine.waits.route(Token::new(index)));
            // One that waited, too: it may have come to wait for itself, in this turn even.
            let client = &sockets.clients[sockets.owner(*token)];
            let waited = client.role.may_publish && client.processed < client.said.len();
            let may_be_needed = before.needed.contains(token)
                || before.refused.contains(token)
                || waited
                || routes.any(|it| it.plain_copies(*token) > 0 || !it.groups.is_empty());
            assert!(may_be_needed, "{token:?} was closed, and nothing waits for it");
        }
    }
}
