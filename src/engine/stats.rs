//! Plain counters of everything since the start.
//!
//! Owns numbers only, which are read as fields. They never go down, and nothing in the broker
//! depends on them.

/// How many close reasons there are.
pub(crate) const REASONS: usize = 22;

/// What happened since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages that publishers sent and that were accepted.
    pub messages_in: u64,
    /// Their bytes, as frames.
    pub bytes_in: u64,
    /// Messages put into outboxes, once for each receiver.
    pub deliveries: u64,
    /// Bytes that sockets took.
    pub bytes_out: u64,
    /// Messages that the policy `drop` kept from a receiver, once for each.
    pub dropped: u64,
    /// Messages that were still in an outbox when its connection ended.
    pub undelivered: u64,
    /// Connections accepted, refused ones included.
    pub connections: u64,
    /// Connections among them that were refused, since there were `max_connections`.
    pub refused: u64,
    /// Messages and subscriptions refused, since their user has no right to them.
    pub denied: u64,
    /// Publishers that had to wait for a full outbox.
    pub pauses: u64,
    /// Times that reading stopped because `memory_bytes` was reached.
    pub memory_pauses: u64,
    /// Times that slices were copied out of sparse chunks.
    pub compactions: u64,
    /// Connections that ended, by their close reason's place in `CloseReason::ALL`.
    pub closed: [u64; REASONS],
}
