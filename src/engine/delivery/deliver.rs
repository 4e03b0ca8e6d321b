//! Puts a run that is admitted into the outboxes of its receivers.
//!
//! Owns what is counted on the way. Must not decide anything: who receives is the route's to say,
//! and what becomes of each receiver the admission's.

use std::time::Instant;

use super::admission::Exception;
use super::encodings::{Encoded, encode};
use super::run::Run;
use wire::Encoding;

use crate::engine::buffers::chunk::{Own, Slice};
use crate::engine::close_reason::CloseReason;
use crate::engine::routing::Route;
use crate::engine::sessions::protocol::Notice;
use crate::engine::token::Token;
use crate::engine::{Engine, budget};

impl Engine {
    /// Delivers a run, as the admission just said. Returns whether subscriptions have ended with it.
    pub(super) fn deliver(
        &mut self,
        publisher: Token,
        source: &Slice,
        run: Run,
        route: &Route,
        now: Instant,
    ) -> bool {
        self.answer_done(publisher, run.messages);
        self.journal.delivered(publisher, run.messages, route.receivers() + route.groups.len());
        self.note_published(publisher, run.messages, run.len());
        let exceptions = std::mem::take(&mut self.admission.exceptions);
        let mut ended = Vec::new();
        let mut next = exceptions.iter();
        for audience in &route.plain {
            let encoded = self.encode(&run, source, audience.encoding);
            let mut receivers = &audience.receivers[..];
            let mut count_all = true;
            // The exceptions are in the order of the receivers.
            while let Some(&(token, exception)) = next.as_slice().first()
                && let Some(place) = position(receivers, token)
            {
                next.next();
                self.push_to_all(&receivers[..place], run.messages, &encoded);
                self.push_exception(token, exception, run.messages, &encoded, now);
                receivers = &receivers[place + 1..];
                count_all &= exception != Exception::Nothing;
            }
            self.push_to_all(receivers, run.messages, &encoded);
            for (&token, &id) in audience.receivers.iter().zip(&audience.subscriptions) {
                // Messages that are kept from a receiver count for the end of its subscription.
                if count_all || !exceptions.contains(&(token, Exception::Nothing)) {
                    let is_over = self.index.note_delivered(id, run.messages);
                    ended.extend(is_over.then_some(id));
                }
            }
        }
        self.admission.exceptions = exceptions;
        for (place, group) in route.groups.iter().enumerate() {
            let Some((member, exception)) = self.admission.members[place] else {
                continue;
            };
            self.index.pass_turn(group.group, &member);
            let encoded = self.encode(&run, source, member.encoding);
            match exception {
                None => self.push_to_all(&[member.token], run.messages, &encoded),
                Some(what) => {
                    self.push_exception(member.token, what, run.messages, &encoded, now);
                }
            }
            if member.encoding != Encoding::Native
                && self.index.note_delivered(member.subscription, run.messages)
            {
                ended.push(member.subscription);
            }
        }
        let has_ended = !ended.is_empty();
        ended.into_iter().for_each(|id| self.end_subscription(id));
        has_ended
    }

    /// Messages of a publisher were accepted.
    pub(crate) fn note_published(&mut self, publisher: Token, messages: u64, bytes: usize) {
        self.stats.messages_in += messages;
        self.stats.bytes_in += bytes as u64;
        self.connections[publisher.index()].note_published(messages, bytes as u64);
    }

    fn encode<'a>(&mut self, run: &Run, source: &'a Slice, encoding: Encoding) -> Encoded<'a> {
        if run.is_sent_in(encoding) {
            return Encoded::source(run, source);
        }
        let encoded = encode(run, source, encoding, &self.index.sid_text(encoding), &self.pool);
        let copied = encoded.made_bytes() as u64 / budget::COPIED_BYTES;
        self.budget.charge(budget::ENCODING + run.messages * budget::ENCODED + copied);
        encoded
    }

    /// Queues a run for receivers that have room for it.
    fn push_to_all(&mut self, receivers: &[Token], messages: u64, encoded: &Encoded<'_>) {
        let length = encoded.len();
        let is_bulk = budget::WRITE * receivers.len() as u64 > self.budget.share();
        for token in receivers {
            let connection = &mut self.connections[token.index()];
            connection.traffic.messages += messages;
            connection.traffic.bytes += length as u64;
            // One that is empty takes more than it has room for.
            connection.room = connection.room.saturating_sub(length);
            encoded.push_to(&mut connection.outbox);
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
            Exception::Nothing => {}
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
