//! The library against brokers that misbehave: each failure is reported as the right error.

// A test that panics has found something; not every test needs all that they share.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code)]

/// Connecting, and staying connected.
mod connecting;
/// `Publisher`: nothing waits for ever, every reason is reported.
mod publisher;
/// Clients that outlive their connection.
mod reconnecting;
/// `Subscriber`: nothing that arrived before the fault is lost.
mod subscriber;
/// What the tests share.
mod support;
