//! Seeds of nkeys: the private half of a key by which the broker shows who it is.
//!
//! Owns their text form, and signs with them. Must not show one: neither in a message nor in debug
//! output. The public half is the business of `engine::access`.

use std::fmt;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use ring::signature::{Ed25519KeyPair, KeyPair};

/// What a seed begins with, in five bits.
const SEED_PREFIX: u8 = 18 << 3;
/// What the public key of a user begins with, and what a seed of one says.
const USER_PREFIX: u8 = 20 << 3;
/// Bytes of the private key.
const KEY_BYTES: usize = 32;

/// The seed of a user's key.
pub(super) struct Seed(Ed25519KeyPair);

impl Seed {
    /// Reads the text form of NATS, 58 characters that begin with `SU`. `None`: it is none, or that
    /// of no user.
    pub(super) fn parse(text: &str) -> Option<Seed> {
        let bytes = BASE32_NOPAD.decode(text.as_bytes()).ok()?;
        let (body, sum) = bytes.split_last_chunk::<2>()?;
        let ([first, second], key) = body.split_first_chunk::<2>()?;
        // Two times five bits, over two bytes.
        let (prefix, kind) = (first & 0xf8, (first & 0x07) << 5 | second >> 3);
        let is_good = prefix == SEED_PREFIX && kind == USER_PREFIX && key.len() == KEY_BYTES;
        if !is_good || crc16(body) != u16::from_le_bytes(*sum) {
            return None;
        }
        Ed25519KeyPair::from_seed_unchecked(key).ok().map(Seed)
    }

    /// The public key, as text.
    pub(super) fn public_key(&self) -> String {
        let mut bytes = vec![USER_PREFIX];
        bytes.extend_from_slice(self.0.public_key().as_ref());
        let sum = crc16(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        BASE32_NOPAD.encode(&bytes)
    }

    /// The signature of a nonce, as text.
    pub(super) fn sign(&self, nonce: &str) -> String {
        BASE64URL_NOPAD.encode(self.0.sign(nonce.as_bytes()).as_ref())
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed")
    }
}

/// CRC-16 with the polynomial 0x1021 that begins with 0 (XMODEM).
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ (u16::from(*byte) << 8), |sum, _| {
            if sum & 0x8000 == 0 { sum << 1 } else { (sum << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::access::credentials::PublicKey;

    /// The seed of the bytes 0 to 31, as text.
    pub(in crate::net::link) fn text() -> String {
        written(SEED_PREFIX, USER_PREFIX, &(0..32).collect::<Vec<_>>())
    }

    fn written(prefix: u8, kind: u8, key: &[u8]) -> String {
        let mut bytes = vec![prefix | kind >> 5, kind << 3];
        bytes.extend_from_slice(key);
        let sum = crc16(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        BASE32_NOPAD.encode(&bytes)
    }

    #[test]
    fn a_seed_is_read_and_its_signatures_are_its_public_keys() {
        let text = text();
        assert!(text.starts_with("SU") && text.len() == 58, "{text}");
        let seed = Seed::parse(&text).unwrap();
        // As the nkeys library of NATS has it.
        let public = "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK";
        assert_eq!(seed.public_key(), public);
        let key = PublicKey::parse(public).unwrap();
        assert!(key.has_signed(b"nonce", &seed.sign("nonce")));
        assert!(!format!("{seed:?}").contains(&text[2..]));
    }

    #[test]
    fn what_is_no_seed_of_a_user_is_refused() {
        let good: Vec<u8> = (0..32).collect();
        let account = written(SEED_PREFIX, 0, &good);
        let public = Seed::parse(&text()).unwrap().public_key();
        let short = written(SEED_PREFIX, USER_PREFIX, &good[1..]);
        let long = written(SEED_PREFIX, USER_PREFIX, &[&good[..], &[1]].concat());
        let typo = text().replace('Q', "R");
        for bad in ["", "SU", &account, &public, &short, &long, &typo, &text().to_lowercase()] {
            assert!(Seed::parse(bad).is_none(), "{bad}");
        }
    }
}
