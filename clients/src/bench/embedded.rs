//! A broker of our own: the same program, started a second time, so that the broker's CPU and
//! memory are those of a process.
//!
//! It cannot be left over: it ends when told, and also when its standard input does, which is the
//! moment at which this program is gone for whatever reason.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;

use broker::config::Config;
use broker::{limits, logging, net};
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::failure::Failure;
use crate::bench::link::PATIENCE;

/// The first argument that makes this program a broker. Not for users.
pub(crate) const ARGUMENT: &str = "--embedded-broker";

const PUBLISHERS: &str = "listening for publishers on ";
const SUBSCRIBERS: &str = "listening for subscribers on ";

/// What the second process does: a broker with default settings on free ports.
pub(crate) fn run_broker() -> ExitCode {
    let mut config = Config::default();
    config.network.publisher_port = 0;
    config.network.subscriber_port = 0;
    thread::spawn(|| {
        // Nobody writes: this ends with the parent. Then there is nobody to deliver to either.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        std::process::exit(0);
    });
    if logging::start(&config.log).is_err() {
        return ExitCode::FAILURE;
    }
    limits::raise_descriptors(config.network.max_connections);
    match net::run(&config) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The process, from the parent's side. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct EmbeddedBroker {
    child: Child,
    // Its end is what the broker watches for.
    _stdin: Option<ChildStdin>,
    /// Its port for publishers.
    pub(crate) publisher_port: u16,
    /// Its port for subscribers.
    pub(crate) subscriber_port: u16,
}

impl EmbeddedBroker {
    /// Starts it, and waits until it listens.
    ///
    /// # Errors
    /// When it does not start; what it said then has been printed.
    pub(crate) fn start() -> Result<EmbeddedBroker, Failure> {
        let failed = |what: &str| Failure::new(format!("a broker of our own cannot start: {what}"));
        let program = std::env::current_exe().map_err(|error| failed(&error.to_string()))?;
        let mut child = Command::new(program)
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error.to_string()))?;
        let stdin = child.stdin.take();
        let stderr = child.stderr.take();
        let mut broker =
            EmbeddedBroker { child, _stdin: stdin, publisher_port: 0, subscriber_port: 0 };
        let (found, ports) = mpsc::channel();
        if let Some(stderr) = stderr {
            thread::spawn(move || watch(stderr, &found));
        }
        while broker.publisher_port == 0 || broker.subscriber_port == 0 {
            match ports.recv_timeout(PATIENCE) {
                Ok(Port::Publishers(port)) => broker.publisher_port = port,
                Ok(Port::Subscribers(port)) => broker.subscriber_port = port,
                Err(_) => return Err(failed("it does not listen")),
            }
        }
        Ok(broker)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        let told = kill_process(Pid::from_child(&self.child), Signal::TERM);
        if told.is_err() {
            // It has ended by itself, or cannot be told: make sure that waiting ends.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// What the broker's log tells.
enum Port {
    Publishers(u16),
    Subscribers(u16),
}

/// Reads the broker's log for as long as it runs; passes on what is not routine.
fn watch(stderr: impl Read, found: &mpsc::Sender<Port>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let port = |what: &str| line.split_once(what)?.1.rsplit_once(':')?.1.trim().parse().ok();
        let told = port(PUBLISHERS).map(Port::Publishers);
        if let Some(port) = told.or_else(|| port(SUBSCRIBERS).map(Port::Subscribers)) {
            // Nobody listens any more: the start was given up.
            let _ = found.send(port);
        } else if !line.contains("[INFO]") && !line.starts_with("<6>") {
            eprintln!("broker: {line}");
        }
    }
}
