//! What only NATS clients ask for: to be told of the broker, to say what they want, to end a
//! subscription by its name, and to hear of requests that nobody hears.
//!
//! Owns how these are carried out. How they look as bytes is told by `nats`.

use std::time::Instant;

use wire::nats::connect::Credentials;
use wire::nats::info::Info;
use wire::topic::{TopicError, matches, validate_filter};

use super::connection::State;
use super::nats::{Session, refuse_filter};
use super::protocol::{Notice, Protocol, Refusal};
use super::requests::MAX_ANSWER_BYTES;
use crate::engine::access::{self, credentials::new_nonce};
use crate::engine::buffers::chunk::Own;
use crate::engine::close_reason::CloseReason;
use crate::engine::delivery::waits::Obstacle;
use crate::engine::routing::{NoRoute, SubscriptionId};
use crate::engine::rules::OverflowPolicy;
use crate::engine::token::Token;
use crate::engine::{Engine, budget};

/// What clients know NATS servers by: they decide by it what the server can do. Ours follows.
const VERSION: &str = concat!("2.12.0-broker.", env!("CARGO_PKG_VERSION"));

/// Subscriptions that are looked at for a reply with a wildcard.
const MAX_LOOKED_AT: usize = 1_000;

/// What NATS clients are told of the broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// A new one for each start.
    pub server_id: String,
    /// The address that clients connect to, for people.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What they may or have to do about TLS there.
    pub tls: TlsInfo,
}

/// What NATS clients are told of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TlsInfo {
    /// They have to speak it.
    pub required: bool,
    /// They may.
    pub available: bool,
    /// They have to show a certificate.
    pub verify: bool,
}

impl Engine {
    /// What NATS clients are told from now on.
    pub fn introduce(&mut self, identity: Identity) {
        self.identity = identity;
    }

    /// What NATS clients are told.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What clients take the version of the broker for.
    pub fn nats_version() -> &'static str {
        VERSION
    }

    /// A NATS client has connected: it is told of the broker, and may speak at once.
    pub(crate) fn welcome_nats(&mut self, token: Token, now: Instant) {
        let mut session = Session::default();
        if self.access.users().is_some_and(|users| users.has_keys()) {
            // Without one nobody can sign, and those who do are refused.
            session.nonce = new_nonce().unwrap_or_default().into();
        }
        self.connections[token.index()].nats = Some(Box::new(session));
        self.say_info(token, false);
        if !self.must_log_in() {
            match self.log_in(token, &access::Credentials::default()) {
                Ok(()) => self.open_nats(token, now),
                Err(reason) => self.close(token, reason, now),
            }
        }
    }

    /// A NATS client may speak, about anything.
    fn open_nats(&mut self, token: Token, now: Instant) {
        let connection = &mut self.connections[token.index()];
        connection.state = State::Open;
        connection.update_room(&self.rules);
        connection.showed_life(now);
        self.arm(token);
    }

    /// Tells a NATS client of the broker, or that it is about to stop.
    pub(crate) fn say_info(&mut self, token: Token, lame_duck: bool) {
        let connection = &self.connections[token.index()];
        let client_ip = connection.address().rsplit_once(':').map_or("", |(ip, _)| ip);
        let nonce = connection.nats.as_ref().map_or("", |session| &session.nonce);
        let tls = if connection.is_local() { TlsInfo::default() } else { self.identity.tls };
        let info = Info {
            server_id: &self.identity.server_id,
            server_name: &self.id,
            version: VERSION,
            host: &self.identity.host,
            port: self.identity.port,
            headers: true,
            max_payload: u32::try_from(self.rules.max_payload).unwrap_or(u32::MAX),
            client_id: connection.number(),
            client_ip: client_ip.trim_matches(['[', ']']),
            auth_required: self.must_log_in(),
            tls_required: tls.required,
            tls_verify: tls.verify,
            tls_available: tls.available,
            nonce: Some(nonce).filter(|nonce| !nonce.is_empty()),
            connect_urls: &[],
            lame_duck,
        };
        let mut bytes = Vec::new();
        connection.role.protocol.say(Notice::Info(&info), &mut bytes);
        self.push_own(token, &bytes, Own::Notice);
    }

    /// Tells a NATS client that takes such news that the broker is about to stop: it connects
    /// elsewhere when the connection ends.
    pub(super) fn say_lame_duck(&mut self, token: Token) {
        let session = &self.connections[token.index()].nats;
        if session.as_ref().is_some_and(|session| session.takes_info && session.has_ponged) {
            self.say_info(token, true);
        }
    }

    /// Whether a client may be read on though so many answers wait for it. Native clients read
    /// them, or are not read. Those of NATS may write all that they have before they read
    /// anything, as long as it fits into their outbox.
    pub(super) fn has_room_for_answers(&mut self, token: Token, now: Instant) -> bool {
        let connection = &self.connections[token.index()];
        let rules = self.rules_of(token);
        let most = match connection.role.protocol {
            Protocol::Native => MAX_ANSWER_BYTES,
            Protocol::Nats | Protocol::Leaf => rules.outbox_bytes.max(MAX_ANSWER_BYTES),
        };
        if connection.outbox.answers() <= most {
            return true;
        }
        let is_native = connection.role.protocol == Protocol::Native;
        if is_native || rules.policy == OverflowPolicy::Block {
            self.park(token, Obstacle::Answers(token), None);
        } else {
            self.close(token, CloseReason::SlowConsumer, now);
        }
        false
    }

    /// A client says what it wants. One that does so again begins anew, without subscriptions.
    /// Returns whether it was done; it is not if giving those up takes more than a share.
    pub(super) fn configure(&mut self, token: Token, json: &[u8], now: Instant) -> bool {
        let Some(session) = &self.connections[token.index()].nats else { return true };
        let is_first = !session.has_connected;
        let mut wanted = Session::clone(session);
        let (name, credentials) = match wanted.configure(json) {
            Ok(configured) => configured,
            Err(reason) => {
                self.close(token, reason, now);
                return true;
            }
        };
        if !is_first && self.index.held(token).subscriptions > 0 {
            self.wake_groups_of(token);
            let until = self.budget.spent() + self.budget.left_of_share();
            let before = self.budget.spent();
            let is_done = self.index.give_up(token, &mut self.budget, until);
            // What was charged to the turn is this connection's as well.
            self.budget.charge_ahead(self.budget.spent() - before);
            self.journal.partly(token, &self.index);
            if !is_done {
                return false;
            }
        }
        // Those made before the first CONNECT stay, and take headers if the client does.
        if !self.index.set_headers(token, wanted.headers, &mut self.budget) {
            self.journal.partly(token, &self.index);
            return false;
        }
        let connection = &mut self.connections[token.index()];
        connection.nats = Some(Box::new(wanted));
        if let Some(name) = name {
            connection.set_id(&name);
        }
        if let Err(reason) = self.log_in_nats(token, &credentials) {
            self.close(token, reason, now);
            return true;
        }
        if self.connections[token.index()].state == State::Handshake {
            self.open_nats(token, now);
        }
        if is_first {
            self.report_connected(token, now);
        }
        self.answer_done(token, 1);
        true
    }

    fn log_in_nats(&mut self, token: Token, said: &Credentials) -> Result<(), CloseReason> {
        let session = &self.connections[token.index()].nats;
        let nonce = session.as_ref().map_or(Box::default(), |session| session.nonce.clone());
        let credentials = access::Credentials {
            user: &said.user,
            secret: &said.pass,
            token: &said.auth_token,
            key: &said.nkey,
            signature: &said.sig,
            nonce: &nonce,
        };
        self.log_in(token, &credentials)
    }

    /// A client subscribes; a name that it uses already is left as it is. The order of the checks
    /// is that of nats-server.
    pub(super) fn subscribe_as(
        &mut self,
        token: Token,
        filter: &[u8],
        group: Option<&[u8]>,
        sid: &[u8],
    ) {
        if let Some(refusal) = refuse_filter(filter, group) {
            return self.refuse(token, filter, refusal);
        }
        if !self.may_subscribe(token, filter, group) {
            return self.refuse_subscription(token, filter, group);
        }
        if let Some(text) = self.one_too_many(token, group) {
            return self.refuse(token, filter, Refusal::TooMany(text));
        }
        if self.index.find_sid(token, sid).is_none() {
            if let Err(error) = validate_filter(filter) {
                return self.refuse(token, filter, Refusal::BadTopic(error));
            }
            let headers =
                self.connections[token.index()].nats.as_ref().is_some_and(|it| it.headers);
            let encoding = wire::Encoding::Nats { sid: self.index.keep_sid(sid), headers };
            self.add_subscription(token, filter, group, encoding);
        }
        self.answer_done(token, 1);
    }

    /// A client ends a subscription: now, or behind so many messages in all.
    pub(super) fn end_by_name(&mut self, token: Token, sid: &[u8], behind: Option<u64>) {
        if let Some(id) = self.index.find_sid(token, sid) {
            match behind {
                Some(messages) => {
                    self.wake_group_of(id);
                    self.index.end_behind(id, messages, &mut self.budget);
                }
                None => self.end_subscription(id),
            }
        }
        self.answer_done(token, 1);
    }

    /// Ends a subscription. Publishers that wait for its queue group may find another member, or
    /// none.
    pub(crate) fn end_subscription(&mut self, id: SubscriptionId) {
        self.wake_group_of(id);
        self.index.end(id, &mut self.budget);
    }

    fn wake_group_of(&mut self, id: SubscriptionId) {
        if let Some(group) = self.index.group_of(id) {
            self.waits.wake(Obstacle::Group(group), &mut self.schedule);
        }
    }

    /// So many lines of a client were carried out, if it wants to be told.
    pub(crate) fn answer_done(&mut self, token: Token, lines: u64) {
        let session = &self.connections[token.index()].nats;
        if session.as_ref().is_some_and(|session| session.verbose) {
            (0..lines).for_each(|_| self.answer(token, Notice::Done));
        }
    }

    /// Whether a client is to be told of requests that nobody hears.
    pub(crate) fn wants_no_responders(&self, token: Token) -> bool {
        self.connections[token.index()].nats.as_ref().is_some_and(|it| it.no_responders)
    }

    /// A message to a subject that no filter matches; it is accepted even so. Returns whether it
    /// was done; else the way of its reply is not found yet.
    pub(super) fn process_unroutable(
        &mut self,
        token: Token,
        subject: &[u8],
        reply: Option<&[u8]>,
        bytes: usize,
    ) -> bool {
        let Ok(sid) = self.sid_for_reply(token, reply) else { return false };
        let session = &self.connections[token.index()].nats;
        if session.as_ref().is_some_and(|session| session.pedantic) {
            self.refuse(token, subject, Refusal::Unroutable);
        }
        self.answer_done(token, 1);
        self.note_published(token, 1, bytes);
        self.answer_unheard(token, subject, reply, sid);
        true
    }

    /// Tells a client that nobody hears its request, if it waits for a reply.
    pub(crate) fn answer_unheard(
        &mut self,
        token: Token,
        subject: &[u8],
        reply: Option<&[u8]>,
        sid: Option<Vec<u8>>,
    ) {
        if let (Some(reply), Some(sid)) = (reply, sid) {
            self.answer(token, Notice::NoResponders { subject, reply, sid: &sid });
        }
    }

    /// The same for a reply that is no topic since a token of it is a wildcard: NATS takes it by
    /// its letters. So odd a reply is looked for among a client's first subscriptions only.
    fn sid_for_wildcard(&mut self, token: Token, reply: &[u8]) -> Option<Vec<u8>> {
        let mut looks = 0;
        let mut plain = self.index.plain_of(token).take(MAX_LOOKED_AT);
        let found = plain.find_map(|(filter, encoding)| {
            looks += 1;
            matches(filter, reply).then_some(encoding)
        });
        self.budget.charge(looks * budget::LOOK);
        found.map(|encoding| self.index.sid_text(encoding).to_vec())
    }

    /// The name of a plain subscription of the client's own that matches the reply of its request,
    /// if it wants to be told of requests that nobody hears.
    ///
    /// # Errors
    /// If that is not known yet.
    pub(crate) fn sid_for_reply(
        &mut self,
        token: Token,
        reply: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, NoRoute> {
        let Some(reply) = reply.filter(|_| self.wants_no_responders(token)) else {
            return Ok(None);
        };
        let route = match self.index.route(reply, &mut self.budget) {
            Ok(route) => route,
            Err(NoRoute::NotYet) => return Err(NoRoute::NotYet),
            Err(NoRoute::BadTopic(TopicError::WildcardInTopic)) => {
                return Ok(self.sid_for_wildcard(token, reply));
            }
            Err(NoRoute::BadTopic(_)) => return Ok(None),
        };
        self.budget.charge(route.plain.len() as u64 * budget::LOOK);
        let encoding = route.plain_encodings(token).next();
        Ok(encoding.map(|encoding| self.index.sid_text(encoding).to_vec()))
    }
}
