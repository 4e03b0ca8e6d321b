//! Chunks and slices by themselves: what is held, wanted and sparse.

use super::*;

fn sealed(pool: &Pool, bytes: &[u8]) -> Slice {
    let mut filling = pool.take(0);
    filling.spare(usize::MAX)[..bytes.len()].copy_from_slice(bytes);
    filling.advance(bytes.len());
    filling.seal()
}

#[test]
fn chunk_counts_once_and_comes_back_when_its_last_slice_goes() {
    let pool = Pool::new(1_000);
    let whole = sealed(&pool, &[7; 900]);
    let alone = pool.held();
    let parts: Vec<_> = (0..10).map(|i| whole.part(i, i + 100)).collect();
    assert_eq!(pool.held(), alone + 10 * SLICE_OVERHEAD);
    drop(whole);
    assert_eq!(pool.held(), alone + 9 * SLICE_OVERHEAD);
    drop(parts);
    assert_eq!((pool.held(), pool.sparse()), (0, 0));
    assert_eq!(pool.0.free.borrow().len(), 1);
    drop(pool.take(0));
    assert_eq!(pool.0.free.borrow().len(), 1, "the same chunk was used again");
}

#[test]
fn chunk_is_sparse_while_less_than_half_is_wanted() {
    let pool = Pool::new(1_000);
    let mut whole = sealed(&pool, &[7; 500]);
    assert!(!whole.is_sparse());
    whole.consume(1);
    assert!(whole.is_sparse());
    assert_eq!(pool.sparse(), 1_000);
    let other = whole.part(0, 1);
    assert!(!whole.is_sparse(), "what two slices want counts twice");
    drop(other);
    assert_eq!(pool.sparse(), 1_000);
    drop(whole);
    assert_eq!(pool.sparse(), 0);
}

#[test]
fn slices_extend_only_into_the_same_chunk() {
    let pool = Pool::new(16);
    let whole = sealed(&pool, b"abcdefgh");
    let other = sealed(&pool, b"abcdefgh");
    let mut slice = whole.part(0, 4);
    assert!(slice.continues_in(&whole, 4));
    assert!(!slice.continues_in(&whole, 5) && !slice.continues_in(&other, 4));
    slice.extend(2);
    slice.consume(1);
    assert_eq!(slice.bytes(), b"bcdef");
    assert_eq!(slice.bytes_from(0), b"abcdef");
}

#[test]
fn answers_grow_in_place_and_stay_counted() {
    let pool = Pool::new(16);
    let mut slice = Slice::own(&pool, b"one", Own::Answer);
    for _ in 0..100 {
        assert!(slice.append_own(b"two", Own::Answer));
    }
    assert_eq!(slice.len(), 303);
    let shared = slice.part(0, 1);
    assert!(!slice.append_own(b"three", Own::Answer), "a shared chunk is never written");
    drop((slice, shared));
    assert_eq!((pool.held(), pool.sparse()), (0, 0));
    assert!(!Slice::private(&pool, b"x").append_own(b"y", Own::Answer));
}

#[test]
fn large_and_surplus_chunks_are_not_kept() {
    let pool = Pool::new(FREE_BYTES / 2);
    drop(pool.take(FREE_BYTES));
    assert_eq!(pool.0.free.borrow().len(), 0);
    let three = [pool.take(0), pool.take(0), pool.take(0)];
    drop(three);
    assert_eq!(pool.0.free.borrow().len(), 2);
    assert_eq!(pool.held(), 0);
}
