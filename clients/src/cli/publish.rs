//! The program `publisher`.
//!
//! Owns the order of things: check the input, connect, publish, confirm. How a message travels is
//! the library's business.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Instant;

use clap::Parser;
use pubsub_client::{ClientError, Publisher};
use wire::topic::validate_topic;

use crate::command::{Command, Role, TimedCommand, Typed, parse_typed};

use super::args::{PublisherArgs, Target};
use super::escape::push_harmless;
use super::input;
use super::output::PROMPT;
use super::pace::{Backoff, Pace};
use super::report::{Failure, exit_code, explain, say};

const PROGRAM: &str = "publisher";
/// Commands that are due at once share a confirmation, up to this many.
const MAX_BATCH: usize = 256;
/// Lines of standard input that wait to be carried out.
const MAX_WAITING_LINES: usize = 1_024;
/// Standard input is read in pieces of this many bytes.
const READ_BYTES: usize = 256 * 1024;

/// Runs the program with the process's arguments.
pub fn run() -> ExitCode {
    exit_code(PROGRAM, publish(&PublisherArgs::parse()))
}

fn publish(args: &PublisherArgs) -> Result<(), Failure> {
    let commands = input::read_commands(args.connection.file.as_deref(), Role::Publisher)?;
    if let Some(topic) = &args.topic {
        validate_topic(topic.as_bytes()).map_err(|reason| {
            Failure::Usage(format!("--topic {topic:?} cannot be used: {reason}"))
        })?;
    }
    let target = Target::of_publisher(&args.connection)?;
    let mut publisher = connect(&target, args.retry)?;
    match (&args.topic, &args.message) {
        (Some(topic), Some(message)) => {
            publisher.publish(topic, message.as_bytes()).map_err(failed)?;
            publisher.close().map_err(failed)
        }
        (Some(topic), None) if args.whole => {
            publish_whole(&mut publisher, topic)?;
            publisher.close().map_err(failed)
        }
        (Some(topic), None) => {
            publish_lines(&mut publisher, topic)?;
            publisher.close().map_err(failed)
        }
        (None, _) => {
            let file = args.connection.file.as_deref();
            let file = file.map_or_else(String::new, |path| path.display().to_string());
            Commands::new(publisher).run(&file, &commands)
        }
    }
}

fn connect(target: &Target, retry: bool) -> Result<Publisher, Failure> {
    let mut backoff = Backoff::new();
    let mut said = false;
    loop {
        match Publisher::connect_with(target.address(), &target.options) {
            Ok(publisher) => return Ok(publisher),
            Err(error) if retry && error.is_worth_a_retry() => {
                if !said {
                    say(
                        PROGRAM,
                        &format!("{}; trying again until the broker is there", explain(&error)),
                    );
                    said = true;
                }
                thread::sleep(backoff.pause());
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

fn publish_whole(publisher: &mut Publisher, topic: &str) -> Result<(), Failure> {
    let limit = publisher.welcome().max_payload;
    let mut payload = Vec::new();
    // One byte over the limit is enough to know that it is too large.
    let mut input = io::stdin().lock().take(limit as u64 + 1);
    input.read_to_end(&mut payload).map_err(unreadable)?;
    if payload.len() > limit {
        return Err(Failure::Failed(format!(
            "standard input is over the broker's limit of {limit} bytes for one message"
        )));
    }
    publisher.publish(topic, &payload).map_err(failed)
}

/// One message a line. What was read is sent before more input is awaited, so that a slow input
/// is not held back, and a fast one goes out in large batches.
fn publish_lines(publisher: &mut Publisher, topic: &str) -> Result<(), Failure> {
    let limit = publisher.welcome().max_payload;
    let mut input = BufReader::with_capacity(READ_BYTES, io::stdin().lock());
    let mut partial = Vec::new();
    let mut line = 1u64;
    let at = |line: u64| {
        move |error: ClientError| match error.is_final() {
            true => failed(error),
            false => Failure::Failed(format!("standard input:{line}: {}", explain(&error))),
        }
    };
    loop {
        let chunk = input.fill_buf().map_err(unreadable)?;
        if chunk.is_empty() {
            break;
        }
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            if partial.is_empty() {
                publisher.publish(topic, &rest[..end]).map_err(at(line))?;
            } else {
                partial.extend_from_slice(&rest[..end]);
                publisher.publish(topic, &partial).map_err(at(line))?;
                partial.clear();
            }
            rest = &rest[end + 1..];
            line += 1;
        }
        partial.extend_from_slice(rest);
        if partial.len() > limit {
            let bytes = partial.len();
            return Err(at(line)(ClientError::TooLarge { bytes, limit }));
        }
        let read = chunk.len();
        input.consume(read);
        publisher.send().map_err(failed)?;
    }
    if !partial.is_empty() {
        publisher.publish(topic, &partial).map_err(at(line))?;
    }
    Ok(())
}

/// What ends the wait for a command.
enum Input {
    Line(usize, Vec<u8>),
    End,
    Unreadable(io::Error),
    ConnectionEnded(ClientError),
}

/// Carries out commands and tells what became of each.
struct Commands {
    publisher: Publisher,
    pace: Pace,
    /// Some command was not confirmed.
    failed: bool,
}

impl Commands {
    fn new(publisher: Publisher) -> Commands {
        Commands { publisher, pace: Pace::starting(Instant::now()), failed: false }
    }

    /// First the file's commands, then those of standard input.
    fn run(mut self, file: &str, commands: &[TimedCommand]) -> Result<(), Failure> {
        let mut rest = commands;
        while let Some(first) = rest.first() {
            let more = rest[1..].iter().take(MAX_BATCH - 1);
            let together = 1 + more.take_while(|command| command.wait.is_zero()).count();
            self.wait_for(first)?;
            self.carry_out(file, &rest[..together])?;
            rest = &rest[together..];
        }
        self.run_input()?;
        let failed_before = self.failed;
        self.publisher.close().map_err(failed)?;
        if failed_before { Err(Failure::Reported) } else { Ok(()) }
    }

    fn run_input(&mut self) -> Result<(), Failure> {
        let prompt = io::stdin().is_terminal() && io::stdout().is_terminal();
        let inputs = self.read_input();
        let mut next = None;
        loop {
            let input = match next.take() {
                Some(input) => input,
                None => {
                    show_prompt(prompt)?;
                    // A reader that is gone without a word can only mean that input has ended.
                    inputs.recv().unwrap_or(Input::End)
                }
            };
            let first = match self.command_of(input)? {
                Typed::Quit => return Ok(()),
                Typed::Nothing => continue,
                Typed::Command(command) => command,
            };
            self.wait_for(&first)?;
            let mut batch = vec![first];
            // What was typed ahead and is due at once shares the confirmation.
            while next.is_none() && batch.len() < MAX_BATCH {
                let Ok(input) = inputs.try_recv() else { break };
                match input {
                    Input::Line(line, text) => match parse_typed(line, &text, Role::Publisher) {
                        Ok(Typed::Command(command)) if command.wait.is_zero() => {
                            batch.push(command);
                        }
                        _ => next = Some(Input::Line(line, text)),
                    },
                    other => next = Some(other),
                }
            }
            self.carry_out("standard input", &batch)?;
        }
    }

    /// What an input asks for. A bad line is told and asks for nothing.
    fn command_of(&mut self, input: Input) -> Result<Typed, Failure> {
        match input {
            Input::Line(line, text) => Ok(parse_typed(line, &text, Role::Publisher)
                .unwrap_or_else(|error| {
                    say(PROGRAM, &error.to_string());
                    self.failed = true;
                    Typed::Nothing
                })),
            Input::End => Ok(Typed::Quit),
            Input::Unreadable(error) => Err(unreadable(error)),
            Input::ConnectionEnded(error) => Err(failed(error)),
        }
    }

    fn wait_for(&mut self, command: &TimedCommand) -> Result<(), Failure> {
        let wait = self.pace.until_due(command.wait, Instant::now());
        self.publisher.idle(wait).map_err(failed)?;
        self.pace.carried_out(Instant::now());
        Ok(())
    }

    /// Publishes all, then tells of each whether the broker has confirmed or refused it.
    fn carry_out(&mut self, source: &str, commands: &[TimedCommand]) -> Result<(), Failure> {
        let mut wrong = Vec::new();
        for command in commands {
            let Command::Publish { topic, message } = &command.command else {
                unreachable!("the parser gives a publisher nothing but messages");
            };
            match self.publisher.publish(topic, message) {
                Ok(()) => wrong.push(None),
                Err(error) if error.is_final() => return Err(unconfirmed(source, command, &error)),
                Err(error) => wrong.push(Some(explain(&error))),
            }
        }
        let refusals = match self.publisher.flush() {
            Ok(()) => Vec::new(),
            Err(ClientError::Refused(refusals)) => refusals,
            Err(error) => return Err(unconfirmed(source, &commands[0], &error)),
        };
        for (command, wrong) in commands.iter().zip(wrong) {
            let Command::Publish { topic, .. } = &command.command else {
                continue;
            };
            let refusal = refusals.iter().find(|refusal| {
                // A refusal that does not say what it is about is about all of them.
                refusal.about == *topic || refusal.about.is_empty()
            });
            let wrong = wrong.or_else(|| refusal.map(ToString::to_string));
            self.tell(source, command.line, wrong)?;
        }
        Ok(())
    }

    fn tell(&mut self, source: &str, line: usize, wrong: Option<String>) -> Result<(), Failure> {
        let mut text = Vec::new();
        match wrong {
            None => text.extend_from_slice(b"OK"),
            Some(wrong) => {
                self.failed = true;
                push_harmless(&mut text, format!("{source}:{line}: {wrong}").as_bytes());
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

    /// Lines of standard input and the end of the connection, whichever comes first.
    fn read_input(&self) -> Receiver<Input> {
        let (sender, receiver) = mpsc::sync_channel(MAX_WAITING_LINES);
        let lines = sender.clone();
        thread::spawn(move || read_lines(&lines));
        let watch = self.publisher.end_watch();
        // The receiver may be gone by then; the program is ending anyway.
        thread::spawn(move || drop(sender.send(Input::ConnectionEnded(watch.wait()))));
        receiver
    }
}

fn read_lines(lines: &SyncSender<Input>) {
    let read = input::for_each_line(|line, text| lines.send(Input::Line(line, text)).is_ok());
    // As above: nobody may be listening any more.
    let _ = lines.send(match read {
        Ok(()) => Input::End,
        Err(error) => Input::Unreadable(error),
    });
}

fn show_prompt(prompt: bool) -> Result<(), Failure> {
    if !prompt {
        return Ok(());
    }
    let mut stdout = io::stdout();
    let shown = stdout.write_all(PROMPT).and_then(|()| stdout.flush());
    shown.map_err(|error| Failure::output(&error))
}

#[expect(clippy::needless_pass_by_value, reason = "made to stand in map_err")]
fn failed(error: ClientError) -> Failure {
    Failure::Failed(explain(&error))
}

#[expect(clippy::needless_pass_by_value, reason = "made to stand in map_err")]
fn unreadable(error: io::Error) -> Failure {
    Failure::Failed(format!("cannot read standard input: {error}"))
}

fn unconfirmed(source: &str, command: &TimedCommand, error: &ClientError) -> Failure {
    Failure::Failed(format!("{source}:{}: not confirmed: {}", command.line, explain(error)))
}
