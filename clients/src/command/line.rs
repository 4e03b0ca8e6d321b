//! The grammar of one line: blanks, seconds, verbs, topics.
//!
//! Owns the errors of a line and their texts, not where the line came from.

use std::fmt;
use std::time::Duration;

use wire::topic::{validate_filter, validate_group, validate_topic};

use super::{Command, Role, Subscription};

/// The longest wait before a command, in seconds: about 31 years.
const MAX_WAIT_SECONDS: f64 = 1e9;

/// Whether a line must begin with SECONDS.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Seconds {
    Required,
    Optional,
}

/// Reads one line without its line feed. `None`: an empty line or a comment.
pub(super) fn parse_line(
    text: &[u8],
    role: Role,
    seconds: Seconds,
) -> Result<Option<(Duration, Command)>, String> {
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let (first, rest) = split_word(text);
    if first.is_empty() || first.starts_with(b";") {
        return Ok(None);
    }
    // `quit` may leave SECONDS out, in a file as well.
    let left_out = first == b"quit"
        || (seconds == Seconds::Optional && matches!(first, b"pub" | b"sub" | b"unsub"));
    if left_out {
        return parse_command(first, rest, role).map(|command| Some((Duration::ZERO, command)));
    }
    let wait = parse_seconds(first)?;
    let (verb, rest) = split_word(rest);
    parse_command(verb, rest, role).map(|command| Some((wait, command)))
}

fn parse_command(verb: &[u8], rest: &[u8], role: Role) -> Result<Command, String> {
    match (role, verb) {
        (Role::Publisher, b"pub") => parse_publish(rest),
        (Role::Subscriber, b"sub") => parse_subscription(rest).map(Command::Subscribe),
        (_, b"quit") => parse_quit(rest),
        (Role::Subscriber, b"unsub") => parse_subscription(rest).map(Command::Unsubscribe),
        _ => {
            let expected = match role {
                Role::Publisher => "pub TOPIC MESSAGE or quit",
                Role::Subscriber => "sub TOPIC [GROUP], unsub TOPIC [GROUP] or quit",
            };
            let found = match verb {
                b"" => "nothing".to_owned(),
                verb => format!("\"{}\"", verb.escape_ascii()),
            };
            Err(format!("expected {expected} behind SECONDS, found {found}"))
        }
    }
}

fn parse_quit(rest: &[u8]) -> Result<Command, String> {
    match trim(rest) {
        b"" => Ok(Command::Quit),
        more => Err(format!("\"{}\" is too much behind quit", more.escape_ascii())),
    }
}

fn parse_publish(rest: &[u8]) -> Result<Command, String> {
    let (topic, message) = split_word(rest);
    let topic = checked(topic, "topic", validate_topic)?;
    let message = trim_start(message);
    if message.is_empty() {
        return Err("the message is missing: expected pub TOPIC MESSAGE".to_owned());
    }
    Ok(Command::Publish { topic, message: message.to_vec() })
}

fn parse_subscription(rest: &[u8]) -> Result<Subscription, String> {
    let (filter, rest) = split_word(rest);
    let filter = checked(filter, "topic", validate_filter)?;
    let (group, rest) = split_word(rest);
    let group = match group {
        b"" => None,
        group => Some(checked(group, "queue group", validate_group)?),
    };
    match trim(rest) {
        b"" => Ok(Subscription { filter, group }),
        more => Err(format!(
            "\"{}\" is too much: expected TOPIC and perhaps GROUP",
            more.escape_ascii()
        )),
    }
}

/// The word as text, if it is there and obeys its grammar.
fn checked<E: fmt::Display>(
    word: &[u8],
    what: &str,
    validate: impl Fn(&[u8]) -> Result<(), E>,
) -> Result<String, String> {
    if word.is_empty() {
        return Err(format!("the {what} is missing"));
    }
    let bad = |reason: &dyn fmt::Display| {
        format!("the {what} \"{}\" cannot be used: {reason}", word.escape_ascii())
    };
    validate(word).map_err(|reason| bad(&reason))?;
    String::from_utf8(word.to_vec()).map_err(|_| bad(&"it is not UTF-8"))
}

fn parse_seconds(word: &[u8]) -> Result<Duration, String> {
    let digits = |&byte: &u8| byte.is_ascii_digit() || byte == b'.';
    let seconds = std::str::from_utf8(word)
        .ok()
        .filter(|text| text.as_bytes().iter().all(digits))
        .and_then(|text| text.parse::<f64>().ok())
        .filter(|&seconds| seconds <= MAX_WAIT_SECONDS);
    seconds.map(Duration::from_secs_f64).ok_or_else(|| {
        format!(
            "\"{}\" is not a number of seconds, such as 3 or 0.5 (comments start with ;)",
            word.escape_ascii()
        )
    })
}

/// The first word and what follows it, blanks included.
fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = trim_start(text);
    let end = text.iter().position(is_blank).unwrap_or(text.len());
    text.split_at(end)
}

/// Without the blanks and the carriage return around it.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    let text = trim_start(text);
    let kept = text.iter().rposition(|byte| !is_blank(byte) && *byte != b'\r');
    &text[..kept.map_or(0, |last| last + 1)]
}

fn trim_start(text: &[u8]) -> &[u8] {
    let kept = text.iter().position(|byte| !is_blank(byte));
    &text[kept.unwrap_or(text.len())..]
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::parse_file;

    fn subscription(filter: &str, group: Option<&str>) -> Subscription {
        Subscription { filter: filter.to_owned(), group: group.map(str::to_owned) }
    }

    fn one(text: &[u8], role: Role) -> Result<(u64, Command), String> {
        match parse_file("f", text, role) {
            Ok(commands) => {
                assert_eq!(commands.len(), 1);
                let first = commands.into_iter().next().unwrap();
                Ok((first.wait.as_millis() as u64, first.command))
            }
            Err(errors) => Err(errors[0].text.clone()),
        }
    }

    #[test]
    fn publisher_lines_become_messages_with_their_inner_spaces() {
        let rows: [(&[u8], u64, &str, &[u8]); 8] = [
            (
                b"3 pub #hello This is the first message",
                3_000,
                "#hello",
                b"This is the first message",
            ),
            (b"0.25 pub a.b x", 250, "a.b", b"x"),
            (b".5 pub a x", 500, "a", b"x"),
            (b"0 pub a two  inner   spaces", 0, "a", b"two  inner   spaces"),
            (b"  1\tpub  a\t x y ", 1_000, "a", b"x y "),
            (b"1 pub a x\r\n", 1_000, "a", b"x"),
            (b"1 pub a ;no comment", 1_000, "a", b";no comment"),
            (b"1 pub a \xFF\x00", 1_000, "a", b"\xFF\x00"),
        ];
        for (text, wait, topic, message) in rows {
            let (topic, message) = (topic.to_owned(), message.to_vec());
            let expected = Ok((wait, Command::Publish { topic, message }));
            assert_eq!(one(text, Role::Publisher), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn subscriber_lines_become_subscriptions() {
        let rows = [
            ("3 sub #hello", 3_000, Command::Subscribe(subscription("#hello", None))),
            ("0 sub a.> g", 0, Command::Subscribe(subscription("a.>", Some("g")))),
            ("0 sub *  g.h \r", 0, Command::Subscribe(subscription("*", Some("g.h")))),
            ("1 unsub a", 1_000, Command::Unsubscribe(subscription("a", None))),
            ("1 unsub a g", 1_000, Command::Unsubscribe(subscription("a", Some("g")))),
        ];
        for (text, wait, command) in rows {
            assert_eq!(one(text.as_bytes(), Role::Subscriber), Ok((wait, command)), "{text}");
        }
    }

    #[test]
    fn bad_lines_say_what_was_expected() {
        let rows: [(&[u8], Role, &str); 18] = [
            (b"pub a x", Role::Publisher, "\"pub\" is not a number of seconds"),
            (b"-1 pub a x", Role::Publisher, "\"-1\" is not a number"),
            (b"1e3 pub a x", Role::Publisher, "\"1e3\" is not a number"),
            (b"inf pub a x", Role::Publisher, "\"inf\" is not a number"),
            (b". pub a x", Role::Publisher, "\".\" is not a number"),
            (b"9999999999 pub a x", Role::Publisher, "is not a number"),
            (b"# comment", Role::Publisher, "comments start with ;"),
            (b"quit now", Role::Publisher, "\"now\" is too much behind quit"),
            (
                b"3",
                Role::Publisher,
                "expected pub TOPIC MESSAGE or quit behind SECONDS, found nothing",
            ),
            (b"3 publish a x", Role::Publisher, "found \"publish\""),
            (b"3 sub a", Role::Publisher, "expected pub TOPIC MESSAGE"),
            (b"3 pub", Role::Publisher, "the topic is missing"),
            (b"3 pub a", Role::Publisher, "the message is missing"),
            (b"3 pub a.* x", Role::Publisher, "the topic \"a.*\" cannot be used"),
            (b"3 pub a x", Role::Subscriber, "expected sub TOPIC [GROUP], unsub"),
            (b"3 sub a..b", Role::Subscriber, "the topic \"a..b\" cannot be used"),
            (b"3 sub a *", Role::Subscriber, "the queue group \"*\" cannot be used"),
            (b"3 sub a g \xFFz", Role::Subscriber, "\"\\xffz\" is too much"),
        ];
        for (text, role, expected) in rows {
            let error = one(text, role).unwrap_err();
            assert!(error.contains(expected), "{}: {error}", text.escape_ascii());
        }
    }
}
