//! Real brokers: the program that is shipped, on free ports.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::process::{self, Process, program};

/// A running broker. Killed when dropped.
pub struct Broker {
    pub process: Process,
    pub publisher_port: u16,
    pub subscriber_port: u16,
}

impl Broker {
    /// With its defaults.
    pub fn start() -> Broker {
        Broker::with_args("-s 0 -p 0")
    }

    /// With this config.ini.
    pub fn with_config(config: &str) -> Broker {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.ini");
        fs::write(&file, config).unwrap();
        Broker::with_args(&format!("-s 0 -p 0 --config {}", file.display()))
    }

    /// On free ports, with these flags beside those that say so.
    pub fn with_flags(flags: &str) -> Broker {
        Broker::with_args(&format!("-s 0 -p 0 {flags}"))
    }

    fn with_args(args: &str) -> Broker {
        let process = process::start(program(executable(), args));
        let port = |role: &str| {
            let before = format!("listening for {role} on 127.0.0.1:");
            // Up to the line's end, or the number might not be all there yet.
            process.await_stderr(&before);
            super::eventually("the port's number", || {
                let log = process.await_stderr(&before);
                let (number, _) = log.split_once(&before)?.1.split_once('\n')?;
                let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
                number[..digits].parse().ok()
            })
        };
        Broker { publisher_port: port("publishers"), subscriber_port: port("subscribers"), process }
    }

    /// One more broker on the ports of this one, which must have ended.
    pub fn again(&self) -> Broker {
        Broker::with_args(&format!("-s {} -p {}", self.subscriber_port, self.publisher_port))
    }

    /// The arguments that point `bench-publisher` at this broker.
    pub fn both_ports(&self) -> String {
        format!("-h 127.0.0.1 -p {} -s {}", self.publisher_port, self.subscriber_port)
    }

    /// `publisher`, pointed at this broker.
    pub fn publisher(&self, args: &str) -> Command {
        process::publisher(&format!("-h 127.0.0.1 -p {} {args}", self.publisher_port))
    }

    /// `subscriber`, pointed at this broker.
    pub fn subscriber(&self, args: &str) -> Command {
        process::subscriber(&format!("-h 127.0.0.1 -p {} {args}", self.subscriber_port))
    }

    /// A subscriber that is known to be subscribed to all topics of its arguments, the last of
    /// which must be `probe.>`: what the broker accepts from now on will reach it.
    pub fn ready_subscriber(&self, args: &str) -> Process {
        let process = process::start(self.subscriber(args));
        self.await_ready(&process);
        process
    }

    /// Publishes to `probe.ready` until the subscriber, which must be subscribed to that topic
    /// last, prints it.
    pub fn await_ready(&self, process: &Process) {
        super::eventually("a subscriber that is ready", || {
            let probe = self.publisher("--topic probe.ready --message ready");
            assert_eq!(process::run(probe, b"").code, Some(0));
            process.stdout().contains("ready").then_some(())
        });
    }
}

/// The broker beside the programs; built if only the clients were. `BROKER_UNDER_TEST` names
/// another one to test.
pub fn executable() -> &'static Path {
    static EXECUTABLE: OnceLock<PathBuf> = OnceLock::new();
    EXECUTABLE.get_or_init(|| {
        if let Some(other) = std::env::var_os("BROKER_UNDER_TEST") {
            return other.into();
        }
        let folder = Path::new(env!("CARGO_BIN_EXE_publisher")).parent().unwrap();
        let executable = folder.join(format!("broker{}", std::env::consts::EXE_SUFFIX));
        if !executable.exists() {
            let profile = match folder.file_name().and_then(|name| name.to_str()).unwrap() {
                "debug" => "dev",
                other => other,
            };
            let build = Command::new(env!("CARGO"))
                .args(["build", "-p", "broker", "--bin", "broker", "--profile", profile])
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status();
            assert!(build.unwrap().success(), "the broker could not be built");
        }
        executable
    })
}
