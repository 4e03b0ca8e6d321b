//! The name of a connection inside the broker.
//!
//! Owns nothing: a token is a number, given out by the sessions and used by all others to say which
//! connection they mean.

/// Names a connection: an index that is used again when the connection is reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u32);

impl Token {
    /// The token with this index.
    ///
    /// # Panics
    /// If there are more than 2^32 connections, which no machine holds.
    pub fn new(index: usize) -> Token {
        Token(u32::try_from(index).expect("fewer than 2^32 connections"))
    }

    /// Its index: small, and free ones are used again.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
