//! What a turn was charged, compared with what came of it.
//!
//! Owns an account of its own, kept by what the journal, the sockets and the model tell. All of
//! that must have been charged, and no turn may be charged more than its budget and what cannot be
//! divided at the end of each of its parts.

use wire::topic;

use super::client::Client;
use super::sockets::Write;
use super::world::World;
use super::*;
use crate::engine::journal::Entry;

/// Encodings that messages were brought into at once.
#[derive(Default)]
pub(super) struct Encodings {
    /// For their plain receivers, and at most for members of queue groups.
    pub(super) plain: u64,
    pub(super) members: u64,
    /// Bytes of one encoding, or more.
    pub(super) bytes: u64,
}

/// What the journal of a turn says was done in it.
#[derive(Default)]
pub(super) struct Work {
    /// Requests that were processed.
    requests: u64,
    /// What the changes of subscriptions among them cost, and how many more there are by them.
    changes: u64,
    /// What bringing runs into encodings cost, without their bytes.
    encodings: u64,
    /// The most that encoding one run may have cost.
    most_encoded: u64,
    made: i64,
    /// Receivers of all runs, summed up; the same for each message; the most of one message.
    receivers: u64,
    deliveries: u64,
    widest: u64,
    /// Messages.
    messages: u64,
    /// Connections that receive nothing any more.
    pub(super) left: u64,
}

impl Work {
    /// Adds an entry of the journal.
    pub(super) fn add(&mut self, entry: &Entry) {
        match *entry {
            Entry::Processed(_) => self.requests += 1,
            Entry::Delivered(_, messages, receivers) => {
                self.messages += messages;
                self.receivers += receivers as u64;
                self.deliveries += messages * receivers as u64;
                self.widest = self.widest.max(receivers as u64);
            }
            // They are queued for their receivers once.
            Entry::Joined(_, runs, receivers) => self.receivers -= (runs - 1) * receivers as u64,
            Entry::Chosen(..)
            | Entry::Named(..)
            | Entry::Partly(..)
            | Entry::Waits(..)
            | Entry::Waited(_)
            | Entry::GaveUp(_) => {}
            Entry::Left(_) => self.left += 1,
        }
    }

    /// Adds changes of subscriptions.
    pub(super) fn add_changes(&mut self, changes: &mut Vec<(&'static str, bool)>) {
        for (filter, is_made) in changes.drain(..) {
            self.made += if is_made { 1 } else { -1 };
            self.changes += change(filter);
        }
    }

    /// Adds that so many messages were brought into so many encodings at once, and takes note of
    /// their bytes.
    pub(super) fn add_encodings(&mut self, messages: u64, of: &mut Encodings) {
        let Encodings { plain, members, bytes } = std::mem::take(of);
        let cost = budget::ENCODING + messages * budget::ENCODED;
        self.encodings += plain * cost;
        let most = (plain + members) * (cost + bytes / budget::COPIED_BYTES + 1);
        self.most_encoded = self.most_encoded.max(most);
    }

    /// Whether nothing that was said was processed.
    pub(super) fn is_nothing(&self) -> bool {
        self.requests + self.messages == 0
    }
}

/// The connection that an entry of the journal is of.
pub(super) fn token(entry: &Entry) -> Token {
    match entry {
        Entry::Processed(token)
        | Entry::Delivered(token, ..)
        | Entry::Joined(token, ..)
        | Entry::Chosen(token, ..)
        | Entry::Named(token, _)
        | Entry::Partly(token, _)
        | Entry::Waits(token, _)
        | Entry::Waited(token)
        | Entry::GaveUp(token)
        | Entry::Left(token) => *token,
    }
}

/// What a change of this filter costs.
fn change(filter: &str) -> u64 {
    let tokens = topic::tokens(filter.as_bytes()).count() as u64;
    let has_wildcard = topic::has_wildcard(filter.as_bytes());
    budget::SUBSCRIPTION + if has_wildcard { tokens * budget::FILTER_TOKEN } else { 0 }
}

/// Some of the engine's figures before a turn.
pub(super) struct Figures {
    subscriptions: usize,
    cached: usize,
    deliveries: u64,
    compactions: u64,
    held: usize,
    is_roomy: bool,
}

impl World {
    /// The figures that a turn is compared with.
    pub(super) fn figures(&mut self) -> Figures {
        let is_roomy = self.is_roomy();
        let (engine, sockets) = self.turn.engine_and_sockets();
        sockets.begin_turn();
        Figures {
            subscriptions: engine.index_sizes().subscriptions,
            cached: engine.index.cached_topics(),
            deliveries: engine.stats().deliveries,
            compactions: engine.stats().compactions,
            held: engine.pool.held(),
            is_roomy,
        }
    }

    /// The bytes of a message, with all copies of it that one connection may get.
    fn copies(&self) -> usize {
        self.model.most_copies(None) * (self.setup.max_payload + 70)
    }

    /// What a write offers at least that may have been asked for by an admission.
    fn short_of_room(&self) -> usize {
        let is_scarce = self.changed || self.setup.memory_bytes < 10_000_000;
        let limit = self.setup.outbox_bytes.min(self.setup.nats.outbox_bytes);
        if is_scarce { 0 } else { limit.saturating_sub(self.copies()) }
    }

    /// Whether all receivers have room for any message.
    fn is_roomy(&self) -> bool {
        let limit = self.short_of_room();
        let roomy = |found: &Connection| found.stall.is_none() && found.outbox.queued() < limit;
        self.engine().connections.iter().all(|(_, found)| roomy(found))
    }

    /// All that was done in a turn is charged to it, and it is no longer than a turn may be.
    pub(super) fn check_charges(&mut self, work: &Work, before: &Figures) {
        let short_of_room = self.short_of_room();
        let is_roomy = before.is_roomy && self.is_roomy();
        let (engine, sockets) = self.turn.engine_and_sockets();
        let charged = engine.budget.spent();
        let units = self.setup.turn_units;
        self.edges.note("turn that used up its budget", u64::from(charged >= units));
        let figures = &engine.index_sizes();
        let made = before.subscriptions as i64 + work.made - figures.subscriptions as i64;
        let given_up = u64::try_from(made).expect("subscriptions are what the model says");
        let share = units / 8;
        let first = given_up.saturating_sub(1) * budget::SUBSCRIPTION;
        assert!(first <= share, "{given_up} subscriptions were given up in one turn");
        let cached = (engine.index.cached_topics() - before.cached) as u64;
        let is_all = engine.stats().deliveries - before.deliveries == work.deliveries;
        let seen = sockets.reads * budget::READ
            + sockets.writes.iter().map(Write::cost).sum::<u64>()
            + work.requests * budget::FRAME
            + work.changes
            + work.encodings
            + given_up * budget::SUBSCRIPTION
            + cached * budget::ROUTE
            + if is_all { work.receivers * budget::DELIVERY } else { 0 };
        assert!(seen <= charged, "a turn was charged {charged} for {seen}");

        let connections = engine.connections() as u64 + work.left;
        let held =
            before.subscriptions.max(figures.subscriptions) as u64 + work.made.unsigned_abs();
        let looks = (connections + held) * if is_roomy { 1 } else { 2 };
        let asked_for = sockets.writes.iter().filter(|write| write.offered >= short_of_room);
        let asked_for: u64 = asked_for.map(Write::cost).sum();
        // What cannot be divided, once a connection has begun to be served.
        let served = share
            + budget::READ
            + budget::FRAME
            + change("*.*.*.*")
            + budget::ROUTE
            + 16 * budget::NODE
            + 2 * (connections + held) * budget::RECEIVER
            + work.most_encoded
            + 32 * budget::LOOK
            + work.widest * budget::DELIVERY
            + looks * budget::LOOK;
        let largest = sockets.writes.iter().map(Write::cost).max().unwrap_or(0);
        let compactions = engine.stats().compactions - before.compactions;
        let copied = (before.held + engine.pool.held() + 4 * sockets.reads_bytes) as u64;
        let compaction = 2 * connections * budget::LOOK + copied / budget::COPIED_BYTES;
        // What the hub is told of filters.
        let told = if self.setup.link.is_some() { share + 2 * budget::FRAME } else { 0 };
        let most = 2 * units + served + asked_for
            // Those that end, deadlines, frames that do not end.
            + share + served
            + told
            + share + budget::WRITE + 2 * connections * budget::LOOK
            // The flush.
            + units / 2 + share + largest
            // Departures and memory.
            + share + change("*.*.*.*")
            + 64 + 4 * connections
            + compactions * compaction
            + (work.left + 2) * (budget::CLOSE + 2 * connections);
        assert!(charged <= most, "a turn of {units} units was charged {charged}, {most} at most");
    }

    /// Where all members here had room in all of a turn, none behind a hub was served.
    pub(super) fn check_passed_over(&mut self, work: &Work, before: &Figures, passed_over: u64) {
        let short_of_room = self.short_of_room() / 2;
        let is_roomy = before.is_roomy && self.is_roomy() && work.left == 0;
        let is_far = |write: &Write| write.offered < short_of_room;
        if is_roomy && self.sockets().writes.iter().all(is_far) {
            assert_eq!(self.model.link.passed_over, passed_over, "a member here was passed over");
        }
    }

    /// Connections that have used up their share wait for a flush, but not for ever.
    pub(super) fn check_spent(&mut self, work: &Work) {
        /// Turns between two of them, and two of them may have nothing to say by then.
        const MOST: usize = 3 * 17 + 2;
        let (engine, sockets) = self.turn.engine_and_sockets();
        let (ready, spent, ending) = engine.schedule.to_serve();
        let is_served = ready + ending > 0 || sockets.reads > 0 || !work.is_nothing();
        let waits = spent > 0 && !is_served && !engine.index.is_searching();
        self.waited = if waits { self.waited + 1 } else { 0 };
        assert!(self.waited <= MOST, "no spent connection was served in {} turns", self.waited);
        let most = sockets.clients.iter().map(|client: &Client| client.needless).max();
        assert!(most.is_none_or(|most| most <= 1), "a full socket was written to, twice in a turn");
    }
}
