//! The broker's own protocol, in frames.
//!
//! Owns what each frame means to a benchmark. Must not do I/O.

use std::time::Duration;

use wire::native::error_code::ErrorCode;
use wire::native::frame::{self, Frame, HEADER_BYTES, Kind, Reader};
use wire::native::handshake::{Hello, Welcome};

use crate::credentials::Credentials;

use super::{Incoming, Message, NOT_NATIVE, Server, Shape};

/// The largest payload that is accepted, in bytes.
const MAX_PAYLOAD: usize = u32::MAX as usize;

pub(super) fn hello(id: &str, credentials: Option<&Credentials>, out: &mut Vec<u8>) {
    let user = credentials.map(|it| it.user.as_str());
    let secret = credentials.and_then(|it| it.secret.as_deref());
    Hello { id, user, secret }.encode(out);
}

/// Appends a message; returns how many bytes follow its payload.
pub(super) fn publish(topic: &[u8], payload: &[u8], out: &mut Vec<u8>) -> usize {
    frame::encode(Kind::Publish, 0, topic, payload, out);
    0
}

pub(super) fn subscribe(filter: &str, group: Option<&str>, out: &mut Vec<u8>) {
    let group = group.unwrap_or_default();
    frame::encode(Kind::Subscribe, 0, filter.as_bytes(), group.as_bytes(), out);
}

pub(super) fn ping(out: &mut Vec<u8>) {
    frame::encode(Kind::Ping, 0, b"", b"bench", out);
}

pub(super) fn pong(asked: &[u8], out: &mut Vec<u8>) {
    frame::encode(Kind::Pong, 0, b"", asked, out);
}

pub(super) fn shape(topic: &str, payload_bytes: usize) -> Shape {
    let mut bytes = Vec::new();
    publish(topic.as_bytes(), &vec![0; payload_bytes], &mut bytes);
    Shape {
        begin: bytes[..HEADER_BYTES].to_vec(),
        end: Vec::new(),
        payload_at: HEADER_BYTES + topic.len(),
        payload_bytes,
        total_bytes: bytes.len(),
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Incoming<'_>, usize)>, String> {
    match Frame::decode(bytes, Reader::Client, MAX_PAYLOAD) {
        Ok(frame) => Ok(frame.map(|frame| (incoming(&frame), frame.encoded_len()))),
        Err(_) if bytes.starts_with(b"INFO ") => {
            Err("it is a port for NATS clients; add --protocol nats".to_owned())
        }
        Err(_) => Err(NOT_NATIVE.to_owned()),
    }
}

fn incoming<'a>(frame: &Frame<'a>) -> Incoming<'a> {
    match frame.kind {
        Kind::Welcome => Incoming::Welcome(welcome(frame)),
        Kind::Publish => {
            Incoming::Message(Message { topic: frame.topic, reply: None, payload: frame.body })
        }
        Kind::Ping => Incoming::Ping(frame.body),
        Kind::Pong => Incoming::Pong,
        Kind::Lost => {
            Incoming::Lost(frame.body.iter().fold(0, |n: u64, byte| n << 8 | u64::from(*byte)))
        }
        Kind::Error => {
            let (code, text) = frame::decode_error(frame.body).unwrap_or((0, frame.body));
            let name = ErrorCode::from_code(code).map_or("ERROR", ErrorCode::name);
            let about = match frame.topic {
                [] => String::new(),
                topic => format!(" ({})", topic.escape_ascii()),
            };
            Incoming::Refusal(format!("{name}: {}{about}", String::from_utf8_lossy(text)))
        }
        Kind::Goodbye => {
            Incoming::Refusal(format!("GOODBYE: {}", String::from_utf8_lossy(frame.body)))
        }
        _ => Incoming::Other,
    }
}

fn welcome(frame: &Frame<'_>) -> Result<Server, String> {
    let welcome = Welcome::parse(frame.topic, frame.body)
        .map_err(|_| "its WELCOME is not of version 1".to_owned())?;
    let silence = Duration::try_from_secs_f64(welcome.heartbeat / 3.0);
    Ok(Server {
        name: welcome.server.to_owned(),
        max_payload: welcome.max_payload,
        silence: silence.ok().filter(|silence| !silence.is_zero()),
        has_headers: false,
        wants_credentials: false,
        wants_tls: false,
    })
}
