//! A fake broker: it sends exactly what the test tells it to send. The tests of the programs use it
//! as well.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use wire::native::error_code::ErrorCode;
use wire::native::frame::{self, HEADER_BYTES, Header, Kind};
use wire::native::handshake::Welcome;

/// How long a client may take to send something.
const PATIENCE: Duration = Duration::from_secs(60);

/// Listens; the test handles the connections.
pub struct FakeBroker(TcpListener);

/// One client, as the broker sees it.
pub struct Peer {
    pub stream: TcpStream,
}

/// A frame that the client sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    pub kind: Kind,
    pub topic: String,
    pub body: Vec<u8>,
}

impl FakeBroker {
    pub fn start() -> FakeBroker {
        FakeBroker(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// The next client, before it was welcomed.
    pub fn accept(&self) -> Peer {
        let (stream, _) = self.0.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Peer { stream }
    }

    /// The next client, welcomed, without heartbeats.
    pub fn welcome(&self) -> Peer {
        self.welcome_with(1 << 20, 0.0)
    }

    /// The next client, welcomed with these limits.
    pub fn welcome_with(&self, max_payload: usize, heartbeat: f64) -> Peer {
        let mut peer = self.accept();
        assert_eq!(peer.receive().kind, Kind::Hello);
        peer.send_welcome(max_payload, heartbeat);
        peer
    }
}

impl Peer {
    pub fn send_welcome(&mut self, max_payload: usize, heartbeat: f64) {
        let mut bytes = Vec::new();
        let (id, server) = ("fake", "fake/0");
        let welcome = Welcome { id, server, max_payload, heartbeat };
        welcome.encode(&mut bytes);
        self.send_bytes(&bytes);
    }

    /// The next frame; end of stream is a failure of the test.
    pub fn receive(&mut self) -> Received {
        self.try_receive().expect("the client closed the connection")
    }

    /// The next frame, or `None` at the end of the stream.
    pub fn try_receive(&mut self) -> Option<Received> {
        let mut header_bytes = [0; HEADER_BYTES];
        match self.stream.read_exact(&mut header_bytes) {
            Ok(()) => {}
            Err(error) => match error.kind() {
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => return None,
                _ => panic!("reading from the client: {error}"),
            },
        }
        let header = Header::parse(&header_bytes).unwrap();
        let mut topic = vec![0; header.topic_len()];
        let mut body = vec![0; header.body_len()];
        self.stream.read_exact(&mut topic).unwrap();
        self.stream.read_exact(&mut body).unwrap();
        Some(Received {
            kind: Kind::from_code(header.kind).unwrap(),
            topic: String::from_utf8(topic).unwrap(),
            body,
        })
    }

    /// Answers PINGs until a frame of another kind comes, and returns that one.
    pub fn receive_past_pings(&mut self) -> Received {
        loop {
            let received = self.receive();
            if received.kind != Kind::Ping {
                return received;
            }
            self.send(Kind::Pong, b"", &received.body);
        }
    }

    pub fn send(&mut self, kind: Kind, topic: &[u8], body: &[u8]) {
        let mut bytes = Vec::new();
        frame::encode(kind, 0, topic, body, &mut bytes);
        self.send_bytes(&bytes);
    }

    pub fn send_error(&mut self, code: ErrorCode, fatal: bool, about: &str, text: &str) {
        let mut bytes = Vec::new();
        frame::encode_error(code, fatal, about.as_bytes(), text, &mut bytes);
        self.send_bytes(&bytes);
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends no more, and reads until the client has closed too.
    pub fn close(mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
        while self.try_receive().is_some() {}
    }
}
