//! Where the connection goes, and how.
//!
//! Owns what `-h` and `-p` mean together, and the names in the errors when it cannot be reached.
//! Does not connect.

use std::env;
use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process;
use std::sync::Arc;

use pubsub_client::{ClientError, ConnectOptions, ErrorCode};

use super::args::Connection;
use super::defaults::{self, Defaults};
use super::report::{Failure, explain};
use crate::credentials::{Credentials, advice};

/// Which of the two programs connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    Publisher,
    Subscriber,
}

/// Where to connect, and how.
#[derive(Debug)]
pub(super) struct Target {
    program: Program,
    places: Vec<Place>,
    pub(super) options: ConnectOptions,
    /// Who it says that it is.
    credentials: Option<Credentials>,
}

/// A host and a port.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    host: String,
    port: u16,
}

impl Program {
    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Program::Publisher => "publisher",
            Program::Subscriber => "subscriber",
        }
    }

    fn port(self, defaults: &Defaults) -> u16 {
        match self {
            Program::Publisher => defaults.publisher_port,
            Program::Subscriber => defaults.subscriber_port,
        }
    }

    /// Who connects to the other port.
    fn other(self) -> Program {
        match self {
            Program::Publisher => Program::Subscriber,
            Program::Subscriber => Program::Publisher,
        }
    }
}

impl Target {
    /// What the arguments say, and `config.ini` where they do not.
    pub(super) fn of(program: Program, args: &Connection) -> Result<Target, Failure> {
        let places =
            if args.socket.is_some() { Vec::new() } else { Target::places(program, args)? };
        let id = args.id.clone();
        let id = id.unwrap_or_else(|| format!("{}-{}", program.name(), process::id()));
        let mut options = ConnectOptions::new().id(id).local_port(args.local_port);
        if let Some(path) = &args.socket {
            options = options.unix_socket(path);
        }
        let usage = |error: ClientError| Failure::Usage(error.to_string());
        let credentials = args.credentials.read().map_err(Failure::Usage)?;
        if let Some(credentials) = &credentials {
            options = credentials.apply(options);
        }
        options.validate().map_err(usage)?;
        if let Some(tls) = args.tls.of(places.first().map(|place: &Place| place.host.as_str())) {
            let is_clear = args.tls.has_name() || places.iter().all(|it| it.host == places[0].host);
            if !is_clear {
                let text = "--tls with several hosts needs --server-name, which holds for all";
                return Err(Failure::Usage(text.to_owned()));
            }
            options = options.tls(&tls).map_err(usage)?;
        }
        Ok(Target { program, places, options, credentials })
    }

    fn places(program: Program, args: &Connection) -> Result<Vec<Place>, Failure> {
        let environment = Environment::read(program)?;
        let port = args.port.or(environment.port);
        let given = match (&args.host, &environment.host) {
            (Some(list), _) => Some(places(list, args.port)),
            // The command line takes precedence over the environment here too.
            (None, Some(list)) => Some(places(list, None)),
            (None, None) => None,
        };
        let given = given.transpose().map_err(Failure::Usage)?;
        let given = given.map(|given| with_port(given, port, args));
        let is_whole = |given: &Vec<(String, Option<u16>)>| given.iter().all(|one| one.1.is_some());
        let places = match given {
            // If everything is given, an invalid config.ini does not matter.
            Some(given) if is_whole(&given) => given,
            given => {
                let defaults = defaults::load()?;
                let port = port.unwrap_or(program.port(&defaults));
                let given = given.unwrap_or_else(|| vec![(defaults.host, None)]);
                given.into_iter().map(|(host, own)| (host, own.or(Some(port)))).collect()
            }
        };
        let place = |(host, port): (String, Option<u16>)| Some(Place { host, port: port? });
        Ok(places.into_iter().filter_map(place).collect())
    }

    /// All addresses, in the order in which they are tried. They are looked up each time: a broker
    /// that was restarted may have another one.
    ///
    /// # Errors
    /// `Resolve`, if no host has an address, with the first host's name.
    pub(super) fn addresses(&self) -> Result<Vec<SocketAddr>, ClientError> {
        let mut found = Vec::new();
        let mut failure = None;
        if self.places.is_empty() {
            // It is a Unix socket.
            return Ok(found);
        }
        for Place { host, port } in &self.places {
            match (host.as_str(), *port).to_socket_addrs() {
                Ok(addresses) => found.extend(addresses),
                Err(error) => {
                    failure.get_or_insert(Error::new(error.kind(), format!("{host}: {error}")));
                }
            }
        }
        if found.is_empty() {
            let none = || Error::new(ErrorKind::NotFound, "the name has no address");
            return Err(ClientError::Resolve(Arc::new(failure.unwrap_or_else(none))));
        }
        Ok(found)
    }

    /// The error in a line, with a hint where a mistake is likely.
    pub(super) fn explain(&self, error: &ClientError) -> String {
        let text = explain(error);
        let refusal = match error {
            ClientError::ClosedByBroker(refusal) => refusal,
            ClientError::Tls(_) => return format!("{text}; {}", advice_on_tls(&text)),
            _ => return text,
        };
        match refusal.known_code() {
            Some(ErrorCode::NotAllowed) => {}
            Some(ErrorCode::Unauthorized) => {
                return format!("{text}; {}", advice(self.credentials.as_ref()));
            }
            _ => return text,
        }
        if self.places.is_empty() {
            return format!("{text}; is that the {}s' socket?", self.program.other().name());
        }
        let ports: Vec<_> = self.places.iter().map(|place| place.port.to_string()).collect();
        let (ports, other) = (ports.join(", "), self.program.other().name());
        format!("{text}; is {ports} the {other}s' port? ({} needs its own)", self.program.name())
    }
}

/// What to do about an error of TLS, by its text.
fn advice_on_tls(text: &str) -> &'static str {
    let rows = [
        ("UnknownIssuer", "trust its root with --ca"),
        ("BadSignature", "trust its root, which only has the same name, with --ca"),
        ("CaUsedAsEndEntity", "a root cannot be the broker's certificate: have it sign one"),
        ("not valid for name", "name what its certificate is for with --server-name"),
        ("Expired", "the broker needs a new certificate"),
        ("CertificateRequired", "show a certificate with --cert and --key"),
        ("InvalidContentType", "what listens there does not speak TLS: leave out --tls"),
    ];
    let found = rows.iter().find(|(words, _)| text.contains(words));
    found.map_or("the broker's log at level debug says more", |(_, advice)| advice)
}

/// What the environment says where the command line does not.
struct Environment {
    host: Option<String>,
    port: Option<u16>,
}

impl Environment {
    fn read(program: Program) -> Result<Environment, Failure> {
        let value = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let name = match program {
            Program::Publisher => "BROKER_PUBLISHER_PORT",
            Program::Subscriber => "BROKER_SUBSCRIBER_PORT",
        };
        let port = value(name).map(|text| match text.parse() {
            Ok(port) if port != 0 => Ok(port),
            _ => Err(Failure::Usage(format!("{name}={text}: expected a port"))),
        });
        Ok(Environment { host: value("BROKER_HOST"), port: port.transpose()? })
    }
}

/// The places with a port for those that have none; one that was typed is for all of them.
fn with_port(
    given: Vec<(String, Option<u16>)>,
    port: Option<u16>,
    args: &Connection,
) -> Vec<(String, Option<u16>)> {
    given.into_iter().map(|(host, own)| (host, args.port.or(own).or(port))).collect()
}

/// Hosts separated by commas, each with a port behind it, or with that of `-p`, or without.
fn places(list: &str, port: Option<u16>) -> Result<Vec<(String, Option<u16>)>, String> {
    let place = |text: &str| {
        let (host, own) = split(text)?;
        match (own, port) {
            (Some(own), Some(port)) if own != port => {
                Err(format!("-h {text} names port {own}, and -p {port}: leave one of them out"))
            }
            _ => Ok((host, own.or(port))),
        }
    };
    list.split(',').map(str::trim).map(place).collect()
}

/// `HOST`, `HOST:PORT`, `[ADDRESS]` or `[ADDRESS]:PORT`; an IPv6 address without brackets has no
/// port behind it.
fn split(text: &str) -> Result<(String, Option<u16>), String> {
    let bad = || format!("-h {text}: expected HOST, HOST:PORT or [ADDRESS]:PORT");
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(bad)?;
            (
                host,
                if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(bad)?) },
            )
        }
        None if text.matches(':').count() == 1 => {
            text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
        }
        None => (text, None),
    };
    let port = port.map(|port| port.parse().ok().filter(|port| *port != 0).ok_or_else(bad));
    if host.is_empty() { Err(bad()) } else { Ok((host.to_owned(), port.transpose()?)) }
}

#[cfg(test)]
mod tests {
    use pubsub_client::ClientError;

    use super::*;

    #[test]
    fn a_host_may_bring_its_port() {
        let rows = [
            ("a", None, "a", None),
            ("a", Some(7), "a", Some(7)),
            ("a:9", None, "a", Some(9)),
            ("a:9", Some(9), "a", Some(9)),
            ("::1", Some(9), "::1", Some(9)),
            ("[::1]", None, "::1", None),
            ("[::1]:9", None, "::1", Some(9)),
        ];
        for (text, port, host, expected) in rows {
            assert_eq!(places(text, port), Ok(vec![(host.to_owned(), expected)]), "{text}");
        }
        let two = vec![("a".to_owned(), Some(1)), ("b".to_owned(), None)];
        assert_eq!(places("a:1, b", None), Ok(two));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["", "a:", "a:x", "a:0", "a:65536", "[::1", "[::1]9", "[]:1", ":9", "a,,b"] {
            assert!(places(text, None).is_err(), "{text}");
        }
        let error = places("a:9", Some(8)).unwrap_err();
        assert!(error.contains("port 9") && error.contains("-p 8"), "{error}");
    }

    #[test]
    fn an_unknown_host_is_named() {
        let place = |host: &str| Place { host: host.to_owned(), port: 1 };
        let target = |hosts: &[&str]| Target {
            program: Program::Publisher,
            places: hosts.iter().map(|host| place(host)).collect(),
            options: ConnectOptions::new(),
            credentials: None,
        };
        // A name with an empty label is not even asked for.
        let error = target(&["no..such"]).addresses().unwrap_err();
        assert!(matches!(error, ClientError::Resolve(_)));
        assert!(explain(&error).contains("no..such: "), "{}", explain(&error));
        let found = target(&["no..such", "127.0.0.1"]).addresses().unwrap();
        assert_eq!(found, [SocketAddr::from(([127, 0, 0, 1], 1))]);
    }
}
