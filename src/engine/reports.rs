//! What the log tells an operator of the connections, and how often.
//!
//! Owns the limits of those lines: a storm of clients, or one that is slow for hours, is told in a
//! few lines and then in numbers. Is told the time. Must not decide what becomes of a connection,
//! nor touch a message for which there is room.
//!
//! What has no line of its own has one at level debug. A level that hides lines counts none.

use std::time::{Duration, Instant};

use log::{Level, log, log_enabled, warn};

use super::close_reason::CloseReason;
use super::sessions::protocol::Protocol;
use super::stats::REASONS;
use super::token::Token;
use super::{Engine, budget};

pub(crate) mod tally;

use tally::{LOG_INS, Limit, Tally};

/// Clients come and go.
const ROUTINE: Limit = Limit { level: Level::Info, lines: 100, period: Duration::from_secs(10) };
/// Clients are made to go, for each reason.
const FAULTS: Limit = Limit { level: Level::Warn, lines: 10, period: Duration::from_secs(1) };
/// The least time between two lines of a kind that tell who is slow: while it lasts, who was slow
/// first in the second stands for all.
const SLOWNESS_EVERY: Duration = Duration::from_secs(1);

/// What was told, and what is still to be.
#[derive(Default)]
pub(crate) struct Reports {
    connected: Tally,
    /// By close reason.
    ended: [Tally; REASONS],
    /// What is told beside the reason of those that end in this turn.
    why: Vec<(Token, String)>,
    /// When the first sum is due.
    due: Option<Instant>,
    /// The first receiver of this turn that was found full, if it is time to tell.
    found_full: Option<Token>,
    held_up_at: Option<Instant>,
    dropping_at: Option<Instant>,
    /// Memory has become full, and it was not told yet.
    is_memory_full: bool,
    memory_full_at: Option<Instant>,
}

impl Reports {
    /// When something is to be summed up.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Memory has become full.
    pub(crate) fn memory_is_full(&mut self) {
        self.is_memory_full = true;
    }

    /// A connection ends in this turn, and that is why.
    pub(crate) fn note_why(&mut self, token: Token, why: String) {
        self.why.push((token, why));
    }

    fn take_why(&mut self, token: Token) -> String {
        let place = self.why.iter().position(|(whose, _)| *whose == token);
        place.map(|place| format!(" ({})", self.why.swap_remove(place).1)).unwrap_or_default()
    }

    /// A receiver was found full.
    pub(crate) fn found_full(&mut self, token: Token, now: Instant) {
        if self.found_full.is_none() && is_time(self.held_up_at, now) {
            self.found_full = Some(token);
        }
    }

    /// The level of the line for one more connection.
    fn count_connected(&mut self, now: Instant) -> Level {
        let has_line = self.connected.count(ROUTINE, now);
        self.level(has_line, ROUTINE, self.connected.due(ROUTINE))
    }

    /// The level of the line for one more end.
    fn count_ended(&mut self, reason: CloseReason, now: Instant) -> Level {
        let (limit, tally) = (limit(reason), &mut self.ended[reason as usize]);
        let has_line = tally.count(limit, now);
        let due = tally.due(limit);
        self.level(has_line, limit, due)
    }

    fn level(&mut self, has_line: bool, limit: Limit, due: Option<Instant>) -> Level {
        self.due = self.due.into_iter().chain(due).min();
        if has_line { limit.level } else { Level::Debug }
    }

    fn sum_up(&mut self, now: Instant, in_any_case: bool) {
        if let Some(sum) = self.connected.sum_up(ROUTINE, now, in_any_case) {
            sum.tell(ROUTINE, "connections", "");
        }
        self.due = self.connected.due(ROUTINE);
        for (reason, tally) in CloseReason::ALL.into_iter().zip(&mut self.ended) {
            let limit = limit(reason);
            if let Some(sum) = tally.sum_up(limit, now, in_any_case) {
                sum.tell(limit, "connections ended", &format!(" with {reason}"));
            }
            self.due = self.due.into_iter().chain(tally.due(limit)).min();
        }
    }
}

fn limit(reason: CloseReason) -> Limit {
    match reason {
        CloseReason::Unauthorized | CloseReason::TlsFailed => LOG_INS,
        _ if reason.is_fault() => FAULTS,
        _ => ROUTINE,
    }
}

/// Whether a line of a kind that was told at that time may be told again.
fn is_time(told: Option<Instant>, now: Instant) -> bool {
    log_enabled!(Level::Warn) && told.is_none_or(|at| at + SLOWNESS_EVERY <= now)
}

impl Engine {
    /// A client was greeted.
    pub(crate) fn report_connected(&mut self, token: Token, now: Instant) {
        if log_enabled!(ROUTINE.level) {
            let level = self.reports.count_connected(now);
            log!(level, "connected: {}", self.connections[token.index()]);
        }
    }

    /// A connection has ended.
    pub(crate) fn report_ended(&mut self, token: Token, reason: CloseReason, now: Instant) {
        let why = self.reports.take_why(token);
        if !log_enabled!(limit(reason).level) {
            return;
        }
        let connection = &self.connections[token.index()];
        if connection.role.protocol == Protocol::Leaf {
            // Whoever dialled it tells, with what is done about it.
            return;
        }
        let level = self.reports.count_ended(reason, now);
        let (traffic, undelivered) = (connection.traffic, connection.undelivered());
        let dropped = connection.losses().map_or(0, |losses| losses.dropped);
        log!(
            level,
            "disconnected: {connection}: {reason}{why}; {} messages, {} bytes, {dropped} dropped, \
             {undelivered} undelivered",
            traffic.messages,
            traffic.bytes
        );
    }

    /// Messages were kept from a receiver.
    pub(crate) fn report_dropping(&mut self, token: Token, now: Instant) {
        if is_time(self.reports.dropping_at, now) {
            self.reports.dropping_at = Some(now);
            let connection = &self.connections[token.index()];
            let dropped = connection.losses().map_or(0, |losses| losses.dropped);
            let queued = connection.outbox.queued();
            warn!("dropping for {connection}: {dropped} messages so far, {queued} bytes queued");
        }
    }

    /// Memory is full at the end of a turn.
    pub(crate) fn report_full_memory(&mut self, now: Instant) {
        let reports = &mut self.reports;
        if reports.is_memory_full && is_time(reports.memory_full_at, now) {
            (reports.is_memory_full, reports.memory_full_at) = (false, Some(now));
            warn!(
                "memory_bytes is reached: slow subscribers and unfinished frames hold {} bytes; \
                 publishers are not read until some are free",
                self.memory_held()
            );
        }
    }

    /// Tells at the end of a turn what is due.
    pub(crate) fn report(&mut self, now: Instant) {
        if let Some(token) = self.reports.found_full.take() {
            self.report_held_up(token, now);
        }
        if self.reports.due.is_some_and(|at| at <= now) {
            self.reports.sum_up(now, false);
        }
    }

    /// Tells what is not due yet as well: there will be no later.
    pub fn report_rest(&mut self, now: Instant) {
        self.reports.sum_up(now, true);
    }

    /// A receiver was found full in this turn. It may have drained since.
    fn report_held_up(&mut self, token: Token, now: Instant) {
        let connection = &self.connections[token.index()];
        if connection.stall.is_none() {
            return;
        }
        self.budget.charge_turn(self.waits.distinct_routes() as u64 * budget::LOOK);
        let held_up = self.waits.waiters_for(token, &self.index);
        if held_up > 0 {
            self.reports.held_up_at = Some(now);
            let publishers = if held_up == 1 { "publisher" } else { "publishers" };
            let queued = connection.outbox.queued();
            warn!("{connection} holds up {held_up} {publishers}, with {queued} bytes queued");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_one_reason_does_not_hide_another() {
        let start = Instant::now();
        let mut reports = Reports::default();
        let levels: Vec<_> =
            (0..50).map(|_| reports.count_ended(CloseReason::HelloTimeout, start)).collect();
        assert_eq!(levels.iter().filter(|level| **level == Level::Warn).count(), 10);
        assert_eq!(reports.count_ended(CloseReason::SlowConsumer, start), Level::Warn);
        assert_eq!(reports.count_ended(CloseReason::ClientClosed, start), Level::Info);
        assert_eq!(reports.due(), Some(start + FAULTS.period));
        for _ in 0..200 {
            reports.count_connected(start);
        }
        reports.sum_up(start + FAULTS.period, false);
        assert_eq!(reports.due(), Some(start + ROUTINE.period));
        reports.sum_up(start + FAULTS.period, true);
        assert_eq!(reports.due(), None);
    }
}
