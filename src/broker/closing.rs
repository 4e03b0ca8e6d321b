//! How conversations end: by the client, by the broker, by a failure, or all at once.
//!
//! Owns the way from open to gone, and that the last frame is never destroyed on it. Must not
//! decide why: every end has been given its reason before, or is given it here once.

use std::time::Instant;

use log::{debug, info};

use super::close_reason::CloseReason;
use super::connection::State;
use super::inbox::Inbox;
use super::outbox::Outbox;
use super::{Broker, MAX_REFUSALS, Token};
use wire::native::frame::{self, Kind};

impl Broker {
    /// The client has closed its sending side; what it sent before has all been given to
    /// [`received`](Broker::received).
    pub fn end_of_input(&mut self, token: Token) {
        let connection = &mut self.connections[token.index()];
        connection.input_ended = true;
        match connection.state {
            State::Handshake | State::Open => {
                connection.state = State::Finishing;
                connection.reason = Some(CloseReason::ClientClosed);
                connection.inbox = Inbox::Empty;
                self.leave_topics(token);
                self.after_progress(token);
            }
            State::Discarding => self.vanish(token),
            State::Finishing | State::Closing | State::Gone => {}
        }
    }

    /// The socket of a connection has failed.
    pub fn connection_failed(&mut self, token: Token) {
        self.abandon(token, CloseReason::ConnectionLost);
    }

    /// Shuts down: nothing more is read, everything accepted is delivered, GOODBYE behind it.
    pub fn shut_down(&mut self, now: Instant) {
        self.draining = true;
        let mut goodbye = Vec::new();
        frame::encode(Kind::Goodbye, 0, b"", b"the broker is shutting down", &mut goodbye);
        for token in self.tokens() {
            let connection = &mut self.connections[token.index()];
            if connection.is_talking() {
                connection.inbox = Inbox::Empty;
                connection.state = State::Finishing;
                connection.reason = Some(CloseReason::Shutdown);
                connection.since = now;
                self.leave_topics(token);
            }
            if self.connections[token.index()].state == State::Finishing {
                self.tell_lost(token);
                self.answer(token, &goodbye);
            }
        }
    }

    /// Ends what [`shut_down`](Broker::shut_down) began: whatever is left is closed at once.
    /// Returns how many messages were not delivered.
    pub fn give_up(&mut self) -> u64 {
        let mut undelivered = 0;
        for token in self.tokens() {
            let reason = match self.outbox(token).is_empty() {
                true => CloseReason::Shutdown,
                false => CloseReason::DrainTimeout,
            };
            self.abandon(token, reason);
            undelivered += self.connections[token.index()].undelivered();
        }
        undelivered
    }

    /// Decides to close a connection, telling it why.
    pub(super) fn close(&mut self, token: Token, reason: CloseReason, now: Instant) {
        let connection = &mut self.connections[token.index()];
        if matches!(connection.state, State::Closing | State::Discarding | State::Gone) {
            return;
        }
        debug!("closing {connection}: {reason}");
        connection.state = State::Closing;
        connection.reason = Some(reason);
        connection.since = now;
        connection.inbox = Inbox::Empty;
        let undelivered = connection.outbox.drop_messages();
        connection.end_waits(undelivered);
        self.detach(token);
        if let Some((code, text)) = reason.error() {
            let mut bytes = Vec::new();
            frame::encode_error(code, true, b"", text, &mut bytes);
            self.answer(token, &bytes);
        }
        self.resumed.push(token);
        self.arm(token);
    }

    /// Ends a connection at once, without a word.
    pub(super) fn abandon(&mut self, token: Token, reason: CloseReason) {
        let connection = &mut self.connections[token.index()];
        if connection.state == State::Gone {
            return;
        }
        // A decision that was made before stays the reason.
        connection.reason.get_or_insert(reason);
        if reason == CloseReason::DrainTimeout {
            connection.reason = Some(reason);
        }
        let undelivered = connection.outbox.messages();
        connection.end_waits(undelivered);
        self.detach(token);
        self.vanish(token);
    }

    /// Nobody waits for it or sends to it any more.
    fn detach(&mut self, token: Token) {
        self.connections[token.index()].epoch = self.next_epoch();
        self.leave_group_wait(token);
        self.leave_topics(token);
        self.release_waiters(token);
    }

    /// It receives nothing more, and no queue group counts on it.
    fn leave_topics(&mut self, token: Token) {
        self.leave_full_groups(token);
        self.index.forget(token);
    }

    pub(super) fn tokens(&self) -> Vec<Token> {
        self.connections.iter().map(|(index, _)| Token::new(index)).collect()
    }

    fn vanish(&mut self, token: Token) {
        self.leave_group_wait(token);
        let connection = &mut self.connections[token.index()];
        connection.state = State::Gone;
        connection.inbox = Inbox::Empty;
        connection.outbox = Outbox::default();
        self.gone.push(token);
    }

    /// What becomes of a connection when its outbox is empty.
    pub(super) fn after_progress(&mut self, token: Token) {
        if !self.outbox(token).is_empty() {
            return;
        }
        let connection = &mut self.connections[token.index()];
        let has_time = !connection.refused || self.refused <= MAX_REFUSALS;
        let is_over = connection.input_ended || !has_time;
        match connection.state {
            State::Open | State::Finishing if connection.lost() > 0 => self.tell_lost(token),
            State::Finishing | State::Closing if is_over => self.vanish(token),
            State::Finishing | State::Closing => {
                // It is the client's turn to close now.
                connection.state = State::Discarding;
                self.shutdowns.push(token);
                self.resumed.push(token);
                self.arm(token);
            }
            State::Handshake | State::Open | State::Discarding | State::Gone => {}
        }
    }

    /// Connections whose sending side is to be shut down now.
    pub fn take_shutdowns(&mut self) -> Vec<Token> {
        std::mem::take(&mut self.shutdowns)
    }

    /// Reaps connections: their sockets are to be closed, their tokens may be given out again.
    pub fn take_gone(&mut self) -> Vec<Token> {
        let gone = std::mem::take(&mut self.gone);
        for token in &gone {
            let connection = self.connections.remove(token.index());
            self.refused -= usize::from(connection.refused);
            self.by_role[connection.role as usize] -= 1;
            let reason = connection.reason.unwrap_or(CloseReason::ConnectionLost);
            self.stats.closed[reason as usize] += 1;
            let (traffic, undelivered) = (connection.traffic, connection.undelivered());
            let dropped = connection.trouble().map_or(0, |trouble| trouble.dropped);
            self.stats.undelivered += undelivered;
            info!(
                "disconnected: {connection}: {reason}; {} messages, {} bytes, {dropped} dropped, \
                 {undelivered} undelivered",
                traffic.messages, traffic.bytes
            );
        }
        if !gone.is_empty() {
            // Before a new connection has the token of one that is gone.
            self.dirty.retain(|token| self.connections.contains(token.index()));
            self.starved.retain(|token| self.connections.contains(token.index()));
        }
        gone
    }
}
