//! What clients must receive, by the plain definition: a list of subscriptions and a loop.

use std::collections::{BTreeMap, BTreeSet};

use wire::native::frame::HEADER_BYTES;
use wire::topic::{matches, validate_topic};

use super::charges::Encodings;
use super::client::{Client, Heard};
use super::hub;
use super::hub_model::Link;
use super::nats::{Copied, Sent, ident, is_number, payload};
use super::nats_model::Talk;
use super::rounds::Rounds;
use super::script::{Said, Setup};
use super::transcript::Ending;
use super::users::{self, May, TABLES};

/// A subscription.
pub(super) struct Held {
    pub(super) client: usize,
    pub(super) filter: &'static str,
    pub(super) group: Option<&'static str>,
    /// What only one of a NATS client has.
    pub(super) nats: Option<Named>,
}

/// A NATS client's subscription.
pub(super) struct Named {
    pub(super) sid: &'static str,
    pub(super) headers: bool,
    pub(super) delivered: u64,
    pub(super) max: Option<u64>,
}

/// A member of a queue group: a native client, or a subscription of a NATS client.
pub(super) type Member = (usize, Option<&'static str>);
/// A queue group is its name.
pub(super) type Group = &'static str;

/// All that was processed so far, and what follows from it.
pub(super) struct Model {
    max_subscriptions: usize,
    pub(super) max_nats_subscriptions: usize,
    pub(super) link: Link,
    pub(super) held: Vec<Held>,
    /// The table of users, and by client the user id of its process if that is known.
    table: usize,
    pub(super) uids: BTreeMap<usize, u32>,
    /// By native client: what it must be refused, in this order; the last of each are all that
    /// ended at once, in any.
    refusals: BTreeMap<usize, Vec<Vec<&'static str>>>,
    /// By NATS client: replies that it may publish to, whether it may still.
    replies: BTreeMap<usize, BTreeMap<&'static str, bool>>,
    /// Messages and subscriptions that their users may not have, and of them the messages.
    pub(super) denied: u64,
    pub(super) denied_messages: u64,
    /// Messages in the order in which they were processed; a message's place in it, if it can be
    /// told from others.
    place: BTreeMap<u64, usize>,
    pub(super) messages: usize,
    /// By number: the topic that receivers of a message are shown.
    shown: BTreeMap<u64, &'static str>,
    /// By native client: the messages that it must get, one with as many copies as often.
    expected: BTreeMap<usize, Vec<u64>>,
    /// By NATS client: its conversation.
    pub(super) talks: BTreeMap<usize, Talk>,
    /// By client: who was ever in a queue group.
    grouped: BTreeMap<usize, bool>,
    /// By client: the most copies that one message ever had for it.
    most_copies: BTreeMap<usize, usize>,
    /// Deliveries in all: one for each copy.
    pub(super) matched: u64,
    /// By native client: answers that it must get.
    pongs: BTreeMap<usize, usize>,
    /// The message at hand, and the queue groups that have still to give it to a member.
    pub(super) at_hand: Option<Sent>,
    pub(super) open: BTreeMap<Group, BTreeSet<Member>>,
    rounds: Rounds,
    /// Subscriptions made and ended since that was asked last.
    pub(super) changes: Vec<(&'static str, bool)>,
    /// Encodings that messages were brought into since that was asked last.
    pub(super) encodings: Encodings,
    /// The most of one message.
    pub(super) most_encodings: u64,
    /// SUBSCRIBEs that were too many.
    pub(super) refused: u64,
    /// Messages that were accepted though no filter can match them, and their bytes.
    pub(super) unroutable: (u64, u64),
    pub(super) notes: BTreeMap<&'static str, u64>,
}

impl Model {
    pub(super) fn new(setup: &Setup) -> Model {
        Model {
            max_subscriptions: setup.max_subscriptions,
            max_nats_subscriptions: setup.nats.max_subscriptions,
            link: Link::new(setup),
            held: Vec::new(),
            table: setup.users.min(TABLES.len()),
            uids: BTreeMap::new(),
            refusals: BTreeMap::new(),
            replies: BTreeMap::new(),
            denied: 0,
            denied_messages: 0,
            place: BTreeMap::new(),
            messages: 0,
            shown: BTreeMap::new(),
            expected: BTreeMap::new(),
            talks: BTreeMap::new(),
            grouped: BTreeMap::new(),
            most_copies: BTreeMap::new(),
            matched: 0,
            pongs: BTreeMap::new(),
            at_hand: None,
            open: BTreeMap::new(),
            rounds: Rounds::default(),
            changes: Vec::new(),
            encodings: Encodings::default(),
            most_encodings: 0,
            refused: 0,
            unroutable: (0, 0),
            notes: BTreeMap::new(),
        }
    }

    /// The limits of subscriptions are others.
    pub(super) fn allow(&mut self, max_subscriptions: usize, max_nats_subscriptions: usize) {
        self.max_subscriptions = max_subscriptions;
        self.max_nats_subscriptions = max_nats_subscriptions;
    }

    /// Notes that an edge was reached.
    pub(super) fn note(&mut self, edge: &'static str) {
        *self.notes.entry(edge).or_default() += 1;
    }

    /// A connection receives nothing from now on.
    pub(super) fn forget(&mut self, client: usize) {
        self.hub_leaves(client);
        self.held.retain(|held| held.client != client);
        self.forget_wants();
    }

    /// The broker has processed what a client said.
    pub(super) fn process(&mut self, client: usize, said: Said) {
        assert!(self.open.is_empty(), "these queue groups did not get a message: {:?}", self.open);
        match said {
            Said::Subscribe(filter, group) => {
                let is_it = |held: &&Held| {
                    (held.client, held.filter, held.group) == (client, filter, group)
                };
                if self.held.iter().any(|held| is_it(&held)) {
                    return;
                }
                if !self.may_subscribe(client, filter, group) {
                    self.refusals.entry(client).or_default().push(vec![filter]);
                    return;
                }
                if self.count(client) >= self.max_subscriptions {
                    self.refused += 1;
                    return;
                }
                self.add(Held { client, filter, group, nats: None });
            }
            Said::Unsubscribe(filter, group) => {
                self.end(|held| (held.client, held.filter, held.group) == (client, filter, group));
            }
            Said::Publish(subject, ..) if !self.may_publish(client, subject) => {
                self.refusals.entry(client).or_default().push(vec![subject]);
            }
            Said::Publish(subject, number, length) => {
                let length = length.max(8);
                self.publish(client, Sent { subject, reply: None, number, headers: None, length });
            }
            Said::Ping => *self.pongs.entry(client).or_default() += 1,
            Said::Nats(line) => self.process_line(client, line),
            Said::Hub(line) => self.process_hub(client, line),
            Said::Hello
            | Said::Pong
            | Said::BadTopic
            | Said::Nonsense(_)
            | Said::Part(_)
            | Said::JoinMany => {}
        }
    }

    /// What a client may do; `None`: everything.
    fn may(&self, client: usize) -> Option<&'static May> {
        if self.is_hub(client) {
            return None;
        }
        users::find(self.table, self.uids.get(&client).copied())
    }

    /// Whether a client publishes to a topic. It does so to a reply once.
    pub(super) fn may_publish(&mut self, client: usize, topic: &str) -> bool {
        let Some(user) = self.may(client) else { return true };
        if user.publish(topic) {
            return true;
        }
        let reply = self.replies.get_mut(&client).and_then(|it| it.get_mut(topic));
        let was_given = reply.is_some();
        let may = user.responds && reply.is_some_and(std::mem::take);
        if may {
            self.note("reply allowed once");
        } else {
            if was_given && user.responds {
                self.note("reply refused the second time");
            }
            self.denied += 1;
            self.denied_messages += 1;
            self.note("message refused for its user");
        }
        may
    }

    /// Whether a client may subscribe.
    pub(super) fn may_subscribe(
        &mut self,
        client: usize,
        filter: &str,
        group: Option<&str>,
    ) -> bool {
        let Some(user) = self.may(client) else { return true };
        let may = user.subscribe(filter, group);
        if !may {
            self.denied += 1;
            self.note("subscription refused for its user");
            if user.subscribe(filter, None) {
                self.note("queue group refused for its user");
            }
        }
        may
    }

    /// Whether a topic is kept from a client though a filter of its matches.
    pub(super) fn is_kept_from(&self, client: usize, topic: &[u8]) -> bool {
        let topic = std::str::from_utf8(topic).expect("names are text here");
        if let Some(exports) = self.link.exports(client, topic) {
            return !exports;
        }
        self.may(client).is_some_and(|may| may.is_denied(topic))
    }

    /// Other users from now on. Returns whether they are others.
    pub(super) fn change_users(&mut self, table: usize) -> bool {
        let table = table.min(TABLES.len());
        if std::mem::replace(&mut self.table, table) == table {
            return false;
        }
        let held = std::mem::take(&mut self.held);
        let (kept, ended): (Vec<_>, Vec<_>) = held.into_iter().partition(|held| {
            let may = self.may(held.client);
            may.is_none_or(|may| may.subscribe(held.filter, held.group))
        });
        self.held = kept;
        self.forget_wants();
        let mut by_client = BTreeMap::<usize, Vec<Held>>::new();
        for held in ended {
            self.note("subscription ended by other users");
            by_client.entry(held.client).or_default().push(held);
        }
        for (client, ended) in by_client {
            if let Some(talk) = self.talks.get_mut(&client) {
                talk.hears.ended(ended.iter().map(may_not_subscribe).collect());
            } else {
                let filters = ended.iter().map(|held| held.filter).collect();
                self.refusals.entry(client).or_default().push(filters);
            }
        }
        true
    }

    /// Subscriptions of a client.
    pub(super) fn count(&self, client: usize) -> usize {
        self.held.iter().filter(|held| held.client == client).count()
    }

    pub(super) fn add(&mut self, held: Held) {
        self.changes.push((held.filter, true));
        *self.grouped.entry(held.client).or_default() |= held.group.is_some();
        self.held.push(held);
    }

    /// Ends subscriptions.
    pub(super) fn end(&mut self, ends: impl Fn(&Held) -> bool) {
        let ending = self.held.iter().filter(|held| ends(held));
        self.changes.extend(ending.map(|held| (held.filter, false)));
        self.held.retain(|held| !ends(held));
        self.forget_wants();
    }

    /// The publisher, if it wants no messages of its own.
    fn silent(&self, publisher: usize) -> Option<usize> {
        let talk = self.talks.get(&publisher);
        let is_silent = talk.is_some_and(|talk| !talk.session.echo) || self.is_hub(publisher);
        is_silent.then_some(publisher)
    }

    /// The subscriptions that match a message.
    fn matching(&self, publisher: usize, sent: Sent) -> Vec<usize> {
        let (silent, topic) = (self.silent(publisher), sent.subject.as_bytes());
        let is_match = |held: &Held| {
            matches(held.filter.as_bytes(), topic)
                && silent != Some(held.client)
                && self.link.is_receiver(held.client)
                && !(self.is_hub(publisher) && self.is_hub(held.client))
                && !self.is_kept_from(held.client, topic)
        };
        let numbers = 0..self.held.len();
        let is_topic = validate_topic(topic).is_ok();
        numbers.filter(|number| is_topic && is_match(&self.held[*number])).collect()
    }

    /// Whether anyone gets a message.
    pub(super) fn is_heard(&self, publisher: usize, sent: Sent) -> bool {
        !self.matching(publisher, sent).is_empty()
    }

    pub(super) fn publish(&mut self, publisher: usize, sent: Sent) {
        self.publish_as(publisher, sent, sent, None);
    }

    /// Delivers a message, which receivers may be shown in another way; a hub's goes to no other
    /// queue groups than those that it names.
    pub(super) fn publish_as(
        &mut self,
        publisher: usize,
        sent: Sent,
        shown: Sent,
        names: Option<&[&str]>,
    ) {
        let number = ident(&payload(sent.number, sent.length));
        self.messages += 1;
        if is_number(number) {
            let before = self.place.insert(number, self.messages);
            self.shown.insert(number, shown.subject);
            assert!(before.is_none(), "a message was processed twice");
        }
        let (mut native, mut named) = (BTreeSet::new(), Vec::new());
        for at in self.matching(publisher, sent) {
            let held = &self.held[at];
            match (held.group, &held.nats) {
                (None, None) => drop(native.insert(held.client)),
                (None, Some(_)) => named.push(at),
                (Some(name), _) if names.is_some_and(|names| !names.contains(&name)) => {}
                (Some(_), _) if self.link.is_too_large(held.client, sent) => {}
                (Some(name), nats) => {
                    let member = (held.client, nats.as_ref().map(|named| named.sid));
                    self.open.entry(name).or_default().insert(member);
                }
            }
        }
        self.matched += (native.len() + named.len() + self.open.len()) as u64;
        self.encodings.plain = self.encodings_for(publisher, sent);
        self.encodings.members = self.open.len() as u64;
        let encodings = self.encodings.plain + self.encodings.members;
        self.most_encodings = self.most_encodings.max(encodings);
        self.encodings.bytes += sent.bytes_at_most() as u64;
        self.at_hand = Some(shown);
        self.lose(publisher, sent);
        let mut copies = BTreeMap::<usize, usize>::new();
        for &client in &native {
            *copies.entry(client).or_default() += 1;
            if self.is_hub(client) {
                self.hub_gets(client, sent);
            } else {
                self.expected.entry(client).or_default().push(number);
            }
        }
        if named.len() > named.iter().map(|at| self.held[*at].client).collect::<BTreeSet<_>>().len()
        {
            self.note("several copies for one NATS client");
        }
        for at in named {
            *copies.entry(self.held[at].client).or_default() += 1;
            self.give(at, shown);
        }
        for &(client, _) in self.open.values().flatten() {
            *copies.entry(client).or_default() += 1;
        }
        for (client, copies) in copies {
            let most = self.most_copies.entry(client).or_default();
            *most = copies.max(*most);
        }
        self.note_message(publisher, sent);
        self.end_spent();
    }

    /// A subscription of a NATS client is given a message.
    fn give(&mut self, at: usize, sent: Sent) {
        let place = self.messages;
        let held = &mut self.held[at];
        let Some(named) = &mut held.nats else { return };
        named.delivered += 1;
        let copied: Copied = sent.copied(named.sid, named.headers);
        let client = held.client;
        self.talks.entry(client).or_default().hears.copied(place, copied);
        if let Some(reply) = sent.reply
            && self.may(client).is_some_and(|user| user.responds)
        {
            self.replies.entry(client).or_default().insert(reply, true);
        }
    }

    /// Ends subscriptions that had as many messages as they may.
    fn end_spent(&mut self) {
        let is_spent = |held: &Held| {
            let named = held.nats.as_ref();
            named.is_some_and(|it| it.max.is_some_and(|max| it.delivered >= max))
        };
        if self.held.iter().any(is_spent) {
            self.note("subscription ended by its maximum");
            self.end(is_spent);
        }
    }

    /// The broker has given the message at hand to this member of a queue group.
    pub(super) fn choose(&mut self, client: usize, sid: &[u8], group: &[u8]) {
        let open = self.open.keys().find(|name| name.as_bytes() == group);
        if self.is_hub(client) {
            // One that has gone, or takes none as large, is none of those that match.
            if open.is_some() {
                self.keep_group_from_hub(client, group);
            }
            return;
        }
        let name = *open.expect("it is matched");
        let mut members = self.open.remove(name).unwrap_or_default();
        // One elsewhere has no turn.
        let before = members.len();
        members.retain(|member| !self.is_hub(member.0));
        if members.len() < before {
            self.note("member here served before a hub");
        }
        let is_it =
            |member: &&Member| member.0 == client && member.1.unwrap_or("").as_bytes() == sid;
        let member = *members.iter().find(is_it).expect("a member that matches gets a message");
        let sent = self.at_hand.expect("a message is at hand");
        let number = ident(&payload(sent.number, sent.length));
        let nats = members.iter().filter(|member| member.1.is_some()).count();
        if nats > 0 && nats < members.len() {
            self.note("queue group of native and NATS members");
        }
        self.rounds.take_turn(name, members, member);
        let is_held = |held: &Held| {
            let sid = held.nats.as_ref().map(|named| named.sid);
            held.group == Some(name) && (held.client, sid) == member
        };
        match member.1 {
            None => self.expected.entry(client).or_default().push(number),
            Some(_) => {
                let at = self.held.iter().position(is_held);
                // One that was closed a moment ago is not there any more.
                at.into_iter().for_each(|at| self.give(at, sent));
                self.end_spent();
            }
        }
    }

    /// The members of a queue group, or of several, that match a message; some several times.
    pub(super) fn members(
        &self,
        publisher: usize,
        sent: Sent,
        is_group: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = usize> {
        let matching = self.matching(publisher, sent).into_iter().map(|at| &self.held[at]);
        let takes = move |held: &&Held| !self.link.is_too_large(held.client, sent);
        let matching = matching.filter(takes);
        matching.filter(move |held| held.group.is_some_and(&is_group)).map(|held| held.client)
    }

    /// Bytes of a message in so many copies as a client gets through its plain subscriptions;
    /// nothing if it gets another number of them by now.
    pub(super) fn plain_bytes(
        &self,
        publisher: usize,
        sent: Sent,
        client: usize,
        copies: usize,
    ) -> usize {
        let matching = self.matching(publisher, sent).into_iter().map(|at| &self.held[at]);
        let own = matching.filter(|held| held.client == client && held.group.is_none());
        if self.is_hub(client) {
            let is_one = own.count() > 0 && copies == 1 && !self.link.is_too_large(client, sent);
            return if is_one { hub::given_bytes(sent) } else { 0 };
        }
        let shown = self.shown(publisher, sent);
        let mut own: Vec<_> = own.map(|held| bytes_of(held, shown)).collect();
        if !self.talks.contains_key(&client) {
            // A native client gets one copy.
            own.truncate(1);
        }
        if own.len() == copies { own.iter().sum() } else { 0 }
    }

    /// Whether a client was ever in a queue group.
    pub(super) fn is_grouped(&self, client: usize) -> bool {
        self.grouped.get(&client).copied().unwrap_or(false)
    }

    /// The most copies that one message ever had for a client, or may have had for any.
    pub(super) fn most_copies(&self, client: Option<usize>) -> usize {
        let most = match client {
            Some(client) => self.most_copies.get(&client).copied(),
            None => self.most_copies.values().max().copied(),
        };
        most.unwrap_or(1).max(1)
    }

    /// Checks what one client heard.
    pub(super) fn check(&self, client: usize, who: &Client, ending: Ending) {
        let mut last = None;
        for heard in &who.heard {
            if let Heard::Message(number) = heard
                && is_number(*number)
            {
                let place = self.place.get(number).expect("only what was published is received");
                assert!(last <= Some(*place), "client {client} received out of order");
                last = Some(*place);
            }
        }
        for (number, topic) in &who.topics {
            assert_eq!(self.shown.get(number), Some(&topic.as_str()), "client {client}: {number}");
        }
        if self.is_hub(client) {
            self.check_hub(client, who, ending);
            return;
        }
        if let Some(talk) = self.talks.get(&client) {
            return talk.hears.check(client, &who.transcript, ending);
        }
        let complete = ending.complete;
        let pongs = who.heard.iter().filter(|heard| **heard == Heard::Pong).count();
        let asked = self.pongs.get(&client).copied().unwrap_or(0);
        assert!(pongs <= asked && (!complete || pongs == asked), "client {client}: {pongs} PONGs");
        self.check_refusals(client, who, complete);
        let none = Vec::new();
        let expected = self.expected.get(&client).unwrap_or(&none);
        let mut rest = expected.iter();
        for heard in &who.heard {
            match heard {
                Heard::Message(number) => {
                    assert_eq!(rest.next(), Some(number), "client {client} received another");
                }
                Heard::Lost(count) => {
                    assert!(*count > 0, "client {client}: LOST is of some");
                    for _ in 0..*count {
                        assert!(rest.next().is_some(), "client {client} was told of too many lost");
                    }
                }
                _ => {}
            }
        }
        assert!(!complete || rest.next().is_none(), "client {client} misses {:?}", rest.next());
    }

    /// Checks that a native client was told what it may not do.
    fn check_refusals(&self, client: usize, who: &Client, complete: bool) {
        let heard = who.heard.iter().filter_map(|heard| match heard {
            Heard::Refused(name) => Some(name.as_str()),
            _ => None,
        });
        let mut batches = self.refusals.get(&client).cloned().unwrap_or_default().into_iter();
        let mut left = Vec::new();
        for name in heard {
            if left.is_empty() {
                left = batches.next().unwrap_or_default();
            }
            let place = left.iter().position(|it| *it == name);
            let place = place.unwrap_or_else(|| panic!("client {client} was refused {name}"));
            left.swap_remove(place);
        }
        let is_all = left.is_empty() && batches.len() == 0;
        assert!(is_all || !complete, "client {client} was not told what it may not do");
    }

    /// Checks that the members of queue groups took turns; see [`Rounds`].
    pub(super) fn check_turns(&self) -> u64 {
        self.rounds.check()
    }
}

/// What a NATS client is told of a subscription that has ended.
fn may_not_subscribe(held: &Held) -> String {
    let sid = held.nats.as_ref().map_or("", |named| named.sid);
    let group = held.group.map_or(String::new(), |group| format!(" using queue \"{group}\""));
    let filter = held.filter;
    format!("Permissions Violation for Subscription to \"{filter}\"{group} (sid \"{sid}\")")
}

/// Bytes of a message as a subscription gets it.
fn bytes_of(held: &Held, sent: Sent) -> usize {
    match &held.nats {
        None => HEADER_BYTES + sent.subject.len() + sent.length,
        Some(named) => sent.copied_bytes(named.sid, named.headers),
    }
}
