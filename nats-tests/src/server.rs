//! Servers as child processes on free ports: the reference, and the one under test. Owns their
//! processes and reads their logs; how they are started is the script `serve`.

use std::env;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use crate::PATIENCE;

/// A running server. It is killed when this is dropped.
pub struct Server {
    child: Child,
    program: PathBuf,
    options: Vec<String>,
    /// Where it listens for NATS clients.
    pub address: SocketAddr,
    /// The address of its monitor, if its options have one.
    pub monitor: Option<SocketAddr>,
    /// Whether it is the reference, a real nats-server.
    pub is_reference: bool,
}

impl Server {
    /// The server under test: `SERVER`, or the debug build. `SERVER_OPTIONS` are added to its own.
    pub fn under_test(options: &[&str]) -> Server {
        let program = env::var_os("SERVER").map_or_else(default_broker, PathBuf::from);
        let more = env::var("SERVER_OPTIONS").unwrap_or_default();
        let options: Vec<&str> = options.iter().copied().chain(more.split_whitespace()).collect();
        Server::start(&program, 0, &options)
    }

    /// The reference: `NATS_SERVER`, or the one that `run` has installed.
    pub fn reference(options: &[&str]) -> Server {
        let installed = || here().join("target/python/bin/nats-server");
        let program = env::var_os("NATS_SERVER").map_or_else(installed, PathBuf::from);
        Server::start(&program, 0, options)
    }

    /// This program on this port, or on a free one if it is 0.
    pub fn start(program: &Path, port: u16, options: &[&str]) -> Server {
        assert!(program.exists(), "there is no {}", program.display());
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let options = options.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (child, address, monitor) = spawn(program, port, &options);
        let is_reference = name.contains("nats-server");
        Server { child, program: program.to_owned(), options, address, monitor, is_reference }
    }

    /// Ends it by this signal, waits for the end, and starts it on the same port.
    pub fn restart(&mut self, signal: &str) {
        self.stop(signal);
        self.start_again();
    }

    /// Ends it by this signal, and waits for the end.
    pub fn stop(&mut self, signal: &str) {
        self.signal(signal);
        self.wait();
    }

    /// Starts it once more on the same port, when it has ended.
    pub fn start_again(&mut self) {
        let port = self.address.port();
        (self.child, self.address, self.monitor) = spawn(&self.program, port, &self.options);
    }

    /// Sends it a signal, by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.expect("there is a kill program").success(), "no signal to {pid}");
    }

    /// Waits for its end.
    pub fn wait(&mut self) {
        self.child.wait().expect("it is a child of this process");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the program, and reads from its log where it and its monitor listen.
fn spawn(program: &Path, port: u16, options: &[String]) -> (Child, SocketAddr, Option<SocketAddr>) {
    let mut command = Command::new(here().join("serve"));
    command.env("SERVER", program).arg(port.to_string()).args(options);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the script `serve` can be started");
    let log = BufReader::new(child.stderr.take().expect("it was asked for"));
    let (lines, received) = mpsc::channel();
    // Reads to the end, or a full pipe would stop the server.
    thread::spawn(move || {
        for line in log.split(b'\n').map_while(Result::ok) {
            let _ = lines.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
    let (mut log, mut monitor) = (String::new(), None);
    loop {
        let Ok(line) = received.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{} does not say where it listens:\n{log}", program.display());
        };
        if let Some(address) = listening(&line) {
            return (child, address, monitor);
        }
        monitor = monitor.or_else(|| monitoring(&line));
        log.push_str(&line);
        log.push('\n');
    }
}

/// The address for NATS clients that a line of a server's log names, if it does.
fn listening(line: &str) -> Option<SocketAddr> {
    let line = line.to_lowercase();
    let (_, what) = line.split_once("listening for ")?;
    let (_, address) = what.split_once(" on ")?;
    let is_nats = ["nats", "client connections"].iter().any(|word| what.contains(word));
    address.split_whitespace().next().filter(|_| is_nats)?.parse().ok()
}

/// The address of the monitor that a line of a server's log names, if it does.
fn monitoring(line: &str) -> Option<SocketAddr> {
    let line = line.to_lowercase();
    let words = ["http monitor on ", "listening for monitors on "];
    let (_, address) = words.iter().find_map(|words| line.split_once(words))?;
    address.split_whitespace().next()?.parse().ok()
}

fn default_broker() -> PathBuf {
    here().join("../target/debug/broker")
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
