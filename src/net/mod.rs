//! The operating system: sockets, signals, the clock.
//!
//! The only layer that names mio, sockets and `Instant::now`. It moves bytes between sockets and
//! the broker and tells it the time; it must not look into the bytes nor decide about clients.

use std::fmt;
use std::io;
use std::time::Instant;

use crate::config::{Config, ConfigErrors};

mod activation;
mod clock;
mod files;
mod lifecycle;
mod link;
mod listener;
mod monitor;
mod reactor;
pub mod secured;
mod service_manager;
mod signals;
mod sockets;
mod tls;
mod transport;

/// How a run of the broker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop, and drained.
    Drained,
    /// It was told to stop a second time, and stopped at once.
    Interrupted,
}

/// Why the broker could not run.
#[derive(Debug)]
pub struct RunError {
    what: String,
    /// `None`: what the configuration names cannot be used.
    cause: Option<io::Error>,
}

impl RunError {
    fn new(what: impl Into<String>, cause: io::Error) -> RunError {
        RunError { what: what.into(), cause: Some(cause) }
    }

    fn configuration(what: String) -> RunError {
        RunError { what, cause: None }
    }

    /// Whether it is for what the configuration names, which does not change by itself.
    pub fn is_of_configuration(&self) -> bool {
        self.cause.is_none()
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(cause) = &self.cause else { return f.write_str(&self.what) };
        let hint = match cause.kind() {
            io::ErrorKind::AddrInUse => "; stop the program that has the port, or choose another",
            io::ErrorKind::PermissionDenied if !self.what.contains('/') => {
                "; ports below 1024 need a privilege: have systemd open them \
                 (broker-publishers.socket, broker-subscribers.socket)"
            }
            io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
            _ => "",
        };
        write!(f, "{}: {cause}{hint}", self.what)
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}

/// Runs a broker in this thread until it is told to stop by SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot bind its ports, or the operating system refuses what it cannot do without.
pub fn run(config: &Config) -> Result<Ended, RunError> {
    reactor::Reactor::new(config, None)?.run()
}

/// Whether the names of a configuration are those of addresses, and its files hold what they
/// should; binds and dials none.
///
/// # Errors
/// Which is not.
pub fn check(config: &Config) -> Result<(), RunError> {
    listener::resolve((&*config.network.host, 0)).map_err(|error| {
        RunError::new(format!("cannot listen on {}", config.network.host), error)
    })?;
    tls::load(&config.tls, None).map_err(RunError::configuration)?;
    link::load(config).map_err(RunError::configuration)?;
    if let Some(group) = &config.network.socket_group {
        listener::unix::group_id(group)
            .map_err(|error| RunError::new("cannot listen on Unix sockets", error))?;
    }
    let Some(address) = &config.monitor.address else { return Ok(()) };
    let resolved = listener::resolve(address).map(drop);
    resolved
        .map_err(|error| RunError::new(format!("cannot listen for monitors on {address}"), error))
}

/// What dialling the hubs of a configuration has shown.
#[derive(Debug)]
pub struct LinkReport {
    /// A few lines for people on each of them.
    pub text: String,
    /// Each lets the broker in.
    pub all_good: bool,
}

/// Dials each hub of a configuration and says what is there. Blocks, up to twice the hello time-out
/// for each.
///
/// # Errors
/// When there is none to dial, a file of the link cannot be used, or the operating system refuses
/// what is needed.
pub fn check_link(config: &Config) -> Result<LinkReport, RunError> {
    let plan = link::load(config).map_err(RunError::configuration)?;
    let none = || RunError::configuration("[link] servers is empty: there is no hub".to_owned());
    let report = link::check::check(&plan.ok_or_else(none)?);
    let report = report.map_err(|error| RunError::new("cannot wait for events", error))?;
    Ok(LinkReport { text: report.text, all_good: report.all_good })
}

/// Tells the service manager, if there is one, why the broker does not start: its status shows it.
pub fn tell_failure(reason: &str) {
    service_manager::ServiceManager::from_environment(Instant::now())
        .failed(reason, Instant::now());
}

/// Reads the configuration again, as it was read at the start.
pub type Reload = Box<dyn Fn() -> Result<Config, ConfigErrors>>;

/// The same as a daemon: SIGHUP makes it take over what `reload` gives, a service manager is told
/// how it goes, and sockets that one has passed on are used instead of ports of its own.
///
/// # Errors
/// As [`run`], and when the sockets that were passed cannot be used.
pub fn run_daemon(config: &Config, reload: Reload) -> Result<Ended, RunError> {
    reactor::Reactor::new(config, Some(reload))?.run()
}
