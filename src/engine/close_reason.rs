//! Why a connection ended: one named reason each, counted by the broker's statistics.
//!
//! Owns the names. Must not know how a connection is ended.

use std::fmt;

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
    /// The client sent what is no line of the NATS protocol.
    UnknownOperation,
    /// The client sent a control line that is too long.
    LineTooLong,
    /// The client is no user that may come in, or asked for what there is not, such as an account.
    Unauthorized,
    /// The client wants to be told of requests without a receiver, and takes no headers.
    NoHeaders,
    /// The client's user had as many connections as it may.
    TooManyOfUser,
    /// The client's user is not there any more.
    Revoked,
    /// The link to a hub leads back here: what it sends would come again for ever.
    LoopDetected,
    /// The client does not speak TLS where it has to, or its handshake failed.
    TlsFailed,
}

impl CloseReason {
    /// All reasons, in the order of their declaration.
    pub const ALL: [CloseReason; 22] = [
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
        CloseReason::UnknownOperation,
        CloseReason::LineTooLong,
        CloseReason::Unauthorized,
        CloseReason::NoHeaders,
        CloseReason::TooManyOfUser,
        CloseReason::Revoked,
        CloseReason::LoopDetected,
        CloseReason::TlsFailed,
    ];

    /// Whether an operator should hear of it: the broker gave up a client, or refused one, that
    /// had broken no rule of the protocol.
    pub fn is_fault(self) -> bool {
        use CloseReason::*;
        matches!(
            self,
            TooManyConnections
                | SlowConsumer
                | HelloTimeout
                | HeartbeatTimeout
                | FrameTimeout
                | DrainTimeout
                | Unauthorized
                | TooManyOfUser
                | Revoked
                | LoopDetected
                | TlsFailed
        )
    }

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
            CloseReason::UnknownOperation => "unknown_operation",
            CloseReason::LineTooLong => "line_too_long",
            CloseReason::Unauthorized => "unauthorized",
            CloseReason::NoHeaders => "no_headers",
            CloseReason::TooManyOfUser => "too_many_of_user",
            CloseReason::Revoked => "revoked",
            CloseReason::LoopDetected => "loop_detected",
            CloseReason::TlsFailed => "tls_failed",
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
