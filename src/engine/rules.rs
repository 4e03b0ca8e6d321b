//! What the broker works by: its limits, times and the overflow policy.
//!
//! Owns the meaning of each, not where it is set.

use std::time::Duration;

use super::sessions::protocol::Protocol;

/// The limits and times that a broker works by.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Connections at a time, of all roles together.
    pub max_connections: usize,
    /// The largest payload of a message, in bytes.
    pub max_payload: usize,
    /// What holds for native connections.
    pub native: ReceiverRules,
    /// What holds for NATS connections.
    pub nats: ReceiverRules,
    /// What holds for the link to a hub; where there is none, the same as for native connections.
    pub link: ReceiverRules,
    /// Bytes of all inboxes and outboxes together.
    pub memory_bytes: usize,
    /// Under `Block`: bytes a second that a subscriber that holds up publishers must take, on
    /// average over `stall_timeout`; 0: none.
    pub min_rate_bytes_per_second: usize,
    /// From connecting to a whole HELLO.
    pub hello: Duration,
    /// Silence after which a client is sent PING, and after twice of which it is closed; zero:
    /// never.
    pub heartbeat: Duration,
}

/// What holds for the receivers of one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverRules {
    /// Subscriptions of one connection.
    pub max_subscriptions: usize,
    /// Bytes that may wait for one subscriber; one message may be larger.
    pub outbox_bytes: usize,
    /// What happens to a message that does not fit into an outbox.
    pub policy: OverflowPolicy,
    /// Under `Block`: how long a subscriber may hold up publishers below
    /// `min_rate_bytes_per_second`.
    pub stall_timeout: Duration,
}

impl Rules {
    /// What holds for the receivers of a protocol.
    pub fn of(&self, protocol: Protocol) -> &ReceiverRules {
        match protocol {
            Protocol::Native => &self.native,
            Protocol::Nats => &self.nats,
            Protocol::Leaf => &self.link,
        }
    }

    /// Whether all receivers have the policy `Block`.
    pub fn only_block(&self) -> bool {
        self.policies().iter().all(|policy| *policy == OverflowPolicy::Block)
    }

    /// Whether any receivers have this policy.
    pub fn has_policy(&self, policy: OverflowPolicy) -> bool {
        self.policies().contains(&policy)
    }

    fn policies(&self) -> [OverflowPolicy; 3] {
        [self.native.policy, self.nats.policy, self.link.policy]
    }
}

#[cfg(test)]
impl Rules {
    /// Small limits, and times that are too long to pass by chance.
    pub(crate) fn of_a_test() -> Rules {
        let long = Duration::from_secs(1_000);
        let native = ReceiverRules {
            max_subscriptions: 10,
            outbox_bytes: 1_000,
            policy: OverflowPolicy::Block,
            stall_timeout: long,
        };
        Rules {
            max_connections: 10,
            max_payload: 10_000,
            native,
            nats: native,
            link: native,
            memory_bytes: 1 << 20,
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
