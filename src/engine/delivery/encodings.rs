//! A run in the encoding that its receivers want.
//!
//! Owns the way from the bytes that a publisher sent to those that a receiver gets. Each distinct
//! encoding is made once, and all receivers of it share slices of that; where publisher and
//! receiver speak the same bytes, the source itself is what is sliced. Must not know who receives.

use smallvec::{SmallVec, smallvec};
use wire::Encoding;
use wire::native::frame::{self, Kind};
use wire::nats::LINE_END;

use super::messages::{Alike, alike};
use super::run::Run;
use crate::engine::buffers::chunk::{Pool, Slice};
use crate::engine::buffers::outbox::{Outbox, SHORT_BYTES};
use crate::engine::sessions::protocol::Protocol;

/// From so many bytes of payload on, payloads are not copied: only the lines in front of them are
/// made, and each receiver is given slices of both. Below it, a copy costs less than the longer
/// queue (docs/performance.md).
const SHARED_BODY: usize = 4 << 10;

/// The bytes of a run in one encoding.
pub(super) struct Encoded<'a> {
    source: &'a Slice,
    /// What was made of it.
    made: Option<Slice>,
    parts: SmallVec<[Part; 1]>,
    len: usize,
    /// It is so short that a copy costs less than a slice.
    is_short: bool,
}

/// A part of a chunk that each receiver gets.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// It lies in what was made, not in the source.
    is_made: bool,
    start: usize,
    end: usize,
    /// It goes on with the message that ends the part before it.
    is_tail: bool,
}

impl<'a> Encoded<'a> {
    /// A run whose very bytes receivers get.
    pub(super) fn source(run: &Run, source: &'a Slice) -> Encoded<'a> {
        let part = Part { is_made: false, start: run.start, end: run.end, is_tail: false };
        Encoded { source, made: None, parts: smallvec![part], len: run.len(), is_short: false }
    }

    /// Bytes that each receiver gets.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that were made for it.
    pub(super) fn made_bytes(&self) -> usize {
        self.made.as_ref().map_or(0, Slice::len)
    }

    /// Queues all of it.
    pub(super) fn push_to(&self, outbox: &mut Outbox) {
        for part in &self.parts {
            let slice = match &self.made {
                Some(made) if part.is_made => made,
                _ => self.source,
            };
            if self.is_short {
                outbox.push_short(slice, part.start, part.end);
            } else if part.is_tail {
                outbox.push_tail(slice, part.start, part.end);
            } else {
                outbox.push(slice, part.start, part.end);
            }
        }
    }
}

/// A run in an encoding; `sid` is the name of the subscription, as bytes.
pub(super) fn encode<'a>(
    run: &Run,
    source: &'a Slice,
    encoding: Encoding,
    sid: &[u8],
    pool: &Pool,
) -> Encoded<'a> {
    let len = run.len_in(encoding, sid.len());
    let mut maker = Maker { bytes: source.bytes(), encoding, sid, line: Vec::new() };
    if run.shortest >= SHARED_BODY {
        let (lines, parts) = maker.share(run);
        return Encoded {
            source,
            made: Some(Slice::shared(pool, lines)),
            parts,
            len,
            is_short: false,
        };
    }
    let mut out = pool.blank(len);
    for alike in alike(source.bytes(), run.start..run.end, run.protocol) {
        maker.copy(run.protocol, &alike, &mut out);
    }
    assert!(out.len() == len, "a run is as long as its sums say");
    let part = Part { is_made: true, start: 0, end: len, is_tail: false };
    let made = Some(Slice::shared(pool, out));
    Encoded { source, made, parts: smallvec![part], len, is_short: len <= SHORT_BYTES }
}

/// Makes messages in an encoding.
struct Maker<'a> {
    bytes: &'a [u8],
    encoding: Encoding,
    sid: &'a [u8],
    /// The line of the messages at hand.
    line: Vec<u8>,
}

impl Maker<'_> {
    /// Appends messages that are alike.
    fn copy(&mut self, protocol: Protocol, alike: &Alike<'_>, out: &mut Vec<u8>) {
        self.make_line(alike);
        let body = alike.first.body_for(self.encoding);
        // A NATS publisher's line end is taken along.
        let is_nats = self.encoding != Encoding::Native;
        let takes_end = is_nats && protocol == Protocol::Nats;
        let end = if takes_end { body.end + LINE_END.len() } else { body.end };
        let makes_end = is_nats && !takes_end;
        let mut at = alike.start;
        for _ in 0..alike.count {
            out.extend_from_slice(&self.line);
            out.extend_from_slice(&self.bytes[at + body.start..at + end]);
            if makes_end {
                out.extend_from_slice(LINE_END);
            }
            at += alike.first.length;
        }
    }

    /// Makes lines alone. Returns them, and the parts of both that make up the messages.
    fn share(&mut self, run: &Run) -> (Vec<u8>, SmallVec<[Part; 1]>) {
        let (mut lines, mut parts) = (Vec::new(), SmallVec::new());
        for alike in alike(self.bytes, run.start..run.end, run.protocol) {
            self.make_line(&alike);
            let body = alike.first.body_for(self.encoding);
            let is_nats = self.encoding != Encoding::Native;
            let takes_end = is_nats && run.protocol == Protocol::Nats;
            let end = if takes_end { body.end + LINE_END.len() } else { body.end };
            for message in 0..alike.count {
                let at = alike.start + message * alike.first.length;
                parts.push(made(&mut lines, &self.line, false));
                let (start, end) = (at + body.start, at + end);
                parts.push(Part { is_made: false, start, end, is_tail: true });
                if is_nats && !takes_end {
                    parts.push(made(&mut lines, LINE_END, true));
                }
            }
        }
        (lines, parts)
    }

    fn make_line(&mut self, alike: &Alike<'_>) {
        self.line.clear();
        let message = &alike.first;
        match self.encoding {
            Encoding::Native => {
                // A payload is no larger than the largest frame allows.
                let payload = message.body_for(self.encoding).len();
                frame::encode_head(Kind::Publish, 0, message.topic, payload, &mut self.line);
            }
            Encoding::Nats { headers, .. } => {
                message.line(self.sid, headers).write(&mut self.line);
            }
        }
    }
}

/// Appends bytes to those that are made; they are a part.
fn made(lines: &mut Vec<u8>, bytes: &[u8], is_tail: bool) -> Part {
    let start = lines.len();
    lines.extend_from_slice(bytes);
    Part { is_made: true, start, end: lines.len(), is_tail }
}
