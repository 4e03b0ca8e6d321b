//! What the tests of the NATS port share: servers as processes, raw connections to them, and the
//! differential test's parts. Nothing here knows the broker's code; it knows the protocol alone.

pub mod cluster;
pub mod compare;
pub mod frame;
pub mod generate;
pub mod mesh;
pub mod monitor;
pub mod peer;
pub mod play;
pub mod server;
pub mod session;
pub mod shrink;

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for what must arrive. Far longer than it takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `probe` returns something.
///
/// # Panics
/// If it does not in [`PATIENCE`].
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        // Nothing tells of it when it comes, so it is looked for again.
        thread::sleep(Duration::from_millis(20));
    }
}
