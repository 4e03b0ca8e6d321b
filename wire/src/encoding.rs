//! In which bytes a receiver wants its messages.
//!
//! Owns the list of encodings. Must not encode: that is done where the bytes lie.

/// The form in which a receiver wants its messages. Receivers with equal encodings share the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// PUBLISH frames of the native protocol: the bytes that a native publisher sent.
    Native,
}
