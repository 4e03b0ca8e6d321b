//! From bytes that were read to what they ask for.
//!
//! Owns the order in which requests are processed and the answers to them. Messages are cut into
//! runs and delivered by `delivery`; where they go is decided by `routing`.

use std::fmt;
use std::time::Instant;

use log::{debug, trace};
use wire::Encoding;

use super::connection::State;
use super::protocol::{Notice, Refusal, Request};
use crate::engine::access::Credentials;
use crate::engine::buffers::chunk::{Filling, Own, Slice};
use crate::engine::delivery::waits::Obstacle;
use crate::engine::token::Token;
use crate::engine::{Engine, Progress, budget};

/// While more than this many bytes of answers wait for a client, it is not read.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 << 10;
/// What the subscriptions of one connection may weigh, in bytes. Far beyond 10,000 ordinary ones.
const MAX_SUBSCRIPTION_BYTES: usize = 32 << 20;
/// What the subscriptions of all connections may weigh in any case, in bytes; beyond it, as much
/// as in- and outboxes may.
pub(crate) const MIN_INDEX_BYTES: usize = 64 << 20;
/// Names of queue groups that one connection may be a member of. A message that matches all of them
/// is delivered so many times at once.
const MAX_GROUPS: usize = 1_000;

/// Why processing stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The next frame is not whole.
    Incomplete,
    /// The next message waits for a flush of certain outboxes.
    FlushFirst,
    /// The connection has used up its share: others first, then on from here.
    Yield,
    /// The connection is parked on an obstacle.
    Parked,
    /// The connection is being closed.
    Closed,
}

impl Engine {
    /// `count` bytes were read into `filling`. `idle`: the socket has no more for now.
    pub(crate) fn received(
        &mut self,
        token: Token,
        mut filling: Filling,
        count: usize,
        idle: bool,
        now: Instant,
    ) -> Progress {
        filling.advance(count);
        let inbox = &mut self.connections[token.index()].inbox;
        match inbox.filled(filling, &self.pool) {
            Some(input) => self.process_input(token, &input, idle, now),
            None => Progress::Done,
        }
    }

    /// Goes on with what was stopped earlier.
    pub(crate) fn resume(&mut self, token: Token, now: Instant) -> Progress {
        match self.connections[token.index()].inbox.take_backlog() {
            Some(input) => self.process_input(token, &input, true, now),
            None => Progress::Done,
        }
    }

    fn process_input(&mut self, token: Token, input: &Slice, idle: bool, now: Instant) -> Progress {
        let mut at = 0;
        let stop = self.process_frames(token, input, &mut at, now);
        let connection = &mut self.connections[token.index()];
        // A connection that waits for the broker's own work is not silent meanwhile.
        if (at > 0 || stop == Stop::Yield) && connection.is_talking() {
            connection.showed_life(now);
        }
        if !connection.is_talking() {
            return Progress::Done;
        }
        let rest = input.part(at, input.len());
        if stop == Stop::Incomplete {
            let in_a_read = self.pool.chunk_bytes();
            let frame = connection.role.protocol.begun_bytes(rest.bytes(), in_a_read);
            connection.inbox.keep(rest, frame, idle, &self.pool);
        } else {
            connection.inbox.put_back(rest);
        }
        if !connection.inbox.is_empty() {
            self.memory.note_holder(token);
        }
        match stop {
            Stop::FlushFirst => Progress::FlushFirst,
            Stop::Yield => Progress::Yield,
            Stop::Incomplete | Stop::Parked | Stop::Closed => Progress::Done,
        }
    }

    /// Processes frames from `at` on, and leaves `at` at the first one that it did not.
    fn process_frames(
        &mut self,
        token: Token,
        input: &Slice,
        at: &mut usize,
        now: Instant,
    ) -> Stop {
        loop {
            if !self.has_room_for_answers(token, now) {
                return Stop::Parked;
            }
            let connection = &self.connections[token.index()];
            if connection.role.may_publish
                && connection.state == State::Open
                && connection.leaf.as_ref().is_none_or(|session| session.skip == 0)
                && let Some(stop) = self.process_messages(token, input, at, now)
            {
                return stop;
            }
            let connection = &self.connections[token.index()];
            let protocol = connection.role.protocol;
            let cut = protocol.cut(&input.bytes()[*at..], connection, self.rules.max_payload);
            match cut {
                Ok(None) => return Stop::Incomplete,
                Ok(Some(_)) if self.budget.is_share_used() => return Stop::Yield,
                Ok(Some((request, length))) => {
                    self.budget.charge(budget::FRAME);
                    // More of what was begun before, however many pieces it comes in.
                    let is_rest = matches!(request, Request::Rest { .. });
                    if !self.process(token, request, length, now) {
                        return Stop::Yield;
                    }
                    *at += length;
                    let connection = &mut self.connections[token.index()];
                    if !is_rest {
                        connection.traffic.frames += 1;
                        self.journal.processed(token);
                    }
                    if !connection.is_talking() {
                        return Stop::Closed;
                    }
                }
                Err(reason) => {
                    self.close(token, reason, now);
                    return Stop::Closed;
                }
            }
        }
    }

    /// Does what a request of so many bytes asks for. Returns whether it was done; else the
    /// connection has used up its share, and it is to be processed again.
    fn process(&mut self, token: Token, request: Request<'_>, length: usize, now: Instant) -> bool {
        let connection = &self.connections[token.index()];
        match request {
            // It may hold a secret.
            Request::Configure { .. } => trace!("CONNECT from {connection}"),
            request => trace!("{request:?} from {connection}"),
        }
        match request {
            Request::Connect { id, credentials } => self.greet(token, id, &credentials, now),
            Request::Configure { json } => return self.configure(token, json, now),
            Request::Subscribe { filter, group, sid: None } => {
                self.subscribe(token, filter, group);
            }
            Request::Subscribe { filter, group, sid: Some(sid) } => {
                self.subscribe_as(token, filter, group, sid);
            }
            Request::Unsubscribe { filter, group } => self.unsubscribe(token, filter, group),
            Request::EndSubscription { sid, behind } => self.end_by_name(token, sid, behind),
            Request::Unroutable { subject, reply } => {
                return self.process_unroutable(token, subject, reply, length);
            }
            Request::Ping { body } => {
                self.answer(token, Notice::Pong { body });
                if let Some(session) = &mut self.connections[token.index()].nats {
                    session.has_ponged = true;
                }
            }
            Request::Denied { topic } => self.refuse_message(token, topic),
            // Its arrival is the sign of life that it stands for.
            Request::Pong => self.hub_has_answered(token),
            Request::Ignored => {}
            Request::NotCarried { behind } => {
                self.count_not_carried();
                self.skip(token, |skip| skip + behind);
            }
            Request::Rest { bytes } => self.skip(token, |skip| skip - bytes),
            Request::Interest { filter, group } => {
                self.hear_interest(token, filter, group, now);
            }
            Request::EndInterest { filter, group } => self.hear_end(token, filter, group),
            Request::HubInfo { json } => self.hear_info(token, json),
            Request::HubError { text } => self.hear_error(token, text),
            Request::Refused { about, refusal } => self.refuse(token, about, refusal),
            Request::BadTopic { topic, error } => {
                let connection = &self.connections[token.index()];
                debug!("bad topic {:?} from {connection}: {error}", String::from_utf8_lossy(topic));
                self.refuse(token, topic, Refusal::BadTopic(error));
            }
        }
        true
    }

    fn greet(&mut self, token: Token, id: &str, credentials: &Credentials<'_>, now: Instant) {
        self.connections[token.index()].set_id(id);
        if let Err(reason) = self.log_in(token, credentials) {
            return self.close(token, reason, now);
        }
        let connection = &mut self.connections[token.index()];
        connection.state = State::Open;
        connection.update_room(&self.rules);
        connection.showed_life(now);
        self.report_connected(token, now);
        let mut bytes = Vec::new();
        let (max_payload, heartbeat) = (self.rules.max_payload, self.rules.heartbeat);
        let welcome = Notice::Welcome { id: &self.id, max_payload, heartbeat };
        self.connections[token.index()].role.protocol.say(welcome, &mut bytes);
        self.push_own(token, &bytes, Own::Answer);
        // The heartbeat may be shorter than what is left of the hello time-out.
        self.arm(token);
    }

    fn subscribe(&mut self, token: Token, filter: &[u8], group: Option<&[u8]>) {
        if self.index.holds(token, filter, group) {
            return;
        }
        if !self.may_subscribe(token, filter, group) {
            return self.refuse_subscription(token, filter, group);
        }
        if let Some(text) = self.one_too_many(token, group) {
            return self.refuse(token, filter, Refusal::TooMany(text));
        }
        self.add_subscription(token, filter, group, Encoding::Native);
    }

    pub(super) fn add_subscription(
        &mut self,
        token: Token,
        filter: &[u8],
        group: Option<&[u8]>,
        encoding: Encoding,
    ) {
        let connection = &self.connections[token.index()];
        debug!("subscribed: {connection}: {}", Shown { filter, group });
        self.index.subscribe(token, filter, group, encoding, &mut self.budget);
        // A publisher that waits for the group may give its message to this member.
        if let Some(group) = group.and_then(|name| self.index.group(name)) {
            self.waits.wake(Obstacle::Group(group), &mut self.schedule);
        }
    }

    fn unsubscribe(&mut self, token: Token, filter: &[u8], group: Option<&[u8]>) {
        // A publisher that waits for the group may find that it has no member left.
        if let Some(group) = group.and_then(|name| self.index.group(name)) {
            self.waits.wake(Obstacle::Group(group), &mut self.schedule);
        }
        let connection = &self.connections[token.index()];
        debug!("unsubscribed: {connection}: {}", Shown { filter, group });
        self.index.unsubscribe(token, filter, group, Encoding::Native, &mut self.budget);
    }

    /// Why a connection may not have one subscription more.
    pub(super) fn one_too_many(&self, token: Token, group: Option<&[u8]>) -> Option<&'static str> {
        let held = self.index.held(token);
        let names_another = || {
            let group = group.map(|name| self.index.group(name));
            group.is_some_and(|it| it.is_none_or(|group| !self.index.is_member(group, token)))
        };
        if held.subscriptions >= self.rules_of(token).max_subscriptions {
            Some("this connection has as many subscriptions as it may")
        } else if held.groups >= MAX_GROUPS && names_another() {
            Some("this connection is in as many queue groups as it may be, 1,000")
        } else if held.bytes > MAX_SUBSCRIPTION_BYTES {
            Some("the subscriptions of this connection take up too much memory")
        } else if self.index.bytes() > self.rules.memory_bytes.max(MIN_INDEX_BYTES) {
            Some("the subscriptions of all connections take up too much memory")
        } else {
            None
        }
    }

    pub(super) fn refuse(&mut self, token: Token, about: &[u8], refusal: Refusal<'_>) {
        self.answer(token, Notice::Refused { about, refusal });
    }

    /// Answers what a client sent.
    pub(super) fn answer(&mut self, token: Token, notice: Notice<'_>) {
        self.say(token, notice, Own::Answer);
    }

    /// Queues a notice, as an answer or not.
    pub(crate) fn say(&mut self, token: Token, notice: Notice<'_>, own: Own) {
        let mut bytes = Vec::new();
        self.connections[token.index()].role.protocol.say(notice, &mut bytes);
        if !bytes.is_empty() {
            self.push_own(token, &bytes, own);
        }
    }

    pub(crate) fn push_own(&mut self, token: Token, bytes: &[u8], own: Own) {
        let connection = &mut self.connections[token.index()];
        connection.outbox.push_own(&self.pool, bytes, own);
        connection.update_room(&self.rules);
        self.schedule.mark_dirty(token);
    }
}

/// A subscription for the log, with anything odd in its names made visible.
struct Shown<'a> {
    filter: &'a [u8],
    group: Option<&'a [u8]>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.filter))?;
        match self.group {
            Some(group) => write!(f, " in queue group {:?}", String::from_utf8_lossy(group)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
