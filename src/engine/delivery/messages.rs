//! Messages as they lie in what a publisher sent.
//!
//! Owns where a message ends and what it consists of, in each protocol, and how long it is in each
//! encoding. Must not copy, nor decide who gets it.

use wire::Encoding;
use wire::leaf;
use wire::leaf::subject::jetstream_reply;
use wire::native::frame::{HEADER_BYTES, Header};
use wire::nats::line::{self, Line, Publish};
use wire::nats::message::MessageLine;
use wire::nats::{LINE_END, MAX_CONTROL_LINE_BYTES};
use wire::topic::validate_topic;

use crate::engine::sessions::protocol::Protocol;

/// A whole and valid message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) topic: &'a [u8],
    /// What receivers are shown in its place: nearly always the same.
    pub(super) subject: &'a [u8],
    pub(super) reply: Option<&'a [u8]>,
    /// Bytes in front of headers and payload: a native header and the topic, or a control line.
    pub(super) line: usize,
    /// Bytes of the headers.
    pub(super) headers: usize,
    /// Bytes of headers and payload.
    pub(super) body: usize,
    /// Bytes of all of it.
    pub(super) length: usize,
}

impl<'a> Message<'a> {
    /// The message that begins here; it is known to be whole and valid.
    pub(super) fn at(bytes: &'a [u8], protocol: Protocol) -> Message<'a> {
        let found = match protocol {
            Protocol::Native => bytes.first_chunk().map(|head| Message::native(bytes, head)),
            Protocol::Nats => match line::parse(bytes, MAX_CONTROL_LINE_BYTES) {
                Ok(Some((Line::Publish(publish), line))) => Some(Message::nats(publish, line)),
                _ => None,
            },
            Protocol::Leaf => match leaf::line::parse(bytes, leaf::MAX_LINE_BYTES) {
                Ok(Some((leaf::line::Line::Message(message), line))) => {
                    Some(Message::leaf(&message, line))
                }
                _ => None,
            },
        };
        found.expect("a run consists of whole messages")
    }

    fn native(bytes: &'a [u8], head: &[u8; HEADER_BYTES]) -> Message<'a> {
        let header = Header::parse(head).expect("a run consists of valid messages");
        let (line, length) = (HEADER_BYTES + header.topic_len(), header.frame_len());
        let topic = &bytes[HEADER_BYTES..line];
        let body = length - line;
        Message { topic, subject: topic, reply: None, line, headers: 0, body, length }
    }

    /// The message that a control line of so many bytes begins.
    pub(super) fn nats(publish: Publish<'a>, line: usize) -> Message<'a> {
        let body = publish.total_bytes as usize;
        let headers = publish.header_bytes.map_or(0, |bytes| bytes as usize);
        let length = line + body + LINE_END.len();
        let (topic, reply) = (publish.subject, publish.reply);
        Message { topic, subject: topic, reply, line, headers, body, length }
    }

    /// The same for a hub's. A stream delivers to an inbox, and says behind the reply which subject
    /// is to be shown.
    pub(super) fn leaf(message: &leaf::line::Message<'a>, line: usize) -> Message<'a> {
        let body = message.total_bytes as usize;
        let headers = message.header_bytes.map_or(0, |bytes| bytes as usize);
        let length = line + body + LINE_END.len();
        let topic = message.subject;
        let cut = message.reply.and_then(jetstream_reply);
        let cut = cut.filter(|(_, shown)| validate_topic(shown).is_ok());
        let (reply, subject) = cut.map_or((message.reply, topic), |(ack, it)| (Some(ack), it));
        Message { topic, subject, reply, line, headers, body, length }
    }

    /// The line that announces it to a hub; the names are those of queue groups of which one member
    /// each is to be given it.
    pub(super) fn leaf_line<'b>(
        &'b self,
        groups: &'b [&'b [u8]],
    ) -> leaf::line::Message<'b, &'b [&'b [u8]]> {
        leaf::line::Message {
            subject: self.subject,
            reply: self.reply.filter(|reply| !is_mark(reply)),
            groups,
            header_bytes: (self.headers > 0).then_some(self.headers as u32),
            total_bytes: self.body as u32,
        }
    }

    /// The line that announces it to a NATS client.
    pub(super) fn line<'b>(&self, sid: &'b [u8], takes_headers: bool) -> MessageLine<'b>
    where
        'a: 'b,
    {
        let (headers, cut) = if takes_headers { (self.headers, 0) } else { (0, self.headers) };
        // A message of the native protocol is no larger than 1 GiB.
        MessageLine {
            subject: self.subject,
            sid,
            reply: self.reply,
            header_bytes: headers as u32,
            total_bytes: (self.body - cut) as u32,
        }
    }

    /// Where the bytes lie that a receiver gets behind the line, counted from the message's start:
    /// headers if it takes them, and payload.
    pub(super) fn body_for(&self, encoding: Encoding) -> std::ops::Range<usize> {
        let takes_headers =
            matches!(encoding, Encoding::Nats { headers: true, .. } | Encoding::Leaf);
        let cut = if takes_headers { 0 } else { self.headers };
        self.line + cut..self.line + self.body
    }

    /// Its bytes in each encoding.
    pub(super) fn sizes(&self) -> Sizes {
        let in_nats = |takes_headers: bool| {
            let line = self.line(b"", takes_headers);
            line.line_bytes() + line.total_bytes as usize + LINE_END.len()
        };
        let nats = in_nats(true);
        let mark_bytes = self.reply.filter(|reply| is_mark(reply)).map_or(0, |mark| mark.len() + 1);
        Sizes {
            native: HEADER_BYTES + self.subject.len() + self.body - self.headers,
            nats,
            // The verb has a letter more unless there are headers, and there is no sid, nor the
            // blank behind it.
            leaf: nats - usize::from(self.headers > 0) - mark_bytes,
            without_headers: if self.headers > 0 { in_nats(false) } else { nats },
        }
    }
}

/// Whether a reply is a mark of the lines between clusters: it cannot cross.
fn is_mark(reply: &[u8]) -> bool {
    matches!(reply, b"+" | b"|")
}

/// Bytes of messages in each encoding, those for NATS clients without their sids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    native: usize,
    nats: usize,
    leaf: usize,
    without_headers: usize,
}

impl Sizes {
    /// Those of `messages` messages in an encoding with a sid of so many bytes.
    pub(super) fn of(&self, encoding: Encoding, sid_bytes: usize, messages: u64) -> usize {
        match encoding {
            Encoding::Native => self.native,
            Encoding::Leaf => self.leaf,
            Encoding::Nats { headers: true, .. } => self.nats + messages as usize * sid_bytes,
            Encoding::Nats { .. } => self.without_headers + messages as usize * sid_bytes,
        }
    }

    /// Adds those of a message, so many times.
    pub(super) fn add(&mut self, other: Sizes, times: usize) {
        self.native += other.native * times;
        self.nats += other.nats * times;
        self.leaf += other.leaf * times;
        self.without_headers += other.without_headers * times;
    }

    /// Those of what is behind a first part.
    pub(super) fn behind(&self, part: Sizes) -> Sizes {
        Sizes {
            native: self.native - part.native,
            nats: self.nats - part.nats,
            leaf: self.leaf - part.leaf,
            without_headers: self.without_headers - part.without_headers,
        }
    }
}

/// Adjacent messages that are alike but for their bodies.
pub(super) struct Alike<'a> {
    pub(super) first: Message<'a>,
    /// Where the first one starts.
    pub(super) start: usize,
    pub(super) count: usize,
}

/// Goes through the messages of `bytes`, all of them whole and valid, those that are alike at once.
pub(super) fn alike(
    bytes: &[u8],
    range: std::ops::Range<usize>,
    protocol: Protocol,
) -> impl Iterator<Item = Alike<'_>> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        if at >= range.end {
            return None;
        }
        let (start, first) = (at, Message::at(&bytes[at..range.end], protocol));
        let line = &bytes[start..start + first.line];
        at += first.length;
        while at < range.end && bytes[at..range.end].starts_with(line) {
            at += first.length;
        }
        Some(Alike { first, start, count: (at - start) / first.length })
    })
}

/// Bytes of all messages of a range in each encoding.
pub(super) fn sizes(bytes: &[u8], range: std::ops::Range<usize>, protocol: Protocol) -> Sizes {
    let mut sizes = Sizes::default();
    for alike in alike(bytes, range, protocol) {
        sizes.add(alike.first.sizes(), alike.count);
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_a_hub_is_as_long_as_the_sum_says() {
        for said in [
            "PUB a 0\r\n\r\n",
            "PUB a.b r.x 10\r\n0123456789\r\n",
            "PUB a + 1\r\nx\r\n",
            "PUB a | 1\r\nx\r\n",
            "HPUB a r 12 12\r\nNATS/1.0\r\n\r\n\r\n",
            "HPUB a 12 112\r\nNATS/1.0\r\n\r\n",
            "HPUB a + 12 13\r\nNATS/1.0\r\n\r\nx\r\n",
        ] {
            let message = Message::at(said.as_bytes(), Protocol::Nats);
            let line = message.leaf_line(&[]).line_bytes();
            assert_eq!(message.sizes().leaf, line + message.body + LINE_END.len(), "{said}");
        }
    }
}
