//! The transport, the sockets and the turn of the daemon without its loop, over pairs of sockets.
//!
//! What fuzzing and its replay drive: bytes come to TLS exactly as in the daemon, but in the order
//! and in the pieces that a script wants. Owns no rules. Not for programs.

use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::sockets::AllSockets;
use super::tls::{self, Tls};
use super::transport::{Stream, Transport};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::sessions::connection::Role;
use crate::engine::token::Token;
use crate::engine::turn::{Readiness, Turn};

/// Turns in which whatever was begun must have come to an end.
const MANY_TURNS: usize = 100_000;

/// The files that the settings of TLS name, read.
#[derive(Clone)]
pub struct Secrets(Rc<Tls>);

impl Secrets {
    /// Reads them.
    ///
    /// # Errors
    /// What is wrong with which file, or that there is to be no TLS.
    pub fn load(config: &Config) -> Result<Secrets, String> {
        tls::load(&config.tls, None)?.map(Secrets).ok_or_else(|| "there is no TLS".to_owned())
    }
}

/// A broker without a loop.
pub struct Secured {
    turn: Turn<AllSockets>,
    secrets: Secrets,
    hello: Duration,
    now: Instant,
}

impl Secured {
    /// Without clients.
    pub fn new(config: &Config, secrets: &Secrets) -> Secured {
        let read_bytes = config.network.read_bytes;
        let engine = Engine::new(config.rules_where(true), read_bytes, "secured".into());
        let mut turn = Turn::new(engine, AllSockets::default(), read_bytes);
        turn.sockets_mut().secure(Some(Rc::clone(&secrets.0)));
        let hello = config.timeouts.hello;
        Secured { turn, secrets: secrets.clone(), hello, now: Instant::now() }
    }

    /// A client connects, as over a port: its connection, and its end of the pair, which does not
    /// block.
    ///
    /// # Errors
    /// Those of the system.
    pub fn connect(&mut self, role: Role) -> io::Result<(Token, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        let stream = Stream::Unix(mio::net::UnixStream::from_std(ours));
        let transport = Transport::new(stream, Some(self.secrets.0.offer(role.protocol)));
        let token = self.turn.accept(role, "a pair of sockets", self.now);
        self.turn.sockets_mut().insert(token, transport);
        self.turn.expect_handshake_by(token, role.protocol, self.now + self.hello);
        Ok((token, theirs))
    }

    /// Something has happened to a client's socket: turns until nothing is left to do.
    ///
    /// # Panics
    /// If that does not come to an end.
    pub fn event(&mut self, token: Token, readiness: Readiness) {
        self.turn.begin();
        self.turn.note_event(token, readiness);
        self.run();
    }

    /// Time passes, and what is due by then is done.
    ///
    /// # Panics
    /// If that does not come to an end.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.turn.begin();
        self.turn.end_late_handshakes(self.now, self.hello);
        self.run();
    }

    fn run(&mut self) {
        for _ in 0..MANY_TURNS {
            self.turn.run(self.now);
            let is_due = self.turn.next_deadline().is_some_and(|at| at <= self.now);
            if !(self.turn.is_busy() || is_due) {
                return;
            }
            self.turn.begin();
        }
        panic!("there is something to do for ever");
    }

    /// Connections that there are.
    pub fn connections(&self) -> usize {
        self.turn.engine().connections()
    }

    /// Bytes in messages and frames, and bytes in sessions.
    pub fn held(&self) -> (usize, usize) {
        (self.turn.engine().memory_held(), self.secrets.0.held_bytes())
    }
}
