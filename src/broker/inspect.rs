//! What the broker looks like from outside at this moment, for whoever watches it.
//!
//! Owns which figures there are and what finding them may cost. Changes nothing. To be called
//! between two turns: every connection with something queued is then in one of two short lists, so
//! that looking for the slow ones takes no walk over all.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use super::connection::{Connection, Role, State, Traffic};
use super::topic_counts::{Published, TopicCount, TopicCounts};
use super::{Broker, Token};

/// Connections with an empty outbox that are looked at, to fill up a list of the slowest.
const MAX_LOOKED_AT: usize = 16_384;
/// Waits of publishers for subscribers that are looked at.
const MAX_WAITS: usize = 65_536;
/// Subscribers that are named for one publisher that waits for them.
pub const MAX_NAMED: usize = 8;

/// How much there is of what comes and goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Connections of publishers, refused ones that are being told so included.
    pub publishers: usize,
    /// Those of subscribers.
    pub subscribers: usize,
    /// Publishers that wait for subscribers.
    pub paused: usize,
    /// Connections that are not read until there is memory.
    pub starved: usize,
    /// Bytes that wait in outboxes; what several wait for counts for each.
    pub queued_bytes: usize,
    /// The rule `memory_bytes`.
    pub memory_limit_bytes: usize,
}

/// One connection.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// What it is for.
    pub role: Role,
    /// How far its conversation is.
    pub state: &'static str,
    /// The client's id, as it gave it; empty before HELLO.
    pub id: &'a str,
    /// Its address.
    pub address: &'a str,
    /// How long it has been connected, to a tenth of a second.
    pub age: Duration,
    /// How many subscriptions it holds.
    pub subscriptions: usize,
    /// Bytes that wait for it.
    pub queued: usize,
    /// Bytes that ever waited for it.
    pub highest_queue: usize,
    /// What went over it.
    pub traffic: Traffic,
    /// Messages that the policy `drop` kept from it.
    pub dropped: u64,
    /// Why it is not read, if it is not.
    pub unread: Option<Unread<'a>>,
    /// Publishers that wait for it.
    pub waiters: usize,
}

/// Why a connection is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread<'a> {
    /// It publishes to subscribers whose outboxes are full: id and address of some of them, and
    /// how many they are.
    Subscribers(Vec<(&'a str, &'a str)>, usize),
    /// Memory is used up.
    Memory,
    /// It does not read the answers to what it sent.
    Answers,
}

/// A publisher, and a subscriber that it waits for.
type Wait = (Token, Token);

impl Broker {
    /// Counts from now on what is published to which topic, and to all that match the filters of
    /// `listed`. To be called before the first connection.
    pub fn count_topics(&mut self, listed: &[&str]) {
        self.index.count_with(TopicCounts::new(listed));
    }

    /// The topics that most was published to, the busiest first. Looks at each cached topic.
    pub fn busiest_topics(&self, count: usize) -> Vec<TopicCount> {
        self.index.busiest(count)
    }

    /// The listed filters and what was published to topics that match.
    pub fn listed_topics(&self) -> impl Iterator<Item = (&[u8], Published)> {
        self.index.counts().into_iter().flat_map(TopicCounts::listed)
    }

    /// How much there is of what comes and goes.
    pub fn load(&self) -> Load {
        let queued = |&token: &Token| self.outbox(token).queued();
        let mut publishers: Vec<_> = self.waits().into_iter().map(|(waiter, _)| waiter).collect();
        publishers.extend(self.full_groups.waiters());
        publishers.sort_unstable();
        publishers.dedup();
        Load {
            publishers: self.by_role[Role::Publisher as usize],
            subscribers: self.by_role[Role::Subscriber as usize],
            paused: publishers.len(),
            starved: self.starved().count(),
            queued_bytes: self.queueing().iter().map(queued).sum(),
            memory_limit_bytes: self.rules.memory_bytes,
        }
    }

    /// At most `limit` connections: those with the longest queues, then those that are not read,
    /// then those whose queues have been longest.
    pub fn slowest(&self, limit: usize, now: Instant) -> Vec<View<'_>> {
        let waits = self.waits();
        let mut tokens = self.queueing();
        tokens.extend(waits.iter().map(|(publisher, _)| *publisher));
        tokens.extend(self.full_groups.waiters());
        tokens.extend(self.starved());
        let others = self.connections.iter().take(MAX_LOOKED_AT.max(limit));
        tokens.extend(others.map(|(index, _)| Token::new(index)));
        tokens.sort_unstable();
        tokens.dedup();
        let slowness = |&token: &Token| {
            let found = &self.connections[token.index()];
            let queued = found.outbox.queued();
            let highest = found.highest_queue.max(queued);
            (Reverse((queued, found.is_unread(), highest)), token)
        };
        if limit == 0 {
            return Vec::new();
        }
        if tokens.len() > limit {
            tokens.select_nth_unstable_by_key(limit - 1, slowness);
            tokens.truncate(limit);
        }
        tokens.sort_unstable_by_key(slowness);
        tokens.into_iter().map(|token| self.view(token, &waits, now)).collect()
    }

    fn view(&self, token: Token, waits: &[Wait], now: Instant) -> View<'_> {
        let found = &self.connections[token.index()];
        let age = self.started.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        View {
            role: found.role,
            state: state(found),
            id: found.id(),
            address: found.address(),
            age: age.saturating_sub(Duration::from_millis(100) * found.connected),
            subscriptions: self.index.count(token),
            queued: found.outbox.queued(),
            highest_queue: found.highest_queue.max(found.outbox.queued()),
            traffic: found.traffic,
            dropped: found.trouble().map_or(0, |trouble| trouble.dropped),
            unread: self.unread(token, waits),
            waiters: self.waiters(token).map_or(0, Iterator::count) + self.group_waiters(token),
        }
    }

    fn unread(&self, token: Token, waits: &[Wait]) -> Option<Unread<'_>> {
        let found = &self.connections[token.index()];
        if found.is_paused() {
            let (subscribers, count) = self.waited_for_by(token, waits);
            let name = |subscriber: &Token| {
                let found = &self.connections[subscriber.index()];
                (found.id(), found.address())
            };
            return Some(Unread::Subscribers(subscribers.iter().map(name).collect(), count));
        }
        let memory = found.starved.then_some(Unread::Memory);
        memory.or(found.awaits_answers.then_some(Unread::Answers))
    }

    /// The first subscribers that a publisher waits for, and how many they are.
    fn waited_for_by(&self, publisher: Token, waits: &[Wait]) -> (Vec<Token>, usize) {
        let wait = self.connections[publisher.index()].trouble().and_then(|it| it.group_wait);
        let full = wait.and_then(|wait| self.full_groups.find(wait.group));
        let members = full.map_or(&[][..], |full| &full.members);
        // A group may have many members: they are not compared one by one.
        let is_member = |subscriber: Token| {
            let holding_up = self.connections[subscriber.index()].holding_up.as_ref();
            let mut groups = holding_up.into_iter().flat_map(|found| &found.groups);
            wait.is_some_and(|wait| groups.any(|membership| membership.group == wait.group))
        };
        let first = waits.partition_point(|(waiter, _)| *waiter < publisher);
        let own = waits[first..].iter().take_while(|(waiter, _)| *waiter == publisher);
        let alone = own.map(|wait| wait.1).filter(|subscriber| !is_member(*subscriber));
        let alone: Vec<_> = alone.collect();
        let all = alone.iter().chain(members.iter().map(|(member, _)| member));
        (all.take(MAX_NAMED).copied().collect(), alone.len() + members.len())
    }

    /// Connections that may have something queued, each once.
    fn queueing(&self) -> Vec<Token> {
        let lists = self.backlogged.iter().chain(&self.dirty).copied();
        let mut tokens: Vec<_> = lists.filter(|token| self.is_there(*token)).collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }

    /// Who waits for whom alone, sorted by publisher, each once.
    fn waits(&self) -> Vec<Wait> {
        let waits = self.queueing().into_iter().flat_map(|subscriber| {
            let waiters = self.waiters(subscriber).into_iter().flatten();
            waiters.map(move |publisher| (publisher, subscriber))
        });
        let mut waits: Vec<_> = waits.take(MAX_WAITS).collect();
        waits.sort_unstable();
        waits.dedup();
        waits
    }

    /// How many publishers wait for queue groups that a subscriber is a member of.
    fn group_waiters(&self, subscriber: Token) -> usize {
        let holding_up = self.connections[subscriber.index()].holding_up.as_ref();
        let groups = holding_up.into_iter().flat_map(|found| &found.groups);
        let full = groups.filter_map(|membership| self.full_groups.find(membership.group));
        full.map(|full| full.waiters.len()).sum()
    }

    /// Publishers that wait for a subscriber alone, if it holds up any.
    fn waiters(&self, subscriber: Token) -> Option<impl Iterator<Item = Token>> {
        let holding_up = self.connections[subscriber.index()].holding_up.as_ref()?;
        let waits = holding_up.waiters.iter().filter(|waiter| {
            let publisher = self.connections.get(waiter.publisher.index());
            publisher.is_some_and(|publisher| publisher.waits(waiter))
        });
        Some(waits.map(|waiter| waiter.publisher))
    }

    /// Connections that are not read until there is memory.
    fn starved(&self) -> impl Iterator<Item = Token> {
        let found = |token: &Token| self.connections.get(token.index());
        let starved = move |token: &Token| found(token).is_some_and(|found| found.starved);
        self.starved.iter().copied().filter(starved)
    }

    fn is_there(&self, token: Token) -> bool {
        self.connections.contains(token.index())
    }
}

/// A time as the connections keep it, in tenths of a second: 13 years fit.
pub(super) fn tenths(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / 100).unwrap_or(u32::MAX)
}

fn state(connection: &Connection) -> &'static str {
    match connection.state {
        State::Handshake => "connecting",
        State::Open => "open",
        State::Finishing => "finishing",
        State::Closing | State::Discarding | State::Gone => "closing",
    }
}
