//! Makes up scripts: the way from a seed to what happens in a world.
//!
//! Owns how likely each thing is. What NATS clients say is made up in `nats_author`.

use std::collections::BTreeMap;

use wire::native::error_code::ErrorCode;

use super::random::Random;
use super::script::{Action, Change, Limits, Said, Script, Setup};
use super::users::{SILENT, TABLES};
use super::*;
use crate::engine::rules::OverflowPolicy;

pub(super) const TOPICS: [&str; 7] = ["a", "b", "a.b", "a.c", "b.c", "a.b.c", "b.b.b.b"];
pub(super) const FILTERS: [&str; 12] =
    ["a", "b", "a.b", "a.c", "a.*", "*.b", "*.c", ">", "a.>", "*", "*.b.>", "a.b.c"];
pub(super) const GROUPS: [&str; 2] = ["g", "h"];
/// Clients of a world that has a crowd.
const CROWD: usize = 300;
/// Frames of a flood that is answered frame by frame.
pub(super) const FLOOD: usize = 1_500;
/// Connections that come and go behind one another.
const VISITORS: usize = 150;
pub(super) const HOUR: u64 = 3_600_000;
/// Makes numbers of their own for links, so that worlds without one stay as they are.
const LINKS: u64 = 0x6C69_6E6B;

/// Makes up a script.
pub(super) struct Author {
    pub(super) random: Random,
    pub(super) actions: Vec<Action>,
    roles: Vec<Role>,
    pub(super) next_message: u64,
    pub(super) max_payload: usize,
    /// The least that memory may be.
    scarce: usize,
    /// Something happens to one of so many who came last; most of the earlier ones have gone.
    recent: usize,
    pub(super) with_groups: bool,
    pub(super) with_nonsense: bool,
    pub(super) with_parts: bool,
    with_floods: bool,
    with_changes: bool,
    /// Of a hundred clients so many speak NATS.
    nats_percent: usize,
    /// By NATS client: whether it says that it has headers.
    pub(super) with_headers: BTreeMap<usize, bool>,
    /// Sizes of socket buffers in this world.
    pub(super) rooms: [usize; 4],
    /// There is a link.
    pub(super) is_linked: bool,
}

impl Script {
    /// What this seed stands for.
    pub(super) fn of(seed: u64, steps: usize) -> Script {
        let mut random = Random::new(seed);
        let crowded = random.chance(4);
        let mut setup = setup(&mut random, crowded);
        // Numbers of their own, so that the worlds without users stay as they are.
        let mut of_users = Random::new(!seed);
        let with_users = of_users.chance(33);
        let with_other_users = with_users && of_users.chance(60);
        let mut author = Author {
            actions: Vec::new(),
            roles: Vec::new(),
            next_message: 0,
            max_payload: setup.max_payload,
            scarce: if setup.memory_bytes > 20_000 { 100_000 } else { 20_000 },
            recent: if crowded { 2 * CROWD } else { 12 },
            with_groups: random.chance(50),
            with_nonsense: random.chance(50),
            with_parts: random.chance(10),
            with_floods: random.chance(5),
            with_changes: random.chance(20),
            nats_percent: random.pick(&[0, 20, 50, 80]),
            with_headers: BTreeMap::new(),
            is_linked: false,
            rooms: random.pick(&[
                [0, 1, 10, 100],
                [100, 1_000, 10_000, 100_000],
                [0, 0, 50, 5_000],
                [1 << 20; 4],
            ]),
            random,
        };
        // The model does not know which messages are dropped: those open no reply.
        let drops = setup.nats.policy == OverflowPolicy::Drop || author.with_changes;
        let tables = if drops || of_users.chance(50) {
            (0..SILENT).chain([TABLES.len()]).collect()
        } else {
            Vec::from_iter([0].into_iter().chain(SILENT..=TABLES.len()))
        };
        if with_users {
            setup.users = of_users.pick(&tables);
        }
        let mut of_link = Random::new(seed ^ LINKS);
        setup.link = of_link.chance(33).then(|| author.link(&mut of_link));
        if crowded {
            (0..CROWD).for_each(|_| author.connect());
        }
        let stop = if author.random.chance(20) { author.random.below(steps) } else { steps };
        for step in 0..steps {
            if step == stop {
                author.actions.push(Action::Stop);
            }
            if with_other_users && of_users.chance(1) {
                author.actions.push(Action::Users(of_users.pick(&tables)));
            }
            author.hub_step(&mut of_link);
            author.step();
        }
        Script { setup, actions: author.actions }
    }
}

fn setup(random: &mut Random, crowded: bool) -> Setup {
    let policies = [OverflowPolicy::Block, OverflowPolicy::Drop, OverflowPolicy::Disconnect];
    let max_payload = random.pick(&[20, 300, 3_000, 6_000]);
    let read_bytes = random.pick(&[64, 100, 256, 1_000, 10_000]);
    // A frame and some reads must fit, or nothing can move.
    let is_large = max_payload > 3_000 || read_bytes > 1_000;
    let scarce = if is_large { 100_000 } else { 20_000 };
    Setup {
        max_connections: if crowded { 2 * CROWD } else { random.pick(&[5, 20, 100]) },
        max_payload,
        max_subscriptions: random.pick(&[2, 5, 100]),
        outbox_bytes: random.pick(&[1, 60, 300, 2_000, 100_000]),
        memory_bytes: random.pick(&[scarce, 100_000, 10_000_000]),
        policy: random.pick(&policies),
        stall_timeout: random.pick(&[1_000, HOUR]),
        nats: Limits {
            max_subscriptions: random.pick(&[2, 5, 100]),
            outbox_bytes: random.pick(&[1, 60, 300, 2_000, 100_000]),
            policy: random.pick(&policies),
            stall_timeout: random.pick(&[1_000, HOUR]),
        },
        min_rate: random.pick(&[0, 100]),
        hello: random.pick(&[2_000, HOUR]),
        heartbeat: random.pick(&[0, 3_000, HOUR]),
        read_bytes,
        turn_units: random.pick(&[2_000, 20_000, budget::TURN]),
        watched: random.chance(50),
        nodes_in_a_call: random.pick(&[1, 4, 1_000]),
        link: None,
        users: usize::MAX,
    }
}

impl Author {
    /// One thing happens, or a few.
    fn step(&mut self) {
        match self.random.below(100) {
            0..8 => self.connect(),
            8..50 => self.say_something(),
            50..60 => self.read_something(),
            60..62 => self.leave(),
            62..67 => {
                let times = [10, 200, 1_500, 1_500, 60_000, 24 * HOUR];
                self.actions.push(Action::Pass(self.random.pick(&times)));
            }
            67 if self.with_changes => self.change_a_rule(),
            _ => self.turn(),
        }
    }

    fn change_a_rule(&mut self) {
        let any = setup(&mut self.random, false);
        self.actions.push(Action::Rule(match self.random.below(6) {
            0 => Change::Outbox(any.outbox_bytes),
            1 => Change::Memory(any.memory_bytes.max(self.scarce)),
            2 => Change::Policy(any.policy),
            4 => Change::Nats(any.nats),
            3 => Change::Times(any.hello, any.heartbeat),
            _ => Change::Rest(
                any.max_connections,
                any.max_subscriptions,
                any.stall_timeout,
                any.min_rate,
            ),
        }));
    }

    fn connect(&mut self) {
        let native = [Role::PUBLISHER, Role::SUBSCRIBER, Role::SUBSCRIBER];
        let is_nats = self.random.chance(self.nats_percent);
        let role = if is_nats { Role::NATS } else { self.random.pick(&native) };
        let client = self.roles.len();
        self.roles.push(role);
        self.actions.push(Action::Connect(client, role, self.random.pick(&self.rooms)));
        if is_nats {
            self.introduce(client);
        } else if self.random.chance(95) {
            self.actions.push(Action::Say(client, Said::Hello));
        }
    }

    fn any_client(&mut self) -> Option<usize> {
        let last = self.roles.len().checked_sub(1)?;
        Some(last - self.random.below(self.roles.len().min(self.recent)))
    }

    fn say_something(&mut self) {
        let Some(client) = self.any_client() else { return };
        if self.with_floods && self.random.chance(3) {
            // The answers are more than a client may leave unread, or the work is more than a
            // turn's.
            let role = self.roles[client];
            if role == Role::NATS {
                return self.flood_lines(client);
            }
            match (self.random.below(5), role.may_subscribe) {
                (4, _) => self.flood_visitors(),
                (0, true) => self.actions.push(Action::Say(client, Said::JoinMany)),
                (1, true) => self.flood_changes(client),
                (2, false) => self.flood_messages(client),
                _ => self.actions.extend([Action::Say(client, Said::BadTopic); FLOOD]),
            }
        }
        for _ in 0..self.random.pick(&[1, 1, 1, 5, 30]) {
            let role = self.roles[client];
            let said = if role == Role::NATS { self.line(client) } else { self.something(role) };
            self.actions.push(Action::Say(client, said));
        }
    }

    /// Subscribes and unsubscribes again and again.
    fn flood_changes(&mut self, client: usize) {
        let filter = self.random.pick(&FILTERS);
        let changes = [Said::Subscribe(filter, None), Said::Unsubscribe(filter, None)];
        let changes = changes.map(|said| Action::Say(client, said));
        (0..FLOOD / 2).for_each(|_| self.actions.extend(changes));
    }

    /// Connections that come, begin a frame and break, one after the other.
    fn flood_visitors(&mut self) {
        for _ in 0..VISITORS {
            let client = self.roles.len();
            self.roles.push(Role::PUBLISHER);
            self.actions.extend([
                Action::Connect(client, Role::PUBLISHER, 1_000),
                Action::Say(client, Said::Hello),
                Action::Say(client, Said::Part(1)),
                Action::Turn(0),
                Action::Break(client),
                Action::Turn(0),
            ]);
        }
    }

    /// Small messages to topics in turn, so that no two adjacent ones need be one run.
    fn flood_messages(&mut self, client: usize) {
        for step in 0..FLOOD / 5 {
            self.next_message += 1;
            let said = Said::Publish(TOPICS[step % TOPICS.len()], self.next_message, 8);
            self.actions.push(Action::Say(client, said));
        }
    }

    fn something(&mut self, role: Role) -> Said {
        if self.with_nonsense && self.random.chance(1) {
            return Said::Nonsense(self.random.pick(&[
                ErrorCode::Malformed,
                ErrorCode::HelloExpected,
                ErrorCode::NotAllowed,
                ErrorCode::TooLarge,
            ]));
        }
        let group = (self.with_groups && self.random.chance(40)).then(|| self.random.pick(&GROUPS));
        match (self.random.below(20), role.may_publish) {
            (0, _) => Said::Ping,
            (1, _) => Said::BadTopic,
            (2, _) => Said::Pong,
            (3..6, false) => Said::Unsubscribe(self.random.pick(&FILTERS), group),
            (_, false) => Said::Subscribe(self.random.pick(&FILTERS), group),
            (3, true) if self.with_parts => Said::Part(1 + self.random.below(self.max_payload)),
            (_, true) => {
                self.next_message += 1;
                let large = self.random.below(20) == 0;
                let length = if large { self.max_payload } else { 8 + self.random.below(60) };
                let topic = self.random.pick(&TOPICS);
                Said::Publish(topic, self.next_message, length.min(self.max_payload))
            }
        }
    }

    fn read_something(&mut self) {
        let Some(client) = self.any_client() else { return };
        let room = self.random.pick(&self.rooms) + self.random.below(10);
        self.actions.push(Action::Read(client, room));
        if self.random.chance(80) {
            self.actions.push(Action::Answer(client));
        }
    }

    fn leave(&mut self) {
        let Some(client) = self.any_client() else { return };
        let finish = self.random.chance(50);
        self.actions.push(if finish { Action::Finish(client) } else { Action::Break(client) });
    }

    fn turn(&mut self) {
        let whole = self.random.chance(30);
        self.actions.push(Action::Turn(if whole { 0 } else { self.random.next() | 1 }));
    }
}
