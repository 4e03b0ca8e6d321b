//! Signals, as something that the reactor can wait for.
//!
//! Owns which signals the broker listens to. SIGPIPE is ignored by Rust's runtime: writing to a
//! connection that is gone is an error of that connection.

use std::io;

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals as MioSignals;

/// The signals that are listened to.
pub(super) struct Signals(MioSignals);

/// What has come.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Signalled {
    /// How many times the broker was told to stop.
    pub(super) stops: usize,
    /// It was told to read its configuration again, however often.
    pub(super) reload: bool,
}

impl Signals {
    /// With `reload`, SIGHUP is one of them; otherwise it ends the process, as it does by default.
    pub(super) fn new(registry: &Registry, token: Token, reload: bool) -> io::Result<Signals> {
        let wanted: &[_] = if reload { &[SIGTERM, SIGINT, SIGHUP] } else { &[SIGTERM, SIGINT] };
        let mut signals = MioSignals::new(wanted)?;
        registry.register(&mut signals, token, Interest::READABLE)?;
        Ok(Signals(signals))
    }

    /// What has come since the last call.
    pub(super) fn take(&mut self) -> Signalled {
        let mut signalled = Signalled::default();
        for signal in self.0.pending() {
            signalled.reload |= signal == SIGHUP;
            signalled.stops += usize::from(signal != SIGHUP);
        }
        signalled
    }
}
