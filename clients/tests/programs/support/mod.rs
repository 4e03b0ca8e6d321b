//! What the tests of the clients share: brokers that misbehave on purpose, real brokers, and the
//! programs as child processes.
//!
//! Waits on conditions only, for a generous time, so that a slow machine changes nothing.

#[path = "../../../../client/tests/library/support/fake.rs"]
pub mod fake;
pub mod nats;
pub mod process;
pub mod real;

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `probe` gives something.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
