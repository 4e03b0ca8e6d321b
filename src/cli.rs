//! What the user typed.
//!
//! Owns the command line's grammar and nothing of its meaning beyond "this wins over the file".

use std::path::PathBuf;

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use log::LevelFilter;

use crate::config::{Config, ConfigErrors, DEFAULT_FILE, parse_host};

/// A small, fast publish/subscribe broker.
///
/// Publishers connect to one port, subscribers to another, and every subscriber of a topic
/// receives each message that is published to it.
#[derive(Parser, Debug)]
#[command(name = "broker", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// Port for subscribers; 0 takes a free one [default: 9090]
    #[arg(short = 's', long, value_name = "PORT")]
    pub subscriber_port: Option<u16>,

    /// Port for publishers; 0 takes a free one [default: 9000]
    #[arg(short = 'p', long, value_name = "PORT")]
    pub publisher_port: Option<u16>,

    /// Port for NATS clients, usually 4222; 0 takes a free one [default: none]
    #[arg(short = 'n', long, value_name = "PORT")]
    pub nats_port: Option<u16>,

    /// Address or name to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR", value_parser = parse_host)]
    pub host: Option<String>,

    /// Configuration file [default: config.ini in the working directory, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Least important level to log: off, error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL", value_parser = level_parser(), hide_possible_values = true)]
    pub log_level: Option<LevelFilter>,

    /// Stop as on SIGTERM when standard input ends: for programs and tests that start a broker of
    /// their own, so that it cannot outlive them
    #[arg(long)]
    pub exit_with_stdin: bool,

    /// Check the configuration, say "ok" or what is wrong with it, and end
    #[arg(short = 't', long)]
    pub check_config: bool,

    /// Dial the hubs of the configuration, say of each what it is and whether it lets this broker
    /// in, and end, with 0 if each of them does
    #[arg(long, conflicts_with = "check_config")]
    pub check_link: bool,

    /// Print a new secret for a user, and below it the line that keeps it in the file of users,
    /// and end
    #[arg(long, conflicts_with_all = ["hash_secret", "check_config", "check_link"])]
    pub new_secret: bool,

    /// Read a secret, which is one line of standard input, print the line that keeps it in the file
    /// of users, and end
    #[arg(long, conflicts_with_all = ["check_config", "check_link"])]
    pub hash_secret: bool,
}

const AFTER_HELP: &str = "The command line wins over the configuration file, the file over the \
defaults.\nSIGTERM or SIGINT: deliver what was accepted and end; a second one ends at once.\n\
SIGHUP: read the configuration again, and open the log file anew; nobody is disconnected.\n\
Exit status: 0 stopped and drained, 1 failed, 2 wrong usage or configuration.";

/// A level by its name; an error lists all of them.
fn level_parser() -> impl TypedValueParser<Value = LevelFilter> {
    let names = ["off", "error", "warn", "info", "debug", "trace"];
    PossibleValuesParser::new(names).try_map(|name| name.parse::<LevelFilter>())
}

impl Cli {
    /// The command line with the configuration file named that will be read: from now on it must
    /// be there. Otherwise a file that was removed by mistake would reload as all defaults.
    #[must_use]
    pub fn settled(mut self) -> Cli {
        if self.config.is_none() && Config::has_default_file() {
            self.config = Some(DEFAULT_FILE.into());
        }
        self
    }

    /// The configuration that file and command line make together.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn configuration(&self) -> Result<Config, ConfigErrors> {
        let mut config = Config::load(self.config.as_deref())?;
        if let Some(port) = self.subscriber_port {
            config.network.subscriber_port = port;
        }
        if let Some(port) = self.publisher_port {
            config.network.publisher_port = port;
        }
        if self.nats_port.is_some() {
            config.network.nats_port = self.nats_port;
        }
        if let Some(host) = &self.host {
            config.network.host.clone_from(host);
        }
        if let Some(level) = self.log_level {
            config.log.level = level;
        }
        config.validated("the settings do not fit each other")
    }
}
