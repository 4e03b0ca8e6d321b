//! A publisher's messages as blocks of bytes: encoded once, written again and again.
//!
//! Owns how long a block and a cycle of them are. What is in a message is `traffic`'s business.

use std::ops::Range;

use crate::bench::traffic::{STAMP_BYTES, Traffic};

/// Bytes of messages in one write.
const BLOCK_BYTES: usize = 64 << 10;
/// With random sizes, how many messages there are before they repeat.
const VARIED_MESSAGES: u64 = 4_096;
/// Unless there are more topics, a publisher repeats its messages after this many bytes at most.
const MAX_CYCLE_BYTES: usize = 4 << 20;

/// The messages of one publisher, encoded once and sent again and again in blocks.
#[derive(Debug)]
pub(crate) struct Blocks {
    bytes: Vec<u8>,
    blocks: Vec<Block>,
    next: usize,
}

/// Adjacent messages that go out in one write.
#[derive(Debug)]
struct Block {
    bytes: Range<usize>,
    /// Where each message ends, in the cycle's bytes, and the payload bytes up to there.
    ends: Vec<(usize, u64)>,
    stamp_at: Option<usize>,
}

impl Blocks {
    /// The cycle of messages of `publisher`: every topic comes equally often.
    pub(crate) fn new(traffic: &Traffic, publisher: usize) -> Blocks {
        let round = traffic.topic_count();
        let varied = if traffic.is_of_one_size() { 1 } else { VARIED_MESSAGES };
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
            let place = traffic.encode(publisher, number, 0, &mut bytes);
            if bytes.len() - block.bytes.start > BLOCK_BYTES && !block.ends.is_empty() {
                let next = Block::at(start);
                blocks.push(std::mem::replace(&mut block, next));
                payload = 0;
            }
            if block.ends.is_empty() && place.len() >= STAMP_BYTES {
                block.stamp_at = Some(place.start);
            }
            payload += place.len() as u64;
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
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::bench::plan::{Plan, Sizes};
    use crate::bench::protocol::Protocol;
    use crate::bench::traffic::stamp_of;
    use wire::native::frame::{Frame, Reader};
    use wire::nats::line::{self, Line};

    fn traffic(topics: usize, sizes: &str, protocol: Protocol) -> Traffic {
        let sizes = Sizes::parse(sizes).unwrap();
        Traffic::new(&Plan { topics, sizes, protocol, ..Plan::example() })
    }

    /// Topic, payload and length of the message that a broker reads first.
    fn first(protocol: Protocol, bytes: &[u8]) -> (&[u8], &[u8], usize) {
        match protocol {
            Protocol::Native => {
                let frame = Frame::decode(bytes, Reader::Client, 1 << 20).unwrap().unwrap();
                (frame.topic, frame.body, frame.encoded_len())
            }
            Protocol::Nats => {
                let Ok(Some((Line::Publish(publish), start))) = line::parse(bytes, 100) else {
                    panic!("it is a PUB");
                };
                let end = start + publish.total_bytes as usize;
                assert_eq!(&bytes[end..end + 2], b"\r\n");
                (publish.subject, &bytes[start..end], end + 2)
            }
        }
    }

    #[test]
    fn blocks_are_whole_messages_that_visit_every_topic_equally_often() {
        let loads = [(1, "128"), (1_000, "100"), (7, "0..300"), (2, "100000"), (1, "0")];
        let protocols = [Protocol::Native, Protocol::Nats];
        for ((topics, sizes), protocol) in
            loads.into_iter().flat_map(|load| protocols.map(|protocol| (load, protocol)))
        {
            let mut blocks = Blocks::new(&traffic(topics, sizes, protocol), 0);
            let mut seen = HashMap::<Vec<u8>, u64>::new();
            for _ in 0..blocks.blocks.len() {
                let (mut bytes, messages, payload) = blocks.next(5, u64::MAX);
                assert!(bytes.len() <= BLOCK_BYTES || messages == 1);
                let (mut count, mut payloads) = (0, 0);
                while !bytes.is_empty() {
                    let (topic, body, length) = first(protocol, bytes);
                    let timed = count == 0 && body.len() >= STAMP_BYTES;
                    assert!(!timed || stamp_of(body) == Some(5));
                    *seen.entry(topic.to_vec()).or_default() += 1;
                    (count, payloads) = (count + 1, payloads + body.len() as u64);
                    bytes = &bytes[length..];
                }
                assert_eq!((count, payloads), (messages, payload));
            }
            assert_eq!(seen.len(), topics);
            let counts: HashSet<_> = seen.values().collect();
            assert_eq!(counts.len(), 1, "{topics} topics of {sizes} bytes");
        }
    }

    #[test]
    fn a_block_is_cut_short_at_a_message() {
        for (protocol, each) in [(Protocol::Native, 8 + 7 + 10), (Protocol::Nats, 16 + 10 + 2)] {
            let mut blocks = Blocks::new(&traffic(1, "10", protocol), 0);
            let (bytes, messages, payload) = blocks.next(1, 3);
            assert_eq!((bytes.len(), messages, payload), (3 * each, 3, 30));
        }
    }
}
