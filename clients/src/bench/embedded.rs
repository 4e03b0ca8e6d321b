//! A broker of our own: the program `broker`, started as a process, so that its CPU and memory can
//! be told from ours.
//!
//! Owns finding, starting and ending it. It is never left running: it stops when its standard input
//! ends (`broker --exit-with-stdin`), which happens when this program ends, for whatever reason.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::bench::failure::Failure;
use crate::bench::link::PATIENCE;

/// The program's file.
const PROGRAM: &str = "broker";
/// Its default settings on free ports, whatever config.ini is in this folder.
const ARGUMENTS: [&str; 9] = [
    "--exit-with-stdin",
    "--config",
    "/dev/null",
    "--host",
    "127.0.0.1",
    "--publisher-port",
    "0",
    "--subscriber-port",
    "0",
];
/// Variables of a service manager, which the child must not inherit.
const NOT_INHERITED: [&str; 5] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

const PUBLISHERS: &str = "listening for publishers on ";
const SUBSCRIBERS: &str = "listening for subscribers on ";

/// The process. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct EmbeddedBroker {
    child: Child,
    // The broker stops when this closes.
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
    /// When it is not found or does not start; its output has been printed then.
    pub(crate) fn start() -> Result<EmbeddedBroker, Failure> {
        let own = env::current_exe().unwrap_or_default();
        let folder = own.parent().unwrap_or(Path::new(""));
        let program = find(folder, env::var_os("PATH").as_deref())
            .ok_or_else(|| Failure::new(not_found(folder)))?;
        let failed = |what: &str| {
            Failure::new(format!("a broker of our own cannot start: {}: {what}", program.display()))
        };
        let mut command = Command::new(&program);
        command.args(ARGUMENTS).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        // Ctrl-C is for this program: the broker runs until the figures are complete.
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| failed(&error.to_string()))?;
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
            // It has ended by itself, or cannot be signalled: make sure that waiting ends.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The broker beside this program, as both are built and installed, else one in `PATH`.
fn find(folder: &Path, path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    let beside = std::iter::once(folder.to_owned());
    let elsewhere = path.into_iter().flat_map(env::split_paths);
    beside.chain(elsewhere).map(|folder| folder.join(PROGRAM)).find(|file| file.is_file())
}

/// How to build it where there is none.
fn not_found(folder: &Path) -> String {
    let release = if folder.ends_with("debug") { "" } else { "--release " };
    format!(
        "there is no program `broker` in {} nor in PATH; build it first:\n    \
         cargo build {release}--bin broker\nor name a broker that runs: -h HOST -p PORT -s PORT",
        folder.display()
    )
}

/// Events in the broker's log.
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
            // The receiver has been dropped if the start was given up.
            let _ = found.send(port);
        } else if !line.contains("[INFO]") && !line.starts_with("<6>") {
            eprintln!("broker: {line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_broker_beside_the_program_comes_before_one_in_the_path() {
        let (beside, path) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let found = || find(beside.path(), Some(path.path().as_os_str()));
        assert_eq!(found(), None);
        fs::write(path.path().join(PROGRAM), "").unwrap();
        assert_eq!(found(), Some(path.path().join(PROGRAM)));
        fs::write(beside.path().join(PROGRAM), "").unwrap();
        assert_eq!(found(), Some(beside.path().join(PROGRAM)));
    }

    #[test]
    fn the_command_that_builds_it_is_named() {
        let release = not_found(Path::new("/x/target/release"));
        assert!(release.contains("\n    cargo build --release --bin broker\n"), "{release}");
        let debug = not_found(Path::new("/x/target/debug"));
        assert!(debug.contains("\n    cargo build --bin broker\n"), "{debug}");
    }
}
