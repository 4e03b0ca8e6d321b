//! Writing what waits in the outboxes.
//!
//! Owns the order in which they are written, and how much at a time. Must not decide what is
//! written.

use std::io::{self, IoSlice};
use std::time::Instant;

use super::{Sockets, Turn};
use crate::engine::budget;
use crate::engine::token::Token;

/// Slices in a write of few of them, and of many: what writev(2) takes (`IOV_MAX`).
const FEW_SLICES: usize = 8;
const MANY_SLICES: usize = 1_024;

/// What came of a write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    /// The socket may take more.
    Some,
    /// The socket is full, or the connection has failed.
    Stopped,
}

impl<S: Sockets> Turn<S> {
    /// Writes dirty outboxes within the budget of the turn. What the turn before has left is first
    /// written for half of that, so that neither those nor these wait long.
    pub(super) fn flush(&mut self, now: Instant) {
        let (begin, turn) = (self.engine.budget.spent(), self.engine.budget.units());
        let until = (begin + turn / 2).max(turn);
        let middle = begin + (until - begin) / 2;
        while self.engine.budget.spent() < middle
            && let Some(token) = self.engine.schedule.next_unflushed()
        {
            self.flush_in_turn(token, now);
        }
        while self.engine.budget.spent() < until {
            let schedule = &mut self.engine.schedule;
            let next = schedule.next_dirty().or_else(|| schedule.next_unflushed());
            let Some(token) = next else { break };
            self.flush_in_turn(token, now);
        }
        self.engine.schedule.end_flush();
    }

    /// Writes the outboxes that a delivery waits for, until each is empty or its socket is full.
    pub(super) fn flush_first(&mut self, now: Instant) {
        for token in self.engine.take_flush_first() {
            while !self.engine.outbox(token).is_empty() {
                if self.write(token, now) == Written::Stopped {
                    break;
                }
            }
        }
    }

    /// Writes one outbox, or as much of it as a share of the turn allows.
    fn flush_in_turn(&mut self, token: Token, now: Instant) {
        self.engine.budget.begin_connection();
        while !self.engine.outbox(token).is_empty() {
            if self.write(token, now) == Written::Stopped {
                return;
            }
            if self.engine.budget.is_share_used() {
                self.engine.schedule.mark_dirty(token);
                return;
            }
        }
    }

    fn write(&mut self, token: Token, now: Instant) -> Written {
        if self.engine.outbox(token).slice_count() <= FEW_SLICES {
            self.write_slices::<FEW_SLICES>(token, now)
        } else {
            self.write_slices::<MANY_SLICES>(token, now)
        }
    }

    /// Writes the first slices of an outbox, with one system call.
    fn write_slices<const SLICES: usize>(&mut self, token: Token, now: Instant) -> Written {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let (entries, bytes) = self.engine.outbox(token).gather(&mut slices);
        let written = self.sockets.write_vectored(token, &slices[..entries]);
        self.engine.budget.charge(budget::WRITE);
        let again = self.heed_news(token);
        match written {
            Ok(count) => {
                self.engine.budget.charge(count as u64 / budget::WRITTEN_BYTES);
                let is_full = count < bytes && !again;
                if is_full {
                    self.engine.blocked(token, now);
                }
                self.engine.sent(token, count, now);
                if is_full { Written::Stopped } else { Written::Some }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.engine.blocked(token, now);
                Written::Stopped
            }
            Err(_) => {
                self.engine.budget.charge_turn(budget::CLOSE);
                self.engine.connection_failed(token);
                Written::Stopped
            }
        }
    }
}
