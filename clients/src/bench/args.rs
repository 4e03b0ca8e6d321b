//! What the user typed, and the [`Plan`] that it makes.
//!
//! Owns the flags, their help, and which of them fit together. Must not connect to anything.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser};
use pubsub_client::{DEFAULT_PUBLISHER_PORT, DEFAULT_SUBSCRIBER_PORT};
use wire::nats;

use crate::bench::failure::Failure;
use crate::bench::plan::{Amount, Place, Plan, Requests, Sizes};
use crate::bench::protocol::Protocol;
use crate::bench::traffic::{NUMBERED_BYTES, STAMP_BYTES};
use crate::credentials::CredentialArgs;
use crate::tls::TlsArgs;

const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_SECONDS: f64 = 5.0;

/// Measures what a broker and this machine can do: publishes, subscribes, counts, times.
///
/// Without -h, -p and -s it starts a broker of its own (the program broker beside it, else the one
/// in PATH) with default settings on free ports, and ends it. Messages go to the topics bench.0,
/// bench.1 and so on; every subscriber subscribes to all of them. With --protocol nats it measures
/// any server that NATS clients can connect to, at 127.0.0.1:4222 if nothing else is said.
#[derive(Debug, Parser)]
#[command(
    name = "bench-publisher",
    version,
    disable_help_flag = true,
    disable_version_flag = true,
    after_help = AFTER_HELP
)]
pub(crate) struct BenchArgs {
    /// How the broker is spoken to
    #[arg(long, value_name = "PROTOCOL", value_enum, default_value_t = Protocol::Native)]
    protocol: Protocol,

    /// Address or name of the broker's host [default with -p, -s or --protocol nats: 127.0.0.1]
    #[arg(short = 'h', long, value_name = "HOST")]
    host: Option<String>,

    /// The broker's port for publishers [default with -h or -s: 9000]; with --protocol nats its
    /// port for NATS clients [default: 4222]
    #[arg(short = 'p', long, value_name = "PUB_PORT", value_parser = port())]
    #[arg(visible_alias = "port")]
    publisher_port: Option<u16>,

    /// The broker's port for subscribers [default with -h or -p: 9090]
    #[arg(short = 's', long, value_name = "SUB_PORT", value_parser = port())]
    subscriber_port: Option<u16>,

    #[command(flatten)]
    credentials: CredentialArgs,
    /// Unix socket of a broker on this machine, for publishers; with --protocol nats for all
    #[arg(long, value_name = "PATH")]
    #[arg(conflicts_with_all = ["host", "publisher_port", "subscriber_port", "tls"])]
    socket: Option<PathBuf>,

    /// The broker's Unix socket for subscribers
    #[arg(long, value_name = "PATH", requires = "socket")]
    subscriber_socket: Option<PathBuf>,

    #[command(flatten)]
    tls: TlsArgs,

    /// Process whose CPU and memory are reported [default: who listens on the broker's port, if
    /// that can be seen]
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    broker_pid: Option<u32>,

    /// Publishers, or requesters, each a connection with a thread
    #[arg(long, value_name = "N", default_value = "1", value_parser = count(1))]
    #[arg(visible_alias = "requesters")]
    publishers: u64,

    /// Subscribers, each a connection; one thread reads them all
    #[arg(long, value_name = "N", default_value = "1", value_parser = count(1))]
    subscribers: u64,

    /// Only publish; subscribers elsewhere may tail bench.>
    #[arg(long, conflicts_with_all = ["subscribers", "wildcard", "verify"])]
    no_subscribers: bool,

    /// Make requests and wait for their answers, which responders of this program give (needs
    /// --protocol nats); a latency is that of a round trip
    #[arg(long, conflicts_with_all = ["subscribers", "no_subscribers"])]
    requests: bool,

    /// Responders, each a connection with a thread, all in one queue group [default: 1]
    #[arg(long, value_name = "N", requires = "requests", value_parser = count(1))]
    responders: Option<u64>,

    /// How many requests a requester leaves without an answer before it waits [default: 1]
    #[arg(long, value_name = "N", requires = "requests", value_parser = count(1))]
    window: Option<u64>,

    /// Topics; each publisher goes round them
    #[arg(long, value_name = "N", default_value = "1", value_parser = count(1))]
    topics: u64,

    /// Subscribe to bench.> instead of to each topic by name
    #[arg(long)]
    wildcard: bool,

    /// Payload in bytes, or a range to choose from: 100..2000 (both ends included)
    #[arg(long, value_name = "BYTES[..BYTES]", default_value = "128", value_parser = Sizes::parse)]
    size: Sizes,

    /// Seed of the choice of sizes
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Publish this many messages, of all publishers together
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = count(1))]
    messages: Option<u64>,

    /// Publish for this long [default: 5]
    #[arg(long, value_name = "S", value_parser = positive)]
    seconds: Option<f64>,

    /// Messages a second of all publishers together, on schedule; latency then counts from the
    /// time a message was due [default: as fast as it goes]
    #[arg(long, value_name = "R", value_parser = positive)]
    rate: Option<f64>,

    /// Number every message and prove order, content, no gap and no duplicate (slower)
    #[arg(long)]
    verify: bool,

    /// Repeat, and report median, least and greatest
    #[arg(long, value_name = "N", default_value = "1", value_parser = count(1))]
    runs: u64,

    /// Print ratios against the report that --json wrote to this file earlier
    #[arg(long, value_name = "FILE.json")]
    baseline: Option<PathBuf>,

    /// Report as one JSON document
    #[arg(long, conflicts_with = "csv")]
    json: bool,

    /// Report as CSV: a header, and a row for each run
    #[arg(long)]
    csv: bool,

    /// Also write a page with plots to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,

    /// Print version
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
}

const AFTER_HELP: &str = "\
Latency: with --rate every message is timed, from when it was due. As fast as it goes, the first \
message of each block of up to 64 KiB is timed, of which a sample is looked at; it then says how \
long messages wait in full sockets, not how fast a broker can answer.\n\n\
Confirmed: each publisher ends with a PING; published are those before its PONG.\n\n\
Requests: each requester has an inbox of its own (_INBOX.*), each request a topic in it to be \
answered at. One that is not answered within 3 s is lost.\n\n\
Environment: BROKER_USER stands for --user, and BROKER_SECRET is the secret itself.\n\n\
Ctrl-C ends the run, and its figures so far are told; a second one ends the program.\n\n\
Exit status: 0 fine; 1 failed, interrupted, or --verify found an error or a loss; 2 wrong usage.";

/// How the report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One document.
    Json,
    /// A header and a row for each run.
    Csv,
}

impl BenchArgs {
    /// What they ask for.
    ///
    /// # Errors
    /// Usage, where they do not fit together.
    pub(crate) fn plan(&self) -> Result<Plan, Failure> {
        let protocol = self.protocol;
        let requests = self.requests.then(|| Requests {
            responders: self.responders.unwrap_or(1) as usize,
            window: self.window.unwrap_or(1) as usize,
        });
        let wrong = match protocol {
            Protocol::Native if requests.is_some() => {
                Some("--requests needs --protocol nats: the native protocol has no answers")
            }
            Protocol::Nats if self.subscriber_port.is_some() => {
                Some("-s has no meaning with --protocol nats: one port, -p, is for all clients")
            }
            Protocol::Nats if self.subscriber_socket.is_some() => {
                Some("--subscriber-socket has no meaning with --protocol nats: one is for all")
            }
            Protocol::Native if self.socket.is_some() && self.subscriber_socket.is_none() => {
                Some("--socket needs --subscriber-socket beside it: each role has its own")
            }
            _ if self.tls.is_on() && self.place() == Place::Embedded => {
                Some("--tls needs a broker that has a certificate: name it with -h, -p and -s")
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Err(Failure::Usage(wrong.to_owned()));
        }
        self.check_size()?;
        let amount = match self.messages {
            Some(messages) => Amount::Messages(messages),
            None => {
                let seconds = self.seconds.unwrap_or(DEFAULT_SECONDS);
                let time = Duration::try_from_secs_f64(seconds)
                    .map_err(|error| Failure::Usage(format!("--seconds {seconds}: {error}")))?;
                Amount::Time(time)
            }
        };
        Ok(Plan {
            place: self.place(),
            broker_pid: self.broker_pid,
            protocol,
            credentials: self.credentials.read().map_err(Failure::Usage)?,
            publishers: self.publishers as usize,
            subscribers: if self.has_subscribers() { self.subscribers as usize } else { 0 },
            topics: self.topics as usize,
            wildcard: self.wildcard,
            sizes: self.size,
            seed: self.seed,
            amount,
            rate: self.rate,
            verify: self.verify,
            runs: self.runs as usize,
            requests,
        })
    }

    /// How the report is printed.
    pub(crate) fn format(&self) -> Format {
        match (self.json, self.csv) {
            (true, _) => Format::Json,
            (_, true) => Format::Csv,
            _ => Format::Text,
        }
    }

    /// The earlier report to compare with.
    pub(crate) fn baseline(&self) -> Option<&PathBuf> {
        self.baseline.as_ref()
    }

    /// Where the page with plots goes.
    pub(crate) fn html(&self) -> Option<&PathBuf> {
        self.html.as_ref()
    }

    fn has_subscribers(&self) -> bool {
        !self.no_subscribers && !self.requests
    }

    /// Whether payloads have room for what they carry.
    fn check_size(&self) -> Result<(), Failure> {
        let sizes = self.size;
        let (least, why) = match (self.verify, self.rate) {
            (true, _) => (NUMBERED_BYTES, "--verify"),
            (false, Some(_)) if self.has_subscribers() => (STAMP_BYTES, "--rate"),
            _ => return Ok(()),
        };
        if sizes.least < least {
            return Err(Failure::Usage(format!(
                "--size {sizes} is too small: with {why} a payload carries {least} bytes of its own"
            )));
        }
        Ok(())
    }

    fn place(&self) -> Place {
        let is_native = self.protocol == Protocol::Native;
        if let Some(socket) = &self.socket {
            let subscriber = self.subscriber_socket.as_ref().unwrap_or(socket).clone();
            return Place::Sockets { publisher: socket.clone(), subscriber };
        }
        let said = (&self.host, self.publisher_port, self.subscriber_port);
        if is_native && said == (&None, None, None) {
            return Place::Embedded;
        }
        let host = self.host.as_deref().unwrap_or(DEFAULT_HOST);
        // `[::1]` is how an IPv6 address is written in front of a port.
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let (publisher_port, subscriber_port) = match self.protocol {
            Protocol::Native => (
                self.publisher_port.unwrap_or(DEFAULT_PUBLISHER_PORT),
                self.subscriber_port.unwrap_or(DEFAULT_SUBSCRIBER_PORT),
            ),
            Protocol::Nats => {
                let one = self.publisher_port.unwrap_or(nats::DEFAULT_PORT);
                (one, one)
            }
        };
        let tls = self.tls.is_on().then(|| self.tls.clone());
        Place::At { host: bare.unwrap_or(host).to_owned(), publisher_port, subscriber_port, tls }
    }
}

fn port() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..)
}

fn count(least: u64) -> clap::builder::RangedU64ValueParser {
    // Far above what a machine can hold, so that sums of them cannot overflow.
    clap::value_parser!(u64).range(least..1 << 48)
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1e9 => Ok(value),
        _ => Err("expected a number above 0, at most 1000000000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn plan(args: &str) -> Result<Plan, String> {
        let args = ["bench-publisher"].into_iter().chain(args.split_whitespace());
        let args = BenchArgs::try_parse_from(args).map_err(|error| error.to_string())?;
        args.plan().map_err(|failure| failure.to_string())
    }

    #[test]
    fn flags_do_not_collide() {
        BenchArgs::command().debug_assert();
    }

    #[test]
    fn any_part_of_an_address_means_a_broker_that_is_there() {
        assert_eq!(plan("").unwrap().place, Place::Embedded);
        let at = |host: &str, publisher_port, subscriber_port| Place::At {
            host: host.to_owned(),
            publisher_port,
            subscriber_port,
            tls: None,
        };
        assert_eq!(plan("-h ::1").unwrap().place, at("::1", 9000, 9090));
        assert_eq!(plan("-h [::1] -p 1").unwrap().place, at("::1", 1, 9090));
        assert_eq!(plan("-s 2").unwrap().place, at("127.0.0.1", 9000, 2));
        assert_eq!(plan("--protocol nats").unwrap().place, at("127.0.0.1", 4222, 4222));
        let nats = plan("--protocol nats -h ::1 --port 5").unwrap();
        assert_eq!(nats.place, at("::1", 5, 5));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for args in [
            "--size 19 --verify",
            "--size 4..100 --rate 10",
            "--messages 1 --seconds 1",
            "--no-subscribers --verify",
            "--json --csv",
            "--rate 0",
            "--rate nan",
            "--publishers 0",
            "--size 9..8",
            "-p 0",
            "--seconds -1",
            "--protocol mqtt",
            "--protocol nats -s 1",
            "--requests",
            "--protocol nats --window 2",
            "--protocol nats --responders 2",
            "--protocol nats --requests --subscribers 2",
            "--protocol nats --requests --window 0",
            "--protocol nats --requests --verify --size 19",
            "--socket x",
            "--socket x --subscriber-socket y -p 1",
            "--protocol nats --socket x --subscriber-socket y",
            "--tls",
            "-p 1 --ca x",
            "-p 1 --tls --cert x",
        ] {
            assert!(plan(args).is_err(), "{args}");
        }
        assert!(plan("--size 20 --verify").is_ok());
        assert!(plan("--size 0").is_ok());
        let plan = plan("--protocol nats --requests --requesters 3 --rate 10 --size 0").unwrap();
        assert_eq!((plan.publishers, plan.subscribers), (3, 0));
        assert_eq!(plan.requests, Some(Requests { responders: 1, window: 1 }));
    }
}
