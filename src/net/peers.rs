//! The sockets of all connections, and whose turn it is.
//!
//! Owns each connection's byte stream, what its events have told, and the lists of those that are
//! to be served. Must not read or write.
//!
//! Whoever has ended its sending side stands in a list of its own: to take leave of a connection
//! costs ten times as much as to read one, and thousands that leave at once must not stand in
//! front of those that stay. If it turns out that there is still something to carry out, it
//! stands with the others again.

use std::collections::VecDeque;

use mio::event::Event;

use super::transport::Transport;
use crate::broker::Token;

/// All peers.
#[derive(Default)]
pub(super) struct Peers {
    by_token: Vec<Option<Peer>>,
    /// Those to serve, each once, the one that waited longest first.
    ready: VecDeque<Token>,
    /// The same of those that have ended their sending side, which is not read to its end.
    ending: VecDeque<Token>,
}

/// One connection, as the operating system sees it.
pub(super) struct Peer {
    pub(super) transport: Transport,
    /// The socket may have something to read.
    pub(super) readable: bool,
    /// The peer has ended its sending side: read on to the end.
    pub(super) ended: bool,
    /// The socket has an error.
    pub(super) failed: bool,
    /// The turn in which it was last served.
    pub(super) served: u32,
    /// It stands in one of the lists.
    listed: bool,
}

impl Peers {
    pub(super) fn get(&self, token: Token) -> Option<&Peer> {
        self.by_token.get(token.index())?.as_ref()
    }

    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut Peer> {
        self.by_token.get_mut(token.index())?.as_mut()
    }

    /// A new one. Nothing is known of it before its first event.
    pub(super) fn insert(&mut self, token: Token, transport: Transport) {
        if self.by_token.len() <= token.index() {
            self.by_token.resize_with(token.index() + 1, || None);
        }
        self.by_token[token.index()] = Some(Peer {
            transport,
            readable: false,
            ended: false,
            failed: false,
            served: 0,
            listed: false,
        });
    }

    /// Closes their sockets.
    pub(super) fn remove(&mut self, gone: &[Token]) {
        let mut listed = false;
        for token in gone {
            let peer = self.by_token[token.index()].take();
            listed |= peer.is_some_and(|peer| peer.listed);
        }
        if listed {
            self.ready.retain(|token| self.by_token[token.index()].is_some());
            self.ending.retain(|token| self.by_token[token.index()].is_some());
        }
    }

    /// Remembers what an event with this index says, and returns whose it is, if anybody's.
    pub(super) fn note(&mut self, index: usize, event: &Event) -> Option<Token> {
        let peer = self.by_token.get_mut(index)?.as_mut()?;
        peer.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        peer.ended |= event.is_read_closed() || event.is_error();
        peer.failed |= event.is_error();
        let token = Token::new(index);
        self.make_ready(token);
        Some(token)
    }

    /// It is to be served, if it is still there.
    pub(super) fn make_ready(&mut self, token: Token) {
        let is_ending = self.get(token).is_some_and(|peer| peer.ended && peer.readable);
        self.list(token, is_ending);
    }

    /// The same for one that has more to carry out, so that this is not its end.
    pub(super) fn go_on(&mut self, token: Token) {
        self.list(token, false);
    }

    fn list(&mut self, token: Token, is_ending: bool) {
        let Some(Some(peer)) = self.by_token.get_mut(token.index()) else { return };
        if !peer.listed {
            peer.listed = true;
            let list = if is_ending { &mut self.ending } else { &mut self.ready };
            list.push_back(token);
        }
    }

    /// How many are to be served, those aside that have ended.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// How many that have ended are to be served.
    pub(super) fn ending(&self) -> usize {
        self.ending.len()
    }

    /// The next one to serve.
    pub(super) fn next_ready(&mut self) -> Option<Token> {
        let token = self.ready.pop_front()?;
        self.take_off(token)
    }

    /// The next one to serve that has ended.
    pub(super) fn next_ending(&mut self) -> Option<Token> {
        let token = self.ending.pop_front()?;
        self.take_off(token)
    }

    fn take_off(&mut self, token: Token) -> Option<Token> {
        // Whoever has gone was taken off the lists with its socket.
        self.get_mut(token)?.listed = false;
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use mio::net::TcpStream;

    use super::*;

    #[test]
    fn only_who_is_not_read_to_its_end_stands_with_the_ending() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (token, mut peers) = (Token::new(3), Peers::default());
        peers.insert(token, Transport::new(TcpStream::connect(address).unwrap()));
        let set = |peers: &mut Peers, readable, ended| {
            let peer = peers.get_mut(token).unwrap();
            (peer.readable, peer.ended) = (readable, ended);
            peers.make_ready(token);
            peers.make_ready(token);
            (peers.ready(), peers.ending())
        };
        assert_eq!(set(&mut peers, true, false), (1, 0), "it has something to say");
        assert_eq!(peers.next_ready(), Some(token));
        assert_eq!(set(&mut peers, true, true), (0, 1), "these may be its last words");
        assert_eq!(peers.next_ending(), Some(token));
        peers.go_on(token);
        assert_eq!((peers.ready(), peers.ending()), (1, 0), "they were not");
        assert_eq!(peers.next_ready(), Some(token));
        assert_eq!(set(&mut peers, false, true), (1, 0), "it is read, and its queue drains");
        peers.remove(&[token]);
        assert_eq!((peers.ready(), peers.ending()), (0, 0), "it is gone from the lists as well");
    }
}
