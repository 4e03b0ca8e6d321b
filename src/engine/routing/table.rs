//! A hash table that grows in small steps.
//!
//! Owns where an item is found by its hash. A table of a quarter of a million topics that moves all
//! of them into a larger one takes tens of milliseconds, in which nobody is served. So this one
//! consists of many small tables, each of which grows by itself. It knows the hash of each item, so
//! that growing looks at none. Must not know what the items are, nor how they are hashed.

use hashbrown::HashTable;

/// Small tables, a power of two: each grows in some 50 us when all together hold 200,000 items.
const PARTS: usize = 64;

/// Items by hash.
pub(super) struct Table<T> {
    parts: Box<[HashTable<(u64, T)>]>,
    len: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { parts: (0..PARTS).map(|_| HashTable::new()).collect(), len: 0 }
    }
}

impl<T> Table<T> {
    /// How many items there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The item of this hash that is `it`.
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        self.parts[part(hash)].find(hash, |(_, item)| is_it(item)).map(|(_, item)| item)
    }

    /// The same, to change it, but for its hash.
    pub(super) fn find_mut(
        &mut self,
        hash: u64,
        mut is_it: impl FnMut(&T) -> bool,
    ) -> Option<&mut T> {
        self.parts[part(hash)].find_mut(hash, |(_, item)| is_it(item)).map(|(_, item)| item)
    }

    /// Adds an item that is not there.
    pub(super) fn insert(&mut self, hash: u64, item: T) {
        self.len += 1;
        self.parts[part(hash)].insert_unique(hash, (hash, item), |(hash, _)| *hash);
    }

    /// Takes out the item of this hash that is `it`.
    pub(super) fn remove(&mut self, hash: u64, mut is_it: impl FnMut(&T) -> bool) -> Option<T> {
        let found = self.parts[part(hash)].find_entry(hash, |(_, item)| is_it(item)).ok()?;
        self.len -= 1;
        Some(found.remove().0.1)
    }
}

/// Which small table. They use the lowest bits and the highest seven of a hash themselves.
fn part(hash: u64) -> usize {
    (hash >> 40) as usize % PARTS
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn items_are_found_until_they_are_taken_out() {
        let hasher = RandomState::new();
        let mut table = Table::default();
        for item in 0..10_000_u32 {
            table.insert(hasher.hash_one(item), item);
        }
        for item in (0..10_000).step_by(2) {
            let hash = hasher.hash_one(item);
            assert_eq!(table.remove(hash, |it| *it == item), Some(item));
            assert_eq!(table.remove(hash, |it| *it == item), None);
        }
        assert_eq!(table.len(), 5_000);
        for item in 0..10_000 {
            let hash = hasher.hash_one(item);
            assert_eq!(table.find(hash, |it| *it == item).is_some(), item % 2 == 1);
            assert_eq!(table.find_mut(hash, |it| *it == item).is_some(), item % 2 == 1);
        }
        let largest = table.parts.iter().map(HashTable::len).max().unwrap();
        assert!(largest < 3 * 5_000 / PARTS, "{largest} in one part");
    }
}
