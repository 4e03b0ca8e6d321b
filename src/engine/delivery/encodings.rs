//! A run in the encoding that its receivers want.
//!
//! Owns the way from the bytes that a publisher sent to those that a receiver gets. Each distinct
//! encoding is made once, and all receivers of it share slices of that; where publisher and
//! receiver speak the same bytes, the source itself is what is sliced. Must not know who receives.

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

/// Whether the payloads of a run are too large to be copied.
pub(super) fn is_shared_body(run: &Run) -> bool {
    run.shortest >= SHARED_BODY
}

/// Makes encodings. Kept from one to the next for its buffers.
#[derive(Default)]
pub(crate) struct Encoder {
    line: Vec<u8>,
    short: Vec<u8>,
}

/// Messages in one encoding, as each receiver gets them.
pub(super) struct Encoded<'a> {
    pub(super) messages: u64,
    /// Bytes of all of them.
    pub(super) length: usize,
    /// Where their replies are wanted, if that is to be remembered.
    pub(super) replies: Vec<&'a [u8]>,
    form: Form<'a>,
}

/// Where the bytes are.
enum Form<'a> {
    /// A part of a chunk: of what was read, if receivers get the very bytes.
    Source(&'a Slice, usize, usize),
    /// What was made.
    Made(Slice),
    /// The same, so short that a copy costs less than a slice; and a slice of it, once one is
    /// needed.
    Short(Vec<u8>, Option<Slice>),
    /// Lines that were made, and bodies in the source.
    Parts(&'a Slice, Slice, Vec<Part>),
}

/// A part of a message that each receiver gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// It lies in what was made, not in the source.
    is_made: bool,
    start: usize,
    end: usize,
    /// It goes on with the message that ends the part before it.
    is_tail: bool,
}

impl<'a> Encoded<'a> {
    /// A run as it was read.
    pub(super) fn source(run: &Run, source: &'a Slice) -> Encoded<'a> {
        let form = Form::Source(source, run.start, run.end);
        Encoded { messages: run.messages, length: run.len(), replies: Vec::new(), form }
    }

    /// Messages that were made in a buffer, which is empty then.
    pub(super) fn made(messages: u64, buffer: &mut Vec<u8>, pool: &Pool) -> Encoded<'a> {
        let length = buffer.len();
        let form = if length <= SHORT_BYTES {
            Form::Short(std::mem::take(buffer), None)
        } else {
            let mut copy = pool.room_for_copy(length);
            copy.append(buffer);
            Form::Made(Slice::shared(pool, copy))
        };
        Encoded { messages, length, replies: Vec::new(), form }
    }

    /// The buffer that the messages were made in, empty, if it was needed up to now.
    pub(super) fn into_buffer(self) -> Option<Vec<u8>> {
        let Form::Short(mut bytes, _) = self.form else { return None };
        bytes.clear();
        Some(bytes)
    }

    /// Bytes that were made for it.
    pub(super) fn made_bytes(&self) -> usize {
        match &self.form {
            Form::Source(..) => 0,
            Form::Made(made) | Form::Parts(_, made, _) => made.len(),
            Form::Short(bytes, _) => bytes.len(),
        }
    }

    /// Queues all of it.
    pub(super) fn push_to(&mut self, outbox: &mut Outbox, pool: &Pool) {
        match &mut self.form {
            Form::Source(source, start, end) => outbox.push(source, *start, *end),
            Form::Made(made) => outbox.push(made, 0, made.len()),
            Form::Short(bytes, _) if outbox.append_copy(bytes) => {}
            Form::Short(bytes, made) => {
                let made = made.get_or_insert_with(|| Slice::shared(pool, bytes.clone()));
                outbox.push(made, 0, made.len());
            }
            Form::Parts(source, made, parts) => {
                for part in parts {
                    let slice: &Slice = if part.is_made { made } else { source };
                    if part.is_tail {
                        outbox.push_tail(slice, part.start, part.end);
                    } else {
                        outbox.push(slice, part.start, part.end);
                    }
                }
            }
        }
    }
}

impl Encoder {
    /// A run in an encoding; `sid` is the name of the subscription, as bytes.
    pub(super) fn encode<'a>(
        &mut self,
        run: &Run,
        source: &'a Slice,
        encoding: Encoding,
        sid: &[u8],
        pool: &Pool,
    ) -> Encoded<'a> {
        let (messages, length) = (run.messages, run.len_in(encoding, sid.len()));
        let form = if is_shared_body(run) {
            let (lines, parts) = self.make(source, encoding, sid, &[], |maker| maker.share(run));
            Form::Parts(source, Slice::shared(pool, lines), parts)
        } else {
            let is_short = length <= SHORT_BYTES;
            let blank = || pool.blank(length);
            let mut out = if is_short { std::mem::take(&mut self.short) } else { blank() };
            self.append(run, source, encoding, sid, &mut out);
            assert!(out.len() == length, "a run is as long as its sums say");
            match is_short {
                true => Form::Short(out, None),
                false => Form::Made(Slice::shared(pool, out)),
            }
        };
        Encoded { messages, length, replies: Vec::new(), form }
    }

    /// One message for a hub, which is to give it to one member of each of these queue groups as
    /// well.
    pub(super) fn encode_for_groups<'a>(
        &mut self,
        run: &Run,
        source: &'a Slice,
        groups: &[&[u8]],
        pool: &Pool,
    ) -> Encoded<'a> {
        if is_shared_body(run) {
            let share = |maker: &mut Maker<'_>| maker.share(run);
            let (lines, parts) = self.make(source, Encoding::Leaf, b"", groups, share);
            let length = parts.iter().map(|part| part.end - part.start).sum();
            let form = Form::Parts(source, Slice::shared(pool, lines), parts);
            return Encoded { messages: run.messages, length, replies: Vec::new(), form };
        }
        let mut out = std::mem::take(&mut self.short);
        self.make(source, Encoding::Leaf, b"", groups, |maker| maker.copy_run(run, &mut out));
        Encoded::made(run.messages, &mut out, pool)
    }

    /// Appends a run in an encoding to what was made before.
    pub(super) fn append(
        &mut self,
        run: &Run,
        source: &Slice,
        encoding: Encoding,
        sid: &[u8],
        out: &mut Vec<u8>,
    ) {
        self.make(source, encoding, sid, &[], |maker| maker.copy_run(run, out));
    }

    /// Makes something out of messages, with the buffer that is kept for their lines.
    fn make<T>(
        &mut self,
        source: &Slice,
        encoding: Encoding,
        sid: &[u8],
        groups: &[&[u8]],
        with: impl FnOnce(&mut Maker<'_>) -> T,
    ) -> T {
        let line = std::mem::take(&mut self.line);
        let mut maker = Maker { bytes: source.bytes(), encoding, sid, groups, line };
        let made = with(&mut maker);
        self.line = maker.line;
        made
    }

    /// The buffer of what was made serves the next one.
    pub(super) fn take_back(&mut self, encoded: Encoded<'_>) {
        if let Some(buffer) = encoded.into_buffer() {
            self.short = buffer;
        }
    }
}

/// Makes messages in an encoding.
struct Maker<'a> {
    bytes: &'a [u8],
    encoding: Encoding,
    sid: &'a [u8],
    /// The queue groups that a hub is to serve.
    groups: &'a [&'a [u8]],
    /// The line of the messages at hand.
    line: Vec<u8>,
}

impl Maker<'_> {
    /// Appends a run.
    fn copy_run(&mut self, run: &Run, out: &mut Vec<u8>) {
        for alike in alike(self.bytes, run.start..run.end, run.protocol) {
            self.copy(run.protocol, &alike, out);
        }
    }

    /// Appends messages that are alike.
    fn copy(&mut self, protocol: Protocol, alike: &Alike<'_>, out: &mut Vec<u8>) {
        self.make_line(alike);
        let body = alike.first.body_for(self.encoding);
        // The line end behind a message that came over NATS is taken along.
        let is_nats = self.encoding != Encoding::Native;
        let takes_end = is_nats && protocol != Protocol::Native;
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
    fn share(&mut self, run: &Run) -> (Vec<u8>, Vec<Part>) {
        let (mut lines, mut parts) = (Vec::new(), Vec::new());
        for alike in alike(self.bytes, run.start..run.end, run.protocol) {
            self.make_line(&alike);
            let body = alike.first.body_for(self.encoding);
            let is_nats = self.encoding != Encoding::Native;
            let takes_end = is_nats && run.protocol != Protocol::Native;
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
                frame::encode_head(Kind::Publish, 0, message.subject, payload, &mut self.line);
            }
            Encoding::Nats { headers, .. } => {
                message.line(self.sid, headers).write(&mut self.line);
            }
            Encoding::Leaf => message.leaf_line(self.groups).write(&mut self.line),
        }
    }
}

/// Appends bytes to those that are made; they are a part.
fn made(lines: &mut Vec<u8>, bytes: &[u8], is_tail: bool) -> Part {
    let start = lines.len();
    lines.extend_from_slice(bytes);
    Part { is_made: true, start, end: lines.len(), is_tail }
}
