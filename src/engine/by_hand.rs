//! An engine driven by hand: what unit tests say to it in a client's name.
//!
//! Owns no assumption of what is to come of it, but that a client that speaks is read.

use std::time::Instant;

use wire::native::frame::{Kind, encode};

use super::sessions::connection::Role;
use super::token::Token;
use super::{Engine, Input, Progress};

impl Engine {
    /// A client that is greeted; its WELCOME is not taken yet.
    pub(super) fn greeted(&mut self, role: Role, now: Instant) -> Token {
        let token = self.accept(role, "test", now);
        self.hear_frame(token, Kind::Hello, (b"c", b"version=1\n"), now);
        token
    }

    /// A client sends a frame with this topic and body.
    pub(super) fn hear_frame(
        &mut self,
        token: Token,
        kind: Kind,
        (topic, body): (&[u8], &[u8]),
        now: Instant,
    ) -> Progress {
        let mut bytes = Vec::new();
        encode(kind, 0, topic, body, &mut bytes);
        self.hear(token, &bytes, now)
    }

    /// A client sends these bytes; they are processed, or kept.
    pub(super) fn hear(&mut self, token: Token, bytes: &[u8], now: Instant) -> Progress {
        self.schedule.set_readable(token, true);
        let Input::Read(mut filling) = self.next_input(token) else {
            panic!("it is not read");
        };
        self.budget.begin_connection();
        filling.spare(usize::MAX)[..bytes.len()].copy_from_slice(bytes);
        self.received(token, filling, bytes.len(), true, now)
    }

    /// Whether a client that has something to say would be heard.
    pub(super) fn would_hear(&mut self, token: Token) -> bool {
        self.schedule.set_readable(token, true);
        !matches!(self.next_input(token), Input::Wait)
    }

    /// A connection goes on with what it has sent before.
    pub(super) fn go_on(&mut self, token: Token, now: Instant) -> Progress {
        assert!(matches!(self.next_input(token), Input::Resume), "there is nothing from before");
        self.budget.begin_connection();
        self.resume(token, now)
    }

    /// The connections that are to be served, each once.
    pub(super) fn take_ready(&mut self) -> Vec<Token> {
        let next = |engine: &mut Engine| {
            let schedule = &mut engine.schedule;
            schedule.next_ready().or_else(|| schedule.next_spent())
        };
        std::iter::from_fn(|| next(self)).collect()
    }
}
