//! What the NATS clients of a simulated world say and hear, as bytes.
//!
//! Owns the lines as a client writes them, by plain formatting, and the reading of what comes back.
//! What must come back is told by `nats_model`.

use wire::nats::client::{self, ServerLine};

/// What CONNECT says; what it leaves out stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Options {
    pub(super) verbose: Option<bool>,
    pub(super) pedantic: Option<bool>,
    pub(super) echo: Option<bool>,
    pub(super) headers: Option<bool>,
    pub(super) no_responders: Option<bool>,
    pub(super) protocol: Option<u8>,
}

/// A message: its number, its headers if it is an HPUB, and its payload, both in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sent {
    pub(super) subject: &'static str,
    pub(super) reply: Option<&'static str>,
    pub(super) number: u64,
    pub(super) headers: Option<usize>,
    pub(super) length: usize,
}

/// What a NATS client asks for with one line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Line {
    Connect(Options),
    /// To a filter, in a queue group or none, called so.
    Sub(&'static str, Option<&'static str>, &'static str),
    /// So many messages are the last.
    Unsub(&'static str, Option<u64>),
    Pub(Sent),
    Ping,
    Pong,
    /// Bytes that end the connection, and the error that tells so, if any does.
    Nonsense(&'static str, &'static str),
    /// A message that is never ended: so many bytes of it. Nothing can come behind it.
    Part(usize),
}

/// A message as a client is given it: its line, and a hash of the bytes behind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Copied {
    pub(super) line: String,
    body: u64,
}

/// What a NATS client received.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Heard {
    /// Whether it says that the broker stops.
    Info(bool),
    Ok,
    Ping,
    Pong,
    Error(String),
    /// A message, and what tells it from others: see [`ident`].
    Message(Copied, u64),
    /// Nobody hears a request of its own.
    Unheard(Copied),
}

impl Options {
    fn json(&self) -> String {
        let flags = [
            ("verbose", self.verbose),
            ("pedantic", self.pedantic),
            ("echo", self.echo),
            ("headers", self.headers),
            ("no_responders", self.no_responders),
        ];
        let flags = flags.into_iter().filter_map(|(key, value)| Some((key, value?)));
        let mut fields: Vec<_> = flags.map(|(key, value)| format!("\"{key}\":{value}")).collect();
        fields.extend(self.protocol.map(|version| format!("\"protocol\":{version}")));
        format!("{{{}}}", fields.join(","))
    }
}

impl Sent {
    /// The bytes behind the line, its end aside, as one sees them who takes headers or does not.
    pub(super) fn body(&self, with_headers: bool) -> Vec<u8> {
        let headers = self.headers.filter(|_| with_headers).unwrap_or(0);
        let text = b"NATS/1.0\r\nNumber: ".iter().chain(b"7\r\nPUB a 1\r\n".iter().cycle());
        let headers = text.take(headers).copied();
        headers.chain(payload(self.number, self.length)).collect()
    }

    /// The bytes of headers, as far as one sees them.
    fn headers(&self, takes_headers: bool) -> usize {
        self.headers.filter(|_| takes_headers).unwrap_or(0)
    }

    /// The copy of it that a subscription is given.
    pub(super) fn copied(&self, sid: &str, takes_headers: bool) -> Copied {
        let headers = self.headers(takes_headers);
        let reply = self.reply.map_or(String::new(), |reply| format!("{reply} "));
        let total = headers + self.length;
        let line = match headers {
            0 => format!("MSG {} {sid} {reply}{total}", self.subject),
            _ => format!("HMSG {} {sid} {reply}{headers} {total}", self.subject),
        };
        Copied { line, body: hash(&self.body(takes_headers)) }
    }

    /// Bytes of such a copy.
    pub(super) fn copied_bytes(&self, sid: &str, takes_headers: bool) -> usize {
        let body = self.headers(takes_headers) + self.length;
        self.copied(sid, takes_headers).line.len() + body + 4
    }

    /// Bytes of a copy, or more.
    pub(super) fn bytes_at_most(&self) -> usize {
        self.headers(true) + self.length + 70
    }

    /// The news that nobody hears it.
    pub(super) fn unheard(&self, sid: &str) -> Copied {
        let text = format!("NATS/1.0 503\r\nNats-Subject: {}\r\n\r\n", self.subject);
        let (reply, length) = (self.reply.unwrap_or(""), text.len());
        Copied {
            line: format!("HMSG {reply} {sid} {length} {length}"),
            body: hash(text.as_bytes()),
        }
    }
}

impl Line {
    /// What is sent. Messages may have so many bytes of payload.
    pub(super) fn bytes(&self, max_payload: usize) -> Vec<u8> {
        let text = match self {
            Line::Connect(options) => format!("CONNECT {}\r\n", options.json()),
            Line::Sub(filter, None, sid) => format!("SUB {filter}  {sid}\r\n"),
            Line::Sub(filter, Some(group), sid) => format!("sub {filter} {group}\t{sid}\r\n"),
            Line::Unsub(sid, None) => format!("UNSUB {sid} \r\n"),
            Line::Unsub(sid, Some(max)) => format!("UNSUB {sid} {max}\r\n"),
            Line::Pub(sent) => {
                let reply = sent.reply.unwrap_or("");
                let line = match sent.headers {
                    None => format!("PUB {} {reply} {}\r\n", sent.subject, sent.length),
                    Some(headers) => {
                        let total = headers + sent.length;
                        format!("HPUB {} {reply} {headers} {total}\r\n", sent.subject)
                    }
                };
                return [line.as_bytes(), &sent.body(true), b"\r\n"].concat();
            }
            Line::Ping => "PING\r\n".to_owned(),
            Line::Pong => "PONG\r\n".to_owned(),
            Line::Nonsense(text, _) => (*text).to_owned(),
            Line::Part(length) => {
                let line = format!("PUB a {max_payload}\r\n");
                let bytes = [line.as_bytes(), &payload(0, max_payload)].concat();
                return bytes[..bytes.len().min(*length)].to_vec();
            }
        };
        text.into_bytes()
    }
}

/// A payload that begins with the message's number, as far as it is long enough for that, and whose
/// bytes all follow from that number.
pub(super) fn payload(number: u64, length: usize) -> Vec<u8> {
    if length < 8 {
        return vec![b'x'; length];
    }
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(length, (number % 251) as u8);
    payload
}

/// What tells a message from others: its number, or its length if it is too short to have one.
pub(super) fn ident(payload: &[u8]) -> u64 {
    let number = payload.first_chunk().map(|number| u64::from_be_bytes(*number));
    number.unwrap_or(u64::MAX - payload.len() as u64)
}

/// Whether that is the number of one message alone.
pub(super) fn is_number(ident: u64) -> bool {
    ident < u64::MAX - 8
}

/// The first thing in what a client has received, and its length. Nothing if it is not whole.
pub(super) fn hear(received: &[u8]) -> Option<(Heard, usize)> {
    let (line, at) = client::parse(received, 8_192).expect("the broker sends valid lines")?;
    let heard = match line {
        ServerLine::Info(json) => Heard::Info(json.windows(5).any(|key| key == b"\"ldm\"")),
        ServerLine::Ok => Heard::Ok,
        ServerLine::Ping => Heard::Ping,
        ServerLine::Pong => Heard::Pong,
        ServerLine::Err(text) => Heard::Error(String::from_utf8(text.to_vec()).unwrap()),
        ServerLine::Message(message) => {
            let end = at + message.total_bytes as usize;
            let body = received.get(at..end)?;
            assert_eq!(received.get(end..end + 2)?, b"\r\n", "a message ends with its line");
            // To the letter, blanks and the line's end included.
            let line = std::str::from_utf8(&received[..at - 2]).unwrap().to_owned();
            assert_eq!(received[at - 2..at], *b"\r\n");
            let copied = Copied { line, body: hash(body) };
            let heard = if body.starts_with(b"NATS/1.0 503\r\n") {
                Heard::Unheard(copied)
            } else {
                Heard::Message(copied, ident(&body[message.header_bytes as usize..]))
            };
            return Some((heard, end + 2));
        }
    };
    Some((heard, at))
}

pub(super) fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, step)
}
