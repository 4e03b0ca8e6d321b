//! What the tools of NATS ask for: `/varz`, `/connz`, `/subsz`.
//!
//! Owns which paths those are and what an answer is made of. `query`: what is asked for; `json`:
//! how it is written. Tools decode into typed structures, so a field may be missing, but never be
//! of another type than nats-server's.

use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::process::Process;
use crate::engine::Engine;
use crate::engine::inspect::clients::Part;

mod json;
mod query;

pub(super) use json::health;
pub(super) use query::{Asked, parse};
use query::{Shown, Which};

/// What an answer needs beside the broker.
pub(super) struct Moment {
    /// The broker's clock, and the wall's.
    pub(super) now: Instant,
    pub(super) wall: OffsetDateTime,
    /// When the monitor began, and how long ago that is.
    pub(super) started: OffsetDateTime,
    pub(super) uptime: Duration,
    /// When the configuration was read.
    pub(super) configured: OffsetDateTime,
    /// Processors of the machine.
    pub(super) cores: usize,
}

/// The body of an answer. `cpu` tells the share of a processor in percent.
pub(super) fn answer(
    asked: Asked,
    engine: &Engine,
    moment: &Moment,
    cpu: impl FnOnce(&Process) -> f64,
) -> Vec<u8> {
    match asked {
        Asked::Varz => {
            let process = Process::read();
            json::varz(engine, moment, cpu(&process), process.resident_bytes.unwrap_or(0))
        }
        Asked::Connz { which, shown } => {
            let with_subscriptions = shown != Shown::Nothing;
            let (part, clients) = match which {
                Which::One(number) => {
                    let found = engine.client_numbered(number, with_subscriptions, moment.now);
                    (Part { skip: 0, limit: 1 }, found.into_iter().collect())
                }
                Which::Closed(part) => (part, Vec::new()),
                Which::Open(order, part) => {
                    (part, engine.clients(order, part, with_subscriptions, moment.now))
                }
            };
            let total = match which {
                Which::Closed(_) => 0,
                Which::One(_) | Which::Open(..) => engine.load().crowd.clients,
            };
            json::connz(&clients, shown, (part, total), engine, moment)
        }
        Asked::Subsz { part, listed } => {
            let subscriptions = listed.then(|| engine.subscriptions(part));
            json::subsz(subscriptions.as_deref(), part, engine, moment)
        }
    }
}
