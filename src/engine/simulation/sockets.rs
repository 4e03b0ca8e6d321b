//! The simulated sockets: what the turn reads and writes in place of the kernel's.
//!
//! Owns the clients and the network between them and the broker: bytes are on their way until an
//! event tells of them, sockets take as much as they have room for, and break. Counts what work was
//! asked of it.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::time::Instant;

use super::client::Client;
use super::random::Random;
use crate::engine::budget;
use crate::engine::sessions::protocol::Protocol;
use crate::engine::token::Token;
use crate::engine::turn::{Readiness, Sockets};

/// All clients and their sockets.
pub(super) struct SimSockets {
    pub(super) clients: Vec<Client>,
    /// Which client had a token last, and whether its socket is still open.
    pub(super) owners: BTreeMap<Token, usize>,
    pub(super) now: Instant,
    /// Bytes that clients received, and a hash of them in their order.
    pub(super) taken: u64,
    pub(super) hash: u64,
    /// Reads since the turn began, and their bytes.
    pub(super) reads: u64,
    pub(super) reads_bytes: usize,
    /// Writes since the turn began.
    pub(super) writes: Vec<Write>,
    /// The longest write, in slices.
    pub(super) most_slices: usize,
}

/// A write: to which connection, how many bytes were offered, and how many taken.
pub(super) struct Write {
    token: Token,
    pub(super) offered: usize,
    taken: usize,
}

impl Write {
    /// What it costs.
    pub(super) fn cost(&self) -> u64 {
        budget::WRITE + self.taken as u64 / budget::WRITTEN_BYTES
    }
}

impl SimSockets {
    pub(super) fn new(now: Instant) -> SimSockets {
        SimSockets {
            clients: Vec::new(),
            owners: BTreeMap::new(),
            now,
            taken: 0,
            hash: 0xCBF2_9CE4_8422_2325,
            reads: 0,
            reads_bytes: 0,
            writes: Vec::new(),
            most_slices: 0,
        }
    }

    /// A turn begins: what was done is counted from here.
    pub(super) fn begin_turn(&mut self) {
        (self.reads, self.reads_bytes) = (0, 0);
        self.writes.clear();
        self.clients.iter_mut().for_each(|client| client.needless = 0);
    }

    /// Whether a connection was written to in this turn.
    pub(super) fn was_written(&self, token: Token) -> bool {
        self.writes.iter().any(|write| write.token == token)
    }

    /// Which client a token names; it may have been closed in this turn.
    pub(super) fn owner(&self, token: Token) -> usize {
        self.owners[&token]
    }

    fn client(&mut self, token: Token) -> &mut Client {
        let number = self.owner(token);
        let client = &mut self.clients[number];
        assert!(!client.closed, "a closed socket is not used");
        client
    }

    /// What is on its way arrives, all of it or, with `cuts`, a piece. Returns the events.
    pub(super) fn arrive(&mut self, cuts: &mut Option<Random>) -> Vec<(Token, Readiness)> {
        let mut events = Vec::new();
        for client in self.clients.iter_mut().filter(|client| !client.closed) {
            let on_its_way = client.on_its_way.len();
            let count = match cuts {
                Some(random) if on_its_way > 0 => 1 + random.below(on_its_way),
                _ => on_its_way,
            };
            client.arrived.extend(client.on_its_way.drain(..count));
            let is_all = client.on_its_way.is_empty();
            let readiness = Readiness {
                readable: count > 0,
                writable: std::mem::take(&mut client.has_room_again),
                ended: is_all && client.finished && !client.told_end,
                failed: is_all && client.broken && !client.told_end,
            };
            client.is_full &= !readiness.writable;
            client.told_end |= readiness.ended || readiness.failed;
            if readiness != Readiness::default() {
                events.push((client.token, readiness));
            }
        }
        events
    }

    /// Whether something is still on its way.
    pub(super) fn is_quiet(&self) -> bool {
        let quiet = |client: &Client| {
            let ends = (client.finished || client.broken) && !client.told_end;
            client.closed || (client.on_its_way.is_empty() && !client.has_room_again && !ends)
        };
        self.clients.iter().all(quiet)
    }
}

impl Sockets for SimSockets {
    fn read(&mut self, token: Token, into: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        let client = self.client(token);
        let count = client.arrived.len().min(into.len());
        for (to, from) in into.iter_mut().zip(client.arrived.drain(..count)) {
            *to = from;
        }
        let (told_end, broken) = (client.told_end, client.broken);
        self.reads_bytes += count;
        match count {
            0 if told_end && broken => Err(io::ErrorKind::ConnectionReset.into()),
            0 if told_end => Ok(0),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(count),
        }
    }

    fn write_vectored(&mut self, token: Token, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.most_slices = self.most_slices.max(slices.len());
        let (number, now) = (self.owner(token), self.now);
        let client = self.client(token);
        assert!(slices.iter().any(|slice| !slice.is_empty()), "something is written");
        if client.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        client.needless += usize::from(client.is_full);
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        let count = all.len().min(client.room);
        client.is_full = count < all.len();
        let stuck = client.stuck.filter(|_| count == 0).unwrap_or(now);
        client.stuck = client.is_full.then_some(stuck);
        let pings = client.unanswered;
        client.take(&all[..count]);
        // A PING is no sign of life when it is taken.
        let ping = if client.role.protocol == Protocol::Native { 8 } else { 6 };
        if count > ping * (client.unanswered - pings) {
            (client.last_sign, client.silences) = (now, 0);
        }
        self.taken += count as u64;
        self.writes.push(Write { token, offered: all.len(), taken: count });
        for byte in [number as u8].iter().chain(&all[..count]) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
        if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    fn shut_down(&mut self, token: Token) {
        self.client(token).hung_up = true;
    }

    fn close(&mut self, token: Token) {
        let client = self.client(token);
        (client.closed, client.hung_up) = (true, true);
    }
}
