//! What is kept of a hub that has gone.
//!
//! Owns its connection from when the socket is closed until another hub has joined: it is a
//! receiver as before, of what the hub wanted. Messages for it wait in its outbox under the policy
//! `block`, as long as there is room and publishers have waited no longer than they must; else they
//! are lost, and counted. Must not decide when to dial.

use log::warn;

use crate::engine::Engine;
use crate::engine::close_reason::CloseReason;
use crate::engine::rules::OverflowPolicy;
use crate::engine::sessions::connection::{Connection, State};
use crate::engine::token::Token;

impl Engine {
    /// Whether a connection that receives nothing more by itself is kept for what its hub wanted.
    pub(crate) fn keep_as_memory_of_hub(&mut self, token: Token) -> bool {
        let connection = &mut self.connections[token.index()];
        let (reason, policy) = (connection.reason, self.rules.link.policy);
        let Some(link) = self.link.as_mut().filter(|link| link.current == Some(token)) else {
            return false;
        };
        // One that has not joined has not told all that it wants.
        let session = connection.leaf.as_mut().filter(|leaf| leaf.has_joined());
        let Some(session) = session.filter(|_| !self.draining) else { return false };
        // One that was too slow has been waited for long enough.
        session.is_lost = policy != OverflowPolicy::Block
            || matches!(reason, Some(CloseReason::SlowConsumer | CloseReason::LoopDetected));
        let earlier = link.before.replace(token);
        assert!(earlier.is_none(), "what a hub wanted is forgotten when another one joins");
        true
    }

    /// Whether a connection is kept for what its hub wanted.
    pub(crate) fn is_memory_of_hub(&self, token: Token) -> bool {
        self.link.as_ref().is_some_and(|link| link.before == Some(token))
    }

    /// The connection of a hub that has gone has no socket any more. If it may wait, what was not
    /// written is kept for the next one.
    pub(crate) fn set_adrift(&mut self, token: Token) {
        let connection = &mut self.connections[token.index()];
        let walk = connection.role.protocol.walk();
        connection.state = State::Adrift;
        let may_wait = self.rules.link.policy == OverflowPolicy::Block;
        let lost = match may_wait {
            true => connection.outbox.keep_whole_messages(walk),
            false => std::mem::take(&mut connection.outbox).messages(walk),
        };
        connection.note_gone();
        connection.update_room(&self.rules);
        if may_wait {
            self.journal.waits(token, lost);
            if connection.is_lost() {
                self.journal.waited(token);
            }
        }
        self.note_undelivered(token, lost);
        // Whatever is to be done for it in this turn would be done to the old socket.
        self.schedule.remove(&[token]);
        self.memory.note_holder(token);
    }

    /// The hub was waited for long enough: messages for it are lost from now on, but for those that
    /// wait already, if there is memory for them.
    pub(crate) fn end_waiting_for_hub(&mut self, token: Token) {
        if self.memory.is_full() {
            self.lose_what_waits(token);
        }
        if let Some(session) = &mut self.connections[token.index()].leaf
            && !std::mem::replace(&mut session.is_lost, true)
        {
            self.journal.waited(token);
            warn!("the link is down: messages for the hub are lost from now on, and counted");
        }
        self.let_waiters_look(token);
    }

    fn lose_what_waits(&mut self, token: Token) {
        let connection = &mut self.connections[token.index()];
        let walk = connection.role.protocol.walk();
        let lost = std::mem::take(&mut connection.outbox).messages(walk);
        connection.note_gone();
        self.note_undelivered(token, lost);
        if lost > 0 {
            self.journal.gave_up(token);
        }
    }

    /// What a hub wanted that has gone is not kept any more, nor what waits for it.
    pub(crate) fn forget_hub_of_before(&mut self) {
        let Some(before) = self.link.as_mut().and_then(|link| link.before.take()) else { return };
        if self.connections[before.index()].state == State::Adrift {
            self.lose_what_waits(before);
            self.count_ended(before);
            self.connections[before.index()].state = State::Gone;
        } else if let Some(session) = &mut self.connections[before.index()].leaf {
            // It is still told why it is closed; then it has ended like any other.
            session.is_lost = false;
        }
        self.let_waiters_look(before);
        self.begin_giving_up(before);
    }
}

impl Connection {
    /// What is queued for it waits for the next hub, and nothing else does.
    pub(crate) fn note_gone(&mut self) {
        let waiting = self.outbox.messages(self.role.protocol.walk());
        let gone = self.traffic.messages - waiting;
        if let Some(session) = &mut self.leaf {
            session.gone = Some(gone);
        }
    }
}
