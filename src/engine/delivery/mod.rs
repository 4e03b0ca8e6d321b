//! From what a publisher sent to the outboxes of its receivers.
//!
//! Owns the order in which messages are delivered, the overflow policies, what a connection that
//! cannot go on waits for, and the limit of memory. A message takes this way:
//!
//! 1. `runs` cuts what was read into runs: adjacent messages with one route. `scan` goes from one
//!    message to the next, `messages` tells where one ends, `run` how much of a run fits.
//! 2. `admission` looks whether all receivers take a run now, or its first part. It changes no
//!    queue. It says what is to be flushed first, or what is waited for.
//! 3. `encodings` brings the run into each encoding that its receivers want.
//! 4. `deliver` puts slices into the outboxes. It never fails, waits, or stops half-way.
//!
//! `series` takes a short cut through 2 to 4 for NATS clients: runs that go to the same ones, which
//! have room for all of them, are given to them together. `unheard` is the way of messages that
//! reach nobody. `waits` parks connections on obstacles and
//! wakes them, `stall` measures receivers that were found full, `reading` decides whether there is
//! memory to read, and `memory` what is done when it is full.

mod admission;
mod deliver;
mod encodings;
mod hub;
pub(super) mod memory;
mod messages;
mod reading;
mod run;
mod runs;
mod scan;
mod series;
pub(super) mod stall;
mod unheard;
pub(super) mod waits;

pub(super) use admission::Admission;
pub(super) use encodings::Encoder;
pub(super) use series::Series;

#[cfg(test)]
mod tests;
