//! The programs as users run them: processes, what they print, and their exit codes.

// A test that panics has found something; not every test needs all that they share.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code)]

/// `bench-publisher`, with small loads.
mod bench;
/// `bench-publisher` in daily use.
mod bench_daily;
/// `bench-publisher --protocol nats`.
mod bench_nats;
/// Messages in and out as data, short forms, programs that outlive a broker.
mod data;
/// The examples of the library.
mod examples;
/// Killed and stopped at any moment.
mod faults;
/// What fuzzing keeps, replayed.
mod fuzz_corpus;
/// `subscriber --list`.
mod list;
/// `publisher` against a fake broker.
mod publisher;
/// TLS and Unix sockets.
mod secure;
/// What docs/security.md tells operators to do, done.
mod security_page;
/// `subscriber` against a fake broker.
mod subscriber;
/// What the tests share.
mod support;
/// Wrong usage, defaults, no broker.
mod usage;
/// The programs against real brokers.
mod with_broker;
