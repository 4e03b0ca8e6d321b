//! Control lines from a client: cutting the first one off a run of bytes, and what it says.
//!
//! Owns the grammar of lines, for all that a client may send, and finds a wrong byte as soon as it
//! is there. Must not look into JSON, into subjects or behind the line: payloads are the caller's.
//!
//! The parser is lenient where clients and people at a terminal need it: verbs in any case, any
//! number of blanks, a bare LF. Which verbs a connection may use at all is not asked here.

use std::fmt;

use super::scan::{self, Fields, number, sizes};

/// The longest verb, in bytes.
const MAX_VERB_BYTES: usize = 7;

/// A whole control line, borrowed from the bytes that it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// What only a server has to say. A client's is ignored if it is JSON.
    Info(&'a [u8]),
    /// The client introduces itself. The JSON is not looked at yet.
    Connect(&'a [u8]),
    /// PUB or HPUB: a message, whose bytes follow the line.
    Publish(Publish<'a>),
    /// SUB.
    Subscribe {
        /// Not yet checked against any grammar.
        filter: &'a [u8],
        /// The name of a queue group, not yet checked.
        group: Option<&'a [u8]>,
        /// The client's name for the subscription.
        sid: &'a [u8],
    },
    /// UNSUB.
    Unsubscribe {
        /// The client's name for the subscription.
        sid: &'a [u8],
        /// The subscription ends when it has been given this many messages; `None`: at once.
        max: Option<u64>,
    },
    /// Asks for PONG.
    Ping,
    /// Answers PING.
    Pong,
    /// `+OK`, which means nothing from a client.
    Ok,
}

/// The line of a message. Behind it follow `total_bytes` and CR LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Not yet checked against any grammar.
    pub subject: &'a [u8],
    /// Where an answer is wanted. Not yet checked.
    pub reply: Option<&'a [u8]>,
    /// How many of the bytes that follow are headers; `None`: the line is a PUB.
    pub header_bytes: Option<u32>,
    /// Bytes of headers and payload. Whether that is too much is the caller's to say.
    pub total_bytes: u32,
}

/// Why bytes are no control line. Each of them ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineError {
    /// There is no such verb, or it lacks the blank behind it.
    UnknownOperation,
    /// The arguments, or the blanks in front of them, are longer than the caller allows.
    ControlLineTooLong,
    /// The arguments are wrong. The connection ends without a word: clients do not know a text for
    /// this, and most of them never connect again after a text that they do not know.
    Malformed,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LineError::UnknownOperation => "the line begins with no known verb",
            LineError::ControlLineTooLong => "the line is too long",
            LineError::Malformed => "the arguments are wrong for the verb",
        })
    }
}

impl std::error::Error for LineError {}

/// Reads the control line at the beginning of `bytes`. `None`: more bytes are needed. The number is
/// the length of the line with its end, at most [`max_line_bytes`]. `max_control_line` limits the
/// arguments, without the blanks in front of them and the line's end.
///
/// What is said of a line does not depend on how many of its bytes, and of those behind it, are
/// there, except that it may be `None` first.
///
/// # Errors
/// The first rule that the bytes break, as soon as no further byte can mend it; wrong arguments are
/// found when the line is whole.
pub fn parse(
    bytes: &[u8],
    max_control_line: usize,
) -> Result<Option<(Line<'_>, usize)>, LineError> {
    if let Some((publish, length)) = plain_publish(bytes, max_control_line) {
        return Ok(Some((Line::Publish(publish), length)));
    }
    let line = scan::line(&VERBS, bytes, max_control_line, Verb::least_blanks)?;
    line.map(|line| Ok((line.verb.read(line.arguments)?, line.length))).transpose()
}

/// PUB and HPUB as nearly all clients send them: in upper case, with single blanks. `None`: it is
/// to be looked at with more care. This is the path of every message.
fn plain_publish(bytes: &[u8], max_control_line: usize) -> Option<(Publish<'_>, usize)> {
    let start = match bytes.first_chunk::<5>()? {
        [b'P', b'U', b'B', b' ', _] => 4,
        b"HPUB " => 5,
        _ => return None,
    };
    // Where each argument ends.
    let (mut ends, mut count) = ([0; 4], 0);
    let rest = &bytes[start..bytes.len().min(max_control_line.saturating_add(start + 1))];
    for (at, &byte) in rest.iter().enumerate() {
        if byte > b' ' {
            continue;
        }
        if !matches!(byte, b' ' | b'\r') {
            return None;
        }
        *ends.get_mut(count)? = at;
        count += 1;
        if byte == b'\r' {
            break;
        }
    }
    let end = ends[count.checked_sub(1)?];
    if rest.get(end) != Some(&b'\r') || bytes.get(start + end + 1) != Some(&b'\n') {
        return None;
    }
    let is_plain = start == 4;
    let argument = |place: usize| {
        let from = if place == 0 { 0 } else { ends[place - 1] + 1 };
        Some(&rest[from..ends[place]]).filter(|argument| !argument.is_empty())
    };
    let subject = argument(0)?;
    let total_bytes = number(argument(count - 1)?)?;
    let (reply, header_bytes) = match (is_plain, count) {
        (true, 2) => (None, None),
        (true, 3) => (Some(argument(1)?), None),
        (false, 3) => (None, Some(number(argument(1)?)?)),
        (false, 4) => (Some(argument(1)?), Some(number(argument(2)?)?)),
        _ => return None,
    };
    let is_possible = header_bytes.is_none_or(|headers| headers <= total_bytes);
    let publish = Publish { subject, reply, header_bytes, total_bytes };
    is_possible.then_some((publish, start + end + 2))
}

/// The most bytes for which [`parse`] asks before it knows what they are.
pub const fn max_line_bytes(max_control_line: usize) -> usize {
    // Blanks in front of the arguments are as many as the arguments may be, at most.
    MAX_VERB_BYTES + 2 * max_control_line + super::LINE_END.len()
}

/// Whether bytes begin as CONNECT does, or not at all. Where clients have to say who they are, this
/// is asked before anything else.
pub fn may_be_connect(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|first| first.eq_ignore_ascii_case(&b'C'))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Pub,
    Hpub,
    Sub,
    Unsub,
    Ping,
    Pong,
    Connect,
    Info,
    Ok,
    Err,
}

/// Frequent ones first. None is the beginning of another.
const VERBS: [(&[u8], Verb); 10] = [
    (b"PUB", Verb::Pub),
    (b"HPUB", Verb::Hpub),
    (b"SUB", Verb::Sub),
    (b"UNSUB", Verb::Unsub),
    (b"PING", Verb::Ping),
    (b"PONG", Verb::Pong),
    (b"CONNECT", Verb::Connect),
    (b"INFO", Verb::Info),
    (b"+OK", Verb::Ok),
    (b"-ERR", Verb::Err),
];

impl Verb {
    /// The blanks that have to follow. JSON can do without, and some verbs have no arguments.
    fn least_blanks(self) -> Option<usize> {
        match self {
            Verb::Ping | Verb::Pong | Verb::Ok => None,
            Verb::Connect | Verb::Info => Some(0),
            _ => Some(1),
        }
    }

    fn read(self, arguments: &[u8]) -> Result<Line<'_>, LineError> {
        Ok(match self {
            // What is behind these is ignored, whatever it is.
            Verb::Ping => Line::Ping,
            Verb::Pong => Line::Pong,
            Verb::Ok => Line::Ok,
            // A CR in JSON is refused as one between fields is.
            Verb::Connect | Verb::Info if arguments.contains(&b'\r') => {
                return Err(LineError::Malformed);
            }
            Verb::Connect => Line::Connect(arguments),
            Verb::Info => Line::Info(arguments),
            // Only a server has errors to report: whoever sends this is no client.
            Verb::Err => return Err(LineError::Malformed),
            _ => {
                let fields = Fields::split(arguments).ok_or(LineError::Malformed)?;
                self.read_fields(&fields).ok_or(LineError::Malformed)?
            }
        })
    }

    fn read_fields<'a>(self, fields: &Fields<'a>) -> Option<Line<'a>> {
        let publish = |subject, reply, header_bytes, total_bytes| {
            Line::Publish(Publish { subject, reply, header_bytes, total_bytes })
        };
        Some(match (self, fields.as_slice()) {
            (Verb::Pub, [subject, size]) => publish(subject, None, None, number(size)?),
            (Verb::Pub, [subject, reply, size]) => {
                publish(subject, Some(*reply), None, number(size)?)
            }
            (Verb::Hpub, [subject, headers, total]) => {
                let (headers, total) = sizes(headers, total)?;
                publish(subject, None, Some(headers), total)
            }
            (Verb::Hpub, [subject, reply, headers, total]) => {
                let (headers, total) = sizes(headers, total)?;
                publish(subject, Some(*reply), Some(headers), total)
            }
            (Verb::Sub, [filter, sid]) => Line::Subscribe { filter, group: None, sid },
            (Verb::Sub, [filter, group, sid]) => {
                Line::Subscribe { filter, group: Some(group), sid }
            }
            (Verb::Unsub, [sid]) => Line::Unsubscribe { sid, max: None },
            // What is no number, and 0, counts as no maximum: that is what clients can rely on.
            (Verb::Unsub, [sid, max]) => {
                let max = number(max).filter(|&max| max > 0).map(u64::from);
                Line::Unsubscribe { sid, max }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
