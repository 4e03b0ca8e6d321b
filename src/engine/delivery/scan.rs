//! A scan of what a publisher sent, message by message.
//!
//! Owns what is remembered of the message before, so that one that looks like it costs two
//! comparisons. Must not know where messages go.

use std::rc::Rc;

use wire::leaf;
use wire::native::frame::{HEADER_BYTES, Header, Kind, Reader};
use wire::nats::line::{self, Line};
use wire::nats::subject::is_reply_carried;
use wire::nats::{LINE_END, MAX_CONTROL_LINE_BYTES};

use super::messages::Message;
use super::run::Run;
use crate::engine::access::User;
use crate::engine::routing::Route;
use crate::engine::sessions::connection::Connection;
use crate::engine::sessions::nats::check_publish;
use crate::engine::sessions::protocol::Protocol;
use crate::engine::token::Token;

/// How far a scan for runs is.
pub(super) struct Scan<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    pub(super) publisher: Token,
    pub(super) protocol: Protocol,
    /// The client sends headers, in NATS.
    pub(super) has_headers: bool,
    /// Each message is a run of its own, in NATS: it is answered.
    pub(super) is_verbose: bool,
    /// The message before: one with the same line is like it in all that matters. In the native
    /// protocol the line is header and topic.
    pub(super) line: &'a [u8],
    pub(super) topic: &'a [u8],
    pub(super) frame_len: usize,
    pub(super) payload: usize,
    /// The first message of the next run and its route, if that was looked up already.
    pub(super) ahead: Option<(Rc<Route>, usize)>,
    /// The message looked up last may be published as a reply only: once, so that nothing may be
    /// looked up behind it before that is done.
    pub(super) is_reply: bool,
    /// The search for the route of the next message is not finished.
    pub(super) is_searching: bool,
    /// The publisher's user, if it may not publish to all topics.
    pub(super) user: Option<Rc<User>>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(
        bytes: &'a [u8],
        at: usize,
        publisher: Token,
        connection: &Connection,
    ) -> Scan<'a> {
        let session = connection.nats.as_ref();
        Scan {
            bytes,
            at,
            publisher,
            protocol: connection.role.protocol,
            has_headers: session.is_some_and(|session| session.headers),
            is_verbose: session.is_some_and(|session| session.verbose),
            line: &bytes[..0],
            topic: &bytes[..0],
            // No message is taken to be like one before the first.
            frame_len: usize::MAX,
            payload: 0,
            ahead: None,
            is_reply: false,
            is_searching: false,
            user: connection.restricted_publisher().cloned(),
        }
    }

    /// Whether there is another message or frame, as far as its length tells.
    pub(super) fn has_whole_frame(&self) -> bool {
        let rest = &self.bytes[self.at..];
        !rest.is_empty() && rest.len() >= self.protocol.begun_bytes(rest, usize::MAX)
    }

    /// Takes all messages into the run that are like the last one in it.
    pub(super) fn extend(&self, run: &mut Run) {
        while let Some(rest) = self.bytes.get(run.end..)
            && rest.len() >= self.frame_len
            && rest.starts_with(self.line)
            && self.ends_well(&rest[..self.frame_len])
        {
            run.end += self.frame_len;
            run.messages += 1;
        }
    }

    /// The native header of the message before.
    fn head(&self) -> &'a [u8] {
        &self.line[..HEADER_BYTES]
    }

    /// Whether the end of a message is what it has to be.
    pub(super) fn ends_well(&self, message: &[u8]) -> bool {
        self.protocol == Protocol::Native || message.ends_with(LINE_END)
    }

    /// The message at the beginning of `rest`, if its line is there and valid.
    pub(super) fn see(&self, rest: &'a [u8], max_payload: usize) -> Option<Seen<'a>> {
        match self.protocol {
            // The same header, and another topic.
            Protocol::Native
                if self.line.len() >= HEADER_BYTES && rest.starts_with(self.head()) =>
            {
                let line = rest.get(..self.line.len())?;
                let (length, payload) = (self.frame_len, self.payload);
                Some(Seen { line, topic: &line[HEADER_BYTES..], length, payload })
            }
            Protocol::Native => {
                let bytes = rest.first_chunk::<HEADER_BYTES>()?;
                let header = Header::parse(bytes).ok()?;
                let kind = header.check(Reader::BrokerFromPublisher, max_payload).ok()?;
                let line = rest.get(..HEADER_BYTES + header.topic_len())?;
                let (topic, length) = (&line[HEADER_BYTES..], header.frame_len());
                let payload = length - line.len();
                (kind == Kind::Publish).then_some(Seen { line, topic, length, payload })
            }
            Protocol::Nats => {
                let (found, line) = line::parse(rest, MAX_CONTROL_LINE_BYTES).ok()??;
                let Line::Publish(publish) = found else { return None };
                check_publish(&publish, self.has_headers, max_payload).ok()?;
                if publish.reply.is_some_and(|reply| !is_reply_carried(reply)) {
                    return None;
                }
                Some(Message::nats(publish, line).seen(&rest[..line]))
            }
            Protocol::Leaf => {
                let (found, line) = leaf::line::parse(rest, leaf::MAX_LINE_BYTES).ok()??;
                let leaf::line::Line::Message(message) = found else { return None };
                if message.total_bytes as usize > max_payload {
                    return None;
                }
                if message.reply.is_some_and(|reply| !leaf::subject::is_reply_carried(reply)) {
                    return None;
                }
                Some(Message::leaf(&message, line).seen(&rest[..line]))
            }
        }
    }
}

impl<'a> Message<'a> {
    fn seen(self, line: &'a [u8]) -> Seen<'a> {
        let Message { topic, length, body, headers, .. } = self;
        Seen { line, topic, length, payload: body - headers }
    }
}

/// A message, as its line tells.
pub(super) struct Seen<'a> {
    pub(super) line: &'a [u8],
    pub(super) topic: &'a [u8],
    pub(super) length: usize,
    /// Bytes without line and headers.
    pub(super) payload: usize,
}
