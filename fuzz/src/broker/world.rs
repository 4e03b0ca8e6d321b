//! A broker and its clients: drives the broker turn by turn as the reactor does, and checks what
//! comes out of it.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::time::{Duration, Instant};

use broker::broker::connection::Role;
use broker::broker::rules::Rules;
use broker::broker::{Broker, Input, Progress, Token};
use wire::native::frame::{Frame, Kind, Reader};
use wire::topic::validate_topic;

/// The most that any world lets a payload be, in bytes.
const MAX_PAYLOAD: usize = 3_000;
/// Turns in which whatever was begun must have come to an end. A script may make a client send
/// megabytes, and each turn reads as little as 64 bytes of them.
const MANY_TURNS: usize = 1_000_000;

/// What one client received that does not depend on how bytes were cut: the messages, and all
/// answers unless the last of them says that the connection ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Received {
    messages: Vec<u8>,
    answers: Vec<u8>,
}

impl Received {
    /// Bytes of messages.
    pub fn messages(&self) -> usize {
        self.messages.len()
    }
}

struct Client {
    token: Token,
    role: Role,
    to_broker: VecDeque<u8>,
    /// Bytes that its socket still takes.
    room: usize,
    ended: bool,
    broken: bool,
    readable: bool,
    ready: bool,
    hung_up: bool,
    closed: bool,
    partial: Vec<u8>,
    said_goodbye: bool,
    received: Received,
}

pub(super) struct World {
    broker: Broker,
    read_bytes: usize,
    now: Instant,
    clients: Vec<Client>,
    by_token: BTreeMap<Token, usize>,
    ready: VecDeque<usize>,
}

impl World {
    pub(super) fn new(rules: Rules, read_bytes: usize) -> World {
        World {
            broker: Broker::new(rules, read_bytes, "fuzz".into()),
            read_bytes,
            now: Instant::now(),
            clients: Vec::new(),
            by_token: BTreeMap::new(),
            ready: VecDeque::new(),
        }
    }

    pub(super) fn clients(&self) -> usize {
        self.clients.len()
    }

    pub(super) fn role(&self, number: usize) -> Role {
        self.clients[number].role
    }

    pub(super) fn connects(&mut self, role: Role) -> usize {
        let token = self.broker.accept(role, "fuzz", self.now);
        let number = self.clients.len();
        assert!(self.by_token.insert(token, number).is_none(), "tokens are given out once");
        self.clients.push(Client {
            token,
            role,
            to_broker: VecDeque::new(),
            room: 1_000,
            ended: false,
            broken: false,
            readable: false,
            ready: false,
            hung_up: false,
            closed: false,
            partial: Vec::new(),
            said_goodbye: false,
            received: Received::default(),
        });
        self.arrives(number);
        number
    }

    pub(super) fn sends(&mut self, number: usize, bytes: &[u8]) {
        let client = &mut self.clients[number];
        if !client.ended && !client.broken {
            client.to_broker.extend(bytes);
            self.arrives(number);
        }
    }

    /// Sends in pieces, each carried out to its end, with everybody reading.
    pub(super) fn sends_in_pieces(
        &mut self,
        number: usize,
        mut bytes: &[u8],
        piece: &mut dyn FnMut(usize) -> usize,
    ) {
        while !bytes.is_empty() {
            let (first, rest) = bytes.split_at(piece(bytes.len()).clamp(1, bytes.len()));
            self.sends(number, first);
            self.settle();
            bytes = rest;
        }
    }

    pub(super) fn reads(&mut self, number: usize, room: usize) {
        let client = &mut self.clients[number];
        let was_full = client.room == 0;
        client.room = client.room.max(room);
        if was_full && !client.closed {
            self.broker.writable(client.token);
            self.make_ready(number);
        }
    }

    pub(super) fn ends_input(&mut self, number: usize) {
        self.clients[number].ended = true;
        self.arrives(number);
    }

    pub(super) fn breaks(&mut self, number: usize) {
        self.clients[number].broken = true;
        self.arrives(number);
    }

    pub(super) fn passes(&mut self, time: Duration) {
        self.now += time;
    }

    pub(super) fn received(mut self) -> Vec<Received> {
        let received = self.clients.iter_mut().map(|client| {
            let mut received = std::mem::take(&mut client.received);
            if client.said_goodbye {
                // Answers that were still queued when the connection was closed are dropped.
                received.answers.clear();
            }
            received
        });
        let received = received.collect();
        self.end();
        received
    }

    /// Everybody leaves; nothing may be left behind.
    pub(super) fn end(mut self) {
        self.settle();
        assert!(!self.broker.has_dirty(), "what could be written was written");
        for number in 0..self.clients.len() {
            if number % 2 == 0 {
                self.ends_input(number);
            } else {
                self.breaks(number);
            }
        }
        for _ in 0..5 {
            self.settle();
            self.passes(Duration::from_secs(1));
        }
        assert_eq!(self.broker.connections(), 0, "all have gone");
        assert_eq!(self.broker.memory_held(), 0, "nothing is held for nobody");
        let (subscriptions, filters, _) = self.broker.index_sizes();
        assert_eq!((subscriptions, filters), (0, 0), "nothing is subscribed by nobody");
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.broker.is_draining()
    }

    pub(super) fn shuts_down(&mut self) {
        if !self.broker.is_draining() {
            self.broker.shut_down(self.now);
        }
    }

    /// Turns, with everybody reading, until nothing happens any more.
    fn settle(&mut self) {
        let mut turns = 0;
        while turns < 2 || !self.ready.is_empty() || self.broker.has_dirty() {
            (0..self.clients.len()).for_each(|number| self.reads(number, 1 << 30));
            self.turn();
            turns += 1;
            assert!(turns < MANY_TURNS, "somebody is busy for ever");
        }
    }

    pub(super) fn turn(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(number) = self.ready.pop_front() else { break };
            self.clients[number].ready = false;
            if !self.clients[number].closed {
                self.serve(number);
            }
        }
        // The reactor does not sleep while something is due.
        self.broker.expire(self.now, 16);
        while self.broker.next_deadline().is_some_and(|at| at <= self.now) {
            self.broker.expire(self.now, 16);
        }
        self.flush();
        self.broker.end_turn(self.now);
        for token in self.broker.take_shutdowns() {
            self.clients[self.by_token[&token]].hung_up = true;
        }
        for token in self.broker.take_gone() {
            let number = self.by_token.remove(&token).expect("a token is reaped once");
            (self.clients[number].closed, self.clients[number].hung_up) = (true, true);
        }
        for token in self.broker.take_resumed() {
            if let Some(&number) = self.by_token.get(&token) {
                self.make_ready(number);
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
                }
                return;
            }
            Input::CarryOn => self.broker.carry_on(token, self.now),
            Input::Discard => {
                client.to_broker.clear();
                client.readable = false;
                if client.broken {
                    self.broker.connection_failed(token);
                } else if client.ended {
                    self.broker.end_of_input(token);
                }
                return;
            }
            Input::Read(mut filling) => {
                let spare = filling.spare(self.read_bytes);
                let count = client.to_broker.len().min(spare.len());
                for (to, from) in spare.iter_mut().zip(client.to_broker.drain(..count)) {
                    *to = from;
                }
                client.readable = count > 0;
                let idle = client.to_broker.is_empty();
                let progress = self.broker.received(token, filling, count, idle, self.now);
                if count == 0 && client.broken {
                    self.broker.connection_failed(token);
                } else if count == 0 && client.ended {
                    self.broker.end_of_input(token);
                }
                progress
            }
        };
        let mut flushes = 0;
        while progress == Progress::FlushFirst {
            self.flush();
            progress = self.broker.carry_on(token, self.now);
            flushes += 1;
            assert!(flushes < MANY_TURNS, "flushing leads nowhere");
        }
        if self.clients[number].readable {
            self.make_ready(number);
        }
    }

    fn flush(&mut self) {
        let mut dirty = Vec::new();
        self.broker.take_dirty(&mut dirty);
        for token in dirty {
            let number = self.by_token[&token];
            while !self.broker.outbox(token).is_empty() {
                if self.clients[number].broken {
                    self.broker.connection_failed(token);
                    break;
                }
                let bytes = self.gathered(token);
                let client = &mut self.clients[number];
                let count = bytes.len().min(client.room);
                client.takes(&bytes[..count]);
                if count < bytes.len() {
                    self.broker.blocked(token);
                }
                self.broker.sent(token, count, self.now);
                if count < bytes.len() {
                    break;
                }
            }
        }
    }

    /// The beginning of an outbox.
    fn gathered(&self, token: Token) -> Vec<u8> {
        let outbox = self.broker.outbox(token);
        let mut slices = [IoSlice::new(&[]); 3];
        let (entries, bytes) = outbox.gather(&mut slices);
        let some: Vec<u8> = slices[..entries].iter().flat_map(|slice| slice.to_vec()).collect();
        assert!(some.len() == bytes && bytes > 0, "the sum of what was gathered");
        let mut slices = vec![IoSlice::new(&[]); outbox.queued()];
        let (_, all) = outbox.gather(&mut slices);
        assert_eq!(all, outbox.queued(), "the sum of all that waits");
        some
    }

    fn arrives(&mut self, number: usize) {
        self.clients[number].readable = true;
        self.make_ready(number);
    }

    fn make_ready(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if !client.ready && !client.closed {
            client.ready = true;
            self.ready.push_back(number);
        }
    }
}

impl Client {
    /// The client's socket takes bytes: they must be whole frames, in the order of a conversation.
    fn takes(&mut self, bytes: &[u8]) {
        assert!(!self.hung_up && !self.closed, "nothing is written behind the end");
        self.room -= bytes.len();
        self.partial.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(frame) = Frame::decode(&self.partial[at..], Reader::Client, MAX_PAYLOAD)
            .expect("the broker sends valid frames")
        {
            assert!(!self.said_goodbye, "{frame:?} came behind the last frame");
            let fatal = frame.kind == Kind::Error && frame.flags != 0;
            self.said_goodbye = fatal || frame.kind == Kind::Goodbye;
            let bytes = &self.partial[at..at + frame.encoded_len()];
            at += bytes.len();
            if frame.kind == Kind::Publish {
                assert!(validate_topic(frame.topic).is_ok(), "only valid topics are delivered");
                assert!(self.role == Role::Subscriber, "publishers receive no messages");
                self.received.messages.extend_from_slice(bytes);
            } else {
                self.received.answers.extend_from_slice(bytes);
            }
        }
        self.partial.drain(..at);
    }
}
