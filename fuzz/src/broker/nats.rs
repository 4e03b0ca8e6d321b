//! What NATS clients of a script send, and what they may be sent.

use arbitrary::{Result, Unstructured};
use wire::nats::client::{self, ServerLine};
use wire::nats::line::Line;

const SUBJECTS: [&[u8]; 8] = [b"a", b"a.b", b"a.b.c", b"r.1", b"r.2", b"a..b", b"a.*", b"\x01"];
const FILTERS: [&[u8]; 10] =
    [b"a", b"a.*", b"*.b", b">", b"a.>", b"r.*", b"r.1", b">.a", b"a..b", b"\x01"];
const QUEUES: [Option<&[u8]>; 4] = [None, None, Some(b"g"), Some(b"*")];
const SIDS: [&[u8]; 6] = [b"1", b"2", b"10", b"x", b"007", b"4294967296"];
const REPLIES: [Option<&[u8]>; 6] =
    [None, None, Some(b"r.1"), Some(b"r.2"), Some(b"r.*"), Some(b"r..x")];
const CONNECTS: [&[u8]; 8] = [
    b"{}",
    b"{\"verbose\":false,\"pedantic\":false}",
    b"{\"verbose\":false,\"headers\":true,\"no_responders\":true}",
    b"{\"verbose\":false,\"headers\":true,\"no_responders\":true,\"echo\":false,\"protocol\":1}",
    b"{\"echo\":false}",
    b"{\"headers\":false,\"no_responders\":false}",
    b"{\"no_responders\":true}",
    b"[]",
];
/// With the end of a line in it, and what looks like a message.
const HEADERS: [&[u8]; 4] = [b"", b"hi", b"NATS/1.0\r\nA: b\r\n\r\n", b"\r\nPUB a 1\r\n"];

/// What a client sends in one step: lines, or anything.
pub(super) fn sent(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let line = match input.int_in_range(0..=15u8)? {
        0 => {
            let count = input.int_in_range(0..=40usize)?.min(input.len());
            bytes.extend_from_slice(input.bytes(count)?);
            return Ok(bytes);
        }
        1 => Line::Ping,
        2 => Line::Pong,
        3 => Line::Connect(input.choose(&CONNECTS)?),
        4 => Line::Unsubscribe { sid: input.choose(&SIDS)?, max: None },
        5 => Line::Unsubscribe { sid: input.choose(&SIDS)?, max: Some(*input.choose(&[1, 2, 9])?) },
        6..=8 => {
            let (filter, group) = (input.choose(&FILTERS)?, *input.choose(&QUEUES)?);
            Line::Subscribe { filter, group, sid: input.choose(&SIDS)? }
        }
        _ => {
            let (subject, reply) = (input.choose(&SUBJECTS)?, *input.choose(&REPLIES)?);
            let headers = input.choose(&HEADERS)?;
            let payload = vec![b'x'; *input.choose(&[0, 1, 20, 300, 3_000, 5_000])?];
            for _ in 0..*input.choose(&[1, 1, 3, 20])? {
                client::publish(subject, reply, headers, &payload, &mut bytes);
            }
            return cut(input, bytes);
        }
    };
    line.write(&mut bytes);
    cut(input, bytes)
}

/// Cut off, so that the next step goes on in the middle of a line.
fn cut(input: &mut Unstructured<'_>, mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    if input.ratio(1, 16)? {
        bytes.truncate(input.int_in_range(0..=bytes.len())?);
    }
    Ok(bytes)
}

/// The first thing that a client has been sent: its length, whether it is a message, and whether it
/// is the last word. Nothing if it is not whole.
pub(super) fn heard(received: &[u8]) -> Option<(usize, bool, bool)> {
    let (line, length) = client::parse(received, 8_192).expect("the broker sends valid lines")?;
    match line {
        ServerLine::Message(message) => {
            let end = length + message.total_bytes as usize;
            assert_eq!(received.get(end..end + 2)?, b"\r\n", "a message ends with its line");
            Some((end + 2, true, false))
        }
        ServerLine::Err(text) => Some((length, false, is_fatal(text))),
        _ => Some((length, false, false)),
    }
}

fn is_fatal(text: &[u8]) -> bool {
    let go_on: [&[u8]; 3] =
        [b"Invalid Subject", b"Invalid Publish Subject", b"maximum subscriptions exceeded"];
    !go_on.contains(&text) && !text.starts_with(b"Permissions Violation")
}
