//! What holds of lines wherever they are cut, whoever sends them.
//!
//! Owns the cuts. Is told by `is_whole` what the parser in question says of bytes: whether a line
//! is whole, or why there is none.

use wire::nats::LINE_END;
use wire::nats::line::{LineError, max_line_bytes};

/// What follows the bytes of a message, if those are whole.
pub(crate) fn behind(bytes: &[u8], total_bytes: u32) -> Option<&[u8]> {
    bytes.get(total_bytes as usize..)?.strip_prefix(LINE_END)
}

/// A part of a good line is incomplete, wherever it is cut.
pub(crate) fn check_cuts(
    line: &[u8],
    everywhere: bool,
    is_whole: impl Fn(&[u8]) -> Result<bool, LineError>,
) {
    let cut = |split: usize| assert_eq!(is_whole(&line[..split]), Ok(false), "cut at {split}");
    if everywhere {
        (0..line.len()).for_each(cut);
    } else {
        [1, line.len() / 2, line.len() - 1].into_iter().for_each(cut);
    }
}

/// What is refused was incomplete first, and is refused for one reason from some byte on. `max`
/// limits the arguments.
pub(crate) fn check_refused(
    bytes: &[u8],
    error: LineError,
    everywhere: bool,
    max: usize,
    is_whole: impl Fn(&[u8]) -> Result<bool, LineError>,
) {
    let bytes = &bytes[..bytes.len().min(max_line_bytes(max))];
    let mut refused = false;
    let mut cut = |split: usize| match is_whole(&bytes[..split]) {
        Ok(early) => assert!(!early && !refused, "cut at {split}"),
        Err(early) => {
            assert_eq!(early, error, "cut at {split}");
            refused = true;
        }
    };
    if everywhere {
        (0..=bytes.len()).for_each(&mut cut);
    } else {
        [0, bytes.len() / 2, bytes.len()].into_iter().for_each(&mut cut);
    }
    assert!(refused, "no line is longer than that");
}
