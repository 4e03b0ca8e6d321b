//! One client of a simulated world, and its end of a fake socket.

use super::*;
use crate::wire::frame::{Frame, Kind, Reader, decode_error};

/// What a client asks for with one frame.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Hello,
    Subscribe(&'static str, Option<&'static str>),
    Unsubscribe(&'static str, Option<&'static str>),
    /// A message with this number.
    Publish(&'static str, u64),
    Ping,
    Pong,
    /// A frame that is refused, and the connection goes on.
    BadTopic,
    /// A frame that ends the connection.
    Nonsense(ErrorCode),
}

/// What a client received.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Heard {
    Message(u64),
    Lost(u64),
    Pong,
    Error(ErrorCode, bool),
    Goodbye,
    Other,
}

/// A client and its socket.
pub(super) struct Client {
    pub(super) token: Token,
    pub(super) role: Role,
    /// The frames that it sent, whole.
    pub(super) said: Vec<Said>,
    /// How many of them the model has carried out.
    pub(super) carried: usize,
    /// Bytes on their way to the broker.
    pub(super) to_broker: Vec<u8>,
    /// It has closed its sending side.
    pub(super) finished: bool,
    /// Its connection broke.
    pub(super) broken: bool,
    /// The broker has ended its sending side, or closed.
    pub(super) hung_up: bool,
    /// The broker has closed.
    pub(super) closed: bool,
    /// Bytes that its socket still takes.
    pub(super) room: usize,
    /// There is an event that the broker has not used up.
    pub(super) readable: bool,
    pub(super) ready: bool,
    received: Vec<u8>,
    pub(super) heard: Vec<Heard>,
    /// PINGs of the broker that it has not answered.
    pub(super) unanswered: usize,
    pub(super) hash: u64,
}

impl Client {
    pub(super) fn new(token: Token, role: Role, room: usize) -> Client {
        Client {
            token,
            role,
            said: Vec::new(),
            carried: 0,
            to_broker: Vec::new(),
            finished: false,
            broken: false,
            hung_up: false,
            closed: false,
            room,
            readable: false,
            ready: false,
            received: Vec::new(),
            heard: Vec::new(),
            unanswered: 0,
            hash: 0xCBF2_9CE4_8422_2325,
        }
    }

    pub(super) fn say(&mut self, said: Said, payload_len: usize) {
        let out = &mut self.to_broker;
        let sub = |kind, filter: &str, group: Option<&str>, out: &mut Vec<u8>| {
            frame::encode(kind, 0, filter.as_bytes(), group.unwrap_or("").as_bytes(), out);
        };
        match &said {
            Said::Hello => frame::encode(Kind::Hello, 0, b"sim", b"version=1\n", out),
            Said::Subscribe(filter, group) => sub(Kind::Subscribe, filter, *group, out),
            Said::Unsubscribe(filter, group) => sub(Kind::Unsubscribe, filter, *group, out),
            Said::Publish(topic, number) => {
                let mut payload = number.to_be_bytes().to_vec();
                payload.resize(payload_len.max(8), 0x55);
                frame::encode(Kind::Publish, 0, topic.as_bytes(), &payload, out);
            }
            Said::Ping => frame::encode(Kind::Ping, 0, b"", b"ping", out),
            Said::Pong => frame::encode(Kind::Pong, 0, b"", b"", out),
            Said::BadTopic if self.role == Role::Publisher => {
                frame::encode(Kind::Publish, 0, b"a..b", b"x", out);
            }
            Said::BadTopic => frame::encode(Kind::Subscribe, 0, b">.a", b"", out),
            Said::Nonsense(ErrorCode::Malformed) => out.extend_from_slice(&[0; 8]),
            Said::Nonsense(ErrorCode::HelloExpected) => {
                frame::encode(Kind::Hello, 0, b"sim", b"version=1\n", out);
            }
            Said::Nonsense(_) => frame::encode(Kind::Welcome, 0, b"", b"", out),
        }
        self.said.push(said);
    }

    /// The client's socket takes bytes that the broker wrote.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        assert!(!self.hung_up, "nothing is written behind the end");
        self.room -= bytes.len();
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
        self.received.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(frame) = Frame::decode(&self.received[at..], Reader::Client, 1 << 20)
            .expect("the broker sends valid frames")
        {
            at += frame.encoded_len();
            let heard = match frame.kind {
                Kind::Publish => Heard::Message(u64::from_be_bytes(
                    *frame.body.first_chunk().expect("messages begin with their number"),
                )),
                Kind::Lost => Heard::Lost(u64::from_be_bytes(frame.body.try_into().unwrap())),
                Kind::Pong => Heard::Pong,
                Kind::Goodbye => Heard::Goodbye,
                Kind::Error => {
                    let (code, _) = decode_error(frame.body).expect("an ERROR has a code");
                    Heard::Error(ErrorCode::from_code(code).unwrap(), frame.flags != 0)
                }
                Kind::Ping => {
                    self.unanswered += 1;
                    Heard::Other
                }
                _ => Heard::Other,
            };
            if let Some(Heard::Goodbye | Heard::Error(_, true)) = self.heard.last() {
                panic!("{heard:?} came behind the last frame");
            }
            self.heard.push(heard);
        }
        self.received.drain(..at);
    }

    /// Whether a part of a frame was received and not the rest.
    pub(super) fn has_partial(&self) -> bool {
        !self.received.is_empty()
    }
}
