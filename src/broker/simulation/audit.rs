//! What must hold at every moment of a world, whatever has happened: recounted, not remembered.
//!
//! Owns the checks between the broker's parts. Must not change anything but what was noted.

use std::collections::BTreeMap;

use super::client::Heard;
use super::world::World;
use super::*;
use crate::broker::chunk::{CHUNK_OVERHEAD, SLICE_OVERHEAD, Slice};
use crate::broker::close_reason::CloseReason;
use crate::broker::connection::GroupWait;
use crate::broker::inbox::Inbox;
use crate::broker::rules::OverflowPolicy;

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
        let (_, wanted, _) = self.chunks.entry(chunk).or_insert((cost, 0, slice.is_answers()));
        *wanted += slice.len();
        self.slices += 1;
    }

    fn held(&self) -> usize {
        let chunks: usize = self.chunks.values().map(|(cost, ..)| cost).sum();
        chunks + self.slices * SLICE_OVERHEAD + self.filling
    }

    /// Bytes of the chunks of messages, and how many of them are wanted.
    fn messages(&self) -> (usize, usize) {
        let chunks = self.chunks.values().filter(|(_, _, is_answers)| !is_answers);
        chunks.fold((0, 0), |(held, wanted), (cost, more, _)| {
            (held + cost - CHUNK_OVERHEAD, wanted + more)
        })
    }
}

fn is_slow(connection: &Connection) -> bool {
    connection.reason == Some(CloseReason::SlowConsumer)
}

impl World {
    fn count_again(&self) -> Recount {
        let mut recount = Recount::default();
        for (_, connection) in &self.broker.connections {
            connection.outbox.check();
            connection.outbox.slices().for_each(|slice| recount.add(slice));
            match &connection.inbox {
                Inbox::Empty => {}
                Inbox::Large(large) => recount.filling += large.cost(),
                Inbox::Rest(slice) | Inbox::Backlog(slice) => recount.add(slice),
            }
        }
        recount
    }

    /// Memory is what the broker says it is.
    pub(super) fn recount(&mut self) {
        let held = self.count_again().held();
        assert_eq!(self.broker.memory_held(), held, "memory is counted as it is");
    }

    /// What must hold behind a turn.
    pub(super) fn check_turn(&mut self) {
        self.check_memory();
        self.check_outboxes();
        self.check_answers();
        self.check_waits();
        self.check_group_waits();
        self.check_deadlines();
        self.check_flushed();
        self.check_figures();
        self.note_turn();
    }

    /// What is held beside bookkeeping is at most twice what is wanted and one chunk, or four
    /// times what is wanted: a stalled subscriber's few bytes do not pin whole chunks.
    fn check_memory(&mut self) {
        let recount = self.count_again();
        let all = recount.held();
        assert_eq!(self.broker.memory_held(), all, "memory is counted as it is");
        let (held, wanted) = recount.messages();
        let most = (2 * wanted + self.broker.pool.chunk_bytes()).max(2 * wanted + all / 2);
        // Whoever is closed for its memory lets go behind the compaction: then the next turn is.
        let slow = self.broker.stats().closed[CloseReason::SlowConsumer as usize]
            + self.broker.connections.iter().filter(|(_, found)| is_slow(found)).count() as u64;
        let just_closed = std::mem::replace(&mut self.slow, slow) != slow;
        let kept = held <= most || just_closed;
        assert!(kept, "{held} bytes are held for {wanted}, {all} in all");
        let (limit, policy) = (self.setup.memory_bytes, self.setup.policy);
        self.most = self.most.max(all);
        if policy == OverflowPolicy::Block && !self.changed {
            self.check_limit(limit);
        }
        if policy == OverflowPolicy::Disconnect && all > limit && !just_closed && !self.changed {
            let mut open =
                self.broker.connections.iter().filter(|(_, found)| {
                    found.state == State::Open && found.role == Role::Subscriber
                });
            let closed = open.all(|(_, found)| found.outbox.queued() == found.outbox.answers());
            assert!(closed, "{all} bytes are held, and nobody was closed for it");
        }
    }

    /// Under `block`, what publishers made the broker hold is within the limit, one chunk, what
    /// the frames that have begun may take to their end, and one message's slices.
    fn check_limit(&self, limit: usize) {
        let mut recount = Recount::default();
        for (_, connection) in &self.broker.connections {
            let messages = connection.outbox.slices().filter(|slice| !slice.is_answers());
            messages.for_each(|slice| recount.add(slice));
            if connection.role == Role::Publisher && connection.state == State::Open {
                match &connection.inbox {
                    Inbox::Empty => {}
                    Inbox::Large(large) => recount.filling += large.cost(),
                    Inbox::Rest(slice) | Inbox::Backlog(slice) => recount.add(slice),
                }
            }
        }
        let rest_of_frames =
            self.setup.max_payload + usize::from(u16::MAX) + self.broker.pool.chunk_bytes();
        let slices = self.broker.connections.len() * SLICE_OVERHEAD;
        let most = limit + rest_of_frames.max(limit / 32) + self.broker.pool.chunk_bytes() + slices;
        let held = recount.held();
        assert!(held <= most, "{held} bytes are held, {most} at most");
    }

    /// Where messages may be left out, an outbox holds no more than it may: one message, or as
    /// many as fit. (A member of two queue groups may get one message twice.)
    fn check_outboxes(&self) {
        for (token, &number) in &self.by_token {
            let outbox = &self.broker.connections[token.index()].outbox;
            let messages = outbox.queued() - outbox.answers();
            let exempt = self.setup.policy == OverflowPolicy::Block
                || self.changed
                || messages <= self.setup.outbox_bytes
                || self.model.is_grouped(number);
            assert!(exempt || outbox.messages() == 1, "an outbox holds {messages} bytes");
        }
    }

    /// Whoever does not read more than 64 KiB of answers is not read, and nobody else.
    fn check_answers(&self) {
        for (_, connection) in &self.broker.connections {
            let answers = connection.outbox.answers();
            let many = answers > 64 * 1_024;
            assert!(!connection.awaits_answers || many, "unread for {answers} bytes of answers");
            assert!(answers < 66 * 1_024, "{answers} bytes of answers wait");
        }
    }

    /// Both sides of each wait know of it, and whoever is waited for has something to drain.
    fn check_waits(&self) {
        let connections = &self.broker.connections;
        let mut waited_for = BTreeMap::<usize, u32>::new();
        for (_, receiver) in connections {
            let Some(holding_up) = &receiver.holding_up else { continue };
            for waiter in &holding_up.waiters {
                let publisher = connections.get(waiter.publisher.index());
                let Some(publisher) = publisher.filter(|found| found.waits(waiter)) else {
                    continue;
                };
                assert!(!receiver.outbox.is_empty(), "somebody waits for nothing");
                assert_eq!(publisher.epoch, waiter.epoch);
                *waited_for.entry(waiter.publisher.index()).or_default() += 1;
            }
        }
        for (index, connection) in connections {
            let waits = waited_for.get(&index).copied().unwrap_or(0);
            let trouble = connection.trouble();
            let waits_for = trouble.map_or(0, |trouble| trouble.waits_for);
            assert_eq!(waits_for, waits, "waits are known on both sides");
            let starved = self.broker.starved.contains(&Token::new(index));
            let waits = connection.starved && connection.is_talking();
            assert!(!waits || (starved && self.broker.is_starving), "memory wakes it up");
        }
    }

    /// The same for waits for queue groups: each is kept once, with its group, and the group is
    /// linked with its members as they are. None of that is left of waits that are over.
    fn check_group_waits(&self) {
        let (broker, connections) = (&self.broker, &self.broker.connections);
        let (mut waits, mut links) = (0, 0);
        for (group, full) in broker.full_groups.iter() {
            assert!(!full.waiters.is_empty(), "a group is kept for nobody");
            for (place, waiter) in full.waiters.iter().enumerate() {
                let wait = connections[waiter.index()].trouble().and_then(|it| it.group_wait);
                assert_eq!(wait, Some(GroupWait { group, place }), "a publisher knows its wait");
            }
            let mut members: Vec<_> = full.members.iter().map(|(member, _)| *member).collect();
            members.sort_unstable();
            let mut all: Vec<_> = broker.index.members(group).collect();
            all.sort_unstable();
            assert_eq!(members, all, "all members hold up those who wait");
            for (place, (member, in_member)) in full.members.iter().enumerate() {
                let member = &connections[member.index()];
                let holding_up = member.holding_up.as_ref().expect("it holds up somebody");
                let link = &holding_up.groups[*in_member];
                assert!((link.group, link.place) == (group, place), "a member knows the group");
                let in_vain = member.outbox.is_empty();
                assert!(!in_vain, "it waits for a group that could take its message");
            }
            let shortest = (0..=self.setup.max_payload + 1_000)
                .find(|length| broker.full_groups.is_known_full(group, *length));
            let room = |member: &Token| {
                let flush_first = connections[member.index()].writable;
                shortest.is_some_and(|it| flush_first || broker.has_room(*member, it))
            };
            assert!(!members.is_empty() && !members.iter().any(room), "a member has room");
            (waits, links) = (waits + full.waiters.len(), links + full.members.len());
        }
        let all = || connections.iter().map(|(_, connection)| connection);
        let waiting = all().filter(|it| it.trouble().is_some_and(|it| it.group_wait.is_some()));
        assert_eq!(waiting.count(), waits, "whoever waits for a group is known to it");
        let linked = all().filter_map(|it| it.holding_up.as_ref()).map(|it| it.groups.len());
        assert_eq!(linked.sum::<usize>(), links, "no member is linked with a wait that is over");
    }

    /// Whatever is due was done, and the next turn comes in time for the rest.
    fn check_deadlines(&mut self) {
        let next = self.broker.next_deadline();
        let draining = self.broker.is_draining();
        let in_time = |at: Instant| next.is_some_and(|next| next <= at) && at > self.now;
        let millis = Duration::from_millis;
        for (&token, &number) in &self.by_token {
            let connection = &self.broker.connections[token.index()];
            let client = &mut self.clients[number];
            let state = connection.state;
            let due = connection.deadline(&self.broker.rules, draining);
            let armed = connection.armed.filter(|_| due.is_some());
            assert!(due.is_none_or(|due| armed.is_some_and(|at| at <= due)), "client {number}");
            if self.changed {
                continue;
            }
            match state {
                State::Handshake => {
                    let due = client.since + millis(self.setup.hello);
                    assert!(in_time(due), "client {number}: HELLO is due");
                }
                State::Closing | State::Discarding => {
                    assert!(in_time(connection.since + CLOSING_TIME), "client {number}: closing");
                }
                State::Open | State::Finishing | State::Gone => {}
            }
            let holding_up = connection.holding_up.as_ref().filter(|_| !draining);
            let stall = holding_up.map(|found| found.since + millis(self.setup.stall_timeout));
            let due = stall.filter(|_| connection.is_alive() && connection.has_waiters());
            assert!(due.is_none_or(in_time), "client {number}: a stall is to be judged");
            if self.setup.heartbeat == 0 || state != State::Open || draining {
                continue;
            }
            assert!(next.is_some(), "client {number}: its heartbeat is watched");
            let heartbeat = millis(self.setup.heartbeat);
            if connection.is_unread() {
                (client.last_sign, client.silences) = (self.now, 0);
            } else if client.last_sign + heartbeat <= self.now {
                (client.last_sign, client.silences) = (self.now, client.silences + 1);
            }
            // The first silence is answered by PING, the second by the end.
            assert!(client.silences < 3, "client {number} is silent and still there");
        }
    }

    /// Whoever has something to be written has a full socket, or stands in the list.
    fn check_flushed(&self) {
        for (index, connection) in &self.broker.connections {
            let listed = self.broker.dirty.contains(&Token::new(index));
            assert_eq!(connection.dirty, listed, "it stands in the list that it thinks");
            let waits = connection.outbox.is_empty() || !connection.writable;
            assert!(waits || listed, "an outbox that could be flushed is forgotten");
        }
    }

    /// What is shown to whoever watches is what a walk over all connections finds.
    fn check_figures(&self) {
        let (broker, stats) = (&self.broker, self.broker.stats());
        let counted = broker.listed_topics().next();
        let counted = counted.map(|(_, published)| (published.messages, published.bytes));
        assert!(counted.is_none_or(|counted| counted == (stats.messages_in, stats.bytes_in)));
        let all = || broker.connections.iter().map(|(_, connection)| connection);
        let load = broker.load();
        assert_eq!(load.publishers + load.subscribers, all().count());
        assert_eq!(load.starved, all().filter(|connection| connection.starved).count());
        let queued: usize = all().map(|connection| connection.outbox.queued()).sum();
        assert_eq!(load.queued_bytes, queued);
        let paused = all().filter(|connection| connection.is_paused());
        assert_eq!(load.paused, paused.filter(|it| it.state != State::Gone).count());
        let longest = all().map(|connection| connection.outbox.queued()).max();
        let shown = broker.slowest(2, self.now).first().map(|view| view.queued);
        assert_eq!(shown, longest, "the longest queue is on top");
    }

    fn note_turn(&mut self) {
        let (setup, edges) = (&self.setup, &mut self.edges);
        edges.note("search interrupted", self.broker.index.is_searching().into());
        for (&token, &number) in &self.by_token {
            let connection = &self.broker.connections[token.index()];
            let queued = connection.outbox.queued();
            self.was_short |= queued > setup.outbox_bytes / 2 || setup.outbox_bytes < 100_000;
            let large = queued > setup.outbox_bytes && connection.outbox.messages() == 1;
            edges.note("message larger than its outbox", large.into());
            let group_wait = connection.trouble().is_some_and(|found| found.group_wait.is_some());
            edges.note("publisher waits for a queue group", group_wait.into());
            edges.note("unread for its answers", connection.awaits_answers.into());
            edges.note("frame rescued from full memory", connection.rescued.into());
            let closing = connection.state == State::Closing && self.clients[number].has_partial();
            edges.note("frame half-written when closing began", closing.into());
            let compacted = self.clients[number].has_partial()
                && connection.outbox.slices().next().is_some_and(Slice::is_private);
            edges.note("half-written frame compacted", compacted.into());
        }
    }

    /// Notes what the broker's counters and the clients know of edges.
    pub(super) fn note_edges(&mut self) {
        let (stats, edges) = (self.broker.stats(), &mut self.edges);
        edges.note("publisher paused", stats.pauses);
        edges.note("memory full, reading stopped", stats.memory_pauses);
        edges.note("sparse chunks compacted", stats.compactions);
        edges.note("message dropped", stats.dropped);
        edges.note("messages undelivered at the end", stats.undelivered);
        edges.note("too many subscriptions", self.model.refused);
        let slow = match self.setup.policy {
            OverflowPolicy::Block => "closed: slow consumer under block",
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
        for (number, client) in self.clients.iter().enumerate() {
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
