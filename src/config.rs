//! `config.ini` and the command line become one validated [`Config`].
//!
//! Owns the one table of settings, [`SETTINGS`]: names, defaults, ranges and help come from it and
//! from nowhere else. Reads a file; must not bind, create or log anything.

use std::cell::LazyCell;
use std::fmt;
use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use ini::{Ini, ParseOption};

use crate::engine::access::Users;
use crate::engine::rules::{ReceiverRules, Rules};
use crate::limits::{O_NOCTTY, O_NONBLOCK};

mod defaults;
mod link;
mod monitor;
mod reload;
mod sections;
mod settings;
mod syntax;
pub mod users;
mod value;

pub use link::{Link, LinkTls, Server};
pub use reload::{Change, Reloaded};
pub use sections::{
    ClientCertificates, Limits, Log, LogFormat, Monitor, Network, Overflow, Timeouts, Tls, TlsMode,
    UsersFile,
};
pub use settings::{SETTINGS, Setting, config_file, host as parse_host};
use syntax::{comment_behind, line_of, places, without_mark};
use value::show_size;

/// The file that is read when the command line names none and it is there.
pub const DEFAULT_FILE: &str = "config.ini";

/// What a configuration file, or one of users, may hold, in bytes.
/// A daemon reads it between two turns of its loop.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// In messages, sizes are rounded up to this many bytes.
const KIB: u64 = 1 << 10;
/// Filters that a hub may ask for: those of all its clients.
const LINK_SUBSCRIPTIONS: usize = 1_000_000;
/// More errors than this help nobody.
const MAX_ERRORS: usize = 20;

/// Everything that can be set, valid as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Addresses, connections and reads.
    pub network: Network,
    /// Whether and how connections are encrypted.
    pub tls: Tls,
    /// What one client, and all of them together, may use.
    pub limits: Limits,
    /// What happens to a subscriber that is slower than its messages.
    pub overflow: Overflow,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Where log lines go.
    pub log: Log,
    /// The HTTP port for whoever watches the broker.
    pub monitor: Monitor,
    /// Where the users stand.
    pub users: UsersFile,
    /// The NATS cluster that the broker joins.
    pub link: Link,
}

impl Default for Config {
    fn default() -> Config {
        defaults::defaults()
    }
}

impl Config {
    /// Reads `explicit`, or [`DEFAULT_FILE`] in the working directory if there is one, or takes
    /// the defaults.
    ///
    /// # Errors
    /// All that is wrong with the file, or why it cannot be read.
    pub fn load(explicit: Option<&Path>) -> Result<Config, ConfigErrors> {
        let path = match explicit {
            Some(path) => path,
            None if Config::has_default_file() => Path::new(DEFAULT_FILE),
            None => return Ok(Config::default()),
        };
        let text = read(path, |_| Ok(()))
            .map_err(|error| ConfigErrors::one(path, 0, &format!("cannot be read: {error}")))?;
        Config::parse(&text, path)
    }

    /// Whether [`DEFAULT_FILE`] is in the working directory.
    pub fn has_default_file() -> bool {
        Path::new(DEFAULT_FILE).exists()
    }

    /// Reads the text of a configuration file; `path` is for messages. Whether the settings fit
    /// each other is asked by [`Config::validated`], when the command line has had its say.
    ///
    /// # Errors
    /// What is wrong with it: at least one error and at most 20, each with its line.
    pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigErrors> {
        let text = without_mark(text);
        let ini = ini(text, path, false)?;
        let mut errors = Vec::new();
        let places = LazyCell::new(|| places(text));
        let mut config = Config::default();
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for (section, properties) in &ini {
            if errors.len() >= MAX_ERRORS {
                break;
            }
            let section = section.unwrap_or("");
            if !section.is_empty() && !SETTINGS.iter().any(|setting| setting.section == section) {
                let line = line_of(&places, section, None, 0);
                errors.push((line, unknown_section(section)));
                continue;
            }
            for (key, value) in properties {
                let earlier = seen.iter().filter(|pair| **pair == (section, key)).count();
                seen.push((section, key));
                if let Err(message) = config.set(section, key, value, earlier > 0) {
                    errors.push((line_of(&places, section, Some(key), earlier), message));
                }
                if errors.len() >= MAX_ERRORS {
                    break;
                }
            }
        }
        if errors.is_empty() {
            return Ok(config);
        }
        errors.sort();
        Err(ConfigErrors::all(path, errors))
    }

    fn set(&mut self, section: &str, key: &str, value: &str, again: bool) -> Result<(), String> {
        let setting = SETTINGS
            .iter()
            .find(|setting| setting.section == section && setting.key == key)
            .ok_or_else(|| unknown_key(section, key))?;
        if again {
            return Err(format!("[{section}] {key} is given twice; keep one of the lines"));
        }
        let comment = comment_behind(value);
        let applied = setting.apply(self, value);
        // Text of any kind would take the comment for a part of it.
        let applied = if setting.takes_any_text() && comment.is_some() {
            Err("a file's name".into())
        } else {
            applied
        };
        applied.map_err(|expected| {
            let hint = comment.map(|hint| format!("; {hint}")).unwrap_or_default();
            format!("[{section}] {key} = {value}: expected {expected}{hint}")
        })
    }

    /// The users, whose file is read anew each time; `None` where no file is named. The monitor's
    /// is among them, if it has one, and has a secret.
    ///
    /// # Errors
    /// All that is wrong with the file, or why it cannot be read.
    pub fn users(&self) -> Result<Option<Users>, ConfigErrors> {
        let UsersFile { file, anonymous } = &self.users;
        let Some(path) = file.as_deref() else { return Ok(None) };
        let users = users::load(path, anonymous.as_deref())?;
        if let Some(name) = self.monitor.user.as_deref() {
            monitor::check_user(name, &users, path)?;
        }
        Ok(Some(users))
    }

    /// Whether the broker comes to hold secrets: those that clients give, what it shows to a hub,
    /// or a key.
    pub fn has_secrets(&self) -> bool {
        self.users.file.is_some() || self.tls.key.is_some() || self.link.has_secrets()
    }

    /// What of it the broker's core works by.
    pub fn rules(&self) -> Rules {
        self.rules_where(self.network.has_nats())
    }

    /// The same where it is known whether there is a port for NATS clients.
    pub fn rules_where(&self, has_nats: bool) -> Rules {
        let native = ReceiverRules {
            max_subscriptions: self.limits.max_subscriptions,
            outbox_bytes: self.limits.outbox_bytes,
            policy: self.overflow.policy,
            stall_timeout: self.overflow.stall_timeout,
        };
        let nats = ReceiverRules {
            max_subscriptions: self.limits.nats_max_subscriptions,
            outbox_bytes: self.limits.nats_outbox_bytes,
            policy: self.overflow.nats_policy,
            stall_timeout: self.overflow.nats_stall_timeout,
        };
        let link = ReceiverRules {
            max_subscriptions: LINK_SUBSCRIPTIONS,
            outbox_bytes: self.link.buffer_bytes,
            policy: self.link.policy,
            stall_timeout: self.overflow.stall_timeout,
        };
        Rules {
            max_connections: self.network.max_connections,
            max_payload: self.limits.max_payload,
            native,
            // Where there are none, nothing is to depend on what would hold for them.
            nats: if has_nats { nats } else { native },
            link: if self.link.is_on() { link } else { native },
            memory_bytes: self.limits.memory_bytes,
            min_rate_bytes_per_second: self.overflow.min_rate_bytes_per_second,
            hello: self.timeouts.hello,
            heartbeat: self.timeouts.heartbeat,
        }
    }

    /// The configuration, if its settings fit each other; `source` is for messages.
    ///
    /// # Errors
    /// Which of them do not.
    pub fn validated(self, source: &str) -> Result<Config, ConfigErrors> {
        match self.validate() {
            Ok(()) => Ok(self),
            Err(message) => Err(ConfigErrors::one(Path::new(source), 0, &message)),
        }
    }

    fn validate(&self) -> Result<(), String> {
        let network = &self.network;
        let ports = network.ports();
        for (place, (port, role)) in ports.iter().enumerate() {
            let same = ports[..place].iter().find(|(other, _)| other == port && *port != 0);
            if let Some((_, other)) = same {
                return Err(format!(
                    "{other} and {role} have the same port, {port}: give them two"
                ));
            }
        }
        let sockets: Vec<_> = network.sockets().collect();
        for (place, (key, path)) in sockets.iter().enumerate() {
            if let Some((other, _)) = sockets[..place].iter().find(|(_, other)| other == path) {
                let path = path.display();
                return Err(format!("{other} and {key} are the same, {path}: give them two"));
            }
        }
        monitor::validate(self)?;
        if let UsersFile { file: None, anonymous: Some(name) } = &self.users {
            return Err(format!(
                "[users] anonymous = {name} is nobody: name the file of users, [users] file, too"
            ));
        }
        self.tls.validate()?;
        self.link.validate()?;
        // One frame being read and one chunk for another publisher must fit, or nothing can move.
        let least = self.limits.max_payload + 3 * network.read_bytes + (64 << 10);
        if self.limits.memory_bytes < least {
            return Err(format!(
                "[limits] memory_bytes is {}: with this max_payload and read_bytes it must be at \
                 least {}",
                show_size(self.limits.memory_bytes as u64),
                show_size((least as u64).next_multiple_of(KIB))
            ));
        }
        Ok(())
    }
}

/// All that is wrong with a configuration, one line each: `file:line: what was expected`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<String>);

impl ConfigErrors {
    /// One thing that is wrong, as a line for people.
    pub fn message(text: impl Into<String>) -> ConfigErrors {
        ConfigErrors(vec![text.into()])
    }

    fn all(path: &Path, errors: Vec<(usize, String)>) -> ConfigErrors {
        let name = path.display();
        ConfigErrors(errors.into_iter().map(|(line, text)| at(&name, line, &text)).collect())
    }

    fn one(path: &Path, line: usize, text: &str) -> ConfigErrors {
        ConfigErrors(vec![at(&path.display(), line, text)])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

/// The sections of a file. `text` has no mark in front of it.
fn ini(text: &str, path: &Path, has_secrets: bool) -> Result<Ini, ConfigErrors> {
    let mut errors = syntax::errors(text, has_secrets);
    if !errors.is_empty() {
        errors.truncate(MAX_ERRORS);
        return Err(ConfigErrors::all(path, errors));
    }
    let options = ParseOption { enabled_escape: false, ..ParseOption::default() };
    // Its own words are for programmers, and each line was looked at before.
    Ini::load_from_str_opt(text, options)
        .map_err(|_| ConfigErrors::one(path, 0, "this is no configuration file"))
}

/// Never waits: a pipe, which may have nothing to give and which SIGHUP could not read again, is
/// refused.
fn read(path: &Path, allowed: impl Fn(&Metadata) -> io::Result<()>) -> io::Result<String> {
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(path)?;
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    if kind.is_fifo() || kind.is_socket() {
        return Err(io::Error::other("it is a pipe, not a file"));
    }
    allowed(&metadata)?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("it is larger than 1 MiB; is it the right file?"));
    }
    Ok(text)
}

fn at(file: &dyn fmt::Display, line: usize, text: &str) -> String {
    if line == 0 { format!("{file}: {text}") } else { format!("{file}:{line}: {text}") }
}

fn unknown_section(section: &str) -> String {
    let mut known: Vec<_> = SETTINGS.iter().map(|setting| setting.section).collect();
    known.dedup();
    format!("unknown section [{section}]; expected one of {}", known.join(", "))
}

fn unknown_key(section: &str, key: &str) -> String {
    if section.is_empty() {
        return format!("{key} stands before any [section]");
    }
    let known: Vec<_> =
        SETTINGS.iter().filter(|s| s.section == section).map(|setting| setting.key).collect();
    format!("unknown key {key} in [{section}]; expected one of {}", known.join(", "))
}

#[cfg(test)]
mod tests;
