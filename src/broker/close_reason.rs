//! Why a connection ended: one named reason each, counted by the broker's statistics.
//!
//! Owns the names. Must not know how a connection is ended.

use std::fmt;

use wire::native::error_code::ErrorCode;

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client was done and closed its side.
    ClientClosed,
    /// The connection broke: reset, timed out in the network, or an error of the socket.
    ConnectionLost,
    /// The client sent something that is no frame, or a frame that breaks the rules.
    Malformed,
    /// The client speaks no version that is spoken here.
    Version,
    /// The client sent a frame that is too large.
    TooLarge,
    /// The client sent a kind of frame that its port does not take.
    NotAllowed,
    /// The client did not begin with HELLO, or sent a second one.
    HelloExpected,
    /// There were `max_connections` already.
    TooManyConnections,
    /// The subscriber was too slow for its messages.
    SlowConsumer,
    /// No whole HELLO came within the hello time-out.
    HelloTimeout,
    /// No sign of life for two heartbeats.
    HeartbeatTimeout,
    /// Memory was full, and the client did not end the frame that it had begun.
    FrameTimeout,
    /// The broker shut down and the client had taken everything.
    Shutdown,
    /// The broker shut down before the client had taken everything.
    DrainTimeout,
}

impl CloseReason {
    /// All reasons, in the order of their declaration.
    pub const ALL: [CloseReason; 14] = [
        CloseReason::ClientClosed,
        CloseReason::ConnectionLost,
        CloseReason::Malformed,
        CloseReason::Version,
        CloseReason::TooLarge,
        CloseReason::NotAllowed,
        CloseReason::HelloExpected,
        CloseReason::TooManyConnections,
        CloseReason::SlowConsumer,
        CloseReason::HelloTimeout,
        CloseReason::HeartbeatTimeout,
        CloseReason::FrameTimeout,
        CloseReason::Shutdown,
        CloseReason::DrainTimeout,
    ];

    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            CloseReason::ClientClosed => "client_closed",
            CloseReason::ConnectionLost => "connection_lost",
            CloseReason::Malformed => "malformed",
            CloseReason::Version => "version",
            CloseReason::TooLarge => "too_large",
            CloseReason::NotAllowed => "not_allowed",
            CloseReason::HelloExpected => "hello_expected",
            CloseReason::TooManyConnections => "too_many_connections",
            CloseReason::SlowConsumer => "slow_consumer",
            CloseReason::HelloTimeout => "hello_timeout",
            CloseReason::HeartbeatTimeout => "heartbeat_timeout",
            CloseReason::FrameTimeout => "frame_timeout",
            CloseReason::Shutdown => "shutdown",
            CloseReason::DrainTimeout => "drain_timeout",
        }
    }

    /// The code and the text of the ERROR that tells the client, where one does.
    pub fn error(self) -> Option<(ErrorCode, &'static str)> {
        Some(match self {
            CloseReason::Malformed => (ErrorCode::Malformed, "this is no valid frame"),
            CloseReason::Version => (ErrorCode::Version, "HELLO must say version=1"),
            CloseReason::TooLarge => {
                (ErrorCode::TooLarge, "the frame is larger than its kind may be")
            }
            CloseReason::NotAllowed => {
                (ErrorCode::NotAllowed, "this kind of frame cannot be sent on this port")
            }
            CloseReason::HelloExpected => {
                (ErrorCode::HelloExpected, "the first frame, and only the first, must be HELLO")
            }
            CloseReason::TooManyConnections => {
                (ErrorCode::TooMany, "the broker has as many connections as it may")
            }
            CloseReason::SlowConsumer => {
                (ErrorCode::SlowConsumer, "messages came faster than they were read")
            }
            CloseReason::HelloTimeout => (ErrorCode::Timeout, "no whole HELLO in time"),
            CloseReason::HeartbeatTimeout => {
                (ErrorCode::Timeout, "no sign of life for two heartbeats")
            }
            CloseReason::FrameTimeout => {
                (ErrorCode::Timeout, "memory is full, and the frame that was begun did not end")
            }
            CloseReason::ClientClosed
            | CloseReason::ConnectionLost
            | CloseReason::Shutdown
            | CloseReason::DrainTimeout => return None,
        })
    }

    /// The reason for closing behind a fatal error in what the client sent.
    pub(crate) fn of_refusal(code: ErrorCode) -> CloseReason {
        match code {
            ErrorCode::Version => CloseReason::Version,
            ErrorCode::TooLarge => CloseReason::TooLarge,
            ErrorCode::NotAllowed => CloseReason::NotAllowed,
            ErrorCode::HelloExpected => CloseReason::HelloExpected,
            _ => CloseReason::Malformed,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::CloseReason;

    #[test]
    fn reasons_are_numbered_without_gaps_and_named_once() {
        let mut names: Vec<_> = CloseReason::ALL.iter().map(|reason| reason.name()).collect();
        for (position, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, position);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CloseReason::ALL.len());
    }
}
