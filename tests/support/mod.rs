//! What the tests share: a real broker process, a raw client, and a codec of their own.
//!
//! Nothing here uses the broker's code. Frames are cut and put together again from the protocol's
//! description, so that a mistake in the broker's codec cannot hide itself.

// Each test file is a crate of its own and uses a part of this module.
#![allow(dead_code, unused_imports)]

pub(crate) mod broker;
pub(crate) mod flood;
pub(crate) mod frame;
pub(crate) mod http;
pub(crate) mod manager;
pub(crate) mod peer;
pub(crate) mod process;

use std::time::Duration;

pub(crate) use broker::Broker;
pub(crate) use flood::Flood;
pub(crate) use frame::{Frame, code, kind};
pub(crate) use http::{Http, Response};
pub(crate) use manager::Manager;
pub(crate) use peer::{Event, Peer};
pub(crate) use process::{Process, TempDir};

/// How long a test waits for what must happen. Long, because the machine may be slow and busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
