//! Which edges a turn and a whole world reached.
//!
//! Owns what counts as one, as far as the engine and the clients know of it.

use wire::native::error_code::ErrorCode;

use super::client::Heard;
use super::world::World;
use super::*;
use crate::engine::buffers::chunk::Slice;
use crate::engine::buffers::inbox::Inbox;
use crate::engine::close_reason::CloseReason;
use crate::engine::delivery::waits::Obstacle;
use crate::engine::rules::OverflowPolicy;

impl World {
    pub(super) fn note_turn(&mut self) {
        let (engine, sockets) = self.turn.engine_and_sockets();
        let (setup, edges) = (&self.setup, &mut self.edges);
        edges.note("search interrupted", engine.index.is_searching().into());
        let (_, spent, _) = engine.schedule.to_serve();
        edges.note("share of a connection used up", spent as u64);
        edges.note("flush left for the next turn", engine.schedule.has_dirty().into());
        edges.note("subscriptions given up later", engine.is_giving_up().into());
        for (index, connection) in &engine.connections {
            let token = Token::new(index);
            let client = &sockets.clients[sockets.owners[&token]];
            let queued = connection.outbox.queued();
            let protocol = connection.role.protocol;
            let limit = setup.of(protocol).outbox_bytes;
            // A member behind a hub has no turn.
            let is_short = queued > limit / 2 || limit < 100_000;
            self.was_short |= is_short && protocol != Protocol::Leaf;
            let large = queued > limit && connection.outbox.messages(protocol.walk()) == 1;
            edges.note("message larger than its outbox", large.into());
            let obstacle = engine.waits.obstacle(token);
            let for_group = matches!(obstacle, Some(Obstacle::Group(_)));
            edges.note("publisher waits for a queue group", for_group.into());
            let is_hub = |token: Token| {
                let found = engine.connections.get(token.index());
                found.is_some_and(|found| found.role == Role::HUB)
            };
            let for_hub = matches!(obstacle, Some(Obstacle::Outbox(it)) if is_hub(it));
            edges.note("publisher waits for a hub", for_hub.into());
            let is_slow = connection.reason == Some(CloseReason::SlowConsumer);
            edges.note("closed: slow hub", (is_slow && is_hub(token)).into());
            let for_answers = matches!(obstacle, Some(Obstacle::Answers(_)));
            edges.note("unread for its answers", for_answers.into());
            edges.note("frame ends in full memory", engine.memory.may_finish(token).into());
            let large = matches!(connection.inbox, Inbox::Large(_));
            edges.note("frame larger than a chunk", large.into());
            let closing = connection.state == State::Closing && client.has_partial();
            edges.note("frame half-written when closing began", closing.into());
            let compacted = client.has_partial()
                && connection.outbox.slices().next().is_some_and(Slice::is_private);
            edges.note("half-written frame compacted", compacted.into());
        }
    }

    /// Notes what the engine's counters and the clients know of edges.
    pub(super) fn note_edges(&mut self) {
        let (engine, sockets) = self.turn.engine_and_sockets();
        let (stats, edges) = (engine.stats(), &mut self.edges);
        edges.note("publisher paused", stats.pauses);
        edges.note("memory full, reading stopped", stats.memory_pauses);
        edges.note("sparse chunks compacted", stats.compactions);
        edges.note("message dropped", stats.dropped);
        edges.note("messages undelivered at the end", stats.undelivered);
        edges.note("too many subscriptions", self.model.refused);
        self.model.notes.iter().for_each(|(edge, times)| edges.note(edge, *times));
        let slow = match self.policies[0] {
            OverflowPolicy::Block if self.setup.rules().only_block() => {
                "closed: slow consumer under block"
            }
            _ => "closed: slow consumer under disconnect",
        };
        for (reason, edge) in [
            (CloseReason::SlowConsumer, slow),
            (CloseReason::HelloTimeout, "closed: hello time-out"),
            (CloseReason::HeartbeatTimeout, "closed: heartbeat time-out"),
            (CloseReason::FrameTimeout, "closed: frame time-out"),
            (CloseReason::TooManyConnections, "closed: too many connections"),
            (CloseReason::Malformed, "closed: malformed"),
            (CloseReason::HelloExpected, "closed: hello expected"),
            (CloseReason::NotAllowed, "closed: not allowed"),
            (CloseReason::TooLarge, "closed: too large"),
            (CloseReason::ClientClosed, "closed: by the client"),
            (CloseReason::ConnectionLost, "closed: lost"),
        ] {
            edges.note(edge, stats.closed[reason as usize]);
        }
        for (number, client) in sockets.clients.iter().enumerate() {
            let count = |what: fn(&Heard) -> bool| {
                client.heard.iter().filter(|heard| what(heard)).count() as u64
            };
            let lost = count(|heard| matches!(heard, Heard::Lost(_)));
            edges.note("LOST heard", lost);
            let in_group = if self.model.is_grouped(number) { lost } else { 0 };
            edges.note("LOST heard by a member of a queue group", in_group);
            edges.note("LOST within the same outbox twice", u64::from(lost > 1));
            edges.note("PING heard", count(|heard| *heard == Heard::Ping));
            let bad = count(|heard| *heard == Heard::Error(ErrorCode::BadTopic, false));
            edges.note("bad topic refused", bad);
            let messages = count(|heard| matches!(heard, Heard::Message(_)));
            let goodbye = client.heard_goodbye() && messages > 0;
            edges.note("GOODBYE behind messages", goodbye.into());
        }
    }
}
