//! Commands of a file and of standard input, executed one after the other.
//!
//! Owns what is reported of each: whether the broker has confirmed it. One thread executes; others
//! read lines and watch the connection, so that neither is missed while a command waits to be due.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Instant;

use pubsub_client::ClientError;

use crate::cli::escape::push_harmless;
use crate::cli::input::{self, Line, Lines, STANDARD_INPUT};
use crate::cli::pace::Pace;
use crate::cli::prompt;
use crate::cli::report::{Failure, explain, say};
use crate::cli::target::Target;
use crate::command::{Command, Role, TimedCommand, Typed, parse_typed};

use super::lines::too_large;
use super::sender::Sender;
use super::{PROGRAM, unreadable};

/// Commands that are due at once share a confirmation, up to this many.
const MAX_BATCH: usize = 256;
/// Lines of standard input that wait to be executed.
const MAX_WAITING_LINES: usize = 1_024;
/// Bytes of a line besides its message: seconds, verb, topic and blanks.
const MAX_BESIDE_MESSAGE: usize = 4_096;

/// What ends the wait for a command.
enum Input {
    Line(usize, Vec<u8>),
    TooLong(usize, u64),
    End,
    Unreadable(io::Error),
    ConnectionEnded(ClientError),
}

/// Executes commands and reports the result of each.
pub(super) struct Commands<'a> {
    publisher: Sender,
    target: &'a Target,
    pace: Pace,
    /// Standard input is a terminal: the end of input ends the program at once.
    typing: bool,
    sender: SyncSender<Input>,
    inputs: Receiver<Input>,
    /// Inputs that arrived while a command waited to be due.
    early: VecDeque<Input>,
    /// Some command was not confirmed.
    failed: bool,
    /// `quit`, or the end of input.
    over: bool,
}

impl Commands<'_> {
    pub(super) fn new(publisher: Sender, target: &Target) -> Commands<'_> {
        let (sender, inputs) = mpsc::sync_channel(MAX_WAITING_LINES);
        Commands {
            publisher,
            target,
            pace: Pace::starting(Instant::now()),
            typing: io::stdin().is_terminal(),
            sender,
            inputs,
            early: VecDeque::new(),
            failed: false,
            over: false,
        }
    }

    /// First the file's commands, then those of standard input, if it is read.
    pub(super) fn run(
        mut self,
        file: &str,
        commands: &[TimedCommand],
        has_input: bool,
    ) -> Result<(), Failure> {
        self.watch_connection();
        let mut rest = commands;
        while let Some(first) = rest.first().filter(|_| !self.over) {
            let more = rest[1..].iter().take(MAX_BATCH - 1);
            let due = |one: &&TimedCommand| one.wait.is_zero() && one.command != Command::Quit;
            let together = 1 + more.take_while(due).count();
            if self.wait_for(first)? {
                self.execute(file, &rest[..together])?;
            }
            rest = &rest[together..];
        }
        if has_input && !self.over {
            self.run_input()?;
        }
        let (failed_before, target) = (self.failed, self.target);
        self.publisher.close().map_err(|error| Failure::Failed(target.explain(&error)))?;
        if failed_before { Err(Failure::Reported) } else { Ok(()) }
    }

    fn run_input(&mut self) -> Result<(), Failure> {
        let prompt = prompt::is_wanted();
        let (lines, limit) = (self.sender.clone(), self.publisher.welcome().max_payload);
        thread::spawn(move || read_lines(&lines, limit));
        while !self.over {
            let input = match self.early.pop_front() {
                Some(input) => input,
                None => {
                    if prompt {
                        prompt::show().map_err(|error| Failure::output(&error))?;
                    }
                    // If the reading thread has ended, so has the input.
                    self.inputs.recv().unwrap_or(Input::End)
                }
            };
            if prompt && matches!(input, Input::Line(..)) {
                prompt::was_answered();
            }
            let Some(first) = self.command_of(input)? else { continue };
            if self.wait_for(&first)? {
                let mut batch = vec![first];
                self.take_due(&mut batch);
                self.execute(STANDARD_INPUT, &batch)?;
            }
        }
        Ok(())
    }

    /// Commands typed ahead that are due at once share the confirmation.
    fn take_due(&mut self, batch: &mut Vec<TimedCommand>) {
        while batch.len() < MAX_BATCH
            && batch.last().is_some_and(|one| one.command != Command::Quit)
        {
            let next = self.early.pop_front().or_else(|| self.inputs.try_recv().ok());
            let Some(input) = next else { return };
            if let Input::Line(line, text) = &input
                && let Ok(Typed::Command(command)) = parse_typed(*line, text, Role::Publisher)
                && command.wait.is_zero()
            {
                batch.push(command);
            } else {
                return self.early.push_front(input);
            }
        }
    }

    /// The command of an input, if it is one. An invalid line is reported.
    fn command_of(&mut self, input: Input) -> Result<Option<TimedCommand>, Failure> {
        match input {
            Input::Line(line, text) => match parse_typed(line, &text, Role::Publisher) {
                Ok(Typed::Command(command)) => return Ok(Some(command)),
                Ok(Typed::Nothing) => {}
                Ok(Typed::Help) => say(PROGRAM, Role::Publisher.help()),
                Err(error) => {
                    say(PROGRAM, &error.to_string());
                    // On a terminal the user sees that and types it again.
                    self.failed |= !self.typing;
                }
            },
            Input::TooLong(line, bytes) => {
                let error = too_large(bytes, self.publisher.welcome().max_payload);
                say(PROGRAM, &format!("{STANDARD_INPUT}:{line}: {error}"));
                self.failed = true;
            }
            Input::End => self.over = true,
            Input::Unreadable(error) => return Err(unreadable(error)),
            Input::ConnectionEnded(error) => return Err(self.lost(&error)),
        }
        Ok(None)
    }

    /// Waits until the command is due. `false`: it is not to be executed any more.
    fn wait_for(&mut self, command: &TimedCommand) -> Result<bool, Failure> {
        loop {
            let wait = self.pace.until_due(command.wait, Instant::now());
            if wait.is_zero() {
                break;
            }
            if self.early.len() >= MAX_WAITING_LINES {
                // Enough is read ahead, but the connection must still be watched.
                let idle = self.publisher.idle(wait);
                idle.map_err(|error| self.lost(&error))?;
                continue;
            }
            match self.inputs.recv_timeout(wait) {
                Ok(Input::ConnectionEnded(error)) => return Err(self.lost(&error)),
                Ok(Input::End) if self.typing => {
                    self.over = true;
                    return Ok(false);
                }
                Ok(input) => self.early.push_back(input),
                Err(RecvTimeoutError::Timeout) => break,
                // Cannot happen: `self` holds a sender.
                Err(RecvTimeoutError::Disconnected) => thread::sleep(wait),
            }
        }
        self.pace.completed(Instant::now());
        Ok(true)
    }

    /// Publishes all, then reports of each whether the broker has confirmed or refused it.
    fn execute(&mut self, source: &str, commands: &[TimedCommand]) -> Result<(), Failure> {
        let mut sent = Vec::new();
        for command in commands {
            let Command::Publish { topic, message } = &command.command else {
                // The parser gives a publisher nothing else but `quit`.
                self.over = true;
                break;
            };
            let wrong = match self.publisher.publish(topic, message) {
                Ok(()) => None,
                Err(error) if error.is_final() => {
                    return Err(self.unconfirmed(source, command, &error));
                }
                Err(error) => Some(explain(&error)),
            };
            sent.push((command.line, topic, wrong));
        }
        if sent.is_empty() {
            return Ok(());
        }
        let refusals = match self.publisher.flush() {
            Ok(()) => Vec::new(),
            Err(ClientError::Refused(refusals)) => refusals,
            Err(error) => return Err(self.unconfirmed(source, &commands[0], &error)),
        };
        for (line, topic, wrong) in sent {
            let refusal = refusals.iter().find(|refusal| {
                // A refusal that names no topic applies to all of them.
                refusal.about == *topic || refusal.about.is_empty()
            });
            let wrong = wrong.or_else(|| refusal.map(ToString::to_string));
            self.tell(source, line, wrong)?;
        }
        Ok(())
    }

    fn tell(&mut self, source: &str, line: usize, wrong: Option<String>) -> Result<(), Failure> {
        let mut text = Vec::new();
        match wrong {
            None => text.extend_from_slice(b"OK"),
            Some(wrong) => {
                self.failed = true;
                let line = format!("{PROGRAM}: {source}:{line}: {wrong}");
                push_harmless(&mut text, line.as_bytes());
            }
        }
        text.push(b'\n');
        let mut stdout = io::stdout();
        if stdout.is_terminal() {
            stdout.write_all(&text).map_err(|error| Failure::output(&error))
        } else {
            io::stderr().write_all(&text).map_err(|error| Failure::output(&error))
        }
    }

    /// Makes the end of the connection an input.
    fn watch_connection(&self) {
        let Some(watch) = self.publisher.end_watch() else { return };
        let sender = self.sender.clone();
        // The receiver may be dropped by then; the program is ending anyway.
        thread::spawn(move || drop(sender.send(Input::ConnectionEnded(watch.wait()))));
    }

    fn lost(&self, error: &ClientError) -> Failure {
        Failure::Failed(self.target.explain(error))
    }

    fn unconfirmed(&self, source: &str, command: &TimedCommand, error: &ClientError) -> Failure {
        let error = self.target.explain(error);
        Failure::Failed(format!("{source}:{}: not confirmed: {error}", command.line))
    }
}

fn read_lines(inputs: &SyncSender<Input>, max_payload: usize) {
    // The receiver is dropped when the program is ending: then nothing is read any more.
    let _ = inputs.send(match send_lines(inputs, max_payload) {
        Ok(()) => Input::End,
        Err(error) => Input::Unreadable(error),
    });
}

fn send_lines(inputs: &SyncSender<Input>, max_payload: usize) -> io::Result<()> {
    let mut lines = Lines::new(input::open()?, max_payload.saturating_add(MAX_BESIDE_MESSAGE));
    loop {
        let number = lines.number() + 1;
        let input = match lines.next()? {
            None => return Ok(()),
            Some(Line::Text(text)) => Input::Line(number, text.to_vec()),
            Some(Line::TooLong(bytes)) => Input::TooLong(number, bytes),
        };
        if inputs.send(input).is_err() {
            return Ok(());
        }
    }
}
