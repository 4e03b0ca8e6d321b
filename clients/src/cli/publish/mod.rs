//! The program `publisher`.
//!
//! Owns the order of steps: check the input, connect, publish, confirm. The library sends the
//! messages.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Parser;
use pubsub_client::ClientError;
use wire::topic::validate_topic;

use crate::command::Role;

use super::args::{PublisherArgs, seconds};
use super::input;
use super::report::{Failure, TIMED_OUT, exit_code, say};
use super::target::{Program, Target};
use commands::Commands;
use lines::Form;
use sender::Sender;

mod commands;
mod lines;
mod ping;
mod sender;

const PROGRAM: &str = "publisher";
/// Round trips of `--ping`, unless told otherwise.
const PINGS: u64 = 5;

/// Runs the program with the process's arguments.
pub fn run() -> ExitCode {
    exit_code(PROGRAM, publish(&PublisherArgs::parse()))
}

fn publish(args: &PublisherArgs) -> Result<(), Failure> {
    let file = args.connection.file.as_deref();
    let commands = input::read_commands(file, Role::Publisher)?;
    if let Some(topic) = args.topic() {
        validate_topic(topic.as_bytes()).map_err(|reason| {
            Failure::Usage(format!("--topic {topic:?} cannot be used: {reason}"))
        })?;
    }
    let every = args.every.map_or(Ok(Duration::ZERO), |every| seconds("--every", every))?;
    let timeout = args.timeout.map(|timeout| seconds("--timeout", timeout)).transpose()?;
    let target = Arc::new(Target::of(Program::Publisher, &args.connection)?);
    if let Some(timeout) = timeout {
        thread::spawn(move || end_after(timeout));
    }
    let failed = |error: ClientError| Failure::Failed(target.explain(&error));
    let mut publisher = Sender::connect(&target, args.retry).map_err(failed)?;
    let outcome = if args.ping {
        ping::ping(&mut publisher, args.repeat.unwrap_or(PINGS), every, failed).map(Ok)?
    } else if let Some((topic, message)) = args.topic().zip(args.message()) {
        publish_one(&mut publisher, topic, message, args.repeat.unwrap_or(1), every, failed)
            .map(Ok)?
    } else if let Some(topic) = args.topic().filter(|_| args.whole) {
        publish_whole(&mut publisher, topic, failed).map(Ok)?
    } else if let Some(form) = form(args) {
        lines::publish(&mut publisher, form, failed)?
    } else {
        let name = file.map_or_else(String::new, input::file_name);
        let has_input = !file.is_some_and(input::is_standard_input);
        return Commands::new(publisher, &target).run(&name, &commands, has_input);
    };
    publisher.close().map_err(failed)?;
    outcome
}

/// The form of lines of standard input, where lines are messages.
fn form(args: &PublisherArgs) -> Option<Form<'_>> {
    match (&args.key_separator, args.topic()) {
        (Some(separator), _) => Some(Form::Keyed(separator)),
        (None, Some(topic)) => Some(Form::Payload(topic)),
        (None, None) => args.json.then_some(Form::Json),
    }
}

/// Applies whatever the program is waiting for.
fn end_after(timeout: Duration) {
    thread::sleep(timeout);
    say(PROGRAM, "--timeout has ended it; what was not confirmed may be lost");
    std::process::exit(TIMED_OUT.into());
}

fn publish_one(
    publisher: &mut Sender,
    topic: &str,
    message: &str,
    repeat: u64,
    every: Duration,
    failed: impl Fn(ClientError) -> Failure,
) -> Result<(), Failure> {
    for number in 0..repeat {
        if number > 0 && !every.is_zero() {
            publisher.send().map_err(&failed)?;
            publisher.idle(every).map_err(&failed)?;
        }
        publisher.publish(topic, message.as_bytes()).map_err(&failed)?;
    }
    Ok(())
}

fn publish_whole(
    publisher: &mut Sender,
    topic: &str,
    failed: impl Fn(ClientError) -> Failure,
) -> Result<(), Failure> {
    let limit = publisher.welcome().max_payload;
    let mut payload = Vec::new();
    // One byte over the limit is enough to know that it is too large.
    let input = input::open().map_err(unreadable)?;
    input.take(limit as u64 + 1).read_to_end(&mut payload).map_err(unreadable)?;
    if payload.len() > limit {
        // A file's size is known; what comes through a pipe may have no end to wait for.
        let file = io::stdin().as_fd().try_clone_to_owned().map(std::fs::File::from);
        let size = file.and_then(|file| file.metadata()).map_or(0, |found| found.len());
        let bytes = usize::try_from(size).unwrap_or(usize::MAX).max(payload.len());
        let error = ClientError::TooLarge { bytes, limit };
        return Err(Failure::Failed(format!("{}: {error}", input::STANDARD_INPUT)));
    }
    publisher.publish(topic, &payload).map_err(failed)
}

#[expect(clippy::needless_pass_by_value, reason = "made to stand in map_err")]
fn unreadable(error: io::Error) -> Failure {
    Failure::Failed(format!("cannot read standard input: {error}"))
}
