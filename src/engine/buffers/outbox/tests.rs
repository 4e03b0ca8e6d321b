//! Outboxes by themselves: how slices are queued, taken, copied and dropped.

use super::*;
use wire::native::frame::{HEADER_BYTES, Header, Kind, encode};

/// As for native connections.
fn walk(bytes: &[u8]) -> Option<Extent> {
    let header = Header::parse(bytes.first_chunk::<HEADER_BYTES>()?).ok()?;
    let is_message = header.kind == Kind::Publish as u8;
    Some(Extent { length: header.frame_len(), is_message })
}

fn message(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(Kind::Publish, 0, b"t", payload, &mut bytes);
    bytes
}

fn contents(outbox: &Outbox) -> Vec<u8> {
    outbox.slices.iter().flat_map(|slice| slice.bytes().to_vec()).collect()
}

/// A chunk of three messages of 12 bytes, and an outbox with the parts given.
fn filled(pool: &Pool, parts: &[(usize, usize)]) -> (Slice, Outbox) {
    let bytes = [message(b"one"), message(b"two"), message(b"six")].concat();
    let mut filling = pool.take(0);
    filling.prepend(&bytes);
    let source = filling.seal();
    let mut outbox = Outbox::default();
    for (start, end) in parts {
        outbox.push(&source, *start, *end);
    }
    outbox.check(walk);
    (source, outbox)
}

#[test]
fn adjacent_parts_are_one_slice() {
    let pool = Pool::new(64);
    let (_source, outbox) = filled(&pool, &[(0, 12), (12, 24), (24, 36)]);
    assert_eq!((outbox.slices.len(), outbox.queued()), (1, 36));
    let (_source, outbox) = filled(&pool, &[(0, 12), (24, 36)]);
    assert_eq!((outbox.slices.len(), outbox.queued()), (2, 24));
}

#[test]
fn copy_of_a_large_message_that_is_nearly_written_is_small() {
    let pool = Pool::new(64);
    let bytes = message(&[7; 1_000]);
    let mut filling = pool.take(bytes.len());
    filling.prepend(&bytes);
    let source = filling.seal();
    let mut outboxes = [Outbox::default(), Outbox::default()];
    for outbox in &mut outboxes {
        outbox.push(&source, 0, bytes.len());
        outbox.push_own(&pool, &message(b""), Own::Answer);
        outbox.consume(bytes.len() - 5);
    }
    drop(source);
    for outbox in &mut outboxes {
        outbox.compact(&pool, walk);
        outbox.check(walk);
        assert_eq!(contents(outbox)[..5], [7; 5]);
        assert_eq!(
            (outbox.messages(walk), outbox.half_written(walk).unwrap().rest),
            (1, 5),
            "answers are none"
        );
    }
    assert!(pool.held() < 1_000, "{} bytes for 10", pool.held());
    outboxes[0].drop_messages(walk);
    assert_eq!(contents(&outboxes[0])[..5], [7; 5]);
    outboxes[1].consume(5);
    assert_eq!((outboxes[1].messages(walk), outboxes[1].half_written(walk).is_none()), (0, true));
}

#[test]
fn half_written_frame_survives_at_every_interleaving() {
    let pool = Pool::new(64);
    let all = [message(b"one"), message(b"two"), message(b"six")].concat();
    for parts in [vec![(0, 36)], vec![(0, 12), (24, 36)], vec![(0, 24), (24, 36)]] {
        for first in 0..24 {
            for second in 0..24 - first {
                for compacted in [false, true] {
                    let (source, mut outbox) = filled(&pool, &parts);
                    let before = contents(&outbox);
                    drop(source);
                    outbox.consume(first);
                    if compacted {
                        outbox.compact(&pool, walk);
                    }
                    outbox.consume(second);
                    outbox.check(walk);
                    let taken = first + second;
                    assert_eq!(contents(&outbox), &before[taken..]);
                    let total = before.len() as u64 / 12;
                    let whole = taken as u64 / 12;
                    let half = u64::from(!taken.is_multiple_of(12));
                    assert_eq!(outbox.messages(walk), total - whole);
                    assert_eq!(outbox.drop_messages(walk), total - whole - half);
                    let end = taken.next_multiple_of(12);
                    assert_eq!(contents(&outbox), &before[taken..end]);
                    outbox.check(walk);
                }
            }
        }
    }
    assert_eq!(all.len(), 36);
    assert_eq!((pool.held(), pool.sparse()), (0, 0));
}

#[test]
fn half_written_message_with_tails_survives_at_every_interleaving() {
    let pool = Pool::new(256);
    let large = message(&[7; 30]);
    let all = [message(b"one"), large, message(b"six")].concat();
    let ends = [12, 12 + 39, 12 + 39 + 12];
    assert_eq!(all.len(), ends[2]);
    for first in 0..ends[1] {
        for second in 0..=ends[1] - first {
            for compacted in [false, true] {
                let mut filling = pool.take(0);
                filling.prepend(&all);
                let source = filling.seal();
                let mut outbox = Outbox::default();
                // The line of the large one ends at 12 + 9; its body comes in two parts.
                outbox.push(&source, 0, 21);
                outbox.push_tail(&source, 21, 40);
                outbox.push_tail(&source, 40, ends[1]);
                outbox.push(&source.part(0, ends[2]), ends[1], ends[2]);
                drop(source);
                outbox.consume(first);
                if compacted {
                    assert!(outbox.compact(&pool, walk) > 0, "a quarter of the chunk is wanted");
                }
                outbox.check(walk);
                outbox.consume(second);
                outbox.check(walk);
                let taken = first + second;
                assert_eq!(contents(&outbox), &all[taken..]);
                let whole = ends.iter().filter(|end| taken >= **end).count() as u64;
                let is_half = taken != 0 && !ends.contains(&taken);
                assert_eq!(outbox.messages(walk), 3 - whole);
                assert_eq!(outbox.drop_messages(walk), 3 - whole - u64::from(is_half));
                let end = if is_half { ends[whole as usize] } else { taken };
                assert_eq!(contents(&outbox), &all[taken..end], "{first} and {second} taken");
                outbox.check(walk);
            }
        }
    }
}

#[test]
fn compaction_lets_go_of_sparse_chunks_only() {
    let pool = Pool::new(64);
    let (source, mut outbox) = filled(&pool, &[(0, 36)]);
    drop(source);
    outbox.compact(&pool, walk);
    assert!(outbox.slices[0].chunk_len() == 64, "36 of 64 bytes are wanted: it stays");
    outbox.consume(12);
    outbox.compact(&pool, walk);
    assert_eq!(outbox.slices[0].chunk_len(), 24);
    assert_eq!(contents(&outbox), [message(b"two"), message(b"six")].concat());
    outbox.check(walk);
}

#[test]
fn compaction_gathers_neighbours_into_one_slice() {
    let pool = Pool::new(256);
    let mut outbox = Outbox::default();
    for number in 0..10u8 {
        let mut filling = pool.take(0);
        filling.prepend(&message(&[number]));
        outbox.push(&filling.seal(), 0, 10);
    }
    let before = contents(&outbox);
    assert_eq!(outbox.slices.len(), 10);
    outbox.compact(&pool, walk);
    assert_eq!((outbox.slices.len(), contents(&outbox)), (1, before));
    assert_eq!(pool.sparse(), 0);
    outbox.check(walk);
}

#[test]
fn only_bytes_beside_a_ping_are_a_sign_of_life() {
    let pool = Pool::new(64);
    let mut ping = Vec::new();
    encode(Kind::Ping, 0, b"", b"", &mut ping);
    let (_source, mut outbox) = filled(&pool, &[(0, 12)]);
    outbox.push_ping(&pool, &ping);
    outbox.push_own(&pool, &message(b"after"), Own::Answer);
    outbox.check(walk);
    assert!(outbox.consume(11) && outbox.consume(2), "of the message, and its last byte");
    assert!(!outbox.consume(3) && outbox.has_ping());
    assert!(outbox.consume(5), "the last of the PING and the first byte behind it");
    assert!(!outbox.has_ping() && outbox.consume(1));
    outbox.check(walk);
}

#[test]
fn answers_stay_when_messages_are_dropped() {
    let pool = Pool::new(64);
    let (source, mut outbox) = filled(&pool, &[(0, 12)]);
    outbox.push_own(&pool, &message(b"pong"), Own::Answer);
    outbox.push(&source, 12, 24);
    outbox.push_own(&pool, &message(b"error"), Own::Answer);
    let answers = [message(b"pong"), message(b"error")].concat();
    outbox.consume(5);
    outbox.drop_messages(walk);
    assert_eq!(contents(&outbox), [&message(b"one")[5..], &answers].concat());
    outbox.check(walk);
    outbox.consume(7 + 3);
    outbox.drop_messages(walk);
    assert_eq!(contents(&outbox), &answers[3..], "a half-written answer stays too");
    outbox.check(walk);
}

#[test]
fn answers_are_counted_apart() {
    let pool = Pool::new(64);
    let (source, mut outbox) = filled(&pool, &[(0, 12)]);
    outbox.push_own(&pool, &message(b"x"), Own::Answer);
    outbox.push_own(&pool, &message(b"y"), Own::Answer);
    outbox.push(&source, 12, 24);
    assert_eq!((outbox.answers(), outbox.queued(), outbox.slices.len()), (20, 44, 3));
    outbox.consume(15);
    assert_eq!(outbox.answers(), 17);
    outbox.check(walk);
}

#[test]
fn notices_are_no_answers_and_stay_when_messages_are_dropped() {
    let pool = Pool::new(64);
    let (_source, mut outbox) = filled(&pool, &[(0, 12)]);
    outbox.push_own(&pool, &message(b"pong"), Own::Answer);
    outbox.push_own(&pool, &message(b"lost"), Own::Notice);
    outbox.push_own(&pool, &message(b"pong"), Own::Answer);
    outbox.check(walk);
    assert_eq!((outbox.answers(), outbox.queued()), (2 * 13, 12 + 3 * 13));
    outbox.drop_messages(walk);
    outbox.check(walk);
    assert_eq!((outbox.answers(), outbox.queued()), (2 * 13, 3 * 13));
}
