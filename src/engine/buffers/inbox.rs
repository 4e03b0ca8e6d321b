//! Bytes that were read from a peer and are not processed yet.
//!
//! Owns the rule where the next read goes, so that no byte is copied that need not be. Must not
//! decide when to read. An inbox with nothing in it owns no memory.

use super::chunk::{Filling, Pool, Slice};

/// How much larger the room for a large frame gets each time it is full.
const GROWTH: usize = 4;

/// What one connection has sent and the broker has not used.
#[derive(Default)]
pub(crate) enum Inbox {
    /// Nothing.
    #[default]
    Empty,
    /// The beginning of a frame, and how many bytes the whole of it has at least.
    Rest(Slice, u32),
    /// Frames that could not be processed yet; nothing is read before they are.
    Backlog(Slice),
    /// A frame larger than a common chunk, being read into one of its own.
    Large(Box<Filling>),
}

impl Inbox {
    /// Where the next read goes, with what is left from the one before in front.
    pub(crate) fn fill(&mut self, pool: &Pool) -> Filling {
        let capacity = self.reservation(pool);
        match std::mem::take(self) {
            Inbox::Empty => pool.take(0),
            Inbox::Backlog(_) => unreachable!("a backlog is processed before the next read"),
            Inbox::Large(filling) => *filling,
            Inbox::Rest(rest, frame) => {
                let mut filling = pool.take(capacity);
                filling.frame = frame as usize;
                filling.prepend(rest.bytes());
                filling
            }
        }
    }

    /// The same for no more than the frame that has begun, with room for the whole of it.
    pub(crate) fn fill_frame(&mut self, pool: &Pool) -> Filling {
        let Some((begun, len)) = self.needs_room() else {
            return self.fill(pool);
        };
        let mut filling = pool.take(len);
        filling.frame = len;
        filling.prepend(begun);
        filling.restrict(len);
        *self = Inbox::Empty;
        filling
    }

    /// Bytes that [`fill_frame`](Inbox::fill_frame) would newly reserve.
    pub(crate) fn frame_reservation(&self, pool: &Pool) -> usize {
        match self.needs_room() {
            Some((_, len)) => len.max(pool.chunk_bytes()),
            None => self.reservation(pool),
        }
    }

    /// What is there of a frame that has no room for the whole of it, and the length of that.
    fn needs_room(&self) -> Option<(&[u8], usize)> {
        let (begun, room, len) = match self {
            Inbox::Empty | Inbox::Backlog(_) => return None,
            Inbox::Rest(rest, frame) => (rest.bytes(), 0, *frame as usize),
            Inbox::Large(filling) => (filling.bytes(), filling.capacity(), filling.frame),
        };
        (len > room).then_some((begun, len))
    }

    /// Whether the beginning of a frame is there.
    pub(crate) fn has_begun(&self) -> bool {
        matches!(self, Inbox::Rest(..) | Inbox::Large(_))
    }

    /// Bytes that [`fill`](Inbox::fill) would newly reserve. A large frame gets room in steps, so
    /// that a header alone, whatever it declares, reserves no more than a common chunk.
    pub(crate) fn reservation(&self, pool: &Pool) -> usize {
        match self {
            Inbox::Empty | Inbox::Backlog(_) => pool.chunk_bytes(),
            Inbox::Large(_) => 0,
            Inbox::Rest(rest, frame) => {
                (*frame as usize).min(rest.len() * GROWTH).max(pool.chunk_bytes())
            }
        }
    }

    /// Takes what was read. `None`: a large frame is not whole yet, nothing is to be processed.
    pub(crate) fn filled(&mut self, filling: Filling, pool: &Pool) -> Option<Slice> {
        if filling.capacity() > pool.chunk_bytes() && !filling.is_full() {
            *self = Inbox::Large(Box::new(filling));
            return None;
        }
        Some(filling.seal())
    }

    /// Keeps the beginning of a frame, which has so many bytes as far as is known. `idle`: no more
    /// is coming soon, so a small rest does not keep a whole chunk.
    pub(crate) fn keep(&mut self, rest: Slice, frame: usize, idle: bool, pool: &Pool) {
        let frame = u32::try_from(frame).expect("the largest payload is 1 GiB");
        *self = match rest.len() {
            0 => Inbox::Empty,
            len if idle && len * 4 < rest.chunk_len() => {
                Inbox::Rest(Slice::private(pool, rest.bytes()), frame)
            }
            _ => Inbox::Rest(rest, frame),
        };
    }

    /// Keeps frames that cannot be processed now.
    pub(crate) fn put_back(&mut self, frames: Slice) {
        *self = if frames.len() == 0 { Inbox::Empty } else { Inbox::Backlog(frames) };
    }

    /// Takes the frames that were put back, to process them.
    pub(crate) fn take_backlog(&mut self) -> Option<Slice> {
        match std::mem::take(self) {
            Inbox::Backlog(frames) => Some(frames),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Whether frames were put back.
    pub(crate) fn has_backlog(&self) -> bool {
        matches!(self, Inbox::Backlog(_))
    }

    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Inbox::Empty)
    }

    /// Copies a rest out of a chunk that is hardly wanted otherwise. Returns how many bytes it
    /// copied.
    pub(crate) fn compact(&mut self, pool: &Pool) -> usize {
        let (Inbox::Rest(slice, _) | Inbox::Backlog(slice)) = self else { return 0 };
        if !slice.is_sparse() {
            return 0;
        }
        *slice = Slice::private(pool, slice.bytes());
        slice.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::native::frame::{Kind, encode};

    fn read(inbox: &mut Inbox, pool: &Pool, bytes: &[u8]) -> Option<Slice> {
        let mut filling = inbox.fill(pool);
        assert!(filling.spare(usize::MAX).len() >= bytes.len());
        filling.spare(usize::MAX)[..bytes.len()].copy_from_slice(bytes);
        filling.advance(bytes.len());
        inbox.filled(filling, pool)
    }

    #[test]
    fn rest_stands_in_front_of_the_next_read() {
        let pool = Pool::new(64);
        let mut inbox = Inbox::default();
        let first = read(&mut inbox, &pool, b"abcdef").unwrap();
        inbox.keep(first.part(4, 6), 8, true, &pool);
        drop(first);
        assert_eq!(read(&mut inbox, &pool, b"gh").unwrap().bytes(), b"efgh");
        assert!(matches!(inbox, Inbox::Empty));
        assert_eq!(pool.held(), 0);
    }

    #[test]
    fn small_rest_lets_go_of_its_chunk_when_nothing_more_comes() {
        let pool = Pool::new(1_000);
        let mut inbox = Inbox::default();
        let first = read(&mut inbox, &pool, &[0; 900]).unwrap();
        inbox.keep(first.part(0, 100), 8, true, &pool);
        drop(first);
        assert!(pool.held() < 500, "{}", pool.held());
    }

    #[test]
    fn large_frame_gets_room_in_steps_and_is_whole_in_one_slice() {
        let pool = Pool::new(64);
        let mut inbox = Inbox::default();
        let mut frame = Vec::new();
        encode(Kind::Publish, 0, b"t", &[9; 1_000], &mut frame);
        let (mut at, mut most) = (0, 0);
        let whole = loop {
            let end = frame.len().min(at + 10);
            let sealed = read(&mut inbox, &pool, &frame[at..end]);
            at = end;
            most = most.max(pool.held());
            let Some(slice) = sealed else { continue };
            if slice.len() == frame.len() {
                break slice;
            }
            assert!(pool.held() < 4 * GROWTH * at + 1_000, "{} for {at} bytes", pool.held());
            inbox.keep(slice, frame.len(), true, &pool);
        };
        assert_eq!(whole.bytes(), frame);
        assert!(most < 3_000, "{most}");
    }
}
