//! What the hubs of a simulated world say and hear, as bytes.
//!
//! Owns the lines as a hub writes them, by plain formatting, the reading of what it is told, and
//! the tables of what may cross the link. What it must be told is said by `hub_model`.

use wire::topic::{has_wildcard, includes, matches, overlaps};

use super::nats::{self, Sent};
use crate::engine::access::Grants;
use crate::engine::link::LinkRules;

/// Filters.
type List = &'static [&'static str];

/// The mark of a broker that plays, which is made up at random elsewhere.
pub(super) const MARK: &str = "$LDS.sim";

/// What a hub says with one line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Line {
    /// It wants what matches a filter, for plain subscribers or for a queue group of so many.
    Want(&'static str, Option<(&'static str, u32)>),
    /// It does not any more.
    End(&'static str, Option<&'static str>),
    /// A message, for plain subscribers and these queue groups.
    Message(Sent, &'static [&'static str]),
    /// A message of so many bytes more than may be taken.
    TooLarge(usize),
    Ping,
    Pong,
    /// What may cross the link, by the table of permissions.
    Info(usize),
    /// What means nothing.
    Ignored(&'static str),
    /// The mark of the broker comes back.
    Mark,
    /// Bytes that end the connection.
    Nonsense(&'static str),
    /// A message that is never ended: so many bytes of it. Nothing can come behind it.
    Part(usize),
}

/// A message as a hub is given it: its line without the names of queue groups, those, and a hash of
/// the bytes behind.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Given {
    pub(super) line: String,
    pub(super) groups: Vec<String>,
    pub(super) body: u64,
}

/// What a hub was told.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Heard {
    Connect,
    /// A filter, and the name and weight of a queue group.
    Want(String, Option<(String, u32)>),
    End(String, Option<String>),
    /// A message, and what tells it from others.
    Message(Given, u64),
    Ping,
    Pong,
    Error(String),
}

/// What may cross, as one side has it: filters that are granted, `None` for all, and exceptions.
pub(super) struct May {
    allow: Option<List>,
    deny: List,
}

impl May {
    /// Whether a topic may cross.
    pub(super) fn has(&self, topic: &str) -> bool {
        let any = |list: List| list.iter().any(|it| matches(it.as_bytes(), topic.as_bytes()));
        self.allow.is_none_or(any) && !any(self.deny)
    }

    /// Whether some of what a filter matches may cross.
    fn has_some(&self, filter: &str) -> bool {
        let is_met = |it: &&str| overlaps(it.as_bytes(), filter.as_bytes());
        let is_denied = |it: &&str| includes(it.as_bytes(), filter.as_bytes());
        self.allow.is_none_or(|allow| allow.iter().any(is_met)) && !self.deny.iter().any(is_denied)
    }

    fn grants(&self) -> Grants {
        let list = |list: List| list.iter().map(|it| it.as_bytes().into()).collect::<Vec<_>>();
        let allow = self.allow.unwrap_or(&[">"]);
        Grants { allow: list(allow).into(), deny: list(self.deny).into() }
    }

    fn json(&self) -> String {
        let allow = self.allow.map(|list| format!("\"allow\":{list:?},")).unwrap_or_default();
        format!("{{{allow}\"deny\":{:?}}}", self.deny)
    }
}

/// What may cross a link by the broker's own rules.
pub(super) struct Crossing {
    pub(super) export: May,
    import: May,
    pub(super) forward: List,
}

const ALL: May = May { allow: None, deny: &[] };

/// The rules of a world's link are one of these.
pub(super) static RULES: [Crossing; 4] = [
    Crossing { export: ALL, import: ALL, forward: &[] },
    Crossing { export: ALL, import: ALL, forward: &["a.*", "b.c"] },
    Crossing {
        export: May { allow: None, deny: &["b.>"] },
        import: May { allow: None, deny: &["a.c", "*.b"] },
        forward: &["b.c"],
    },
    Crossing {
        export: May { allow: Some(&["a", "a.>"]), deny: &["a.b.c"] },
        import: May { allow: Some(&["a.>", "b", "r.1"]), deny: &["a.b"] },
        forward: &[],
    },
];

impl Crossing {
    /// The same for the engine.
    pub(super) fn rules(&self) -> LinkRules {
        LinkRules {
            export: self.export.grants(),
            import: self.import.grants(),
            forward: self.forward.iter().map(|it| it.as_bytes().into()).collect(),
        }
    }

    /// Whether the hub is asked for what matches a filter.
    pub(super) fn asks_for(&self, filter: &str) -> bool {
        self.import.has_some(filter)
    }

    /// Whether a topic of the hub's is taken. What is denied of everything is the hub's to keep.
    pub(super) fn takes(&self, topic: &str) -> bool {
        self.import.allow.is_none() || self.import.has(topic)
    }
}

/// What a hub permits, as its INFO tells.
pub(super) struct Permissions {
    pub(super) export: May,
    import: May,
}

/// The permissions of a hub are one of these; the first are those of one that tells none.
pub(super) static PERMISSIONS: [Permissions; 3] = [
    Permissions { export: ALL, import: ALL },
    Permissions {
        export: May { allow: None, deny: &["a.b"] },
        import: May { allow: Some(&["a", "a.>"]), deny: &[] },
    },
    Permissions {
        export: May { allow: Some(&["a.>", "b", "r.*"]), deny: &["a.c"] },
        import: May { allow: None, deny: &["b", "a.*"] },
    },
];

impl Permissions {
    /// Whether the hub may be asked for what matches a filter: it filters wildcards itself.
    pub(super) fn may_ask_for(&self, filter: &str) -> bool {
        has_wildcard(filter.as_bytes()) || self.import.has(filter)
    }
}

impl Line {
    /// What is sent. Messages may have so many bytes of payload.
    pub(super) fn bytes(&self, max_payload: usize) -> Vec<u8> {
        let text = match self {
            Line::Want(filter, None) => format!("LS+ {filter}\r\n"),
            Line::Want(filter, Some((group, weight))) => {
                format!("LS+ {filter} {group} {weight}\r\n")
            }
            Line::End(filter, None) => format!("LS- {filter}\r\n"),
            Line::End(filter, Some(group)) => format!("LS- {filter} {group}\r\n"),
            Line::Message(sent, groups) => {
                let mut line = message_line(sent, groups);
                if sent.number.is_multiple_of(3) {
                    line = line.replacen("MSG ", "msg\t ", 1);
                }
                return [line.as_bytes(), b"\r\n", &sent.body(true), b"\r\n"].concat();
            }
            Line::TooLarge(more) => {
                let length = max_payload + more;
                let line = format!("LMSG a {length}\r\n");
                return [line.as_bytes(), &nats::payload(0, length), b"\r\n"].concat();
            }
            Line::Ping => "PING\r\n".to_owned(),
            Line::Pong => "PONG\r\n".to_owned(),
            Line::Info(number) => {
                let Permissions { export, import } = &PERMISSIONS[*number];
                let (export, import) = (export.json(), import.json());
                let lists = match number {
                    0 => String::new(),
                    _ => format!(",\"export\":{export},\"import\":{import}"),
                };
                format!("INFO {{\"connect_info\":true{lists}}}\r\n")
            }
            Line::Mark => format!("LS+ {MARK}\r\n"),
            Line::Ignored(text) | Line::Nonsense(text) => (*text).to_owned(),
            Line::Part(length) => {
                let line = format!("LMSG a {max_payload}\r\n");
                let bytes = [line.as_bytes(), &nats::payload(0, max_payload)].concat();
                return bytes[..bytes.len().min(*length)].to_vec();
            }
        };
        text.into_bytes()
    }
}

/// The line of a message with its sizes, without its end.
fn message_line(sent: &Sent, groups: &[&str]) -> String {
    let verb = if sent.headers.is_some() { "HMSG" } else { "LMSG" };
    let mut words = vec![verb.to_owned(), sent.subject.to_owned()];
    match (sent.reply, groups.is_empty()) {
        (Some(reply), true) => words.push(reply.to_owned()),
        (Some(reply), false) => words.extend(["+".to_owned(), reply.to_owned()]),
        (None, true) => {}
        (None, false) => words.push("|".to_owned()),
    }
    words.extend(groups.iter().map(|group| (*group).to_owned()));
    words.extend(sent.headers.map(|headers| headers.to_string()));
    words.push((sent.headers.unwrap_or(0) + sent.length).to_string());
    words.join(" ")
}

/// A message as a hub must be given it, apart from the names of queue groups.
pub(super) fn given(sent: Sent) -> Given {
    let headers = sent.headers.filter(|headers| *headers > 0);
    let line = message_line(&Sent { headers, ..sent }, &[]);
    Given { line, groups: Vec::new(), body: nats::hash(&sent.body(true)) }
}

/// Bytes of such a message.
pub(super) fn given_bytes(sent: Sent) -> usize {
    given(sent).line.len() + sent.headers.unwrap_or(0) + sent.length + 4
}

/// The first thing in what a hub has received, and its length. Nothing if it is not whole.
pub(super) fn hear(received: &[u8]) -> Option<(Heard, usize)> {
    let end = received.windows(2).position(|it| it == b"\r\n")?;
    let line = std::str::from_utf8(&received[..end]).expect("names are text here");
    let words: Vec<_> = line.split(' ').collect();
    assert!(words.iter().all(|word| !word.is_empty()), "one blank between words: {line}");
    let own = |word: &str| word.to_owned();
    let heard = match words[..] {
        ["CONNECT", "{}"] => Heard::Connect,
        ["LS+", filter] => Heard::Want(own(filter), None),
        ["LS+", filter, group, weight] => {
            Heard::Want(own(filter), Some((own(group), weight.parse().expect("a weight"))))
        }
        ["LS-", filter] => Heard::End(own(filter), None),
        ["LS-", filter, group] => Heard::End(own(filter), Some(own(group))),
        ["PING"] => Heard::Ping,
        ["PONG"] => Heard::Pong,
        ["-ERR", ..] => Heard::Error(line["-ERR ".len()..].to_owned()),
        ["LMSG" | "HMSG", ..] => return hear_message(received, &words, end + 2),
        _ => panic!("the broker sends valid lines: {line}"),
    };
    Some((heard, end + 2))
}

fn hear_message(received: &[u8], words: &[&str], at: usize) -> Option<(Heard, usize)> {
    let numbers = if words[0] == "HMSG" { 2 } else { 1 };
    let (names, sizes) = words.split_at(words.len() - numbers);
    let sizes: Vec<usize> = sizes.iter().map(|size| size.parse().expect("a size")).collect();
    let (reply, groups): (Option<&str>, &[&str]) = match names[2..] {
        [] => (None, &[]),
        [reply] => (Some(reply), &[]),
        ["+", reply, ..] => (Some(reply), &names[4..]),
        ["|", ..] => (None, &names[3..]),
        _ => panic!("the broker sends valid lines: {words:?}"),
    };
    assert_eq!(groups.is_empty(), names.len() <= 3, "marks stand in front of groups: {words:?}");
    let total = sizes[numbers - 1];
    let headers = if numbers == 2 { sizes[0] } else { 0 };
    let body = received.get(at..at + total)?;
    assert_eq!(received.get(at + total..at + total + 2)?, b"\r\n", "a message ends with its line");
    let mut line: Vec<String> = names[..2].iter().map(|word| (*word).to_owned()).collect();
    line.extend(reply.map(str::to_owned));
    line.extend(sizes.iter().map(ToString::to_string));
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    let given = Given { line: line.join(" "), groups, body: nats::hash(body) };
    Some((Heard::Message(given, nats::ident(&body[headers..])), at + total + 2))
}
