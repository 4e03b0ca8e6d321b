//! The language of command files and of the keyboard: bytes in, commands or errors out.
//!
//! Owns files and typed lines as a whole; `line` has the grammar of one line. It does no I/O, waits
//! for nothing, and executes nothing.
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
//! 0   quit
//! ```
//!
//! On the keyboard SECONDS may be left out, and `help` lists the commands.

mod hint;
mod line;

use std::fmt;
use std::time::Duration;

pub use hint::hint;
use line::{Seconds, parse_line, trim};

/// The program that reads the commands, which decides which ones there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `pub`
    Publisher,
    /// `sub` and `unsub`
    Subscriber,
}

impl Role {
    /// The help text.
    pub fn help(self) -> &'static str {
        match self {
            Role::Publisher => {
                "commands, with seconds to wait before them if you like:\n\
                 [SECONDS] pub TOPIC MESSAGE   publish the rest of the line\n\
                 [SECONDS] quit                end, once all is confirmed; so does Ctrl-D, at once"
            }
            Role::Subscriber => {
                "commands, with seconds to wait before them if you like:\n\
                 [SECONDS] sub FILTER [GROUP]     subscribe: * is any token, a last > any more\n\
                 [SECONDS] unsub FILTER [GROUP]   end that subscription\n\
                 [SECONDS] quit                   end; so does Ctrl-D, at once"
            }
        }
    }
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
    /// End the program.
    Quit,
}

/// What to subscribe to, or no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Which topics.
    pub filter: String,
    /// The queue group to be a member of.
    pub group: Option<String>,
}

/// A command of a file or the keyboard, with its line number and wait.
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
    /// `help`
    Help,
    /// A command.
    Command(TimedCommand),
}

/// A line that is not a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineError<'a> {
    /// The file's name, or a text in its place.
    pub source: &'a str,
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong, and what was expected.
    pub text: String,
}

impl fmt::Display for LineError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.source, self.line, self.text)
    }
}

impl std::error::Error for LineError<'_> {}

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
/// Every line that is not a command.
pub fn parse_file<'a>(
    source: &'a str,
    bytes: &[u8],
    role: Role,
) -> Result<Vec<TimedCommand>, Vec<LineError<'a>>> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut commands = Vec::new();
    let mut errors = Vec::new();
    for (index, text) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = index + 1;
        match parse_line(text, role, Seconds::Required) {
            Ok(None) => {}
            Ok(Some((wait, command))) => commands.push(TimedCommand { line, wait, command }),
            Err(text) => errors.push(LineError { source, line, text }),
        }
    }
    if errors.is_empty() { Ok(commands) } else { Err(errors) }
}

/// Parses one line of standard input. `line` is its number.
///
/// # Errors
/// What is wrong with the line.
pub fn parse_typed(line: usize, text: &[u8], role: Role) -> Result<Typed, LineError<'static>> {
    if trim(text) == b"help" {
        return Ok(Typed::Help);
    }
    match parse_line(text, role, Seconds::Optional) {
        Ok(None) => Ok(Typed::Nothing),
        Ok(Some((wait, command))) => Ok(Typed::Command(TimedCommand { line, wait, command })),
        Err(text) => Err(LineError { source: "standard input", line, text }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_skip_comments_and_tell_all_bad_lines_at_once() {
        let file = b"\xEF\xBB\xBF; comment\n\n   \t\r\n1 pub a x\n  ; more\n0 pub b y";
        let commands = parse_file("f", file, Role::Publisher).unwrap();
        let lines: Vec<_> = commands.iter().map(|command| command.line).collect();
        assert_eq!(lines, [4, 6]);

        let errors = parse_file("f.cmd", b"x\n1 pub a x\n2 pub", Role::Publisher).unwrap_err();
        let places: Vec<_> = errors.iter().map(|error| (error.line, error.to_string())).collect();
        assert_eq!(places.len(), 2);
        assert!(places[0].1.starts_with("f.cmd:1: ") && places[1].1.starts_with("f.cmd:3: "));
    }

    #[test]
    fn typed_lines_may_leave_out_the_seconds_and_quit() {
        let typed = |text: &[u8]| parse_typed(7, text, Role::Subscriber);
        assert_eq!(typed(b" help \r"), Ok(Typed::Help));
        for (text, seconds) in [(b" quit \r".as_slice(), 0), (b"3 quit", 3)] {
            let wait = Duration::from_secs(seconds);
            let expected = TimedCommand { line: 7, wait, command: Command::Quit };
            assert_eq!(typed(text), Ok(Typed::Command(expected)));
        }
        assert_eq!(typed(b""), Ok(Typed::Nothing));
        assert_eq!(typed(b"; x"), Ok(Typed::Nothing));
        let command = Command::Subscribe(Subscription { filter: "a".to_owned(), group: None });
        for (text, seconds) in [("sub a", 0), ("2 sub a", 2)] {
            let (wait, command) = (Duration::from_secs(seconds), command.clone());
            let line = 7;
            let expected = TimedCommand { line, wait, command };
            assert_eq!(typed(text.as_bytes()), Ok(Typed::Command(expected)), "{text}");
        }
        let error = typed(b"hello").unwrap_err().to_string();
        assert!(error.starts_with("standard input:7: "), "{error}");
    }
}
