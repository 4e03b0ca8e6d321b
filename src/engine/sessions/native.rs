//! The native protocol as the broker speaks it.
//!
//! Owns how requests look as frames and notices as bytes. Must not decide what is answered.

use wire::native::error_code::ErrorCode;
use wire::native::frame::{self, Frame, HEADER_BYTES, Header, Kind, Reader};
use wire::native::handshake::{Hello, Welcome};
use wire::nats::error_text::Because;
use wire::topic::{self, MAX_TOPIC_BYTES};

use super::connection::{Role, State};
use super::protocol::{Notice, Refusal, Request};
use crate::engine::access::Credentials;
use crate::engine::buffers::outbox::Extent;
use crate::engine::close_reason::CloseReason;

/// What WELCOME says the broker is.
const SERVER: &str = concat!("broker/", env!("CARGO_PKG_VERSION"));
/// Bytes of a LOST frame.
pub(super) const LOST_BYTES: usize = HEADER_BYTES + 8;

/// Bytes of the frame that begins here; what the header needs if even that is not whole.
pub(super) fn begun_bytes(bytes: &[u8]) -> usize {
    let header = bytes.first_chunk::<HEADER_BYTES>().and_then(|head| Header::parse(head).ok());
    header.map_or(HEADER_BYTES, |header| header.frame_len())
}

/// How far the frame reaches that begins here.
pub(super) fn walk(bytes: &[u8]) -> Option<Extent> {
    let header = Header::parse(bytes.first_chunk::<HEADER_BYTES>()?).ok()?;
    let is_message = header.kind == Kind::Publish as u8;
    Some(Extent { length: header.frame_len(), is_message })
}

/// What may come next.
fn reader(role: Role, state: State) -> Reader {
    match state {
        State::Handshake => Reader::BrokerBeforeHello,
        _ if role.may_publish => Reader::BrokerFromPublisher,
        _ => Reader::BrokerFromSubscriber,
    }
}

/// Cuts the first request off `bytes`; see [`Protocol::cut`](super::protocol::Protocol::cut).
pub(super) fn cut<'a>(
    bytes: &'a [u8],
    (role, state): (Role, State),
    max_payload: usize,
) -> Result<Option<(Request<'a>, usize)>, CloseReason> {
    let decoded = Frame::decode(bytes, reader(role, state), max_payload);
    let Some(frame) = decoded.map_err(close_reason)? else { return Ok(None) };
    let request = request(&frame).map_err(close_reason)?;
    Ok(Some((request, frame.encoded_len())))
}

fn request<'a>(frame: &Frame<'a>) -> Result<Request<'a>, ErrorCode> {
    Ok(match frame.kind {
        Kind::Hello => {
            let Hello { id, user, secret } = Hello::parse(frame.topic, frame.body)?;
            let (user, secret) = (user.unwrap_or_default(), secret.unwrap_or_default());
            Request::Connect {
                id,
                credentials: Credentials { user, secret, ..Credentials::default() },
            }
        }
        Kind::Subscribe | Kind::Unsubscribe => {
            let group = Some(frame.body).filter(|body| !body.is_empty());
            if group.is_some_and(|group| topic::validate_group(group).is_err()) {
                return Err(ErrorCode::Malformed);
            }
            let filter = frame.topic;
            match topic::validate_filter(filter) {
                Err(error) => Request::BadTopic { topic: filter, error },
                Ok(()) if frame.kind == Kind::Unsubscribe => Request::Unsubscribe { filter, group },
                Ok(()) => Request::Subscribe { filter, group, sid: None },
            }
        }
        // A valid message goes its own way, unless its publisher may not publish it.
        Kind::Publish => match topic::validate_topic(frame.topic) {
            Err(error) => Request::BadTopic { topic: frame.topic, error },
            Ok(()) => Request::Denied { topic: frame.topic },
        },
        Kind::Ping => Request::Ping { body: frame.body },
        Kind::Pong => Request::Pong,
        Kind::Welcome | Kind::Error | Kind::Lost | Kind::Goodbye => {
            return Err(ErrorCode::NotAllowed);
        }
    })
}

/// Appends a notice to `out`.
pub(super) fn say(notice: Notice<'_>, out: &mut Vec<u8>) {
    match notice {
        Notice::Info(_) | Notice::Done | Notice::NoResponders { .. } => {}
        Notice::Welcome { id, max_payload, heartbeat } => {
            let heartbeat = heartbeat.as_secs_f64();
            Welcome { id, server: SERVER, max_payload, heartbeat }.encode(out);
        }
        Notice::Ping => frame::encode(Kind::Ping, 0, b"", b"", out),
        Notice::Pong { body } => frame::encode(Kind::Pong, 0, b"", body, out),
        Notice::Refused { about, refusal } => {
            let about = &about[..about.len().min(MAX_TOPIC_BYTES)];
            match refusal {
                Refusal::BadTopic(error) => {
                    let text = error.to_string();
                    frame::encode_error(ErrorCode::BadTopic, false, about, &text, out);
                }
                Refusal::MayNotPublish => {
                    let text = "this user may not publish to this topic";
                    frame::encode_error(ErrorCode::NotAllowed, false, about, text, out);
                }
                Refusal::MayNotSubscribe { because, .. } => {
                    let text = match because {
                        Some(Because::Revoked(_)) => {
                            "the subscription has ended: this user may not have it any more"
                        }
                        _ => "this user may not subscribe to this",
                    };
                    frame::encode_error(ErrorCode::NotAllowed, false, about, text, out);
                }
                Refusal::Unroutable => {}
                Refusal::TooMany(text) => {
                    frame::encode_error(ErrorCode::TooMany, false, about, text, out);
                }
            }
        }
        Notice::Lost { messages } => {
            frame::encode(Kind::Lost, 0, b"", &messages.to_be_bytes(), out);
        }
        Notice::Closing { reason } => {
            if let Some((code, text)) = error(reason) {
                frame::encode_error(code, true, b"", text, out);
            }
        }
        Notice::Goodbye => {
            frame::encode(Kind::Goodbye, 0, b"", b"the broker is shutting down", out);
        }
    }
}

/// The reason for closing behind a fatal error in what the client sent.
fn close_reason(code: ErrorCode) -> CloseReason {
    match code {
        ErrorCode::Version => CloseReason::Version,
        ErrorCode::TooLarge => CloseReason::TooLarge,
        ErrorCode::NotAllowed => CloseReason::NotAllowed,
        ErrorCode::HelloExpected => CloseReason::HelloExpected,
        _ => CloseReason::Malformed,
    }
}

/// The code and the text of the ERROR that tells the client, where one does.
fn error(reason: CloseReason) -> Option<(ErrorCode, &'static str)> {
    Some(match reason {
        CloseReason::Malformed => (ErrorCode::Malformed, "this is no valid frame"),
        CloseReason::Version => (ErrorCode::Version, "HELLO must say version=1"),
        CloseReason::TooLarge => (ErrorCode::TooLarge, "the frame is larger than its kind may be"),
        CloseReason::NotAllowed => {
            (ErrorCode::NotAllowed, "this kind of frame cannot be sent on this port")
        }
        CloseReason::HelloExpected => {
            (ErrorCode::HelloExpected, "the first frame, and only the first, must be HELLO")
        }
        CloseReason::TooManyConnections => {
            (ErrorCode::TooMany, "the broker has as many connections as it may")
        }
        CloseReason::TooManyOfUser => {
            (ErrorCode::TooMany, "this user has as many connections as it may")
        }
        CloseReason::Unauthorized => {
            (ErrorCode::Unauthorized, "user, secret, certificate or process name no user here")
        }
        CloseReason::Revoked => (ErrorCode::Unauthorized, "this user is not there any more"),
        CloseReason::SlowConsumer => {
            (ErrorCode::SlowConsumer, "messages came faster than they were read")
        }
        CloseReason::HelloTimeout => (ErrorCode::Timeout, "no whole HELLO in time"),
        CloseReason::HeartbeatTimeout => (ErrorCode::Timeout, "no sign of life for two heartbeats"),
        CloseReason::FrameTimeout => {
            (ErrorCode::Timeout, "memory is full, and the frame that was begun did not end")
        }
        CloseReason::ClientClosed
        | CloseReason::UnknownOperation
        | CloseReason::LineTooLong
        | CloseReason::NoHeaders
        | CloseReason::LoopDetected
        | CloseReason::ConnectionLost
        | CloseReason::TlsFailed
        | CloseReason::Shutdown
        | CloseReason::DrainTimeout => return None,
    })
}
