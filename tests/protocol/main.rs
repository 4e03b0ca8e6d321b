//! Every rule of the protocol (`docs/protocol.md`) against a real broker process.

#[path = "../support/mod.rs"]
mod support;

// The table of checks: what is refused, with which code, and whether that ends the connection.
mod checks;
// Rules 6 and 10: half-closed connections, partial frames, the last frame.
mod closing;
// Queue groups whose members have no room.
mod group_overflow;
// Rules 1 and 2: HELLO and WELCOME.
mod handshake;
// Frames, names and bytes that broke other brokers.
mod hostile;
// Many hostile clients together.
mod hostile_masses;
// Limits that are answered by TOO_MANY.
mod limits;
// All guarantees of delivery at once, under random traffic.
mod mixed;
// NATS clients beside native ones, and clients that wait for each other.
mod nats;
// Subscribers that are too slow, under each overflow policy; clients that do not read answers.
mod overflow;
// Users: who may come in, and what each may do.
mod permissions;
// Topics, order, confirmation.
mod pubsub;
// Rule 4: queue groups.
mod queue_groups;
// Rule 7: the hello time-out and heartbeats.
mod time;
