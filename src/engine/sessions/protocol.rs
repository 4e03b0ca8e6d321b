//! What clients ask for and what they are told, whatever protocol they speak.
//!
//! Owns the two vocabularies, requests and notices, and which protocol turns them from and into
//! bytes. A new protocol is a variant of [`Protocol`], a file beside `native`, and an encoding.

use std::time::Duration;

use wire::nats::error_text::Because;
use wire::nats::info::Info;
use wire::topic::TopicError;

use super::connection::Connection;
use super::{leaf, native, nats};
use crate::engine::access::Credentials;
use crate::engine::buffers::outbox::Walk;
use crate::engine::close_reason::CloseReason;

/// A protocol that clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Our own, version 1.
    Native,
    /// That of NATS clients.
    Nats,
    /// That of links to a NATS hub.
    Leaf,
}

/// What a client asks for, messages aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request<'a> {
    /// It introduces itself, and says who it is.
    Connect { id: &'a str, credentials: Credentials<'a> },
    /// The same in NATS, with what it wants, as JSON; it may do so again.
    Configure { json: &'a [u8] },
    /// It subscribes to a filter, in a queue group if one is named. NATS clients name each
    /// subscription, too.
    Subscribe { filter: &'a [u8], group: Option<&'a [u8]>, sid: Option<&'a [u8]> },
    /// It ends a subscription.
    Unsubscribe { filter: &'a [u8], group: Option<&'a [u8]> },
    /// It ends the subscription that it calls so: now, or behind so many messages in all.
    EndSubscription { sid: &'a [u8], behind: Option<u64> },
    /// A message, in NATS, to a subject that no filter matches.
    Unroutable { subject: &'a [u8], reply: Option<&'a [u8]> },
    /// It asks for something that NATS allows and that is refused here; the conversation goes on.
    Refused { about: &'a [u8], refusal: Refusal<'a> },
    /// A valid message that its publisher may not publish.
    Denied { topic: &'a [u8] },
    /// A hub's message that is not carried here, so many bytes of which are still to come.
    NotCarried { behind: usize },
    /// Bytes of such a message.
    Rest { bytes: usize },
    /// A hub wants messages that match a filter: for plain subscribers, or for a queue group of so
    /// many members.
    Interest { filter: &'a [u8], group: Option<(&'a [u8], u32)> },
    /// It does not any more.
    EndInterest { filter: &'a [u8], group: Option<&'a [u8]> },
    /// A hub tells of itself, as JSON.
    HubInfo { json: &'a [u8] },
    /// A hub tells an error.
    HubError { text: &'a [u8] },
    /// It says what means nothing here.
    Ignored,
    /// It asks for an answer behind everything that it sent before.
    Ping { body: &'a [u8] },
    /// It answers; that it did is a sign of life.
    Pong,
    /// It names a topic or filter that breaks the rules: refused, and the conversation goes on.
    BadTopic { topic: &'a [u8], error: TopicError },
}

/// What a client is told.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Notice<'a> {
    /// What NATS clients are told of the broker when they connect, and when it stops.
    Info(&'a Info<'a>),
    /// What it asked for is done; for NATS clients that want to be told.
    Done,
    /// A request that nobody hears, to the subscription that waits for the reply.
    NoResponders { subject: &'a [u8], reply: &'a [u8], sid: &'a [u8] },
    /// It is welcome, and what holds here.
    Welcome { id: &'a str, max_payload: usize, heartbeat: Duration },
    /// Whether it is still there.
    Ping,
    /// Everything before its PING is done.
    Pong { body: &'a [u8] },
    /// One request is refused; `about` is the topic or filter.
    Refused { about: &'a [u8], refusal: Refusal<'a> },
    /// So many messages were not delivered to it.
    Lost { messages: u64 },
    /// The connection ends, and why; some reasons are told by the end alone.
    Closing { reason: CloseReason },
    /// The broker is shutting down, and everything accepted before was delivered.
    Goodbye,
}

/// Why a request is refused though the conversation goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal<'a> {
    /// The topic or filter breaks a rule.
    BadTopic(TopicError),
    /// The user may not publish to it; or NATS allows that, or to ask for replies to it, and we
    /// do not.
    MayNotPublish,
    /// The user may not subscribe to it, in this queue group; or NATS allows that, and we do not.
    MayNotSubscribe { group: Option<&'a [u8]>, because: Option<Because<'a>> },
    /// No filter matches the subject of a message; pedantic NATS clients are told.
    Unroutable,
    /// The connection has as much of this as it may; a text for a person.
    TooMany(&'static str),
}

impl Protocol {
    /// Cuts the first request off `bytes`, which begin with no valid whole message. Returns the
    /// request and its length; `None`: more bytes are needed.
    ///
    /// # Errors
    /// Why the connection is to be closed.
    pub(super) fn cut<'a>(
        self,
        bytes: &'a [u8],
        connection: &Connection,
        max_payload: usize,
    ) -> Result<Option<(Request<'a>, usize)>, CloseReason> {
        match self {
            Protocol::Native => {
                native::cut(bytes, (connection.role, connection.state), max_payload)
            }
            Protocol::Nats => nats::cut(bytes, connection, max_payload),
            Protocol::Leaf => leaf::cut(bytes, connection, max_payload),
        }
    }

    /// Bytes of the request or message that begins here, as far as that can be told by now. Where
    /// it cannot, they are no more than a read brings, and one more than are there.
    pub(crate) fn begun_bytes(self, bytes: &[u8], in_a_read: usize) -> usize {
        match self {
            Protocol::Native => native::begun_bytes(bytes),
            Protocol::Nats => nats::begun_bytes(bytes, in_a_read),
            Protocol::Leaf => leaf::begun_bytes(bytes, in_a_read),
        }
    }

    /// Finds how far what the broker has written reaches: the frame or line that begins here.
    pub(crate) fn walk(self) -> Walk {
        match self {
            Protocol::Native => native::walk,
            Protocol::Nats => nats::walk,
            Protocol::Leaf => leaf::walk,
        }
    }

    /// Appends a notice to `out`; nothing where the protocol has no word for it.
    pub(crate) fn say(self, notice: Notice<'_>, out: &mut Vec<u8>) {
        match self {
            Protocol::Native => native::say(notice, out),
            Protocol::Nats => nats::say(notice, out),
            Protocol::Leaf => leaf::say(notice, out),
        }
    }

    /// Bytes that telling of losses takes.
    pub(crate) fn lost_bytes(self) -> usize {
        match self {
            Protocol::Native => native::LOST_BYTES,
            // It has no word for that.
            Protocol::Nats | Protocol::Leaf => 0,
        }
    }

    /// How often a client is asked for a sign of life before it is found silent.
    pub fn max_pings(self) -> u8 {
        match self {
            Protocol::Native => 1,
            Protocol::Nats | Protocol::Leaf => 2,
        }
    }

    /// The name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Native => "native",
            Protocol::Nats => "nats",
            Protocol::Leaf => "leaf",
        }
    }
}
