//! Control lines from a client: cutting the first one off a run of bytes, and what it says.
//!
//! Owns the grammar of lines, for all that a client may send, and finds a wrong byte as soon as it
//! is there. Must not look into JSON, into subjects or behind the line: payloads are the caller's.
//!
//! The parser is lenient where clients and people at a terminal need it: verbs in any case, any
//! number of blanks, a bare LF. Which verbs a connection may use at all is not asked here.

use std::fmt;

/// The longest verb, in bytes.
const MAX_VERB_BYTES: usize = 7;
/// The most digits of a number.
const MAX_DIGITS: usize = 9;
/// The most arguments that any verb has.
const MAX_ARGUMENTS: usize = 4;

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
    let Some((verb, behind)) = Verb::find(bytes)? else {
        return Ok(None);
    };
    let Some(start) = verb.skip_blanks(bytes, behind, max_control_line)? else {
        return Ok(None);
    };
    let Some((arguments, length)) = cut(bytes, start, max_control_line)? else {
        return Ok(None);
    };
    Ok(Some((verb.read(arguments)?, length)))
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
    /// The verb that the bytes begin with, and its length.
    fn find(bytes: &[u8]) -> Result<Option<(Verb, usize)>, LineError> {
        for (name, verb) in VERBS {
            let there = bytes.len().min(name.len());
            if bytes[..there].eq_ignore_ascii_case(&name[..there]) {
                return Ok((there == name.len()).then_some((verb, there)));
            }
        }
        Err(LineError::UnknownOperation)
    }

    /// Where the arguments begin, if the verb ends in front of `behind`.
    fn skip_blanks(
        self,
        bytes: &[u8],
        behind: usize,
        max_blanks: usize,
    ) -> Result<Option<usize>, LineError> {
        if matches!(self, Verb::Ping | Verb::Pong | Verb::Ok) {
            return Ok(Some(behind));
        }
        let rest = &bytes[behind..];
        let blanks = rest.iter().position(|&byte| !is_blank(byte));
        if blanks == Some(0) && self != Verb::Connect {
            return Err(LineError::UnknownOperation);
        }
        if blanks.unwrap_or(rest.len()) > max_blanks {
            return Err(LineError::ControlLineTooLong);
        }
        Ok(blanks.map(|blanks| behind + blanks))
    }

    fn read(self, arguments: &[u8]) -> Result<Line<'_>, LineError> {
        // What is behind these is ignored, whatever it is.
        match self {
            Verb::Ping => return Ok(Line::Ping),
            Verb::Pong => return Ok(Line::Pong),
            Verb::Ok => return Ok(Line::Ok),
            _ => {}
        }
        // Servers differ about a CR within a line, so nobody can mean one.
        if arguments.contains(&b'\r') {
            return Err(LineError::Malformed);
        }
        match self {
            Verb::Connect => Ok(Line::Connect(arguments)),
            Verb::Info => Ok(Line::Info(arguments)),
            // Only a server has errors to report: whoever sends this is no client.
            Verb::Err => Err(LineError::Malformed),
            _ => self.read_fields(arguments),
        }
    }

    fn read_fields(self, arguments: &[u8]) -> Result<Line<'_>, LineError> {
        let mut fields: [&[u8]; MAX_ARGUMENTS] = [&[]; MAX_ARGUMENTS];
        let mut count = 0;
        let blanks = arguments.split(|&byte| is_blank(byte));
        for field in blanks.filter(|field| !field.is_empty()) {
            *fields.get_mut(count).ok_or(LineError::Malformed)? = field;
            count += 1;
        }
        let publish = |subject, reply, header_bytes, total_bytes| {
            Some(Line::Publish(Publish { subject, reply, header_bytes, total_bytes }))
        };
        match (self, &fields[..count]) {
            (Verb::Pub, [subject, size]) => {
                number(size).and_then(|size| publish(subject, None, None, size))
            }
            (Verb::Pub, [subject, reply, size]) => {
                number(size).and_then(|size| publish(subject, Some(*reply), None, size))
            }
            (Verb::Hpub, [subject, headers, total]) => sizes(headers, total)
                .and_then(|(headers, total)| publish(subject, None, Some(headers), total)),
            (Verb::Hpub, [subject, reply, headers, total]) => sizes(headers, total)
                .and_then(|(headers, total)| publish(subject, Some(*reply), Some(headers), total)),
            (Verb::Sub, [filter, sid]) => Some(Line::Subscribe { filter, group: None, sid }),
            (Verb::Sub, [filter, group, sid]) => {
                Some(Line::Subscribe { filter, group: Some(group), sid })
            }
            (Verb::Unsub, [sid]) => Some(Line::Unsubscribe { sid, max: None }),
            // What is no number, and 0, is taken for no number at all, as servers always did.
            (Verb::Unsub, [sid, max]) => {
                let max = number(max).filter(|&max| max > 0).map(u64::from);
                Some(Line::Unsubscribe { sid, max })
            }
            _ => None,
        }
        .ok_or(LineError::Malformed)
    }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// The line's arguments, which begin at `start`, and the length of the line with its end.
fn cut(bytes: &[u8], start: usize, max: usize) -> Result<Option<(&[u8], usize)>, LineError> {
    let rest = &bytes[start..];
    // No LF this near means that the line is too long, so none is looked for further on.
    let rest = &rest[..rest.len().min(max.saturating_add(super::LINE_END.len()))];
    let end = rest.iter().position(|&byte| byte == b'\n');
    let line = &rest[..end.unwrap_or(rest.len())];
    let arguments = line.strip_suffix(b"\r").unwrap_or(line);
    if arguments.len() > max {
        return Err(LineError::ControlLineTooLong);
    }
    Ok(end.map(|end| (arguments, start + end + 1)))
}

/// A number of 1 to 9 digits; zeros may lead.
fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

/// The two sizes of an HPUB: headers, and headers and payload together.
fn sizes(headers: &[u8], total: &[u8]) -> Option<(u32, u32)> {
    let sizes = (number(headers)?, number(total)?);
    (sizes.0 <= sizes.1).then_some(sizes)
}

#[cfg(test)]
mod tests;
