//! The program `subscriber`.
//!
//! Owns the order of steps: check the input, connect, subscribe, print, connect again. One thread
//! receives and prints; a second executes commands (`commands`), because it must be able to wait
//! for them.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use pubsub_client::{ClientError, ErrorCode, Event, Subscriber};
use rustix::event::{PollFd, PollFlags, poll};
use wire::topic::{validate_filter, validate_group};

use crate::command::{Role, Subscription, hint};

use super::args::{SubscriberArgs, seconds};
use super::board::Board;
use super::input;
use super::list::list;
use super::output::{Form, Printer};
use super::pace::Backoff;
use super::prompt;
use super::report::{Failure, exit_code, explain, say};
use super::target::{Program, Target};
use super::template::Template;

mod commands;

const PROGRAM: &str = "subscriber";
/// The longest that one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often to connect again when a broker sends GOODBYE in place of WELCOME.
const ATTEMPTS_AT_GOODBYE: usize = 8;
/// A connection that lasted this long was a good one: the pauses start anew.
const GOOD_CONNECTION: Duration = Duration::from_secs(5);

/// Runs the program with the process's arguments.
pub fn run() -> ExitCode {
    exit_code(PROGRAM, tail(&SubscriberArgs::parse()))
}

fn tail(args: &SubscriberArgs) -> Result<(), Failure> {
    if args.list {
        return list(PROGRAM, args);
    }
    let started = Instant::now();
    let form = form(args)?;
    let board = Board::new(subscriptions(args)?);
    let file = args.connection.file.as_deref();
    let commands = input::read_commands(file, Role::Subscriber)?;
    let target = Target::of(Program::Subscriber, &args.connection)?;
    let typing = io::stdin().is_terminal();
    // With topics on the command line, standard input is read only from a terminal: in a shell
    // script, it may be anything.
    let has_input =
        (typing || args.topics().next().is_none()) && !file.is_some_and(input::is_standard_input);
    let mut tail = Tail {
        args,
        target,
        board: Arc::new(board),
        printer: Printer::new(form, has_input && prompt::is_wanted()),
        backoff: Backoff::new(),
        deadline: deadline(args, started)?,
    };
    let Some(subscriber) = tail.connect()? else {
        return Ok(());
    };
    let board = Arc::clone(&tail.board);
    thread::spawn(move || commands::execute(&board, &commands, has_input));
    let board = Arc::clone(&tail.board);
    thread::spawn(move || watch_output(&board));
    tail.run(subscriber)
}

fn form(args: &SubscriberArgs) -> Result<Form, Failure> {
    match &args.format {
        Some(template) => Template::parse(template)
            .map(Form::Template)
            .map_err(|error| Failure::Usage(format!("--format: {error}"))),
        None if args.json => Ok(Form::Json),
        None if args.raw => Ok(Form::Raw),
        None => Ok(Form::Line),
    }
}

/// What the command line subscribes to.
fn subscriptions(args: &SubscriberArgs) -> Result<Vec<Subscription>, Failure> {
    let usage = |flag: &str, given: &str, reason: &dyn std::fmt::Display| {
        Failure::Usage(format!("{flag} {given:?} cannot be used: {reason}"))
    };
    if let Some(group) = &args.group {
        validate_group(group.as_bytes()).map_err(|reason| usage("--group", group, &reason))?;
    }
    args.topics()
        .map(|filter| {
            validate_filter(filter.as_bytes())
                .map_err(|reason| usage("--topic", filter, &reason))?;
            if let Some(hint) = hint(filter) {
                say(PROGRAM, &hint);
            }
            Ok(Subscription { filter: filter.clone(), group: args.group.clone() })
        })
        .collect()
}

fn deadline(args: &SubscriberArgs, started: Instant) -> Result<Option<Instant>, Failure> {
    let Some(timeout) = args.timeout else {
        return Ok(None);
    };
    let timeout = seconds("--timeout", timeout)?;
    // A time-out beyond the range of the clock is none.
    Ok(started.checked_add(timeout))
}

/// The receiving thread.
struct Tail<'a> {
    args: &'a SubscriberArgs,
    target: Target,
    board: Arc<Board>,
    printer: Printer,
    backoff: Backoff,
    deadline: Option<Instant>,
}

impl Tail<'_> {
    /// Receives until there is nothing more to wait for, connecting again if asked to.
    fn run(&mut self, mut subscriber: Subscriber) -> Result<(), Failure> {
        loop {
            let connected = Instant::now();
            let error = match self.receive(&mut subscriber)? {
                Ended::Done => return self.board.outcome(),
                Ended::Connection(error) => error,
            };
            self.board.detach();
            // Closed before the next one: the local port, if one was asked for, is needed again.
            drop(subscriber);
            let lost = Instant::now();
            let text = self.end_text(&error);
            if self.args.fail_on_loss && !is_clean(&error) {
                say(PROGRAM, &text);
                return Err(Failure::Loss);
            }
            if !self.args.reconnect || !error.is_worth_a_retry() {
                return Err(Failure::Failed(text));
            }
            say(PROGRAM, &format!("{text}; connecting again"));
            if connected.elapsed() >= GOOD_CONNECTION {
                self.backoff = Backoff::new();
            }
            self.pause()?;
            let Some(next) = self.connect()? else {
                return self.board.outcome();
            };
            subscriber = next;
            let gap = lost.elapsed().as_secs_f64();
            say(
                PROGRAM,
                &format!(
                    "connected again; what was published in the {gap:.1} s between is missing"
                ),
            );
            if self.args.fail_on_loss {
                return Err(Failure::Loss);
            }
        }
    }

    /// Why the connection is over, as far as that is known or likely.
    fn end_text(&self, error: &ClientError) -> String {
        let text = self.target.explain(error);
        match error {
            // The reason is not always delivered: the socket of a slow subscriber is full.
            ClientError::Disconnected if self.printer.printed() > 0 => format!(
                "{text} without a reason: the broker has died, or has closed this subscriber for \
                 being too slow; messages may be missing"
            ),
            _ => text,
        }
    }

    /// Connects and subscribes to all that is wanted, trying again if asked to. `None`: the user
    /// has ended the program.
    fn connect(&mut self) -> Result<Option<Subscriber>, Failure> {
        let mut said = false;
        let mut goodbyes = 0;
        while !self.board.is_quitting() {
            let error = match self.connect_once() {
                Ok(subscriber) => return Ok(Some(subscriber)),
                // It was being restarted: where a service manager holds its port open, the next one
                // answers.
                Err(ClientError::Goodbye(_)) if goodbyes < ATTEMPTS_AT_GOODBYE => {
                    goodbyes += 1;
                    self.pause()?;
                    continue;
                }
                Err(error) => error,
            };
            if self.time_left().is_some_and(|left| left.is_zero()) {
                return Err(Failure::TimedOut);
            }
            if !self.args.reconnect || !error.is_worth_a_retry() {
                return Err(Failure::Failed(self.target.explain(&error)));
            }
            if !said {
                say(
                    PROGRAM,
                    &format!("{}; trying again until the broker is there", explain(&error)),
                );
                said = true;
            }
            self.pause()?;
        }
        Ok(None)
    }

    fn connect_once(&self) -> Result<Subscriber, ClientError> {
        let mut options = self.target.options.clone();
        if let Some(left) = self.time_left().filter(|left| !left.is_zero()) {
            options = options.connect_timeout(left.min(CONNECT_TIMEOUT));
        }
        let addresses = self.target.addresses()?;
        let mut subscriber = Subscriber::connect_with(&addresses[..], &options)?;
        self.board.attach(&mut subscriber)?;
        Ok(subscriber)
    }

    fn time_left(&self) -> Option<Duration> {
        (self.deadline).map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// The pause before the next attempt, unless the time or the user's patience is up.
    fn pause(&mut self) -> Result<(), Failure> {
        let pause = self.backoff.pause();
        let left = self.time_left();
        self.board.sleep(left.map_or(pause, |left| left.min(pause)));
        match left {
            Some(left) if left <= pause => Err(Failure::TimedOut),
            _ => Ok(()),
        }
    }

    /// Prints what arrives. Output is flushed whenever nothing more has arrived.
    fn receive(&mut self, subscriber: &mut Subscriber) -> Result<Ended, Failure> {
        loop {
            loop {
                match subscriber.next_received() {
                    Ok(Some(event)) => {
                        if self.take(event)? {
                            self.printer.flush()?;
                            return Ok(Ended::Done);
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return self.ended(error),
                }
            }
            self.printer.flush()?;
            if self.board.is_quitting() {
                return Ok(Ended::Done);
            }
            if let Err(error) = subscriber.wait_before(self.deadline) {
                return self.ended(error);
            }
        }
    }

    fn ended(&mut self, error: ClientError) -> Result<Ended, Failure> {
        self.printer.flush()?;
        match error {
            _ if self.board.is_quitting() => Ok(Ended::Done),
            ClientError::TimedOut(_) => Err(Failure::TimedOut),
            error => Ok(Ended::Connection(error)),
        }
    }

    /// Handles an event. `true`: it was the last that was wanted.
    fn take(&mut self, event: Event<'_>) -> Result<bool, Failure> {
        match event {
            Event::Message(message) => {
                self.printer.print(&message)?;
                return Ok(Some(self.printer.printed()) == self.args.count);
            }
            Event::Lost(count) => {
                self.printer.flush()?;
                say(
                    PROGRAM,
                    &format!("the broker dropped {count} messages: this subscriber is slow"),
                );
                if self.args.fail_on_loss {
                    return Err(Failure::Loss);
                }
            }
            Event::Refused(refusal) => {
                self.printer.flush()?;
                if self.args.topics().any(|topic| *topic == refusal.about) {
                    return Err(Failure::Failed(refusal.to_string()));
                }
                say(PROGRAM, &refusal.to_string());
                self.board.fail();
            }
            // Later versions of the library may have more events; none of them is a message.
            _ => {}
        }
        Ok(false)
    }
}

/// Why receiving ended.
enum Ended {
    /// All that was wanted has arrived, or the user has ended the program.
    Done,
    Connection(ClientError),
}

/// Whether no message can be missing after those received: the broker has sent GOODBYE, which it
/// does after the last message. With all other ends, messages may be lost.
fn is_clean(error: &ClientError) -> bool {
    match error {
        ClientError::Goodbye(_) => true,
        // Before any subscription is in force.
        ClientError::ClosedByBroker(refusal) => !matches!(
            refusal.known_code(),
            Some(ErrorCode::SlowConsumer | ErrorCode::Timeout) | None
        ),
        _ => false,
    }
}

/// Ends the program when the reader of its output has closed it. A write would fail as well, but
/// there is none until a message arrives.
fn watch_output(board: &Board) {
    let stdout = io::stdout();
    loop {
        let mut output = [PollFd::new(&stdout, PollFlags::empty())];
        match poll(&mut output, None) {
            Ok(_) if output[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) => {
                return board.quit();
            }
            Err(rustix::io::Errno::INTR) => {}
            // Output that has no reader, such as a file.
            _ => return,
        }
    }
}
