//! What the tests share: a real broker process, a raw client, and a codec of their own.
//!
//! Nothing here uses the broker's code. Frames are encoded and decoded from the protocol's
//! description, so that a mistake in the broker's codec cannot hide itself.

// Each test binary uses a part of this module.
#![allow(dead_code, unused_imports)]

pub(crate) mod broker;
pub(crate) mod certificates;
pub(crate) mod connections;
pub(crate) mod flood;
pub(crate) mod frame;
pub(crate) mod http;
pub(crate) mod hub;
pub(crate) mod link;
pub(crate) mod load;
pub(crate) mod manager;
pub(crate) mod nats;
pub(crate) mod numbered;
pub(crate) mod pair;
pub(crate) mod peer;
pub(crate) mod process;
pub(crate) mod relay;
pub(crate) mod traffic;

use std::time::{Duration, Instant};

pub(crate) use broker::Broker;
pub(crate) use certificates::Certificates;
pub(crate) use flood::Flood;
pub(crate) use frame::{Frame, code, kind};
pub(crate) use http::{Http, Response};
pub(crate) use hub::Hub;
pub(crate) use link::{Link, LinkMessage, LinkState};
pub(crate) use load::{Meter, Pump};
pub(crate) use manager::Manager;
pub(crate) use nats::NatsPeer;
pub(crate) use pair::{HealthyPair, Latencies};
pub(crate) use peer::{Event, Peer};
pub(crate) use process::{Process, TempDir};
pub(crate) use relay::Relay;

/// How long a test waits for what must happen. Long, because the machine may be slow and busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `probe` returns something.
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + 3 * PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes in a readable form.
pub(crate) fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
