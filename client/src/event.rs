//! What a subscriber receives.
//!
//! Owns the types only; the subscriber creates them.

use std::time::Duration;

use crate::error::Refusal;

/// Something that the broker sent to a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A message.
    Message(Message<'a>),
    /// So many messages were not delivered since the last such event (the broker's overflow policy
    /// `drop`).
    Lost(u64),
    /// The broker refused a subscription. The connection stays open.
    Refused(Refusal),
    /// The connection was lost and established again, with all subscriptions; only from a
    /// [`ReconnectingSubscriber`](crate::ReconnectingSubscriber).
    Reconnected(Gap),
}

/// A time in which messages were missed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// From the detection of the loss until the subscriptions were sent again.
    pub time: Duration,
    /// Why the connection was lost.
    pub reason: String,
}

/// A message, borrowed from the buffer that it was read into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message<'a> {
    /// The topic that it was published to.
    pub topic: &'a str,
    /// Its payload, any bytes.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// A message of these parts, as a broker would send it.
    pub fn new(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
        Message { topic, payload }
    }

    /// A copy that outlives the buffer.
    pub fn into_owned(self) -> OwnedMessage {
        OwnedMessage { topic: self.topic.to_owned(), payload: self.payload.to_vec() }
    }
}

/// A message that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnedMessage {
    /// The topic that it was published to.
    pub topic: String,
    /// Its payload, any bytes.
    pub payload: Vec<u8>,
}
