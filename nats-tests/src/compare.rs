//! Compares what two servers said to the same session. Owns the list of differences by right: what
//! is left out of a comparison, or made alike before it, and why.

use std::fmt::Write;

use serde_json::Value;

use crate::frame::{Frame, Message};
use crate::peer::Event;
use crate::play::Transcript;
use crate::session::{Session, shown};

/// What the broker may do otherwise than the reference, each with its reason. Printed with a
/// difference, so that nobody has to ask whether it is one.
pub const BY_RIGHT: [(&str, &str); 16] = [
    // Made alike here.
    ("what INFO says, but for the fields and types clients need", "each server speaks for itself"),
    ("an INFO or PING later on", "when and whether they come is a matter of time and choice"),
    ("order among the copies of one message on one connection", "the reference's varies"),
    ("which member of a queue group gets a message", "it is random"),
    ("which of several subscriptions a 503 is for", "any will do"),
    ("`Invalid Publish Subject` twice in a row", "the reference repeats it for a split payload"),
    // Never made by `generate`.
    ("receivers of a subject with a wildcard token", "literal wildcards have no receivers here"),
    ("control bytes and invalid UTF-8 in subjects", "no other listener could carry them"),
    ("subjects over 1,024 bytes or 128 tokens", "likewise"),
    ("queue names over 255 bytes, and `_sys_`", "likewise; `_sys_` serves clusters"),
    ("a CR within a line", "the reference loses bytes over it"),
    ("garbage without end behind PING", "the reference has no limit there"),
    ("`_R_.`, `_GR_.`, `$JS.ACK`, `$NRG.`", "they are reserved for what the broker lacks"),
    ("`$SYS.` and `$JS.` requests", "they ask for what the broker lacks"),
    ("HMSG from a client", "the reference may take it for a message, of what was sent before"),
    ("a block that says 503 by itself", "it would pass for the server's own"),
];

type Check = fn(&Value) -> bool;

/// The fields that clients need in the first INFO.
const INFO: [(&str, Check); 10] = [
    ("server_id", Value::is_string),
    ("server_name", Value::is_string),
    ("version", |version| version.as_str().is_some_and(is_version)),
    ("proto", |proto| *proto == 1),
    ("go", Value::is_string),
    ("host", Value::is_string),
    ("port", |port| port.as_u64().is_some_and(|port| port <= u64::from(u16::MAX))),
    ("headers", |headers| *headers == true),
    ("max_payload", |max| max.as_u64().is_some_and(|max| max <= 0x7FFF_FFFF)),
    ("client_id", |id| id.as_u64().is_some_and(|id| id <= 0x7FFF_FFFF)),
];

/// A step in which two servers differ, and in what.
pub struct Difference {
    /// The number of the step.
    pub step: usize,
    text: String,
}

/// The first step in which they differ.
pub fn first_difference(reference: &Transcript, tested: &Transcript) -> Option<Difference> {
    for step in 0..reference.len().max(tested.len()) {
        let alike = |transcript: &Transcript| transcript.get(step).map(|step| seen(step));
        let (reference, tested) = (alike(reference), alike(tested));
        if reference != tested {
            let text = difference(&reference.unwrap_or_default(), &tested.unwrap_or_default());
            return Some(Difference { step, text });
        }
    }
    None
}

impl Difference {
    /// The session up to this step, and what both servers said in it.
    pub fn report(&self, session: &Session) -> String {
        let mut text = String::new();
        for step in &session.steps[..=self.step] {
            let _ = writeln!(text, "{step}");
        }
        text + &self.text
    }
}

/// The lines that are not alike. The last place is that of the queue groups.
fn difference(reference: &[Vec<String>], tested: &[Vec<String>]) -> String {
    let mut text = String::new();
    let places = reference.len().max(tested.len());
    for place in 0..places {
        let lines = |seen: &[Vec<String>]| seen.get(place).cloned().unwrap_or_default();
        let (reference, tested) = (lines(reference), lines(tested));
        if reference == tested {
            continue;
        }
        let whom = match place + 1 == places {
            true => "the queue groups".to_owned(),
            false => place.to_string(),
        };
        for (server, lines) in [("the reference", reference), ("the tested server", tested)] {
            let _ = writeln!(text, "{server} to {whom}:\n    < {}", lines.join("\n    < "));
        }
    }
    text
}

/// What came in a step, made alike: a list for each connection, and one for all queue groups.
fn seen(step: &[Vec<Event>]) -> Vec<Vec<String>> {
    let mut groups = Vec::new();
    let mut all: Vec<_> = step.iter().map(|events| connection(events, &mut groups)).collect();
    groups.sort();
    all.push(groups);
    all
}

fn connection(events: &[Event], groups: &mut Vec<String>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    // The copies of one message that came last, and where they stand.
    let mut copies: Option<(Message, usize)> = None;
    for event in events {
        let message = match event {
            Event::Frame(Frame::Message(message)) => Some(message),
            _ => None,
        };
        if message.is_some_and(is_of_a_wildcard) {
            continue;
        }
        if let Some(message) = message.filter(|message| message.sid.starts_with(b"qg")) {
            let (subject, payload) = (shown(&message.subject), shown(&message.payload));
            let group = shown(message.sid.split(|&b| b == b'-').next().unwrap_or_default());
            let reply = message.reply.as_deref().map(shown).unwrap_or_default();
            groups.push(format!("{group} {subject} {reply}: {payload}"));
            continue;
        }
        let line = match event {
            Event::Frame(Frame::Ping) => continue,
            Event::Frame(Frame::Info(json)) if !lines.is_empty() || is_later(json) => continue,
            Event::Frame(Frame::Info(json)) => info(json),
            Event::Frame(Frame::Message(message)) if message.is_no_responders() => {
                shown(&Frame::Message(Message { sid: b"?".to_vec(), ..message.clone() }).bytes())
            }
            Event::Frame(frame) => shown(&frame.bytes()),
            Event::Closed(rest) => format!("{}(closed)", shown(rest)),
            Event::Silence => "(nothing comes)".to_owned(),
        };
        let is_again = line.contains("Invalid Publish Subject") && lines.last() == Some(&line);
        if is_again {
            continue;
        }
        lines.push(line);
        let message = message.map(|message| Message { sid: Vec::new(), ..message.clone() });
        copies = match (message, copies) {
            (Some(message), Some((last, start))) if message == last => Some((last, start)),
            (Some(message), _) => Some((message, lines.len() - 1)),
            (None, _) => None,
        };
        if let Some((_, start)) = copies {
            lines[start..].sort();
        }
    }
    lines
}

/// Whether a message was published to a subject with a wildcard token, or says that nobody hears it.
fn is_of_a_wildcard(message: &Message) -> bool {
    let has_wildcard = |subject: &[u8]| {
        subject.split(|&byte| byte == b'.').any(|token| token == b"*" || token == b">")
    };
    if !message.is_no_responders() {
        return has_wildcard(&message.subject);
    }
    let headers = String::from_utf8_lossy(message.headers.as_deref().unwrap_or_default());
    let subject = headers.lines().find_map(|line| line.strip_prefix("Nats-Subject: "));
    subject.is_some_and(|subject| has_wildcard(subject.trim().as_bytes()))
}

/// Whether an INFO says by itself that it is not the first one of its connection. It may come with
/// any step.
fn is_later(json: &[u8]) -> bool {
    let text = String::from_utf8_lossy(json);
    text.contains("\"connect_info\":true")
}

fn info(json: &[u8]) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_slice(json) else {
        return format!("INFO that is no object: {}", shown(json));
    };
    let right = |(name, right): &(&str, Check)| fields.get(*name).is_some_and(right);
    let mut wrong: Vec<_> = INFO.iter().filter(|row| !right(row)).map(|row| row.0).collect();
    wrong.extend(fields.get("auth_required").filter(|v| **v != false).map(|_| "auth_required"));
    wrong.extend(fields.get("connect_urls").map(|_| "connect_urls"));
    let has_null = fields.values().any(Value::is_null);
    format!("INFO, wrong or missing: {wrong:?}, with null: {has_null}")
}

/// Three numbers, and anything behind them.
fn is_version(version: &str) -> bool {
    let numbers: Vec<&str> = version.splitn(3, '.').collect();
    let [major, minor, patch] = numbers[..] else { return false };
    let patch = patch.split(['-', '+']).next().unwrap_or_default();
    [major, minor, patch].iter().all(|number| number.parse::<u32>().is_ok())
}
