//! Which body answers which request.
//!
//! Owns that table. The figures come from `snapshot`, their format from a file for each.

use std::time::Instant;

use time::OffsetDateTime;

use super::process::Process;
use super::request::Endpoint;
use super::response::{Body, Status};
use super::snapshot::{Frame, Snapshot};
use super::{Monitor, json, metrics, nats, page};
use crate::engine::Engine;

impl Monitor {
    pub(super) fn body(
        &self,
        endpoint: Endpoint,
        engine: &Engine,
        now: Instant,
        wall: OffsetDateTime,
    ) -> Body {
        let (content_type, bytes) = match endpoint {
            Endpoint::Page => (page::CONTENT_TYPE, page::HTML.into()),
            Endpoint::Metrics => {
                let snapshot = self.snapshot(engine, now, Process::read());
                (metrics::CONTENT_TYPE, metrics::render(&snapshot).into_bytes())
            }
            Endpoint::Stats => {
                let snapshot = self.snapshot(engine, now, Process::default());
                (json::CONTENT_TYPE, json::stats(&snapshot))
            }
            Endpoint::Topics => {
                let snapshot = self.snapshot(engine, now, Process::default());
                let rates = self.rates.borrow_mut().of(snapshot.topics(), now);
                (json::CONTENT_TYPE, json::topics(&snapshot, &rates, wall))
            }
            Endpoint::Connections { limit, filters } => {
                let views = match filters {
                    true => engine.slowest_with_filters(limit, now),
                    false => engine.slowest(limit, now),
                };
                (json::CONTENT_TYPE, json::connections(&views, engine.connections(), wall))
            }
            Endpoint::Nats(asked) => {
                (json::CONTENT_TYPE, self.nats_answer(asked, engine, now, wall))
            }
            Endpoint::Health => (json::CONTENT_TYPE, nats::health(!engine.is_draining())),
        };
        let is_away = endpoint == Endpoint::Health && engine.is_draining();
        let status = if is_away { Status::Unavailable } else { Status::Ok };
        let policy = (endpoint == Endpoint::Page).then_some(page::POLICY);
        Body { status, content_type, policy, bytes }
    }

    fn nats_answer(
        &self,
        asked: nats::Asked,
        engine: &Engine,
        now: Instant,
        wall: OffsetDateTime,
    ) -> Vec<u8> {
        let moment = nats::Moment {
            now,
            wall,
            started: self.started,
            uptime: now.saturating_duration_since(self.began),
            configured: self.configured,
            cores: self.cores,
        };
        let cpu = |process: &Process| self.cpu.borrow_mut().percent(process.cpu_seconds, now);
        nats::answer(asked, engine, &moment, cpu)
    }

    fn snapshot<'a>(&'a self, engine: &'a Engine, now: Instant, process: Process) -> Snapshot<'a> {
        let frame = Frame {
            turns: &self.turns,
            started: self.started,
            uptime: now.saturating_duration_since(self.began),
            busiest: self.busiest,
            refused: self.guard.refused(),
            failed_handshakes: self.guard.failed_handshakes(),
            tls_bytes: self.tls.as_ref().map(|tls| tls.held_bytes()),
            certificate_days: self.tls.as_ref().map(|tls| tls.days_left()),
            process,
        };
        Snapshot::of(engine, frame)
    }
}
