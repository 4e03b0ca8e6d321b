//! The program `subscriber`.
//!
//! Owns the order of things: check the input, connect, subscribe, print, connect again. One thread
//! receives and prints; a second carries out commands, because it must be able to wait for them.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use pubsub_client::{ClientError, Event, Subscriber};
use wire::topic::{validate_filter, validate_group};

use crate::command::{Role, Subscription, TimedCommand, Typed, parse_typed};

use super::args::{SubscriberArgs, Target};
use super::board::Board;
use super::input;
use super::output::{Form, PROMPT, Printer};
use super::pace::{Backoff, Pace};
use super::report::{Failure, exit_code, explain, say};
use super::template::Template;

const PROGRAM: &str = "subscriber";
/// The longest that one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that lasted this long was a good one: the pauses start anew.
const GOOD_CONNECTION: Duration = Duration::from_secs(5);

/// Runs the program with the process's arguments.
pub fn run() -> ExitCode {
    exit_code(PROGRAM, tail(&SubscriberArgs::parse()))
}

fn tail(args: &SubscriberArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let form = form(args)?;
    let board = Board::new(subscriptions(args)?);
    let commands = input::read_commands(args.connection.file.as_deref(), Role::Subscriber)?;
    let target = Target::of_subscriber(&args.connection)?;
    let typing = io::stdin().is_terminal();
    // With topics on the command line, standard input that nobody types on has no say: it may be
    // anything, in a shell script say.
    let input = if typing || args.topic.is_empty() { Some(typing) } else { None };
    let mut tail = Tail {
        args,
        target,
        board: Arc::new(board),
        printer: Printer::new(form, typing && io::stdout().is_terminal()),
        backoff: Backoff::new(),
        deadline: deadline(args, started)?,
    };
    let Some(subscriber) = tail.connect()? else {
        return Ok(());
    };
    let board = Arc::clone(&tail.board);
    thread::spawn(move || carry_out(&board, &commands, input));
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
    args.topic
        .iter()
        .map(|filter| {
            validate_filter(filter.as_bytes())
                .map_err(|reason| usage("--topic", filter, &reason))?;
            Ok(Subscription { filter: filter.clone(), group: args.group.clone() })
        })
        .collect()
}

fn deadline(args: &SubscriberArgs, started: Instant) -> Result<Option<Instant>, Failure> {
    let Some(seconds) = args.timeout else {
        return Ok(None);
    };
    let timeout = Duration::try_from_secs_f64(seconds)
        .map_err(|error| Failure::Usage(format!("--timeout {seconds}: {error}")))?;
    // A time-out beyond what the clock can tell is none.
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
            // Gone before the next one: the local port, if one was asked for, is needed again.
            drop(subscriber);
            if !self.args.reconnect || !error.is_worth_a_retry() {
                return Err(Failure::Failed(explain(&error)));
            }
            say(PROGRAM, &format!("{}; connecting again", explain(&error)));
            if connected.elapsed() >= GOOD_CONNECTION {
                self.backoff = Backoff::new();
            }
            self.pause()?;
            let Some(next) = self.connect()? else {
                return self.board.outcome();
            };
            subscriber = next;
            say(PROGRAM, "connected again");
        }
    }

    /// Connects and subscribes to all that is wanted, trying again if asked to. `None`: the user
    /// had enough.
    fn connect(&mut self) -> Result<Option<Subscriber>, Failure> {
        let mut said = false;
        while !self.board.is_quitting() {
            let error = match self.connect_once() {
                Ok(subscriber) => return Ok(Some(subscriber)),
                Err(error) => error,
            };
            if self.time_left().is_some_and(|left| left.is_zero()) {
                return Err(Failure::TimedOut);
            }
            if !self.args.reconnect || !error.is_worth_a_retry() {
                return Err(Failure::Failed(explain(&error)));
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
        let mut subscriber = Subscriber::connect_with(self.target.address(), &options)?;
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

    /// Deals with an event. `true`: it was the last that was wanted.
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
                if self.args.topic.contains(&refusal.about) {
                    return Err(Failure::Failed(refusal.to_string()));
                }
                say(PROGRAM, &refusal.to_string());
                self.board.fail();
            }
            // The library may learn of more that a broker says; it is no message.
            _ => {}
        }
        Ok(false)
    }
}

/// What ended the receiving.
enum Ended {
    /// All that was wanted has come, or the user had enough.
    Done,
    Connection(ClientError),
}

/// The second thread: the file's commands, then those of standard input, if it has a say. `input`
/// tells whether somebody types on it.
fn carry_out(board: &Board, commands: &[TimedCommand], input: Option<bool>) {
    let mut pace = Pace::starting(Instant::now());
    for command in commands {
        wait_and_do(board, &mut pace, command);
    }
    let Some(typing) = input else {
        return;
    };
    let prompt = typing && io::stdout().is_terminal();
    show_prompt(prompt);
    let read = input::for_each_line(|line, text| {
        match parse_typed(line, &text, Role::Subscriber) {
            Ok(Typed::Nothing) => {}
            Ok(Typed::Command(command)) => wait_and_do(board, &mut pace, &command),
            Ok(Typed::Quit) => {
                board.quit();
                return false;
            }
            Err(error) => {
                say(PROGRAM, &error.to_string());
                if !typing {
                    board.fail();
                }
            }
        }
        show_prompt(prompt);
        true
    });
    if let Err(error) = read {
        say(PROGRAM, &format!("cannot read standard input: {error}"));
        board.fail();
    }
    if typing {
        board.quit();
    }
}

fn wait_and_do(board: &Board, pace: &mut Pace, command: &TimedCommand) {
    board.sleep(pace.until_due(command.wait, Instant::now()));
    pace.carried_out(Instant::now());
    board.carry_out(&command.command);
}

fn show_prompt(prompt: bool) {
    if prompt {
        let mut stdout = io::stdout();
        // The receiving thread is the one that notices when standard output is gone.
        let _ = stdout.write_all(PROMPT).and_then(|()| stdout.flush());
    }
}
