//! Slices that wait for one subscriber's socket.
//!
//! Owns their order, how far the socket has taken them, and what may be let go of when the
//! connection ends. Must not decide who receives what, nor what happens when it is full.
//!
//! Invariant: `queued` is the sum of the lengths of all slices. Each slice but the first starts at
//! a frame's boundary, or is a tail: all of it belongs to the message that ends the slice before
//! it. The first one's boundary is remembered in `head_origin`. That lies behind its start where
//! only the rest of a half-written frame was kept.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::chunk::{Own, Pool, Slice};

/// An empty queue of messages keeps room for so many slices for the next ones. Behind a frame of
/// the broker's own it keeps none: most connections that have just been answered are idle then.
const KEPT_SLICES: usize = 64;
/// A slice of so many bytes at most is copied when another short part comes behind it.
pub(crate) const SHORT_BYTES: usize = 512;
/// What compaction gathers into one chunk at most, in bytes.
const GATHERED_BYTES: usize = 256 << 10;

/// How far a frame reaches, which may be into the tails behind its slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Bytes of it.
    pub(crate) length: usize,
    /// Whether it is a message.
    pub(crate) is_message: bool,
}

/// Finds the extent of the frame that begins here, in the protocol of the connection; `None` if not
/// even that is there.
pub(crate) type Walk = fn(&[u8]) -> Option<Extent>;

/// What waits for one connection.
#[derive(Default)]
pub(crate) struct Outbox {
    slices: VecDeque<Slice>,
    queued: usize,
    /// Bytes of WELCOME, PONG and ERROR among them.
    answers: usize,
    /// Where the first slice began before the socket took a part of it; or where the frame ends
    /// of which only a rest was kept, and whether that one is a message.
    head_origin: usize,
    head_is_message: bool,
    /// Bytes of a PING that are still queued, and bytes that stand in front of it.
    ping: usize,
    before_ping: usize,
}

impl Outbox {
    /// Bytes that wait.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// How many slices wait.
    pub(crate) fn slice_count(&self) -> usize {
        self.slices.len()
    }

    /// Puts the next bytes to write into `into`; returns how many entries, and their bytes.
    pub(crate) fn gather<'a>(&'a self, into: &mut [IoSlice<'a>]) -> (usize, usize) {
        let (mut entries, mut bytes) = (0, 0);
        for (entry, slice) in into.iter_mut().zip(&self.slices) {
            *entry = IoSlice::new(slice.bytes());
            entries += 1;
            bytes += slice.len();
        }
        (entries, bytes)
    }

    pub(crate) fn answers(&self) -> usize {
        self.answers
    }

    pub(crate) fn has_ping(&self) -> bool {
        self.ping > 0
    }

    /// Queues the part `start..end` of `source`: whole frames, or lines of messages whose bodies
    /// follow as tails. Adjacent parts become one slice.
    pub(crate) fn push(&mut self, source: &Slice, start: usize, end: usize) {
        self.queued += end - start;
        match self.slices.back_mut() {
            Some(last) if last.continues_in(source, start) => last.extend(end - start),
            _ => self.append(source.part(start, end)),
        }
    }

    /// Queues a copy of a few messages behind others: appended to a copy of those, if they are few
    /// as well, or were copied before. Returns whether it was; else a slice is to be queued.
    pub(crate) fn append_copy(&mut self, bytes: &[u8]) -> bool {
        let is_head = self.slices.len() == 1;
        let Some(last) = self.slices.back_mut() else { return false };
        // One that the socket has taken a part of keeps its place: its boundary lies before it.
        let is_whole = !is_head || last.start() == self.head_origin;
        if !last.append_copy(bytes, is_whole) {
            let may_be_copied = !last.is_own() && !last.is_tail() && is_whole;
            if !may_be_copied || last.len() > SHORT_BYTES {
                return false;
            }
            *last = last.copy_with(bytes);
        }
        if is_head && is_whole {
            self.head_origin = last.start();
        }
        self.queued += bytes.len();
        true
    }

    /// Queues a part that goes on with the message queued last.
    pub(crate) fn push_tail(&mut self, source: &Slice, start: usize, end: usize) {
        assert!(!self.slices.is_empty(), "the message has begun");
        self.queued += end - start;
        self.slices.push_back(source.part(start, end).with_tail(true));
    }

    /// Queues frames that the broker itself made.
    pub(crate) fn push_own(&mut self, pool: &Pool, bytes: &[u8], own: Own) {
        self.queued += bytes.len();
        self.answers += if own == Own::Answer { bytes.len() } else { 0 };
        let appended = self.slices.back_mut().is_some_and(|last| last.append_own(bytes, own));
        if !appended {
            self.append(Slice::own(pool, bytes, own));
        }
    }

    /// The same for a PING, whose delivery is no sign of life.
    pub(crate) fn push_ping(&mut self, pool: &Pool, bytes: &[u8]) {
        assert!(self.ping == 0, "one PING at a time waits in an outbox");
        self.before_ping = self.queued;
        self.ping = bytes.len();
        self.push_own(pool, bytes, Own::Notice);
    }

    fn append(&mut self, slice: Slice) {
        if self.slices.is_empty() {
            self.head_origin = slice.start();
        }
        self.slices.push_back(slice);
    }

    /// The socket took `count` bytes. Returns whether any of them were not of a PING.
    pub(crate) fn consume(&mut self, count: usize) -> bool {
        assert!(count <= self.queued, "a socket takes no more than it was given");
        self.queued -= count;
        let (mut left, mut last_was_own) = (count, false);
        while let Some(head) = self.slices.front_mut() {
            let taken = left.min(head.len());
            left -= taken;
            if head.is_answers() {
                self.answers -= taken;
            }
            last_was_own = head.is_own();
            if taken < head.len() {
                head.consume(taken);
                break;
            }
            self.slices.pop_front();
            self.head_origin = self.slices.front().map_or(0, Slice::start);
        }
        self.give_back_room(last_was_own);
        count > self.consume_ping(count)
    }

    /// A queue that was long keeps no room for all of it: that is not counted as held.
    fn give_back_room(&mut self, last_was_own: bool) {
        let (length, room) = (self.slices.len(), self.slices.capacity());
        if length == 0 && (last_was_own || room > KEPT_SLICES) {
            self.slices = VecDeque::new();
        } else if room > KEPT_SLICES && length < room / 4 {
            self.slices.shrink_to(room / 2);
        }
    }

    /// Returns how many of `count` taken bytes were of a PING.
    fn consume_ping(&mut self, count: usize) -> usize {
        let before = count.min(self.before_ping);
        self.before_ping -= before;
        let taken = (count - before).min(self.ping);
        self.ping -= taken;
        taken
    }

    /// Drops the messages that wait, but for the rest of one that is half-written; the broker's own
    /// frames stay.
    /// Returns how many messages were dropped.
    pub(crate) fn drop_messages(&mut self, walk: Walk) -> u64 {
        let half = self.half_written(walk);
        let dropped = self.messages(walk) - u64::from(half.is_some_and(|half| half.is_message));
        let slices = std::mem::take(&mut self.slices);
        let before = std::mem::take(self);
        let mut rest = half.map_or(0, |half| half.rest);
        for (position, slice) in slices.into_iter().enumerate() {
            let first = position == 0;
            let kept = match rest.min(slice.len()) {
                _ if slice.is_own() => slice,
                0 => continue,
                part => slice.part(0, part).with_tail(slice.is_tail()),
            };
            rest = rest.saturating_sub(kept.len());
            self.queued += kept.len();
            self.answers += if kept.is_answers() { kept.len() } else { 0 };
            self.append(kept);
            if first {
                self.head_origin = before.head_origin;
                self.head_is_message = before.head_is_message;
            }
        }
        dropped
    }

    /// Nothing more can be written: only messages stay of which nothing was. Returns how many did
    /// not, which is one at most.
    pub(crate) fn keep_whole_messages(&mut self, walk: Walk) -> u64 {
        let half = self.half_written(walk);
        let mut rest = half.map_or(0, |half| half.rest);
        for slice in std::mem::take(self).slices {
            let begun = rest.min(slice.len());
            rest -= begun;
            if !slice.is_own() && begun < slice.len() {
                self.queued += slice.len() - begun;
                self.append(slice.part(begun, slice.len()).with_tail(slice.is_tail()));
            }
        }
        u64::from(half.is_some_and(|half| half.is_message))
    }

    /// Queues its messages, all of them whole and nothing else among them, behind those of another
    /// one, as far as they are taken there. Returns how many are and their bytes, and how many not.
    pub(crate) fn move_messages(
        &mut self,
        to: &mut Outbox,
        walk: Walk,
        mut is_taken: impl FnMut(&[u8]) -> bool,
    ) -> (u64, u64, u64) {
        let (before, mut taken, mut refused) = (to.queued, 0, 0);
        let mut is_last_taken = false;
        for slice in std::mem::take(self).slices {
            if slice.is_tail() {
                if is_last_taken {
                    to.push_tail(&slice, 0, slice.len());
                }
                continue;
            }
            for frame in frames(slice.bytes(), walk) {
                let end = frame.end.min(slice.len());
                is_last_taken = is_taken(&slice.bytes()[frame.start..end]);
                if is_last_taken {
                    to.push(&slice, frame.start, end);
                    taken += 1;
                } else {
                    refused += 1;
                }
            }
        }
        (taken, (to.queued - before) as u64, refused)
    }

    /// Messages that wait, a half-written one included. Walks all frames: for the end of a
    /// connection only.
    pub(crate) fn messages(&self, walk: Walk) -> u64 {
        let in_slices = self.slices.iter().enumerate().map(|(position, slice)| {
            let from = if position == 0 { self.head_origin } else { slice.start() };
            let ends = slice.start().saturating_sub(from);
            if slice.is_tail() {
                // Of the message of the first one nothing else is left.
                return u64::from(position == 0);
            }
            let frames = frames(slice.bytes_from(from), walk).filter(|_| !slice.is_own());
            frames.filter(|frame| frame.end > ends && frame.is_message).count() as u64
        });
        in_slices.sum::<u64>() + u64::from(self.head_is_cut() && self.head_is_message)
    }

    /// The frame at the front of which the socket has taken a part.
    fn half_written(&self, walk: Walk) -> Option<HalfWritten> {
        let head = self.slices.front()?;
        if head.is_tail() {
            return Some(HalfWritten { rest: self.tails(0), is_message: true });
        }
        if self.head_is_cut() {
            let here = self.head_origin - head.start();
            let behind = if here == head.len() { self.tails(1) } else { 0 };
            return Some(HalfWritten { rest: here + behind, is_message: self.head_is_message });
        }
        let taken = head.start() - self.head_origin;
        let mut frames = frames(head.bytes_from(self.head_origin), walk);
        let frame = frames.find(|frame| frame.end > taken)?;
        let (rest, is_message) = (frame.end - taken, frame.is_message && !head.is_own());
        (frame.start < taken).then_some(HalfWritten { rest, is_message })
    }

    /// Bytes of the tails from `position` on: the rest of the message that ends before it.
    fn tails(&self, position: usize) -> usize {
        let tails = self.slices.iter().skip(position).take_while(|slice| slice.is_tail());
        tails.map(Slice::len).sum()
    }

    /// Whether only a rest is left of the frame at the front, without its header.
    fn head_is_cut(&self) -> bool {
        let is_cut = |head: &Slice| !head.is_tail() && self.head_origin > head.start();
        self.slices.front().is_some_and(is_cut)
    }

    /// Copies slices out of chunks that are hardly wanted otherwise, adjacent ones into one.
    /// Returns how many bytes it copied.
    pub(crate) fn compact(&mut self, pool: &Pool, walk: Walk) -> usize {
        let sparse = |slice: &&Slice| slice.is_sparse() && !slice.is_own();
        let copied = self.slices.iter().filter(sparse).map(Slice::len).sum();
        if copied == 0 {
            return 0;
        }
        let mut half = self.half_written(walk);
        let mut gathered = Vec::new();
        for (position, slice) in std::mem::take(&mut self.slices).into_iter().enumerate() {
            let copy = slice.is_sparse() && !slice.is_own();
            if !copy || slice.is_tail() || gathered.len() + slice.len() > GATHERED_BYTES {
                self.append_gathered(pool, &mut gathered, &mut half);
            }
            if copy && slice.is_tail() {
                half = half.filter(|_| position > 0);
                self.append(Slice::private(pool, slice.bytes()).with_tail(true));
            } else if copy {
                gathered.extend_from_slice(slice.bytes());
            } else if position == 0 {
                self.slices.push_back(slice); // keeps its origin
                half = None;
            } else {
                self.append(slice);
            }
        }
        self.append_gathered(pool, &mut gathered, &mut half);
        copied
    }

    /// Appends a copy. If it is the first, it begins with the rest of the half-written frame, and
    /// with nothing before that: a large message that is nearly written must not be kept whole.
    fn append_gathered(
        &mut self,
        pool: &Pool,
        bytes: &mut Vec<u8>,
        half: &mut Option<HalfWritten>,
    ) {
        if bytes.is_empty() {
            return;
        }
        let slice = Slice::private(pool, bytes);
        bytes.clear();
        // What of it lies in tails begins no frame anyway.
        let in_slice = |half: HalfWritten| half.rest.min(slice.len());
        let end_of_half = half.take().map(|half| (slice.start() + in_slice(half), half.is_message));
        self.append(slice);
        if let Some(cut) = end_of_half {
            (self.head_origin, self.head_is_message) = cut;
        }
    }

    /// The slices that wait, in order.
    #[cfg(test)]
    pub(crate) fn slices(&self) -> impl Iterator<Item = &Slice> {
        self.slices.iter()
    }

    /// Asserts the invariant; walks the queue.
    #[cfg(test)]
    pub(crate) fn check(&self, walk: Walk) {
        let sum = |answers: bool| -> usize {
            let some = self.slices.iter().filter(|slice| !answers || slice.is_answers());
            some.map(Slice::len).sum()
        };
        assert_eq!((self.queued, self.answers), (sum(false), sum(true)));
        assert!(self.before_ping + self.ping <= self.queued || self.ping == 0);
        for (position, slice) in self.slices.iter().enumerate() {
            let from = if position == 0 { self.head_origin } else { slice.start() };
            assert!(!slice.bytes().is_empty(), "no slice is empty");
            if slice.is_tail() {
                continue;
            }
            let bytes = slice.bytes_from(from);
            if bytes.is_empty() {
                assert!(position == 0 && self.head_is_cut(), "all of it is the rest of one frame");
                continue;
            }
            let end = frames(bytes, walk).last().map_or(0, |frame| frame.end);
            assert_eq!(end, bytes.len() + self.tails(position + 1), "whole frames");
        }
    }
}

/// A frame of which the socket has taken a part.
#[derive(Clone, Copy)]
struct HalfWritten {
    rest: usize,
    is_message: bool,
}

/// Where a frame lies in a slice.
struct FrameSpan {
    start: usize,
    end: usize,
    is_message: bool,
}

/// The frames that fill `bytes`, all of them known to be whole but for the tails of the last one.
fn frames(bytes: &[u8], walk: Walk) -> impl Iterator<Item = FrameSpan> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let Extent { length, is_message } = walk(bytes.get(start..)?)?;
        let span = FrameSpan { start, end: start + length, is_message };
        start = span.end;
        Some(span)
    })
}

#[cfg(test)]
mod tests;
