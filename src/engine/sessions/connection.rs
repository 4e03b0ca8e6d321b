//! One peer: its role, how far its conversation is, what it sent and what waits for it.
//!
//! Owns the state and answers questions about it. Transitions that touch other rooms are made by
//! the engine.

use std::fmt;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::time::Instant;

use super::leaf::LeafSession;
use super::nats::Session;
use super::protocol::Protocol;
use crate::engine::access::{Peer, Replies, User};
use crate::engine::buffers::inbox::Inbox;
use crate::engine::buffers::outbox::Outbox;
use crate::engine::close_reason::CloseReason;
use crate::engine::delivery::stall::Stall;
use crate::engine::rules::{OverflowPolicy, Rules};

/// What a connection is for and how it speaks; its listener decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// The protocol of the listener.
    pub protocol: Protocol,
    /// It may send messages.
    pub may_publish: bool,
    /// It may receive messages.
    pub may_subscribe: bool,
}

impl Role {
    /// Sends messages, in the native protocol.
    pub const PUBLISHER: Role =
        Role { protocol: Protocol::Native, may_publish: true, may_subscribe: false };
    /// Sends and receives messages, in the NATS protocol.
    pub const NATS: Role =
        Role { protocol: Protocol::Nats, may_publish: true, may_subscribe: true };
    /// Sends and receives messages, as a NATS cluster does; it was dialled.
    pub const HUB: Role = Role { protocol: Protocol::Leaf, may_publish: true, may_subscribe: true };
    /// Receives messages, in the native protocol.
    pub const SUBSCRIBER: Role =
        Role { protocol: Protocol::Native, may_publish: false, may_subscribe: true };
}

impl Role {
    /// The setting of the port that it comes through.
    pub fn key(self) -> &'static str {
        match (self.protocol, self.may_publish) {
            (Protocol::Nats, _) => "nats_port",
            (Protocol::Leaf, _) => "servers",
            (Protocol::Native, true) => "publisher_port",
            (Protocol::Native, false) => "subscriber_port",
        }
    }

    /// The setting of the Unix socket that it may come through as well.
    pub fn socket_key(self) -> &'static str {
        match (self.protocol, self.may_publish) {
            (Protocol::Nats, _) => "nats_socket",
            (Protocol::Leaf, _) => "servers",
            (Protocol::Native, true) => "publisher_socket",
            (Protocol::Native, false) => "subscriber_socket",
        }
    }

    /// Those who have it, for people.
    pub fn plural(self) -> &'static str {
        match (self.protocol, self.may_publish) {
            (Protocol::Nats, _) => "NATS clients",
            (Protocol::Leaf, _) => "hubs",
            (Protocol::Native, true) => "publishers",
            (Protocol::Native, false) => "subscribers",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.may_publish, self.may_subscribe) {
            _ if self.protocol == Protocol::Leaf => "hub",
            (true, false) => "publisher",
            (false, true) => "subscriber",
            _ => "client",
        })
    }
}

/// How far a conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// No HELLO yet.
    Handshake,
    /// HELLO was answered.
    Open,
    /// Nothing is read any more; what waits is delivered, then the connection ends.
    Finishing,
    /// The last frame is on its way; what comes is discarded.
    Closing,
    /// The sending side is shut down; what comes is discarded until the client closes.
    Discarding,
    /// To be reaped at the end of the turn.
    Gone,
    /// That of a hub whose socket is closed: it is kept, with what the hub wanted, until another
    /// one has joined.
    Adrift,
}

/// What went over a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames of any kind that it sent and that were processed, refused ones included.
    pub frames: u64,
    /// Messages that a publisher sent, or that were queued for a subscriber; what a NATS client
    /// sent is counted apart.
    pub messages: u64,
    /// Bytes of those messages, as they were sent or queued.
    pub bytes: u64,
}

/// Messages that a connection did not get. Most get all, so it lies apart.
#[derive(Default)]
pub(crate) struct Losses {
    /// Not delivered to it, and it was not told yet.
    pub(crate) untold: u64,
    /// Kept from it by the policy `drop`.
    pub(crate) dropped: u64,
    /// Still queued when the connection ended.
    pub(crate) undelivered: u64,
}

/// One peer.
pub(crate) struct Connection {
    pub(crate) role: Role,
    pub(crate) state: State,
    /// The client's address, and behind it the id that it gave itself.
    names: Box<str>,
    address_len: u16,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox,
    /// Bytes of messages that its outbox takes without a further look; 0 where one is needed.
    pub(crate) room: usize,
    /// Its outbox was found full, and has not drained since.
    pub(crate) stall: Option<Box<Stall>>,
    losses: Option<Box<Losses>>,
    /// Over the limit of connections: told so and closed.
    pub(crate) refused: bool,
    /// The client has closed its sending side.
    pub(crate) input_ended: bool,
    /// Nothing is delivered to it any more.
    pub(crate) has_left: bool,
    /// Its number among all connections since the start.
    pub(crate) epoch: NonZeroU64,
    /// When the state that its next deadline counts from began: it connected; it last showed a
    /// sign of life, or was asked for one; its closing was decided.
    pub(crate) since: Instant,
    /// When it connected, in tenths of a second since the first connection did.
    pub(crate) connected: u32,
    /// Bytes that waited for it at most, as of the last write.
    pub(crate) highest_queue: usize,
    /// How often it was asked for a sign of life since it last showed one.
    pub(crate) pings: u8,
    /// The earliest entry for it among the deadlines.
    pub(crate) armed: Option<Instant>,
    pub(crate) reason: Option<CloseReason>,
    pub(crate) traffic: Traffic,
    /// What only a NATS connection has.
    pub(crate) nats: Option<Box<Session>>,
    /// What only the connection to a hub has.
    pub(crate) leaf: Option<Box<LeafSession>>,
    /// What is known of the client without its word, if anything.
    pub(crate) peer: Option<Box<Peer>>,
    /// The user that it is, where there are users.
    pub(crate) user: Option<Rc<User>>,
    /// Replies that it may publish to once, though its user may not.
    pub(crate) replies: Option<Box<Replies>>,
    /// It is that user though it showed nothing.
    pub(crate) is_anonymous: bool,
}

impl Connection {
    pub(crate) fn new(role: Role, address: &str, epoch: NonZeroU64, now: Instant) -> Connection {
        let address_len = u16::try_from(address.len()).expect("an address is a few dozen bytes");
        Connection {
            role,
            state: State::Handshake,
            names: address.into(),
            address_len,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            room: 0,
            stall: None,
            losses: None,
            refused: false,
            input_ended: false,
            has_left: false,
            epoch,
            since: now,
            connected: 0,
            highest_queue: 0,
            pings: 0,
            armed: None,
            reason: None,
            traffic: Traffic::default(),
            nats: None,
            leaf: None,
            peer: None,
            user: None,
            replies: None,
            is_anonymous: false,
        }
    }

    /// Where the client is.
    pub(crate) fn address(&self) -> &str {
        &self.names[..self.address_len.into()]
    }

    /// Whether the client is a process of this machine, behind a Unix socket.
    pub(crate) fn is_local(&self) -> bool {
        self.address().starts_with("unix:")
    }

    /// What the client calls itself; empty before HELLO.
    pub(crate) fn id(&self) -> &str {
        &self.names[self.address_len.into()..]
    }

    pub(crate) fn set_id(&mut self, id: &str) {
        self.names = [self.address(), id].concat().into();
    }

    /// Its number, as NATS clients are told it. Their libraries take 31 bits.
    pub(crate) fn number(&self) -> u32 {
        (self.epoch.get() & 0x7FFF_FFFF) as u32
    }

    /// What it did not get, if it ever missed anything.
    pub(crate) fn losses(&self) -> Option<&Losses> {
        self.losses.as_deref()
    }

    pub(crate) fn losses_mut(&mut self) -> &mut Losses {
        self.losses.get_or_insert_default()
    }

    /// Messages not delivered to it that it was not told of yet.
    pub(crate) fn untold(&self) -> u64 {
        self.losses().map_or(0, |losses| losses.untold)
    }

    /// Messages that were still queued when the connection ended.
    pub(crate) fn undelivered(&self) -> u64 {
        self.losses().map_or(0, |losses| losses.undelivered)
    }

    /// Works out anew what its outbox takes without a further look.
    pub(crate) fn update_room(&mut self, rules: &Rules) {
        // Nearly always nothing is the matter: that costs one look at each.
        let is_odd = self.stall.is_some() || self.losses.is_some() || !self.is_given_messages();
        if is_odd && (!self.is_given_messages() || self.counts_as_full(rules) || self.untold() > 0)
        {
            self.room = 0;
            return;
        }
        self.room = self.limit(rules).saturating_sub(self.outbox.queued());
    }

    /// Whether it has a part in messages that match what it wants. A hub has from when it has
    /// joined, beyond its end.
    pub(crate) fn is_receiver(&self) -> bool {
        match (&self.leaf, self.state) {
            (None, state) => state == State::Open,
            (Some(leaf), State::Open) => leaf.has_joined(),
            (Some(leaf), state) => leaf.is_lost || state == State::Adrift,
        }
    }

    /// Whether messages for it are lost, and counted: those for a hub that is gone.
    pub(crate) fn is_lost(&self) -> bool {
        self.leaf.as_ref().is_some_and(|leaf| leaf.is_lost)
    }

    /// Whether messages for it are queued, if they find room.
    pub(crate) fn is_given_messages(&self) -> bool {
        self.is_receiver() && !self.is_lost()
    }

    /// The most bytes of headers and payload that a hub takes, if that is less than is taken here.
    pub(crate) fn most_payload(&self) -> Option<usize> {
        self.leaf.as_ref()?.max_payload
    }

    /// What becomes of messages that find no room.
    pub(crate) fn policy(&self, rules: &Rules) -> OverflowPolicy {
        match self.is_lost() {
            true => OverflowPolicy::Drop,
            false => rules.of(self.role.protocol).policy,
        }
    }

    /// Whether publishers wait for it while its outbox is full: if it blocks, or if it is a NATS
    /// client that keeps up well enough to be worth a short wait.
    pub(crate) fn holds_up(&self, rules: &Rules) -> bool {
        match self.policy(rules) {
            OverflowPolicy::Block => true,
            OverflowPolicy::Disconnect => self.nats.as_ref().is_some_and(|it| !it.is_too_slow),
            OverflowPolicy::Drop => false,
        }
    }

    /// Whether it was found full and has not drained since.
    pub(crate) fn counts_as_full(&self, rules: &Rules) -> bool {
        let blocks = self.policy(rules) == OverflowPolicy::Block;
        let stall = self.stall.as_ref();
        stall.is_some_and(|stall| blocks || !stall.for_memory) && self.holds_up(rules)
    }

    /// Bytes that may wait for it. A NATS client that would be disconnected when it has all that it
    /// may is waited for at three quarters of that, as nats-server does.
    pub(crate) fn limit(&self, rules: &Rules) -> usize {
        let most = rules.of(self.role.protocol).outbox_bytes;
        let is_nats = self.role.protocol == Protocol::Nats;
        let may_be_short = is_nats && rules.nats.policy == OverflowPolicy::Disconnect;
        if may_be_short && self.holds_up(rules) { most / 4 * 3 } else { most }
    }

    /// What went over it from the client, if it may subscribe as well.
    pub(crate) fn published(&self) -> Traffic {
        let leaf = self.leaf.as_ref().map(|session| session.published);
        self.nats.as_ref().map(|session| session.published).or(leaf).unwrap_or(self.traffic)
    }

    /// Messages of it were accepted.
    pub(crate) fn note_published(&mut self, messages: u64, bytes: u64) {
        self.traffic.frames += messages;
        let published = match (&mut self.nats, &mut self.leaf) {
            (Some(session), _) => &mut session.published,
            (None, Some(session)) => &mut session.published,
            (None, None) => &mut self.traffic,
        };
        published.messages += messages;
        published.bytes += bytes;
    }

    /// What is known of the client without its word.
    pub(crate) fn known_peer(&self) -> &Peer {
        self.peer.as_deref().unwrap_or(Peer::UNKNOWN)
    }

    /// Its user, if that may not publish to all topics.
    pub(crate) fn restricted_publisher(&self) -> Option<&Rc<User>> {
        self.user.as_ref().filter(|user| !user.publishes_all())
    }

    /// Whether it may publish to a topic since that is the reply of what it was given.
    pub(crate) fn may_reply(&self, topic: &[u8]) -> bool {
        let may = self.user.as_ref().is_some_and(|user| user.rights.allow_responses);
        may && self.replies.as_ref().is_some_and(|replies| replies.has(topic))
    }

    /// It was given messages that want their replies there.
    pub(crate) fn note_replies(&mut self, wanted: &[&[u8]]) {
        if self.user.as_ref().is_some_and(|user| user.rights.allow_responses) {
            let replies = self.replies.get_or_insert_default();
            wanted.iter().for_each(|reply| replies.note(reply));
        }
    }

    /// Whether it is given messages that it published itself.
    pub(crate) fn wants_echo(&self) -> bool {
        self.role.protocol != Protocol::Leaf
            && self.nats.as_ref().is_none_or(|session| session.echo)
    }

    /// Whether the conversation still goes on.
    pub(crate) fn is_talking(&self) -> bool {
        matches!(self.state, State::Handshake | State::Open)
    }

    /// Notes a sign of life.
    pub(crate) fn showed_life(&mut self, now: Instant) {
        if self.is_alive() {
            self.since = now;
            self.pings = 0;
        }
    }

    /// Whether signs of life are expected of it.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.state, State::Open | State::Finishing)
    }
}

/// For log lines: `publisher "p1" at 127.0.0.1:4711`, with anything odd in the id made visible.
impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} at {}", self.role, self.id(), self.address())
    }
}
