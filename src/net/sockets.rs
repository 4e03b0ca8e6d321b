//! The sockets of all connections.
//!
//! Owns each connection's byte stream, by its token. Must not decide when to read or write.

use std::io::{self, IoSlice};

use mio::event::Event;

use super::transport::Transport;
use crate::engine::token::Token;
use crate::engine::turn::{Readiness, Sockets};

/// The sockets of all connections.
#[derive(Default)]
pub(super) struct AllSockets {
    by_token: Vec<Option<Transport>>,
}

impl AllSockets {
    /// The socket of a new connection.
    pub(super) fn insert(&mut self, token: Token, transport: Transport) {
        if self.by_token.len() <= token.index() {
            self.by_token.resize_with(token.index() + 1, || None);
        }
        self.by_token[token.index()] = Some(transport);
    }

    fn get(&mut self, token: Token) -> io::Result<&mut Transport> {
        let transport = self.by_token.get_mut(token.index()).and_then(Option::as_mut);
        transport.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Sockets for AllSockets {
    fn read(&mut self, token: Token, into: &mut [u8]) -> io::Result<usize> {
        self.get(token)?.read(into)
    }

    fn write_vectored(&mut self, token: Token, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.get(token)?.write_vectored(slices)
    }

    fn shut_down(&mut self, token: Token) {
        if let Ok(transport) = self.get(token) {
            transport.shutdown_write();
        }
    }

    fn close(&mut self, token: Token) {
        if let Some(transport) = self.by_token.get_mut(token.index()) {
            *transport = None;
        }
    }
}

/// What an event says of its socket.
pub(super) fn readiness(event: &Event) -> Readiness {
    Readiness {
        readable: event.is_readable(),
        writable: event.is_writable(),
        ended: event.is_read_closed(),
        failed: event.is_error(),
    }
}
