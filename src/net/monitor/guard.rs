//! Whether a request to the monitor is answered: whose name and secret are asked for.
//!
//! Owns that, and how often it was not shown, or a handshake did not even come to its end. What a
//! secret is worth is told by `access`. Hashing takes its part of the monitor's time, and so is
//! rested from like all else.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use log::{Level, log, log_enabled};

use super::request::{Basic, Endpoint, Request, Shown};
use crate::engine::access::User;
use crate::engine::reports::tally::{LOG_INS, Tally};

/// Characters of a name that a line shows: a request has room for thousands.
const SHOWN_CHARACTERS: usize = 64;

/// Who may read the monitor.
#[derive(Default)]
pub(super) struct Guard {
    /// `None`: everyone.
    user: Option<Rc<User>>,
    refused: u64,
    tally: Tally,
    failed_handshakes: u64,
    handshakes: Tally,
}

impl Guard {
    /// Whose name and secret are asked for from now on; `None`: nobody's.
    pub(super) fn ask_for(&mut self, user: Option<Rc<User>>) {
        self.user = user;
    }

    /// Whether any are asked for.
    pub(super) fn asks(&self) -> bool {
        self.user.is_some()
    }

    /// Requests so far that have shown what is wrong.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether a request may be answered. Those who ask whether the broker is healthy have no
    /// secret: load balancers and probes.
    pub(super) fn admits(&mut self, request: &Request, address: SocketAddr, now: Instant) -> bool {
        let Some(user) = &self.user else { return true };
        if request.wanted == Ok(Endpoint::Health) {
            return true;
        }
        let name = match &request.shown {
            // It is asked now. That is how browsers begin, so nothing has failed.
            Shown::Nothing => return false,
            Shown::Basic(Basic { user: name, secret }) => {
                let is_right = || user.secrets.iter().any(|it| it.is(secret.as_bytes()));
                if *name == user.name && is_right() {
                    return true;
                }
                Some(name)
            }
            Shown::Other => None,
        };
        self.refused += 1;
        if let Some(level) = level(&mut self.tally, now) {
            let shown = |name: &String| name.chars().take(SHOWN_CHARACTERS).collect::<String>();
            let name = name.map(|name| format!(" for user {:?}", shown(name))).unwrap_or_default();
            log!(level, "the monitor did not answer {address}: no right secret{name}");
        }
        false
    }

    /// A client has not come to an end of its handshake.
    pub(super) fn handshake_failed(&mut self, address: SocketAddr, why: &io::Error, now: Instant) {
        self.failed_handshakes += 1;
        if let Some(level) = level(&mut self.handshakes, now) {
            log!(level, "the monitor did not answer {address}: tls_failed ({why})");
        }
    }

    /// Handshakes so far that have failed.
    pub(super) fn failed_handshakes(&self) -> u64 {
        self.failed_handshakes
    }

    /// When there is something to sum up.
    pub(super) fn due(&self) -> Option<Instant> {
        self.tally.due(LOG_INS).into_iter().chain(self.handshakes.due(LOG_INS)).min()
    }

    /// Sums up what is due.
    pub(super) fn report(&mut self, now: Instant) {
        if let Some(sum) = self.tally.sum_up(LOG_INS, now, false) {
            sum.tell(LOG_INS, "requests to the monitor", " without a right secret");
        }
        if let Some(sum) = self.handshakes.sum_up(LOG_INS, now, false) {
            sum.tell(LOG_INS, "connections to the monitor", " with tls_failed");
        }
    }
}

/// The level of the line for one more of those that a tally counts, if there is to be a line.
fn level(tally: &mut Tally, now: Instant) -> Option<Level> {
    log_enabled!(LOG_INS.level).then(|| match tally.count(LOG_INS, now) {
        true => LOG_INS.level,
        false => Level::Debug,
    })
}
