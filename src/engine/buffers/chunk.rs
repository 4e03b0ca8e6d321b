//! Pooled, reference-counted buffers, and slices of them.
//!
//! Owns every byte that waits inside the broker, so it is also where memory is counted: a chunk
//! counts once however many outboxes hold slices of it. Must not know what the bytes mean.
//!
//! A chunk has three lives: `Filling` (one owner, being read into), sealed (shared by
//! slices, never written again), and back in the pool when its last slice is gone.
//!
//! A small slice keeps its whole chunk alive. Each chunk knows how many of its bytes are still
//! wanted (`live`, counted once per slice); one with `2 * live < capacity` is *sparse*. The pool
//! sums up the sparse chunks, so that the broker can tell in O(1) when copying out pays:
//! copies of all slices of a sparse chunk together need less than half of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

mod slice;

pub(crate) use slice::Slice;

/// Bytes of free chunks that the pool keeps for the next reads, and for what is written itself;
/// beyond it they are given back.
const FREE_BYTES: usize = 8 << 20;
/// What a chunk costs beside its bytes: its own fields and the allocator's.
pub(crate) const CHUNK_OVERHEAD: usize = 128;
/// What a slice costs in a queue that may be half empty (16 bytes, twice).
pub(crate) const SLICE_OVERHEAD: usize = 32;
/// Bytes of a copy for one queue: it gets the next larger room each time it is full. Such rooms are
/// kept for others, as chunks are: taking them from the system and giving them back, turn by
/// turn, costs more than all copying.
const COPY_BYTES: [usize; 3] = [2 << 10, 8 << 10, LARGEST_COPY];
/// The largest of them.
pub(crate) const LARGEST_COPY: usize = 32 << 10;
/// A private chunk is appended to up to this many bytes.
const PRIVATE_BYTES: usize = 64 << 10;

/// Where chunks come from and go back to.
#[derive(Clone)]
pub(crate) struct Pool(Rc<PoolState>);

struct PoolState {
    chunk_bytes: usize,
    free: RefCell<Vec<Vec<u8>>>,
    /// Free chunks that are written from their beginning, not read into: of the pool's size, and of
    /// each size of copies.
    blank: RefCell<[Vec<Vec<u8>>; 1 + COPY_BYTES.len()]>,
    held: Cell<usize>,
    sparse: Cell<usize>,
}

impl Pool {
    /// A pool of chunks of `chunk_bytes` each.
    pub(crate) fn new(chunk_bytes: usize) -> Pool {
        Pool(Rc::new(PoolState {
            chunk_bytes,
            free: RefCell::default(),
            blank: RefCell::default(),
            held: Cell::new(0),
            sparse: Cell::new(0),
        }))
    }

    /// A chunk to read into, of the pool's size or of `at_least` bytes if that is more.
    pub(crate) fn take(&self, at_least: usize) -> Filling {
        let pool = &self.0;
        let end = at_least.max(pool.chunk_bytes);
        let recycled =
            if at_least > pool.chunk_bytes { None } else { pool.free.borrow_mut().pop() };
        let data = recycled.unwrap_or_else(|| vec![0; end]);
        pool.hold(data.capacity());
        Filling { data, filled: 0, end, frame: 0, pool: pool.clone() }
    }

    /// Room for so many bytes, to be written and then [shared](Slice::shared): exactly so much, or
    /// a chunk of the pool's size where that is not twice as much.
    pub(crate) fn blank(&self, bytes: usize) -> Vec<u8> {
        let size = self.0.chunk_bytes;
        if bytes > size || bytes * 2 < size {
            return Vec::with_capacity(bytes);
        }
        self.0.take_blank(size)
    }

    /// Room for a copy that has so many bytes by now, if possible one that is kept for copies.
    pub(crate) fn room_for_copy(&self, bytes: usize) -> Vec<u8> {
        let room = COPY_BYTES.into_iter().find(|room| *room >= bytes);
        room.map_or_else(|| Vec::with_capacity(bytes), |room| self.0.take_blank(room))
    }

    /// Bytes of one ordinary chunk.
    pub(crate) fn chunk_bytes(&self) -> usize {
        self.0.chunk_bytes
    }

    /// Bytes that chunks and slices occupy now; free chunks are not among them.
    pub(crate) fn held(&self) -> usize {
        self.0.held.get()
    }

    /// Bytes of the sealed chunks of which less than half is wanted.
    pub(crate) fn sparse(&self) -> usize {
        self.0.sparse.get()
    }
}

impl PoolState {
    fn hold(&self, capacity: usize) {
        self.held.set(self.held.get() + capacity + CHUNK_OVERHEAD);
    }

    fn release(&self, mut data: Vec<u8>) {
        self.held.set(self.held.get() - data.capacity() - CHUNK_OVERHEAD);
        if data.len() == self.chunk_bytes {
            let mut free = self.free.borrow_mut();
            if (free.len() + 1) * self.chunk_bytes <= FREE_BYTES {
                free.push(data);
            }
        } else if let Some(size) = self.blank_size(data.capacity()) {
            let list = &mut self.blank.borrow_mut()[size];
            if (list.len() + 1) * data.capacity() <= FREE_BYTES / 4 {
                data.clear();
                list.push(data);
            }
        }
    }

    /// Which list of blank chunks is for those of so many bytes.
    fn blank_size(&self, bytes: usize) -> Option<usize> {
        if bytes == self.chunk_bytes {
            return Some(0);
        }
        COPY_BYTES.iter().position(|room| *room == bytes).map(|place| place + 1)
    }

    fn take_blank(&self, bytes: usize) -> Vec<u8> {
        let size = self.blank_size(bytes);
        let kept = size.and_then(|size| self.blank.borrow_mut()[size].pop());
        kept.unwrap_or_else(|| Vec::with_capacity(bytes))
    }
}

/// A chunk that is being read into.
pub(crate) struct Filling {
    data: Vec<u8>,
    filled: usize,
    end: usize,
    /// Bytes of the frame that begins it, if that is known.
    pub(crate) frame: usize,
    pool: Rc<PoolState>,
}

impl Filling {
    /// The part to read into next, at most `limit` bytes.
    pub(crate) fn spare(&mut self, limit: usize) -> &mut [u8] {
        let end = self.end.min(self.filled.saturating_add(limit));
        &mut self.data[self.filled..end]
    }

    /// `read` more bytes are there.
    pub(crate) fn advance(&mut self, read: usize) {
        self.filled += read;
        assert!(self.filled <= self.end, "a read stays within the spare part");
    }

    /// Copies bytes in front of what will be read.
    pub(crate) fn prepend(&mut self, bytes: &[u8]) {
        assert!(self.filled == 0, "only an empty chunk takes earlier bytes");
        self.data[..bytes.len()].copy_from_slice(bytes);
        self.filled = bytes.len();
    }

    pub(crate) fn capacity(&self) -> usize {
        self.data.len()
    }

    /// What was read so far.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.data[..self.filled]
    }

    /// What it costs.
    #[cfg(test)]
    pub(crate) fn cost(&self) -> usize {
        self.data.capacity() + CHUNK_OVERHEAD
    }

    pub(crate) fn is_full(&self) -> bool {
        self.filled == self.end
    }

    /// Takes no more than `end` bytes in all, or what is there already and as much again.
    pub(crate) fn restrict_to(&mut self, end: usize) {
        self.restrict(end.max(self.filled * 2).min(self.data.len()));
    }

    /// Takes no more than `end` bytes in all, whatever its capacity.
    pub(crate) fn restrict(&mut self, end: usize) {
        assert!(self.filled <= end && end <= self.data.len(), "what is there stays");
        self.end = end;
    }

    /// Ends the reading; the whole of what was read is one slice.
    pub(crate) fn seal(mut self) -> Slice {
        let (data, filled) = (std::mem::take(&mut self.data), self.filled);
        let chunk = Chunk::new(data, Purpose::Shared, self.pool.clone());
        Slice::new(&Rc::new(chunk), 0, filled)
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        if self.data.capacity() > 0 {
            self.pool.release(std::mem::take(&mut self.data));
        }
    }
}

/// What a sealed chunk is used for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Read from a peer; slices of it go to many outboxes.
    Shared,
    /// Copied for one queue.
    Private,
    /// The broker's own frames for one connection.
    Own(Own),
}

/// Frames that the broker itself makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    /// Answers to what the client sent: one that does not read them is not read.
    Answer,
    /// What the client did not ask for: PING, LOST, GOODBYE.
    Notice,
}

/// A sealed chunk.
struct Chunk {
    data: Vec<u8>,
    live: Cell<usize>,
    sparse: Cell<bool>,
    purpose: Purpose,
    pool: Rc<PoolState>,
}

impl Chunk {
    /// Its bytes are held already; nothing of it is wanted yet.
    fn new(data: Vec<u8>, purpose: Purpose, pool: Rc<PoolState>) -> Chunk {
        let chunk = Chunk { data, live: Cell::new(0), sparse: Cell::new(false), purpose, pool };
        chunk.set_live(0);
        chunk
    }

    fn set_live(&self, live: usize) {
        self.live.set(live);
        // The broker's own frames are never copied: there are few of them, in chunks of their own.
        let sparse = live * 2 < self.data.capacity() && !matches!(self.purpose, Purpose::Own(_));
        if sparse != self.sparse.replace(sparse) {
            let (sum, change) = (self.pool.sparse.get(), self.data.capacity());
            self.pool.sparse.set(if sparse { sum + change } else { sum - change });
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        assert!(self.live.get() == 0, "a chunk outlives its slices");
        if self.sparse.get() {
            self.pool.sparse.set(self.pool.sparse.get() - self.data.capacity());
        }
        self.pool.release(std::mem::take(&mut self.data));
    }
}

#[cfg(test)]
mod tests;
