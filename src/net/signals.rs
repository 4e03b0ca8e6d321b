//! Signals, as something that the reactor can wait for.
//!
//! Owns which signals the broker listens to. SIGPIPE is ignored by Rust's runtime: writing to a
//! connection that is gone is an error of that connection.

use std::io;

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals as MioSignals;

/// The signals that have come.
pub(super) struct Signals(MioSignals);

impl Signals {
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Signals> {
        let mut signals = MioSignals::new([SIGTERM, SIGINT])?;
        registry.register(&mut signals, token, Interest::READABLE)?;
        Ok(Signals(signals))
    }

    /// How many times the broker was told to stop since the last call.
    pub(super) fn stops(&mut self) -> usize {
        self.0.pending().count()
    }
}
