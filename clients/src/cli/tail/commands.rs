//! The subscriber's second thread: the file's commands, then those of standard input.
//!
//! Owns when each is executed. The board changes the subscriptions.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Instant;

use crate::cli::board::Board;
use crate::cli::input::{self, Line, Lines};
use crate::cli::pace::Pace;
use crate::cli::prompt;
use crate::cli::report::say;
use crate::command::{Command, Role, TimedCommand, Typed, hint, parse_typed};

use super::PROGRAM;

/// Lines of standard input that wait to be executed.
const MAX_WAITING_LINES: usize = 1_024;
/// Bytes of a line: a filter, a group and all that is around them fit in.
const MAX_LINE_BYTES: usize = 64 << 10;

/// Executes the file's commands, then those of standard input, if it is read.
pub(super) fn execute(board: &Arc<Board>, commands: &[TimedCommand], has_input: bool) {
    let mut pace = Pace::starting(Instant::now());
    for command in commands {
        wait_and_execute(board, &mut pace, command);
    }
    if !has_input || board.is_quitting() {
        return;
    }
    let typing = io::stdin().is_terminal();
    let prompt = prompt::is_wanted();
    let (sender, lines) = mpsc::sync_channel(MAX_WAITING_LINES);
    let reader = Arc::clone(board);
    // A thread of its own, so that the end of what is typed is noticed while a command waits.
    thread::spawn(move || read_lines(&reader, &sender, typing));
    show_prompt(prompt);
    for line in lines {
        if prompt {
            prompt::was_answered();
        }
        match line {
            Ok(Typed::Nothing) => {}
            Ok(Typed::Help) => say(PROGRAM, Role::Subscriber.help()),
            Ok(Typed::Command(command)) => wait_and_execute(board, &mut pace, &command),
            Err(error) => {
                say(PROGRAM, &error);
                if !typing {
                    board.fail();
                }
            }
        }
        show_prompt(prompt && !board.is_quitting());
    }
}

fn wait_and_execute(board: &Board, pace: &mut Pace, command: &TimedCommand) {
    board.sleep(pace.until_due(command.wait, Instant::now()));
    pace.completed(Instant::now());
    if board.is_quitting() {
        return;
    }
    if let Command::Subscribe(wanted) = &command.command
        && let Some(hint) = hint(&wanted.filter)
    {
        say(PROGRAM, &hint);
    }
    board.execute(&command.command);
}

/// Reads to the end, which ends the program if standard input is a terminal.
fn read_lines(board: &Board, commands: &SyncSender<Result<Typed, String>>, typing: bool) {
    if let Err(error) = send_lines(commands) {
        say(PROGRAM, &format!("cannot read standard input: {error}"));
        board.fail();
    }
    if typing {
        board.quit();
    }
}

fn send_lines(commands: &SyncSender<Result<Typed, String>>) -> io::Result<()> {
    let mut lines = Lines::new(input::open()?, MAX_LINE_BYTES);
    loop {
        let number = lines.number() + 1;
        let command = match lines.next()? {
            None => return Ok(()),
            Some(Line::Text(text)) => {
                parse_typed(number, text, Role::Subscriber).map_err(|error| error.to_string())
            }
            Some(Line::TooLong(bytes)) => {
                let source = input::STANDARD_INPUT;
                Err(format!("{source}:{number}: a line of {bytes} bytes is no command"))
            }
        };
        if commands.send(command).is_err() {
            return Ok(());
        }
    }
}

fn show_prompt(prompt: bool) {
    if prompt {
        // The receiving thread detects that standard output is closed.
        let _ = prompt::show();
    }
}
