//! NATS clients and subscriptions as the tools of NATS list them: in an order that was asked for,
//! a part at a time.
//!
//! Owns what is told of each, how they are sorted, and how many are looked at. Changes nothing.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::{MAX_FILTERS, MAX_FILTERS_IN_ALL, MAX_LOOKED_AT};
use crate::engine::Engine;
use crate::engine::routing::Subscribed;
use crate::engine::rules::Rules;
use crate::engine::sessions::connection::{Connection, Traffic};
use crate::engine::sessions::protocol::Protocol;
use crate::engine::token::Token;

/// What comes first in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Who connected first.
    Number,
    /// The most subscriptions.
    Subscriptions,
    /// The most bytes that wait.
    Queued,
    /// The most messages to the client.
    MessagesTo,
    /// The most messages from the client.
    MessagesFrom,
    /// The most bytes of messages to the client.
    BytesTo,
    /// The most bytes of messages from the client.
    BytesFrom,
    /// The shortest silence.
    LastActive,
    /// The longest silence.
    Idle,
    /// Who connected last.
    Youngest,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// So many at its beginning are not.
    pub skip: usize,
    /// So many behind them are.
    pub limit: usize,
}

/// A NATS client.
#[derive(Debug, Clone)]
pub struct Client<'a> {
    /// Its number, as it was told.
    pub number: u32,
    /// Its address and port.
    pub address: &'a str,
    /// What it calls itself; may be empty.
    pub name: &'a str,
    /// The language of its library and its version, split by a blank; may be empty.
    pub library: &'a str,
    /// How long it has been connected, to a tenth of a second.
    pub age: Duration,
    /// For how long it has shown no sign of life.
    pub idle: Duration,
    /// Bytes that wait for it.
    pub queued: usize,
    /// What was delivered to it.
    pub delivered: Traffic,
    /// What it published.
    pub published: Traffic,
    /// How many subscriptions it holds.
    pub subscriptions: usize,
    /// Some of them, if they were asked for.
    pub listed: Option<Vec<Listed<'a>>>,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<'a> {
    /// The number of its connection.
    pub connection: u32,
    /// Its filter.
    pub filter: &'a [u8],
    /// Its queue group.
    pub group: Option<&'a [u8]>,
    /// What a NATS client calls it; empty if it is a native one's.
    pub sid: SmallVec<[u8; 16]>,
    /// Messages delivered for it to a NATS client.
    pub delivered: u64,
}

impl Engine {
    /// What the broker works by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What the broker calls itself.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A part of the list of NATS clients. Those with a queue are all in it; of the others, those
    /// among the first connections that are looked at.
    pub fn clients(
        &self,
        order: Order,
        part: Part,
        with_subscriptions: bool,
        now: Instant,
    ) -> Vec<Client<'_>> {
        let mut tokens = self.client_tokens();
        tokens.sort_by_cached_key(|token| {
            let connection = &self.connections[token.index()];
            (self.rank(order, *token, connection, now), connection.epoch)
        });
        let mut left = if with_subscriptions { MAX_FILTERS_IN_ALL } else { 0 };
        let wanted = tokens.into_iter().skip(part.skip).take(part.limit);
        let show = |token| {
            let client = self.client(token, now);
            if !with_subscriptions {
                return client;
            }
            let listed: Vec<_> = self.listed(token).take(MAX_FILTERS.min(left)).collect();
            left -= listed.len();
            Client { listed: Some(listed), ..client }
        };
        wanted.map(show).collect()
    }

    /// The NATS client with this number, if it is among those that are looked at.
    pub fn client_numbered(
        &self,
        number: u64,
        with_subscriptions: bool,
        now: Instant,
    ) -> Option<Client<'_>> {
        let is_it = |token: &Token| u64::from(self.connections[token.index()].number()) == number;
        let token = self.client_tokens().into_iter().find(is_it)?;
        let listed = with_subscriptions.then(|| self.listed(token).take(MAX_FILTERS).collect());
        Some(Client { listed, ..self.client(token, now) })
    }

    /// A part of the list of all subscriptions, as far as it is looked at.
    pub fn subscriptions(&self, part: Part) -> Vec<Listed<'_>> {
        let connections = self.connections.iter().take(MAX_LOOKED_AT);
        let all = connections.flat_map(|(index, _)| self.listed(Token::new(index)));
        all.take(MAX_LOOKED_AT).skip(part.skip).take(part.limit).collect()
    }

    fn client_tokens(&self) -> Vec<Token> {
        let is_client = |token: &Token| {
            let connection = &self.connections[token.index()];
            connection.role.protocol == Protocol::Nats && connection.is_alive()
        };
        let others = self.connections.iter().take(MAX_LOOKED_AT);
        let others = others.map(|(index, _)| Token::new(index));
        let mut tokens: Vec<_> =
            self.holding().into_iter().chain(others).filter(is_client).collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }

    /// Where a client stands in a list: the lowest comes first.
    fn rank(&self, order: Order, token: Token, connection: &Connection, now: Instant) -> u64 {
        let published = || connection.published();
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        match order {
            Order::Number => 0,
            Order::Subscriptions => !(self.index.held(token).subscriptions as u64),
            Order::Queued => !(connection.outbox.queued() as u64),
            Order::MessagesTo => !connection.traffic.messages,
            Order::MessagesFrom => !published().messages,
            Order::BytesTo => !connection.traffic.bytes,
            Order::BytesFrom => !published().bytes,
            Order::LastActive => micros(self.idle(connection, now)),
            Order::Idle => !micros(self.idle(connection, now)),
            Order::Youngest => !connection.epoch.get(),
        }
    }

    fn client(&self, token: Token, now: Instant) -> Client<'_> {
        let connection = &self.connections[token.index()];
        Client {
            number: connection.number(),
            address: connection.address(),
            name: connection.id(),
            library: connection.nats.as_ref().map_or("", |session| &session.library),
            age: self.age(connection, now),
            idle: self.idle(connection, now),
            queued: connection.outbox.queued(),
            delivered: connection.traffic,
            published: connection.published(),
            subscriptions: self.index.held(token).subscriptions,
            listed: None,
        }
    }

    fn idle(&self, connection: &Connection, now: Instant) -> Duration {
        let idle = now.saturating_duration_since(connection.last_life(&self.rules));
        idle.min(self.age(connection, now))
    }

    fn listed(&self, token: Token) -> impl Iterator<Item = Listed<'_>> {
        let connection = self.connections[token.index()].number();
        self.index.subscribed_by(token).map(move |it| {
            let Subscribed { filter, group, encoding, delivered, .. } = it;
            Listed { connection, filter, group, sid: self.index.sid_text(encoding), delivered }
        })
    }
}
