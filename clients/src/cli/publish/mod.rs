//! The program `publisher`.
//!
//! Owns the order of things: check the input, connect, publish, confirm. How a message travels is
//! the library's business.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use pubsub_client::{ClientError, Publisher};
use wire::topic::validate_topic;

use crate::command::Role;

use super::args::PublisherArgs;
use super::input;
use super::pace::Backoff;
use super::report::{Failure, exit_code, say};
use super::target::{Program, Target};
use commands::Commands;

mod commands;
mod lines;

const PROGRAM: &str = "publisher";

/// Runs the program with the process's arguments.
pub fn run() -> ExitCode {
    exit_code(PROGRAM, publish(&PublisherArgs::parse()))
}

fn publish(args: &PublisherArgs) -> Result<(), Failure> {
    let file = args.connection.file.as_deref();
    let commands = input::read_commands(file, Role::Publisher)?;
    if let Some(topic) = &args.topic {
        validate_topic(topic.as_bytes()).map_err(|reason| {
            Failure::Usage(format!("--topic {topic:?} cannot be used: {reason}"))
        })?;
    }
    let target = Target::of(Program::Publisher, &args.connection)?;
    let failed = |error: ClientError| Failure::Failed(target.explain(&error));
    let mut publisher = connect(&target, args.retry)?;
    match (&args.topic, &args.message) {
        (Some(topic), Some(message)) => {
            publisher.publish(topic, message).map_err(failed)?;
            publisher.close().map_err(failed)
        }
        (Some(topic), None) if args.whole => {
            publish_whole(&mut publisher, topic, failed)?;
            publisher.close().map_err(failed)
        }
        (Some(topic), None) => {
            let outcome = lines::publish(&mut publisher, topic, failed)?;
            publisher.close().map_err(failed)?;
            outcome
        }
        (None, _) => {
            let name = file.map_or_else(String::new, input::file_name);
            let has_input = !file.is_some_and(input::is_standard_input);
            Commands::new(publisher, &target).run(&name, &commands, has_input)
        }
    }
}

fn connect(target: &Target, retry: bool) -> Result<Publisher, Failure> {
    let mut backoff = Backoff::new();
    let mut said = false;
    loop {
        let connected = (target.addresses())
            .and_then(|addresses| Publisher::connect_with(&addresses[..], &target.options));
        match connected {
            Ok(publisher) => return Ok(publisher),
            Err(error) if retry && error.is_worth_a_retry() => {
                if !said {
                    let error = target.explain(&error);
                    say(PROGRAM, &format!("{error}; trying again until the broker is there"));
                    said = true;
                }
                thread::sleep(backoff.pause());
            }
            Err(error) => return Err(Failure::Failed(target.explain(&error))),
        }
    }
}

fn publish_whole(
    publisher: &mut Publisher,
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
