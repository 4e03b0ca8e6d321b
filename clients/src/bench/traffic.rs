//! The messages of a benchmark: their topics, sizes and bytes, all computed from plan and seed.
//!
//! Both ends use it: publishers to make messages, subscribers to know what must have come. It
//! must not do I/O.
//!
//! A payload of 8 bytes or more begins with the time that latency counts from, in nanoseconds of
//! the run's clock, 0 for "not timed". With `--verify`, publisher (u32) and number (u64) follow.
//! The rest is a pattern that depends on both.

use std::ops::Range;

use wire::native::frame::{self, HEADER_BYTES, Kind};

use crate::bench::plan::{Plan, Sizes};

/// Bytes of a time at the front of a payload.
pub(crate) const STAMP_BYTES: usize = 8;
/// Bytes of time, publisher and number at the front of a payload.
pub(crate) const NUMBERED_BYTES: usize = 20;

/// Bytes of frames in one write.
const BLOCK_BYTES: usize = 64 << 10;
/// With random sizes, how many messages there are before they repeat.
const VARIED_MESSAGES: u64 = 4_096;
/// Unless there are more topics, a publisher repeats its frames after this many bytes at most.
const MAX_CYCLE_BYTES: usize = 4 << 20;
/// The pattern of payloads begins at one of so many places.
const PHASES: u64 = 251;

/// What is published.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    topics: Vec<String>,
    sizes: Sizes,
    seed: u64,
    numbered: bool,
    pattern: Vec<u8>,
}

/// What all frames of a run begin with, where they are equally long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Uniform {
    /// The header of each.
    pub(crate) header: [u8; HEADER_BYTES],
    /// Bytes of each frame.
    pub(crate) frame_bytes: usize,
    /// Where in a frame its time is; `None`: payloads are too short for one.
    pub(crate) stamp_at: Option<usize>,
    /// Bytes of payload of each.
    pub(crate) payload_bytes: usize,
}

/// A message that is numbered, as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    /// Which publisher.
    pub(crate) publisher: usize,
    /// Which of its messages, from 0.
    pub(crate) number: u64,
}

impl Traffic {
    /// The traffic that `plan` asks for.
    pub(crate) fn new(plan: &Plan) -> Traffic {
        // Equally long topics make equally long frames.
        let width = (plan.topics - 1).to_string().len();
        let topics = (0..plan.topics).map(|i| format!("bench.{i:0width$}")).collect();
        let bytes = plan.sizes.most + PHASES as usize;
        let pattern = (0..bytes as u64).map(|i| (i % PHASES) as u8).collect();
        Traffic { topics, sizes: plan.sizes, seed: plan.seed, numbered: plan.verify, pattern }
    }

    /// The topics, in the order in which publishers go round them.
    pub(crate) fn topics(&self) -> &[String] {
        &self.topics
    }

    /// What frames have in common, if they are equally long.
    pub(crate) fn uniform(&self) -> Option<Uniform> {
        if !self.sizes.is_one() {
            return None;
        }
        let mut bytes = Vec::new();
        self.encode(0, 0, 0, &mut bytes);
        let stamp_at = HEADER_BYTES + self.topics[0].len();
        Some(Uniform {
            header: *bytes.first_chunk().expect("every frame has a header"),
            frame_bytes: bytes.len(),
            stamp_at: (self.sizes.least >= STAMP_BYTES).then_some(stamp_at),
            payload_bytes: self.sizes.least,
        })
    }

    /// Appends message `number` of `publisher`, timed `stamp`, to `out`; returns its payload's
    /// bytes.
    pub(crate) fn encode(
        &self,
        publisher: usize,
        number: u64,
        stamp: u64,
        out: &mut Vec<u8>,
    ) -> usize {
        let topic = self.topic(publisher, number);
        let body = self.body(publisher, number);
        let size = body.len();
        frame::encode(Kind::Publish, 0, topic.as_bytes(), body, out);
        let payload_at = out.len() - size;
        let payload = &mut out[payload_at..];
        if size >= STAMP_BYTES {
            payload[..STAMP_BYTES].copy_from_slice(&stamp.to_be_bytes());
        }
        if self.numbered {
            // The plan's sizes leave room for it.
            payload[8..12].copy_from_slice(&(publisher as u32).to_be_bytes());
            payload[12..20].copy_from_slice(&number.to_be_bytes());
        }
        size
    }

    /// Which message this is, if its topic and all its bytes are what they must be.
    ///
    /// # Errors
    /// What differs.
    pub(crate) fn check(&self, topic: &[u8], payload: &[u8]) -> Result<Number, String> {
        let topic_text = String::from_utf8_lossy(topic);
        let (Some(publisher), Some(number)) =
            (payload.get(8..12).and_then(be), payload.get(12..20).and_then(be))
        else {
            return Err(format!("a message of {} bytes on {topic_text}", payload.len()));
        };
        let publisher = publisher as usize;
        let message = format_args!("message {number} of publisher {publisher}");
        if topic != self.topic(publisher, number).as_bytes() {
            return Err(format!("{message} came on {topic_text}"));
        }
        let expected = self.body(publisher, number);
        if payload.len() != expected.len() {
            return Err(format!("{message} has {} bytes of {}", payload.len(), expected.len()));
        }
        if payload[NUMBERED_BYTES..] != expected[NUMBERED_BYTES..] {
            return Err(format!("{message} has other content than was sent"));
        }
        Ok(Number { publisher, number })
    }

    fn topic(&self, publisher: usize, number: u64) -> &str {
        &self.topics[((publisher as u64).wrapping_add(number) % self.topics.len() as u64) as usize]
    }

    /// The payload before time and number are written over it.
    fn body(&self, publisher: usize, number: u64) -> &[u8] {
        let mixed = mix(self.seed ^ ((publisher as u64) << 48) ^ number);
        let Sizes { least, most } = self.sizes;
        let size = if least == most { least } else { least + mixed as usize % (most - least + 1) };
        let phase = (number.wrapping_add(publisher as u64 * 31) % PHASES) as usize;
        &self.pattern[phase..phase + size]
    }
}

/// The time at the front of a payload; `None`: it was not timed.
pub(crate) fn stamp_of(payload: &[u8]) -> Option<u64> {
    payload.get(..STAMP_BYTES).and_then(be).filter(|stamp| *stamp != 0)
}

fn be(bytes: &[u8]) -> Option<u64> {
    Some(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// A bijection that leaves no pattern (the finalizer of `SplitMix64`).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// The frames of one publisher, encoded once and sent again and again in blocks.
#[derive(Debug)]
pub(crate) struct Blocks {
    bytes: Vec<u8>,
    blocks: Vec<Block>,
    next: usize,
}

/// Adjacent frames that go out in one write.
#[derive(Debug)]
struct Block {
    bytes: Range<usize>,
    /// Where each frame ends, in the cycle's bytes, and the payload bytes up to there.
    ends: Vec<(usize, u64)>,
    stamp_at: Option<usize>,
}

impl Blocks {
    /// The cycle of messages of `publisher`: every topic comes equally often.
    pub(crate) fn new(traffic: &Traffic, publisher: usize) -> Blocks {
        let round = traffic.topics.len() as u64;
        let varied = if traffic.sizes.is_one() { 1 } else { VARIED_MESSAGES };
        let (mut bytes, mut blocks) = (Vec::new(), Vec::new());
        let mut block = Block::at(0);
        let mut payload = 0;
        for number in 0.. {
            let whole_round = number > 0 && number % round == 0;
            let enough = bytes.len() >= BLOCK_BYTES && number >= varied;
            if whole_round && (enough || bytes.len() >= MAX_CYCLE_BYTES) {
                break;
            }
            let start = bytes.len();
            let size = traffic.encode(publisher, number, 0, &mut bytes);
            if bytes.len() - block.bytes.start > BLOCK_BYTES && !block.ends.is_empty() {
                let next = Block::at(start);
                blocks.push(std::mem::replace(&mut block, next));
                payload = 0;
            }
            if block.ends.is_empty() && size >= STAMP_BYTES {
                block.stamp_at = Some(bytes.len() - size);
            }
            payload += size as u64;
            block.ends.push((bytes.len(), payload));
            block.bytes.end = bytes.len();
        }
        blocks.push(block);
        Blocks { bytes, blocks, next: 0 }
    }

    /// The next block, its first message timed `stamp`: its bytes, its messages (`most` at most),
    /// its payload bytes.
    pub(crate) fn next(&mut self, stamp: u64, most: u64) -> (&[u8], u64, u64) {
        let block = &self.blocks[self.next];
        self.next = (self.next + 1) % self.blocks.len();
        if let Some(at) = block.stamp_at {
            self.bytes[at..at + STAMP_BYTES].copy_from_slice(&stamp.to_be_bytes());
        }
        let messages = (block.ends.len() as u64).min(most.max(1));
        let (end, payload) = block.ends[messages as usize - 1];
        (&self.bytes[block.bytes.start..end], messages, payload)
    }
}

impl Block {
    fn at(start: usize) -> Block {
        Block { bytes: start..start, ends: Vec::new(), stamp_at: None }
    }
}

#[cfg(test)]
mod tests {
    use wire::native::frame::{Frame, Reader};

    use super::*;
    use crate::bench::plan::{Amount, Place};

    fn plan(topics: usize, sizes: &str, verify: bool) -> Plan {
        Plan {
            place: Place::Embedded,
            broker_pid: None,
            publishers: 1,
            subscribers: 1,
            topics,
            wildcard: false,
            sizes: Sizes::parse(sizes).unwrap(),
            seed: 7,
            amount: Amount::Messages(1),
            rate: None,
            verify,
            runs: 1,
        }
    }

    #[test]
    fn numbered_messages_are_told_apart_and_any_changed_byte_is_seen() {
        let traffic = Traffic::new(&plan(3, "20..64", true));
        for number in 0..50 {
            let mut bytes = Vec::new();
            traffic.encode(2, number, 99, &mut bytes);
            let frame = Frame::decode(&bytes, Reader::Client, 1 << 20).unwrap().unwrap();
            let expected = Number { publisher: 2, number };
            assert_eq!(traffic.check(frame.topic, frame.body), Ok(expected));
            assert_eq!(stamp_of(frame.body), Some(99));
            // Behind the time every byte counts.
            for at in STAMP_BYTES..frame.body.len() {
                let mut body = frame.body.to_vec();
                body[at] ^= 0x55;
                let checked = traffic.check(frame.topic, &body);
                assert!(checked != Ok(expected), "{number} {at}");
            }
            assert!(traffic.check(b"bench.9", frame.body).is_err());
            assert!(traffic.check(frame.topic, &frame.body[..frame.body.len() - 1]).is_err());
        }
    }

    #[test]
    fn blocks_are_whole_frames_that_visit_every_topic_equally_often() {
        for (topics, sizes) in [(1, "128"), (1_000, "100"), (7, "0..300"), (2, "100000"), (1, "0")]
        {
            let traffic = Traffic::new(&plan(topics, sizes, false));
            let mut blocks = Blocks::new(&traffic, 0);
            let mut seen = std::collections::HashMap::<Vec<u8>, u64>::new();
            for _ in 0..blocks.blocks.len() {
                let (mut bytes, messages, payload) = blocks.next(5, u64::MAX);
                assert!(bytes.len() <= BLOCK_BYTES || messages == 1);
                let (mut frames, mut payloads) = (0, 0);
                while !bytes.is_empty() {
                    let frame = Frame::decode(bytes, Reader::Client, 1 << 20).unwrap().unwrap();
                    let timed = frames == 0 && frame.body.len() >= STAMP_BYTES;
                    assert!(!timed || stamp_of(frame.body) == Some(5));
                    *seen.entry(frame.topic.to_vec()).or_default() += 1;
                    (frames, payloads) = (frames + 1, payloads + frame.body.len() as u64);
                    bytes = &bytes[frame.encoded_len()..];
                }
                assert_eq!((frames, payloads), (messages, payload));
            }
            assert_eq!(seen.len(), topics);
            let counts: std::collections::HashSet<_> = seen.values().collect();
            assert_eq!(counts.len(), 1, "{topics} topics of {sizes} bytes");
        }
    }

    #[test]
    fn a_block_is_cut_short_at_a_frame() {
        let traffic = Traffic::new(&plan(1, "10", false));
        let (bytes, messages, payload) = Blocks::new(&traffic, 0).next(1, 3).to_owned_parts();
        assert_eq!((bytes, messages, payload), (3 * (8 + 7 + 10), 3, 30));
    }

    trait Parts {
        fn to_owned_parts(self) -> (usize, u64, u64);
    }

    impl Parts for (&[u8], u64, u64) {
        fn to_owned_parts(self) -> (usize, u64, u64) {
            (self.0.len(), self.1, self.2)
        }
    }
}
