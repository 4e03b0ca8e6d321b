//! The protocol of NATS clients, in lines.
//!
//! Owns what each line means to a benchmark, and what to do about a server's errors. Must not do
//! I/O.

use wire::nats::client::{self, ServerInfo, ServerLine};
use wire::nats::connect::{self, ConnectOptions};
use wire::nats::line::Line;
use wire::nats::message::MessageLine;
use wire::nats::{LINE_END, PING, PONG};

use crate::credentials::Credentials;

use super::{Incoming, Message, NOT_NATS, Server, Shape};

/// The longest line that is accepted, in bytes: INFO names the servers of a cluster.
const MAX_LINE_BYTES: usize = 64 << 10;
/// How the headers of the message for a request without a receiver begin.
const NO_RESPONDERS: &[u8] = b"NATS/1.0 503";

/// Errors of servers, by how they begin, and what to do about them.
const ADVICE: [(&str, &str); 7] = [
    ("Secure Connection - TLS Required", NO_TLS),
    ("Permissions Violation for Publish", "let it publish to bench.>, and _INBOX.> for --requests"),
    (
        "Permissions Violation for Subscription",
        "let it subscribe to bench.>, and _INBOX.> for --requests",
    ),
    ("Maximum Payload Violation", "use a smaller --size, or raise its max_payload"),
    ("maximum connections exceeded", "use fewer connections, or raise its max_connections"),
    ("maximum subscriptions exceeded", "--wildcard subscribes to all topics at once"),
    ("Stale Connection", "this machine was too busy to answer PING in time; use a smaller load"),
];
const NO_TLS: &str = "add --tls";

/// CONNECT, and the PING whose answer shows that it was accepted.
pub(super) fn hello(
    id: &str,
    credentials: Option<&Credentials>,
    has_headers: bool,
    out: &mut Vec<u8>,
) {
    let credentials = credentials.map(|it| connect::Credentials {
        user: it.user.clone(),
        pass: it.secret.clone().unwrap_or_default(),
        ..connect::Credentials::default()
    });
    let options = ConnectOptions {
        verbose: false,
        pedantic: false,
        echo: true,
        headers: has_headers,
        no_responders: has_headers,
        protocol: 1,
        name: id.to_owned(),
        lang: "rust".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        credentials: credentials.unwrap_or_default(),
        ..ConnectOptions::default()
    };
    Line::Connect(&options.to_json()).write(out);
    ping(out);
}

/// Appends a message; returns how many bytes follow its payload.
pub(super) fn publish(
    topic: &[u8],
    reply: Option<&[u8]>,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> usize {
    client::publish(topic, reply, b"", payload, out);
    LINE_END.len()
}

pub(super) fn subscribe(filter: &str, group: Option<&str>, sid: &str, out: &mut Vec<u8>) {
    let (filter, sid, group) = (filter.as_bytes(), sid.as_bytes(), group.map(str::as_bytes));
    Line::Subscribe { filter, group, sid }.write(out);
}

pub(super) fn ping(out: &mut Vec<u8>) {
    out.extend_from_slice(PING);
}

pub(super) fn pong(out: &mut Vec<u8>) {
    out.extend_from_slice(PONG);
}

pub(super) fn shape(topic: &str, sid: &str, payload_bytes: usize) -> Shape {
    // A size is a number of bytes that a plan has checked.
    let total_bytes = u32::try_from(payload_bytes).unwrap_or(u32::MAX);
    let (subject, sid) = (topic.as_bytes(), sid.as_bytes());
    let mut line = Vec::new();
    MessageLine { subject, sid, reply: None, header_bytes: 0, total_bytes }.write(&mut line);
    let common = topic.rfind('.').map_or(0, |dot| dot + 1);
    Shape {
        begin: [b"MSG ", &subject[..common]].concat(),
        end: format!(" {total_bytes}\r\n").into_bytes(),
        payload_at: line.len(),
        payload_bytes,
        total_bytes: line.len() + payload_bytes + LINE_END.len(),
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Incoming<'_>, usize)>, String> {
    let Some((line, line_bytes)) =
        client::parse(bytes, MAX_LINE_BYTES).map_err(|_| NOT_NATS.to_owned())?
    else {
        return Ok(None);
    };
    let incoming = match line {
        ServerLine::Message(line) => return message(&line, line_bytes, bytes),
        ServerLine::Info(json) => Incoming::Welcome(welcome(json)),
        ServerLine::Ping => Incoming::Ping(b""),
        ServerLine::Pong => Incoming::Pong,
        ServerLine::Ok => Incoming::Other,
        ServerLine::Err(text) => Incoming::Refusal(with_advice(&String::from_utf8_lossy(text))),
    };
    Ok(Some((incoming, line_bytes)))
}

fn message<'a>(
    line: &MessageLine<'a>,
    line_bytes: usize,
    bytes: &'a [u8],
) -> Result<Option<(Incoming<'a>, usize)>, String> {
    let end = line_bytes + line.total_bytes as usize;
    let Some(behind) = bytes.get(end..end + LINE_END.len()) else {
        return Ok(None);
    };
    if behind != LINE_END {
        return Err(NOT_NATS.to_owned());
    }
    let (headers, payload) = bytes[line_bytes..end].split_at(line.header_bytes as usize);
    let incoming = if headers.starts_with(NO_RESPONDERS) {
        Incoming::NoResponders
    } else {
        Incoming::Message(Message { topic: line.subject, reply: line.reply, payload })
    };
    Ok(Some((incoming, end + LINE_END.len())))
}

fn welcome(json: &[u8]) -> Result<Server, String> {
    let info =
        ServerInfo::parse(json).ok_or_else(|| "its INFO is not that of a server".to_owned())?;
    Ok(Server {
        name: format!("NATS server {}", info.version),
        max_payload: info.max_payload as usize,
        silence: None,
        has_headers: info.headers,
        wants_credentials: info.auth_required,
        wants_tls: info.tls_required,
    })
}

fn with_advice(text: &str) -> String {
    match ADVICE.iter().find(|(begin, _)| text.starts_with(begin)) {
        Some((_, advice)) => format!("{text}; {advice}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Incoming<'_> {
        let (incoming, length) = decode(text.as_bytes()).unwrap().unwrap();
        assert_eq!(length, text.len(), "{text}");
        incoming
    }

    #[test]
    fn a_message_is_all_there_or_not_there() {
        let text = "MSG bench.0 0 _INBOX.x.7 5\r\nhello\r\n";
        for cut in 0..text.len() {
            assert_eq!(decode(&text.as_bytes()[..cut]), Ok(None), "{cut}");
        }
        let (topic, reply, payload) = (b"bench.0", Some(&b"_INBOX.x.7"[..]), b"hello");
        assert_eq!(decoded(text), Incoming::Message(Message { topic, reply, payload }));
        for bad in ["MSG a 1 2\r\nxxx\r\n", "SSH-2.0", "\x00\x00\x00\x08"] {
            assert_eq!(decode(bad.as_bytes()), Err(NOT_NATS.to_owned()), "{bad}");
        }
    }

    #[test]
    fn headers_are_no_part_of_a_payload() {
        let Incoming::Message(message) = decoded("HMSG a 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n") else {
            panic!("it is a message");
        };
        assert_eq!(message.payload, b"hi");
        let none = "HMSG r 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n";
        assert_eq!(decoded(none), Incoming::NoResponders);
    }

    #[test]
    fn errors_come_with_what_to_do() {
        let told = |line: &str| match decoded(line) {
            Incoming::Refusal(text) => text,
            other => panic!("{line}: {other:?}"),
        };
        let text = told("-ERR 'Permissions Violation for Publish to \"bench.0\"'\r\n");
        assert!(
            text.ends_with(
                "to \"bench.0\"; let it publish to bench.>, and _INBOX.> for --requests"
            )
        );
        assert_eq!(told("-ERR 'Something else'\r\n"), "Something else");
    }

    #[test]
    fn servers_that_want_more_than_we_have_are_told_at_once() {
        let welcome = |json: &str| match decoded(&format!("INFO {json}\r\n")) {
            Incoming::Welcome(welcome) => welcome,
            other => panic!("{json}: {other:?}"),
        };
        let server = welcome("{\"version\":\"2.15.1\",\"max_payload\":100,\"headers\":true}");
        assert_eq!(server.as_ref().map(|one| one.name.as_str()), Ok("NATS server 2.15.1"));
        assert_eq!(server.map(|one| (one.max_payload, one.has_headers)), Ok((100, true)));
        let why = welcome("{}").unwrap_err();
        assert!(why.starts_with("its INFO is not that of a server"), "{why}");
    }
}
