//! The turns of a simulated world: what the reactor does, with clients instead of sockets.

use super::*;

impl World {
    /// A turn in which so many connections are served at most, and more of them as long as
    /// something is due: the reactor does not sleep then.
    pub(super) fn turn(&mut self, serves: usize) {
        self.turn_once(serves);
        while self.broker.next_deadline().is_some_and(|at| at <= self.now) {
            self.edges.note("more due than one turn does", 1);
            self.turn_once(serves);
        }
    }

    /// One turn, as the reactor makes it.
    fn turn_once(&mut self, serves: usize) {
        for _ in 0..self.ready.len().min(serves) {
            let Some(number) = self.ready.pop_front() else { break };
            self.clients[number].ready = false;
            if !self.clients[number].closed {
                self.serve(number);
            }
        }
        self.broker.expire(self.now, 16);
        self.note_closing();
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
                if self.broker.connections[token.index()].is_unread() {
                    (client.last_sign, client.silences) = (self.now, 0);
                }
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
                if client.broken {
                    self.broker.connection_failed(token);
                } else if client.finished {
                    self.broker.end_of_input(token);
                }
                return self.note_closing();
            }
            Input::Read(filling) => self.read(number, filling),
        };
        self.carried(number);
        while progress == Progress::FlushFirst {
            self.edges.note("delivery interrupted for a flush", 1);
            self.flush();
            progress = self.broker.carry_on(token, self.now);
            self.carried(number);
        }
        if self.clients[number].readable {
            make_ready(&mut self.ready, number, &mut self.clients[number]);
        }
    }

    fn read(&mut self, number: usize, mut filling: Filling) -> Progress {
        let large = u64::from(filling.capacity() > self.broker.pool.chunk_bytes());
        self.edges.note("frame larger than a chunk", large);
        let client = &mut self.clients[number];
        let token = client.token;
        let spare = filling.spare(self.setup.read_bytes);
        let there = client.to_broker.len().min(spare.len());
        let count = match &mut self.cuts {
            Some(random) if there > 0 => 1 + random.below(there),
            _ => there,
        };
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

    /// Tells the model what the broker has carried out of what a client said.
    fn carried(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let connection = &self.broker.connections[client.token.index()];
        let frames = connection.traffic.frames as usize;
        // Whoever is not read, if only for a part of the turn, is not found silent, nor is whoever
        // waits for a route.
        let waits = connection.is_unread() || connection.inbox.has_backlog();
        if frames > client.carried || waits {
            (client.last_sign, client.silences) = (self.now, 0);
        }
        for said in &client.said[client.carried..frames.max(client.carried)] {
            self.model.carry(number, *said);
        }
        client.carried = frames.max(client.carried);
        let stats = self.broker.stats();
        // A run that closes one of its receivers is counted for it by the model alone.
        if !self.policies.contains(&OverflowPolicy::Disconnect) && !self.broke_midway {
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
    pub(super) fn note_closing(&mut self) {
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
            self.flush_one(token);
        }
        self.note_closing();
    }

    fn flush_one(&mut self, token: Token) {
        let number = self.by_token[&token];
        let mut written = 0;
        while !self.broker.outbox(token).is_empty() {
            let client = &mut self.clients[number];
            if client.broken {
                self.broker.connection_failed(token);
                let midway = self.broker.interrupted.is_some();
                self.edges.note("a neighbour broke in the middle of a delivery", midway.into());
                self.broke_midway |= midway;
                return;
            }
            if written >= self.setup.write_bytes {
                self.edges.note("write budget used up", 1);
                return self.broker.writable(token);
            }
            let mut slices = vec![IoSlice::new(&[]); self.setup.slices];
            let (entries, bytes) = self.broker.outbox(token).gather(&mut slices);
            let all: Vec<u8> = slices[..entries].iter().flat_map(|s| s.to_vec()).collect();
            assert!(all.len() == bytes && bytes > 0, "the sum of what was gathered");
            let count = bytes.min(client.room);
            written += count;
            self.taken += count as u64;
            let pings = client.unanswered;
            client.take(&all[..count]);
            // A PING, of 8 bytes, is no sign of life when it is taken.
            if count > 8 * (client.unanswered - pings) {
                (client.last_sign, client.silences) = (self.now, 0);
            }
            for byte in [number as u8].iter().chain(&all[..count]) {
                self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
            }
            if count < bytes {
                self.broker.blocked(token);
            }
            self.broker.sent(token, count, self.now);
            if count < bytes {
                return;
            }
        }
    }
}
