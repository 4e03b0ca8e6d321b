//! What the user typed, for both programs.
//!
//! Owns the flags and their help. What they mean is decided in `target`, `publish` and `tail`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, ArgGroup, Args, Parser};

use super::report::Failure;
use crate::credentials::CredentialArgs;
use crate::tls::TlsArgs;

/// Flags of both programs.
#[derive(Debug, Args)]
pub(super) struct Connection {
    /// Name of this client, as the broker's log shows it [default: the program's name and its
    /// process id]
    #[arg(short = 'i', long)]
    pub(super) id: Option<String>,

    /// Local port to connect from; 0 means any
    #[arg(short = 'r', long, value_name = "LOCAL_PORT", default_value_t = 0)]
    pub(super) local_port: u16,

    /// Address or name of the broker's host, or HOST:PORT; several, separated by commas, are tried
    /// in turn [default: BROKER_HOST, what config.ini says, 127.0.0.1]
    #[arg(short = 'h', long, value_name = "HOST[:PORT]")]
    pub(super) host: Option<String>,

    /// The broker's port [default: BROKER_PUBLISHER_PORT or BROKER_SUBSCRIBER_PORT, what
    /// config.ini says, 9000 to publish, 9090 to subscribe]
    #[arg(short = 'p', long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,

    /// Unix socket of a broker on this machine, in place of -h and -p
    #[arg(long, value_name = "PATH", conflicts_with_all = ["host", "port", "local_port", "tls"])]
    pub(super) socket: Option<PathBuf>,

    #[command(flatten)]
    pub(super) credentials: CredentialArgs,

    #[command(flatten)]
    pub(super) tls: TlsArgs,

    /// File of commands to run before those of standard input; - is standard input itself
    #[arg(short = 'f', long, value_name = "COMMAND_FILE")]
    pub(super) file: Option<PathBuf>,

    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,

    /// Print version
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
}

/// Publishes messages: commands from a file and standard input, or what --topic says.
///
/// Commands are `SECONDS pub TOPIC MESSAGE`, one a line; SECONDS is how long to wait before it and
/// may be left out on standard input. `quit` or the end of input ends the program once the broker
/// has confirmed everything; `help` says what there is.
#[derive(Debug, Parser)]
#[command(
    name = "publisher",
    version,
    disable_help_flag = true,
    disable_version_flag = true,
    group = ArgGroup::new("where").args(["topic", "topic_word"]),
    after_help = PUBLISHER_EXITS
)]
pub(super) struct PublisherArgs {
    #[command(flatten)]
    pub(super) connection: Connection,

    /// Short for --topic
    #[arg(value_name = "TOPIC", conflicts_with_all = ["topic", "file"])]
    topic_word: Option<String>,

    /// Short for --message
    #[arg(value_name = "MESSAGE", conflicts_with_all = ["message", "whole"])]
    message_word: Option<String>,

    /// Publish to this topic: the lines of standard input, or see --message and --whole. TOPIC is
    /// short for it
    #[arg(long, conflicts_with = "file")]
    topic: Option<String>,

    /// Publish this one message. MESSAGE behind TOPIC is short for it, but takes no hyphen in front
    #[arg(long, requires = "where", conflicts_with = "whole", allow_hyphen_values = true)]
    message: Option<String>,

    /// Publish all of standard input as one message
    #[arg(long, requires = "where")]
    pub(super) whole: bool,

    /// Publish the lines of standard input, each a JSON object: topic, and payload or
    /// payload_base64; what subscriber --json prints can be published so
    #[arg(long, conflicts_with_all = ["where", "file"])]
    pub(super) json: bool,

    /// Publish the lines of standard input, each a topic, this separator, and the message
    #[arg(long, value_name = "SEPARATOR", conflicts_with_all = ["where", "file", "json"])]
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(super) key_separator: Option<String>,

    /// Publish the message, or ask with --ping, this often
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) repeat: Option<u64>,

    /// Seconds between two of them
    #[arg(long, value_name = "SECONDS")]
    pub(super) every: Option<f64>,

    /// Measure round trips to the broker, five unless --repeat says otherwise, and publish nothing
    #[arg(long, conflicts_with_all = ["where", "file", "json", "key_separator"])]
    pub(super) ping: bool,

    /// End after this many seconds, whatever is not confirmed then, with exit code 3
    #[arg(short = 'W', long, value_name = "SECONDS")]
    pub(super) timeout: Option<f64>,

    /// If the broker is not there or goes away, try again until it is back; what was not confirmed
    /// is sent again, so that each message comes at least once
    #[arg(long)]
    pub(super) retry: bool,
}

impl PublisherArgs {
    /// The topic of all messages, if there is one.
    pub(super) fn topic(&self) -> Option<&str> {
        self.topic.as_deref().or(self.topic_word.as_deref())
    }

    /// The one message, if it is on the command line.
    pub(super) fn message(&self) -> Option<&str> {
        self.message.as_deref().or(self.message_word.as_deref())
    }
}

/// A time in seconds.
pub(super) fn seconds(flag: &str, value: f64) -> Result<Duration, Failure> {
    Duration::try_from_secs_f64(value)
        .map_err(|error| Failure::Usage(format!("{flag} {value}: {error}")))
}

/// Prints messages as they arrive.
///
/// Commands are `SECONDS sub TOPIC [GROUP]` and `SECONDS unsub TOPIC [GROUP]`, one a line; SECONDS
/// is how long to wait before it and may be left out on standard input. `quit` ends the program, as
/// does the end of input if standard input is a terminal; `help` says what there is.
#[derive(Debug, Parser)]
#[command(
    name = "subscriber",
    version,
    disable_help_flag = true,
    disable_version_flag = true,
    group = ArgGroup::new("where").args(["topic", "filters"]).multiple(true),
    after_help = SUBSCRIBER_EXITS
)]
pub(super) struct SubscriberArgs {
    #[command(flatten)]
    pub(super) connection: Connection,

    /// Short for --topic
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,

    /// Subscribe to this topic; may be given more than once. `*` is any one token, a last `>` any
    /// one or more. FILTER is short for it
    #[arg(long)]
    topic: Vec<String>,

    /// Subscribe as a member of this queue group: each message goes to one of its members
    #[arg(long, requires = "where")]
    pub(super) group: Option<String>,

    /// Print each message by a template: %t topic, %p payload, %x payload as hex, %l length, %i
    /// number of the message, %U Unix time, %I ISO time, %%, \n \t \0 (no line end unless it is
    /// in there)
    #[arg(long, value_name = "TEMPLATE", conflicts_with_all = ["json", "raw"])]
    pub(super) format: Option<String>,

    /// Print one JSON object a line: topic, payload, time; a payload that is not UTF-8 is base64
    /// and the object says so in "encoding"
    #[arg(long, conflicts_with = "raw")]
    pub(super) json: bool,

    /// Print payloads only, with nothing between them
    #[arg(long)]
    pub(super) raw: bool,

    /// End after this many messages
    #[arg(short = 'C', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,

    /// End after this many seconds, counted from the start of the program, with exit code 3
    #[arg(short = 'W', long, value_name = "SECONDS")]
    pub(super) timeout: Option<f64>,

    /// If the broker is not there or goes away, try again, and subscribe again
    #[arg(long)]
    pub(super) reconnect: bool,

    /// End with exit code 4 when messages were lost, or may have been: the broker dropped some, the
    /// connection ended without a goodbye, or --reconnect left a gap
    #[arg(long)]
    pub(super) fail_on_loss: bool,

    /// Print which topics there are and who has subscribed to what, as the broker's monitor tells,
    /// and end; with --json one object a line. --tls and --user are for the monitor then
    #[arg(long, conflicts_with_all = ["where", "group", "format", "raw", "count", "timeout"])]
    #[arg(conflicts_with_all = ["reconnect", "fail_on_loss", "file", "host", "port", "socket"])]
    pub(super) list: bool,

    /// The monitor that --list asks [default: BROKER_MONITOR, what config.ini says]
    #[arg(long, value_name = "HOST:PORT", requires = "list", conflicts_with = "where")]
    pub(super) monitor: Option<String>,
}

impl SubscriberArgs {
    /// All filters of the command line.
    pub(super) fn topics(&self) -> impl Iterator<Item = &String> {
        self.topic.iter().chain(&self.filters)
    }
}

const PUBLISHER_EXITS: &str = "Exit status: 0 all confirmed, 1 not all, 2 wrong usage, 3 --timeout \
    ended it.\n\n\
    Environment: BROKER_HOST and BROKER_PUBLISHER_PORT stand for -h and -p, BROKER_USER for \
    --user, and BROKER_SECRET is the secret itself.";
const SUBSCRIBER_EXITS: &str = "Exit status: 0 fine, 1 failed, 2 wrong usage, 3 --timeout ended \
    it, 4 --fail-on-loss ended it.\n\n\
    Environment: BROKER_HOST and BROKER_SUBSCRIBER_PORT stand for -h and -p, BROKER_MONITOR for \
    --monitor, BROKER_USER for --user, and BROKER_SECRET is the secret itself.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_do_not_collide_and_h_is_the_host() {
        PublisherArgs::command().debug_assert();
        SubscriberArgs::command().debug_assert();
        let args = ["publisher", "-i", "a", "-r", "7", "-h", "::1", "-p", "9", "-f", "x"];
        let connection = PublisherArgs::try_parse_from(args).unwrap().connection;
        assert_eq!(connection.host.as_deref(), Some("::1"));
        assert_eq!((connection.local_port, connection.port), (7, Some(9)));
    }
}
