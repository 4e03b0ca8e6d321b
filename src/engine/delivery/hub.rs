//! Messages for a hub, and those that come from one.
//!
//! Owns what is particular about them: one message serves all who want it out there, plain
//! subscribers and queue groups alike, and one that comes from there names the groups that it is
//! for. Must not decide who receives.

use std::rc::Rc;

use smallvec::SmallVec;
use wire::leaf;

use super::admission::Exception;
use super::messages::Message;
use super::run::Run;
use crate::engine::buffers::chunk::Slice;
use crate::engine::routing::{GroupId, Route, RouteGroup};
use crate::engine::sessions::protocol::Protocol;
use crate::engine::token::Token;
use crate::engine::{Engine, budget};

/// What subjects of requests to streams begin with.
const STREAMS: &[u8] = b"$JS.";

/// Names of queue groups.
pub(super) type Names = SmallVec<[GroupId; 2]>;

impl Engine {
    /// Whether a message of a hub is for a queue group: it names those that it is for.
    pub(super) fn is_named(&self, group: &RouteGroup, source: &Slice, run: &Run) -> bool {
        let line = leaf::line::parse(&source.bytes()[run.start..run.end], leaf::MAX_LINE_BYTES);
        let Ok(Some((leaf::line::Line::Message(message), _))) = line else { return false };
        let mut names = message.groups;
        names.any(|name| self.index.group(name) == Some(group.group))
    }

    /// The queue groups of a route whose message goes to a member behind the hub, if there are any,
    /// and the hub.
    pub(super) fn groups_for_hub(&self, route: &Route) -> Option<(Token, Names)> {
        if route.groups.is_empty() {
            return None;
        }
        let hub = self.hub()?;
        let mut names = Names::new();
        for (group, chosen) in route.groups.iter().zip(&self.admission.members) {
            if let Some((member, None | Some(Exception::TellLost))) = chosen
                && member.token == hub
            {
                names.push(group.group);
            }
        }
        (!names.is_empty()).then_some((hub, names))
    }

    /// The way of a message whose subject has a wildcard, which is to be taken by its letters:
    /// nobody here is given it. But streams are asked for consumers so, with the consumer's filter
    /// at the end of the subject, and a hub that wants that is. Also whether that is not known yet.
    pub(super) fn route_to_hub(
        &mut self,
        publisher: Token,
        subject: &[u8],
    ) -> (Option<Rc<Route>>, bool) {
        let Some(hub) = self.hub() else { return (None, false) };
        let is_nats = self.connections[publisher.index()].role.protocol == Protocol::Nats;
        if !is_nats || !subject.starts_with(STREAMS) {
            return (None, false);
        }
        match self.index.wants(hub, subject, &mut self.budget) {
            Ok(true) => (Some(Rc::new(Route::to_hub(hub))), false),
            Ok(false) => (None, false),
            Err(_) => (None, true),
        }
    }

    /// Gives a message to the hub, for its plain subscribers and for these queue groups.
    pub(super) fn deliver_to_hub(
        &mut self,
        hub: Token,
        groups: &[GroupId],
        run: &Run,
        source: &Slice,
    ) {
        let index = &self.index;
        let names: SmallVec<[&[u8]; 2]> =
            groups.iter().map(|group| index.group_name(*group)).collect();
        let mut encoded = self.encoder.encode_for_groups(run, source, &names, &self.pool);
        names.iter().for_each(|name| self.journal.named(hub, name));
        drop(names);
        self.charge_encoded(run, encoded.made_bytes());
        self.push_to_all(&[hub], &mut encoded);
        self.encoder.take_back(encoded);
    }

    /// Messages that have waited for a hub are queued for the one that has joined, as far as it
    /// takes them. Returns how many.
    pub(crate) fn hand_over(&mut self, token: Token) -> u64 {
        let Some(before) = self.link.as_ref().and_then(|link| link.before) else { return 0 };
        let mut waiting = std::mem::take(&mut self.connections[before.index()].outbox);
        let limit = self.connections[token.index()].most_payload();
        let index = &self.index;
        let is_taken = |bytes: &[u8]| {
            let message = Message::at(bytes, Protocol::Leaf);
            limit.is_none_or(|most| message.body <= most)
                && !index.is_withheld(token, message.topic)
        };
        let connection = &mut self.connections[token.index()];
        let walk = connection.role.protocol.walk();
        let (messages, bytes, lost) = waiting.move_messages(&mut connection.outbox, walk, is_taken);
        connection.traffic.messages += messages;
        connection.traffic.bytes += bytes;
        connection.update_room(&self.rules);
        let connection = &mut self.connections[before.index()];
        connection.traffic.messages -= messages;
        connection.traffic.bytes -= bytes;
        connection.note_gone();
        self.note_undelivered(before, lost);
        self.budget.charge_turn((messages + lost) * budget::LOOK);
        self.schedule.mark_dirty(token);
        messages
    }

    /// Whether a connection is that to a hub.
    pub(super) fn is_hub(&self, token: Token) -> bool {
        self.connections[token.index()].role.protocol == Protocol::Leaf
    }

    /// Bytes of a line that names one more queue group.
    pub(super) fn name_bytes(&self, group: GroupId) -> usize {
        " + ".len() + self.index.group_name(group).len()
    }

    /// A message reaches nobody at all: if a hub that is gone wanted it, it is lost.
    pub(super) fn note_unheard_lost(&mut self, route: &Route) {
        let Some(hub) = self.hub().filter(|hub| self.connections[hub.index()].is_lost()) else {
            return;
        };
        let has_it = |group| self.index.members(group).any(|member| member.token == hub);
        if route.plain_copies(hub) > 0 || route.groups.iter().any(has_it) {
            self.note_dropped(hub, 1);
        }
    }

    /// The most bytes of headers and payload that the hub takes, if that is less than is taken
    /// here.
    pub(super) fn limit_of_hub(&self) -> Option<usize> {
        self.connections[self.hub()?.index()].most_payload()
    }

    /// Whether a queue group has members behind a hub that takes some messages and not others.
    pub(super) fn is_for_choosy_hub(&self, group: &RouteGroup) -> bool {
        let is_member = |hub| self.index.is_member(group.group, hub);
        self.limit_of_hub().is_some() && self.hub().is_some_and(is_member)
    }

    /// Whether the hub takes the first message of a run.
    pub(super) fn hub_takes(&self, source: &Slice, run: &Run) -> bool {
        let first = || Message::at(&source.bytes()[run.start..run.end], run.protocol);
        self.limit_of_hub().is_none_or(|most| first().body <= most)
    }

    /// Whether nothing but its room is to be looked at for a publisher's messages to the hub.
    pub(super) fn is_link_ordinary(&self, publisher: Token) -> bool {
        !self.is_hub(publisher) && self.limit_of_hub().is_none()
    }

    /// Whether a topic of the hub's is taken.
    pub(super) fn is_imported(&self, topic: &[u8]) -> bool {
        self.link.as_ref().is_none_or(|link| link.takes(topic))
    }
}

impl Run {
    /// The first messages whose headers and payload are as long as they may be.
    pub(super) fn while_bodies(self, source: &Slice, may_be: impl Fn(usize) -> bool) -> Run {
        let mut at = self.start;
        self.take_while(source, |part| {
            let message = Message::at(&source.bytes()[at..part.end], part.protocol);
            at = part.end;
            may_be(message.body)
        })
    }
}
