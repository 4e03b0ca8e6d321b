//! A publish/subscribe broker.

pub mod config;
pub mod wire;
