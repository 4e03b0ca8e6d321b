//! The error codes of the protocol: what an ERROR frame says went wrong.
//!
//! Owns the numbers and names. Who sends which, and when, is decided elsewhere.

use std::fmt;

/// Why the broker refused something. The number is what travels in an ERROR frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The bytes are no frame, or a frame breaks the rules of its kind.
    Malformed = 1,
    /// HELLO names no version, or one that is not spoken here.
    Version = 2,
    /// A topic or filter breaks the grammar. The frame is ignored, the connection goes on.
    BadTopic = 3,
    /// A frame is longer than its kind may be.
    TooLarge = 4,
    /// The kind may not be sent on this port, or only the broker sends it.
    NotAllowed = 5,
    /// The credentials were not accepted.
    Unauthorized = 6,
    /// Too many connections, or too many subscriptions on one connection.
    TooMany = 7,
    /// A subscriber was too slow for its messages.
    SlowConsumer = 8,
    /// No whole HELLO in time, or no sign of life for two heartbeats.
    Timeout = 9,
    /// The first frame was not HELLO, or a second HELLO came.
    HelloExpected = 10,
}

impl ErrorCode {
    /// All codes, in the order of their numbers.
    pub const ALL: [ErrorCode; 10] = [
        ErrorCode::Malformed,
        ErrorCode::Version,
        ErrorCode::BadTopic,
        ErrorCode::TooLarge,
        ErrorCode::NotAllowed,
        ErrorCode::Unauthorized,
        ErrorCode::TooMany,
        ErrorCode::SlowConsumer,
        ErrorCode::Timeout,
        ErrorCode::HelloExpected,
    ];

    /// The number on the wire.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The code with this number, if version 1 of the protocol has one.
    pub fn from_code(code: u16) -> Option<ErrorCode> {
        ErrorCode::ALL.into_iter().find(|error| error.code() == code)
    }

    /// The name that people see in logs and messages.
    pub fn name(self) -> &'static str {
        match self {
            ErrorCode::Malformed => "MALFORMED",
            ErrorCode::Version => "VERSION",
            ErrorCode::BadTopic => "BAD_TOPIC",
            ErrorCode::TooLarge => "TOO_LARGE",
            ErrorCode::NotAllowed => "NOT_ALLOWED",
            ErrorCode::Unauthorized => "UNAUTHORIZED",
            ErrorCode::TooMany => "TOO_MANY",
            ErrorCode::SlowConsumer => "SLOW_CONSUMER",
            ErrorCode::Timeout => "TIMEOUT",
            ErrorCode::HelloExpected => "HELLO_EXPECTED",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn codes_are_numbered_without_gaps_and_found_again() {
        for (position, code) in ErrorCode::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(code.code()), position + 1);
            assert_eq!(ErrorCode::from_code(code.code()), Some(code));
        }
        assert_eq!(ErrorCode::from_code(0), None);
        assert_eq!(ErrorCode::from_code(11), None);
    }
}
