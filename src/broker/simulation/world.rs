//! A simulated world: the broker, its clients, a fake network and a fake clock.
//!
//! It drives the broker exactly as the reactor does, with a ready list fed only by events and by
//! what the broker hands back, so that a wake-up that the broker forgets is a client that waits
//! for ever.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;

use super::client::{Client, Heard, Said};
use super::model::Model;
use super::*;
use crate::broker::chunk::SLICE_OVERHEAD;
use crate::broker::inbox::Inbox;
use crate::broker::rules::OverflowPolicy;

const TOPICS: [&str; 7] = ["a", "b", "a.b", "a.c", "b.c", "a.b.c", "b.b.b.b"];
const FILTERS: [&str; 12] =
    ["a", "b", "a.b", "a.c", "a.*", "*.b", "*.c", ">", "a.>", "*", "*.b.>", "a.b.c"];
const GROUPS: [&str; 2] = ["g", "h"];

pub(super) struct World {
    random: Random,
    broker: Broker,
    model: Model,
    now: Instant,
    clients: Vec<Client>,
    /// Which client has a token now.
    by_token: BTreeMap<Token, usize>,
    ready: VecDeque<usize>,
    rules: Rules,
    /// Policies that were ever in force.
    policies: Vec<OverflowPolicy>,
    read_bytes: usize,
    next_message: u64,
    largest_payload: usize,
    with_groups: bool,
    with_nonsense: bool,
    /// The rules change now and then.
    with_changes: bool,
    /// Reads take all that is there.
    hasty: bool,
    /// A receiver broke in the middle of a delivery: the model counts it, the broker does not.
    broke_midway: bool,
    /// Sizes of socket buffers in this world.
    rooms: [usize; 4],
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let rules = any_rules(&mut random);
        let read_bytes = random.pick(&[64, 100, 256, 1_000, 10_000]);
        World {
            policies: vec![rules.policy],
            largest_payload: rules.max_payload,
            model: Model::new(rules.max_subscriptions),
            broker: Broker::new(rules.clone(), read_bytes, "sim".into()),
            rules,
            now: epoch(),
            clients: Vec::new(),
            by_token: BTreeMap::new(),
            ready: VecDeque::new(),
            read_bytes,
            next_message: 0,
            with_groups: random.chance(50),
            with_nonsense: random.chance(50),
            with_changes: random.chance(30),
            hasty: false,
            broke_midway: false,
            rooms: random.pick(&[
                [0, 1, 10, 100],
                [100, 1_000, 10_000, 100_000],
                [0, 0, 50, 5_000],
            ]),
            random,
        }
    }

    /// One thing happens.
    pub(super) fn step(&mut self) {
        match self.random.below(100) {
            0..8 => self.connect(),
            8..50 => self.say_something(),
            50..60 => self.read_something(),
            60..62 => self.leave(),
            62..67 => self.time_passes(),
            67 if self.with_changes => self.change_rules(),
            _ => self.turn(),
        }
        self.audit();
    }

    /// Everybody reads on and says no more; then all must be delivered and nobody left waiting.
    /// Returns a hash of all that was received.
    pub(super) fn finish(mut self) -> u64 {
        self.hasty = true;
        let mut turns = 0;
        while turns < 3 || !self.ready.is_empty() || self.broker.has_dirty() {
            turns += 1;
            assert!(turns < 10_000, "somebody is busy for ever");
            for client in 0..self.clients.len() {
                self.give_room(client, 1 << 30);
                self.answer_pings(client);
            }
            self.turn();
            self.audit();
        }
        assert!(self.ready.is_empty() && !self.broker.has_dirty(), "somebody is still busy");
        for (number, client) in self.clients.iter().enumerate() {
            let alive = !client.closed && !client.hung_up && !client.broken && !client.finished;
            if alive {
                let connection = &self.broker.connections[client.token.index()];
                let left = (connection.is_paused(), connection.starved);
                let told = (client.carried, client.said.len(), client.to_broker.len());
                assert_eq!(
                    client.carried,
                    client.said.len(),
                    "client {number} is not heard: {left:?} {told:?} {} {:?}",
                    self.broker.memory_held(),
                    connection.state,
                );
                assert!(connection.outbox.is_empty() && connection.lost() == 0);
                assert!(!connection.is_unread(), "client {number} waits for ever");
                assert!(!client.has_partial());
            }
            self.model.check(number, client, alive);
            self.check_end(number, client);
        }
        let hash = self.clients.iter().fold(0u64, |hash, c| hash.rotate_left(7) ^ c.hash);
        self.shut_down();
        hash
    }

    /// The broker is told to stop, with everybody reading: it ends with GOODBYE for all.
    fn shut_down(&mut self) {
        self.broker.shut_down(self.now);
        for _ in 0..50 {
            self.turn();
            for (number, client) in self.clients.iter_mut().enumerate() {
                if client.hung_up && !client.closed && !client.finished {
                    client.finished = true;
                    client.readable = true;
                    make_ready(&mut self.ready, number, client);
                }
            }
        }
        assert_eq!(self.broker.connections(), 0, "all have left");
        assert_eq!((self.broker.memory_held(), self.broker.index_sizes().0), (0, 0));
        assert_eq!(self.broker.pool.sparse(), 0);
    }

    /// How a conversation that the broker ended must have ended.
    fn check_end(&self, number: usize, client: &Client) {
        let nonsense = client.said[..client.carried].iter().find_map(|said| match said {
            Said::Nonsense(code) => Some(*code),
            _ => None,
        });
        let fatal = client.heard.iter().find_map(|heard| match heard {
            Heard::Error(code, true) => Some(*code),
            _ => None,
        });
        // Without a HELLO in front, a second one is the first and no nonsense.
        let greeted = matches!(client.said.first(), Some(Said::Hello));
        if let (true, Some(nonsense), Some(fatal)) = (greeted, nonsense, fatal) {
            let other = [ErrorCode::SlowConsumer, ErrorCode::Timeout];
            assert!(nonsense == fatal || other.contains(&fatal), "client {number}: {fatal}");
        }
        if let Some(ErrorCode::SlowConsumer) = fatal {
            assert!(self.policies != [OverflowPolicy::Drop]);
        }
    }

    fn connect(&mut self) {
        let role = self.random.pick(&[Role::Publisher, Role::Subscriber, Role::Subscriber]);
        let token = self.broker.accept(role, "sim", self.now);
        let room = self.random.pick(&self.rooms);
        let mut client = Client::new(token, role, room);
        if self.random.chance(95) {
            client.say(Said::Hello, 0);
        }
        self.by_token.insert(token, self.clients.len());
        self.clients.push(client);
        self.arrives(self.clients.len() - 1);
    }

    /// A client that is still talking, if the one that was picked is.
    fn anybody(&mut self) -> Option<usize> {
        if self.clients.is_empty() {
            return None;
        }
        // Mostly the latest, since most of the earlier ones have gone.
        let recent = self.clients.len().min(12);
        let number = self.clients.len() - 1 - self.random.below(recent);
        let client = &self.clients[number];
        (!client.finished && !client.broken && !client.closed).then_some(number)
    }

    fn say_something(&mut self) {
        let Some(number) = self.anybody() else { return };
        for _ in 0..self.random.pick(&[1, 1, 1, 5, 30]) {
            let said = self.something(self.clients[number].role);
            let length = match self.random.below(20) {
                0 => self.largest_payload,
                _ => 8 + self.random.below(60),
            };
            let length = length.min(self.largest_payload).max(8);
            self.clients[number].say(said, length);
        }
        self.arrives(number);
    }

    fn something(&mut self, role: Role) -> Said {
        if self.with_nonsense && self.random.chance(1) {
            let codes = [ErrorCode::Malformed, ErrorCode::HelloExpected, ErrorCode::NotAllowed];
            return Said::Nonsense(self.random.pick(&codes));
        }
        let group = (self.with_groups && self.random.chance(40)).then(|| self.random.pick(&GROUPS));
        match (self.random.below(20), role) {
            (0, _) => Said::Ping,
            (1, _) => Said::BadTopic,
            (2, _) => Said::Pong,
            (3..6, Role::Subscriber) => Said::Unsubscribe(self.random.pick(&FILTERS), group),
            (_, Role::Subscriber) => Said::Subscribe(self.random.pick(&FILTERS), group),
            (_, Role::Publisher) => {
                self.next_message += 1;
                Said::Publish(self.random.pick(&TOPICS), self.next_message)
            }
        }
    }

    fn read_something(&mut self) {
        let Some(number) = self.anybody() else { return };
        let room = self.random.pick(&self.rooms) + self.random.below(10);
        self.give_room(number, room);
        if self.random.chance(80) {
            self.answer_pings(number);
        }
    }

    fn give_room(&mut self, number: usize, room: usize) {
        let client = &mut self.clients[number];
        let was_full = client.room == 0;
        client.room = client.room.max(room);
        if was_full && client.room > 0 && !client.closed {
            self.broker.writable(client.token);
            make_ready(&mut self.ready, number, client);
        }
    }

    fn answer_pings(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if client.finished || client.broken || client.closed {
            return;
        }
        for _ in 0..std::mem::take(&mut client.unanswered) {
            client.say(Said::Pong, 0);
        }
        self.arrives(number);
    }

    fn leave(&mut self) {
        let Some(number) = self.anybody() else { return };
        let client = &mut self.clients[number];
        if self.random.chance(50) {
            client.finished = true;
        } else {
            client.broken = true;
        }
        self.arrives(number);
    }

    /// One rule or all of them become others. Nobody may be closed by that, nor be forgotten.
    fn change_rules(&mut self) {
        // What is due under the old rules happens.
        self.turn();
        let any = any_rules(&mut self.random);
        let old = self.rules.clone();
        let with = old.clone();
        self.rules = match self.random.below(5) {
            0 => Rules { outbox_bytes: any.outbox_bytes, ..with },
            1 => Rules { memory_bytes: any.memory_bytes, ..with },
            2 => Rules { policy: any.policy, ..with },
            3 => Rules { heartbeat: any.heartbeat, hello: any.hello, ..with },
            _ => Rules { max_payload: with.max_payload, ..any },
        };
        self.policies.push(self.rules.policy);
        self.policies.dedup();
        self.model.allow(self.rules.max_subscriptions);
        let talking = |broker: &Broker| -> Vec<_> {
            let all = broker.connections.iter();
            all.filter(|(_, connection)| connection.is_talking()).map(|(at, _)| at).collect()
        };
        let before = talking(&self.broker);
        self.broker.set_rules(self.rules.clone(), self.now);
        self.broker.expire(self.now);
        self.broker.end_turn(self.now);
        // Old ones may go on closing.
        let closed = talking(&self.broker) != before;
        assert!(!closed || self.rules == old, "new rules closed somebody");
        self.turn();
    }

    fn time_passes(&mut self) {
        let milliseconds = self.random.pick(&[10, 200, 1_500, 1_500, 60_000]);
        self.now += Duration::from_millis(milliseconds);
    }

    /// An event of a client's socket reaches the broker.
    fn arrives(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if !client.closed {
            client.readable = true;
            make_ready(&mut self.ready, number, client);
        }
    }

    /// One turn, as the reactor makes it.
    fn turn(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(number) = self.ready.pop_front() else {
                break;
            };
            self.clients[number].ready = false;
            if !self.clients[number].closed {
                self.serve(number);
            }
        }
        self.broker.expire(self.now);
        self.flush();
        self.broker.end_turn(self.now);
        self.note_closing();
        for token in self.broker.take_shutdowns() {
            self.clients[self.by_token[&token]].hung_up = true;
        }
        for token in self.broker.take_gone() {
            let number = self.by_token.remove(&token).expect("a token is reaped once");
            let client = &mut self.clients[number];
            (client.closed, client.hung_up) = (true, true);
        }
        for token in self.broker.take_resumed() {
            if let Some(&number) = self.by_token.get(&token) {
                make_ready(&mut self.ready, number, &mut self.clients[number]);
            }
        }
    }

    fn serve(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let token = client.token;
        let mut progress = match self.broker.next_input(token, client.readable) {
            Input::Wait => {
                if client.broken {
                    self.broker.connection_failed(token);
                    self.note_closing();
                }
                return;
            }
            Input::CarryOn => self.broker.carry_on(token, self.now),
            Input::Discard => {
                client.to_broker.clear();
                client.readable = false;
                if client.finished {
                    self.broker.end_of_input(token);
                }
                return self.note_closing();
            }
            Input::Read(mut filling) => {
                let spare = filling.spare(self.read_bytes);
                let there = client.to_broker.len().min(spare.len());
                let count = if there == 0 { 0 } else { 1 + self.random.below(there) };
                spare[..count].copy_from_slice(&client.to_broker[..count]);
                client.to_broker.drain(..count);
                client.readable = !client.to_broker.is_empty() || count > 0;
                let idle = client.to_broker.is_empty();
                let progress = self.broker.received(token, filling, count, idle, self.now);
                if count == 0 && client.broken {
                    self.broker.connection_failed(token);
                } else if count == 0 && client.finished {
                    self.broker.end_of_input(token);
                }
                progress
            }
        };
        self.carried(number);
        while progress == Progress::FlushFirst {
            self.flush();
            progress = self.broker.carry_on(token, self.now);
            self.carried(number);
        }
        if self.clients[number].readable {
            make_ready(&mut self.ready, number, &mut self.clients[number]);
        }
    }

    /// Tells the model what the broker has carried out of what a client said.
    fn carried(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let frames = self.broker.connections[client.token.index()].traffic.frames as usize;
        for said in &client.said[client.carried..frames.max(client.carried)] {
            self.model.carry(number, said);
        }
        client.carried = frames.max(client.carried);
        let stats = self.broker.stats();
        // A run that closes one of its receivers is counted for it by the model alone.
        let never_disconnects = !self.policies.contains(&OverflowPolicy::Disconnect);
        if never_disconnects && !self.broke_midway {
            let placed = stats.deliveries + stats.dropped;
            // An interrupted delivery is counted when it is done.
            assert!(placed <= self.model.matched, "more was delivered than matches");
            if self.broker.interrupted.is_none() {
                assert_eq!(placed, self.model.matched, "deliveries are not what matches");
            }
        }
        self.note_closing();
    }

    /// Connections that the broker has begun to close receive no more messages.
    fn note_closing(&mut self) {
        for (index, connection) in &self.broker.connections {
            if !connection.is_talking()
                && let Some(&number) = self.by_token.get(&Token::new(index))
            {
                self.model.forget(number);
            }
        }
    }

    fn flush(&mut self) {
        let mut dirty = Vec::new();
        self.broker.take_dirty(&mut dirty);
        for token in dirty {
            let number = self.by_token[&token];
            let client = &mut self.clients[number];
            while !self.broker.outbox(token).is_empty() {
                if client.broken {
                    self.broker.connection_failed(token);
                    self.broke_midway |= self.broker.interrupted.is_some();
                    break;
                }
                let mut slices = [IoSlice::new(&[]); 3];
                let (entries, bytes) = self.broker.outbox(token).gather(&mut slices);
                let all: Vec<u8> = slices[..entries].iter().flat_map(|s| s.to_vec()).collect();
                assert_eq!(all.len(), bytes);
                let count = bytes.min(client.room);
                client.take(&all[..count]);
                if count < bytes {
                    self.broker.blocked(token);
                }
                self.broker.sent(token, count, self.now);
                if count < bytes {
                    break;
                }
            }
        }
        self.note_closing();
    }

    /// Recounts what the broker counts as it goes.
    fn audit(&self) {
        let mut chunks = BTreeMap::new();
        let (mut slices, mut filling) = (0, 0);
        for (_, connection) in &self.broker.connections {
            connection.outbox.check();
            for slice in connection.outbox.slices() {
                slices += 1;
                chunks.insert(slice.cost().0, slice.cost().1);
            }
            match &connection.inbox {
                Inbox::Empty => {}
                Inbox::Large(large) => filling += large.cost(),
                Inbox::Rest(slice) | Inbox::Backlog(slice) => {
                    slices += 1;
                    chunks.insert(slice.cost().0, slice.cost().1);
                }
            }
        }
        let held = chunks.values().sum::<usize>() + slices * SLICE_OVERHEAD + filling;
        assert_eq!(self.broker.memory_held(), held, "memory is counted as it is");
        for (_, connection) in &self.broker.connections {
            let due = connection.deadline(&self.broker.rules, self.broker.draining);
            let armed = connection.armed;
            assert!(due.is_none_or(|due| armed.is_some_and(|at| at <= due)), "a deadline is lost");
        }
    }
}

fn make_ready(ready: &mut VecDeque<usize>, number: usize, client: &mut Client) {
    if !client.ready && !client.closed {
        client.ready = true;
        ready.push_back(number);
    }
}

/// Rules as a world may have them.
fn any_rules(random: &mut Random) -> Rules {
    let policies = [OverflowPolicy::Block, OverflowPolicy::Drop, OverflowPolicy::Disconnect];
    Rules {
        max_connections: random.pick(&[5, 20, 100]),
        max_payload: random.pick(&[20, 300, 3_000]),
        max_subscriptions: random.pick(&[2, 5, 100]),
        outbox_bytes: random.pick(&[1, 60, 300, 2_000, 100_000]),
        memory_bytes: random.pick(&[20_000, 100_000, 10_000_000]),
        policy: random.pick(&policies),
        stall_timeout: random.pick(&[Duration::from_secs(1), HOUR]),
        min_rate_bytes: random.pick(&[0, 100]),
        hello: random.pick(&[Duration::from_secs(2), HOUR]),
        heartbeat: random.pick(&[Duration::ZERO, Duration::from_secs(3), HOUR]),
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

/// Some moment to count from; the time of day is nothing to the broker.
fn epoch() -> Instant {
    Instant::now()
}
