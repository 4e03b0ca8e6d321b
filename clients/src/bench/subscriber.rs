//! One subscriber's bytes, cut into messages and counted. Does not wait for anything.
//!
//! Between two calls, either `partial` holds the whole beginning of what is unfinished, or
//! `passed` counts the bytes of what is unfinished and known to be a message; never both.

use std::io::Write;

use socket2::Socket;

use crate::bench::account::Account;
use crate::bench::failure::Failure;
use crate::bench::protocol::{Incoming, Message, Protocol, Shape};
use crate::bench::traffic::{STAMP_BYTES, Traffic, stamp_of};

/// One subscriber.
#[derive(Debug)]
pub(crate) struct Subscriber {
    /// Which one.
    pub(crate) index: usize,
    /// Its connection.
    pub(crate) stream: Socket,
    /// When its bytes were last really read.
    pub(crate) looked_ns: u64,
    /// It has confirmed that it has received everything.
    pub(crate) ponged: bool,
    partial: Vec<u8>,
    passed: usize,
    /// The number that is due next of each publisher.
    due: Vec<u64>,
}

/// What all subscribers of a run have received.
#[derive(Debug)]
pub(crate) struct Tally<'a> {
    protocol: Protocol,
    shape: Option<&'a Shape>,
    verify: Option<&'a Traffic>,
    messages: u64,
    bytes: u64,
    /// What they have measured besides their number.
    pub(crate) account: Account,
}

impl<'a> Tally<'a> {
    /// Nothing yet. `shape`: what all messages look like; `verify`: what they must be.
    pub(crate) fn new(
        protocol: Protocol,
        shape: Option<&'a Shape>,
        verify: Option<&'a Traffic>,
    ) -> Tally<'a> {
        Tally { protocol, shape, verify, messages: 0, bytes: 0, account: Account::new() }
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
            self.account.latency.saturating_record(now.saturating_sub(stamp).max(1));
        }
    }

    fn fault(&mut self, text: impl FnOnce() -> String) {
        self.account.faults.add(text);
    }
}

impl Subscriber {
    /// A connection, and bytes already received on it.
    pub(crate) fn new(
        index: usize,
        stream: Socket,
        partial: Vec<u8>,
        publishers: usize,
    ) -> Subscriber {
        let due = vec![0; publishers];
        Subscriber { index, stream, looked_ns: 0, ponged: false, partial, passed: 0, due }
    }

    /// Whether its next bytes must not be discarded, since they are the first ones, or end
    /// something that is not known to be a message.
    pub(crate) fn must_read(&self) -> bool {
        self.looked_ns == 0 || !self.partial.is_empty()
    }

    /// Counts `n` bytes that were discarded, all of them being messages.
    pub(crate) fn skip(&mut self, n: usize, tally: &mut Tally<'_>) {
        debug_assert!(self.partial.is_empty());
        if let Some(shape) = tally.shape {
            let bytes = self.passed + n;
            self.passed = bytes % shape.total_bytes;
            tally.add((bytes / shape.total_bytes) as u64, shape.payload_bytes);
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

    /// Counts what is in `bytes`, which arrived until `now`.
    ///
    /// # Errors
    /// A failure that the broker reported; `None`: the bytes are not of its protocol.
    pub(crate) fn read(
        &mut self,
        bytes: &[u8],
        now: u64,
        tally: &mut Tally<'_>,
    ) -> Result<(), Option<Failure>> {
        let mut rest = bytes;
        if self.passed > 0
            && let Some(shape) = tally.shape
        {
            let missing = shape.total_bytes - self.passed;
            if rest.len() < missing {
                self.passed += rest.len();
                return Ok(());
            }
            tally.add(1, shape.payload_bytes);
            self.passed = 0;
            rest = &rest[missing..];
        }
        while !rest.is_empty() {
            if let Some(shape) = tally.shape
                && shape.begins(rest)
            {
                let whole = rest.len() >= shape.total_bytes;
                let seen = &rest[..rest.len().min(shape.total_bytes)];
                let timed = timed(seen, shape, now, tally);
                if !whole && timed {
                    self.passed = rest.len();
                    return Ok(());
                }
                if !whole {
                    break;
                }
                tally.add(1, shape.payload_bytes);
                rest = &rest[shape.total_bytes..];
                continue;
            }
            match tally.protocol.decode(rest) {
                Ok(None) => break,
                Ok(Some((incoming, length))) => {
                    self.incoming(incoming, now, tally)?;
                    rest = &rest[length..];
                }
                Err(_) => return Err(None),
            }
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    fn incoming(
        &mut self,
        incoming: Incoming<'_>,
        now: u64,
        tally: &mut Tally<'_>,
    ) -> Result<(), Option<Failure>> {
        match incoming {
            Incoming::Message(message) => self.message(&message, now, tally)?,
            Incoming::Ping(asked) => {
                let mut pong = Vec::new();
                tally.protocol.pong(asked, &mut pong);
                // A closed connection is detected by the next read.
                let _ = (&self.stream).write(&pong);
            }
            Incoming::Pong => self.ponged = true,
            Incoming::Lost(messages) => tally.account.told_lost += messages,
            Incoming::Refusal(text) => {
                let text = format!("subscriber {}: the broker says {text}", self.index);
                return Err(Some(Failure::new(text)));
            }
            Incoming::Welcome(_) | Incoming::NoResponders | Incoming::Other => {}
        }
        Ok(())
    }

    fn message(
        &mut self,
        message: &Message<'_>,
        now: u64,
        tally: &mut Tally<'_>,
    ) -> Result<(), Option<Failure>> {
        if tally.shape.is_some() {
            // Messages of one length are counted before this: this one is from another publisher.
            let topic = String::from_utf8_lossy(message.topic);
            return Err(Some(Failure::new(format!(
                "subscriber {}: a message of {} bytes on {topic} is not ours; does somebody else \
                 publish to bench.>?",
                self.index,
                message.payload.len()
            ))));
        }
        tally.add(1, message.payload.len());
        tally.time(message.payload, now);
        if let Some(traffic) = tally.verify {
            match traffic.check(message.topic, message.payload) {
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

/// Looks at the time in a message that may be unfinished. `false`: it is not there yet.
fn timed(seen: &[u8], shape: &Shape, now: u64, tally: &mut Tally<'_>) -> bool {
    if shape.payload_bytes < STAMP_BYTES {
        return true;
    }
    let there = seen.len() >= shape.payload_at + STAMP_BYTES;
    if there {
        tally.time(&seen[shape.payload_at..], now);
    }
    there
}

#[cfg(test)]
mod tests;
