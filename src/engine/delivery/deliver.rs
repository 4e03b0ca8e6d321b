//! Puts a run that is admitted into the outboxes of its receivers.
//!
//! Owns what is counted on the way. Must not decide anything: who receives is the route's to say,
//! and what becomes of each receiver the admission's.

use std::time::Instant;

use super::admission::Exception;
use super::encodings::Encoded;
use super::messages::alike;
use super::run::Run;
use wire::Encoding;

use crate::engine::buffers::chunk::{Own, Slice};
use crate::engine::close_reason::CloseReason;
use crate::engine::routing::route::Audience;
use crate::engine::routing::{Member, Route, SubscriptionId};
use crate::engine::sessions::protocol::{Notice, Protocol};
use crate::engine::token::Token;
use crate::engine::{Engine, budget};

impl Engine {
    /// Delivers a run, as the admission just said. Returns whether subscriptions have ended with
    /// it.
    pub(super) fn deliver(
        &mut self,
        publisher: Token,
        source: &Slice,
        run: Run,
        route: &Route,
        now: Instant,
    ) -> bool {
        if run.protocol == Protocol::Nats {
            self.answer_done(publisher, run.messages);
        }
        self.journal.delivered(publisher, run.messages, route.receivers() + route.groups.len());
        self.note_published(publisher, run.messages, run.len());
        let exceptions = std::mem::take(&mut self.admission.exceptions);
        let mut ended = Vec::new();
        let mut next = &exceptions[..];
        let named = self.groups_for_hub(route);
        for audience in &route.plain {
            if audience.encoding == Encoding::Leaf && named.is_some() {
                // It stands last, and has one message for all that is wanted there.
                break;
            }
            let mut encoded = self.encode(&run, source, audience.encoding);
            let mut receivers = &audience.receivers[..];
            let all = next;
            // The exceptions are in the order of the receivers.
            while let Some((&(token, exception), rest)) = next.split_first()
                && let Some(place) = position(receivers, token)
            {
                next = rest;
                self.push_to_all(&receivers[..place], &mut encoded);
                self.push_exception(token, exception, &mut encoded, now);
                receivers = &receivers[place + 1..];
            }
            self.push_to_all(receivers, &mut encoded);
            self.encoder.take_back(encoded);
            if matches!(audience.encoding, Encoding::Nats { .. }) {
                let of_it = &all[..all.len() - next.len()];
                self.count_for_subscriptions(audience, run.messages, of_it, &mut ended);
            }
        }
        self.admission.exceptions = exceptions;
        for (place, group) in route.groups.iter().enumerate() {
            let Some((member, exception)) = self.admission.members[place] else { continue };
            if named.as_ref().is_some_and(|(_, names)| names.contains(&group.group)) {
                continue;
            }
            let Member { token, encoding, subscription } = member;
            if encoding != Encoding::Leaf {
                // Members elsewhere have no turn.
                self.index.pass_turn(group.group, &member);
            }
            self.journal.chosen(group.group, &member, &self.index);
            let mut encoded = self.encode(&run, source, encoding);
            match exception {
                None => self.push_to_all(&[token], &mut encoded),
                Some(it) => self.push_exception(token, it, &mut encoded, now),
            }
            self.encoder.take_back(encoded);
            if matches!(encoding, Encoding::Nats { .. })
                && exception != Some(Exception::Close)
                && self.index.note_delivered(subscription, run.messages)
            {
                ended.push(subscription);
            }
        }
        if let Some((hub, names)) = named {
            self.deliver_to_hub(hub, &names, &run, source);
        }
        let has_ended = !ended.is_empty();
        ended.into_iter().for_each(|id| self.end_subscription(id));
        has_ended
    }

    /// Counts a run for the subscriptions that it was delivered for, and adds those to `ended` that
    /// end with it. Messages that are kept from a receiver count as well; one that is closed gives
    /// up its subscriptions anyway.
    fn count_for_subscriptions(
        &mut self,
        audience: &Audience,
        messages: u64,
        exceptions: &[(Token, Exception)],
        ended: &mut Vec<SubscriptionId>,
    ) {
        for (token, &id) in audience.receivers.iter().zip(&audience.subscriptions) {
            let found = exceptions.binary_search_by_key(token, |(token, _)| *token);
            let is_over = found.is_ok_and(|place| {
                matches!(exceptions[place].1, Exception::Nothing | Exception::Close)
            });
            if !is_over && self.index.note_delivered(id, messages) {
                ended.push(id);
            }
        }
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
        let sid = self.index.sid_text(encoding);
        let mut encoded = self.encoder.encode(run, source, encoding, &sid, &self.pool);
        if self.access.has_responders() && matches!(encoding, Encoding::Nats { .. }) {
            encoded.replies = replies(run, source);
        }
        self.charge_encoded(run, encoded.made_bytes());
        encoded
    }

    /// A run was brought into an encoding, so many bytes of which were made.
    pub(super) fn charge_encoded(&mut self, run: &Run, made: usize) {
        let copied = made as u64 / budget::COPIED_BYTES;
        self.budget.charge(budget::ENCODING + run.messages * budget::ENCODED + copied);
    }

    /// Queues messages for receivers that have room for them.
    pub(super) fn push_to_all(&mut self, receivers: &[Token], encoded: &mut Encoded<'_>) {
        let Encoded { messages, length, .. } = *encoded;
        let is_bulk = budget::WRITE * receivers.len() as u64 > self.budget.share();
        for token in receivers {
            let connection = &mut self.connections[token.index()];
            connection.traffic.messages += messages;
            connection.traffic.bytes += length as u64;
            // One that is empty takes more than it has room for.
            connection.room = connection.room.saturating_sub(length);
            encoded.push_to(&mut connection.outbox, &self.pool);
            self.schedule.mark_dirty_for(*token, is_bulk);
        }
        if !encoded.replies.is_empty() {
            self.note_replies(receivers, &encoded.replies);
        }
        self.stats.deliveries += messages * receivers.len() as u64;
        self.schedule.queued(length * receivers.len());
        self.budget.charge(budget::DELIVERY * receivers.len() as u64);
        self.budget.charge_ahead(budget::writing(receivers.len(), length));
    }

    /// Receivers were given messages that want their replies there.
    #[cold]
    fn note_replies(&mut self, receivers: &[Token], replies: &[&[u8]]) {
        for token in receivers {
            self.connections[token.index()].note_replies(replies);
        }
    }

    fn push_exception(
        &mut self,
        token: Token,
        exception: Exception,
        encoded: &mut Encoded<'_>,
        now: Instant,
    ) {
        match exception {
            Exception::TellLost => {
                self.tell_lost(token);
                self.push_to_all(&[token], encoded);
            }
            Exception::Nothing => {}
            Exception::Drop => {
                self.note_dropped(token, encoded.messages);
                self.report_dropping(token, now);
            }
            Exception::Close => self.close(token, CloseReason::SlowConsumer, now),
        }
    }

    /// Messages are kept from a receiver.
    pub(super) fn note_dropped(&mut self, token: Token, messages: u64) {
        let connection = &mut self.connections[token.index()];
        // Where there is no word for it, nothing waits to be told.
        let is_told = connection.role.protocol.lost_bytes() > 0;
        let losses = connection.losses_mut();
        losses.untold += if is_told { messages } else { 0 };
        losses.dropped += messages;
        self.stats.dropped += messages;
        connection.update_room(&self.rules);
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

/// Where the messages of a run want their replies.
fn replies<'a>(run: &Run, source: &'a Slice) -> Vec<&'a [u8]> {
    let alike = alike(source.bytes(), run.start..run.end, run.protocol);
    alike.filter_map(|alike| alike.first.reply).collect()
}

fn position(receivers: &[Token], token: Token) -> Option<usize> {
    receivers.binary_search(&token).ok()
}
