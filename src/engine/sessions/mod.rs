//! Conversations with clients, from their first byte to their last.
//!
//! Owns what a connection is, what each protocol asks and answers, signs of life and deadlines, and
//! the way from open to gone. Where messages go is decided by `routing`, and how they get there by
//! `delivery`.
//!
//! - `connection`: one peer and its state.
//! - `protocol`, `native`, `nats`, `leaf`: what peers ask for and are told, in general and as
//!   bytes.
//! - `requests`, `nats_requests`: from bytes that were read to what they ask for.
//! - `log_in`: which user a client is, and what other users mean for those connected.
//! - `liveness`: what is due when: hello time-outs, heartbeats, stalls.
//! - `closing`: how conversations end.
//! - `rule_change`: what other rules mean for those connected.

pub(super) mod closing;
pub mod connection;
mod leaf;
pub(super) mod liveness;
mod log_in;
mod native;
pub(super) mod nats;
pub mod nats_requests;
pub mod protocol;
pub(super) mod requests;
mod rule_change;

pub(super) use leaf::LeafSession;
