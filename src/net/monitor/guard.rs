//! Whether a request to the monitor is answered: whose name and secret are asked for.
//!
//! Owns that, and how often it was not shown. What a secret is worth is told by `access`. Hashing
//! takes its part of the monitor's time, and so is rested from like all else.

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
        if log_enabled!(LOG_INS.level) {
            let has_line = self.tally.count(LOG_INS, now);
            let level = if has_line { LOG_INS.level } else { Level::Debug };
            let shown = |name: &String| name.chars().take(SHOWN_CHARACTERS).collect::<String>();
            let name = name.map(|name| format!(" for user {:?}", shown(name))).unwrap_or_default();
            log!(level, "the monitor did not answer {address}: no right secret{name}");
        }
        false
    }

    /// When there is something to sum up.
    pub(super) fn due(&self) -> Option<Instant> {
        self.tally.due(LOG_INS)
    }

    /// Sums up what is due.
    pub(super) fn report(&mut self, now: Instant) {
        if let Some(sum) = self.tally.sum_up(LOG_INS, now, false) {
            sum.tell(LOG_INS, "requests to the monitor", " without a right secret");
        }
    }
}
