//! The link: the broker as a leaf node of a NATS cluster.
//!
//! Owns what may cross, what was told to the hub, and what is counted. A hub is a connection like
//! others: what it wants are subscriptions of that connection, what it sends is published by it,
//! and what waits for it lies in its outbox. Must not dial, nor decide when to: that is done by
//! `net`, which hears of what happens by [`LinkEvent`].

use std::time::{Duration, Instant};

use log::debug;
use wire::leaf::hub_error::HubError;
use wire::leaf::info::HubInfo;
use wire::leaf::line::Line;
use wire::leaf::permissions::Permissions;
use wire::leaf::subject::LOOP_MARK_PREFIX;

use self::interest::Told;
use super::Engine;
use super::access::{Grants, credentials};
use super::buffers::chunk::Own;
use super::close_reason::CloseReason;
use super::sessions::LeafSession;
use super::sessions::connection::{Connection, Role, State};
use super::sessions::protocol::Notice;
use super::token::Token;

mod absence;
mod interest;

/// How long messages may wait to be confirmed: then the hub is asked whether it has taken them.
const CONFIRM_TIME: Duration = Duration::from_secs(1);

/// What may cross the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRules {
    /// Topics that may be sent to the hub.
    pub export: Grants,
    /// Topics that are taken from the hub, and asked for.
    pub import: Grants,
    /// Filters of topics that are sent though the hub does not ask for them.
    pub forward: Box<[Box<[u8]>]>,
}

/// A hub that was dialled, and has introduced itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    /// What it calls itself, for people.
    pub name: String,
    /// The line by which the broker introduces itself, with its end.
    pub connect: Vec<u8>,
    /// The most bytes of headers and payload that the hub takes.
    pub max_payload: usize,
}

/// What happened on the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// The hub has answered behind all that was told: the link is up. So many messages waited for
    /// that.
    Joined(u64),
    /// The hub tells of itself or its cluster.
    Info(Box<HubInfo>),
    /// The hub tells an error: its text, and what it means.
    Error(Box<[u8]>, HubError),
    /// The connection has ended. Nothing comes behind it.
    Ended(CloseReason),
}

/// What went over the link since the start, and how it is now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkFigures {
    /// The hub has answered behind all that was told.
    pub is_up: bool,
    /// Times that it came up.
    pub joins: u64,
    /// Messages that were queued for the hub.
    pub messages_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Messages that came from the hub.
    pub messages_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Messages for the hub that it did not get: there was no room, they are larger than it takes,
    /// the link was down, or they were queued when it ended.
    pub lost: u64,
    /// Messages that were written to the hub, behind which it has not answered yet.
    pub unconfirmed: u64,
    /// Messages that wait for a hub while there is none.
    pub waiting: u64,
    /// Messages and filters of the hub that break a rule of topics here, or are larger than may be
    /// taken.
    pub not_carried: u64,
    /// Filters that the hub was told of.
    pub told: u64,
    /// Filters that the hub has told of.
    pub heard: u64,
}

/// The link, as long as one is configured.
pub(crate) struct Link {
    rules: LinkRules,
    /// The connection to a hub.
    pub(crate) current: Option<Token>,
    /// The connection before, whose socket is closed: it is kept for what its hub wanted, until
    /// another one has joined. Messages for it wait for that, or are lost and counted.
    pub(crate) before: Option<Token>,
    told: Told,
    /// By this a way that leads back here is found out.
    pub(super) mark: Box<[u8]>,
    /// All is taken that the hub sends, as far as it was not told to send less.
    takes_all: bool,
    events: Vec<LinkEvent>,
    joins: u64,
    /// Of connections that are not kept.
    ended: LinkFigures,
    not_carried: u64,
    /// It is sent everything, as it wants more than can be kept.
    is_folded: bool,
}

impl Link {
    fn new(rules: LinkRules) -> Link {
        let nonce = credentials::new_nonce().unwrap_or_default();
        Link {
            takes_all: rules.import.allow.iter().any(|filter| **filter == *b">"),
            rules,
            current: None,
            before: None,
            told: Told::default(),
            mark: [LOOP_MARK_PREFIX, nonce.as_bytes()].concat().into(),
            events: Vec::new(),
            joins: 0,
            ended: LinkFigures::default(),
            not_carried: 0,
            is_folded: false,
        }
    }

    /// Whether a topic of the hub's is taken. What is denied, it is told not to send.
    pub(crate) fn takes(&self, topic: &[u8]) -> bool {
        self.takes_all || self.rules.import.has(topic)
    }

    /// What may be sent to the hub by the rules, if that is not everything.
    fn export(&self) -> impl Iterator<Item = Grants> + use<> {
        Some(self.rules.export.clone()).filter(|export| !export.is_everything()).into_iter()
    }
}

impl Engine {
    /// What may cross the link from now on; `None`: there is none. A connection to a hub that is
    /// there ends. Call it between turns, and end the turn behind it.
    pub fn set_link(&mut self, rules: Option<LinkRules>, now: Instant) {
        if self.link.as_ref().map(|link| &link.rules) == rules.as_ref() {
            return;
        }
        self.forget_hub_of_before();
        if let Some(current) = self.link.as_mut().and_then(|link| link.current.take()) {
            self.close(current, CloseReason::Shutdown, now);
        }
        self.index.watch_interest(rules.is_some());
        self.link = rules.map(|rules| Box::new(Link::new(rules)));
    }

    /// What went over the link; `None`: there is none.
    pub fn link_figures(&self) -> Option<LinkFigures> {
        let link = self.link.as_ref()?;
        let mut figures = LinkFigures {
            joins: link.joins,
            not_carried: link.not_carried,
            ..LinkFigures::default()
        };
        figures.add(&link.ended);
        if let Some(before) = link.before {
            figures.add(&LinkFigures::of(&self.connections[before.index()]));
        }
        // One that is about to close is both.
        if let Some(hub) = link.current.filter(|hub| link.before != Some(*hub)) {
            let connection = &self.connections[hub.index()];
            figures.add(&LinkFigures::of(connection));
            figures.is_up = connection.leaf.as_ref().is_some_and(|leaf| leaf.has_joined());
            figures.told = link.told.len() as u64;
            figures.heard = self.index.held(hub).subscriptions as u64;
        }
        Some(figures)
    }

    /// What happened on the link since this was asked last.
    pub fn take_link_events(&mut self) -> Vec<LinkEvent> {
        self.link.as_mut().map(|link| std::mem::take(&mut link.events)).unwrap_or_default()
    }

    /// A hub was dialled: it is told who comes, and what is wanted here.
    pub(crate) fn join(&mut self, hub: Hub, address: &str, now: Instant) -> Token {
        let token = self.insert(Role::HUB, address, now);
        let connection = &mut self.connections[token.index()];
        connection.set_id(&hub.name);
        connection.state = State::Open;
        let due = now + self.rules.hello;
        let max_payload = Some(hub.max_payload).filter(|max| *max < self.rules.max_payload);
        let session = LeafSession { join_due: Some(due), max_payload, ..LeafSession::default() };
        connection.leaf = Some(Box::new(session));
        connection.update_room(&self.rules);
        let mut lines = hub.connect;
        if let Some(link) = &mut self.link {
            link.current = Some(token);
            link.is_folded = false;
            link.told = Told::default();
            Line::Interest { filter: &link.mark, group: None }.write(&mut lines);
            self.index.export(token, link.export().collect());
        }
        self.push_own(token, &lines, Own::Answer);
        self.arm(token);
        token
    }

    /// Tells the hub what has changed, and sees to it that it confirms what it was sent.
    pub(crate) fn end_turn_of_link(&mut self, now: Instant) {
        let Some(hub) = self.link.as_ref().and_then(|link| link.current) else { return };
        if self.connections[hub.index()].state != State::Open {
            return;
        }
        let is_told = self.tell_interest(hub);
        let connection = &mut self.connections[hub.index()];
        let messages = connection.traffic.messages;
        let Some(session) = &mut connection.leaf else { return };
        if !session.asked.is_empty() {
            return;
        }
        if !session.has_joined() && is_told {
            // The answer says that all of it is in force.
            self.ask_hub(hub);
        } else if session.has_joined() && session.ask_due.is_none() && messages > session.confirmed
        {
            session.ask_due = Some(now + CONFIRM_TIME);
            self.arm(hub);
        }
    }

    fn ask_hub(&mut self, hub: Token) {
        self.connections[hub.index()].note_asked();
        self.say(hub, Notice::Ping, Own::Answer);
    }

    /// What is due for a hub is done.
    pub(crate) fn check_link(&mut self, token: Token, now: Instant) {
        let connection = &mut self.connections[token.index()];
        let is_open = connection.state == State::Open;
        let Some(session) = connection.leaf.as_mut().filter(|_| is_open) else { return };
        if session.join_due.is_some_and(|due| due <= now) {
            self.close(token, CloseReason::HelloTimeout, now);
        } else if session.ask_due.is_some_and(|due| due <= now) {
            session.ask_due = None;
            self.ask_hub(token);
        }
    }

    /// A PONG has come.
    pub(crate) fn hub_has_answered(&mut self, token: Token) {
        let connection = &mut self.connections[token.index()];
        let Some(session) = &mut connection.leaf else { return };
        let Some(messages) = session.asked.pop_front() else { return };
        session.confirmed = messages;
        if session.join_due.take().is_some() {
            self.hub_has_joined(token);
        }
    }

    /// All that is wanted here is in force, and so is what the hub has told: it gets what has
    /// waited for that, and what comes.
    fn hub_has_joined(&mut self, token: Token) {
        self.connections[token.index()].update_room(&self.rules);
        let waited = self.hand_over(token);
        self.forget_hub_of_before();
        self.wake_groups_of(token);
        if let Some(link) = &mut self.link {
            link.joins += 1;
            link.events.push(LinkEvent::Joined(waited));
        }
    }

    /// The hub tells of itself.
    pub(crate) fn hear_info(&mut self, token: Token, json: &[u8]) {
        let (Some(link), Some(info)) = (&mut self.link, HubInfo::parse(json)) else { return };
        let (is_answer, import) = (info.connect_info, info.import.clone());
        let theirs = Some(&info.export).filter(|it| !it.is_everything()).map(grants);
        link.events.push(LinkEvent::Info(Box::new(info)));
        if is_answer {
            // A hub closes a link that asks for more than it allows, so all waits for this.
            link.told.begin(import);
            let forward = link.rules.forward.clone();
            let export = link.export().chain(theirs).collect();
            self.index.export(token, export);
            forward.iter().for_each(|filter| self.want(token, filter, None));
            // Publishers may give it now what it was not to be given, or another member.
            self.wake_groups_of(token);
        }
    }

    /// The hub tells an error; if it is one that ends the link, the hub ends it.
    pub(crate) fn hear_error(&mut self, token: Token, text: &[u8]) {
        debug!("{} says {:?}", self.connections[token.index()], String::from_utf8_lossy(text));
        if let Some(link) = &mut self.link {
            link.events.push(LinkEvent::Error(text.into(), HubError::of(text)));
        }
    }

    /// So many bytes of the hub's are to be read over, given how many were.
    pub(crate) fn skip(&mut self, token: Token, bytes: impl FnOnce(usize) -> usize) {
        if let Some(session) = &mut self.connections[token.index()].leaf {
            session.skip = bytes(session.skip);
        }
    }

    /// The hub says what is not carried here.
    pub(crate) fn count_not_carried(&mut self) {
        if let Some(link) = &mut self.link {
            link.not_carried += 1;
        }
    }

    /// The connection that messages for the hub are for, if there is one.
    pub(crate) fn hub(&self) -> Option<Token> {
        let link = self.link.as_ref()?;
        let mut hubs = [link.before, link.current].into_iter().flatten();
        hubs.find(|hub| self.connections[hub.index()].is_receiver())
    }

    /// The figures of a connection are those of one that has ended, and change no more.
    fn count_ended(&mut self, token: Token) {
        let connection = &mut self.connections[token.index()];
        let figures = LinkFigures::of(connection);
        connection.leaf = None;
        if let Some(link) = &mut self.link {
            link.ended.add(&figures);
        }
    }

    /// A connection has ended, maybe that to the hub.
    pub(crate) fn link_has_ended(&mut self, token: Token, reason: CloseReason) {
        let Some(link) = self.link.as_mut().filter(|link| link.current == Some(token)) else {
            return;
        };
        link.current = None;
        link.events.push(LinkEvent::Ended(reason));
        if !self.is_memory_of_hub(token) {
            self.count_ended(token);
        }
    }
}

impl LinkFigures {
    /// Those of one connection.
    fn of(connection: &Connection) -> LinkFigures {
        let Some(session) = &connection.leaf else { return LinkFigures::default() };
        let dropped = connection.losses().map_or(0, |losses| losses.dropped);
        let undelivered = connection.undelivered();
        let messages = connection.traffic.messages;
        let waiting = session.gone.map_or(0, |gone| messages - gone);
        LinkFigures {
            messages_out: messages,
            bytes_out: connection.traffic.bytes,
            messages_in: session.published.messages,
            bytes_in: session.published.bytes,
            lost: dropped + undelivered,
            unconfirmed: (messages - session.confirmed).saturating_sub(undelivered + waiting),
            waiting,
            ..LinkFigures::default()
        }
    }

    fn add(&mut self, other: &LinkFigures) {
        self.messages_out += other.messages_out;
        self.bytes_out += other.bytes_out;
        self.messages_in += other.messages_in;
        self.bytes_in += other.bytes_in;
        self.lost += other.lost;
        self.unconfirmed += other.unconfirmed;
        self.waiting += other.waiting;
    }
}

impl Connection {
    /// A hub is asked for a sign of life: when it answers, it has taken all before that.
    pub(crate) fn note_asked(&mut self) {
        let messages = self.traffic.messages;
        if let Some(session) = &mut self.leaf {
            session.asked.push_back(messages);
        }
    }
}

/// A list of the hub's, as grants.
fn grants(permissions: &Permissions) -> Grants {
    let filters = |list: &[String]| list.iter().map(|it| it.as_bytes().into()).collect::<Vec<_>>();
    // Replies on their way between clusters are free of it.
    let free = [&b"_GR_.>"[..], b"$GR.>"].map(Box::from);
    let allow = match &permissions.allow {
        Some(allow) => filters(allow).into_iter().chain(free).collect(),
        None => [Box::from(&b">"[..])].into(),
    };
    Grants { allow, deny: filters(&permissions.deny).into() }
}

#[cfg(test)]
mod tests;
