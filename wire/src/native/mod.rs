//! The native protocol, version 1: frames, the handshake, error codes.
//!
//! Owns the shape of frames and the order in which they are checked. Must not decide what a frame
//! is answered with.
//!
//! A connection carries frames back to back. All integers are unsigned and big-endian:
//!
//! | offset | size | field | meaning |
//! | --- | --- | --- | --- |
//! | 0 | 4 | `length` | bytes behind this field: 4 + topic length + body length |
//! | 4 | 1 | `kind` | see [`Kind`](frame::Kind) |
//! | 5 | 1 | `flags` | bits that the kind defines; all others are 0 |
//! | 6 | 2 | `topic_len` | bytes of topic, at most `length` - 4 |
//! | 8 | `topic_len` | `topic` | |
//! | 8 + `topic_len` | the rest | `body` | |
//!
//! Nothing in a frame depends on who receives it: the bytes that a publisher sends are the bytes
//! that each subscriber gets.

pub mod error_code;
pub mod frame;
pub mod handshake;

/// The port on which a broker listens for publishers unless it is told another.
pub const DEFAULT_PUBLISHER_PORT: u16 = 9000;
/// The port on which a broker listens for subscribers unless it is told another.
pub const DEFAULT_SUBSCRIBER_PORT: u16 = 9090;
