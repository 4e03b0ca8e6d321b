//! One subscriber's bytes, cut into frames and counted. Does not wait for anything.
//!
//! Between two calls, either `partial` holds the whole beginning of an unfinished frame, or
//! `passed` counts the bytes of an unfinished frame that is known to be a message; never both.

use std::io::Write;
use std::net::TcpStream;

use broker::wire::frame::{self, Frame, Kind, Reader};
use hdrhistogram::Histogram;

use crate::bench::failure::Failure;
use crate::bench::link;
use crate::bench::traffic::{STAMP_BYTES, Traffic, Uniform, stamp_of};

/// How many faults are told in words.
const TOLD_FAULTS: usize = 10;

/// One subscriber.
#[derive(Debug)]
pub(crate) struct Subscriber {
    /// Which one.
    pub(crate) index: usize,
    /// Its connection.
    pub(crate) stream: TcpStream,
    /// When its bytes were last really read.
    pub(crate) looked_ns: u64,
    /// It has answered for having received everything.
    pub(crate) ponged: bool,
    partial: Vec<u8>,
    passed: usize,
    /// The number that is due next of each publisher.
    due: Vec<u64>,
}

/// What all subscribers of a run have received.
#[derive(Debug)]
pub(crate) struct Tally<'a> {
    uniform: Option<Uniform>,
    verify: Option<&'a Traffic>,
    messages: u64,
    bytes: u64,
    /// Latency of the messages that were timed, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// Messages that LOST told of.
    pub(crate) told_lost: u64,
    /// What is wrong with what came, the first few in words.
    pub(crate) faults: Vec<String>,
    /// How much is.
    pub(crate) fault_count: u64,
}

impl<'a> Tally<'a> {
    /// Nothing yet. `uniform`: how all messages begin; `verify`: what they must be.
    pub(crate) fn new(
        uniform: Option<Uniform>,
        verify: Option<&'a Traffic>,
        latency: Histogram<u64>,
    ) -> Tally<'a> {
        Tally {
            uniform,
            verify,
            messages: 0,
            bytes: 0,
            latency,
            told_lost: 0,
            faults: Vec::new(),
            fault_count: 0,
        }
    }

    /// Messages and bytes of payload since the last call.
    pub(crate) fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.messages), std::mem::take(&mut self.bytes))
    }

    fn add(&mut self, messages: u64, payload: usize) {
        self.messages += messages;
        self.bytes += messages * payload as u64;
    }

    fn time(&mut self, payload: &[u8], now: u64) {
        if let Some(stamp) = stamp_of(payload) {
            self.latency.saturating_record(now.saturating_sub(stamp).max(1));
        }
    }

    fn fault(&mut self, text: impl FnOnce() -> String) {
        self.fault_count += 1;
        if self.faults.len() < TOLD_FAULTS {
            self.faults.push(text());
        }
    }
}

impl Subscriber {
    /// A connection, and bytes that came on it already.
    pub(crate) fn new(
        index: usize,
        stream: TcpStream,
        partial: Vec<u8>,
        publishers: usize,
    ) -> Subscriber {
        let due = vec![0; publishers];
        Subscriber { index, stream, looked_ns: 0, ponged: false, partial, passed: 0, due }
    }

    /// Whether its next bytes must not be thrown away, since they are the first ones, or end a
    /// frame that is not known to be a message.
    pub(crate) fn must_read(&self) -> bool {
        self.looked_ns == 0 || !self.partial.is_empty()
    }

    /// Counts `n` bytes that were thrown away, all of them being messages.
    pub(crate) fn skip(&mut self, n: usize, tally: &mut Tally<'_>) {
        debug_assert!(self.partial.is_empty());
        if let Some(uniform) = tally.uniform {
            let bytes = self.passed + n;
            self.passed = bytes % uniform.frame_bytes;
            tally.add((bytes / uniform.frame_bytes) as u64, uniform.payload_bytes);
        }
    }

    /// Puts what was left of the last read at the front of `scratch`, with room for `room` bytes
    /// behind it; returns its length.
    pub(crate) fn restore(&mut self, scratch: &mut Vec<u8>, room: usize) -> usize {
        let kept = self.partial.len();
        if scratch.len() < kept + room {
            scratch.resize(kept + room, 0);
        }
        scratch[..kept].copy_from_slice(&self.partial);
        self.partial.clear();
        kept
    }

    /// Counts what is in `bytes`, which came until `now`.
    ///
    /// # Errors
    /// A failure that the broker told of; `None`: the bytes are not frames.
    pub(crate) fn read(
        &mut self,
        bytes: &[u8],
        now: u64,
        tally: &mut Tally<'_>,
    ) -> Result<(), Option<Failure>> {
        let mut rest = bytes;
        if self.passed > 0
            && let Some(uniform) = tally.uniform
        {
            let missing = uniform.frame_bytes - self.passed;
            if rest.len() < missing {
                self.passed += rest.len();
                return Ok(());
            }
            tally.add(1, uniform.payload_bytes);
            self.passed = 0;
            rest = &rest[missing..];
        }
        while !rest.is_empty() {
            if let Some(uniform) = tally.uniform
                && rest.starts_with(&uniform.header)
            {
                let whole = rest.len() >= uniform.frame_bytes;
                let seen = &rest[..rest.len().min(uniform.frame_bytes)];
                let timed = self.timed(seen, &uniform, now, tally);
                if !whole && timed {
                    self.passed = rest.len();
                    return Ok(());
                }
                if !whole {
                    break;
                }
                tally.add(1, uniform.payload_bytes);
                rest = &rest[uniform.frame_bytes..];
                continue;
            }
            match Frame::decode(rest, Reader::Client, u32::MAX as usize) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    self.frame(&frame, now, tally)?;
                    rest = &rest[frame.encoded_len()..];
                }
                Err(_) => return Err(None),
            }
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    /// Looks at the time in a message that may be unfinished. `false`: it is not there yet.
    fn timed(&self, seen: &[u8], uniform: &Uniform, now: u64, tally: &mut Tally<'_>) -> bool {
        let Some(at) = uniform.stamp_at else {
            return true;
        };
        let there = seen.len() >= at + STAMP_BYTES;
        if there {
            tally.time(&seen[at..], now);
        }
        there
    }

    fn frame(
        &mut self,
        frame: &Frame<'_>,
        now: u64,
        tally: &mut Tally<'_>,
    ) -> Result<(), Option<Failure>> {
        match frame.kind {
            Kind::Publish => self.message(frame, now, tally)?,
            Kind::Ping => {
                let mut pong = Vec::new();
                frame::encode(Kind::Pong, 0, b"", frame.body, &mut pong);
                // A connection that is gone shows at the next read.
                let _ = (&self.stream).write(&pong);
            }
            Kind::Pong => self.ponged = true,
            Kind::Lost => {
                let told = frame.body.iter().fold(0, |n: u64, byte| n << 8 | u64::from(*byte));
                tally.told_lost += told;
            }
            _ => link::refused(frame)
                .map_err(|why| Failure::new(format!("subscriber {}: {why}", self.index)))?,
        }
        Ok(())
    }

    fn message(
        &mut self,
        frame: &Frame<'_>,
        now: u64,
        tally: &mut Tally<'_>,
    ) -> Result<(), Option<Failure>> {
        if tally.uniform.is_some() {
            // Equally long messages are counted before this: it is somebody else's.
            let topic = String::from_utf8_lossy(frame.topic);
            return Err(Some(Failure::new(format!(
                "subscriber {}: a message of {} bytes on {topic} is not ours; does somebody else \
                 publish to bench.>?",
                self.index,
                frame.body.len()
            ))));
        }
        tally.add(1, frame.body.len());
        tally.time(frame.body, now);
        if let Some(traffic) = tally.verify {
            match traffic.check(frame.topic, frame.body) {
                Ok(came) => self.in_order(came.publisher, came.number, tally),
                Err(what) => tally.fault(|| format!("subscriber {}: {what}", self.index)),
            }
        }
        Ok(())
    }

    fn in_order(&mut self, publisher: usize, number: u64, tally: &mut Tally<'_>) {
        let index = self.index;
        let Some(due) = self.due.get_mut(publisher) else {
            return tally
                .fault(|| format!("subscriber {index}: there is no publisher {publisher}"));
        };
        let expected = *due;
        *due = number + 1;
        if number == expected {
            return;
        }
        tally.fault(|| {
            let what = if number > expected { "a gap" } else { "out of order, or twice" };
            format!(
                "subscriber {index}: message {number} of publisher {publisher} came where \
                 {expected} was due: {what}"
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::bench::plan::{Amount, Place, Plan, Sizes};
    use crate::bench::shared::latency_histogram;

    fn plan(verify: bool) -> Plan {
        Plan {
            place: Place::Embedded,
            broker_pid: None,
            publishers: 2,
            subscribers: 1,
            topics: 3,
            wildcard: false,
            sizes: Sizes::parse("24").unwrap(),
            seed: 1,
            amount: Amount::Messages(1),
            rate: None,
            verify,
            runs: 1,
        }
    }

    fn subscriber() -> Subscriber {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Subscriber::new(0, stream, Vec::new(), 2)
    }

    /// Four messages, of which two are timed, with a LOST of 3 in their middle.
    fn stream(traffic: &Traffic) -> Vec<u8> {
        let mut bytes = Vec::new();
        traffic.encode(0, 0, 1, &mut bytes);
        traffic.encode(0, 1, 0, &mut bytes);
        frame::encode(Kind::Lost, 0, b"", &3u64.to_be_bytes(), &mut bytes);
        traffic.encode(1, 0, 2, &mut bytes);
        traffic.encode(1, 1, 0, &mut bytes);
        bytes
    }

    fn feed(one: &mut Subscriber, bytes: &[u8], tally: &mut Tally<'_>) {
        let mut scratch = Vec::new();
        let kept = one.restore(&mut scratch, bytes.len());
        scratch[kept..kept + bytes.len()].copy_from_slice(bytes);
        one.read(&scratch[..kept + bytes.len()], 10, tally).unwrap();
    }

    #[test]
    fn frames_are_counted_wherever_the_bytes_are_split() {
        for verify in [false, true] {
            let plan = plan(verify);
            let traffic = Traffic::new(&plan);
            let bytes = stream(&traffic);
            for first in 0..=bytes.len() {
                for second in [first, (first + 1).min(bytes.len()), bytes.len()] {
                    let uniform = traffic.uniform().filter(|_| !verify);
                    let checked = verify.then_some(&traffic);
                    let mut tally = Tally::new(uniform, checked, latency_histogram());
                    let mut one = subscriber();
                    for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                        feed(&mut one, piece, &mut tally);
                    }
                    assert_eq!(tally.take_counts(), (4, 96), "{verify} {first} {second}");
                    assert_eq!((tally.latency.len(), tally.told_lost), (2, 3));
                    assert_eq!(tally.faults, Vec::<String>::new());
                }
            }
        }
    }

    #[test]
    fn skipping_and_reading_count_the_same_and_notice_what_is_no_message() {
        let plan = plan(false);
        let traffic = Traffic::new(&plan);
        let mut bytes = Vec::new();
        for number in 0..9 {
            traffic.encode(0, number, 0, &mut bytes);
        }
        for at in 0..bytes.len() {
            let mut tally = Tally::new(traffic.uniform(), None, latency_histogram());
            let mut one = subscriber();
            one.skip(at, &mut tally);
            feed(&mut one, &bytes[at..], &mut tally);
            assert_eq!(tally.take_counts().0, 9, "{at}");

            let mut shifted = subscriber();
            shifted.skip(at + 16, &mut tally);
            let noticed = shifted.read(&bytes[at..], 10, &mut tally).is_err();
            assert!(noticed || bytes.len() - at < 2 * 39, "{at}");
        }
    }

    #[test]
    fn gaps_repeats_and_strangers_are_faults() {
        let plan = plan(true);
        let traffic = Traffic::new(&plan);
        let rows = [
            (vec![(0, 0), (0, 2)], "a gap"),
            (vec![(0, 0), (0, 0)], "out of order, or twice"),
            (vec![(1, 1), (1, 0)], "a gap"),
            (vec![(2, 0)], "there is no publisher 2"),
        ];
        for (messages, expected) in rows {
            let mut tally = Tally::new(None, Some(&traffic), latency_histogram());
            let mut bytes = Vec::new();
            for (publisher, number) in &messages {
                traffic.encode(*publisher, *number, 0, &mut bytes);
            }
            feed(&mut subscriber(), &bytes, &mut tally);
            assert!(tally.faults[0].contains(expected), "{messages:?}: {:?}", tally.faults);
        }
    }

    #[test]
    fn the_brokers_refusal_is_told_in_its_words() {
        use broker::wire::error_code::ErrorCode;
        let plan = plan(false);
        let traffic = Traffic::new(&plan);
        let mut tally = Tally::new(traffic.uniform(), None, latency_histogram());
        let mut bytes = Vec::new();
        frame::encode_error(ErrorCode::SlowConsumer, true, b"", "too slow", &mut bytes);
        let failure = subscriber().read(&bytes, 1, &mut tally).unwrap_err().unwrap();
        let text = failure.to_string();
        assert!(text.contains("SLOW_CONSUMER: too slow"), "{text}");
    }
}
