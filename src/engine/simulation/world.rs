//! A simulated world: the turn over simulated sockets, its clients, and a clock that is told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::charges::{Work, token};
use super::client::Client;
use super::edges::Edges;
use super::hub::RULES;
use super::hub_world::set_link;
use super::model::Model;
use super::random::Random;
use super::script::{Action, Change, Script, Setup};
use super::sockets::SimSockets;
use super::users;
use crate::engine::Engine;
use crate::engine::access::Peer;
use crate::engine::budget::Budget;
use crate::engine::journal::Entry;
use crate::engine::rules::OverflowPolicy;
use crate::engine::sessions::connection::{Role, State};
use crate::engine::sessions::protocol::Protocol;
use crate::engine::token::Token;
use crate::engine::turn::Turn;

pub(super) struct World {
    pub(super) setup: Setup,
    pub(super) turn: Turn<SimSockets>,
    pub(super) model: Model,
    pub(super) edges: Edges,
    /// Which client an action means.
    pub(super) by_name: BTreeMap<usize, usize>,
    /// The hub that was dialled last.
    pub(super) hub: Option<usize>,
    /// An outbox was half full once, so queue groups may have passed over a member.
    pub(super) was_short: bool,
    /// Subscribers closed for being slow, and all connections that have gone.
    pub(super) slow: u64,
    pub(super) gone: u64,
    /// The most that was held behind a turn.
    pub(super) most: usize,
    /// Connections behind the turn before, with those that came since.
    pub(super) connections: usize,
    /// Turns in which nothing was served though a connection with a share used up waited.
    pub(super) waited: usize,
    /// Policies that were ever in force, and whether any rule is another one than at the start.
    pub(super) policies: Vec<OverflowPolicy>,
    pub(super) changed: bool,
    /// Subscriptions may have ended since the users are others, all at once.
    pub(super) revoked: bool,
}

/// What a world leaves: a hash of everything that clients received in its order, and the edges
/// that it reached.
pub(super) struct Trace {
    pub(super) most: usize,
    pub(super) hash: u64,
    pub(super) edges: Edges,
}

/// Plays a script to its end, and what must hold behind it.
pub(super) fn play(script: &Script) -> Trace {
    let mut world = World::new(&script.setup);
    for action in &script.actions {
        world.apply(*action);
    }
    world.finish()
}

impl World {
    fn new(setup: &Setup) -> World {
        // Some moment to count from; the time of day is nothing to the engine.
        let sockets = SimSockets::new(Instant::now());
        World {
            model: Model::new(setup),
            turn: Turn::new(engine(setup), sockets, setup.read_bytes),
            edges: Edges::default(),
            by_name: BTreeMap::new(),
            hub: None,
            was_short: false,
            slow: 0,
            gone: 0,
            most: 0,
            connections: 0,
            waited: 0,
            policies: vec![setup.policy, setup.nats.policy],
            changed: false,
            revoked: false,
            setup: setup.clone(),
        }
    }

    pub(super) fn engine(&self) -> &Engine {
        self.turn.engine()
    }

    pub(super) fn sockets(&mut self) -> &mut SimSockets {
        self.turn.sockets_mut()
    }

    pub(super) fn now(&mut self) -> Instant {
        self.sockets().now
    }

    /// One thing happens. What is said about a client that has gone, or never came, is nothing.
    fn apply(&mut self, action: Action) {
        match action {
            Action::Dial(name, max_payload, room) => self.dial(name, max_payload, room),
            Action::Connect(name, role, room) => self.connect(name, role, room),
            Action::Say(name, said) => {
                // The broker sees nothing of it before the next turn.
                let max_payload = self.setup.max_payload;
                let is_mute = self.with(name, |client| {
                    client.say(said, max_payload);
                    client.mute
                });
                return self.edges.note("frame never ended", u64::from(is_mute == Some(true)));
            }
            Action::Read(name, room) => drop(self.with(name, |client| client.make_room(room))),
            Action::Answer(name) => drop(self.with(name, Client::answer_pings)),
            Action::Finish(name) => drop(self.with(name, |client| client.finished = true)),
            Action::Break(name) => drop(self.with(name, |client| client.broken = true)),
            Action::Pass(milliseconds) => {
                self.sockets().now += Duration::from_millis(milliseconds);
                return;
            }
            Action::Turn(cuts) => {
                self.make_turns((cuts > 0).then(|| Random::new(cuts)));
            }
            Action::Rule(change) => self.change_rules(change),
            Action::Users(table) => self.change_users(table),
            Action::Link(rules) => self.change_link(rules),
            Action::Stop => self.stop(),
        }
        self.recount();
    }

    fn with<T>(&mut self, name: usize, act: impl FnOnce(&mut Client) -> T) -> Option<T> {
        let number = self.by_name.get(&name).copied()?;
        let client = &mut self.sockets().clients[number];
        client.is_talking().then(|| act(client))
    }

    fn connect(&mut self, name: usize, role: Role, room: usize) {
        if self.engine().is_draining() {
            return;
        }
        let now = self.now();
        let token = self.turn.accept(role, "sim", now);
        let uid = users::uid(name, role);
        if uid.is_some() {
            self.turn.engine_mut().set_peer(token, Peer { uid, ..Peer::default() });
        }
        let sockets = self.turn.sockets_mut();
        let number = sockets.clients.len();
        sockets.clients.push(Client::new(token, role, room, now));
        let before = sockets.owners.insert(token, number);
        assert!(before.is_none_or(|it| sockets.clients[it].closed), "a token has one owner");
        self.by_name.insert(name, number);
        self.model.uids.extend(uid.map(|uid| (number, uid)));
        if role.protocol == Protocol::Nats {
            self.model.welcome(number);
        }
        self.connections = self.connections.max(self.engine().connections());
        self.edges.note("token used again", u64::from(before.is_some()));
        let many = self.engine().connections() >= 200;
        self.edges.note("hundreds of connections", u64::from(many));
        self.follow();
    }

    /// Turns as the reactor makes them: it does not sleep while something is due or left to do, but
    /// more may have arrived by then. At most one more than is due, so that some is left to do.
    pub(super) fn make_turns(&mut self, mut cuts: Option<Random>) {
        self.make_turn(&mut cuts);
        let now = self.now();
        while self.turn.next_deadline().is_some_and(|at| at <= now) {
            self.edges.note("more due than one turn does", 1);
            self.make_turn(&mut cuts);
        }
    }

    fn make_turn(&mut self, cuts: &mut Option<Random>) {
        let now = self.now();
        let (figures, waiting) = (self.figures(), self.waiting());
        let passed_over = self.model.link.passed_over;
        self.turn.begin();
        for (token, readiness) in self.sockets().arrive(cuts) {
            self.turn.note(token, readiness);
        }
        self.turn.run(now);
        let work = self.follow();
        self.check_charges(&work, &figures);
        self.check_spent(&work);
        self.check_passed_over(&work, &figures, passed_over);
        self.check_waiting(&waiting, work.left);
        self.check_turn();
    }

    /// Tells the model what the engine did, in its order. Returns what that was.
    pub(super) fn follow(&mut self) -> Work {
        let (entries, sockets) = self.turn.engine_and_sockets();
        let entries = entries.journal.take();
        let mut work = Work::default();
        for entry in &entries {
            work.add(entry);
            let number = sockets.owner(token(entry));
            let frames = match entry {
                Entry::Processed(_) => 1,
                Entry::Delivered(_, messages, _) => *messages as usize,
                Entry::Joined(_, runs, _) => {
                    self.edges.note("runs given together", u64::from(*runs > 1));
                    continue;
                }
                Entry::Chosen(_, sid, group) => {
                    self.model.choose(number, sid, group);
                    0
                }
                Entry::Named(_, group) => {
                    self.model.name_group(number, group);
                    0
                }
                Entry::Partly(_, left) => {
                    self.model.partly(number, left);
                    0
                }
                Entry::Left(_) => {
                    self.model.forget(number);
                    continue;
                }
                Entry::Waits(_, lost) => {
                    let client = &sockets.clients[number];
                    assert!(*lost == 0 || client.has_partial(), "a message is half-written");
                    self.model.hub_waits(number, *lost);
                    continue;
                }
                Entry::Waited(_) => {
                    self.model.end_waiting(number);
                    continue;
                }
                Entry::GaveUp(_) => {
                    self.model.link.kept = None;
                    continue;
                }
            };
            if let Some(gone) = self.model.link.kept {
                self.model.note_heard_by(gone, &sockets.clients[gone].hub);
            }
            let client = &mut sockets.clients[number];
            if frames > 0 {
                (client.last_sign, client.silences) = (sockets.now, 0);
            }
            for said in &client.said[client.processed..client.processed + frames] {
                self.model.process(number, *said);
            }
            client.processed += frames;
            work.add_changes(&mut self.model.changes);
            work.add_encodings(frames as u64, &mut self.model.encodings);
        }
        let stats = self.turn.engine().stats();
        // A run that closes one of its receivers is counted for it by the model alone.
        if !self.policies.contains(&OverflowPolicy::Disconnect) {
            let placed = stats.deliveries + stats.dropped;
            assert_eq!(placed, self.model.matched, "deliveries are not what matches");
        }
        work
    }

    /// The broker is told to stop.
    pub(super) fn stop(&mut self) {
        if self.engine().is_draining() {
            return;
        }
        self.model.stop_link();
        let queued = self.engine().connections.iter().any(|(_, found)| !found.outbox.is_empty());
        self.edges.note("told to stop while a client was busy", u64::from(queued));
        let now = self.now();
        self.turn.engine_mut().shut_down(now);
        let (engine, sockets) = self.turn.engine_and_sockets();
        for (index, connection) in &engine.connections {
            let number = sockets.owner(Token::new(index));
            if connection.state == State::Finishing {
                sockets.clients[number].was_open = true;
                self.model.stop(number);
            }
        }
        self.follow();
    }

    /// A rule becomes another one. No client may be closed by that, nor be forgotten.
    fn change_rules(&mut self, change: Change) {
        if self.engine().is_draining() {
            return;
        }
        // What is due under the old rules happens.
        self.make_turns(None);
        let old = self.setup.rules();
        self.setup.change(change);
        self.changed = true;
        self.policies.extend([self.setup.policy, self.setup.nats.policy]);
        self.model.allow(self.setup.max_subscriptions, self.setup.nats.max_subscriptions);
        let talking = |engine: &Engine| -> Vec<_> {
            let all = engine.connections.iter();
            all.filter(|(_, connection)| connection.is_talking()).map(|(at, _)| at).collect()
        };
        let before = talking(self.engine());
        let queued = self.queued_for_hub();
        let now = self.now();
        let engine = self.turn.engine_mut();
        engine.set_rules(self.setup.rules(), now);
        engine.expire(now);
        self.turn.end(now);
        // Under the same rules, one more turn may close one more for its memory; so it may for what
        // a hub is told at its end.
        let closed = talking(self.engine()) != before;
        let may_close = self.setup.rules() == old || self.queued_for_hub() > queued;
        assert!(!closed || may_close, "new rules closed a connection");
        self.edges.note("rules changed", 1);
        self.follow();
        self.make_turns(None);
    }

    /// The users become others. No client may be closed by that: there is always a guest.
    fn change_users(&mut self, table: usize) {
        if self.engine().is_draining() {
            return;
        }
        // What is due happens under the old rights.
        self.make_turns(None);
        let now = self.now();
        let talking = |engine: &Engine| -> Vec<_> {
            let all = engine.connections.iter();
            all.filter(|(_, connection)| connection.is_talking()).map(|(at, _)| at).collect()
        };
        let engine = self.turn.engine_mut();
        let before = talking(engine);
        let is_another = engine.set_users(users::table(table), now);
        assert_eq!(talking(engine), before, "other users closed a connection");
        assert_eq!(is_another, self.model.change_users(table), "whether they are others");
        self.edges.note("users changed", u64::from(is_another));
        self.revoked = true;
        self.turn.end(now);
        self.follow();
        self.make_turns(None);
    }
}

/// An engine that counts messages by topic if the world is watched, with budgets of the world's.
fn engine(setup: &Setup) -> Engine {
    let mut engine = Engine::new(setup.rules(), setup.read_bytes, "sim".into());
    if setup.watched {
        engine.count_topics(&[">"]);
    }
    engine.index.limit_calls(setup.nodes_in_a_call);
    engine.budget = Budget::new(setup.turn_units);
    engine.set_users(users::table(setup.users), Instant::now());
    if let Some(link) = &setup.link {
        set_link(&mut engine, Some(&RULES[link.rules]), Instant::now());
    }
    engine
}
