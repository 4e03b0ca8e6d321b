//! How a program ends and what it says to people: exit codes, and lines on standard error.
//!
//! Owns the meaning of the exit codes. Messages themselves are printed elsewhere.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use super::escape::push_harmless;
use super::prompt;

/// The exit code where `--timeout` has ended the program.
pub(super) const TIMED_OUT: u8 = 3;

/// Why a program does not end with exit code 0.
#[derive(Debug)]
pub(super) enum Failure {
    /// What was asked makes no sense; nothing was sent. Exit code 2.
    Usage(String),
    /// It went wrong. Exit code 1.
    Failed(String),
    /// It went wrong, and was said already. Exit code 1.
    Reported,
    /// `--timeout` ended the wait. Exit code 3.
    TimedOut,
    /// Messages were lost, and `--fail-on-loss` was given. Exit code 4.
    Loss,
    /// Nobody reads the output any more. That is how `| head` ends: exit code 0.
    PipeClosed,
}

impl Failure {
    /// Standard output could not be written.
    pub(super) fn output(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::PipeClosed,
            _ => Failure::Failed(format!("cannot write to standard output: {error}")),
        }
    }
}

/// Says what is left to say, and gives the exit code.
pub(super) fn exit_code(program: &str, result: Result<(), Failure>) -> ExitCode {
    // Nothing is left behind for the shell's own prompt to stand beside.
    prompt::clear();
    let code = match result {
        Ok(()) | Err(Failure::PipeClosed) => 0,
        Err(Failure::Failed(text)) => {
            say(program, &text);
            1
        }
        Err(Failure::Reported) => 1,
        Err(Failure::Usage(text)) => {
            say(program, &text);
            2
        }
        Err(Failure::TimedOut) => TIMED_OUT,
        Err(Failure::Loss) => 4,
    };
    ExitCode::from(code)
}

/// An error with all that it goes back to, in a line.
pub(super) fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// One line on standard error (more only where the text has more).
pub(super) fn say(program: &str, text: &str) {
    let mut line = format!("{program}: ").into_bytes();
    for (index, part) in text.lines().enumerate() {
        if index > 0 {
            line.push(b'\n');
        }
        // A broker's words may end up in here; they must not drive the terminal either.
        push_harmless(&mut line, part.as_bytes());
    }
    line.push(b'\n');
    let prompted = prompt::clear();
    // With standard error gone there is nobody left to tell, with standard output nobody to ask.
    let _ = io::stderr().write_all(&line);
    if prompted {
        let _ = prompt::show();
    }
}
