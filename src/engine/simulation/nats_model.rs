//! What NATS clients must be told, by the plain definition: line by line, in the order in which the
//! broker processed them.

use std::collections::BTreeSet;

use wire::topic::{matches, validate_filter, validate_topic};

use super::model::{Held, Model, Named};
use super::nats::{Line, Options, Sent};
use super::script::Said;
use super::transcript::Transcript;

/// A NATS client's conversation.
pub(super) struct Talk {
    pub(super) session: Session,
    /// What it must hear.
    pub(super) hears: Transcript,
}

/// What a NATS client wants.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) verbose: bool,
    pub(super) pedantic: bool,
    pub(super) echo: bool,
    pub(super) headers: bool,
    pub(super) no_responders: bool,
    pub(super) protocol: u8,
    pub(super) has_connected: bool,
    pub(super) has_ponged: bool,
}

impl Default for Talk {
    fn default() -> Talk {
        let session = Session {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            protocol: 0,
            has_connected: false,
            has_ponged: false,
        };
        let mut hears = Transcript::default();
        hears.info();
        Talk { session, hears }
    }
}

impl Session {
    fn merge(&mut self, options: Options) {
        for (to, from) in [
            (&mut self.verbose, options.verbose),
            (&mut self.pedantic, options.pedantic),
            (&mut self.echo, options.echo),
            (&mut self.headers, options.headers),
            (&mut self.no_responders, options.no_responders),
        ] {
            *to = from.unwrap_or(*to);
        }
        self.protocol = options.protocol.unwrap_or(self.protocol);
    }
}

/// What becomes of a message, by its subject and reply.
pub(super) enum Fate {
    Published,
    /// It is accepted, and no filter matches it.
    MatchesNobody,
}

/// What becomes of a message that a NATS client sends.
pub(super) fn fate(sent: Sent) -> Fate {
    let is_topic = validate_topic(sent.subject.as_bytes()).is_ok();
    if is_topic { Fate::Published } else { Fate::MatchesNobody }
}

/// Whether what a client says is a message that is accepted.
pub(super) fn is_accepted(said: &Said) -> bool {
    matches!(said, Said::Publish(..) | Said::Nats(Line::Pub(_)))
}

impl Model {
    /// A NATS client has connected.
    pub(super) fn welcome(&mut self, client: usize) {
        self.talks.insert(client, Talk::default());
    }

    /// The broker stops: a client that takes such news is told.
    pub(super) fn stop(&mut self, client: usize) {
        let talk = self.talks.get_mut(&client);
        let told = talk.filter(|talk| talk.session.protocol > 0 && talk.session.has_ponged);
        let times = told.map(|talk| talk.hears.info()).iter().count();
        (0..times).for_each(|_| self.note("INFO that the broker stops"));
    }

    fn talk(&mut self, client: usize) -> &mut Talk {
        self.talks.entry(client).or_default()
    }

    /// Whether a client wants to be told of requests that nobody hears.
    pub(super) fn wants_no_responders(&self, client: usize) -> bool {
        self.talks.get(&client).is_some_and(|talk| talk.session.no_responders)
    }

    pub(super) fn process_line(&mut self, client: usize, line: Line) {
        match line {
            Line::Connect(options) => self.configure(client, options),
            Line::Sub(filter, group, sid) => self.subscribe(client, filter, group, sid),
            Line::Unsub(sid, max) => {
                self.end_by_name(client, sid, max);
                self.done(client);
            }
            Line::Pub(sent) => self.publish_line(client, sent),
            Line::Ping => {
                let talk = self.talk(client);
                talk.hears.pong();
                talk.session.has_ponged = true;
            }
            Line::Pong | Line::Nonsense(..) | Line::Part(_) => {}
        }
    }

    /// A line was carried out.
    fn done(&mut self, client: usize) {
        let talk = self.talk(client);
        if talk.session.verbose {
            talk.hears.ok();
            self.note("+OK");
        }
    }

    fn configure(&mut self, client: usize, options: Options) {
        let talk = self.talk(client);
        let is_first = !talk.session.has_connected;
        let mut session = talk.session.clone();
        session.has_connected = true;
        session.merge(options);
        let headers = session.headers;
        if session.no_responders && !headers {
            // The connection ends with it.
            return;
        }
        talk.session = session;
        if !is_first {
            self.note("second CONNECT");
            self.end(|held| held.client == client);
        }
        let own = self.held.iter_mut().filter(|held| held.client == client);
        own.filter_map(|held| held.nats.as_mut()).for_each(|named| named.headers = headers);
        self.done(client);
    }

    /// The broker has carried out a part of a CONNECT: of the client's subscriptions these are
    /// left, and take headers or do not.
    pub(super) fn partly(&mut self, client: usize, left: &[(Box<[u8]>, bool)]) {
        let find = |held: &Held| {
            let sid = held.nats.as_ref().map(|named| named.sid.as_bytes())?;
            left.iter().find(|(name, _)| **name == *sid).map(|(_, headers)| *headers)
        };
        self.end(|held| held.client == client && find(held).is_none());
        assert_eq!(self.count(client), left.len(), "only a CONNECT's part was carried out");
        for held in self.held.iter_mut().filter(|held| held.client == client) {
            let headers = find(held);
            if let (Some(named), Some(headers)) = (&mut held.nats, headers) {
                named.headers = headers;
            }
        }
        if !left.is_empty() {
            self.note("CONNECT carried out in parts");
        }
    }

    fn subscribe(
        &mut self,
        client: usize,
        filter: &'static str,
        group: Option<&'static str>,
        sid: &'static str,
    ) {
        if !self.may_subscribe(client, filter, group) {
            let group = group.map_or(String::new(), |it| format!(" using queue \"{it}\""));
            let text = format!("Permissions Violation for Subscription to \"{filter}\"{group}");
            return self.talk(client).hears.error(text);
        }
        if self.count(client) >= self.max_nats_subscriptions {
            self.note("too many subscriptions of a NATS client");
            return self.talk(client).hears.error("maximum subscriptions exceeded");
        }
        let is_it = |held: &Held| {
            held.client == client && held.nats.as_ref().is_some_and(|named| named.sid == sid)
        };
        if self.held.iter().any(is_it) {
            self.note("SUB with a sid in use");
        } else if validate_filter(filter.as_bytes()).is_err() {
            return self.talk(client).hears.error("Invalid Subject");
        } else {
            let headers = self.talk(client).session.headers;
            let nats = Some(Named { sid, headers, delivered: 0, max: None });
            self.add(Held { client, filter, group, nats });
        }
        self.done(client);
    }

    fn end_by_name(&mut self, client: usize, sid: &'static str, max: Option<u64>) {
        let is_it = |held: &Held| {
            held.client == client && held.nats.as_ref().is_some_and(|named| named.sid == sid)
        };
        let Some(at) = self.held.iter().position(is_it) else { return };
        let Some(named) = &mut self.held[at].nats else { return };
        if let Some(max) = max.filter(|max| *max > named.delivered) {
            named.max = Some(max);
            if named.delivered > 0 {
                self.note("maximum counts what came before");
            }
        } else {
            self.end(is_it);
        }
    }

    fn publish_line(&mut self, client: usize, sent: Sent) {
        let is_topic = matches!(fate(sent), Fate::Published);
        if is_topic && !self.may_publish(client, sent.subject) {
            let text = format!("Permissions Violation for Publish to \"{}\"", sent.subject);
            return self.talk(client).hears.error(text);
        }
        let session = self.talk(client).session.clone();
        let is_heard = self.is_heard(client, sent);
        let unheard = session.no_responders && !is_heard;
        let names = if unheard { self.names_for_reply(client, sent) } else { Vec::new() };
        match fate(sent) {
            Fate::Published => {
                self.done(client);
                self.publish(client, sent);
                if unheard {
                    self.encodings.plain = 0;
                }
            }
            Fate::MatchesNobody => {
                if session.pedantic {
                    self.talk(client).hears.error("Invalid Publish Subject");
                }
                self.done(client);
                let (messages, bytes) = self.unroutable;
                let length = Line::Pub(sent).bytes(0).len() as u64;
                self.unroutable = (messages + 1, bytes + length);
                self.note("message to a subject that nothing matches");
            }
        }
        if !names.is_empty() {
            self.note("503");
        }
        let copies = names.into_iter().map(|sid| sent.unheard(sid)).collect();
        self.talk(client).hears.unheard(copies);
    }

    /// The client's own plain subscriptions that match the reply.
    fn names_for_reply(&self, client: usize, sent: Sent) -> Vec<&'static str> {
        let Some(reply) = sent.reply.filter(|reply| reply.split('.').all(|it| !it.is_empty()))
        else {
            return Vec::new();
        };
        // One with a wildcard is no topic, and is looked for by its letters.
        let is_topic = validate_topic(reply.as_bytes()).is_ok();
        if is_topic && self.is_kept_from(client, reply.as_bytes()) {
            return Vec::new();
        }
        let own = self.held.iter().filter(|held| held.client == client && held.group.is_none());
        let matching = own.filter(|held| matches(held.filter.as_bytes(), reply.as_bytes()));
        matching.filter_map(|held| held.nats.as_ref().map(|named| named.sid)).collect()
    }

    /// Encodings that a message is brought into for its plain receivers.
    pub(super) fn encodings_for(&self, publisher: usize, sent: Sent) -> u64 {
        let topic = sent.subject.as_bytes();
        let plain = self.held.iter().filter(|held| held.group.is_none());
        let plain = plain.filter(|held| matches(held.filter.as_bytes(), topic));
        let plain = plain.filter(|held| !self.is_kept_from(held.client, topic));
        let encoding = |held: &Held| match &held.nats {
            Some(named) => Some((named.sid, named.headers)),
            // It has no name; for its own messages none is made.
            None if self.is_hub(held.client) => {
                Some(("", true)).filter(|_| held.client != publisher)
            }
            None => None,
        };
        let encodings: BTreeSet<_> = plain.map(encoding).collect();
        let is_native = !self.talks.contains_key(&publisher);
        // What a native publisher sent is what native receivers get.
        encodings.iter().filter(|encoding| encoding.is_some() || !is_native).count() as u64
    }

    /// Notes what is odd about a message.
    pub(super) fn note_message(&mut self, publisher: usize, sent: Sent) {
        let from_nats = self.talks.contains_key(&publisher) || self.is_hub(publisher);
        let topic = sent.subject.as_bytes();
        let mut edges = BTreeSet::new();
        for held in self.held.iter().filter(|it| matches(it.filter.as_bytes(), topic)) {
            if self.is_kept_from(held.client, topic) {
                edges.insert("denial within a grant withheld a message");
                if held.group.is_some() {
                    edges.insert("denial passed over a member of a queue group");
                }
                continue;
            }
            if self.is_hub(held.client) {
                continue;
            }
            match (&held.nats, from_nats) {
                (Some(_), false) => drop(edges.insert("native message to a NATS client")),
                (None, true) => drop(edges.insert("NATS message to a native client")),
                _ => {}
            }
            let takes = held.nats.as_ref().is_some_and(|named| named.headers);
            if sent.headers.is_some_and(|headers| headers > 0) {
                edges.insert(if takes { "headers passed on" } else { "headers cut off" });
            }
            let silent = self.talks.get(&publisher).is_some_and(|talk| !talk.session.echo);
            if held.client == publisher && silent {
                edges.insert("own message kept back");
            }
            if sent.length == 0 {
                edges.insert("empty message");
            }
            if sent.length > 4_096 && (held.nats.is_some() || from_nats) {
                edges.insert("payload too large to be copied");
            }
        }
        edges.into_iter().for_each(|edge| self.note(edge));
    }
}
