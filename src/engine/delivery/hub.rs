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
use crate::engine::Engine;
use crate::engine::buffers::chunk::Slice;
use crate::engine::routing::{GroupId, Route, RouteGroup};
use crate::engine::sessions::connection::State;
use crate::engine::sessions::protocol::Protocol;
use crate::engine::token::Token;

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
        let hub = self.link.as_ref()?.current?;
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
        let Some(hub) = self.link.as_ref().and_then(|link| link.current) else {
            return (None, false);
        };
        let is_nats = self.connections[publisher.index()].role.protocol == Protocol::Nats;
        let is_for_streams = is_nats && subject.starts_with(STREAMS);
        if !is_for_streams || self.connections[hub.index()].state != State::Open {
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

    /// Messages do not reach a receiver that is not there: those for a hub that has gone are lost.
    pub(super) fn note_lost(&mut self, publisher: Token, receiver: Token, messages: u64) {
        let is_from_hub = self.is_hub(publisher);
        if let Some(link) = &mut self.link
            && link.before == Some(receiver)
            && !is_from_hub
        {
            link.lost += messages;
        }
    }

    fn is_hub(&self, token: Token) -> bool {
        self.connections[token.index()].role.protocol == Protocol::Leaf
    }

    /// Messages to a queue group reach nobody: if it has members behind the hub, which is gone or
    /// takes none as large, they are lost.
    pub(super) fn note_group_lost(&mut self, publisher: Token, group: &RouteGroup, messages: u64) {
        if self.is_hub(publisher) || !self.is_for_a_hub(group) {
            return;
        }
        if let Some(link) = &mut self.link {
            link.lost += messages;
        }
    }

    /// Whether any member of a group whose filter matches is behind the hub, or one that has gone.
    fn is_for_a_hub(&self, group: &RouteGroup) -> bool {
        let Some(link) = &self.link else { return false };
        let is_open = |hub: &Token| self.connections[hub.index()].state == State::Open;
        let hubs = [link.before, link.current.filter(is_open)];
        self.index.members(group).any(|member| hubs.contains(&Some(member.token)))
    }

    /// Bytes of a line that names one more queue group.
    pub(super) fn name_bytes(&self, group: GroupId) -> usize {
        " + ".len() + self.index.group_name(group).len()
    }

    /// Messages reach nobody at all: if a hub that is gone wanted them, they are lost.
    pub(super) fn note_unheard_lost(&mut self, publisher: Token, route: &Route, messages: u64) {
        let Some(before) = self.link.as_ref().and_then(|link| link.before) else { return };
        let is_member = |group: &RouteGroup| self.is_for_a_hub(group);
        if route.plain_copies(before) > 0 || route.groups.iter().any(is_member) {
            self.note_lost(publisher, before, messages);
        }
    }

    /// The most bytes of headers and payload that the hub takes, if that is less than is taken
    /// here.
    pub(super) fn limit_of_hub(&self) -> Option<usize> {
        self.link.as_ref()?.max_payload
    }

    /// Whether a queue group has members behind a hub that takes some messages and not others.
    pub(super) fn is_for_choosy_hub(&self, group: &RouteGroup) -> bool {
        let hub = self.link.as_ref().and_then(|link| link.current);
        let is_member = |hub| self.index.is_member(group.group, hub);
        self.limit_of_hub().is_some() && hub.is_some_and(is_member)
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
