//! What hubs must be told and given, by the plain definition, and what is lost while there is none.
//!
//! Owns the model's side of the link. What a hub wants are subscriptions of a client in `model`,
//! which gets a message once for all of its plain ones, and one for each queue group.

use std::collections::{BTreeMap, BTreeSet};

use wire::leaf::subject::jetstream_reply;
use wire::topic::{matches, validate_filter, validate_topic};

use super::hub::{self, Crossing, Given, Heard, Line, PERMISSIONS, RULES};
use super::model::{Group, Held, Model};
use super::nats::Sent;
use super::script::Setup;
use crate::engine::rules::OverflowPolicy;

/// A filter, and the name of a queue group.
type Want = (&'static str, Option<&'static str>);

/// The link, and all hubs that there were.
#[derive(Default)]
pub(super) struct Link {
    rules: Option<&'static Crossing>,
    max_filters: usize,
    pub(super) may_drop: bool,
    pub(super) hubs: BTreeMap<usize, Hub>,
    /// The hub that is there.
    pub(super) current: Option<usize>,
    /// The one that was there before it, and what it wanted: until another one has joined.
    before: Option<(usize, Vec<Want>)>,
    /// The same, while messages for it wait.
    waits: Option<usize>,
    /// The same, while messages wait that were for it.
    pub(super) kept: Option<usize>,
    pub(super) draining: bool,
    pub(super) not_carried: u64,
    /// Messages of hubs that were accepted.
    pub(super) accepted: u64,
    /// The same under earlier rules, whose figures are gone.
    pub(super) accepted_before: u64,
    pub(super) joins: u64,
    /// Messages for a queue group that a hub was chosen for though members here match.
    pub(super) passed_over: u64,
}

/// A connection to a hub.
pub(super) struct Hub {
    pub(super) max_payload: usize,
    /// Its messages, in their order.
    pub(super) items: Vec<Item>,
    /// What its INFO permits now.
    pub(super) permissions: usize,
    /// What was permitted before it was told the first PONG, between that and the second one, ...
    pub(super) windows: Vec<Vec<usize>>,
    /// PONGs of it that were processed.
    pub(super) answers: usize,
    /// It has said what it permits: nothing is told it before.
    pub(super) is_greeted: bool,
    /// What was wanted here when it said so, and all the time since.
    pub(super) lasting: BTreeSet<Want>,
    /// It said the mark of the broker.
    pub(super) is_loop: bool,
    /// It counts for the figures of the link.
    pub(super) is_counted: bool,
    /// Messages and names of queue groups that were kept from it.
    pub(super) dropped: u64,
    /// Messages that it has heard, as far as that was looked at: those behind wait for the next
    /// one when it has gone, but for a half-written one.
    heard: usize,
    half: usize,
    /// Messages that have waited for it, which it does not take.
    pub(super) refused: u64,
}

/// A message for a hub.
pub(super) struct Item {
    pub(super) place: usize,
    pub(super) given: Given,
    /// Plain subscribers are among those it is for.
    pub(super) is_plain: bool,
    pub(super) names: BTreeSet<Group>,
}

impl Link {
    pub(super) fn new(setup: &Setup) -> Link {
        let Some(link) = &setup.link else { return Link::default() };
        Link {
            rules: Some(&RULES[link.rules]),
            max_filters: link.limits.max_subscriptions,
            may_drop: link.limits.policy == OverflowPolicy::Drop,
            ..Link::default()
        }
    }

    /// Whether a hub is asked for what matches a filter.
    pub(super) fn asks_for(&self, filter: &str) -> bool {
        self.rules.is_some_and(|rules| rules.asks_for(filter))
    }

    /// Whether its rules are these.
    pub(super) fn has_rules(&self, rules: Option<&'static Crossing>) -> bool {
        self.rules.map(std::ptr::from_ref) == rules.map(std::ptr::from_ref)
    }

    /// Whether there is a link.
    pub(super) fn is_there(&self) -> bool {
        self.rules.is_some()
    }

    /// Whether a client has a part in messages; a hub has from when it has joined.
    pub(super) fn is_receiver(&self, client: usize) -> bool {
        self.hubs.get(&client).is_none_or(|hub| hub.answers > 0)
    }

    /// Whether a hub takes no message as large.
    pub(super) fn is_too_large(&self, client: usize, sent: Sent) -> bool {
        let length = sent.headers.unwrap_or(0) + sent.length;
        self.hubs.get(&client).is_some_and(|hub| length > hub.max_payload)
    }

    /// Whether a topic may be sent to a hub; nothing if the client is none.
    pub(super) fn exports(&self, client: usize, topic: &str) -> Option<bool> {
        let (hub, rules) = (self.hubs.get(&client)?, self.rules?);
        Some(rules.export.has(topic) && PERMISSIONS[hub.permissions].export.has(topic))
    }
}

impl Model {
    pub(super) fn is_hub(&self, client: usize) -> bool {
        self.link.hubs.contains_key(&client)
    }

    /// A hub was dialled.
    pub(super) fn dial(&mut self, client: usize, max_payload: usize) {
        let hub = Hub {
            max_payload,
            is_greeted: false,
            lasting: BTreeSet::new(),
            is_loop: false,
            is_counted: true,
            items: Vec::new(),
            permissions: 0,
            windows: vec![vec![0]],
            answers: 0,
            dropped: 0,
            heard: 0,
            half: 0,
            refused: 0,
        };
        self.link.hubs.insert(client, hub);
        self.link.current = Some(client);
    }

    /// A hub says for the first time what it permits.
    fn greet(&mut self, client: usize, permissions: usize) {
        let here = self.held.iter().filter(|held| !self.is_hub(held.client));
        let here = here.map(|held| (held.filter, held.group));
        let lasting = here.filter(|(filter, _)| self.link.asks_for(filter)).collect();
        let Some(hub) = self.link.hubs.get_mut(&client) else { return };
        (hub.is_greeted, hub.lasting) = (true, lasting);
        // Before, it was told nothing.
        hub.windows.iter_mut().for_each(|window| *window = vec![permissions]);
        let forward = self.link.rules.map_or(&[][..], |rules| rules.forward);
        for filter in forward {
            self.want(client, filter, None);
        }
    }

    /// A hub has gone: what it wanted is kept in mind, if it has told all of it.
    pub(super) fn hub_leaves(&mut self, client: usize) {
        if self.link.current != Some(client) {
            return;
        }
        self.link.current = None;
        let own = self.held.iter().filter(|held| held.client == client);
        let wants: Vec<Want> = own.map(|held| (held.filter, held.group)).collect();
        let has_joined = self.link.hubs[&client].answers > 0;
        if has_joined && !wants.is_empty() && !self.link.draining {
            self.link.before = Some((client, wants));
            self.note("interest of a hub that has gone kept");
        }
    }

    /// Messages for a hub that has just gone wait for the next one, but for so many.
    pub(super) fn hub_waits(&mut self, client: usize, half: u64) {
        assert!(!self.link.may_drop, "only publishers that may wait do");
        let before = self.link.before.take_if(|before| before.0 == client);
        let (_, wants) = before.expect("a hub that has joined and wanted something");
        let held = |(filter, group)| Held { client, filter, group, nats: None };
        self.held.extend(wants.into_iter().map(held));
        (self.link.waits, self.link.kept) = (Some(client), Some(client));
        self.link.hubs.get_mut(&client).expect("it was dialled").half = half as usize;
        self.note("messages wait for a hub");
    }

    /// What a hub that has gone wanted is lost from now on.
    pub(super) fn end_waiting(&mut self, client: usize) {
        assert_eq!(self.link.waits.take(), Some(client), "messages wait for one hub");
        let own = self.held.iter().filter(|held| held.client == client);
        self.link.before = Some((client, own.map(|held| (held.filter, held.group)).collect()));
        self.held.retain(|held| held.client != client);
        self.note("hub waited for in vain");
    }

    /// What a hub that has gone has heard.
    pub(super) fn note_heard_by(&mut self, client: usize, heard: &[Heard]) {
        let hub = self.link.hubs.get_mut(&client).expect("it was dialled");
        let (_, behind) = hub.missed(client, heard, false);
        hub.heard = hub.items.len() - behind as usize;
    }

    /// Messages that wait for a hub.
    pub(super) fn waiting(&self) -> u64 {
        let hub = self.link.kept.map(|gone| &self.link.hubs[&gone]);
        hub.map_or(0, |hub| hub.items.len() - hub.heard - hub.half) as u64
    }

    /// A hub has joined: what was not written to the one before is for it.
    fn hand_over(&mut self, client: usize) {
        if let Some(gone) = self.link.waits.take() {
            self.held.retain(|held| held.client != gone);
        }
        self.link.before = None;
        let Some(gone) = self.link.kept.take() else { return };
        let gone = self.link.hubs.get_mut(&gone).expect("it was dialled");
        let waiting = gone.items.split_off(gone.heard + gone.half);
        let hub = self.link.hubs.get_mut(&client).expect("it was dialled");
        assert!(hub.items.is_empty(), "it gets nothing before it has joined");
        let exports = |item: &Item| {
            let subject = item.given.line.split(' ').nth(1).expect("a line has a subject");
            PERMISSIONS[hub.permissions].export.has(subject)
        };
        let size = |item: &Item| {
            let size = item.given.line.rsplit(' ').next().expect("a line has a size");
            size.parse::<usize>().expect("a size")
        };
        let is_taken = |item: &Item| exports(item) && size(item) <= hub.max_payload;
        let (taken, refused): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_taken);
        hub.refused = refused.len() as u64;
        hub.items = taken;
        if !hub.items.is_empty() {
            self.note("messages handed over to another hub");
        }
    }

    /// Other rules of the link, or none: a hub that is there goes, and it is counted anew.
    pub(super) fn change_link(&mut self, rules: Option<&'static Crossing>) {
        if let Some(gone) = self.link.waits {
            self.held.retain(|held| held.client != gone);
        }
        let hubs = std::mem::take(&mut self.link.hubs).into_iter();
        let hubs = hubs.map(|(client, hub)| (client, Hub { is_counted: false, ..hub })).collect();
        let Link { max_filters, may_drop, accepted_before, accepted, .. } = self.link;
        let accepted_before = accepted_before + accepted;
        let before = Link { max_filters, may_drop, accepted_before, ..Link::default() };
        self.link = Link { rules, hubs, ..before };
        self.note("other rules of the link");
    }

    /// Subscriptions have ended: some filters are not wanted any more.
    pub(super) fn forget_wants(&mut self) {
        let Some(current) = self.link.current else { return };
        let held = self.held.iter().filter(|held| !self.is_hub(held.client));
        let here: BTreeSet<Want> = held.map(|held| (held.filter, held.group)).collect();
        let Some(hub) = self.link.hubs.get_mut(&current) else { return };
        hub.lasting.retain(|want| here.contains(want));
    }

    /// The broker stops: nothing is lost for a hub that has gone.
    pub(super) fn stop_link(&mut self) {
        if let Some(gone) = self.link.waits.take() {
            self.held.retain(|held| held.client != gone);
        }
        (self.link.draining, self.link.before, self.link.kept) = (true, None, None);
    }

    /// The broker has processed what a hub said.
    pub(super) fn process_hub(&mut self, client: usize, line: Line) {
        match line {
            Line::Want(filter, group) => self.hub_wants(client, filter, group),
            Line::End(filter, group) => self.hub_ends(client, filter, group),
            Line::Message(sent, groups) => self.hear_message(client, sent, groups),
            Line::TooLarge(_) => {
                self.link.not_carried += 1;
                self.note("message of a hub too large");
            }
            Line::Info(number) => {
                let Some(hub) = self.link.hubs.get_mut(&client) else { return };
                hub.permissions = number;
                let is_greeted = hub.is_greeted;
                hub.windows.last_mut().expect("there is always one").push(number);
                if !is_greeted {
                    self.greet(client, number);
                }
                self.note("permissions of a hub");
            }
            Line::Ping => {
                let Some(hub) = self.link.hubs.get_mut(&client) else { return };
                hub.windows.push(vec![hub.permissions]);
            }
            Line::Pong => {
                let Some(hub) = self.link.hubs.get_mut(&client) else { return };
                hub.answers += 1;
                if hub.answers == 1 {
                    self.link.joins += 1;
                    self.hand_over(client);
                    self.note("hub joined");
                }
            }
            Line::Mark => {
                let Some(hub) = self.link.hubs.get_mut(&client) else { return };
                hub.is_loop = true;
                self.note("mark of the broker came back");
            }
            Line::Ignored(_) | Line::Nonsense(_) | Line::Part(_) => {}
        }
    }

    fn hub_wants(
        &mut self,
        client: usize,
        filter: &'static str,
        group: Option<(&'static str, u32)>,
    ) {
        let (group, weight) = group.unzip();
        if filter.starts_with("$LDS.") {
        } else if validate_filter(filter.as_bytes()).is_err() {
            self.link.not_carried += 1;
            self.note("filter of a hub not carried");
        } else if weight == Some(0) {
            self.hub_ends(client, filter, group);
        } else if self.count(client) >= self.link.max_filters {
            self.note("too many filters of a hub");
            self.want(client, ">", None);
        } else {
            self.want(client, filter, group);
        }
    }

    fn want(&mut self, client: usize, filter: &'static str, group: Option<&'static str>) {
        let is_it = |held: &Held| (held.client, held.filter, held.group) == (client, filter, group);
        if !self.held.iter().any(is_it) {
            self.add(Held { client, filter, group, nats: None });
        }
    }

    fn hub_ends(&mut self, client: usize, filter: &'static str, group: Option<&'static str>) {
        let is_forwarded = self.link.rules.is_some_and(|it| it.forward.contains(&filter));
        if group.is_some() || !is_forwarded {
            self.end(|held| (held.client, held.filter, held.group) == (client, filter, group));
        }
    }

    /// A message as receivers are shown it.
    pub(super) fn shown(&self, publisher: usize, sent: Sent) -> Sent {
        let reply = sent.reply.filter(|_| self.is_hub(publisher));
        let cut = reply.and_then(|reply| jetstream_reply(reply.as_bytes()));
        let text = |bytes: &'static [u8]| std::str::from_utf8(bytes).expect("names are text here");
        let cut = cut.map(|(ack, shown)| (text(ack), text(shown)));
        match cut.filter(|(_, shown)| validate_topic(shown.as_bytes()).is_ok()) {
            Some((ack, subject)) => Sent { subject, reply: Some(ack), ..sent },
            None => sent,
        }
    }

    fn hear_message(&mut self, client: usize, sent: Sent, groups: &'static [&'static str]) {
        let is_topic = validate_topic(sent.subject.as_bytes()).is_ok();
        let is_taken = self.link.rules.is_some_and(|rules| rules.takes(sent.subject));
        let is_carried = sent.reply.is_none_or(|reply| !reply.contains('\x7F'));
        if !is_topic || !is_taken || !is_carried {
            self.link.not_carried += 1;
            return self.note("message of a hub not carried");
        }
        self.link.accepted += 1;
        let shown = self.shown(client, sent);
        if shown.subject != sent.subject && self.is_heard(client, sent) {
            self.note("subject of a stream shown");
        }
        self.note(if groups.is_empty() { "message of a hub" } else { "hub named queue groups" });
        self.publish_as(client, sent, shown, Some(groups));
    }

    /// The message at hand is for plain subscribers behind a hub.
    pub(super) fn hub_gets(&mut self, client: usize, sent: Sent) {
        let (place, is_large) = (self.messages, self.link.is_too_large(client, sent));
        let Some(hub) = self.link.hubs.get_mut(&client) else { return };
        if is_large {
            hub.dropped += 1;
            return self.note("message too large for a hub");
        }
        let given = hub::given(sent);
        hub.items.push(Item { place, given, is_plain: true, names: BTreeSet::new() });
    }

    /// The broker gives the message at hand to a hub for a queue group.
    pub(super) fn name_group(&mut self, client: usize, group: &[u8]) {
        let name = self.take_group(client, group);
        let (place, sent) = (self.messages, self.at_hand.expect("a message is at hand"));
        let hub = self.link.hubs.get_mut(&client).expect("a hub names groups");
        let mut own = hub.items.last_mut().filter(|item| item.place == place);
        match &mut own {
            Some(item) if item.names.is_empty() => {
                item.names.insert(name);
                self.matched -= 1;
                self.note("plain subscribers and a group behind a hub");
            }
            Some(item) => {
                assert!(item.names.insert(name), "a group is named once");
                self.matched -= 1;
                self.note("several groups behind a hub");
            }
            None => {
                let (given, names) = (hub::given(sent), BTreeSet::from([name]));
                hub.items.push(Item { place, given, is_plain: false, names });
                self.note("queue group served behind a hub");
            }
        }
    }

    /// The message at hand is kept from a hub that it was to have for a queue group.
    pub(super) fn keep_group_from_hub(&mut self, client: usize, group: &[u8]) {
        self.take_group(client, group);
        let hub = self.link.hubs.get_mut(&client).expect("a hub names groups");
        hub.dropped += 1;
        self.note("message for a group kept from a hub");
    }

    fn take_group(&mut self, client: usize, group: &[u8]) -> Group {
        let found = self.open.keys().find(|name| name.as_bytes() == group);
        let name = *found.expect("a group that matches, once");
        let members = self.open.remove(name).unwrap_or_default();
        assert!(members.contains(&(client, None)), "the hub has members of the group");
        self.link.passed_over += u64::from(members.len() > 1);
        name
    }

    /// Counts what is lost of a message: there is no hub, or it takes none as large.
    pub(super) fn lose(&mut self, publisher: usize, sent: Sent) {
        let topic = sent.subject.as_bytes();
        if self.is_hub(publisher) || validate_topic(topic).is_err() {
            return;
        }
        let link = &self.link;
        let there = link.current.filter(|hub| link.is_receiver(*hub)).or(link.waits);
        let there = there.filter(|hub| link.is_too_large(*hub, sent));
        let (hub, mut wants) = match (&link.before, there) {
            (Some((hub, wants)), _) => (*hub, wants.clone()),
            (None, Some(hub)) => {
                let own = self.held.iter().filter(|it| it.client == hub && it.group.is_some());
                (hub, own.map(|held| (held.filter, held.group)).collect())
            }
            (None, None) => return,
        };
        if link.exports(hub, sent.subject) != Some(true) {
            return;
        }
        wants.retain(|(filter, _)| matches(filter.as_bytes(), topic));
        let groups: BTreeSet<_> = wants.iter().map(|(_, group)| *group).collect();
        let is_lost = |group: &Option<&str>| group.is_none_or(|it| !self.open.contains_key(it));
        let mut lost = groups.into_iter().filter(is_lost).count() as u64;
        if !self.is_heard(publisher, sent) && self.wants_no_responders(publisher) {
            // It is told that nobody hears it: that is one message.
            lost = lost.min(1);
        }
        self.link.hubs.get_mut(&hub).expect("it was dialled").dropped += lost;
        self.matched += lost;
        if lost > 0 {
            self.note("lost without a hub");
        }
    }
}
