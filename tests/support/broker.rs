//! A real broker process on free ports.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitStatus};

use super::manager::Manager;
use super::peer::Peer;
use super::process::{Lines, Process, TempDir, ini};

/// A running broker, with its working directory. Dropping this ends and removes them.
pub(crate) struct Broker {
    process: Process,
    pub(crate) publishers: SocketAddr,
    pub(crate) subscribers: SocketAddr,
    pub(crate) dir: TempDir,
}

impl Broker {
    /// With the built-in defaults.
    pub(crate) fn start() -> Broker {
        Broker::with(&[])
    }

    /// With these settings, each `section.key` and its value, in a config file.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Broker {
        let dir = TempDir::new();
        if settings.is_empty() {
            return Broker::run(dir, &["-s", "0", "-p", "0"]);
        }
        dir.write("settings.ini", &ini(settings));
        Broker::run(dir, &["-s", "0", "-p", "0", "--config", "settings.ini"])
    }

    /// With a log file instead of standard error, whose reading would be work for the test.
    pub(crate) fn with_log_file(settings: &[(&str, &str)]) -> Broker {
        let dir = TempDir::new();
        let settings = [settings, &[("log.file", "broker.log")]].concat();
        dir.write("settings.ini", &ini(&settings));
        let arguments = ["-s", "0", "-p", "0", "--config", "settings.ini"];
        let process = Process::spawn(command(dir.path()).args(arguments));
        let file = dir.path().join("broker.log");
        let [publishers, subscribers] = ["publishers", "subscribers"].map(|role| {
            let words = format!("listening for {role} on ");
            super::eventually(&words, || {
                let log = std::fs::read_to_string(&file).ok()?;
                let line = log.lines().find(|line| line.contains(&words))?.to_owned();
                log.ends_with('\n').then(|| address_behind(&line, &words))
            })
        });
        Broker { process, publishers, subscribers, dir }
    }

    /// With these arguments, in this directory.
    pub(crate) fn run(dir: TempDir, arguments: &[&str]) -> Broker {
        let process = Process::spawn(command(dir.path()).args(arguments));
        Broker::started(dir, process)
    }

    /// The broker of this process.
    pub(crate) fn started(dir: TempDir, process: Process) -> Broker {
        let publishers = listening(&process.stderr, "listening for publishers on ");
        let subscribers = listening(&process.stderr, "listening for subscribers on ");
        Broker { process, publishers, subscribers, dir }
    }

    /// With these settings in `config.ini`, watched by this service manager.
    pub(crate) fn watched(manager: &Manager, settings: &[(&str, &str)]) -> Broker {
        let dir = TempDir::new();
        dir.write("config.ini", &ini(settings));
        let mut command = command(dir.path());
        let process = Process::spawn(manager.watch(command.args(["-s", "0", "-p", "0"])));
        Broker::started(dir, process)
    }

    /// Makes it read its `config.ini` again, with these settings in it.
    pub(crate) fn reload(&self, settings: &[(&str, &str)]) {
        self.dir.write("config.ini", &ini(settings));
        self.signal("HUP");
    }

    /// A publisher that has been welcomed.
    pub(crate) fn publisher(&self) -> Peer {
        Peer::connect(self.publishers).hello(b"publisher")
    }

    /// A subscriber that has been welcomed.
    pub(crate) fn subscriber(&self) -> Peer {
        Peer::connect(self.subscribers).hello(b"subscriber")
    }

    /// A subscriber whose plain subscriptions are in force.
    pub(crate) fn subscriber_of(&self, filters: &[&[u8]]) -> Peer {
        let mut peer = self.subscriber();
        for filter in filters {
            peer.subscribe(filter, b"");
        }
        peer
    }

    /// A subscriber with small kernel buffers, so that it holds publishers up soon.
    pub(crate) fn small_subscriber_of(&self, filter: &[u8]) -> Peer {
        let mut peer = Peer::connect_small(self.subscribers).hello(b"stalled");
        peer.subscribe(filter, b"");
        peer
    }

    /// The address of its monitor, if the settings have one.
    pub(crate) fn monitor(&self) -> SocketAddr {
        listening(self.log(), "listening for monitors on ")
    }

    /// Its address for NATS clients, if the settings have one.
    pub(crate) fn nats(&self) -> SocketAddr {
        listening(self.log(), "listening for NATS clients on ")
    }

    /// The addresses of both ports, each with its role's name.
    pub(crate) fn ports(&self) -> [(&'static str, SocketAddr); 2] {
        [("publishers", self.publishers), ("subscribers", self.subscribers)]
    }

    pub(crate) fn log(&self) -> &Lines {
        &self.process.stderr
    }

    /// The process, for what the system reports about it.
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }
}

/// The broker's program, to be run in `dir`. `BROKER_UNDER_TEST` names another one to test.
pub(crate) fn command(dir: &Path) -> Command {
    let other = std::env::var_os("BROKER_UNDER_TEST");
    let mut command = Command::new(other.unwrap_or_else(|| env!("CARGO_BIN_EXE_broker").into()));
    command.current_dir(dir);
    command
}

/// The address after `words` in the log.
fn listening(log: &Lines, words: &str) -> SocketAddr {
    address_behind(&log.wait_for(words, |line| line.contains(words)), words)
}

fn address_behind(line: &str, words: &str) -> SocketAddr {
    let address = line.split(words).nth(1).and_then(|rest| rest.split_whitespace().next());
    let address = address.unwrap_or_else(|| panic!("no address in: {line}"));
    let address = address.trim_end_matches(',');
    address.parse().unwrap_or_else(|_| panic!("no address and port in: {line}"))
}
