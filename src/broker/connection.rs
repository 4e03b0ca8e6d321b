//! One peer: its role, how far its conversation is, what it sent and what waits for it.
//!
//! Owns the state and answers questions about it. Transitions that touch other connections are
//! made by [`Broker`](super::Broker).

use std::fmt;
use std::num::NonZeroU64;
use std::time::Instant;

use super::Token;
use super::close_reason::CloseReason;
use super::full_groups::Membership;
use super::inbox::Inbox;
use super::outbox::Outbox;
use super::topic_index::GroupKey;
use wire::native::frame::Reader;

/// What a connection is for; its port decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sends messages.
    Publisher,
    /// Receives messages.
    Subscriber,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Publisher => "publisher",
            Role::Subscriber => "subscriber",
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
}

/// A publisher that waits for an outbox to drain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) publisher: Token,
    /// Tells this wait from those of former owners of the token and from waits that are over.
    pub(crate) epoch: NonZeroU64,
}

/// A publisher's wait for a queue group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct GroupWait {
    pub(crate) group: GroupKey,
    /// Its place among those who wait for the same group.
    pub(crate) place: usize,
}

/// What there is to know of a subscriber that others wait for.
pub(crate) struct HoldingUp {
    pub(crate) since: Instant,
    /// Bytes that its socket took since then.
    pub(crate) taken: u64,
    /// The publishers that wait for it alone.
    pub(crate) waiters: Vec<Waiter>,
    /// The queue groups that are waited for and have it as a member. Both lists are empty if it is
    /// memory that everybody waits for.
    pub(crate) groups: Vec<Membership>,
}

/// What went over a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames of any kind that it sent and that were carried out, refused ones included.
    pub frames: u64,
    /// Messages that a publisher sent, or that were queued for a subscriber.
    pub messages: u64,
    /// Bytes of those messages, as frames.
    pub bytes: u64,
}

/// What only connections have that were too slow for others or had to wait for them. Most never
/// do, so it lies apart.
#[derive(Default)]
pub(crate) struct Trouble {
    /// Outboxes that this publisher waits for.
    pub(crate) waits_for: u32,
    /// The wait for any member of a queue group.
    pub(crate) group_wait: Option<GroupWait>,
    /// While memory is full: since when it could have ended the frame that it has begun.
    pub(crate) unfinished_since: Option<Instant>,
    /// Messages not delivered to it that it was not told of yet.
    pub(crate) lost: u64,
    /// Messages that the policy `drop` kept from a subscriber.
    pub(crate) dropped: u64,
    /// Messages that were still queued when the connection ended.
    pub(crate) undelivered: u64,
}

/// One peer.
pub struct Connection {
    pub(crate) role: Role,
    pub(crate) state: State,
    /// The client's address, and behind it the id that it gave itself.
    names: Box<str>,
    address_len: u16,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox,
    /// The socket is not known to be full.
    pub(crate) writable: bool,
    /// It stands in the list of outboxes to flush.
    pub(crate) dirty: bool,
    /// It stands in the list of those that hold chunks from one turn to the next.
    pub(crate) backlogged: bool,
    /// Over the limit of connections: told so and closed.
    pub(crate) refused: bool,
    /// The client has closed its sending side.
    pub(crate) input_ended: bool,
    /// Not read until the answers in its outbox are fewer.
    pub(crate) awaits_answers: bool,
    /// Not read until there is memory.
    pub(crate) starved: bool,
    /// It may end the frame that it has begun though memory is full.
    pub(crate) rescued: bool,
    pub(crate) epoch: NonZeroU64,
    pub(crate) holding_up: Option<Box<HoldingUp>>,
    trouble: Option<Box<Trouble>>,
    /// When the state that its next deadline counts from began: it connected; it last showed a
    /// sign of life, or was asked for one; its closing was decided.
    pub(crate) since: Instant,
    /// When it connected, in tenths of a second since the first connection did.
    pub(crate) connected: u32,
    /// Bytes that waited for it at most, as of the last write.
    pub(crate) highest_queue: usize,
    /// It was asked for a sign of life.
    pub(crate) pinged: bool,
    /// The earliest entry for it among the deadlines.
    pub(crate) armed: Option<Instant>,
    pub(crate) reason: Option<CloseReason>,
    pub(crate) traffic: Traffic,
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
            writable: true,
            dirty: false,
            backlogged: false,
            refused: false,
            input_ended: false,
            awaits_answers: false,
            starved: false,
            rescued: false,
            epoch,
            holding_up: None,
            trouble: None,
            since: now,
            connected: 0,
            highest_queue: 0,
            pinged: false,
            armed: None,
            reason: None,
            traffic: Traffic::default(),
        }
    }

    /// Where the client is.
    pub(crate) fn address(&self) -> &str {
        &self.names[..self.address_len.into()]
    }

    /// What the client calls itself; empty before HELLO.
    pub(crate) fn id(&self) -> &str {
        &self.names[self.address_len.into()..]
    }

    pub(crate) fn set_id(&mut self, id: &str) {
        self.names = [self.address(), id].concat().into();
    }

    /// What troubles it, if anything ever did.
    pub(crate) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_deref()
    }

    pub(crate) fn trouble_mut(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert_default()
    }

    /// The queue group that it waited for, as it does no more.
    pub(crate) fn take_group_wait(&mut self) -> Option<GroupWait> {
        self.trouble.as_mut()?.group_wait.take()
    }

    /// It waits for no outbox any more, and `undelivered` messages more will not reach it.
    pub(crate) fn end_waits(&mut self, undelivered: u64) {
        if undelivered > 0 || self.is_paused() {
            let trouble = self.trouble_mut();
            trouble.waits_for = 0;
            trouble.undelivered += undelivered;
        }
    }

    /// Messages that were still queued when the connection ended.
    pub(crate) fn undelivered(&self) -> u64 {
        self.trouble().map_or(0, |trouble| trouble.undelivered)
    }

    /// Messages not delivered to it that it was not told of yet.
    pub(crate) fn lost(&self) -> u64 {
        self.trouble().map_or(0, |trouble| trouble.lost)
    }

    /// What may come next.
    pub(crate) fn reader(&self) -> Reader {
        match (self.state, self.role) {
            (State::Handshake, _) => Reader::BrokerBeforeHello,
            (_, Role::Publisher) => Reader::BrokerFromPublisher,
            (_, Role::Subscriber) => Reader::BrokerFromSubscriber,
        }
    }

    /// Whether the conversation still goes on.
    pub(crate) fn is_talking(&self) -> bool {
        matches!(self.state, State::Handshake | State::Open)
    }

    /// Whether a publisher waits for outboxes.
    pub(crate) fn is_paused(&self) -> bool {
        self.trouble().is_some_and(|it| it.waits_for > 0 || it.group_wait.is_some())
    }

    /// Whether the broker does not read it, through no fault of its own or through its own.
    pub(crate) fn is_unread(&self) -> bool {
        self.is_paused() || self.awaits_answers || self.starved
    }

    pub(crate) fn forget_unfinished(&mut self) {
        if let Some(trouble) = &mut self.trouble {
            trouble.unfinished_since = None;
        }
    }

    /// Whether it has begun a frame, and it is its turn to send the rest.
    pub(crate) fn owes_the_rest(&self) -> bool {
        self.inbox.has_begun() && self.state == State::Open && !self.is_unread()
    }

    pub(crate) fn showed_life(&mut self, now: Instant) {
        if self.is_alive() {
            self.since = now;
            self.pinged = false;
        }
    }

    /// Whether signs of life are expected of it.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.state, State::Open | State::Finishing)
    }

    /// Whether this wait of the connection is not over.
    pub(crate) fn waits(&self, waiter: &Waiter) -> bool {
        self.epoch == waiter.epoch && self.trouble().is_some_and(|trouble| trouble.waits_for > 0)
    }

    /// Whether publishers wait for its outbox.
    pub(crate) fn has_waiters(&self) -> bool {
        let waits = |found: &HoldingUp| !(found.waiters.is_empty() && found.groups.is_empty());
        self.holding_up.as_deref().is_some_and(waits)
    }

    /// Whether a queue group waits for any of its members, it among them.
    pub(crate) fn is_in_full_group(&self) -> bool {
        self.last_full_group().is_some()
    }

    /// One of these groups, and the place that it has among the members.
    pub(crate) fn last_full_group(&self) -> Option<(GroupKey, usize)> {
        let last = self.holding_up.as_ref()?.groups.last()?;
        Some((last.group, last.place))
    }

    /// Others wait for it from now on, if they did not before.
    pub(crate) fn holds_up(&mut self, now: Instant) -> &mut HoldingUp {
        let (waiters, groups) = (Vec::new(), Vec::new());
        let new = || Box::new(HoldingUp { since: now, taken: 0, waiters, groups });
        self.holding_up.get_or_insert_with(new)
    }
}

/// For log lines: `publisher "p1" at 127.0.0.1:4711`, with anything odd in the id made visible.
impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} at {}", self.role, self.id(), self.address())
    }
}
