//! Puts a run that is admitted into the outboxes of its receivers.
//!
//! Owns what is counted on the way. Must not decide anything: who receives is the route's to say,
//! and what becomes of each receiver the admission's.

use std::time::Instant;

use super::admission::Exception;
use super::encodings::{Encoded, encode};
use super::runs::Run;
use crate::engine::buffers::chunk::{Own, Slice};
use crate::engine::close_reason::CloseReason;
use crate::engine::routing::Route;
use crate::engine::sessions::protocol::Notice;
use crate::engine::token::Token;
use crate::engine::{Engine, budget};

impl Engine {
    /// Delivers a run, as the admission just said.
    pub(super) fn deliver(
        &mut self,
        publisher: Token,
        source: &Slice,
        run: Run,
        route: &Route,
        now: Instant,
    ) {
        self.journal.delivered(publisher, run.messages, route.receivers() + route.groups.len());
        self.stats.messages_in += run.messages;
        self.stats.bytes_in += run.len() as u64;
        let traffic = &mut self.connections[publisher.index()].traffic;
        traffic.frames += run.messages;
        traffic.messages += run.messages;
        traffic.bytes += run.len() as u64;
        let exceptions = std::mem::take(&mut self.admission.exceptions);
        let mut next = exceptions.iter();
        for audience in &route.plain {
            let encoded = encode(&run, source, audience.encoding);
            let mut receivers = &audience.receivers[..];
            // The exceptions are in the order of the receivers.
            while let Some(&(token, exception)) = next.as_slice().first()
                && let Some(place) = position(receivers, token)
            {
                next.next();
                self.push_to_all(&receivers[..place], run.messages, &encoded);
                self.push_exception(token, exception, run.messages, &encoded, now);
                receivers = &receivers[place + 1..];
            }
            self.push_to_all(receivers, run.messages, &encoded);
        }
        self.admission.exceptions = exceptions;
        for (place, group) in route.groups.iter().enumerate() {
            let Some((member, encoding, exception)) = self.admission.members[place] else {
                continue;
            };
            self.index.pass_turn(group.group, member);
            let encoded = encode(&run, source, encoding);
            match exception {
                None => self.push_to_all(&[member], run.messages, &encoded),
                Some(what) => self.push_exception(member, what, run.messages, &encoded, now),
            }
        }
    }

    /// Queues a run for receivers that have room for it.
    fn push_to_all(&mut self, receivers: &[Token], messages: u64, encoded: &Encoded<'_>) {
        let Encoded { source, start, end } = *encoded;
        let length = encoded.len();
        let is_bulk = budget::WRITE * receivers.len() as u64 > self.budget.share();
        for token in receivers {
            let connection = &mut self.connections[token.index()];
            connection.traffic.messages += messages;
            connection.traffic.bytes += length as u64;
            // One that is empty takes more than it has room for.
            connection.room = connection.room.saturating_sub(length);
            connection.outbox.push(source, start, end);
            self.schedule.mark_dirty_for(*token, is_bulk);
        }
        self.stats.deliveries += messages * receivers.len() as u64;
        self.schedule.queued(length * receivers.len());
        self.budget.charge(budget::DELIVERY * receivers.len() as u64);
        self.budget.charge_ahead(budget::writing(receivers.len(), length));
    }

    fn push_exception(
        &mut self,
        token: Token,
        exception: Exception,
        messages: u64,
        encoded: &Encoded<'_>,
        now: Instant,
    ) {
        match exception {
            Exception::TellLost => {
                self.tell_lost(token);
                self.push_to_all(&[token], messages, encoded);
            }
            Exception::Left => {}
            Exception::Drop => {
                let losses = self.connections[token.index()].losses_mut();
                losses.untold += messages;
                losses.dropped += messages;
                self.stats.dropped += messages;
                self.connections[token.index()].update_room(&self.rules);
                self.report_dropping(token, now);
            }
            Exception::Close => self.close(token, CloseReason::SlowConsumer, now),
        }
    }

    /// Tells a subscriber of messages that it was not given, if there are any that it was not told
    /// of.
    pub(crate) fn tell_lost(&mut self, token: Token) {
        let messages = self.connections[token.index()].untold();
        if messages > 0 {
            self.connections[token.index()].losses_mut().untold = 0;
            self.say(token, Notice::Lost { messages }, Own::Notice);
        }
    }
}

fn position(receivers: &[Token], token: Token) -> Option<usize> {
    receivers.binary_search(&token).ok()
}
