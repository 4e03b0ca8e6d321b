//! Frames out of any bytes: decoding and encoding agree, and a cut frame is only incomplete.

use wire::native::frame::{FLAG_FATAL, Frame, HEADER_BYTES, Kind, Reader, decode_error, encode};
use wire::native::handshake::{Hello, Welcome};
use wire::topic::{matches, validate_filter, validate_group, validate_topic};

const READERS: [Reader; 4] = [
    Reader::BrokerBeforeHello,
    Reader::BrokerFromPublisher,
    Reader::BrokerFromSubscriber,
    Reader::Client,
];
const MAX_PAYLOADS: [usize; 4] = [0, 16, 1_000, 1 << 20];

/// The first byte chooses who reads, how large payloads may be, and whether each cut is tried; the
/// rest is the stream.
pub fn check(data: &[u8]) {
    let Some((&choice, mut bytes)) = data.split_first() else { return };
    // Each cut of each frame is most of the work, so only one input in sixteen is cut everywhere.
    let everywhere = choice >> 4 == 0;
    let reader = READERS[usize::from(choice & 3)];
    let max_payload = MAX_PAYLOADS[usize::from(choice >> 2 & 3)];
    loop {
        match Frame::decode(bytes, reader, max_payload) {
            Ok(Some(frame)) => {
                check_frame(bytes, &frame, max_payload);
                check_cuts(&bytes[..frame.encoded_len()], everywhere, reader, max_payload);
                bytes = &bytes[frame.encoded_len()..];
            }
            Ok(None) => return check_incomplete(bytes, reader, max_payload),
            Err(code) => return check_refused(bytes, code.code(), reader, max_payload),
        }
    }
}

fn check_frame(bytes: &[u8], frame: &Frame, max_payload: usize) {
    let mut again = Vec::new();
    encode(frame.kind, frame.flags, frame.topic, frame.body, &mut again);
    assert_eq!(again, bytes[..frame.encoded_len()], "encoding gives the bytes that were decoded");
    assert!(frame.kind == Kind::Error || frame.flags == 0);
    assert!(frame.flags & !FLAG_FATAL == 0);
    match frame.kind {
        Kind::Publish => assert!(frame.body.len() <= max_payload),
        Kind::Error => assert_eq!(decode_error(frame.body).is_some(), frame.body.len() >= 2),
        Kind::Hello => check_hello(frame),
        Kind::Welcome => drop(Welcome::parse(frame.topic, frame.body)),
        _ => {}
    }
    check_topic(frame.topic);
    check_topic(frame.body);
}

/// A part of a good frame is incomplete, wherever it is cut.
fn check_cuts(frame: &[u8], everywhere: bool, reader: Reader, max_payload: usize) {
    let cut = |split: usize| {
        let cut = Frame::decode(&frame[..split], reader, max_payload);
        assert_eq!(cut, Ok(None), "cut at {split}");
    };
    if everywhere {
        (0..frame.len()).for_each(cut);
    } else {
        [HEADER_BYTES - 1, frame.len() / 2, frame.len() - 1].into_iter().for_each(cut);
    }
}

fn check_hello(frame: &Frame) {
    if let Ok(hello) = Hello::parse(frame.topic, frame.body) {
        assert!(!hello.id.bytes().any(|byte| byte.is_ascii_control()));
        let mut again = Vec::new();
        hello.encode(&mut again);
        let reader = Reader::BrokerBeforeHello;
        let frame = Frame::decode(&again, reader, 0).expect("it is valid").expect("it is whole");
        let same = Hello::parse(frame.topic, frame.body);
        assert_eq!(same, Ok(hello), "what is known of a HELLO survives encoding");
    }
}

fn check_topic(bytes: &[u8]) {
    if validate_topic(bytes).is_ok() {
        assert!(validate_filter(bytes).is_ok(), "a topic is a filter");
        assert!(matches(bytes, bytes) && matches(b">", bytes));
    }
    if validate_group(bytes).is_ok() {
        assert!(validate_topic(bytes).is_ok() && bytes.len() <= 255);
    }
}

/// What is incomplete has a header that is incomplete or good, and is shorter than that says.
fn check_incomplete(bytes: &[u8], reader: Reader, max_payload: usize) {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return };
    let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    assert!(bytes.len() < 4 + length as usize);
    assert_eq!(Frame::decode(header, reader, max_payload), Ok(None));
}

/// What is refused is refused at its header, or when it is whole.
fn check_refused(bytes: &[u8], code: u16, reader: Reader, max_payload: usize) {
    let header = bytes.first_chunk::<HEADER_BYTES>().expect("nothing is refused without a header");
    match Frame::decode(header, reader, max_payload) {
        Err(early) => assert_eq!(early.code(), code),
        Ok(early) => assert_eq!(early, None),
    }
}
