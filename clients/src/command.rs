//! The language of command files and of the keyboard: bytes in, commands or errors out.
//!
//! Owns the grammar. It does no I/O, waits for nothing, and carries nothing out.
//!
//! A command file has one command a line. Empty lines are skipped; lines that start with `;` are
//! comments:
//!
//! ```text
//! ; SECONDS to wait before the command, counted from the previous one
//! 3   pub #hello This is the first message
//! 0.5 sub orders.>
//! 0   sub jobs.* workers
//! 10  unsub orders.>
//! ```
//!
//! On the keyboard SECONDS may be left out, and `quit` ends the program.

use std::fmt;
use std::time::Duration;

use broker::wire::topic::{validate_filter, validate_group, validate_topic};

/// The longest wait before a command, in seconds: about 31 years.
const MAX_WAIT_SECONDS: f64 = 1e9;

/// Which program reads the commands, and so which ones there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `pub`
    Publisher,
    /// `sub` and `unsub`
    Subscriber,
}

/// What to do. Topics, filters and groups obey the grammar of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Publish a message.
    Publish {
        /// To which topic.
        topic: String,
        /// The rest of the line, any bytes.
        message: Vec<u8>,
    },
    /// Subscribe.
    Subscribe(Subscription),
    /// End a subscription.
    Unsubscribe(Subscription),
}

/// What to subscribe to, or no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Which topics.
    pub filter: String,
    /// The queue group to be a member of.
    pub group: Option<String>,
}

/// A command of a file or the keyboard, with what stands around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedCommand {
    /// The line's number, from 1.
    pub line: usize,
    /// How long to wait before it, counted from the previous command.
    pub wait: Duration,
    /// What to do.
    pub command: Command,
}

/// A line that was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// An empty line or a comment.
    Nothing,
    /// `quit`
    Quit,
    /// A command.
    Command(TimedCommand),
}

/// A line that is no command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineError {
    /// The file's name, or what stands for it.
    pub source: String,
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong, and what was expected.
    pub text: String,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.source, self.line, self.text)
    }
}

impl std::error::Error for LineError {}

/// Reads a whole command file; `source` is its name, for the errors.
///
/// ```
/// use clients::command::{Role, parse_file};
///
/// let commands = parse_file("tour.cmd", b"3 pub #hello This is it\n", Role::Publisher).unwrap();
/// assert_eq!(commands[0].wait.as_secs(), 3);
/// let errors = parse_file("tour.cmd", b"\nsoon pub #hello hi\n", Role::Publisher).unwrap_err();
/// assert!(errors[0].to_string().starts_with("tour.cmd:2: \"soon\" is not"));
/// ```
///
/// # Errors
/// Every line that is no command.
pub fn parse_file(
    source: &str,
    bytes: &[u8],
    role: Role,
) -> Result<Vec<TimedCommand>, Vec<LineError>> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut commands = Vec::new();
    let mut errors = Vec::new();
    for (index, text) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = index + 1;
        match parse_line(text, role, Seconds::Required) {
            Ok(None) => {}
            Ok(Some((wait, command))) => commands.push(TimedCommand {
                line,
                wait,
                command,
            }),
            Err(text) => errors.push(LineError {
                source: source.to_owned(),
                line,
                text,
            }),
        }
    }
    if errors.is_empty() {
        Ok(commands)
    } else {
        Err(errors)
    }
}

/// Reads one line from the keyboard, or from whatever standard input is. `line` is its number.
///
/// # Errors
/// What is wrong with the line.
pub fn parse_typed(line: usize, text: &[u8], role: Role) -> Result<Typed, LineError> {
    if trim(text) == b"quit" {
        return Ok(Typed::Quit);
    }
    match parse_line(text, role, Seconds::Optional) {
        Ok(None) => Ok(Typed::Nothing),
        Ok(Some((wait, command))) => Ok(Typed::Command(TimedCommand {
            line,
            wait,
            command,
        })),
        Err(text) => Err(LineError {
            source: "standard input".to_owned(),
            line,
            text,
        }),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Seconds {
    Required,
    Optional,
}

fn parse_line(
    text: &[u8],
    role: Role,
    seconds: Seconds,
) -> Result<Option<(Duration, Command)>, String> {
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let (first, rest) = split_word(text);
    if first.is_empty() || first.starts_with(b";") {
        return Ok(None);
    }
    let left_out = seconds == Seconds::Optional && matches!(first, b"pub" | b"sub" | b"unsub");
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
        (Role::Subscriber, b"unsub") => parse_subscription(rest).map(Command::Unsubscribe),
        _ => {
            let expected = match role {
                Role::Publisher => "pub TOPIC MESSAGE",
                Role::Subscriber => "sub TOPIC [GROUP] or unsub TOPIC [GROUP]",
            };
            let found = match verb {
                b"" => "nothing".to_owned(),
                verb => format!("\"{}\"", verb.escape_ascii()),
            };
            Err(format!("expected {expected} behind SECONDS, found {found}"))
        }
    }
}

fn parse_publish(rest: &[u8]) -> Result<Command, String> {
    let (topic, message) = split_word(rest);
    let topic = checked(topic, "topic", validate_topic)?;
    let message = trim_start(message);
    if message.is_empty() {
        return Err("the message is missing: expected pub TOPIC MESSAGE".to_owned());
    }
    Ok(Command::Publish {
        topic,
        message: message.to_vec(),
    })
}

fn parse_subscription(rest: &[u8]) -> Result<Subscription, String> {
    let (filter, rest) = split_word(rest);
    let filter = checked(filter, "topic", validate_filter)?;
    let (group, rest) = split_word(rest);
    let group = match group {
        b"" => None,
        group => Some(checked(group, "queue group", |group| {
            validate_group(group)
        })?),
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
        format!(
            "the {what} \"{}\" cannot be used: {reason}",
            word.escape_ascii()
        )
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

/// The first word and what is behind it, blanks included.
fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = trim_start(text);
    let end = text.iter().position(is_blank).unwrap_or(text.len());
    text.split_at(end)
}

fn trim(text: &[u8]) -> &[u8] {
    let text = trim_start(text);
    let kept = text
        .iter()
        .rposition(|byte| !is_blank(byte) && *byte != b'\r');
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

    fn subscription(filter: &str, group: Option<&str>) -> Subscription {
        Subscription {
            filter: filter.to_owned(),
            group: group.map(str::to_owned),
        }
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
            (
                b"0 pub a two  inner   spaces",
                0,
                "a",
                b"two  inner   spaces",
            ),
            (b"  1\tpub  a\t x y ", 1_000, "a", b"x y "),
            (b"1 pub a x\r\n", 1_000, "a", b"x"),
            (b"1 pub a ;no comment", 1_000, "a", b";no comment"),
            (b"1 pub a \xFF\x00", 1_000, "a", b"\xFF\x00"),
        ];
        for (text, wait, topic, message) in rows {
            let (topic, message) = (topic.to_owned(), message.to_vec());
            let expected = Ok((wait, Command::Publish { topic, message }));
            assert_eq!(
                one(text, Role::Publisher),
                expected,
                "{}",
                text.escape_ascii()
            );
        }
    }

    #[test]
    fn subscriber_lines_become_subscriptions() {
        let rows = [
            (
                "3 sub #hello",
                3_000,
                Command::Subscribe(subscription("#hello", None)),
            ),
            (
                "0 sub a.> g",
                0,
                Command::Subscribe(subscription("a.>", Some("g"))),
            ),
            (
                "0 sub *  g.h \r",
                0,
                Command::Subscribe(subscription("*", Some("g.h"))),
            ),
            (
                "1 unsub a",
                1_000,
                Command::Unsubscribe(subscription("a", None)),
            ),
            (
                "1 unsub a g",
                1_000,
                Command::Unsubscribe(subscription("a", Some("g"))),
            ),
        ];
        for (text, wait, command) in rows {
            assert_eq!(
                one(text.as_bytes(), Role::Subscriber),
                Ok((wait, command)),
                "{text}"
            );
        }
    }

    #[test]
    fn bad_lines_say_what_was_expected() {
        let rows: [(&[u8], Role, &str); 18] = [
            (
                b"pub a x",
                Role::Publisher,
                "\"pub\" is not a number of seconds",
            ),
            (b"-1 pub a x", Role::Publisher, "\"-1\" is not a number"),
            (b"1e3 pub a x", Role::Publisher, "\"1e3\" is not a number"),
            (b"inf pub a x", Role::Publisher, "\"inf\" is not a number"),
            (b". pub a x", Role::Publisher, "\".\" is not a number"),
            (b"9999999999 pub a x", Role::Publisher, "is not a number"),
            (b"# comment", Role::Publisher, "comments start with ;"),
            (b"quit", Role::Publisher, "\"quit\" is not a number"),
            (
                b"3",
                Role::Publisher,
                "expected pub TOPIC MESSAGE behind SECONDS, found nothing",
            ),
            (b"3 publish a x", Role::Publisher, "found \"publish\""),
            (b"3 sub a", Role::Publisher, "expected pub TOPIC MESSAGE"),
            (b"3 pub", Role::Publisher, "the topic is missing"),
            (b"3 pub a", Role::Publisher, "the message is missing"),
            (
                b"3 pub a.* x",
                Role::Publisher,
                "the topic \"a.*\" cannot be used",
            ),
            (
                b"3 pub a x",
                Role::Subscriber,
                "expected sub TOPIC [GROUP] or unsub",
            ),
            (
                b"3 sub a..b",
                Role::Subscriber,
                "the topic \"a..b\" cannot be used",
            ),
            (
                b"3 sub a *",
                Role::Subscriber,
                "the queue group \"*\" cannot be used",
            ),
            (
                b"3 sub a g \xFFz",
                Role::Subscriber,
                "\"\\xffz\" is too much",
            ),
        ];
        for (text, role, expected) in rows {
            let error = one(text, role).unwrap_err();
            assert!(error.contains(expected), "{}: {error}", text.escape_ascii());
        }
    }

    #[test]
    fn files_skip_comments_and_tell_all_bad_lines_at_once() {
        let file = b"\xEF\xBB\xBF; comment\n\n   \t\r\n1 pub a x\n  ; more\n0 pub b y";
        let commands = parse_file("f", file, Role::Publisher).unwrap();
        let lines: Vec<_> = commands.iter().map(|command| command.line).collect();
        assert_eq!(lines, [4, 6]);

        let errors = parse_file("f.cmd", b"x\n1 pub a x\n2 pub", Role::Publisher).unwrap_err();
        let places: Vec<_> = errors
            .iter()
            .map(|error| (error.line, error.to_string()))
            .collect();
        assert_eq!(places.len(), 2);
        assert!(places[0].1.starts_with("f.cmd:1: ") && places[1].1.starts_with("f.cmd:3: "));
    }

    #[test]
    fn typed_lines_may_leave_out_the_seconds_and_quit() {
        let typed = |text: &[u8]| parse_typed(7, text, Role::Subscriber);
        assert_eq!(typed(b" quit \r"), Ok(Typed::Quit));
        assert_eq!(typed(b""), Ok(Typed::Nothing));
        assert_eq!(typed(b"; x"), Ok(Typed::Nothing));
        let command = Command::Subscribe(subscription("a", None));
        for (text, seconds) in [("sub a", 0), ("2 sub a", 2)] {
            let (wait, command) = (Duration::from_secs(seconds), command.clone());
            let line = 7;
            let expected = TimedCommand {
                line,
                wait,
                command,
            };
            assert_eq!(
                typed(text.as_bytes()),
                Ok(Typed::Command(expected)),
                "{text}"
            );
        }
        let error = typed(b"hello").unwrap_err().to_string();
        assert!(error.starts_with("standard input:7: "), "{error}");
    }
}
