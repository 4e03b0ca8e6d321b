//! How conversations end: by the client, by the broker, by a failure, or all at once.
//!
//! Owns the way from open to gone, and that the last frame is never destroyed on it. Must not
//! decide why: every end has been given its reason before, or is given it here once.

use std::collections::VecDeque;
use std::time::Instant;

use log::debug;

use super::connection::State;
use super::protocol::{Notice, Protocol};
use crate::engine::buffers::chunk::Own;
use crate::engine::buffers::inbox::Inbox;
use crate::engine::close_reason::CloseReason;
use crate::engine::delivery::waits::Obstacle;
use crate::engine::token::Token;
use crate::engine::{Engine, budget};

/// Refused connections that may take their time to close; more are told why and closed at once.
const MAX_REFUSALS: usize = 256;

/// Connections on their way out.
#[derive(Default)]
pub(crate) struct Departures {
    /// Their sending side is to be shut down.
    shutdowns: Vec<Token>,
    /// Their sockets are to be closed.
    gone: Vec<Token>,
    /// Their sockets are closed; they are reaped when they hold no subscription any more.
    closed: Vec<Token>,
    /// They receive nothing any more, and their subscriptions are given up, a share in each turn.
    leaving: VecDeque<Token>,
}

impl Engine {
    /// The client has closed its sending side; what it sent before was all processed.
    pub(crate) fn end_of_input(&mut self, token: Token) {
        let connection = &mut self.connections[token.index()];
        connection.input_ended = true;
        match connection.state {
            // It takes nothing more, either.
            State::Open if connection.role.protocol == Protocol::Leaf => {
                self.abort(token, CloseReason::ClientClosed);
            }
            State::Handshake | State::Open => {
                self.begin_finishing(token, CloseReason::ClientClosed);
                self.after_progress(token);
            }
            State::Discarding => self.mark_gone(token),
            State::Finishing | State::Closing | State::Gone | State::Adrift => {}
        }
    }

    /// The socket of a connection has failed.
    pub(crate) fn connection_failed(&mut self, token: Token) {
        self.abort(token, CloseReason::ConnectionLost);
    }

    /// Its socket is about to fail, since its handshake has.
    pub(crate) fn handshake_has_failed(&mut self, token: Token, why: String) {
        self.connections[token.index()].reason.get_or_insert(CloseReason::TlsFailed);
        self.reports.note_why(token, why);
    }

    /// Shuts down: nothing more is read, everything accepted is delivered, GOODBYE behind it. To be
    /// called between two turns.
    pub fn shut_down(&mut self, now: Instant) {
        self.draining = true;
        self.forget_hub_of_before();
        for token in self.tokens() {
            if self.connections[token.index()].is_talking() {
                self.begin_finishing(token, CloseReason::Shutdown);
                self.connections[token.index()].since = now;
            }
            if self.connections[token.index()].state == State::Finishing {
                self.tell_lost(token);
                self.say_lame_duck(token);
                self.say(token, Notice::Goodbye, Own::Notice);
                // NATS clients are told by the end alone.
                self.after_progress(token);
            }
        }
    }

    /// Ends what [`shut_down`](Engine::shut_down) began: whatever is left is closed at once.
    /// Returns how many messages were not delivered.
    pub fn give_up(&mut self) -> u64 {
        let mut undelivered = 0;
        for token in self.tokens() {
            let reason = match self.outbox(token).is_empty() {
                true => CloseReason::Shutdown,
                false => CloseReason::DrainTimeout,
            };
            self.abort(token, reason);
            undelivered += self.connections[token.index()].undelivered();
        }
        undelivered
    }

    /// Decides to close a connection, telling it why.
    pub(crate) fn close(&mut self, token: Token, reason: CloseReason, now: Instant) {
        let connection = &mut self.connections[token.index()];
        match connection.state {
            State::Closing | State::Discarding | State::Gone => return,
            State::Adrift => return self.end_waiting_for_hub(token),
            State::Handshake | State::Open | State::Finishing => {}
        }
        debug!("closing {connection}: {reason}");
        if connection.role.protocol == Protocol::Leaf && reason != CloseReason::LoopDetected {
            // There is nothing to tell it.
            self.budget.charge_turn(budget::CLOSE);
            return self.abort(token, reason);
        }
        connection.state = State::Closing;
        connection.reason = Some(reason);
        connection.since = now;
        connection.inbox = Inbox::Empty;
        // NATS clients expect what came before their mistake, as far as they take it in time, and
        // what a hub does not take may wait for another one.
        let keeps = match connection.role.protocol {
            Protocol::Native => false,
            Protocol::Nats => !reason.is_fault() || reason == CloseReason::Unauthorized,
            Protocol::Leaf => true,
        };
        if !keeps {
            let undelivered = connection.outbox.drop_messages(connection.role.protocol.walk());
            self.note_undelivered(token, undelivered);
        }
        self.budget.charge_turn(budget::CLOSE);
        self.detach(token);
        self.say(token, Notice::Closing { reason }, Own::Answer);
        self.after_progress(token);
        self.schedule.make_ready(token);
        self.arm(token);
    }

    /// Ends a connection at once, without a word.
    pub(crate) fn abort(&mut self, token: Token, reason: CloseReason) {
        let connection = &mut self.connections[token.index()];
        if matches!(connection.state, State::Gone | State::Adrift) {
            return;
        }
        // A decision that was made before stays the reason.
        connection.reason.get_or_insert(reason);
        if reason == CloseReason::DrainTimeout {
            connection.reason = Some(reason);
        }
        self.mark_gone(token);
    }

    /// Nothing more is read from it, and what waits for it is still delivered.
    fn begin_finishing(&mut self, token: Token, reason: CloseReason) {
        let connection = &mut self.connections[token.index()];
        connection.state = State::Finishing;
        connection.reason = Some(reason);
        connection.inbox = Inbox::Empty;
        self.waits.remove(token);
        self.leave_topics(token);
    }

    /// It waits for nothing, and nothing is delivered to it or waits for it.
    fn detach(&mut self, token: Token) {
        self.waits.remove(token);
        self.memory.forget_frame(token);
        self.leave_topics(token);
    }

    /// It receives nothing more, and publishers that wait for it or one of its queue groups look
    /// again.
    fn leave_topics(&mut self, token: Token) {
        let connection = &mut self.connections[token.index()];
        if std::mem::replace(&mut connection.has_left, true) {
            return;
        }
        self.journal.left(token);
        self.let_waiters_look(token);
        if self.index.held(token).subscriptions > 0 && !self.keep_as_memory_of_hub(token) {
            self.departures.leaving.push_back(token);
        }
    }

    /// It is a receiver no more, or another one: all that wait for it or one of its queue groups
    /// look again.
    pub(crate) fn let_waiters_look(&mut self, token: Token) {
        self.connections[token.index()].update_room(&self.rules);
        self.end_stall(token);
        self.wake_groups_of(token);
    }

    /// Gives up the subscriptions of a connection that has ended before.
    pub(crate) fn begin_giving_up(&mut self, token: Token) {
        self.departures.leaving.push_back(token);
    }

    /// Messages that were queued for a connection do not reach it.
    pub(crate) fn note_undelivered(&mut self, token: Token, messages: u64) {
        if messages > 0 {
            self.connections[token.index()].losses_mut().undelivered += messages;
            self.stats.undelivered += messages;
        }
    }

    pub(crate) fn tokens(&self) -> Vec<Token> {
        self.connections.iter().map(|(index, _)| Token::new(index)).collect()
    }

    /// Its socket is closed at the end of the turn.
    fn mark_gone(&mut self, token: Token) {
        let connection = &mut self.connections[token.index()];
        connection.state = State::Gone;
        connection.inbox = Inbox::Empty;
        self.detach(token);
        if self.is_memory_of_hub(token) {
            self.set_adrift(token);
        } else {
            let connection = &mut self.connections[token.index()];
            let outbox = std::mem::take(&mut connection.outbox);
            let undelivered = outbox.messages(connection.role.protocol.walk());
            self.note_undelivered(token, undelivered);
        }
        self.departures.gone.push(token);
    }

    /// What becomes of a connection when its outbox is empty.
    pub(crate) fn after_progress(&mut self, token: Token) {
        if !self.outbox(token).is_empty() {
            return;
        }
        let connection = &mut self.connections[token.index()];
        let has_time = !connection.refused || self.refused <= MAX_REFUSALS;
        let is_over = connection.input_ended || !has_time;
        match connection.state {
            State::Open | State::Finishing if connection.untold() > 0 => self.tell_lost(token),
            State::Finishing | State::Closing if is_over => self.mark_gone(token),
            State::Finishing | State::Closing => {
                // It is the client's turn to close now.
                connection.state = State::Discarding;
                self.departures.shutdowns.push(token);
                self.schedule.make_ready(token);
                self.arm(token);
            }
            State::Handshake | State::Open | State::Discarding | State::Gone | State::Adrift => {}
        }
    }

    /// Whether subscriptions of connections that leave are still to be given up.
    pub(crate) fn is_giving_up(&self) -> bool {
        !self.departures.leaving.is_empty()
    }

    /// Gives up subscriptions of connections that leave, for a share of the turn and one in any
    /// case.
    pub(crate) fn give_up_subscriptions(&mut self) {
        let until = self.budget.spent() + self.budget.share();
        while let Some(&token) = self.departures.leaving.front() {
            if self.index.give_up(token, &mut self.budget, until) {
                self.departures.leaving.pop_front();
            }
            if self.budget.spent() >= until {
                return;
            }
        }
    }

    /// Connections whose sending side is to be shut down now.
    pub(crate) fn take_shutdowns(&mut self) -> Vec<Token> {
        let mut shutdowns = std::mem::take(&mut self.departures.shutdowns);
        shutdowns.retain(|token| self.connections[token.index()].state == State::Discarding);
        shutdowns
    }

    /// Connections whose sockets are to be closed now.
    pub(crate) fn take_gone(&mut self, now: Instant) -> Vec<Token> {
        let gone = std::mem::take(&mut self.departures.gone);
        for token in &gone {
            let connection = &self.connections[token.index()];
            let reason = connection.reason.unwrap_or(CloseReason::ConnectionLost);
            self.stats.closed[reason as usize] += 1;
            self.report_ended(*token, reason, now);
            self.link_has_ended(*token, reason);
            self.log_out(*token);
        }
        // Before a new connection has the token of one that is gone.
        self.schedule.remove(&gone);
        self.departures.closed.extend(&gone);
        gone
    }

    /// Lets go of connections whose sockets are closed: their tokens may be given out again.
    pub(crate) fn reap(&mut self) {
        let mut closed = std::mem::take(&mut self.departures.closed);
        closed.retain(|token| {
            if self.index.held(*token).subscriptions > 0 {
                return true;
            }
            let connection = self.connections.remove(token.index());
            self.memory.forget(*token);
            self.index.end_withholding(*token);
            self.refused -= usize::from(connection.refused);
            *self.crowd.of(connection.role) -= 1;
            false
        });
        self.departures.closed = closed;
    }

    /// Publishers that wait for a queue group of this connection look again.
    pub(crate) fn wake_groups_of(&mut self, token: Token) {
        if self.waits.is_for_groups() {
            for group in self.index.groups_of(token) {
                self.waits.wake(Obstacle::Group(group), &mut self.schedule);
            }
        }
    }
}
