//! How a program ends and what it reports: exit codes, and lines on standard error.
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
    /// Wrong usage; nothing was sent. Exit code 2.
    Usage(String),
    /// It failed. Exit code 1.
    Failed(String),
    /// It failed, and that has been reported. Exit code 1.
    Reported,
    /// `--timeout` ended the wait. Exit code 3.
    TimedOut,
    /// Messages were lost, and `--fail-on-loss` was given. Exit code 4.
    Loss,
    /// The reader of the output has closed it, as `| head` does: exit code 0.
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

/// Reports the failure, and returns the exit code.
pub(super) fn exit_code(program: &str, result: Result<(), Failure>) -> ExitCode {
    // Without our prompt on the line of the shell's own.
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

/// An error with its sources, in one line.
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
        // The text may come from a broker; it must not control the terminal either.
        push_harmless(&mut line, part.as_bytes());
    }
    line.push(b'\n');
    let prompted = prompt::clear();
    // Errors cannot be reported when standard error itself is closed.
    let _ = io::stderr().write_all(&line);
    if prompted {
        let _ = prompt::show();
    }
}
