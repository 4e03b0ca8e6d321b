//! What the broker looks like from outside at this moment, for those who watch it.
//!
//! Owns which figures there are and what finding them may cost. Changes nothing. To be called
//! between two turns: every connection with something queued is then in a short list, so that
//! looking for the slow ones takes no walk over all.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use super::Engine;
use super::delivery::waits::Obstacle;
use super::routing::counts::{TopicCount, TopicCounts};
use super::sessions::connection::{Connection, Role, State, Traffic};
use super::sessions::protocol::Protocol;
use super::token::Token;

pub mod clients;

/// Connections that are looked at, to fill up a list of the slowest or of those waited for.
const MAX_LOOKED_AT: usize = 16_384;
/// Filters that are shown of one connection, and of all that are shown at once.
pub const MAX_FILTERS: usize = 100;
const MAX_FILTERS_IN_ALL: usize = 10_000;
/// Subscribers that are named for one publisher that waits for them.
pub const MAX_NAMED: usize = 8;

/// Connections by what they are for, refused ones that are being told so included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Crowd {
    /// Native publishers.
    pub publishers: usize,
    /// Native subscribers.
    pub subscribers: usize,
    /// NATS clients, which may do both.
    pub clients: usize,
    /// Links to a NATS hub, of which there is one and maybe those before it that have just ended.
    pub links: usize,
}

impl Crowd {
    /// How many have this role.
    pub(super) fn of(&mut self, role: Role) -> &mut usize {
        match (role.protocol, role.may_publish) {
            (Protocol::Nats, _) => &mut self.clients,
            (Protocol::Leaf, _) => &mut self.links,
            (Protocol::Native, true) => &mut self.publishers,
            (Protocol::Native, false) => &mut self.subscribers,
        }
    }
}

/// How much there is of what comes and goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Connections by what they are for.
    pub crowd: Crowd,
    /// Publishers that wait for subscribers.
    pub paused: usize,
    /// Connections that wait for memory.
    pub waiting_for_memory: usize,
    /// Bytes that wait in outboxes; what several connections wait for counts for each.
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
    /// Some of their filters, each with its queue group, if they were asked for.
    pub filters: Option<Vec<Filter<'a>>>,
    /// Bytes that wait for it.
    pub queued: usize,
    /// Bytes that ever waited for it.
    pub highest_queue: usize,
    /// What went over it; to it, if it both sends and receives messages.
    pub traffic: Traffic,
    /// What such a connection sent.
    pub published: Option<Traffic>,
    /// Messages that the policy `drop` kept from it.
    pub dropped: u64,
    /// Why it is not read, if it is not.
    pub unread: Option<Unread<'a>>,
    /// Publishers that wait for it.
    pub waiters: usize,
}

/// What a connection has subscribed to: the filter, and the queue group if it is in one.
pub type Filter<'a> = (&'a [u8], Option<&'a [u8]>);

/// Why a connection is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread<'a> {
    /// It publishes to subscribers whose outboxes are full: some of them, and how many they are.
    Subscribers {
        /// At most [`MAX_NAMED`] of them.
        named: Vec<Named<'a>>,
        /// How many they are.
        count: usize,
    },
    /// Memory is used up.
    Memory,
    /// It does not read the answers to what it sent.
    Answers,
}

/// How a connection is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    /// The client's id, as it gave it.
    pub id: &'a str,
    /// Its address.
    pub address: &'a str,
}

/// How much the index holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexSizes {
    /// Subscriptions of all connections.
    pub subscriptions: usize,
    /// Filters that are held.
    pub filters: usize,
    /// Topics whose route is cached.
    pub cached_topics: usize,
}

impl Engine {
    /// Counts from now on what is published to which topic, and to all that match the filters of
    /// `listed`.
    ///
    /// # Panics
    /// If anything was published before.
    pub fn count_topics(&mut self, listed: &[&str]) {
        self.index.count_with(TopicCounts::new(listed));
        self.is_counting_topics = true;
    }

    /// The topics that most was published to, the busiest first. Looks at each cached topic.
    pub fn busiest_topics(&self, count: usize) -> Vec<TopicCount> {
        self.index.busiest(count)
    }

    /// The listed filters and what was published to topics that match.
    pub fn listed_topics(&self) -> &[TopicCount] {
        self.index.counts().map_or(&[], TopicCounts::listed)
    }

    /// How much the index holds.
    pub fn index_sizes(&self) -> IndexSizes {
        IndexSizes {
            subscriptions: self.index.subscriptions(),
            filters: self.index.filters(),
            cached_topics: self.index.cached_topics(),
        }
    }

    /// How much there is of what comes and goes.
    pub fn load(&self) -> Load {
        let queued = |&token: &Token| self.outbox(token).queued();
        let waits = |for_memory: bool| {
            let mut all = self.waits.all();
            all.retain(|(obstacle, _)| match obstacle {
                Obstacle::Outbox(_) | Obstacle::Group(_) => !for_memory,
                Obstacle::Memory => for_memory,
                Obstacle::Answers(_) => false,
            });
            all.len()
        };
        Load {
            crowd: self.crowd,
            paused: waits(false),
            waiting_for_memory: waits(true),
            queued_bytes: self.holding().iter().map(queued).sum(),
            memory_limit_bytes: self.rules.memory_bytes,
        }
    }

    /// At most `limit` connections: those with the longest queues, then those that are not read,
    /// then those whose queues have been longest.
    pub fn slowest(&self, limit: usize, now: Instant) -> Vec<View<'_>> {
        let tokens = self.slowest_tokens(limit);
        tokens.into_iter().map(|token| self.view(token, now)).collect()
    }

    fn slowest_tokens(&self, limit: usize) -> Vec<Token> {
        if limit == 0 {
            return Vec::new();
        }
        let mut tokens = self.holding();
        tokens.extend(self.waits.all().into_iter().map(|(_, token)| token));
        let others = self.connections.iter().take(MAX_LOOKED_AT.max(limit));
        tokens.extend(others.map(|(index, _)| Token::new(index)));
        tokens.sort_unstable();
        tokens.dedup();
        let slowness = |&token: &Token| {
            let connection = &self.connections[token.index()];
            let queued = connection.outbox.queued();
            let highest = connection.highest_queue.max(queued);
            (Reverse((queued, self.waits.is_parked(token), highest)), token)
        };
        if tokens.len() > limit {
            tokens.select_nth_unstable_by_key(limit - 1, slowness);
            tokens.truncate(limit);
        }
        tokens.sort_unstable_by_key(slowness);
        tokens
    }

    /// The same, with their filters: at most [`MAX_FILTERS`] of each.
    pub fn slowest_with_filters(&self, limit: usize, now: Instant) -> Vec<View<'_>> {
        let mut left = MAX_FILTERS_IN_ALL;
        let show = |token| {
            let filters = self.index.subscribed_by(token).take(MAX_FILTERS.min(left));
            let filters: Vec<_> = filters.map(|it| (it.filter, it.group)).collect();
            left -= filters.len();
            View { filters: Some(filters), ..self.view(token, now) }
        };
        self.slowest_tokens(limit).into_iter().map(show).collect()
    }

    fn view(&self, token: Token, now: Instant) -> View<'_> {
        let connection = &self.connections[token.index()];
        let waiters = match &connection.stall {
            Some(_) => self.waits.waiters_for(token, &self.index),
            None => 0,
        };
        View {
            role: connection.role,
            state: state(connection),
            id: connection.id(),
            address: connection.address(),
            age: self.age(connection, now),
            subscriptions: self.index.held(token).subscriptions,
            filters: None,
            queued: connection.outbox.queued(),
            highest_queue: connection.highest_queue.max(connection.outbox.queued()),
            traffic: connection.traffic,
            published: connection.nats.as_ref().map(|session| session.published),
            dropped: connection.losses().map_or(0, |losses| losses.dropped),
            unread: self.unread(token),
            waiters,
        }
    }

    /// How long a connection has been there, to a tenth of a second.
    fn age(&self, connection: &Connection, now: Instant) -> Duration {
        let age = self.started.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        age.saturating_sub(Duration::from_millis(100) * connection.connected)
    }

    fn unread(&self, token: Token) -> Option<Unread<'_>> {
        Some(match self.waits.obstacle(token)? {
            Obstacle::Memory => Unread::Memory,
            Obstacle::Answers(_) => Unread::Answers,
            Obstacle::Outbox(_) | Obstacle::Group(_) => {
                let full = self.full_receivers(token);
                let name = |token: &Token| {
                    let connection = &self.connections[token.index()];
                    Named { id: connection.id(), address: connection.address() }
                };
                let named = full.iter().take(MAX_NAMED).map(name).collect();
                Unread::Subscribers { named, count: full.len() }
            }
        })
    }

    /// The receivers on a parked connection's route that were found full, each once.
    fn full_receivers(&self, parked: Token) -> Vec<Token> {
        let Some(route) = self.waits.route(parked) else { return Vec::new() };
        let plain = route.plain.iter().flat_map(|audience| audience.receivers.iter().copied());
        let members = route.groups.iter().flat_map(|group| self.index.members(group));
        let all = plain.chain(members.map(|member| member.token)).take(MAX_LOOKED_AT);
        let connection = |token: &Token| self.connections.get(token.index());
        let is_full = |token: &Token| connection(token).is_some_and(|it| it.stall.is_some());
        let mut full: Vec<_> = all.filter(is_full).collect();
        full.sort_unstable();
        full.dedup();
        full
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
        State::Adrift => "down",
    }
}
