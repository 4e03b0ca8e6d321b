//! The client's side: writing what a client sends, reading what a server sends.
//!
//! Owns as much of that as a client needs which publishes, subscribes and measures. Must not be
//! more lenient towards servers than the parser of [`super::line`] is towards clients.

use super::LINE_END;
use super::line::{Line, LineError, Publish};
use super::message::{MessageLine, push_number};
use super::scan::{self, Cut, Fields, number, sizes};

/// What begins a block of headers.
pub const HEADERS_BEGIN: &[u8] = b"NATS/1.0\r\n";

impl Line<'_> {
    /// Appends the line with its end to `out`. Names must not be empty nor have blanks.
    pub fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Line::Info(json) => put(b"INFO", &[json], out),
            Line::Connect(json) => put(b"CONNECT", &[json], out),
            Line::Publish(publish) => publish.write(out),
            Line::Subscribe { filter, group: Some(group), sid } => {
                put(b"SUB", &[filter, group, sid], out);
            }
            Line::Subscribe { filter, group: None, sid } => put(b"SUB", &[filter, sid], out),
            Line::Unsubscribe { sid, max: Some(max) } => {
                put(b"UNSUB", &[sid, max.to_string().as_bytes()], out);
            }
            Line::Unsubscribe { sid, max: None } => put(b"UNSUB", &[sid], out),
            Line::Ping => out.extend_from_slice(super::PING),
            Line::Pong => out.extend_from_slice(super::PONG),
            Line::Ok => out.extend_from_slice(super::OK),
        }
    }
}

impl Publish<'_> {
    /// Appends the line with its end to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let verb: &[u8] = if self.header_bytes.is_some() { b"HPUB " } else { b"PUB " };
        out.extend_from_slice(verb);
        out.extend_from_slice(self.subject);
        if let Some(reply) = self.reply {
            out.push(b' ');
            out.extend_from_slice(reply);
        }
        for size in self.header_bytes.into_iter().chain([self.total_bytes]) {
            out.push(b' ');
            push_number(size, out);
        }
        out.extend_from_slice(LINE_END);
    }
}

/// Appends a whole message to `out`, as PUB if `headers` is empty. Headers are a block that begins
/// with [`HEADERS_BEGIN`] and ends with an empty line.
///
/// # Panics
/// If the message is over 4 GiB, which is a caller's bug: no server takes it.
pub fn publish(
    subject: &[u8],
    reply: Option<&[u8]>,
    headers: &[u8],
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    let size = |bytes: usize| u32::try_from(bytes).expect("a message's size fits its line");
    let total_bytes = size(headers.len() + payload.len());
    let header_bytes = (!headers.is_empty()).then(|| size(headers.len()));
    Publish { subject, reply, header_bytes, total_bytes }.write(out);
    out.extend_from_slice(headers);
    out.extend_from_slice(payload);
    out.extend_from_slice(LINE_END);
}

fn put(verb: &[u8], fields: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(verb);
    for field in fields {
        out.push(b' ');
        out.extend_from_slice(field);
    }
    out.extend_from_slice(LINE_END);
}

/// A whole line from a server, borrowed from the bytes that it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerLine<'a> {
    /// The server introduces itself, or something of that has changed.
    Info(&'a [u8]),
    /// MSG or HMSG: a message, whose bytes follow the line.
    Message(MessageLine<'a>),
    /// Asks for PONG.
    Ping,
    /// Answers PING.
    Pong,
    /// A line was carried out.
    Ok,
    /// The text of an error, without its quotes.
    Err(&'a [u8]),
}

#[derive(Debug, Clone, Copy)]
enum Verb {
    Msg,
    Hmsg,
    Ping,
    Pong,
    Ok,
    Err,
    Info,
}

/// Frequent ones first. None is the beginning of another.
const VERBS: [(&[u8], Verb); 7] = [
    (b"MSG", Verb::Msg),
    (b"HMSG", Verb::Hmsg),
    (b"PING", Verb::Ping),
    (b"PONG", Verb::Pong),
    (b"+OK", Verb::Ok),
    (b"-ERR", Verb::Err),
    (b"INFO", Verb::Info),
];

/// Reads the line at the beginning of what a server has sent. `None`: more bytes are needed. The
/// number is the length of the line with its end. `max_line` limits the arguments; that of clients
/// is too short, since a server adds a sid, and INFO may be long.
///
/// # Errors
/// The first rule that the bytes break. They are of no server, then.
pub fn parse(bytes: &[u8], max_line: usize) -> Result<Option<(ServerLine<'_>, usize)>, LineError> {
    let least_blanks = |verb| (!matches!(verb, Verb::Ping | Verb::Pong | Verb::Ok)).then_some(1);
    let Some(Cut { verb, arguments, length }) = scan::line(&VERBS, bytes, max_line, least_blanks)?
    else {
        return Ok(None);
    };
    let line = match verb {
        Verb::Ping => ServerLine::Ping,
        Verb::Pong => ServerLine::Pong,
        Verb::Ok => ServerLine::Ok,
        Verb::Info => ServerLine::Info(arguments),
        Verb::Err => ServerLine::Err(scan::unquoted(arguments)),
        Verb::Msg => message(arguments, false).ok_or(LineError::Malformed)?,
        Verb::Hmsg => message(arguments, true).ok_or(LineError::Malformed)?,
    };
    Ok(Some((line, length)))
}

fn message(arguments: &[u8], has_headers: bool) -> Option<ServerLine<'_>> {
    let fields = Fields::split(arguments)?;
    let (names, (header_bytes, total_bytes)) = match (fields.as_slice(), has_headers) {
        ([names @ .., headers, total], true) => (names, sizes(headers, total)?),
        ([names @ .., total], false) => (names, (0, number(total)?)),
        _ => return None,
    };
    let (subject, sid, reply) = match *names {
        [subject, sid] => (subject, sid, None),
        [subject, sid, reply] => (subject, sid, Some(reply)),
        _ => return None,
    };
    Some(ServerLine::Message(MessageLine { subject, sid, reply, header_bytes, total_bytes }))
}

/// What a client has to know of a server, out of its INFO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// The server's version; empty if it says none.
    pub version: String,
    /// The most bytes of headers and payload that it takes.
    pub max_payload: u32,
    /// Whether it takes headers.
    pub headers: bool,
    /// Whether the client has to show who it is.
    pub auth_required: bool,
    /// Whether the client has to begin TLS.
    pub tls_required: bool,
    /// What to sign if the client has a key.
    pub nonce: Option<String>,
    /// Whether the server is about to shut down.
    pub lame_duck: bool,
}

impl ServerInfo {
    /// Reads the JSON of an INFO. `None`: it is no object, or does not say what a message may be.
    pub fn parse(json: &[u8]) -> Option<ServerInfo> {
        let value: serde_json::Value = serde_json::from_slice(json).ok()?;
        let flag = |key: &str| value[key].as_bool().unwrap_or(false);
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        Some(ServerInfo {
            version: text("version").unwrap_or_default(),
            max_payload: u32::try_from(value["max_payload"].as_u64()?).ok()?,
            headers: flag("headers"),
            auth_required: flag("auth_required"),
            tls_required: flag("tls_required"),
            nonce: text("nonce"),
            lame_duck: flag("ldm"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::connect::ConnectOptions;
    use crate::nats::error_text::ErrorText;
    use crate::nats::info::Info;
    use crate::nats::line;

    const MAX: usize = 8_192;

    #[test]
    fn what_a_client_writes_a_server_reads() {
        let publish = |reply, header_bytes, total_bytes| {
            Line::Publish(Publish { subject: b"a.b", reply, header_bytes, total_bytes })
        };
        let json = ConnectOptions { headers: true, ..ConnectOptions::default() }.to_json();
        let rows = [
            (Line::Connect(&json), [b"CONNECT ", json.as_slice(), LINE_END].concat()),
            (Line::Info(b"{}"), b"INFO {}\r\n".to_vec()),
            (publish(None, None, 5), b"PUB a.b 5\r\n".to_vec()),
            (publish(Some(b"r"), None, 0), b"PUB a.b r 0\r\n".to_vec()),
            (publish(None, Some(0), 12), b"HPUB a.b 0 12\r\n".to_vec()),
            (publish(Some(b"r"), Some(12), 17), b"HPUB a.b r 12 17\r\n".to_vec()),
            (Line::Subscribe { filter: b"a.>", group: None, sid: b"1" }, b"SUB a.> 1\r\n".to_vec()),
            (
                Line::Subscribe { filter: b"a", group: Some(b"g"), sid: b"1" },
                b"SUB a g 1\r\n".to_vec(),
            ),
            (Line::Unsubscribe { sid: b"1", max: None }, b"UNSUB 1\r\n".to_vec()),
            (Line::Unsubscribe { sid: b"1", max: Some(7) }, b"UNSUB 1 7\r\n".to_vec()),
            (Line::Ping, b"PING\r\n".to_vec()),
            (Line::Pong, b"PONG\r\n".to_vec()),
            (Line::Ok, b"+OK\r\n".to_vec()),
        ];
        for (line, expected) in rows {
            let mut out = Vec::new();
            line.write(&mut out);
            assert_eq!(out, expected, "{line:?}");
            assert_eq!(line::parse(&out, MAX), Ok(Some((line, out.len()))));
        }
    }

    #[test]
    fn whole_messages_are_written_to_the_byte() {
        let mut out = Vec::new();
        publish(b"svc.echo", Some(b"_INBOX.k3.1"), b"", b"hello", &mut out);
        publish(b"a", None, b"NATS/1.0\r\nX-Id: 7\r\n\r\n", b"HELLO", &mut out);
        publish(b"a", None, b"", b"", &mut out);
        let expected = "PUB svc.echo _INBOX.k3.1 5\r\nhello\r\n\
            HPUB a 21 26\r\nNATS/1.0\r\nX-Id: 7\r\n\r\nHELLO\r\nPUB a 0\r\n\r\n";
        assert_eq!(out, expected.as_bytes());
    }

    #[test]
    fn what_a_server_writes_a_client_reads_at_every_split() {
        let message = |reply, header_bytes, total_bytes| MessageLine {
            subject: b"a.b",
            sid: b"17",
            reply,
            header_bytes,
            total_bytes,
        };
        let messages = [message(None, 0, 5), message(Some(b"r"), 0, 0), message(None, 4, 9)];
        let mut rows = vec![
            (b"PING\r\n".to_vec(), ServerLine::Ping),
            (b"PONG\r\n".to_vec(), ServerLine::Pong),
            (b"+OK\r\n".to_vec(), ServerLine::Ok),
            (b"INFO {} \r\n".to_vec(), ServerLine::Info(b"{} ")),
        ];
        for message in messages.into_iter().chain([message(Some(b"r"), 9, 9)]) {
            let mut out = Vec::new();
            message.write(&mut out);
            rows.push((out, ServerLine::Message(message)));
        }
        let mut out = Vec::new();
        ErrorText::MayNotPublish(b"it's").write(&mut out);
        let text = b"Permissions Violation for Publish to \"it's\"";
        rows.push((out, ServerLine::Err(text)));
        for (bytes, expected) in rows {
            for split in 0..bytes.len() {
                assert_eq!(parse(&bytes[..split], MAX), Ok(None), "{expected:?} {split}");
            }
            let behind = [bytes.as_slice(), b"PING"].concat();
            assert_eq!(parse(&behind, MAX), Ok(Some((expected, bytes.len()))));
        }
    }

    #[test]
    fn what_no_server_writes_is_refused() {
        for text in ["MSG a 1\r\n", "MSG a 1 r x 5\r\n", "MSG a 1 x\r\n", "HMSG a 1 5\r\n"] {
            assert_eq!(parse(text.as_bytes(), MAX), Err(LineError::Malformed), "{text}");
        }
        for text in ["HMSG a 1 9 5\r\n", "HMSG a 1 r x 5 5\r\n", "MSG \r\n", "HMSG 1 1\r\n"] {
            assert_eq!(parse(text.as_bytes(), MAX), Err(LineError::Malformed), "{text}");
        }
        for text in ["PUB a 1\r\n", "MSG\r\n", "INFO\r\n", "-ERR\r\n", "\r\n", "HTTP"] {
            assert_eq!(parse(text.as_bytes(), MAX), Err(LineError::UnknownOperation), "{text}");
        }
        assert_eq!(parse(b"INFO 12345", 4), Err(LineError::ControlLineTooLong));
    }

    #[test]
    fn a_servers_info_is_read() {
        let mut out = Vec::new();
        Info {
            server_id: "N",
            server_name: "n",
            version: "2.12.0",
            host: "h",
            port: 4222,
            headers: true,
            max_payload: 1_000,
            client_id: 1,
            client_ip: "::1",
            auth_required: true,
            tls_required: true,
            tls_verify: false,
            tls_available: false,
            nonce: Some("abc"),
            connect_urls: &[],
            lame_duck: true,
        }
        .write(&mut out);
        let Ok(Some((ServerLine::Info(json), _))) = parse(&out, MAX) else {
            panic!("it is an INFO: {}", out.escape_ascii());
        };
        let expected = ServerInfo {
            version: "2.12.0".to_owned(),
            max_payload: 1_000,
            headers: true,
            auth_required: true,
            tls_required: true,
            nonce: Some("abc".to_owned()),
            lame_duck: true,
        };
        assert_eq!(ServerInfo::parse(json), Some(expected));
        let least = ServerInfo::parse(b"{\"max_payload\":1}").unwrap();
        assert!(!least.headers && !least.auth_required && least.nonce.is_none());
        for json in ["", "[]", "{}", "{\"max_payload\":-1}", "{\"max_payload\":\"1\"}", "{}x"] {
            assert_eq!(ServerInfo::parse(json.as_bytes()), None, "{json}");
        }
    }
}
