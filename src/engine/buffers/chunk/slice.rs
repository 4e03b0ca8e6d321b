//! Parts of sealed chunks.
//!
//! Owns what a slice of a chunk counts for, and how it grows and shrinks. Must not know who holds
//! it.

use std::rc::Rc;

#[cfg(test)]
use super::CHUNK_OVERHEAD;
use super::{COPY_BYTES, Chunk, Own, PRIVATE_BYTES, Pool, Purpose, SLICE_OVERHEAD};

/// In the end of a slice: it goes on with a message that begins before it.
const TAIL: u32 = 1 << 31;

/// A part of a sealed chunk that is still wanted.
pub(crate) struct Slice {
    chunk: Rc<Chunk>,
    start: u32,
    /// Where it ends, and whether it is a [`TAIL`].
    end: u32,
}

impl Slice {
    pub(super) fn new(chunk: &Rc<Chunk>, start: usize, end: usize) -> Slice {
        assert!(start <= end && end <= chunk.data.len(), "a slice lies within its chunk");
        chunk.set_live(chunk.live.get() + (end - start));
        chunk.pool.held.set(chunk.pool.held.get() + SLICE_OVERHEAD);
        // Chunks are far below 2 GiB: the largest payload is 1 GiB.
        Slice { chunk: chunk.clone(), start: start as u32, end: end as u32 }
    }

    /// A copy of `bytes` in a chunk of their own.
    pub(crate) fn private(pool: &Pool, bytes: &[u8]) -> Slice {
        Slice::copied(pool, bytes, Purpose::Private)
    }

    /// The same for frames that the broker itself makes.
    pub(crate) fn own(pool: &Pool, bytes: &[u8], own: Own) -> Slice {
        Slice::copied(pool, bytes, Purpose::Own(own))
    }

    /// What was written, slices of which go to many outboxes.
    pub(crate) fn shared(pool: &Pool, data: Vec<u8>) -> Slice {
        Slice::made(pool, data, Purpose::Shared)
    }

    fn copied(pool: &Pool, bytes: &[u8], purpose: Purpose) -> Slice {
        Slice::made(pool, bytes.to_vec(), purpose)
    }

    fn made(pool: &Pool, data: Vec<u8>, purpose: Purpose) -> Slice {
        pool.0.hold(data.capacity());
        let len = data.len();
        let chunk = Rc::new(Chunk::new(data, purpose, pool.0.clone()));
        Slice::new(&chunk, 0, len)
    }

    /// The part from `start` to `end`, counted from this slice's own start.
    pub(crate) fn part(&self, start: usize, end: usize) -> Slice {
        Slice::new(&self.chunk, self.start() + start, self.start() + end)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.chunk.data[self.start()..self.end()]
    }

    pub(crate) fn len(&self) -> usize {
        self.end() - self.start()
    }

    /// Where it starts in its chunk.
    pub(crate) fn start(&self) -> usize {
        self.start as usize
    }

    fn end(&self) -> usize {
        (self.end & !TAIL) as usize
    }

    /// Whether it goes on with the message that ends the slice before it in a queue.
    pub(crate) fn is_tail(&self) -> bool {
        self.end & TAIL != 0
    }

    /// The same slice, as one that goes on with the message before it or not.
    pub(crate) fn with_tail(mut self, is_tail: bool) -> Slice {
        self.end = self.end & !TAIL | if is_tail { TAIL } else { 0 };
        self
    }

    /// The bytes of its chunk from `from`, which may lie before its own start, to its end.
    pub(crate) fn bytes_from(&self, from: usize) -> &[u8] {
        &self.chunk.data[from..self.end()]
    }

    /// Whether `other` begins in the same chunk where this one ends. Nothing goes on with a tail:
    /// the end of that is marked, and so equal to no place.
    pub(crate) fn continues_in(&self, other: &Slice, start: usize) -> bool {
        self.end as usize == other.start() + start && Rc::ptr_eq(&self.chunk, &other.chunk)
    }

    /// Takes `more` bytes of the chunk behind it as well.
    pub(crate) fn extend(&mut self, more: usize) {
        self.end += more as u32;
        assert!(self.end() <= self.chunk.data.len(), "a slice lies within its chunk");
        self.chunk.set_live(self.chunk.live.get() + more);
    }

    /// Lets go of its first `count` bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        assert!(count <= self.len(), "no more than there is");
        self.start += count as u32;
        self.chunk.set_live(self.chunk.live.get() - count);
    }

    /// Appends to the broker's own frames of the same sort, if this is the only slice of such a
    /// chunk and has room.
    pub(crate) fn append_own(&mut self, bytes: &[u8], own: Own) -> bool {
        self.append(bytes, Purpose::Own(own))
    }

    fn append(&mut self, bytes: &[u8], purpose: Purpose) -> bool {
        let end = self.end();
        let fits = self.chunk.purpose == purpose
            && end == self.chunk.data.len()
            && end + bytes.len() <= PRIVATE_BYTES;
        let Some(chunk) = Rc::get_mut(&mut self.chunk).filter(|_| fits) else {
            return false;
        };
        // Leave the sums with the old capacity, and join them again with the new one.
        let live = chunk.live.get() + bytes.len();
        chunk.set_live(chunk.data.capacity());
        let before = chunk.data.capacity();
        chunk.data.extend_from_slice(bytes);
        let grown = chunk.data.capacity() - before;
        chunk.pool.held.set(chunk.pool.held.get() + grown);
        chunk.set_live(live);
        self.end += bytes.len() as u32;
        true
    }

    /// Appends a copy of bytes to what was copied for this queue alone, if this is the only slice
    /// of such a chunk and has room, or else may move into a larger one.
    pub(crate) fn append_copy(&mut self, bytes: &[u8], may_move: bool) -> bool {
        let end = self.end();
        let is_last = self.chunk.purpose == Purpose::Private && end == self.chunk.data.len();
        let fits = end + bytes.len() <= self.chunk.data.capacity();
        if is_last && fits && self.end & TAIL == 0 {
            let Some(chunk) = Rc::get_mut(&mut self.chunk) else { return false };
            chunk.data.extend_from_slice(bytes);
            chunk.set_live(chunk.live.get() + bytes.len());
            self.end += bytes.len() as u32;
            return true;
        }
        let total = self.len() + bytes.len();
        let is_largest = COPY_BYTES.last().is_none_or(|room| total > *room);
        let is_alone = Rc::get_mut(&mut self.chunk).is_some();
        if !(may_move && is_last && is_alone) || is_largest || self.end & TAIL != 0 {
            return false;
        }
        *self = self.copy_with(bytes);
        true
    }

    /// A copy of it and of bytes behind it, in a chunk that takes more.
    pub(crate) fn copy_with(&self, bytes: &[u8]) -> Slice {
        let pool = Pool(self.chunk.pool.clone());
        let mut both = pool.room_for_copy(self.len() + bytes.len());
        both.extend_from_slice(self.bytes());
        both.extend_from_slice(bytes);
        Slice::made(&pool, both, Purpose::Private)
    }

    /// Whether less than half of its chunk is wanted by all slices together.
    pub(crate) fn is_sparse(&self) -> bool {
        self.chunk.sparse.get()
    }

    /// Whether it holds frames that the broker itself made.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self.chunk.purpose, Purpose::Own(_))
    }

    /// Whether these are answers.
    pub(crate) fn is_answers(&self) -> bool {
        self.chunk.purpose == Purpose::Own(Own::Answer)
    }

    /// Whether it was copied for one queue.
    #[cfg(test)]
    pub(crate) fn is_private(&self) -> bool {
        self.chunk.purpose == Purpose::Private
    }

    /// Which chunk it is of, and what that one costs beside its slices.
    #[cfg(test)]
    pub(crate) fn cost(&self) -> (usize, usize) {
        let id = std::ptr::from_ref(self.chunk.as_ref()) as usize;
        (id, self.chunk.data.capacity() + CHUNK_OVERHEAD)
    }

    /// Bytes that its whole chunk occupies.
    pub(crate) fn chunk_len(&self) -> usize {
        self.chunk.data.capacity()
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        self.chunk.set_live(self.chunk.live.get() - self.len());
        let held = &self.chunk.pool.held;
        held.set(held.get() - SLICE_OVERHEAD);
    }
}
