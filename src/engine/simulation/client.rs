//! One client of a simulated world, and its end of a fake socket.

use std::collections::{BTreeMap, VecDeque};

use wire::native::error_code::ErrorCode;
use wire::native::frame::{self, Frame, Header, Kind, Reader, decode_error};

use super::hub;
use super::nats::{self, Line, ident, payload};
use super::script::{GROUP_FLOOD, Said};
use super::*;
use crate::engine::buffers::chunk::Slice;

/// What a client received.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Heard {
    Message(u64),
    Lost(u64),
    Pong,
    Error(ErrorCode, bool),
    /// Its user may not do this.
    Refused(String),
    Goodbye,
    Ping,
    Other,
}

/// A client and its socket.
pub(super) struct Client {
    pub(super) token: Token,
    pub(super) role: Role,
    /// The frames that it sent, whole.
    pub(super) said: Vec<Said>,
    /// How many of them the broker has processed.
    pub(super) processed: usize,
    /// Bytes on their way to the broker, and those that have arrived there.
    pub(super) on_its_way: VecDeque<u8>,
    pub(super) arrived: VecDeque<u8>,
    /// It is in the middle of a frame that it will not end.
    pub(super) mute: bool,
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
    /// Its socket was full, and has room again, which no event has told yet.
    pub(super) has_room_again: bool,
    /// Its socket did not take all of a write, and no event has told since that it has room.
    pub(super) is_full: bool,
    /// Writes in this turn that were made even so.
    pub(super) needless: usize,
    /// An event has told that it has finished or broken.
    pub(super) told_end: bool,
    received: Vec<u8>,
    pub(super) heard: Vec<Heard>,
    /// By number of the message: the topic that a native client was shown.
    pub(super) topics: BTreeMap<u64, String>,
    /// The same of a NATS client, in full.
    pub(super) transcript: Vec<nats::Heard>,
    /// The same of a hub.
    pub(super) hub: Vec<hub::Heard>,
    /// Since when its socket takes nothing though it was offered something.
    pub(super) stuck: Option<Instant>,
    /// What it had said is not processed since then, since it waits for receivers.
    pub(super) unread: Option<(usize, Instant)>,
    /// Its conversation went on when the broker was told to stop.
    pub(super) was_open: bool,
    /// PINGs of the broker that it has not answered.
    pub(super) unanswered: usize,
    /// When it connected; when it last did anything that the broker could see.
    pub(super) since: Instant,
    pub(super) last_sign: Instant,
    /// Turns in which it had been silent for another heartbeat.
    pub(super) silences: usize,
}

impl Client {
    pub(super) fn new(token: Token, role: Role, room: usize, now: Instant) -> Client {
        Client {
            token,
            role,
            said: Vec::new(),
            processed: 0,
            on_its_way: VecDeque::new(),
            arrived: VecDeque::new(),
            mute: false,
            finished: false,
            broken: false,
            hung_up: false,
            closed: false,
            room,
            has_room_again: false,
            is_full: false,
            needless: 0,
            told_end: false,
            received: Vec::new(),
            heard: Vec::new(),
            topics: BTreeMap::new(),
            transcript: Vec::new(),
            hub: Vec::new(),
            stuck: None,
            unread: None,
            was_open: false,
            unanswered: 0,
            since: now,
            last_sign: now,
            silences: 0,
        }
    }

    /// Whether it can still say something.
    pub(super) fn is_talking(&self) -> bool {
        !self.finished && !self.broken && !self.closed
    }

    pub(super) fn say(&mut self, said: Said, max_payload: usize) {
        if self.mute {
            return;
        }
        let mut bytes = Vec::new();
        let out = &mut bytes;
        let sub = |kind, filter: &str, group: Option<&str>, out: &mut Vec<u8>| {
            frame::encode(kind, 0, filter.as_bytes(), group.unwrap_or("").as_bytes(), out);
        };
        match said {
            Said::Hello => frame::encode(Kind::Hello, 0, b"sim", b"version=1\n", out),
            Said::Subscribe(filter, group) => sub(Kind::Subscribe, filter, group, out),
            Said::Unsubscribe(filter, group) => sub(Kind::Unsubscribe, filter, group, out),
            Said::Publish(topic, number, length) => {
                let payload = payload(number, length.max(8));
                frame::encode(Kind::Publish, 0, topic.as_bytes(), &payload, out);
            }
            Said::Nats(line) => {
                out.extend(line.bytes(max_payload));
                if let Line::Part(_) = line {
                    self.mute = true;
                    self.on_its_way.extend(bytes);
                    return;
                }
            }
            Said::Hub(line) => {
                out.extend(line.bytes(max_payload));
                if let hub::Line::Part(_) = line {
                    self.mute = true;
                    self.on_its_way.extend(bytes);
                    return;
                }
            }
            Said::Ping => frame::encode(Kind::Ping, 0, b"", b"ping", out),
            Said::Pong => frame::encode(Kind::Pong, 0, b"", b"", out),
            Said::JoinMany => {
                for name in GROUP_FLOOD {
                    sub(Kind::Subscribe, ">", Some(name), out);
                    self.said.push(Said::Subscribe(">", Some(name)));
                }
                self.on_its_way.extend(bytes);
                return;
            }
            Said::BadTopic if self.role.may_publish => {
                frame::encode(Kind::Publish, 0, b"a..b", b"x", out);
            }
            Said::BadTopic => frame::encode(Kind::Subscribe, 0, b">.a", b"", out),
            Said::Nonsense(ErrorCode::Malformed) => out.extend_from_slice(&[0; 8]),
            Said::Nonsense(ErrorCode::HelloExpected) => {
                frame::encode(Kind::Hello, 0, b"sim", b"version=1\n", out);
            }
            Said::Nonsense(ErrorCode::TooLarge) => {
                let kind = if self.role.may_publish { Kind::Publish } else { Kind::Subscribe };
                let length = 4 + 65_535 + max_payload as u32 + 8_192;
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(&[kind as u8, 0, 0, 1]);
            }
            Said::Nonsense(_) => frame::encode(Kind::Welcome, 0, b"", b"", out),
            Said::Part(length) => {
                let before = out.len();
                frame::encode(Kind::Publish, 0, b"a", &payload(0, max_payload.max(8)), out);
                out.truncate(out.len().min(before + length));
                self.mute = true;
                self.on_its_way.extend(bytes);
                return;
            }
        }
        self.on_its_way.extend(bytes);
        self.said.push(said);
    }

    /// The client's socket takes bytes that the broker wrote.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        assert!(!self.hung_up, "nothing is written behind the end");
        self.room -= bytes.len();
        self.received.extend_from_slice(bytes);
        match self.role.protocol {
            Protocol::Native => {}
            Protocol::Nats => return self.hear_lines(),
            Protocol::Leaf => return self.hear_as_hub(),
        }
        let mut at = 0;
        while let Some(frame) = Frame::decode(&self.received[at..], Reader::Client, 1 << 20)
            .expect("the broker sends valid frames")
        {
            at += frame.encoded_len();
            let heard = understand(&frame);
            if let Heard::Message(number) = heard
                && nats::is_number(number)
            {
                let topic = String::from_utf8(frame.topic.to_vec()).expect("names are text here");
                self.topics.insert(number, topic);
            }
            if let Some(Heard::Goodbye | Heard::Error(_, true)) = self.heard.last() {
                panic!("{heard:?} came behind the last frame");
            }
            self.note(heard);
        }
        self.received.drain(..at);
    }

    fn hear_lines(&mut self) {
        let mut at = 0;
        while let Some((heard, length)) = nats::hear(&self.received[at..]) {
            at += length;
            let plain = match heard {
                nats::Heard::Message(_, ident) => Heard::Message(ident),
                nats::Heard::Ping => Heard::Ping,
                nats::Heard::Pong => Heard::Pong,
                _ => Heard::Other,
            };
            self.note(plain);
            self.transcript.push(heard);
        }
        self.received.drain(..at);
    }

    fn hear_as_hub(&mut self) {
        let mut at = 0;
        while let Some((heard, length)) = hub::hear(&self.received[at..]) {
            at += length;
            let plain = match heard {
                hub::Heard::Message(_, ident) => Heard::Message(ident),
                hub::Heard::Ping => Heard::Ping,
                hub::Heard::Pong => Heard::Pong,
                _ => Heard::Other,
            };
            self.note(plain);
            self.hub.push(heard);
        }
        self.received.drain(..at);
    }

    fn note(&mut self, heard: Heard) {
        self.unanswered += usize::from(heard == Heard::Ping);
        self.heard.push(heard);
    }

    /// It takes what it has received: its socket holds so many bytes again.
    pub(super) fn make_room(&mut self, room: usize) {
        let was_full = self.room == 0;
        self.room = self.room.max(room);
        self.has_room_again |= was_full && self.room > 0;
    }

    /// It answers the PINGs that it has received.
    pub(super) fn answer_pings(&mut self) {
        for _ in 0..std::mem::take(&mut self.unanswered) {
            let pong = match self.role.protocol {
                Protocol::Native => Said::Pong,
                Protocol::Nats => Said::Nats(Line::Pong),
                Protocol::Leaf => Said::Hub(hub::Line::Pong),
            };
            self.say(pong, 0);
        }
    }

    /// Whether a part of a frame was received and not the rest.
    pub(super) fn has_partial(&self) -> bool {
        !self.received.is_empty()
    }

    /// The error that ended its conversation.
    pub(super) fn fatal(&self) -> Option<ErrorCode> {
        match self.heard.last() {
            Some(Heard::Error(code, true)) => Some(*code),
            _ => None,
        }
    }

    /// Whether the broker said that everything was delivered.
    pub(super) fn heard_goodbye(&self) -> bool {
        self.heard.last() == Some(&Heard::Goodbye)
    }
}

/// The kinds of the frames in a chunk that the broker made, those taken already included.
pub(super) fn kinds(slice: &Slice) -> impl Iterator<Item = u8> {
    let mut rest = slice.bytes_from(0);
    std::iter::from_fn(move || {
        let header = Header::parse(rest.first_chunk()?).ok()?;
        rest = rest.get(header.frame_len()..)?;
        Some(header.kind)
    })
}

fn understand(frame: &Frame) -> Heard {
    match frame.kind {
        Kind::Publish => {
            let number = ident(frame.body);
            assert_eq!(frame.body, payload(number, frame.body.len()), "no byte was changed");
            Heard::Message(number)
        }
        Kind::Lost => Heard::Lost(u64::from_be_bytes(frame.body.try_into().unwrap())),
        Kind::Pong => Heard::Pong,
        Kind::Goodbye => Heard::Goodbye,
        Kind::Error => {
            let (code, _) = decode_error(frame.body).expect("an ERROR has a code");
            if frame.flags == 0 && code == ErrorCode::NotAllowed.code() {
                return Heard::Refused(String::from_utf8(frame.topic.to_vec()).unwrap());
            }
            Heard::Error(ErrorCode::from_code(code).unwrap(), frame.flags != 0)
        }
        Kind::Ping => Heard::Ping,
        _ => Heard::Other,
    }
}
