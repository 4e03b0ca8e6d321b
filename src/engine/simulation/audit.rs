//! What must hold at every moment of a world, whatever has happened: recounted, not remembered.
//!
//! Owns the checks between the engine's rooms. Must not change anything but what was noted.

use std::collections::BTreeMap;

use wire::native::frame::Kind;

use super::client::kinds;
use super::script::Limits;
use super::waiting::{before_last, members};
use super::world::World;
use super::*;
use crate::engine::buffers::chunk::{CHUNK_OVERHEAD, SLICE_OVERHEAD, Slice};
use crate::engine::buffers::inbox::Inbox;
use crate::engine::close_reason::CloseReason;
use crate::engine::delivery::waits::Obstacle;
use crate::engine::rules::OverflowPolicy;

/// Memory as a recount finds it, in bytes.
#[derive(Default)]
struct Recount {
    /// By chunk: what it costs, and how much of it is wanted.
    chunks: BTreeMap<usize, (usize, usize, bool)>,
    slices: usize,
    /// Frames being read into chunks of their own.
    filling: usize,
}

impl Recount {
    fn add(&mut self, slice: &Slice) {
        let (chunk, cost) = slice.cost();
        let (_, wanted, _) = self.chunks.entry(chunk).or_insert((cost, 0, slice.is_own()));
        *wanted += slice.len();
        self.slices += 1;
    }

    fn held(&self) -> usize {
        let chunks: usize = self.chunks.values().map(|(cost, ..)| cost).sum();
        chunks + self.slices * SLICE_OVERHEAD + self.filling
    }

    /// Bytes of the chunks of messages, and how many of them are wanted.
    fn messages(&self) -> (usize, usize) {
        let chunks = self.chunks.values().filter(|(_, _, is_own)| !is_own);
        chunks.fold((0, 0), |(held, wanted), (cost, more, _)| {
            (held + cost - CHUNK_OVERHEAD, wanted + more)
        })
    }
}

/// Bytes of the longest line of a message, or of header and topic.
fn largest_line(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Native => 20,
        Protocol::Nats | Protocol::Leaf => 70,
    }
}

fn is_slow(connection: &Connection) -> bool {
    // One that is gone has been counted.
    connection.reason == Some(CloseReason::SlowConsumer) && connection.state != State::Gone
}

impl World {
    fn count_again(&self) -> Recount {
        let mut recount = Recount::default();
        for (_, connection) in &self.engine().connections {
            connection.outbox.check(connection.role.protocol.walk());
            connection.outbox.slices().for_each(|slice| recount.add(slice));
            match &connection.inbox {
                Inbox::Empty => {}
                Inbox::Large(large) => recount.filling += large.cost(),
                Inbox::Rest(slice, _) | Inbox::Backlog(slice) => recount.add(slice),
            }
        }
        recount
    }

    /// Memory is what the engine says it is.
    pub(super) fn recount(&mut self) {
        let held = self.count_again().held();
        assert_eq!(self.engine().pool.held(), held, "memory is counted as it is");
    }

    /// What must hold behind a turn.
    pub(super) fn check_turn(&mut self) {
        self.check_memory();
        self.check_outboxes();
        self.check_answers();
        self.check_waits();
        self.check_deadlines();
        self.check_patience();
        self.check_lists();
        self.check_figures();
        self.note_turn();
    }

    /// What is held beside bookkeeping is at most twice what is wanted and one chunk, or four
    /// times what is wanted: a stalled subscriber's few bytes do not pin whole chunks.
    fn check_memory(&mut self) {
        let recount = self.count_again();
        let all = recount.held();
        assert_eq!(self.engine().pool.held(), all, "memory is counted as it is");
        let (held, wanted) = recount.messages();
        let most = (2 * wanted + self.engine().pool.chunk_bytes()).max(2 * wanted + all / 2);
        // One that is closed for its memory lets go behind the compaction: then the next turn is.
        let slow = self.engine().stats().closed[CloseReason::SlowConsumer as usize]
            + self.engine().connections.iter().filter(|(_, found)| is_slow(found)).count() as u64;
        let just_closed = std::mem::replace(&mut self.slow, slow) != slow;
        let is_far = all * 2 <= self.setup.memory_bytes && !self.changed;
        // What was left to flush may have gone with its connections, behind that.
        let gone = self.engine().stats().closed.iter().sum();
        let just_gone = std::mem::replace(&mut self.gone, gone) != gone;
        let was_left = self.engine().schedule.has_dirty() || just_gone;
        let is_left = was_left && (is_far || self.changed);
        let kept = held <= most || just_closed || is_left;
        assert!(kept, "{held} bytes are held for {wanted}, {all} in all");
        let limit = self.setup.memory_bytes;
        let rules = self.setup.rules();
        self.most = self.most.max(all);
        if rules.only_block() && !self.changed {
            self.check_limit(limit);
        }
        let disconnects = rules.has_policy(OverflowPolicy::Disconnect);
        if disconnects && all > limit && !just_closed && !self.changed {
            let may_go = |found: &Connection| {
                let policy = self.setup.of(found.role.protocol).policy;
                policy == OverflowPolicy::Disconnect && found.state == State::Open
            };
            let found = self.engine().connections.iter();
            let mut open = found.filter(|(_, found)| may_go(found) && found.role.may_subscribe);
            let closed = open.all(|(_, found)| found.outbox.slices().all(Slice::is_own));
            assert!(closed, "{all} bytes are held, and none was closed for it");
        }
    }

    /// Under `block`, what publishers made the broker hold is within the limit, what is no message,
    /// what the frames that have begun may take to their end, one chunk, and one message's slices.
    fn check_limit(&self, limit: usize) {
        let mut recount = Recount::default();
        for (_, connection) in &self.engine().connections {
            let messages = connection.outbox.slices().filter(|slice| !slice.is_own());
            messages.for_each(|slice| recount.add(slice));
            if connection.role.may_publish && connection.state == State::Open {
                match &connection.inbox {
                    Inbox::Empty => {}
                    Inbox::Large(large) => recount.filling += large.cost(),
                    Inbox::Rest(slice, _) | Inbox::Backlog(slice) => recount.add(slice),
                }
            }
        }
        let rest_of_frames =
            self.setup.max_payload + usize::from(u16::MAX) + self.engine().pool.chunk_bytes();
        let slices = self.engine().connections.len() * SLICE_OVERHEAD;
        let chunk = self.engine().pool.chunk_bytes();
        let reserves = (limit / 64).max(chunk) + rest_of_frames.max(limit / 32);
        // One message may be brought into many encodings, each a copy of it.
        let message = self.setup.max_payload + largest_line(Protocol::Nats);
        let copies = self.model.most_encodings as usize * message;
        let most = limit + reserves + chunk + slices + copies;
        let held = recount.held();
        assert!(held <= most, "{held} bytes are held, {most} at most");
    }

    /// An outbox holds no more than it may: what its limit allows, or one message, with all the
    /// copies of it; under `block`, that one beyond the limit.
    fn check_outboxes(&mut self) {
        let (engine, sockets) = self.turn.engine_and_sockets();
        for (index, connection) in &engine.connections {
            let number = sockets.owner(Token::new(index));
            let outbox = &connection.outbox;
            let slices = outbox.slices().filter(|slice| !slice.is_own());
            let messages: usize = slices.map(Slice::len).sum();
            let protocol = connection.role.protocol;
            let Limits { policy, outbox_bytes: limit, .. } = self.setup.of(protocol);
            // A topic of this world and a header, or a line; all copies.
            let message = self.setup.max_payload + largest_line(protocol);
            let copies = self.model.most_copies(Some(number));
            let beyond = match policy {
                OverflowPolicy::Block => message * copies,
                _ if copies > 1 => message * copies,
                _ => 0,
            };
            // Beyond the limit are the copies of one message, the last, and under `block` it may be
            // that one of the connection that has waited longest.
            let before = if policy == OverflowPolicy::Block { limit } else { 0 };
            let exempt = self.changed || messages <= limit + beyond;
            assert!(
                exempt || outbox.messages(protocol.walk()) == 1,
                "an outbox holds {messages} of {limit}"
            );
            let is_cut = sockets.clients[number].has_partial();
            let is_over = messages > limit && !self.changed && !is_cut;
            assert!(
                !is_over || before_last(outbox, protocol) <= before,
                "{messages} of {limit}, in parts"
            );
            assert!(connection.room <= limit, "it has room for more than its limit");
            let room = limit.saturating_sub(outbox.queued());
            assert!(connection.room <= room, "it says that it has more room than there is");
        }
    }

    /// A client that does not read more than 64 KiB of answers is not read, and no other.
    fn check_answers(&self) {
        for (index, connection) in &self.engine().connections {
            let answers = connection.outbox.answers();
            let obstacle = self.engine().waits.obstacle(Token::new(index));
            let waits = matches!(obstacle, Some(Obstacle::Answers(_)));
            let (least, most) = self.answers_allowed(connection.role.protocol);
            let is_unread = !waits || answers > least || self.changed;
            assert!(is_unread, "unread for {answers} bytes of answers");
            assert!(answers < most || self.changed, "{answers} bytes of answers wait");
            if connection.role.protocol != Protocol::Native {
                continue;
            }
            for slice in connection.outbox.slices().filter(|slice| slice.is_answers()) {
                assert!(kinds(slice).all(|kind| kind != Kind::Lost as u8), "LOST is no answer");
            }
        }
    }

    /// From how many bytes of answers on a client is not read, and how many there are at most. A
    /// NATS client may leave as many as its outbox takes, and what a share makes of them.
    fn answers_allowed(&self, protocol: Protocol) -> (usize, usize) {
        const KIB: usize = 1_024;
        // What is told of subscriptions that ended with other users comes at once.
        let revoked = if self.revoked { 32 * KIB } else { 0 };
        match protocol {
            Protocol::Native => (64 * KIB, 66 * KIB + revoked),
            Protocol::Nats | Protocol::Leaf => {
                let least = self.setup.of(protocol).outbox_bytes.max(64 * KIB);
                let lines = self.setup.turn_units / 8 / budget::FRAME + 2;
                (least, least + 2 * KIB + 200 * lines as usize + revoked)
            }
        }
    }

    /// Each parked connection waits for something that will wake it.
    fn check_waits(&mut self) {
        let (engine, sockets) = self.turn.engine_and_sockets();
        for (obstacle, token) in engine.waits.all() {
            let connection = &engine.connections[token.index()];
            assert!(connection.is_talking(), "one that has ended waits");
            assert_eq!(engine.waits.obstacle(token), Some(obstacle), "both sides know of it");
            let is_full = |receiver: Token| {
                let receiver = &engine.connections[receiver.index()];
                receiver.stall.is_some() && !receiver.outbox.is_empty()
            };
            match obstacle {
                Obstacle::Outbox(receiver) => assert!(is_full(receiver), "it waits for nothing"),
                Obstacle::Group(group) => {
                    assert!(engine.waits.route(token).is_some(), "it was refused on a route");
                    let members = members(engine, sockets, &self.model, (token, group));
                    assert!(members.into_iter().all(is_full), "a group with room");
                }
                Obstacle::Memory => assert!(engine.memory.is_full(), "memory wakes it up"),
                Obstacle::Answers(own) => assert_eq!(own, token),
            }
        }
        for (index, connection) in &engine.connections {
            let token = Token::new(index);
            let full = connection.stall.as_ref().filter(|_| connection.is_alive());
            assert!(full.is_none() || !connection.outbox.is_empty(), "full, and empty");
            let is_ready = connection.inbox.has_backlog() && !engine.waits.is_parked(token);
            assert!(!is_ready || engine.schedule.is_listed(token), "a backlog is forgotten");
        }
    }

    /// A connection with something to be written has a full socket, or stands in the lists.
    fn check_lists(&mut self) {
        let (engine, _) = self.turn.engine_and_sockets();
        for (index, connection) in &engine.connections {
            let token = Token::new(index);
            let is_dirty = engine.schedule.is_dirty(token);
            let waits = connection.outbox.is_empty() || !engine.schedule.is_writable(token);
            assert!(waits || is_dirty, "an outbox that could be flushed is forgotten");
            engine.schedule.is_listed(token);
        }
        // Those that left in this turn may still be listed.
        let now = engine.connections();
        let before = std::mem::replace(&mut self.connections, now);
        let (holders, most) = (engine.memory.holders(), 64 + 2 * before.max(now));
        assert!(holders <= most, "{holders} stand in the list of holders, {most} at most");
    }

    /// What is shown to those who watch is what a walk over all connections finds.
    fn check_figures(&mut self) {
        let (engine, sockets) = self.turn.engine_and_sockets();
        let stats = engine.stats();
        let counted = engine.listed_topics().first();
        let counted = counted.map(|it| (it.published.messages, it.published.bytes));
        // What no filter can match is not counted by topic.
        let (messages, bytes) = self.model.unroutable;
        let accepted = (stats.messages_in - messages, stats.bytes_in - bytes);
        assert!(counted.is_none_or(|counted| counted == accepted));
        let all = || engine.connections.iter();
        let load = engine.load();
        let crowd = load.crowd;
        assert_eq!(
            crowd.publishers + crowd.subscribers + crowd.clients + crowd.links,
            all().count()
        );
        let waits = |token: usize| engine.waits.obstacle(Token::new(token));
        let for_memory = all().filter(|(it, _)| waits(*it) == Some(Obstacle::Memory));
        assert_eq!(load.waiting_for_memory, for_memory.count());
        let for_room = all()
            .filter(|(it, _)| matches!(waits(*it), Some(Obstacle::Outbox(_) | Obstacle::Group(_))));
        assert_eq!(load.paused, for_room.count());
        let queued: usize = all().map(|(_, connection)| connection.outbox.queued()).sum();
        assert_eq!(load.queued_bytes, queued);
        let longest = all().map(|(_, connection)| connection.outbox.queued()).max();
        let shown = engine.slowest(2, sockets.now).first().map(|view| view.queued);
        assert_eq!(shown, longest, "the longest queue is on top");
    }
}
