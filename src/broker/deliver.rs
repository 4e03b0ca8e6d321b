//! From a run of messages to the outboxes of its receivers, and what happens when one is full.
//!
//! Owns the overflow policies. Must not look into messages beyond where they end, and must not
//! decide who the receivers are.
//!
//! The fast path is one comparison and one slice for each receiver and run. All the rest of this
//! file is about outboxes without room. While a full outbox's socket may still take bytes, the
//! delivery is interrupted for a flush, and goes on at the very message where it stopped; so a
//! policy strikes only subscribers whose socket is full as well.

use std::rc::Rc;
use std::time::Instant;

use super::chunk::Slice;
use super::close_reason::CloseReason;
use super::connection::{Connection, State};
use super::rules::OverflowPolicy;
use super::topic_index::{GroupKey, Route};
use super::{Broker, Token};
use wire::native::frame::{self, HEADER_BYTES, Header, Kind};

/// Bytes of a LOST frame.
const LOST_BYTES: usize = HEADER_BYTES + 8;

/// What may be queued for one subscriber between two flushes while memory is used up, in bytes.
const ROOM_WITHOUT_MEMORY: usize = 64 << 10;

/// Looking at so many members of a queue group that have no room is as much work as visiting a node
/// of the trie.
const FULL_LIKE_A_NODE: usize = 8;

/// Adjacent messages with the same receivers, as a part of what was read.
#[derive(Clone, Copy, Default)]
pub(super) struct Run {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) messages: u64,
    /// Bytes of the shortest message.
    pub(super) shortest: usize,
}

/// A run on its way from a publisher to the plain receivers of its route.
#[derive(Clone, Copy)]
struct Delivery<'a> {
    publisher: Token,
    source: &'a Slice,
    run: Run,
    route: &'a Rc<Route>,
}

/// A delivery that waits for a flush.
pub(super) struct Interrupted {
    publisher: Token,
    source: Slice,
    route: Rc<Route>,
    run: Run,
    /// Position of the receiver where it stopped, and what that one has still to get.
    receiver: usize,
    rest: Run,
}

/// What a queue group can do with a message now.
pub(super) enum GroupsReady {
    Yes,
    FlushFirst,
    /// Under `block`, no member has room.
    No(GroupKey),
}

/// What a look at the members of a queue group found.
struct Found {
    /// The first one with room, beginning with the one whose turn it is.
    member: Option<Token>,
    /// Members without room in front of it.
    skipped: usize,
    /// Whether a flush may make room at any of these.
    may_drain: bool,
}

impl Run {
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Without its first message.
    fn next(self, source: &Slice) -> (usize, Run) {
        let length = message_len(&source.bytes()[self.start..]);
        (length, Run { start: self.start + length, messages: self.messages - 1, ..self })
    }
}

impl Broker {
    /// Puts a run into the outboxes of its route's plain receivers. `false`: it was interrupted
    /// for a flush, [`go_on_delivering`](Broker::go_on_delivering) is to be called behind it.
    pub(super) fn deliver(
        &mut self,
        publisher: Token,
        source: &Slice,
        run: Run,
        route: &Rc<Route>,
        now: Instant,
    ) -> bool {
        self.stats.messages_in += run.messages;
        self.stats.bytes_in += run.len() as u64;
        let traffic = &mut self.connections[publisher.index()].traffic;
        traffic.frames += run.messages;
        traffic.messages += run.messages;
        traffic.bytes += run.len() as u64;
        self.deliver_from(0, run, Delivery { publisher, source, run, route }, now)
    }

    /// Goes on with a delivery that was interrupted. `false`: it is again.
    pub(super) fn go_on_delivering(&mut self, now: Instant) -> bool {
        let Some(Interrupted { publisher, source, route, run, receiver, rest }) =
            self.interrupted.take()
        else {
            return true;
        };
        let delivery = Delivery { publisher, source: &source, run, route: &route };
        self.deliver_from(receiver, rest, delivery, now)
    }

    /// Gives `rest` to the receiver at position `first`, and the whole run to all behind it.
    fn deliver_from(
        &mut self,
        first: usize,
        mut rest: Run,
        delivery: Delivery<'_>,
        now: Instant,
    ) -> bool {
        let Delivery { publisher, source, run, route } = delivery;
        for position in first..route.plain.len() {
            if let Err(rest) = self.offer(publisher, route.plain[position], source, rest, now) {
                let (source, route) = (source.part(0, source.len()), route.clone());
                let receiver = position;
                self.interrupted =
                    Some(Interrupted { publisher, source, route, run, receiver, rest });
                return false;
            }
            rest = run;
        }
        true
    }

    /// Gives a run to one receiver. An error is the part that waits for a flush.
    fn offer(
        &mut self,
        publisher: Token,
        receiver: Token,
        source: &Slice,
        run: Run,
        now: Instant,
    ) -> Result<(), Run> {
        let connection = &self.connections[receiver.index()];
        let fits = connection.outbox.queued() + run.len() <= self.room_of(connection);
        if fits && connection.lost() == 0 && connection.state == State::Open {
            self.push(receiver, source, run);
            return Ok(());
        }
        self.offer_part(publisher, receiver, source, run, now)
    }

    /// The same for an outbox that has no room for all of it.
    fn offer_part(
        &mut self,
        publisher: Token,
        receiver: Token,
        source: &Slice,
        run: Run,
        now: Instant,
    ) -> Result<(), Run> {
        let connection = &self.connections[receiver.index()];
        if connection.state != State::Open {
            return Ok(());
        }
        let rest = self.push_what_fits(receiver, source, run);
        if rest.messages == 0 {
            return Ok(());
        }
        if self.connections[receiver.index()].writable {
            return Err(rest);
        }
        match self.rules.policy {
            OverflowPolicy::Block => {
                self.push(receiver, source, rest);
                self.pause(publisher, receiver, now);
            }
            OverflowPolicy::Disconnect => self.close(receiver, CloseReason::SlowConsumer, now),
            OverflowPolicy::Drop => self.drop_messages(receiver, rest.messages),
        }
        Ok(())
    }

    /// Queues the messages that there is room for, in their order and without a gap that is not
    /// told; returns the rest, which begins with one that there is none for.
    fn push_what_fits(&mut self, receiver: Token, source: &Slice, run: Run) -> Run {
        let mut rest = run;
        while rest.messages > 0 {
            // Look at the shortest first: a full outbox costs one look, however long the run.
            if !self.has_room(receiver, rest.shortest) {
                return rest;
            }
            let (length, behind) = rest.next(source);
            if !self.has_room(receiver, length) {
                // Under `drop` a shorter one behind it may still fit.
                let connection = &self.connections[receiver.index()];
                if self.rules.policy != OverflowPolicy::Drop || connection.writable {
                    return rest;
                }
                self.drop_messages(receiver, 1);
                rest = behind;
                continue;
            }
            self.tell_lost(receiver);
            self.push(receiver, source, Run { end: behind.start, messages: 1, ..rest });
            rest = behind;
        }
        rest
    }

    /// Whether an outbox takes a message of so many bytes, and LOST in front of it if it must
    /// tell. An empty one takes any.
    pub(super) fn has_room(&self, receiver: Token, length: usize) -> bool {
        let connection = &self.connections[receiver.index()];
        if connection.outbox.is_empty() {
            return true;
        }
        let lost = if connection.lost() > 0 { LOST_BYTES } else { 0 };
        connection.outbox.queued() + lost + length <= self.room_of(connection)
    }

    /// What an outbox may hold now. When memory is used up (under `block`, reading has stopped
    /// then), it is only what a socket that takes bytes will take at the next flush.
    fn room_of(&self, connection: &Connection) -> usize {
        if self.rules.policy == OverflowPolicy::Block || !self.memory_is_full() {
            return self.rules.outbox_bytes;
        }
        if connection.writable { self.rules.outbox_bytes.min(ROOM_WITHOUT_MEMORY) } else { 0 }
    }

    fn push(&mut self, receiver: Token, source: &Slice, run: Run) {
        self.stats.deliveries += run.messages;
        self.queued += run.len();
        let connection = &mut self.connections[receiver.index()];
        connection.traffic.messages += run.messages;
        connection.traffic.bytes += run.len() as u64;
        connection.outbox.push(source, run.start, run.end);
        self.mark_dirty(receiver);
    }

    fn drop_messages(&mut self, receiver: Token, messages: u64) {
        let trouble = self.connections[receiver.index()].trouble_mut();
        trouble.lost += messages;
        trouble.dropped += messages;
        self.stats.dropped += messages;
    }

    /// Tells a subscriber of messages that it was not given, if there are any that it was not
    /// told of.
    pub(super) fn tell_lost(&mut self, receiver: Token) {
        let connection = &mut self.connections[receiver.index()];
        let lost = connection.lost();
        if lost > 0 {
            connection.trouble_mut().lost = 0;
            let mut bytes = Vec::new();
            frame::encode(Kind::Lost, 0, b"", &lost.to_be_bytes(), &mut bytes);
            self.answer(receiver, &bytes);
        }
    }

    /// Whether each queue group of a route can place a message of so many bytes. Asked for all of
    /// them before any gets it, since a message must not be given to some twice.
    pub(super) fn groups_ready(&mut self, route: &Route, length: usize) -> GroupsReady {
        for &group in &route.groups {
            if self.full_groups.is_known_full(group, length) {
                return GroupsReady::No(group);
            }
            let found = self.look_for_room(group, length);
            if found.member.is_some() {
                continue;
            }
            if found.may_drain {
                return GroupsReady::FlushFirst;
            }
            if self.rules.policy == OverflowPolicy::Block {
                return GroupsReady::No(group);
            }
        }
        GroupsReady::Yes
    }

    /// Looks for a member that a message of so many bytes may be given to now.
    fn look_for_room(&mut self, group: GroupKey, length: usize) -> Found {
        let mut found = Found { member: None, skipped: 0, may_drain: false };
        for member in self.index.members(group) {
            if self.has_room(member, length) {
                found.member = Some(member);
                break;
            }
            found.skipped += 1;
            found.may_drain |= self.connections[member.index()].writable;
        }
        self.index.worked(found.skipped / FULL_LIKE_A_NODE);
        found
    }

    /// Gives a message to one member of each queue group of a route that is ready.
    pub(super) fn deliver_to_groups(
        &mut self,
        publisher: Token,
        source: &Slice,
        run: Run,
        route: &Route,
        now: Instant,
    ) {
        for &group in &route.groups {
            let found = self.look_for_room(group, run.len());
            if let Some(member) = found.member {
                self.index.pass_turn(group, found.skipped);
                self.tell_lost(member);
                self.push(member, source, run);
                continue;
            }
            let Some(member) = self.index.members(group).next() else {
                continue;
            };
            self.index.pass_turn(group, 0);
            match self.rules.policy {
                // There was room, until this message itself took it for another group.
                _ if self.connections[member.index()].writable => {
                    self.tell_lost(member);
                    self.push(member, source, run);
                }
                OverflowPolicy::Block => {
                    self.push(member, source, run);
                    self.pause(publisher, member, now);
                }
                OverflowPolicy::Drop => self.drop_messages(member, run.messages),
                OverflowPolicy::Disconnect => self.close(member, CloseReason::SlowConsumer, now),
            }
        }
    }
}

/// Bytes of the message that begins here; it is known to be whole.
fn message_len(bytes: &[u8]) -> usize {
    let header = bytes.first_chunk::<HEADER_BYTES>().and_then(|head| Header::parse(head).ok());
    header.expect("a run consists of whole messages").frame_len()
}
