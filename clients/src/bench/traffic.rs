//! The messages of a benchmark: their topics, sizes and bytes, all computed from plan and seed.
//!
//! Both ends use it: publishers to make messages, subscribers to check what has arrived. Must not
//! do I/O.
//!
//! A payload of 8 bytes or more begins with the time that latency counts from, in nanoseconds of
//! the run's clock, 0 for "not timed". With `--verify`, publisher (u32) and number (u64) follow.
//! The rest is a pattern that depends on both.

use std::fmt;
use std::ops::Range;

use crate::bench::plan::{Plan, Sizes};
use crate::bench::protocol::{Protocol, Shape};

/// Bytes of a time at the front of a payload.
pub(crate) const STAMP_BYTES: usize = 8;
/// Bytes of time, publisher and number at the front of a payload.
pub(crate) const NUMBERED_BYTES: usize = 20;

/// What topics begin with; their numbers follow.
const TOPICS: &str = "bench.";
/// All of them.
const ALL_TOPICS: &str = "bench.>";
/// The pattern of payloads begins at one of so many offsets.
const PHASES: u64 = 251;

/// What is published.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    protocol: Protocol,
    topics: Vec<String>,
    wildcard: bool,
    sizes: Sizes,
    seed: u64,
    numbered: bool,
    pattern: Vec<u8>,
    shape: Option<Shape>,
}

/// A message that is numbered, as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    /// Which publisher.
    pub(crate) publisher: usize,
    /// Which of its messages, from 0.
    pub(crate) number: u64,
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {} of publisher {}", self.number, self.publisher)
    }
}

impl Traffic {
    /// The traffic that `plan` asks for.
    pub(crate) fn new(plan: &Plan) -> Traffic {
        // Equally long topics make equally long messages.
        let width = (plan.topics - 1).to_string().len();
        let topics = (0..plan.topics).map(|i| format!("{TOPICS}{i:0width$}")).collect();
        let bytes = plan.sizes.most + PHASES as usize;
        let pattern = (0..bytes as u64).map(|i| (i % PHASES) as u8).collect();
        let mut traffic = Traffic {
            protocol: plan.protocol,
            topics,
            wildcard: plan.wildcard,
            sizes: plan.sizes,
            seed: plan.seed,
            numbered: plan.verify,
            pattern,
            shape: None,
        };
        let sid = traffic.filters().next().map_or("", |(_, sid)| sid);
        let shape = plan.protocol.shape(&traffic.topics[0], sid, plan.sizes.least);
        traffic.shape = plan.sizes.is_one().then_some(shape);
        traffic
    }

    /// How many topics there are; publishers publish to them in turn.
    pub(crate) fn topic_count(&self) -> u64 {
        self.topics.len() as u64
    }

    /// The filters of a subscriber, each with a name for the subscription. The names are equally
    /// long.
    pub(crate) fn filters(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.wildcard.then_some((ALL_TOPICS, "0"));
        let topics = if self.wildcard { &[][..] } else { &self.topics };
        topics.iter().map(|topic| (topic.as_str(), &topic[TOPICS.len()..])).chain(all)
    }

    /// What deliveries look like, if all are equally long.
    pub(crate) fn shape(&self) -> Option<&Shape> {
        self.shape.as_ref()
    }

    /// Whether all payloads are equally long.
    pub(crate) fn is_of_one_size(&self) -> bool {
        self.sizes.is_one()
    }

    /// Appends message `number` of `publisher`, timed `stamp`, to `out`; returns where its payload
    /// is in there.
    pub(crate) fn encode(
        &self,
        publisher: usize,
        number: u64,
        stamp: u64,
        out: &mut Vec<u8>,
    ) -> Range<usize> {
        self.put(publisher, number, stamp, None, out)
    }

    /// The same for a request, to be answered at `reply`.
    pub(crate) fn encode_request(
        &self,
        publisher: usize,
        number: u64,
        reply: &[u8],
        out: &mut Vec<u8>,
    ) -> Range<usize> {
        self.put(publisher, number, 0, Some(reply), out)
    }

    fn put(
        &self,
        publisher: usize,
        number: u64,
        stamp: u64,
        reply: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Range<usize> {
        let topic = self.topic(publisher, number).as_bytes();
        let body = self.body(publisher, number);
        let place = self.protocol.publish(topic, reply, body, out);
        let payload = &mut out[place.clone()];
        if payload.len() >= STAMP_BYTES {
            payload[..STAMP_BYTES].copy_from_slice(&stamp.to_be_bytes());
        }
        if self.numbered {
            // The plan's sizes leave room for it.
            payload[8..12].copy_from_slice(&(publisher as u32).to_be_bytes());
            payload[12..20].copy_from_slice(&number.to_be_bytes());
        }
        place
    }

    /// Which message this is, if its topic and all its bytes are as expected.
    ///
    /// # Errors
    /// What differs.
    pub(crate) fn check(&self, topic: &[u8], payload: &[u8]) -> Result<Number, String> {
        let topic_text = String::from_utf8_lossy(topic);
        let came = self.check_payload(payload).map_err(|what| format!("{what} on {topic_text}"))?;
        if topic != self.topic(came.publisher, came.number).as_bytes() {
            return Err(format!("{came} came on {topic_text}"));
        }
        Ok(came)
    }

    /// Which message this is, if all bytes of its payload are as expected.
    ///
    /// # Errors
    /// What differs.
    pub(crate) fn check_payload(&self, payload: &[u8]) -> Result<Number, String> {
        let (Some(publisher), Some(number)) =
            (payload.get(8..12).and_then(be), payload.get(12..20).and_then(be))
        else {
            return Err(format!("a message of {} bytes", payload.len()));
        };
        let came = Number { publisher: publisher as usize, number };
        let expected = self.body(came.publisher, number);
        if payload.len() != expected.len() {
            return Err(format!("{came} has {} bytes of {}", payload.len(), expected.len()));
        }
        if payload[NUMBERED_BYTES..] != expected[NUMBERED_BYTES..] {
            return Err(format!("{came} has other content than was sent"));
        }
        Ok(came)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::protocol::Incoming;

    #[test]
    fn numbered_messages_are_told_apart_and_any_changed_byte_is_seen() {
        let sizes = Sizes::parse("20..64").unwrap();
        for protocol in [Protocol::Native, Protocol::Nats] {
            let plan = Plan { topics: 3, sizes, verify: true, protocol, ..Plan::example() };
            let traffic = Traffic::new(&plan);
            for number in 0..50 {
                let mut bytes = Vec::new();
                let place = traffic.encode(2, number, 99, &mut bytes);
                let (topic, body) = (traffic.topic(2, number).as_bytes(), &bytes[place]);
                let expected = Number { publisher: 2, number };
                assert_eq!(traffic.check(topic, body), Ok(expected));
                assert_eq!(stamp_of(body), Some(99));
                // Every byte after the time counts.
                for at in STAMP_BYTES..body.len() {
                    let mut body = body.to_vec();
                    body[at] ^= 0x55;
                    let checked = traffic.check(topic, &body);
                    assert!(checked != Ok(expected), "{number} {at}");
                }
                assert!(traffic.check(b"bench.9", body).is_err());
                assert!(traffic.check(topic, &body[..body.len() - 1]).is_err());
            }
        }
    }

    #[test]
    fn deliveries_of_all_topics_have_the_shape() {
        for (topics, wildcard) in [(1, false), (11, false), (11, true)] {
            let sizes = Sizes::parse("100").unwrap();
            let protocol = Protocol::Nats;
            let plan = Plan { topics, sizes, wildcard, protocol, ..Plan::example() };
            let traffic = Traffic::new(&plan);
            let shape = traffic.shape().unwrap();
            let sids: Vec<_> = traffic.filters().map(|(_, sid)| sid).collect();
            for (number, topic) in traffic.topics.iter().enumerate() {
                let sid = if wildcard { sids[0] } else { sids[number] };
                let message = format!("MSG {topic} {sid} 100\r\n{}\r\n", "x".repeat(100));
                assert!(shape.begins(message.as_bytes()), "{message}");
                let read = protocol.decode(message.as_bytes()).unwrap().unwrap();
                assert!(matches!(read.0, Incoming::Message(_)) && read.1 == shape.total_bytes);
                let other = message.replace(" 100\r\n", " 101\r\n");
                assert!(!shape.begins(other.as_bytes()));
            }
        }
    }
}
