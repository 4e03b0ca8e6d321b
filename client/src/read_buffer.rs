//! The bytes read from the broker and not yet used, and the frames in them.
//!
//! Decodes in place and copies nothing but the partial frame at its end. Knows no socket beyond
//! the one read that fills it.

use std::io::{self, Read};
use std::ops::Range;

use wire::native::frame::{FLAG_FATAL, Frame, HEADER_BYTES, Header, Kind, Reader};

use crate::error::ClientError;

/// One growing buffer. Invariant: `start <= end <= bytes.len()`. It is at most twice as large as
/// what has arrived: memory for an announced frame is reserved as its bytes arrive, not before.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    initial: usize,
}

/// Where a frame and its parts are, counted from the start of what is unused.
#[derive(Debug, Clone)]
pub(crate) struct FramePlace {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) topic: Range<usize>,
    pub(crate) body: Range<usize>,
}

impl FramePlace {
    /// Where the next frame begins.
    pub(crate) fn end(&self) -> usize {
        self.body.end
    }

    /// Whether the broker closes the connection after this frame.
    pub(crate) fn is_last(&self) -> bool {
        let fatal = self.kind == Kind::Error && self.flags & FLAG_FATAL != 0;
        fatal || self.kind == Kind::Goodbye
    }
}

impl ReadBuffer {
    /// A buffer that reads up to `initial` bytes at once.
    pub(crate) fn new(initial: usize) -> ReadBuffer {
        ReadBuffer { bytes: vec![0; initial], start: 0, end: 0, initial }
    }

    /// The frame that begins `offset` bytes into what is unused, if it is whole.
    pub(crate) fn frame_at(
        &self,
        offset: usize,
        max_payload: usize,
    ) -> Result<Option<FramePlace>, ClientError> {
        let bytes = &self.unused()[offset..];
        let frame = Frame::decode(bytes, Reader::Client, max_payload)
            .map_err(|code| ClientError::malformed(format_args!("a frame is {code}")))?;
        Ok(frame.map(|frame| {
            let topic = offset + HEADER_BYTES..offset + HEADER_BYTES + frame.topic.len();
            FramePlace {
                kind: frame.kind,
                flags: frame.flags,
                body: topic.end..topic.end + frame.body.len(),
                topic,
            }
        }))
    }

    /// What was read and not yet used.
    pub(crate) fn unused(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Releases the first `count` unused bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        assert!(self.start <= self.end, "only what was read can be used");
    }

    /// Reads once. 0: the other side has ended sending. Room is made for the partial frame that
    /// begins `offset` bytes into what is unused, so that a large one needs few reads.
    pub(crate) fn fill(&mut self, source: &mut impl Read, offset: usize) -> io::Result<usize> {
        self.make_room(offset);
        let count = source.read(&mut self.bytes[self.end..])?;
        self.end += count;
        Ok(count)
    }

    fn make_room(&mut self, offset: usize) {
        let unused = self.end - self.start;
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, unused);
        if unused == 0 && self.bytes.len() > 4 * self.initial {
            // One large burst must not pin its memory for ever.
            self.bytes = vec![0; self.initial];
        }
        let partial = &self.unused()[offset..];
        let frame_len = partial
            .first_chunk::<HEADER_BYTES>()
            .and_then(|header| Header::parse(header).ok())
            .map_or(HEADER_BYTES, |header| header.frame_len());
        // A frame's length was checked against the broker's own limit before more was awaited, but
        // that limit may be 4 GiB.
        let announced = (offset + frame_len).min(2 * unused);
        let wanted = announced.max(unused + self.initial / 2);
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::native::frame;

    use super::*;

    /// Returns at most `step` bytes per read.
    struct LimitedReader<'a>(&'a [u8], usize);

    impl Read for LimitedReader<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn frames_come_out_whole_whatever_the_reads_and_the_buffer_size() {
        let mut sent = Vec::new();
        let bodies: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; usize::from(n) * 9]).collect();
        for body in &bodies {
            frame::encode(Kind::Publish, 0, b"t.opic", body, &mut sent);
        }
        for step in [1, 2, 3, 7, 8, 9, 63, 64, 1_000, 100_000] {
            for initial in [16, 64, 4_096] {
                let mut source = LimitedReader(&sent, step);
                let mut buffer = ReadBuffer::new(initial);
                let mut received = Vec::new();
                while received.len() < bodies.len() {
                    match buffer.frame_at(0, 1_000).unwrap() {
                        Some(place) => {
                            assert_eq!(&buffer.unused()[place.topic.clone()], b"t.opic");
                            received.push(buffer.unused()[place.body.clone()].to_vec());
                            buffer.consume(place.end());
                        }
                        None => assert!(buffer.fill(&mut source, 0).unwrap() > 0),
                    }
                }
                assert_eq!(received, bodies, "step {step}, buffer {initial}");
                assert_eq!(buffer.unused(), b"");
            }
        }
    }

    #[test]
    fn memory_grows_with_what_arrives_and_not_with_what_is_announced() {
        let mut announced = Vec::new();
        frame::encode(Kind::Publish, 0, b"t", &[7; 3_000_000], &mut announced);
        let mut buffer = ReadBuffer::new(1_024);
        for arrived in [8, 1_000, 100_000, announced.len()] {
            let mut source = LimitedReader(&announced[..arrived], usize::MAX);
            let mut buffer = ReadBuffer::new(1_024);
            while buffer.fill(&mut source, 0).unwrap() > 0 {}
            assert!(buffer.bytes.len() <= 2 * arrived + 1_024, "{arrived}");
        }
        let mut source = LimitedReader(&announced, usize::MAX);
        let mut reads = 0;
        while buffer.frame_at(0, 4_000_000).unwrap().is_none() {
            buffer.fill(&mut source, 0).unwrap();
            reads += 1;
        }
        assert!(reads < 20, "a large frame takes few reads, not {reads}");
    }

    #[test]
    fn looking_ahead_keeps_what_is_before() {
        let mut sent = Vec::new();
        frame::encode(Kind::Publish, 0, b"a", &[1; 100], &mut sent);
        frame::encode(Kind::Pong, 0, b"", b"x", &mut sent);
        let mut source = LimitedReader(&sent, 10);
        let mut buffer = ReadBuffer::new(16);
        let mut offset = 0;
        loop {
            match buffer.frame_at(offset, 1_000).unwrap() {
                Some(place) if place.kind == Kind::Pong => break,
                Some(place) => offset = place.end(),
                None => assert!(buffer.fill(&mut source, offset).unwrap() > 0),
            }
        }
        assert_eq!(buffer.unused(), sent);
    }
}
