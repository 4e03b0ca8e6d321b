//! What the tests of the NATS port share: servers as processes, raw connections to them, and the
//! differential test's parts. Nothing here knows the broker's code; it knows the protocol alone.

pub mod compare;
pub mod frame;
pub mod generate;
pub mod peer;
pub mod play;
pub mod server;
pub mod session;
pub mod shrink;

use std::time::Duration;

/// How long a test waits for what must arrive. Far longer than it takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);
