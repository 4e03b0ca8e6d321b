//! A raw client that checks what it receives, byte by byte.

use nats_tests::frame::Frame;
use nats_tests::peer::{Event, Peer};
use nats_tests::server::Server;
use nats_tests::session::shown;

/// CONNECT as most libraries send it, except for the names.
pub(crate) const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\
    \"tls_required\":false,\"name\":\"\",\"lang\":\"x\",\"version\":\"1.0\",\"protocol\":0,\
    \"echo\":true,\"headers\":true,\"no_responders\":true}\r\n";

pub(crate) struct Client {
    peer: Peer,
    sent: Vec<u8>,
}

impl Client {
    /// A connection on which nothing has been sent.
    pub(crate) fn silent(server: &Server) -> Client {
        Client { peer: Peer::connect(server.address), sent: Vec::new() }
    }

    /// A connection that is set up as most libraries do it.
    pub(crate) fn connect(server: &Server) -> Client {
        Client::with(server, CONNECT)
    }

    /// A connection with this CONNECT.
    pub(crate) fn with(server: &Server, connect: &str) -> Client {
        let mut client = Client::silent(server);
        client.send(connect.as_bytes());
        client.send(b"PING\r\n");
        while client.receive() != Event::Frame(Frame::Pong) {}
        client
    }

    /// A connection with the defaults except for these.
    pub(crate) fn quiet_with(server: &Server, more: &str) -> Client {
        let quiet = "\"verbose\":false,\"pedantic\":false";
        Client::with(server, &format!("CONNECT {{{quiet},{more}}}\r\n"))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.sent.extend(bytes);
        self.peer.send(bytes);
    }

    pub(crate) fn end_sending(&mut self) {
        self.peer.end_sending();
    }

    /// The next frame except INFO and PINGs, which are answered.
    pub(crate) fn receive(&mut self) -> Event {
        loop {
            match self.peer.receive() {
                Event::Frame(Frame::Info(_)) => {}
                Event::Frame(Frame::Ping) => self.peer.send(b"PONG\r\n"),
                other => return other,
            }
        }
    }

    /// The very next frame.
    pub(crate) fn receive_any(&mut self) -> Event {
        self.peer.receive()
    }

    /// Exactly these bytes must arrive next.
    pub(crate) fn expect(&mut self, expected: &[u8]) {
        let mut came = Vec::new();
        while came.len() < expected.len() {
            match self.receive() {
                Event::Frame(frame) => came.extend(frame.bytes()),
                other => {
                    came.extend(format!("({other:?})").bytes());
                    break;
                }
            }
        }
        self.compare(&came, expected);
    }

    /// These bytes must arrive, and then the end.
    pub(crate) fn expect_end(&mut self, expected: &[u8]) {
        let mut came = Vec::new();
        loop {
            match self.receive() {
                Event::Frame(frame) => came.extend(frame.bytes()),
                Event::Closed(rest) => {
                    came.extend(rest);
                    break;
                }
                Event::Silence => {
                    came.extend(b"(it stays open)");
                    break;
                }
            }
        }
        self.compare(&came, expected);
    }

    /// Sends this, which must cause exactly these bytes on this connection, and leave it open.
    pub(crate) fn says(&mut self, sent: &[u8], expected: &[u8]) {
        self.send(sent);
        self.expect_only(expected);
    }

    /// Up to now, these bytes have arrived and no more.
    pub(crate) fn expect_only(&mut self, expected: &[u8]) {
        self.send(b"PING\r\n");
        self.expect(&[expected, b"PONG\r\n"].concat());
    }

    /// Up to now, one of these has arrived and no more: the order is not defined.
    pub(crate) fn expect_only_one_of(&mut self, expected: &[&[u8]]) {
        self.send(b"PING\r\n");
        let mut came = Vec::new();
        loop {
            match self.receive() {
                Event::Frame(Frame::Pong) => break,
                Event::Frame(frame) => came.extend(frame.bytes()),
                other => panic!("{other:?} behind {}", shown(&came)),
            }
        }
        let right = expected.iter().find(|expected| ***expected == came);
        self.compare(&came, right.unwrap_or(&expected[0]));
    }

    fn compare(&mut self, came: &[u8], expected: &[u8]) {
        let (came, expected, sent) = (shown(came), shown(expected), shown(&self.sent));
        assert!(came == expected, "to {sent}\n expected {expected}\n     came {came}");
        self.sent.clear();
    }
}
