//! A run in the encoding that its receivers want.
//!
//! Owns the way from the bytes that a publisher sent to those that a receiver gets. Each distinct
//! encoding is made once, and all receivers of it share slices of that; where publisher and
//! receiver speak the same bytes, the source itself is what is sliced. Must not know who receives.

use wire::Encoding;

use super::runs::Run;
use crate::engine::buffers::chunk::Slice;

/// The bytes of a run in one encoding: a part of a chunk.
pub(super) struct Encoded<'a> {
    pub(super) source: &'a Slice,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Encoded<'_> {
    /// Bytes that each receiver gets.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }
}

/// A run in an encoding.
pub(super) fn encode<'a>(run: &Run, source: &'a Slice, encoding: Encoding) -> Encoded<'a> {
    match encoding {
        Encoding::Native => Encoded { source, start: run.start, end: run.end },
    }
}
