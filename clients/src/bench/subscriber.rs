//! One subscriber's bytes, cut into frames and counted. Does not wait for anything.
//!
//! Between two calls, either `partial` holds the whole beginning of an unfinished frame, or
//! `passed` counts the bytes of an unfinished frame that is known to be a message; never both.

use std::io::Write;
use std::net::TcpStream;

use hdrhistogram::Histogram;
use wire::native::frame::{self, Frame, Kind, Reader};

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
mod tests;
