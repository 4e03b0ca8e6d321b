//! Messages that can be checked: each has its stream, its number there, and a checksum. A ledger
//! finds what is lost, duplicated, out of order or damaged.

use std::collections::BTreeMap;

use super::frame::{self, Frame, kind};

/// Stream, number, sum.
const HEAD_BYTES: usize = 4 + 8 + 8;

/// Pseudorandom numbers, reproducible by their seed (xorshift).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A PUBLISH frame with the message `number` of `stream`, and so many bytes of padding.
pub(crate) fn message(topic: &[u8], stream: u32, number: u64, filling: usize) -> Vec<u8> {
    let mut payload = Vec::with_capacity(HEAD_BYTES + filling);
    payload.extend(stream.to_be_bytes());
    payload.extend(number.to_be_bytes());
    let mut random = Random::new(number ^ u64::from(stream) << 40);
    let mut rest = vec![0; filling];
    for piece in rest.chunks_mut(8) {
        piece.copy_from_slice(&random.below(u64::MAX).to_be_bytes()[..piece.len()]);
    }
    payload.extend(sum(&payload, &rest).to_be_bytes());
    payload.extend(rest);
    frame::publish(topic, &payload)
}

/// FNV-1a over both, eight bytes at a time.
fn sum(head: &[u8], rest: &[u8]) -> u64 {
    let mut sum = 0xCBF2_9CE4_8422_2325_u64;
    for piece in head.chunks(8).chain(rest.chunks(8)) {
        let mut word = [0; 8];
        word[..piece.len()].copy_from_slice(piece);
        sum = (sum ^ u64::from_be_bytes(word)).wrapping_mul(0x100_0000_01B3);
    }
    sum
}

/// Stream and number of a message, which must be as it was sent.
pub(crate) fn check(message: &Frame) -> (u32, u64) {
    assert_eq!((message.kind, message.flags), (kind::PUBLISH, 0), "no message: {message:?}");
    let (head, rest) = message.body.split_at_checked(HEAD_BYTES).expect("it has a head");
    let (names, told) = head.split_at(12);
    assert_eq!(told, sum(names, rest).to_be_bytes(), "damaged: {message:?}");
    let (stream, number) = names.split_first_chunk::<4>().expect("it was split at 12");
    let number = <[u8; 8]>::try_from(number).expect("8 of 12 are left");
    (u32::from_be_bytes(*stream), u64::from_be_bytes(number))
}

/// What one subscriber received, for each stream.
#[derive(Default, Debug, Clone)]
pub(crate) struct Ledger {
    /// The number that is due next.
    next: BTreeMap<u32, u64>,
    pub(crate) delivered: u64,
    pub(crate) bytes: u64,
    /// Numbers that were skipped.
    pub(crate) lost: u64,
    /// Numbers below the one that was due: duplicates, or too late.
    pub(crate) doubled: u64,
}

impl Ledger {
    /// Records a message.
    pub(crate) fn take(&mut self, message: &Frame) {
        let (stream, number) = check(message);
        let next = self.next.entry(stream).or_default();
        self.delivered += 1;
        self.bytes += message.body.len() as u64;
        if number < *next {
            self.doubled += 1;
            return;
        }
        self.lost += number - *next;
        *next = number + 1;
    }

    /// How far the stream has come.
    pub(crate) fn reached(&self, stream: u32) -> u64 {
        self.next.get(&stream).copied().unwrap_or_default()
    }

    /// Nothing is missing in between, and nothing arrived twice.
    pub(crate) fn is_clean(&self) -> bool {
        (self.lost, self.doubled) == (0, 0)
    }
}
