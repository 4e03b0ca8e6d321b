//! One message a line of standard input.
//!
//! Owns what becomes of a line that cannot be sent: it is told, and the rest goes on.

use pubsub_client::{ClientError, Publisher};

use crate::cli::input::{self, Line, Lines, STANDARD_INPUT};
use crate::cli::report::{Failure, explain, say};

use super::{PROGRAM, unreadable};

/// Publishes each line. What was read is sent before more input is awaited, so that a slow input
/// is not held back, and a fast one goes out in large batches. The inner result tells whether all
/// lines could be sent.
pub(super) fn publish(
    publisher: &mut Publisher,
    topic: &str,
    failed: impl Fn(ClientError) -> Failure,
) -> Result<Result<(), Failure>, Failure> {
    let limit = publisher.welcome().max_payload;
    let mut lines = Lines::new(input::open().map_err(unreadable)?, limit);
    let mut outcome = Ok(());
    loop {
        if lines.must_wait() {
            publisher.send().map_err(&failed)?;
        }
        let published = match lines.next().map_err(unreadable)? {
            None => return Ok(outcome),
            Some(Line::Text(payload)) => publisher.publish(topic, payload),
            Some(Line::TooLong(bytes)) => Err(too_large(bytes, limit)),
        };
        match published {
            Ok(()) => {}
            Err(error) if error.is_final() => return Err(failed(error)),
            Err(error) => {
                say(PROGRAM, &format!("{STANDARD_INPUT}:{}: {}", lines.number(), explain(&error)));
                outcome = Err(Failure::Reported);
            }
        }
    }
}

/// The error that a payload of so many bytes is.
pub(super) fn too_large(bytes: u64, limit: usize) -> ClientError {
    ClientError::TooLarge { bytes: usize::try_from(bytes).unwrap_or(usize::MAX), limit }
}
