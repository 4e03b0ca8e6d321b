//! Faults with real processes: stalls, storms, resets, shortages, stopped processes, jumping
//! clocks. Small in the ordinary tests, at full size and with figures in those that are ignored.
//! The latter want the machine for themselves:
//!
//! `cargo test --test faults -- --ignored --test-threads 1 --nocapture`

#[path = "../support/mod.rs"]
mod support;

// Shortages of accept(2).
mod descriptors;
// A signal to stop while a subscriber sleeps.
mod drain;
// Thousands of connections without HELLO.
mod handshake;
// The memory and the work of idle connections.
mod idle;
// Losses under `drop`, to the message.
mod losses;
// No loss under `block`, for as long as one likes.
mod lossless;
// Stalled subscribers and `memory_bytes`.
mod memory;
// Peers that never answer, and networks that are cut.
mod peers;
// Ten thousand connections that are killed and connect again.
mod reconnect;
// Connections that are reset in the middle of a frame.
mod resets;
// A mixed load for as long as one likes, with a report.
mod soak;
// What a stalled subscriber means for the others.
mod stall;
// A full disk, a clock that jumps, a stopped process.
mod time;
// Clients that ask for as much work as they can.
mod work;
