//! Secrets and keys.
//!
//! Owns how a secret is kept and compared, and how a signature is checked. The secrets themselves
//! are never kept. Must not know whose they are.

use std::fmt;

use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, UnparsedPublicKey};

/// Bytes of a salt.
const SALT_BYTES: usize = 16;
/// Bytes of a secret that is made: 160 bits, beyond all guessing. That is why one round of a fast
/// hash is enough: a slow one, which protects secrets that people choose, would stop the loop.
const SECRET_BYTES: usize = 20;
/// In front of what is kept of a secret.
const SCHEME: &str = "sha256";
/// The first byte of a user's public key, in the text form of NATS.
const USER_PREFIX: u8 = 20 << 3;
/// Bytes of a public key of Ed25519.
const KEY_BYTES: usize = 32;
/// Bytes of a nonce before they are encoded: as nats-server's.
const NONCE_BYTES: usize = 11;

/// What is kept of a secret: SHA-256 over a salt and the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    salt: [u8; SALT_BYTES],
    hash: [u8; SHA256_OUTPUT_LEN],
}

impl Secret {
    /// What is kept of `secret`, with a new salt.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn of(secret: &[u8]) -> Result<Secret, NoRandomness> {
        let salt = random()?;
        Ok(Secret { salt, hash: hash(&salt, secret) })
    }

    /// Reads `sha256:SALT:HASH`, both in hexadecimal digits.
    pub fn parse(text: &str) -> Option<Secret> {
        let (salt, hash) = text.strip_prefix(SCHEME)?.strip_prefix(':')?.split_once(':')?;
        let bytes = |text: &str| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
        Some(Secret { salt: bytes(salt)?.try_into().ok()?, hash: bytes(hash)?.try_into().ok()? })
    }

    /// Whether this is the secret. Takes as long for any that is as long.
    pub fn is(&self, secret: &[u8]) -> bool {
        let found = hash(&self.salt, secret);
        // No branch, so that it takes as long wherever they differ.
        found.iter().zip(&self.hash).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}:{}:{}", HEXLOWER.encode(&self.salt), HEXLOWER.encode(&self.hash))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRandomness;

impl fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the system gives no random bytes")
    }
}

impl std::error::Error for NoRandomness {}

/// A new secret, as text.
///
/// # Errors
/// If the system gives no random bytes.
pub fn new_secret() -> Result<String, NoRandomness> {
    Ok(BASE32_NOPAD.encode(&random::<SECRET_BYTES>()?).to_ascii_lowercase())
}

/// A new nonce for a client to sign: 15 characters.
///
/// # Errors
/// If the system gives no random bytes.
pub fn new_nonce() -> Result<String, NoRandomness> {
    Ok(BASE64URL_NOPAD.encode(&random::<NONCE_BYTES>()?))
}

fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

fn hash(salt: &[u8], secret: &[u8]) -> [u8; SHA256_OUTPUT_LEN] {
    let digest = digest(&SHA256, &[salt, secret].concat());
    digest.as_ref().try_into().expect("SHA-256 makes as many bytes as it says")
}

/// The public key of a NATS user, by which a signature is checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// Reads the text form of NATS, 56 upper-case characters that begin with `U`.
    pub fn parse(text: &str) -> Option<PublicKey> {
        let bytes = BASE32_NOPAD.decode(text.as_bytes()).ok()?;
        let (body, sum) = bytes.split_last_chunk::<2>()?;
        let (prefix, key) = body.split_first()?;
        let is_good = *prefix == USER_PREFIX && crc16(body) == u16::from_le_bytes(*sum);
        is_good.then(|| key.try_into().ok().map(PublicKey))?
    }

    /// Whether `signature`, as text, is one of `message` by this key. NATS libraries encode it
    /// without padding for URLs, or with padding as usual.
    pub fn has_signed(&self, message: &[u8], signature: &str) -> bool {
        let text = signature.as_bytes();
        let Ok(bytes) = BASE64URL_NOPAD.decode(text).or_else(|_| BASE64.decode(text)) else {
            return false;
        };
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, &bytes).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
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
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    #[test]
    fn a_secret_is_known_again_and_no_other() {
        let text = new_secret().unwrap();
        assert_eq!(text.len(), 32);
        let kept = Secret::of(text.as_bytes()).unwrap();
        assert!(kept.is(text.as_bytes()));
        assert!(!kept.is(b"") && !kept.is(&text.as_bytes()[1..]));
        assert_eq!(Secret::parse(&kept.to_string()), Some(kept.clone()));
        assert_ne!(Secret::of(text.as_bytes()).unwrap(), kept, "each has a salt of its own");
        assert!(!format!("{kept:?}").contains(&kept.to_string()[10..]));
    }

    #[test]
    fn the_hash_is_the_one_that_others_make() {
        // printf '%s' hello | (printf '\0…\0'; cat) | sha256sum, with 16 zero bytes in front.
        let salt = "00".repeat(16);
        let made = hash(&[0; 16], b"hello");
        let text = format!("sha256:{salt}:{}", HEXLOWER.encode(&made));
        assert!(Secret::parse(&text).unwrap().is(b"hello"));
        for bad in ["", "sha256", "sha256:", "sha256:00:00", "sha1:00:00", &text[..text.len() - 1]]
        {
            assert_eq!(Secret::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn keys_and_signatures_are_those_of_nats() {
        let seed: Vec<u8> = (0..32).collect();
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let text = "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK";
        let key = PublicKey::parse(text).unwrap();
        assert_eq!(key.0, pair.public_key().as_ref());
        let nonce = new_nonce().unwrap();
        assert_eq!(nonce.len(), 15);
        let signature = pair.sign(nonce.as_bytes());
        for sig in [BASE64URL_NOPAD.encode(signature.as_ref()), BASE64.encode(signature.as_ref())] {
            assert!(key.has_signed(nonce.as_bytes(), &sig));
            assert!(!key.has_signed(b"another nonce..", &sig));
            assert!(!key.has_signed(nonce.as_bytes(), &sig[1..]));
        }
        let unlike = [&text[1..], &text.to_lowercase(), "", &text.replace('B', "C")];
        unlike.into_iter().for_each(|bad| assert_eq!(PublicKey::parse(bad), None, "{bad}"));
    }
}
