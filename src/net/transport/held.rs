//! How many bytes all TLS sessions hold.
//!
//! Owns the sum. Each session says how many it holds itself, and takes them away when it ends.

use std::cell::Cell;
use std::rc::Rc;

/// The sum, in bytes.
#[derive(Clone, Default)]
pub(in crate::net) struct Held(Rc<Cell<usize>>);

impl Held {
    /// What all sessions hold.
    pub(in crate::net) fn bytes(&self) -> usize {
        self.0.get()
    }

    /// The part of a new session, which holds nothing yet.
    pub(super) fn part(&self) -> Part {
        Part { sum: self.clone(), bytes: 0 }
    }
}

/// What one session holds.
pub(super) struct Part {
    sum: Held,
    bytes: usize,
}

impl Part {
    pub(super) fn set(&mut self, bytes: usize) {
        let others = self.sum.bytes() - self.bytes;
        self.sum.0.set(others + bytes);
        self.bytes = bytes;
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_of_those_that_are_there() {
        let held = Held::default();
        let (mut one, mut other) = (held.part(), held.part());
        one.set(5);
        other.set(7);
        one.set(3);
        assert_eq!((held.bytes(), one.bytes(), other.bytes()), (10, 3, 7));
        drop(other);
        assert_eq!(held.bytes(), 3);
        drop(one);
        assert_eq!(held.bytes(), 0);
    }
}
