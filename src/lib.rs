//! A publish/subscribe broker, as a library that the daemon `broker` is a thin shell of.
//!
//! ```text
//! publishers                                                            subscribers
//!     |                                                                      ^
//!     | read                            net                            writev|
//! ----|----------------------------------------------------------------------|----
//!     v                                engine                                |
//!   chunk --> frames in place --> runs --> admission --> slices --> outbox --> flush
//!               (wire)            (adjacent messages with one set of receivers)
//! ```
//!
//! The bytes that are read from a publisher are the bytes that are written to each subscriber; in
//! between they are only pointed at. Imports point downwards: `main -> net -> engine`, and below
//! them the crate `wire`.
//!
//! - [`engine`]: decides. Performs no I/O and has no clock: it is handed bytes and the time.
//! - [`net`]: the one loop, sockets, signals, the clock.
//! - [`config`]: `config.ini` and the command line become one validated configuration.
//! - [`cli`]: what the user typed.
//! - [`logging`]: where log lines go.
//! - [`secret`]: secrets for the file of users.
//! - [`limits`]: the operating system's limits on this process.

// Sockets and clocks are for `net`. Tests need some moment to count the time from.
#![warn(clippy::disallowed_types)]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod cli;
pub mod config;
pub mod engine;
pub mod limits;
pub mod logging;
#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "it performs the I/O")]
pub mod net;
pub mod secret;
