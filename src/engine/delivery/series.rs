//! A series: adjacent runs that go to the same NATS clients under different names.
//!
//! NATS clients name each of their subscriptions, so the same receivers get each topic in another
//! encoding. Owns such runs, encoded one behind the other, until each receiver is given all of them
//! at once: looking at the receivers and queueing for them costs once for a series, and not for
//! each message. What is out of the ordinary in any way takes the way of a single run. Must not be
//! left open: while it is, the outboxes of its receivers are not yet what they are said to be.

use std::rc::Rc;

use wire::Encoding;

use super::encodings::{Encoded, is_shared_body};
use super::run::Run;
use super::waits::Obstacle;
use crate::engine::buffers::chunk::{LARGEST_COPY, Slice};
use crate::engine::routing::Route;
use crate::engine::routing::route::Audience;
use crate::engine::sessions::requests::Stop;
use crate::engine::token::Token;
use crate::engine::{Engine, budget};

/// The series that is open, if one is. Kept from one to the next for its buffer.
#[derive(Default)]
pub(crate) struct Series {
    /// The route of its first run.
    route: Option<Rc<Route>>,
    /// Bytes that it may have: what the receiver with the least room takes, what fits into a room
    /// for copies, and what may be written to all receivers for the share that its publisher has.
    room: usize,
    /// What each receiver is to be given.
    bytes: Vec<u8>,
    messages: u64,
    /// Bytes that its publisher sent.
    published: usize,
    runs: u64,
}

impl Series {
    fn has_receivers_of(&self, audience: &Audience) -> bool {
        let of = |route: &Rc<Route>| route.plain[0].receivers == audience.receivers;
        self.route.as_ref().is_some_and(of)
    }

    fn has_room_for(&self, bytes: usize) -> bool {
        self.bytes.len() + bytes <= self.room
    }
}

impl Engine {
    /// Takes a run into the series, if need be into a new one. Returns whether it did; if not, no
    /// series is open.
    ///
    /// # Errors
    /// The publisher cannot go on behind what it has sent before.
    pub(super) fn join_series(
        &mut self,
        publisher: Token,
        source: &Slice,
        run: &Run,
        route: &Rc<Route>,
    ) -> Result<bool, Stop> {
        let audience = plain_audience(route, run);
        if audience.is_none() && self.series.route.is_none() {
            return Ok(false);
        }
        if let Some(audience) = audience
            && self.series.has_receivers_of(audience)
            && self.append_to_series(publisher, source, run, audience)
        {
            return Ok(true);
        }
        self.close_series(publisher).map_or(Ok(()), Err)?;
        let is_ordinary = |it: &&Audience| self.is_ordinary(publisher, it.encoding);
        let Some(audience) = audience.filter(is_ordinary) else {
            return Ok(false);
        };
        self.series.room = self.room_for_series(&audience.receivers);
        let has_joined = self.append_to_series(publisher, source, run, audience);
        self.series.route = has_joined.then(|| route.clone());
        Ok(has_joined)
    }

    /// Whether nothing but the room of its receivers is to be looked at for a publisher's messages.
    fn is_ordinary(&self, publisher: Token, encoding: Encoding) -> bool {
        if encoding == Encoding::Leaf && !self.is_link_ordinary(publisher) {
            return false;
        }
        let session = self.connections[publisher.index()].nats.as_ref();
        session.is_none_or(|session| session.echo && !session.verbose)
            && !self.access.has_responders()
            && (self.rules.only_block() || !self.memory_is_scarce())
    }

    fn room_for_series(&self, receivers: &[Token]) -> usize {
        let share = self.budget.left_of_share() * budget::WRITTEN_BYTES / receivers.len() as u64;
        let most = LARGEST_COPY.min(share as usize);
        let rooms = receivers.iter().map(|token| self.connections[token.index()].room);
        rooms.fold(most, usize::min)
    }

    fn append_to_series(
        &mut self,
        publisher: Token,
        source: &Slice,
        run: &Run,
        audience: &Audience,
    ) -> bool {
        // Hardly ever is it shorter in NATS than it was.
        if !self.series.has_room_for(run.len()) {
            return false;
        }
        let before = self.series.bytes.len();
        let sid = self.index.sid_text(audience.encoding);
        self.encoder.append(run, source, audience.encoding, &sid, &mut self.series.bytes);
        if !self.series.has_room_for(0) {
            self.series.bytes.truncate(before);
            return false;
        }
        let length = self.series.bytes.len() - before;
        self.charge_encoded(run, length);
        self.series.messages += run.messages;
        self.series.published += run.len();
        self.series.runs += 1;
        self.journal.delivered(publisher, run.messages, audience.receivers.len());
        for &id in &audience.subscriptions {
            let ends = self.index.note_delivered(id, run.messages);
            debug_assert!(!ends, "a route tells of subscriptions that end");
        }
        true
    }

    /// Gives the receivers of the open series, if there is one, what is in it.
    pub(super) fn close_series(&mut self, publisher: Token) -> Option<Stop> {
        let route = self.series.route.take()?;
        let messages = std::mem::take(&mut self.series.messages);
        let published = std::mem::take(&mut self.series.published);
        let runs = std::mem::take(&mut self.series.runs);
        self.journal.joined(publisher, runs, route.receivers());
        self.note_published(publisher, messages, published);
        let mut encoded = Encoded::made(messages, &mut self.series.bytes, &self.pool);
        self.push_to_all(&route.plain[0].receivers, &mut encoded);
        if let Some(buffer) = encoded.into_buffer() {
            self.series.bytes = buffer;
        }
        self.end_wait(publisher);
        self.is_beyond_memory(publisher).then(|| {
            self.park(publisher, Obstacle::Memory, None);
            Stop::Parked
        })
    }
}

/// The receivers of a route, if a run may be a part of a series.
fn plain_audience<'a>(route: &'a Route, run: &Run) -> Option<&'a Audience> {
    let [audience] = &route.plain[..] else { return None };
    let is_nats = audience.encoding != Encoding::Native;
    let is_plain = route.groups.is_empty() && !route.needs_look;
    (is_nats && is_plain && !is_shared_body(run)).then_some(audience)
}
