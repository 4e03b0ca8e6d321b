//! The protocol of links as the broker speaks it, towards a hub that it has dialled.
//!
//! Owns how a hub's lines become requests and notices become lines, and how far the conversation
//! is. Must not decide what is answered.

use std::collections::VecDeque;
use std::time::Instant;

use wire::leaf::line::{self, Line, LineError};
use wire::leaf::{LINE_END, MAX_LINE_BYTES, PING, PONG};

use super::connection::{Connection, Traffic};
use super::protocol::{Notice, Request};
use crate::engine::buffers::outbox::Extent;
use crate::engine::close_reason::CloseReason;

/// How far the conversation with a hub is.
#[derive(Debug, Default)]
pub(crate) struct LeafSession {
    /// Bytes of a message that are still to come and are not carried here.
    pub(crate) skip: usize,
    /// When the first PONG is due; `None`: it has come, and all that was told before is in force.
    pub(crate) join_due: Option<Instant>,
    /// For each PING that is not answered: messages that were queued before it.
    pub(crate) asked: VecDeque<u64>,
    /// Messages that the hub has taken for certain: it has answered behind them.
    pub(crate) confirmed: u64,
    /// When to ask it again whether it has taken what was queued.
    pub(crate) ask_due: Option<Instant>,
    /// What the hub sent.
    pub(crate) published: Traffic,
    /// The most bytes of headers and payload that it takes, if that is less than is taken here.
    pub(crate) max_payload: Option<usize>,
    /// Messages for it are lost, and counted.
    pub(crate) is_lost: bool,
    /// Once its socket is closed: how many messages of all that were queued for it do not wait for
    /// another hub.
    pub(crate) gone: Option<u64>,
}

impl LeafSession {
    /// Whether the hub has answered behind all that was told.
    pub(crate) fn has_joined(&self) -> bool {
        self.join_due.is_none()
    }
}

/// Cuts the first request off `bytes`; see [`Protocol::cut`](super::protocol::Protocol::cut).
pub(super) fn cut<'a>(
    bytes: &'a [u8],
    connection: &Connection,
    max_payload: usize,
) -> Result<Option<(Request<'a>, usize)>, CloseReason> {
    let skip = connection.leaf.as_ref().map_or(0, |session| session.skip);
    if skip > 0 {
        let length = skip.min(bytes.len());
        return Ok((length > 0).then_some((Request::Rest { bytes: length }, length)));
    }
    let Some((line, length)) = line::parse(bytes, MAX_LINE_BYTES).map_err(close_reason)? else {
        return Ok(None);
    };
    let request = match line {
        Line::Message(message) if message.total_bytes as usize <= max_payload => {
            let end = length + message.total_bytes as usize;
            let behind = bytes.get(end..).unwrap_or_default();
            return match &behind[..behind.len().min(LINE_END.len())] {
                LINE_END => {
                    let request = Request::NotCarried { behind: 0 };
                    Ok(Some((request, end + LINE_END.len())))
                }
                begun if LINE_END.starts_with(begun) => Ok(None),
                _ => Err(CloseReason::Malformed),
            };
        }
        // It is read over, however large: the hub's limit is another one.
        Line::Message(message) => {
            let behind = message.total_bytes as usize + LINE_END.len();
            Request::NotCarried { behind }
        }
        Line::Info(json) => Request::HubInfo { json },
        Line::Interest { filter, group } => Request::Interest { filter, group },
        Line::EndInterest { filter, group } => Request::EndInterest { filter, group },
        Line::Ping => Request::Ping { body: b"" },
        Line::Pong => Request::Pong,
        Line::Ok => Request::Ignored,
        Line::Error(text) => Request::HubError { text },
    };
    Ok(Some((request, length)))
}

/// Bytes of the message that begins here, as with other NATS lines.
pub(super) fn begun_bytes(bytes: &[u8], in_a_read: usize) -> usize {
    match line::parse(bytes, MAX_LINE_BYTES) {
        Ok(Some((Line::Message(message), length))) => {
            length + message.total_bytes as usize + LINE_END.len()
        }
        _ => line::max_line_bytes(MAX_LINE_BYTES).min(in_a_read.max(bytes.len() + 1)),
    }
}

/// How far the line or message reaches that begins here, of those that were written.
pub(super) fn walk(bytes: &[u8]) -> Option<Extent> {
    if !bytes.starts_with(b"LMSG ") && !bytes.starts_with(b"HMSG ") {
        let length = bytes.iter().position(|byte| *byte == b'\n')? + 1;
        return Some(Extent { length, is_message: false });
    }
    match line::parse(bytes, usize::MAX) {
        Ok(Some((Line::Message(message), length))) => {
            let length = length + message.total_bytes as usize + LINE_END.len();
            Some(Extent { length, is_message: true })
        }
        _ => None,
    }
}

/// Appends a notice to `out`. Of most things hubs are told nothing.
pub(super) fn say(notice: Notice<'_>, out: &mut Vec<u8>) {
    match notice {
        Notice::Ping => out.extend_from_slice(PING),
        Notice::Pong { .. } => out.extend_from_slice(PONG),
        Notice::Closing { reason: CloseReason::LoopDetected } => {
            Line::Error(b"Loop detected").write(out);
        }
        _ => {}
    }
}

fn close_reason(error: LineError) -> CloseReason {
    match error {
        LineError::UnknownOperation => CloseReason::UnknownOperation,
        LineError::ControlLineTooLong => CloseReason::LineTooLong,
        LineError::Malformed => CloseReason::Malformed,
    }
}
