//! What the broker works by: its limits, times and the overflow policy.
//!
//! Owns the meaning of each, not where it is set.

use std::time::Duration;

/// The limits and times that a broker works by.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Connections at a time, of all roles together.
    pub max_connections: usize,
    /// The largest payload of a message, in bytes.
    pub max_payload: usize,
    /// Subscriptions of one connection.
    pub max_subscriptions: usize,
    /// Bytes that may wait for one subscriber; one message may be larger.
    pub outbox_bytes: usize,
    /// Bytes of all inboxes and outboxes together.
    pub memory_bytes: usize,
    /// What happens to a message that does not fit into an outbox.
    pub policy: OverflowPolicy,
    /// Under `Block`: how long a subscriber may hold up publishers below
    /// `min_rate_bytes_per_second`.
    pub stall_timeout: Duration,
    /// Under `Block`: bytes a second that a subscriber that holds up publishers must take, on
    /// average over `stall_timeout`; 0: none.
    pub min_rate_bytes_per_second: usize,
    /// From connecting to a whole HELLO.
    pub hello: Duration,
    /// Silence after which a client is sent PING, and after twice of which it is closed; zero:
    /// never.
    pub heartbeat: Duration,
}

#[cfg(test)]
impl Rules {
    /// Small limits, and times that are too long to pass by chance.
    pub(crate) fn of_a_test() -> Rules {
        let long = Duration::from_secs(1_000);
        Rules {
            max_connections: 10,
            max_payload: 10_000,
            max_subscriptions: 10,
            outbox_bytes: 1_000,
            memory_bytes: 1 << 20,
            policy: OverflowPolicy::Block,
            stall_timeout: long,
            min_rate_bytes_per_second: 1,
            hello: long,
            heartbeat: Duration::ZERO,
        }
    }
}

/// What happens when a message does not fit into a subscriber's outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverflowPolicy {
    /// The publisher waits: nothing is lost.
    Block,
    /// The newest message is not queued; it is counted and the subscriber is told.
    Drop,
    /// The subscriber is closed.
    Disconnect,
}
