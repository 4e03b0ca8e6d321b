//! A publish/subscribe broker.

pub mod broker;
pub mod cli;
pub mod config;
pub mod limits;
pub mod logging;
pub mod net;
pub mod wire;
