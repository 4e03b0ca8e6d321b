//! A broker and its clients: makes turns as the reactor does, and checks what comes out of them.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use broker::engine::Engine;
use broker::engine::rules::Rules;
use broker::engine::sessions::connection::Role;
use broker::engine::token::Token;
use broker::engine::turn::{Readiness, Sockets, Turn};
use wire::native::frame::{Frame, Kind, Reader};
use wire::topic::validate_topic;

use super::nats;

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
    hung_up: bool,
    closed: bool,
    partial: Vec<u8>,
    said_goodbye: bool,
    received: Received,
}

/// The sockets of all clients.
#[derive(Default)]
struct Clients {
    all: Vec<Client>,
    by_token: BTreeMap<Token, usize>,
}

impl Clients {
    fn get(&mut self, token: Token) -> &mut Client {
        let client = &mut self.all[self.by_token[&token]];
        assert!(!client.closed, "a closed socket is not used");
        client
    }
}

impl Sockets for Clients {
    fn read(&mut self, token: Token, into: &mut [u8]) -> io::Result<usize> {
        let client = self.get(token);
        let count = client.to_broker.len().min(into.len());
        for (to, from) in into.iter_mut().zip(client.to_broker.drain(..count)) {
            *to = from;
        }
        match count {
            0 if client.broken => Err(io::ErrorKind::ConnectionReset.into()),
            0 if client.ended => Ok(0),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(count),
        }
    }

    fn write_vectored(&mut self, token: Token, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let client = self.get(token);
        if client.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        assert!(!bytes.is_empty(), "something is written");
        let count = bytes.len().min(client.room);
        client.takes(&bytes[..count]);
        if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    fn shut_down(&mut self, token: Token) {
        self.get(token).hung_up = true;
    }

    fn close(&mut self, token: Token) {
        let client = self.get(token);
        (client.closed, client.hung_up) = (true, true);
        self.by_token.remove(&token);
    }
}

pub(super) struct World {
    turn: Turn<Clients>,
    now: Instant,
}

impl World {
    pub(super) fn new(rules: Rules, read_bytes: usize) -> World {
        let engine = Engine::new(rules, read_bytes, "fuzz".into());
        World { turn: Turn::new(engine, Clients::default(), read_bytes), now: Instant::now() }
    }

    fn client(&mut self, number: usize) -> &mut Client {
        &mut self.turn.sockets_mut().all[number]
    }

    pub(super) fn clients(&mut self) -> usize {
        self.turn.sockets_mut().all.len()
    }

    pub(super) fn role(&mut self, number: usize) -> Role {
        self.client(number).role
    }

    pub(super) fn connects(&mut self, role: Role) -> usize {
        let token = self.turn.accept(role, "fuzz", self.now);
        let clients = self.turn.sockets_mut();
        let number = clients.all.len();
        assert!(clients.by_token.insert(token, number).is_none(), "tokens are given out once");
        clients.all.push(Client {
            token,
            role,
            to_broker: VecDeque::new(),
            room: 1_000,
            ended: false,
            broken: false,
            hung_up: false,
            closed: false,
            partial: Vec::new(),
            said_goodbye: false,
            received: Received::default(),
        });
        number
    }

    pub(super) fn sends(&mut self, number: usize, bytes: &[u8]) {
        let client = self.client(number);
        if !client.ended && !client.broken {
            client.to_broker.extend(bytes);
            self.event(number, Readiness { readable: true, ..Readiness::default() });
        }
    }

    /// Sends in pieces, each processed to its end, with all clients reading.
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
        let client = self.client(number);
        let was_full = client.room == 0;
        client.room = client.room.max(room);
        if was_full {
            self.event(number, Readiness { writable: true, ..Readiness::default() });
        }
    }

    pub(super) fn ends_input(&mut self, number: usize) {
        self.client(number).ended = true;
        self.event(number, Readiness { ended: true, ..Readiness::default() });
    }

    pub(super) fn breaks(&mut self, number: usize) {
        self.client(number).broken = true;
        self.event(number, Readiness { failed: true, ..Readiness::default() });
    }

    fn event(&mut self, number: usize, readiness: Readiness) {
        let client = self.client(number);
        let token = client.token;
        if !client.closed {
            self.turn.note(token, readiness);
        }
    }

    pub(super) fn passes(&mut self, time: Duration) {
        self.now += time;
    }

    pub(super) fn received(mut self) -> Vec<Received> {
        let received = self.turn.sockets_mut().all.iter_mut().map(|client| {
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

    /// All clients leave; nothing may be left behind.
    pub(super) fn end(mut self) {
        self.settle();
        for number in 0..self.clients() {
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
        let engine = self.turn.engine();
        assert_eq!(engine.connections(), 0, "all have gone");
        assert_eq!(engine.memory_held(), 0, "nothing is held");
        let sizes = engine.index_sizes();
        assert_eq!((sizes.subscriptions, sizes.filters), (0, 0), "nothing is subscribed");
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.turn.engine().is_draining()
    }

    pub(super) fn shuts_down(&mut self) {
        if !self.is_stopping() {
            self.turn.engine_mut().shut_down(self.now);
        }
    }

    /// Turns, with all clients reading, until nothing happens any more.
    fn settle(&mut self) {
        let mut turns = 0;
        while turns < 2 || self.turn.is_busy() {
            (0..self.clients()).for_each(|number| self.reads(number, 1 << 30));
            self.turn();
            turns += 1;
            assert!(turns < MANY_TURNS, "the broker is busy for ever");
        }
    }

    /// A turn, and more of them while something is due: the reactor does not sleep then.
    pub(super) fn turn(&mut self) {
        let mut turns = 0;
        while turns == 0 || self.turn.next_deadline().is_some_and(|at| at <= self.now) {
            self.turn.begin();
            self.turn.run(self.now);
            turns += 1;
            assert!(turns < MANY_TURNS, "something is due for ever");
        }
    }
}

impl Client {
    /// The client's socket takes bytes: they must be whole frames, in the order of a conversation.
    fn takes(&mut self, bytes: &[u8]) {
        assert!(!self.hung_up && !self.closed, "nothing is written behind the end");
        self.room -= bytes.len();
        self.partial.extend_from_slice(bytes);
        if self.role == Role::NATS {
            return self.takes_lines();
        }
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
                assert!(self.role.may_subscribe, "publishers receive no messages");
                self.received.messages.extend_from_slice(bytes);
            } else {
                self.received.answers.extend_from_slice(bytes);
            }
        }
        self.partial.drain(..at);
    }

    fn takes_lines(&mut self) {
        let mut at = 0;
        while let Some((length, is_message, is_last)) = nats::heard(&self.partial[at..]) {
            assert!(!self.said_goodbye, "something came behind the last line");
            self.said_goodbye = is_last;
            let bytes = &self.partial[at..at + length];
            at += length;
            let heard = &mut self.received;
            let to = if is_message { &mut heard.messages } else { &mut heard.answers };
            to.extend_from_slice(bytes);
        }
        self.partial.drain(..at);
    }
}
