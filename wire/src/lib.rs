//! Bytes to meaning and back: what the broker and its clients share.
//!
//! Owns the shape of frames, topics and filters, and the order in which they are checked. Performs
//! no I/O, keeps no state, and knows nothing of who is at the other end.
//!
//! - [`topic`]: topics, filters and queue group names, and what matches what.
//! - [`native`]: the native protocol, version 1.
//! - [`nats`]: the protocol of NATS clients.
//! - [`leaf`]: the protocol between NATS clusters, as a leaf node speaks it.

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

mod encoding;
pub mod leaf;
pub mod native;
pub mod nats;
pub mod topic;

pub use encoding::{Encoding, Sid};
