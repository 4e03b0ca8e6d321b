//! The section `[link]`: which hubs the broker dials, who it is there, and what may cross.
//!
//! Owns its types, how servers are written, and what follows from the settings of this section
//! alone. Must not read the files that it names, nor look a name up.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use wire::leaf::DEFAULT_PORT;

use crate::engine::access::Grants;
use crate::engine::link::LinkRules;
use crate::engine::rules::OverflowPolicy;

/// Servers in the list.
const MAX_SERVERS: usize = 64;
/// Bytes of a server's name or address: as many as a name can have.
const MAX_HOST_BYTES: usize = 253;
/// Bytes of the name of a broker or a cluster.
const MAX_NAME_BYTES: usize = 255;
/// What a list of servers is.
const LIST: &str = "hosts with their ports for leaf nodes, separated by commas, like \
                    hub1.example:7422, hub2.example:7422";

/// The link to a NATS cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// The hubs, one of which is dialled at a time; empty: there is no link.
    pub servers: Vec<Server>,
    /// What this broker is called there; `None`: by its host and its first port.
    pub name: Option<String>,
    /// Brokers of one name are not sent each other's messages by a hub; empty: a name of its own.
    pub cluster: String,
    /// The user that the broker is at the hub; `None`: none with a name.
    pub user: Option<String>,
    /// The file of that user's password, or without a user of a token; `None`: none.
    pub secret_file: Option<PathBuf>,
    /// The file of the seed of a key that signs; `None`: none.
    pub nkey_file: Option<PathBuf>,
    /// The file of a signed statement and its seed, as `nsc` makes it; `None`: none.
    pub credentials: Option<PathBuf>,
    /// Whether the link is encrypted.
    pub tls: LinkTls,
    /// TLS begins before the hub says anything.
    pub tls_first: bool,
    /// The file of the roots that the hub's certificate has to come from; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The file of the certificate that is shown to the hub; `None`: none.
    pub certificate: Option<PathBuf>,
    /// The file of its key; `None`: none.
    pub key: Option<PathBuf>,
    /// Topics that may be sent to the hub.
    pub export: Grants,
    /// Topics that are taken from it.
    pub import: Grants,
    /// Filters of topics that are sent though the hub does not ask for them.
    pub forward: Vec<String>,
    /// What happens when the hub is slower than what is for it: not `Disconnect`.
    pub policy: OverflowPolicy,
    /// Bytes that may wait for the hub.
    pub buffer_bytes: usize,
    /// The shortest wait between two attempts.
    pub reconnect_min: Duration,
    /// The longest, unless the hub gives a reason for a longer one.
    pub reconnect_max: Duration,
}

/// Whether the link is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkTls {
    /// If the hub asks for it.
    Auto,
    /// In any case.
    Yes,
    /// In no case.
    No,
}

/// A port for leaf nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// An address or a name.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Server {
    /// Reads `host` or `host:port`, where an IPv6 address with a port stands in brackets.
    pub fn parse(text: &str) -> Option<Server> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, behind) = rest.split_once(']')?;
                host.parse::<Ipv6Addr>().ok()?;
                (host, if behind.is_empty() { None } else { Some(behind.strip_prefix(':')?) })
            }
            None if text.parse::<Ipv6Addr>().is_ok() => (text, None),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || "[]/@,".contains(c);
        if !(1..=MAX_HOST_BYTES).contains(&host.len()) || host.contains(is_odd) {
            return None;
        }
        let digits = port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        let port = port.map_or(Some(DEFAULT_PORT), |port| port.parse().ok());
        let port = port.filter(|port| digits && *port > 0)?;
        Some(Server { host: host.to_owned(), port })
    }

    /// Whether both are the same, as far as that can be told without a look-up.
    pub fn is(&self, other: &Server) -> bool {
        self.port == other.port && self.host.eq_ignore_ascii_case(&other.host)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Server { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Servers separated by commas, or nothing.
pub(super) fn servers(text: &str) -> Result<Vec<Server>, String> {
    let mut servers: Vec<Server> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|_| !text.is_empty()) {
        if part.contains("://") {
            return Err(format!("{LIST}; {part:?}: take away what ends in ://"));
        }
        let server = Server::parse(part).ok_or_else(|| format!("{LIST}; {part:?} is none"))?;
        if servers.iter().any(|other| other.is(&server)) {
            return Err(format!("each server once; {part:?} is given twice"));
        }
        servers.push(server);
    }
    if servers.len() > MAX_SERVERS {
        return Err(format!("{MAX_SERVERS} servers at most, not {}", servers.len()));
    }
    Ok(servers)
}

/// Servers as they are written.
pub(super) fn show_servers(servers: &[Server]) -> String {
    servers.iter().map(Server::to_string).collect::<Vec<_>>().join(", ")
}

/// A name, or nothing.
pub(super) fn optional_name(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let is_good = text.len() <= MAX_NAME_BYTES && !text.contains(char::is_control);
    let expected = || format!("1 to {MAX_NAME_BYTES} bytes without control characters, or nothing");
    is_good.then(|| Some(text.into())).ok_or_else(expected)
}

/// The name of a cluster, or nothing.
pub(super) fn cluster(text: &str) -> Result<String, String> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control();
    let is_good = text.len() <= MAX_NAME_BYTES && !text.contains(is_odd);
    let expected =
        || format!("a name of {MAX_NAME_BYTES} bytes at most without blanks, or nothing");
    is_good.then(|| text.into()).ok_or_else(expected)
}

impl Link {
    /// Whether there is one.
    pub fn is_on(&self) -> bool {
        !self.servers.is_empty()
    }

    /// Whether the broker comes to hold secrets for it.
    pub(super) fn has_secrets(&self) -> bool {
        let files = [&self.secret_file, &self.nkey_file, &self.credentials, &self.key];
        self.is_on() && files.iter().any(|file| file.is_some())
    }

    /// What of it the broker's core works by.
    pub fn rules(&self) -> LinkRules {
        let forward = self.forward.iter().map(|filter| filter.as_bytes().into());
        LinkRules {
            export: self.export.clone(),
            import: self.import.clone(),
            forward: forward.collect(),
        }
    }

    /// # Errors
    /// Which of the settings do not fit each other.
    pub(super) fn validate(&self) -> Result<(), String> {
        let [user, secret] = [self.user.is_some(), self.secret_file.is_some()];
        if user && !secret {
            return Err("[link] user needs [link] secret_file, the file of its password".into());
        }
        let ways = [
            ("secret_file", secret),
            ("nkey_file", self.nkey_file.is_some()),
            ("credentials", self.credentials.is_some()),
        ];
        let ways: Vec<_> = ways.iter().filter(|(_, is_set)| *is_set).map(|(key, _)| *key).collect();
        if let [first, second, ..] = ways[..] {
            return Err(format!(
                "[link] {first} and {second} are both set: the hub takes one of them"
            ));
        }
        if self.certificate.is_some() != self.key.is_some() {
            return Err("[link] certificate and key need each other: set both, or neither".into());
        }
        let uses_tls = [
            ("tls_first", self.tls_first),
            ("ca", self.ca.is_some()),
            ("certificate", self.certificate.is_some()),
        ];
        if self.tls == LinkTls::No
            && let Some((key, _)) = uses_tls.iter().find(|(_, is_set)| *is_set)
        {
            return Err(format!("[link] {key} does not fit tls = no: take one of them away"));
        }
        if self.reconnect_min > self.reconnect_max {
            return Err("[link] reconnect_min is longer than reconnect_max: swap them".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn servers_have_a_host_and_usually_a_port() {
        for (text, expected) in [
            ("hub", "hub:7422"),
            ("hub:1", "hub:1"),
            ("10.0.0.1:65535", "10.0.0.1:65535"),
            ("::1", "[::1]:7422"),
            ("[::1]", "[::1]:7422"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(Server::parse(text).unwrap().to_string(), expected);
        }
        let long = "x".repeat(254);
        for text in [
            "", ":1", "a:", "a:0", "a:65536", "a:+1", "a b", "a:1:2", "[a]:1", "[::1]1", "u@a:1",
            "nats://a", "[]", &long,
        ] {
            assert_eq!(Server::parse(text), None, "{text}");
        }
    }

    #[test]
    fn lists_of_servers_are_read_and_shown_alike() {
        assert_eq!(servers(""), Ok(Vec::new()));
        let list = servers("a:1 ,b, [::1]:2").unwrap();
        assert_eq!(show_servers(&list), "a:1, b:7422, [::1]:2");
        assert_eq!(servers(&show_servers(&list)), Ok(list));
        for (text, says) in [
            ("a,", "is none"),
            ("a, A:7422", "given twice"),
            ("nats-leaf://a:7422", "take away"),
            (&(0..65).map(|n| format!("h{n}")).collect::<Vec<_>>().join(","), "64 servers"),
        ] {
            let error = servers(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn settings_that_do_not_fit_each_other_are_told() {
        let rows: [(&str, &str); 6] = [
            ("user = u", "needs [link] secret_file"),
            ("secret_file = s\nnkey_file = k", "both set"),
            ("certificate = c", "set both"),
            ("tls = no\ntls_first = yes", "does not fit tls = no"),
            ("tls = no\nca = c", "does not fit tls = no"),
            ("reconnect_min = 31", "swap them"),
        ];
        for (text, says) in rows {
            let config = Config::parse(&format!("[link]\n{text}\n"), "c.ini".as_ref()).unwrap();
            let error = config.link.validate().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        let text = "[link]\nservers = a\nuser = u\nsecret_file = s\ntls_first = yes\n";
        let config = Config::parse(text, "c.ini".as_ref()).unwrap();
        assert_eq!(config.link.validate(), Ok(()));
        assert!(config.has_secrets() && !Config::default().has_secrets());
        assert!(config.link.is_on() && !Config::default().link.is_on());
    }

    #[test]
    fn what_servers_use_among_themselves_does_not_cross_by_default() {
        let rules = Config::default().link.rules();
        for (topic, sent, taken) in [
            ("a", true, true),
            ("$JS.API.INFO", true, true),
            ("$KV.bucket.key", true, true),
            ("$SYS.REQ.USER.INFO", false, false),
            ("$JS.EVENT.ADVISORY.API", false, false),
            ("$LDS.x", false, false),
            // Answers to what came from another cluster or account.
            ("_GR_.x.y._INBOX.1", true, false),
            ("_R_.x.y", true, false),
        ] {
            assert_eq!(rules.export.has(topic.as_bytes()), sent, "{topic}");
            assert_eq!(rules.import.has(topic.as_bytes()), taken, "{topic}");
        }
        assert_eq!(rules.forward.len(), 2);
    }
}
