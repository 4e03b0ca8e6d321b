//! A publish/subscribe broker.
pub mod wire;
