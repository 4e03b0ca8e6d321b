//! What happens to the link of a simulated world, and what must hold of it at the end.
//!
//! Owns dialling, changes of the link's rules, and the comparison of its figures. What is said on
//! it belongs to `hub`, and what must be said to `hub_model`.

use std::time::Instant;

use super::client::{Client, Heard};
use super::hub::{self, Crossing, MARK, RULES};
use super::transcript::Ending;
use super::world::World;
use crate::engine::Engine;
use crate::engine::link::Hub;
use crate::engine::sessions::connection::Role;

impl World {
    /// A hub is dialled, unless one is there.
    pub(super) fn dial(&mut self, name: usize, max_payload: usize, room: usize) {
        let before = self.hub.is_some_and(|number| !self.sockets().clients[number].closed);
        if !self.model.link.is_there() || self.engine().is_draining() || before {
            return;
        }
        let now = self.now();
        let connect = b"CONNECT {}\r\n".to_vec();
        let hub = Hub { name: "H".to_owned(), connect, max_payload };
        let token = self.turn.join(hub, "sim", now);
        let sockets = self.turn.sockets_mut();
        let number = sockets.clients.len();
        sockets.clients.push(Client::new(token, Role::HUB, room, now));
        sockets.owners.insert(token, number);
        self.by_name.insert(name, number);
        self.hub = Some(number);
        self.model.dial(number, max_payload.min(self.setup.max_payload));
        // That was charged to no turn.
        self.model.changes.clear();
        self.connections = self.connections.max(self.engine().connections());
        self.follow();
    }

    /// The rules of the link become others. A hub is closed by that, and nobody else.
    pub(super) fn change_link(&mut self, rules: usize) {
        if self.setup.link.is_none() || self.engine().is_draining() {
            return;
        }
        self.make_turns(None);
        let now = self.now();
        let rules = RULES.get(rules);
        if self.model.link.has_rules(rules) {
            // Its mark would be another one, and was told.
            self.turn.engine_mut().set_link(rules.map(Crossing::rules), now);
        } else {
            set_link(self.turn.engine_mut(), rules, now);
            self.model.change_link(rules);
        }
        self.turn.end(now);
        self.follow();
        self.make_turns(None);
    }

    /// Bytes that wait for the hub.
    pub(super) fn queued_for_hub(&self) -> usize {
        let all = self.engine().connections.iter();
        let hubs = all.filter(|(_, connection)| connection.role == Role::HUB);
        hubs.map(|(_, connection)| connection.outbox.queued()).sum()
    }

    /// What is told of the link is what the hubs know.
    pub(super) fn check_link(&mut self) {
        let (engine, sockets) = self.turn.engine_and_sockets();
        let Some(figures) = engine.link_figures() else { return };
        if let Some(gone) = self.model.link.kept {
            self.model.note_heard_by(gone, &sockets.clients[gone].hub);
        }
        let (mut lost, mut unconfirmed, mut heard) = (0, 0, 0);
        let all = self.model.link.hubs.keys();
        for &number in all.filter(|number| self.model.is_counted(**number)) {
            let client = &sockets.clients[number];
            let ending = Ending { complete: false, may_drop: true, dropped: None };
            lost += self.model.check_hub(number, client, ending);
            unconfirmed += self.model.unconfirmed(number, &client.hub);
            let count = |is_it: fn(&hub::Heard) -> bool| {
                client.hub.iter().filter(|heard| is_it(heard)).count() as u64
            };
            let ends = count(|heard| matches!(heard, hub::Heard::End(..)));
            self.edges.note("filter taken back from a hub", ends);
            let weights = count(|heard| matches!(heard, hub::Heard::Want(_, Some((_, 2..)))));
            self.edges.note("weight of a group told anew", weights);
            let is_message = |it: &&Heard| matches!(it, Heard::Message(_));
            heard += client.heard.iter().filter(is_message).count() as u64;
        }
        let link = &self.model.link;
        lost -= self.model.waiting();
        assert_eq!(figures.waiting, self.model.waiting(), "messages wait for a hub");
        let told = (figures.lost, figures.unconfirmed, figures.not_carried);
        assert_eq!(told, (lost, unconfirmed, link.not_carried), "lost, unconfirmed, not carried");
        assert_eq!((figures.messages_in, figures.joins), (link.accepted, link.joins));
        let out = figures.messages_out;
        assert!(
            (heard..=heard + lost + figures.waiting).contains(&out),
            "{out} went out, {heard} were heard"
        );
        self.edges.note("messages unconfirmed", unconfirmed);
        if let Some((hub, filters)) = self.model.hub_filters() {
            let told = self.model.filters_told(hub, &sockets.clients[hub].hub);
            assert_eq!(figures.told, told as u64, "filters that the hub was told");
            let kept = self.model.not_asked_for();
            self.edges.note("filter that was not asked for", kept);
            assert_eq!(figures.heard, filters as u64, "filters that the hub wants");
        }
    }
}

/// The link has these rules from now on, and a mark that is always the same.
pub(super) fn set_link(engine: &mut Engine, rules: Option<&Crossing>, now: Instant) {
    engine.set_link(rules.map(Crossing::rules), now);
    if let Some(link) = &mut engine.link {
        link.mark = MARK.as_bytes().into();
    }
}
