//! The lines of a link: cutting the first one off a run of bytes, what it says, and writing it.
//!
//! Owns the grammar of lines, for all that a hub may send. Must not look into JSON, into subjects
//! or behind the line: bodies are the caller's.

use super::LINE_END;
use crate::nats::message::{digits, push_number};
use crate::nats::scan::{self, Cut, Fields, number, sizes};

pub use crate::nats::line::{LineError, max_line_bytes};

/// Stands in front of a reply that groups follow.
const REPLY_MARK: &[u8] = b"+";
/// Stands in front of groups without a reply.
const GROUPS_MARK: &[u8] = b"|";

/// A whole line, borrowed from the bytes that it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// The hub introduces itself, or something of that has changed. The JSON is not looked at yet.
    Info(&'a [u8]),
    /// LMSG or HMSG: a message, whose bytes follow the line.
    Message(Message<'a>),
    /// LS+: the other side wants messages.
    Interest {
        /// Not yet checked against any grammar.
        filter: &'a [u8],
        /// The name of a queue group, not yet checked, and its weight, which replaces the one
        /// before: the number of its members, or 0 for a group that is not to be chosen.
        group: Option<(&'a [u8], u32)>,
    },
    /// LS-: it does not any more.
    EndInterest {
        /// As in LS+.
        filter: &'a [u8],
        /// As in LS+.
        group: Option<&'a [u8]>,
    },
    /// Asks for PONG.
    Ping,
    /// Answers PING.
    Pong,
    /// `+OK`, which means nothing on a link.
    Ok,
    /// The text of an error, without its quotes.
    Error(&'a [u8]),
}

/// The line in front of a message. Behind it follow `total_bytes` and CR LF.
///
/// `G` are the names of groups: [`Groups`] where a line was read, and any slice where one is to be
/// written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a, G = Groups<'a>> {
    /// What it was published to. Not yet checked against any grammar.
    pub subject: &'a [u8],
    /// Where an answer is wanted. Not yet checked.
    pub reply: Option<&'a [u8]>,
    /// The queue groups of which one member each is to be given the message.
    pub groups: G,
    /// How many of the bytes that follow are headers; `None`: the line is an LMSG.
    pub header_bytes: Option<u32>,
    /// Bytes of headers and payload. Whether that is too much is the caller's to say.
    pub total_bytes: u32,
}

/// The names of the queue groups on a line, in its order. None of them is checked, and one may be
/// there twice.
#[derive(Debug, Clone, Copy, Default)]
pub struct Groups<'a> {
    /// The names, split by blanks.
    rest: &'a [u8],
}

impl<'a> Groups<'a> {
    /// The names, one after the other.
    pub fn iter(&self) -> Groups<'a> {
        *self
    }

    /// Whether no group is named.
    pub fn is_empty(&self) -> bool {
        scan::first(self.rest).is_none()
    }
}

#[allow(clippy::copy_iterator, reason = "a line is looked at more than once, and copied for that")]
impl<'a> Iterator for Groups<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (name, rest) = scan::first(self.rest)?;
        self.rest = rest;
        Some(name)
    }
}

impl PartialEq for Groups<'_> {
    fn eq(&self, other: &Self) -> bool {
        Iterator::eq(*self, *other)
    }
}

impl Eq for Groups<'_> {}

#[derive(Debug, Clone, Copy)]
enum Verb {
    Lmsg,
    Hmsg,
    Interest,
    EndInterest,
    Ping,
    Pong,
    Info,
    Ok,
    Err,
}

/// Frequent ones first. None is the beginning of another.
const VERBS: [(&[u8], Verb); 9] = [
    (b"LMSG", Verb::Lmsg),
    (b"HMSG", Verb::Hmsg),
    (b"LS+", Verb::Interest),
    (b"LS-", Verb::EndInterest),
    (b"PING", Verb::Ping),
    (b"PONG", Verb::Pong),
    (b"INFO", Verb::Info),
    (b"+OK", Verb::Ok),
    (b"-ERR", Verb::Err),
];

/// Reads the line at the beginning of what a hub has sent. `None`: more bytes are needed. The
/// number is the length of the line with its end, at most [`max_line_bytes`]. `max_line` limits the
/// arguments, as [`super::MAX_LINE_BYTES`] does at the hub.
///
/// What is said of a line does not depend on how many of its bytes, and of those behind it, are
/// there, except that it may be `None` first.
///
/// # Errors
/// The first rule that the bytes break, as soon as no further byte can mend it; wrong arguments are
/// found when the line is whole. The link is of no use afterwards.
pub fn parse(bytes: &[u8], max_line: usize) -> Result<Option<(Line<'_>, usize)>, LineError> {
    let least_blanks = |verb| (!matches!(verb, Verb::Ping | Verb::Pong | Verb::Ok)).then_some(1);
    let Some(Cut { verb, arguments, length }) = scan::line(&VERBS, bytes, max_line, least_blanks)?
    else {
        return Ok(None);
    };
    let line = verb.read(arguments).ok_or(LineError::Malformed)?;
    Ok(Some((line, length)))
}

impl Verb {
    fn read(self, arguments: &[u8]) -> Option<Line<'_>> {
        Some(match self {
            // What is behind these is ignored, whatever it is.
            Verb::Ping => Line::Ping,
            Verb::Pong => Line::Pong,
            Verb::Ok => Line::Ok,
            Verb::Err => Line::Error(scan::unquoted(arguments)),
            // Nobody can mean a CR within a line, as servers differ about it.
            _ if arguments.contains(&b'\r') => return None,
            Verb::Info => Line::Info(arguments),
            Verb::Lmsg | Verb::Hmsg => Line::Message(self.read_message(arguments)?),
            Verb::Interest => {
                let (filter, group) = match *Fields::split(arguments)?.as_slice() {
                    [filter] => (filter, None),
                    [filter, name, weight] => (filter, Some((name, number(weight)?))),
                    _ => return None,
                };
                Line::Interest { filter, group }
            }
            Verb::EndInterest => {
                let (filter, group) = match *Fields::split(arguments)?.as_slice() {
                    [filter] => (filter, None),
                    [filter, group] => (filter, Some(group)),
                    _ => return None,
                };
                Line::EndInterest { filter, group }
            }
        })
    }

    /// What a word means follows from its place alone, so that no name is taken for a mark.
    fn read_message(self, arguments: &[u8]) -> Option<Message<'_>> {
        let (rest, total) = scan::last(arguments)?;
        let (rest, header_bytes, total_bytes) = match self {
            Verb::Hmsg => {
                let (rest, headers) = scan::last(rest)?;
                let (headers, total) = sizes(headers, total)?;
                (rest, Some(headers), total)
            }
            _ => (rest, None, number(total)?),
        };
        let (subject, rest) = scan::first(rest)?;
        let (reply, rest) = match scan::first(rest) {
            None => (None, rest),
            Some((word, rest)) if scan::first(rest).is_none() => (Some(word), rest),
            Some((REPLY_MARK, rest)) => {
                let (reply, rest) = scan::first(rest)?;
                (Some(reply), rest)
            }
            Some((GROUPS_MARK, rest)) => (None, rest),
            Some(_) => return None,
        };
        Some(Message { subject, reply, groups: Groups { rest }, header_bytes, total_bytes })
    }
}

impl Line<'_> {
    /// Appends the line with its end to `out`. Names must not be empty nor have blanks; JSON and
    /// texts must be on one line.
    pub fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Line::Info(json) => put(b"INFO", &[json], out),
            Line::Message(message) => message.write(out),
            Line::Interest { filter, group: Some((name, weight)) } => {
                put(b"LS+", &[filter, name, weight.to_string().as_bytes()], out);
            }
            Line::Interest { filter, group: None } => put(b"LS+", &[filter], out),
            Line::EndInterest { filter, group: Some(name) } => put(b"LS-", &[filter, name], out),
            Line::EndInterest { filter, group: None } => put(b"LS-", &[filter], out),
            Line::Ping => out.extend_from_slice(super::PING),
            Line::Pong => out.extend_from_slice(super::PONG),
            Line::Ok => out.extend_from_slice(super::OK),
            Line::Error(text) => {
                out.extend_from_slice(b"-ERR '");
                out.extend_from_slice(text);
                out.extend_from_slice(b"'\r\n");
            }
        }
    }
}

impl<G> Message<'_, G>
where
    G: IntoIterator<Item: AsRef<[u8]>> + Clone,
{
    /// Bytes of the line with its end, as [`Message::write`] appends them.
    pub fn line_bytes(&self) -> usize {
        let mut bytes = "LMSG ".len() + self.subject.len() + LINE_END.len();
        let mut has_groups = false;
        for group in self.groups.clone() {
            bytes += 1 + group.as_ref().len();
            has_groups = true;
        }
        bytes += self.reply.map_or(0, |reply| 1 + reply.len());
        bytes += if has_groups { 1 + REPLY_MARK.len() } else { 0 };
        let sizes = self.header_bytes.into_iter().chain([self.total_bytes]);
        bytes + sizes.map(|size| 1 + digits(size)).sum::<usize>()
    }

    /// Appends the line with its end to `out`. Names must not be empty nor have blanks, and a
    /// reply has to be one that [`super::subject::is_reply_carried`].
    pub fn write(&self, out: &mut Vec<u8>) {
        let verb: &[u8] = if self.header_bytes.is_some() { b"HMSG" } else { b"LMSG" };
        out.extend_from_slice(verb);
        let mut put = |word: &[u8]| {
            out.push(b' ');
            out.extend_from_slice(word);
        };
        put(self.subject);
        let mut groups = self.groups.clone().into_iter().peekable();
        match (self.reply, groups.peek().is_some()) {
            (Some(reply), true) => [REPLY_MARK, reply].into_iter().for_each(&mut put),
            (Some(reply), false) => put(reply),
            (None, true) => put(GROUPS_MARK),
            (None, false) => {}
        }
        groups.for_each(|group| put(group.as_ref()));
        for size in self.header_bytes.into_iter().chain([self.total_bytes]) {
            out.push(b' ');
            push_number(size, out);
        }
        out.extend_from_slice(LINE_END);
    }
}

fn put(verb: &[u8], fields: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(verb);
    for field in fields {
        out.push(b' ');
        out.extend_from_slice(field);
    }
    out.extend_from_slice(LINE_END);
}

#[cfg(test)]
mod tests;
