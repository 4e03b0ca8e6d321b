//! Bytes that wait inside the broker.
//!
//! Owns chunks and slices of them, what a connection has sent and is not processed, and what waits
//! for its socket. Knows the shape of frames; must not know who sends or receives.

pub(crate) mod chunk;
pub(crate) mod inbox;
pub(crate) mod outbox;
