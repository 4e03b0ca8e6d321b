//! The frame: its header, its kinds, encoding, decoding, and the checks that need only a header.
//!
//! Must not know about connections or topics' grammar; a frame is cut out of bytes, never copied.

use byteorder::{BigEndian, ByteOrder};

use super::error_code::ErrorCode;

/// Bytes of a frame's header: `length`, `kind`, `flags`, `topic_len`.
pub const HEADER_BYTES: usize = 8;
/// What `length` counts beside topic and body: kind, flags and topic length.
pub const LENGTH_OVERHEAD: usize = 4;
/// The largest `length` of any kind but PUBLISH, in bytes.
pub const MAX_CONTROL_LENGTH: usize = 8_192;
/// The largest body of PING and PONG, in bytes.
pub const MAX_PING_BODY: usize = 64;
/// The only flag of version 1: in ERROR, "the connection ends behind this frame".
pub const FLAG_FATAL: u8 = 0x01;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A client introduces itself: topic = its id, body = `key=value` lines.
    Hello = 0x01,
    /// The broker's answer to HELLO.
    Welcome = 0x02,
    /// Topic = a filter, body = empty or the name of a queue group.
    Subscribe = 0x03,
    /// Ends the subscription that a SUBSCRIBE with the same topic and body began.
    Unsubscribe = 0x04,
    /// A message: topic and payload.
    Publish = 0x05,
    /// Asks for a PONG with the same body.
    Ping = 0x06,
    /// Answers a PING.
    Pong = 0x07,
    /// The broker refuses something: body = code (u16) and a text for a person.
    Error = 0x08,
    /// The broker tells a subscriber how many messages it was not given (u64).
    Lost = 0x09,
    /// The broker is shutting down; nothing follows.
    Goodbye = 0x0A,
}

impl Kind {
    /// The kind with this code, if version 1 has one.
    pub fn from_code(code: u8) -> Option<Kind> {
        Some(match code {
            0x01 => Kind::Hello,
            0x02 => Kind::Welcome,
            0x03 => Kind::Subscribe,
            0x04 => Kind::Unsubscribe,
            0x05 => Kind::Publish,
            0x06 => Kind::Ping,
            0x07 => Kind::Pong,
            0x08 => Kind::Error,
            0x09 => Kind::Lost,
            0x0A => Kind::Goodbye,
            _ => return None,
        })
    }

    /// The flag bits that this kind defines.
    pub fn defined_flags(self) -> u8 {
        if self == Kind::Error { FLAG_FATAL } else { 0 }
    }
}

/// The first 8 bytes of a frame. `length` and `topic_len` are known to fit each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Code of the kind, known or not.
    pub kind: u8,
    /// Flag bits, defined or not.
    pub flags: u8,
    topic_len: u16,
    length: u32,
}

/// Who is reading a frame: decides which kinds may come, in which order things are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// The broker, before the connection's HELLO.
    BrokerBeforeHello,
    /// The broker, on the publishers' port.
    BrokerFromPublisher,
    /// The broker, on the subscribers' port.
    BrokerFromSubscriber,
    /// A client.
    Client,
}

impl Header {
    /// Reads a header (check 1 of the protocol).
    ///
    /// # Errors
    /// `MALFORMED` when `length` is under 4 or `topic_len` does not fit into it.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Header, ErrorCode> {
        let length = BigEndian::read_u32(&bytes[0..4]);
        let topic_len = BigEndian::read_u16(&bytes[6..8]);
        if length < LENGTH_OVERHEAD as u32 || u32::from(topic_len) > length - 4 {
            return Err(ErrorCode::Malformed);
        }
        Ok(Header { kind: bytes[4], flags: bytes[5], topic_len, length })
    }

    /// Bytes of the whole frame, header included.
    pub fn frame_len(&self) -> usize {
        LENGTH_OVERHEAD + self.length as usize
    }

    /// Bytes of topic.
    pub fn topic_len(&self) -> usize {
        usize::from(self.topic_len)
    }

    /// Bytes of body.
    pub fn body_len(&self) -> usize {
        self.length as usize - LENGTH_OVERHEAD - self.topic_len()
    }

    /// Checks 2 to 5 of the protocol, which need no byte beyond the header: whether `reader`
    /// expects this frame at all, before anything is reserved for it. `max_payload` is in bytes.
    ///
    /// # Errors
    /// The code to answer with; all of them are fatal.
    pub fn check(&self, reader: Reader, max_payload: usize) -> Result<Kind, ErrorCode> {
        let kind = Kind::from_code(self.kind);
        let is_hello = kind == Some(Kind::Hello);
        let first = reader == Reader::BrokerBeforeHello;
        if reader != Reader::Client && is_hello != first {
            return Err(ErrorCode::HelloExpected);
        }
        let kind = kind.ok_or(ErrorCode::Malformed)?;
        if self.flags & !kind.defined_flags() != 0 {
            return Err(ErrorCode::Malformed);
        }
        if !reader.expects(kind) {
            return Err(ErrorCode::NotAllowed);
        }
        let largest = match kind {
            Kind::Publish => LENGTH_OVERHEAD + usize::from(u16::MAX) + max_payload,
            _ => MAX_CONTROL_LENGTH,
        };
        let too_long = self.length as usize > largest;
        if too_long || (kind == Kind::Publish && self.body_len() > max_payload) {
            return Err(ErrorCode::TooLarge);
        }
        Ok(kind)
    }
}

impl Reader {
    fn expects(self, kind: Kind) -> bool {
        match self {
            Reader::BrokerBeforeHello => kind == Kind::Hello,
            Reader::BrokerFromPublisher => {
                matches!(kind, Kind::Publish | Kind::Ping | Kind::Pong)
            }
            Reader::BrokerFromSubscriber => {
                matches!(kind, Kind::Subscribe | Kind::Unsubscribe | Kind::Ping | Kind::Pong)
            }
            Reader::Client => !matches!(kind, Kind::Hello | Kind::Subscribe | Kind::Unsubscribe),
        }
    }
}

/// A whole frame, borrowed from the bytes that it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is for.
    pub kind: Kind,
    /// Its flags; only defined bits are set.
    pub flags: u8,
    /// Its topic, filter or id, by kind. Not yet checked against any grammar.
    pub topic: &'a [u8],
    /// Its body.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Cuts the first frame off `bytes`. `None`: more bytes are needed. Its length in `bytes` is
    /// [`Frame::encoded_len`].
    ///
    /// # Errors
    /// The code of the first check of 1 to 6 that fails; 6 only as far as PING and PONG go.
    pub fn decode(
        bytes: &'a [u8],
        reader: Reader,
        max_payload: usize,
    ) -> Result<Option<Frame<'a>>, ErrorCode> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = Header::parse(header)?;
        let kind = header.check(reader, max_payload)?;
        if bytes.len() < header.frame_len() {
            return Ok(None);
        }
        Frame::cut(&bytes[..header.frame_len()], &header, kind).map(Some)
    }

    /// The frame that fills `bytes`, behind a header that was checked already.
    ///
    /// # Errors
    /// `MALFORMED` for a PING or PONG with a topic or with a body over [`MAX_PING_BODY`].
    pub fn cut(bytes: &'a [u8], header: &Header, kind: Kind) -> Result<Frame<'a>, ErrorCode> {
        let (topic, body) = bytes[HEADER_BYTES..].split_at(header.topic_len());
        if matches!(kind, Kind::Ping | Kind::Pong)
            && (!topic.is_empty() || body.len() > MAX_PING_BODY)
        {
            return Err(ErrorCode::Malformed);
        }
        Ok(Frame { kind, flags: header.flags, topic, body })
    }

    /// Bytes of the frame on the wire.
    pub fn encoded_len(&self) -> usize {
        HEADER_BYTES + self.topic.len() + self.body.len()
    }
}

/// Appends a frame to `out`.
///
/// # Panics
/// If the topic is over 65,535 bytes or the whole over 4 GiB: a caller's bug, the fields cannot
/// hold it.
pub fn encode(kind: Kind, flags: u8, topic: &[u8], body: &[u8], out: &mut Vec<u8>) {
    out.reserve(HEADER_BYTES + topic.len() + body.len());
    encode_head(kind, flags, topic, body.len(), out);
    out.extend_from_slice(body);
}

/// Appends the header and the topic of a frame to `out`, behind which so many bytes follow.
///
/// # Panics
/// As [`encode`].
pub fn encode_head(kind: Kind, flags: u8, topic: &[u8], body: usize, out: &mut Vec<u8>) {
    let length = LENGTH_OVERHEAD + topic.len() + body;
    let length = u32::try_from(length).expect("a frame's length fits its 4-byte field");
    let topic_len = u16::try_from(topic.len()).expect("a topic's length fits its 2-byte field");
    let mut header = [0; HEADER_BYTES];
    BigEndian::write_u32(&mut header[0..4], length);
    header[4] = kind as u8;
    header[5] = flags;
    BigEndian::write_u16(&mut header[6..8], topic_len);
    out.extend_from_slice(&header);
    out.extend_from_slice(topic);
}

/// Appends an ERROR frame to `out`: what it is about, its code, and a text for a person.
pub fn encode_error(code: ErrorCode, fatal: bool, about: &[u8], text: &str, out: &mut Vec<u8>) {
    let mut body = code.code().to_be_bytes().to_vec();
    body.extend_from_slice(text.as_bytes());
    encode(Kind::Error, if fatal { FLAG_FATAL } else { 0 }, about, &body, out);
}

/// The code and the text of an ERROR frame's body. `None`: the body is too short to hold a code.
pub fn decode_error(body: &[u8]) -> Option<(u16, &[u8])> {
    let (code, text) = body.split_at_checked(2)?;
    Some((BigEndian::read_u16(code), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &[u8] = b"\x00\x00\x00\x10\x01\x00\x00\x02p1version=1\n";
    const PUBLISH: &[u8] = b"\x00\x00\x00\x0C\x05\x00\x00\x06#hellohi";

    fn header(length: u32, kind: u8, flags: u8, topic_len: u16) -> [u8; 8] {
        let mut bytes = [0; 8];
        BigEndian::write_u32(&mut bytes, length);
        (bytes[4], bytes[5]) = (kind, flags);
        BigEndian::write_u16(&mut bytes[6..], topic_len);
        bytes
    }

    fn check(length: u32, kind: u8, flags: u8, topic_len: u16, reader: Reader) -> Option<u16> {
        Header::parse(&header(length, kind, flags, topic_len))
            .and_then(|header| header.check(reader, 1 << 20))
            .err()
            .map(ErrorCode::code)
    }

    #[test]
    fn worked_example_of_the_protocol_is_encoded_to_the_byte() {
        let mut out = Vec::new();
        encode(Kind::Hello, 0, b"p1", b"version=1\n", &mut out);
        assert_eq!(out, HELLO);
        out.clear();
        encode(Kind::Publish, 0, b"#hello", b"hi", &mut out);
        assert_eq!(out, PUBLISH);
    }

    #[test]
    fn every_kind_is_incomplete_at_every_split_and_whole_at_its_end() {
        for code in 1..=10u8 {
            let kind = Kind::from_code(code).unwrap();
            let reader = match kind {
                Kind::Hello => Reader::BrokerBeforeHello,
                Kind::Subscribe | Kind::Unsubscribe => Reader::BrokerFromSubscriber,
                _ => Reader::Client,
            };
            let topic: &[u8] = if matches!(kind, Kind::Ping | Kind::Pong) { b"" } else { b"a.b" };
            let mut bytes = Vec::new();
            encode(kind, 0, topic, b"body", &mut bytes);
            for split in 0..bytes.len() {
                assert_eq!(Frame::decode(&bytes[..split], reader, 4), Ok(None), "{kind:?} {split}");
            }
            let whole = bytes.len();
            bytes.extend_from_slice(b"next");
            let frame = Frame::decode(&bytes, reader, 4).unwrap().unwrap();
            assert_eq!(frame, Frame { kind, flags: 0, topic, body: b"body" });
            assert_eq!(frame.encoded_len(), whole);
        }
    }

    #[test]
    fn checks_are_made_in_the_order_of_the_protocol() {
        use Reader::{BrokerBeforeHello as First, BrokerFromPublisher as Publisher};
        let rows = [
            // 1 before everything: a length that cannot be, whatever the kind.
            (3, 0x01, 0, 0, First, Some(1)),
            (0, 0xFF, 0xFF, 0, First, Some(1)),
            (5, 0x05, 0, 2, Publisher, Some(1)),
            (4, 0x06, 0, 0, Publisher, None),
            // 2 before 3, 4 and 5: first frame, known or not, large or not, with flags or not.
            (4, 0x77, 0xFF, 0, First, Some(10)),
            (u32::MAX, 0x05, 0, 0, First, Some(10)),
            (4, 0x01, 0, 0, Publisher, Some(10)),
            (4, 0x01, 0xFF, 0, Publisher, Some(10)),
            // 3 before 4 and 5.
            (4, 0x77, 0, 0, Publisher, Some(1)),
            (u32::MAX, 0x00, 0, 0, Publisher, Some(1)),
            (4, 0x03, 1, 0, Publisher, Some(1)),
            (4, 0x05, 1, 0, Publisher, Some(1)),
            (4, 0x01, 1, 0, First, Some(1)),
            // 4 before 5.
            (u32::MAX, 0x03, 0, 0, Publisher, Some(5)),
            (8, 0x02, 0, 0, Publisher, Some(5)),
            (8, 0x08, 1, 0, Publisher, Some(5)),
            (8, 0x05, 0, 0, Reader::BrokerFromSubscriber, Some(5)),
            // 5 at its edges.
            ((1 << 20) + 4, 0x05, 0, 0, Publisher, None),
            ((1 << 20) + 5, 0x05, 0, 0, Publisher, Some(4)),
            ((1 << 20) + 4 + 65_535, 0x05, 0, 65_535, Publisher, None),
            ((1 << 20) + 5 + 65_535, 0x05, 0, 65_535, Publisher, Some(4)),
            (8_192, 0x01, 0, 0, First, None),
            (8_193, 0x01, 0, 0, First, Some(4)),
            (8_193, 0x06, 0, 0, Publisher, Some(4)),
        ];
        for (row, (length, kind, flags, topic_len, reader, expected)) in rows.iter().enumerate() {
            let got = check(*length, *kind, *flags, *topic_len, *reader);
            assert_eq!(got, *expected, "row {row}");
        }
    }

    #[test]
    fn ping_and_pong_have_no_topic_and_a_short_body() {
        for kind in [Kind::Ping, Kind::Pong] {
            for (topic, body_len, expected) in [(b"".as_slice(), 64, true), (b"", 65, false)] {
                let mut bytes = Vec::new();
                encode(kind, 0, topic, &vec![7; body_len], &mut bytes);
                let got = Frame::decode(&bytes, Reader::BrokerFromPublisher, 0);
                assert_eq!(got.is_ok(), expected, "{kind:?} {body_len}");
            }
            let mut bytes = Vec::new();
            encode(kind, 0, b"t", b"", &mut bytes);
            let got = Frame::decode(&bytes, Reader::BrokerFromSubscriber, 0);
            assert_eq!(got, Err(ErrorCode::Malformed));
        }
    }

    #[test]
    fn error_frames_carry_code_and_text() {
        let mut bytes = Vec::new();
        encode_error(ErrorCode::BadTopic, false, b"a..b", "empty token", &mut bytes);
        let frame = Frame::decode(&bytes, Reader::Client, 0).unwrap().unwrap();
        assert_eq!((frame.kind, frame.flags, frame.topic), (Kind::Error, 0, b"a..b".as_slice()));
        assert_eq!(decode_error(frame.body), Some((3, b"empty token".as_slice())));
        assert_eq!(decode_error(b"\x00"), None);
    }
}
