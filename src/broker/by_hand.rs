//! A broker driven by hand: what unit tests say to it in a client's name.
//!
//! Owns no assumption of what is to come of it, but that the broker reads whoever speaks.

use std::time::Instant;

use super::connection::Role;
use super::{Broker, Input, Progress, Token};
use wire::native::frame::{Kind, encode};

impl Broker {
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

    /// A client sends these bytes; the broker carries them out, or keeps them.
    pub(super) fn hear(&mut self, token: Token, bytes: &[u8], now: Instant) -> Progress {
        let Input::Read(mut filling) = self.next_input(token, true) else {
            panic!("the broker does not read it");
        };
        filling.spare(usize::MAX)[..bytes.len()].copy_from_slice(bytes);
        self.received(token, filling, bytes.len(), true, now)
    }

    /// Whether a client that has something to say would be heard.
    pub(super) fn would_hear(&mut self, token: Token) -> bool {
        !matches!(self.next_input(token, true), Input::Wait)
    }
}
