//! What a subscriber receives.
//!
//! Owns the types only; where they come from is the subscriber's business.

use crate::error::Refusal;

/// Something that the broker sent to a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A message.
    Message(Message<'a>),
    /// So many messages were not delivered since the last time this was said (the broker's overflow
    /// policy `drop`).
    Lost(u64),
    /// The broker refused a subscription. The connection goes on.
    Refused(Refusal),
}

/// A message, borrowed from the buffer that it was read into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// The topic that it was published to.
    pub topic: &'a str,
    /// Its payload, any bytes.
    pub payload: &'a [u8],
}

impl Message<'_> {
    /// A copy that outlives the buffer.
    pub fn into_owned(self) -> OwnedMessage {
        OwnedMessage { topic: self.topic.to_owned(), payload: self.payload.to_vec() }
    }
}

/// A message of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedMessage {
    /// The topic that it was published to.
    pub topic: String,
    /// Its payload, any bytes.
    pub payload: Vec<u8>,
}
