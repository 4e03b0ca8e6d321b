//! What clients ask for and what they are told, whatever protocol they speak.
//!
//! Owns the two vocabularies, requests and notices, and which protocol turns them from and into
//! bytes. A new protocol is a variant of [`Protocol`], a file beside `native`, and an encoding.

use std::time::Duration;

use wire::Encoding;
use wire::topic::TopicError;

use super::connection::{Role, State};
use super::native;
use crate::engine::close_reason::CloseReason;

/// A protocol that clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Our own, version 1.
    Native,
}

/// What a client asks for, messages aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request<'a> {
    /// It introduces itself.
    Connect { id: &'a str },
    /// It subscribes to a filter, in a queue group if one is named.
    Subscribe { filter: &'a [u8], group: Option<&'a [u8]>, encoding: Encoding },
    /// It ends a subscription.
    Unsubscribe { filter: &'a [u8], group: Option<&'a [u8]> },
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
    /// It is welcome, and what holds here.
    Welcome { id: &'a str, max_payload: usize, heartbeat: Duration },
    /// Whether it is still there.
    Ping,
    /// Everything before its PING is done.
    Pong { body: &'a [u8] },
    /// One request is refused; `about` is the topic or filter.
    Refused { about: &'a [u8], refusal: Refusal },
    /// So many messages were not delivered to it.
    Lost { messages: u64 },
    /// The connection ends, and why; some reasons are told by the end alone.
    Closing { reason: CloseReason },
    /// The broker is shutting down, and everything accepted before was delivered.
    Goodbye,
}

/// Why a request is refused though the conversation goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The topic or filter breaks a rule.
    BadTopic(TopicError),
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
        (role, state): (Role, State),
        max_payload: usize,
    ) -> Result<Option<(Request<'a>, usize)>, CloseReason> {
        match self {
            Protocol::Native => native::cut(bytes, (role, state), max_payload),
        }
    }

    /// Appends a notice to `out`; nothing where the protocol has no word for it.
    pub(crate) fn say(self, notice: Notice<'_>, out: &mut Vec<u8>) {
        match self {
            Protocol::Native => native::say(notice, out),
        }
    }

    /// Bytes that telling of losses takes.
    pub(crate) fn lost_bytes(self) -> usize {
        match self {
            Protocol::Native => native::LOST_BYTES,
        }
    }
}
