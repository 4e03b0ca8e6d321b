//! The protocol's frames, from its description alone: codes, encoding, decoding.

use std::fmt;

/// Codes of the kinds.
pub(crate) mod kind {
    pub(crate) const HELLO: u8 = 0x01;
    pub(crate) const WELCOME: u8 = 0x02;
    pub(crate) const SUBSCRIBE: u8 = 0x03;
    pub(crate) const UNSUBSCRIBE: u8 = 0x04;
    pub(crate) const PUBLISH: u8 = 0x05;
    pub(crate) const PING: u8 = 0x06;
    pub(crate) const PONG: u8 = 0x07;
    pub(crate) const ERROR: u8 = 0x08;
    pub(crate) const LOST: u8 = 0x09;
    pub(crate) const GOODBYE: u8 = 0x0A;
}

/// Codes in ERROR frames.
pub(crate) mod code {
    pub(crate) const MALFORMED: u16 = 1;
    pub(crate) const VERSION: u16 = 2;
    pub(crate) const BAD_TOPIC: u16 = 3;
    pub(crate) const TOO_LARGE: u16 = 4;
    pub(crate) const NOT_ALLOWED: u16 = 5;
    pub(crate) const UNAUTHORIZED: u16 = 6;
    pub(crate) const TOO_MANY: u16 = 7;
    pub(crate) const SLOW_CONSUMER: u16 = 8;
    pub(crate) const TIMEOUT: u16 = 9;
    pub(crate) const HELLO_EXPECTED: u16 = 10;
}

/// The flag of ERROR that says that the connection ends.
pub(crate) const FATAL: u8 = 0x01;

/// One frame. Two are equal exactly if their bytes are.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) topic: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    /// The code of an ERROR.
    pub(crate) fn error_code(&self) -> u16 {
        assert_eq!(self.kind, kind::ERROR, "not an ERROR: {self:?}");
        assert!(self.body.len() >= 2, "an ERROR without a code: {self:?}");
        u16::from_be_bytes([self.body[0], self.body[1]])
    }

    /// The code of an ERROR; `None` for a PING, and nothing else may come.
    pub(crate) fn error_code_or_ping(&self) -> Option<u16> {
        (self.kind != kind::PING).then(|| self.error_code())
    }

    /// The count of a LOST.
    pub(crate) fn lost(&self) -> u64 {
        assert_eq!(self.kind, kind::LOST, "not a LOST: {self:?}");
        assert!(self.topic.is_empty() && self.flags == 0, "{self:?}");
        let count = <[u8; 8]>::try_from(self.body.as_slice());
        u64::from_be_bytes(count.unwrap_or_else(|_| panic!("a LOST without a u64: {self:?}")))
    }

    /// The whole frame as it is sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        raw(self.kind, self.flags, &self.topic, &self.body)
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |bytes: &[u8]| {
            let start = bytes[..bytes.len().min(80)].escape_ascii();
            format!("\"{start}\" ({} bytes)", bytes.len())
        };
        let (topic, body) = (shown(&self.topic), shown(&self.body));
        write!(f, "kind {:#04x} flags {} ", self.kind, self.flags)?;
        write!(f, "topic {topic} body {body}")
    }
}

/// A header with any fields, fitting or not.
pub(crate) fn header(length: u32, kind: u8, flags: u8, topic_len: u16) -> Vec<u8> {
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(topic_len.to_be_bytes());
    bytes
}

/// A frame with any kind and flags.
pub(crate) fn raw(kind: u8, flags: u8, topic: &[u8], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(4 + topic.len() + body.len()).expect("a test's frame is small");
    let topic_len = u16::try_from(topic.len()).expect("a test's topic is at most 65,535 bytes");
    let mut bytes = header(length, kind, flags, topic_len);
    bytes.extend(topic);
    bytes.extend(body);
    bytes
}

pub(crate) fn hello(id: &[u8], body: &[u8]) -> Vec<u8> {
    raw(kind::HELLO, 0, id, body)
}

pub(crate) fn publish(topic: &[u8], payload: &[u8]) -> Vec<u8> {
    raw(kind::PUBLISH, 0, topic, payload)
}

/// A SUBSCRIBE; an empty `group` is a plain filter.
pub(crate) fn subscribe(filter: &[u8], group: &[u8]) -> Vec<u8> {
    raw(kind::SUBSCRIBE, 0, filter, group)
}

pub(crate) fn unsubscribe(filter: &[u8], group: &[u8]) -> Vec<u8> {
    raw(kind::UNSUBSCRIBE, 0, filter, group)
}

pub(crate) fn ping(body: &[u8]) -> Vec<u8> {
    raw(kind::PING, 0, b"", body)
}

pub(crate) fn pong(body: &[u8]) -> Vec<u8> {
    raw(kind::PONG, 0, b"", body)
}

/// Bytes received, from which whole frames are cut.
#[derive(Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
}

impl Inbox {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.start > 1 << 20 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend(bytes);
    }

    /// The next whole frame, if its last byte is there.
    pub(crate) fn cut(&mut self) -> Option<Frame> {
        let bytes = &self.bytes[self.start..];
        let header = bytes.first_chunk::<8>()?;
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let topic_len = usize::from(u16::from_be_bytes([header[6], header[7]]));
        assert!(length >= 4 + topic_len, "no frame from the broker: {}", header.escape_ascii());
        let frame = bytes.get(..4 + length)?;
        let frame = Frame {
            kind: header[4],
            flags: header[5],
            topic: frame[8..8 + topic_len].to_vec(),
            body: frame[8 + topic_len..].to_vec(),
        };
        self.start += 4 + length;
        Some(frame)
    }

    /// Bytes of the frame that is not yet whole.
    pub(crate) fn partial(&self) -> usize {
        self.bytes.len() - self.start
    }
}
