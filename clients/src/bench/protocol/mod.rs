//! The protocols of brokers behind one interface: what is written to a broker, and what it sends.
//!
//! Owns the choice between them. Must not open connections, nor know what is measured.

use std::ops::Range;
use std::time::Duration;

use clap::ValueEnum;

use crate::credentials::Credentials;

mod native;
mod nats;

/// The protocol of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// The broker's own: a port for publishers, another for subscribers
    Native,
    /// That of NATS clients, which other servers speak too: one port for all
    Nats,
}

/// What a broker states of itself in the handshake.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Server {
    /// Its name and version.
    pub(crate) name: String,
    /// Its largest payload, in bytes.
    pub(crate) max_payload: usize,
    /// How long a client may be silent; `None`: as long as it likes.
    pub(crate) silence: Option<Duration>,
    /// Whether messages may have headers, and requests without a receiver are reported.
    pub(crate) has_headers: bool,
    /// Whether it takes only clients that say who they are.
    pub(crate) wants_credentials: bool,
    /// Whether it goes on in TLS only.
    pub(crate) wants_tls: bool,
}

/// One frame or line from a broker, borrowed from its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Incoming<'a> {
    /// Its greeting; the error is why it cannot be used.
    Welcome(Result<Server, String>),
    /// A message.
    Message(Message<'a>),
    /// A request of ours has no receiver.
    NoResponders,
    /// Asks for PONG with these bytes.
    Ping(&'a [u8]),
    /// Answers PING.
    Pong,
    /// So many messages were not delivered.
    Lost(u64),
    /// It refuses something: its text, and our advice.
    Refusal(String),
    /// Nothing that matters here.
    Other,
}

/// A message, as a subscriber receives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// What it was published to.
    pub(crate) topic: &'a [u8],
    /// Where an answer is wanted.
    pub(crate) reply: Option<&'a [u8]>,
    /// What was published.
    pub(crate) payload: &'a [u8],
}

/// What deliveries with topics and payloads of one length have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    begin: Vec<u8>,
    end: Vec<u8>,
    /// Bytes in front of the payload.
    pub(crate) payload_at: usize,
    /// Bytes of the payload.
    pub(crate) payload_bytes: usize,
    /// Bytes of all of it.
    pub(crate) total_bytes: usize,
}

impl Shape {
    /// Whether a delivery of this shape begins here; all that is in front of its payload must be
    /// there.
    pub(crate) fn begins(&self, bytes: &[u8]) -> bool {
        bytes
            .get(..self.payload_at)
            .is_some_and(|front| front.starts_with(&self.begin) && front.ends_with(&self.end))
    }
}

/// Why a server that says so is not greeted without credentials.
pub(crate) const WANTS_CREDENTIALS: &str = "it wants credentials";
/// The error for bytes of a broker that cannot be parsed.
const NOT_NATIVE: &str = "what it sends is not the broker's protocol";
const NOT_NATS: &str = "what it sends is not the NATS protocol";

impl Protocol {
    /// Its name, as the command line has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::Native => "native",
            Protocol::Nats => "nats",
        }
    }

    /// Whether a broker sends its greeting before the client sends anything.
    pub(crate) fn broker_begins(self) -> bool {
        self == Protocol::Nats
    }

    /// Whether nothing but messages is sent to a subscriber that shows signs of life, so that
    /// bytes may be counted unseen. NATS servers send PING at any time.
    pub(crate) fn is_only_messages(self) -> bool {
        self == Protocol::Native
    }

    /// The likely cause when a connection ends without a reason.
    pub(crate) fn closed(self) -> &'static str {
        match self {
            Protocol::Native => "the broker closed the connection; its log says why",
            Protocol::Nats => {
                "the broker closed the connection without a word, as NATS servers do with slow \
                 consumers; its log says why. Slow down with --rate, or let it queue more \
                 (nats-server: max_pending, write_deadline)"
            }
        }
    }

    /// Whether this is a broker's refusal to believe who the client is.
    pub(crate) fn is_about_credentials(self, why: &str) -> bool {
        let words: &[&str] = match self {
            Protocol::Native => &["UNAUTHORIZED: "],
            Protocol::Nats => &["Authorization Violation", "Authentication Timeout"],
        };
        why == WANTS_CREDENTIALS || words.iter().any(|words| why.contains(words))
    }

    /// Appends the greeting of a client called `id`. A broker that speaks first has sent its
    /// greeting before; others answer with it.
    pub(crate) fn hello(
        self,
        id: &str,
        credentials: Option<&Credentials>,
        server: &Server,
        out: &mut Vec<u8>,
    ) {
        match self {
            Protocol::Native => native::hello(id, credentials, out),
            Protocol::Nats => nats::hello(id, credentials, server.has_headers, out),
        }
    }

    /// Appends a message; returns where its payload is in `out`.
    pub(crate) fn publish(
        self,
        topic: &[u8],
        reply: Option<&[u8]>,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Range<usize> {
        let behind = match self {
            Protocol::Native => native::publish(topic, payload, out),
            Protocol::Nats => nats::publish(topic, reply, payload, out),
        };
        let end = out.len() - behind;
        end - payload.len()..end
    }

    /// Appends a subscription, with the id `sid` where subscriptions have ids.
    pub(crate) fn subscribe(self, filter: &str, group: Option<&str>, sid: &str, out: &mut Vec<u8>) {
        match self {
            Protocol::Native => native::subscribe(filter, group, out),
            Protocol::Nats => nats::subscribe(filter, group, sid, out),
        }
    }

    /// Appends a PING.
    pub(crate) fn ping(self, out: &mut Vec<u8>) {
        match self {
            Protocol::Native => native::ping(out),
            Protocol::Nats => nats::ping(out),
        }
    }

    /// Appends the answer to a PING with these bytes.
    pub(crate) fn pong(self, asked: &[u8], out: &mut Vec<u8>) {
        match self {
            Protocol::Native => native::pong(asked, out),
            Protocol::Nats => nats::pong(out),
        }
    }

    /// Appends a sign of life for a client that has nothing else to send. Nothing, where answering
    /// PING is enough.
    pub(crate) fn alive(self, out: &mut Vec<u8>) {
        match self {
            Protocol::Native => native::pong(b"", out),
            Protocol::Nats => {}
        }
    }

    /// What deliveries look like to the subscription `sid`, of payloads and topics as long as
    /// these. The topics differ after their last dot.
    pub(crate) fn shape(self, topic: &str, sid: &str, payload_bytes: usize) -> Shape {
        match self {
            Protocol::Native => native::shape(topic, payload_bytes),
            Protocol::Nats => nats::shape(topic, sid, payload_bytes),
        }
    }

    /// Parses the first frame or line in `bytes`, and returns its length as well. `None`: it is
    /// not complete.
    ///
    /// # Errors
    /// It is not this protocol.
    pub(crate) fn decode(self, bytes: &[u8]) -> Result<Option<(Incoming<'_>, usize)>, String> {
        match self {
            Protocol::Native => native::decode(bytes),
            Protocol::Nats => nats::decode(bytes),
        }
    }
}
