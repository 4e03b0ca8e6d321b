//! The one table of settings: section, key, default, help, and how a value is read and shown.
//!
//! `config.ini`, the manual and the messages about bad values are made from it.

use log::LevelFilter;

use super::value::{
    choice, chosen, count, file, filters, grants, group, host_and_port, optional_port, permissions,
    port, seconds, show_grants, show_path, show_seconds, show_size, size, socket_path,
};
use super::{ClientCertificates, Config, LinkTls, LogFormat, TlsMode, link, monitor, users};
use crate::engine::routing::counts::MAX_LISTED;
use crate::engine::rules::OverflowPolicy;

const POLICIES: &[(&str, OverflowPolicy)] = &[
    ("block", OverflowPolicy::Block),
    ("drop", OverflowPolicy::Drop),
    ("disconnect", OverflowPolicy::Disconnect),
];
const LEVELS: &[(&str, LevelFilter)] = &[
    ("off", LevelFilter::Off),
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
];
const TLS_MODES: &[(&str, TlsMode)] = &[
    ("auto", TlsMode::Auto),
    ("off", TlsMode::Off),
    ("optional", TlsMode::Optional),
    ("required", TlsMode::Required),
];
const CLIENT_CERTIFICATES: &[(&str, ClientCertificates)] = &[
    ("none", ClientCertificates::None),
    ("optional", ClientCertificates::Optional),
    ("required", ClientCertificates::Required),
];
const YES_OR_NO: &[(&str, bool)] = &[("no", false), ("yes", true)];
const LINK_TLS: &[(&str, LinkTls)] =
    &[("auto", LinkTls::Auto), ("yes", LinkTls::Yes), ("no", LinkTls::No)];
const LINK_POLICIES: &[(&str, OverflowPolicy)] =
    &[("drop", OverflowPolicy::Drop), ("block", OverflowPolicy::Block)];
const FORMATS: &[(&str, LogFormat)] =
    &[("auto", LogFormat::Auto), ("text", LogFormat::Text), ("journal", LogFormat::Journal)];

/// A day: no time-out needs to be longer.
const DAY: f64 = 86_400.0;
/// Filters that are sent over the link unasked: each is looked at for a topic that is new.
const MAX_FORWARDED: usize = 1_000;
/// Keys of `[link]` that name files.
const LINK_FILES: [&str; 6] =
    ["secret_file", "nkey_file", "credentials", "ca", "certificate", "key"];

/// One setting of `config.ini`.
pub struct Setting {
    /// Its section.
    pub section: &'static str,
    /// Its key.
    pub key: &'static str,
    /// Its default, as it would be written.
    pub default: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    /// Whether a running broker takes a new value when it reads its file again. Without a word in
    /// the table it does not: what was not thought about must not change under way.
    pub reloads: bool,
    read: fn(&mut Config, &str) -> Result<(), String>,
    show: fn(&Config) -> String,
}

impl Setting {
    /// Sets it from text.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn apply(&self, config: &mut Config, text: &str) -> Result<(), String> {
        (self.read)(config, text)
    }

    /// Whether nothing that is written there can be refused.
    pub(super) fn takes_any_text(&self) -> bool {
        [("log", "file"), ("users", "file")].contains(&(self.section, self.key))
            || (self.section == "network" && self.key.ends_with("_socket"))
            || (self.section == "tls" && !["mode", "client_certificates"].contains(&self.key))
            || (self.section == "link" && LINK_FILES.contains(&self.key))
    }

    /// Its value in `config`, as it would be written.
    pub fn show(&self, config: &Config) -> String {
        (self.show)(config)
    }
}

/// Makes a row of the table; `$config` names the configuration in both expressions. A row that
/// begins with `reload` is one that a running broker takes a new value of.
macro_rules! setting {
    (reload $section:literal, $($rest:tt)*) => {
        Setting { reloads: true, ..setting!($section, $($rest)*) }
    };
    ($section:literal, $key:literal, $default:literal, $help:literal,
     |$config:ident, $text:ident| $place:expr => $read:expr, $show:expr) => {
        Setting {
            section: $section,
            key: $key,
            default: $default,
            help: $help,
            reloads: false,
            read: |$config, $text| {
                $place = $read?;
                Ok(())
            },
            show: |$config| $show,
        }
    };
}

/// All settings, in the order of `config.ini`.
pub const SETTINGS: &[Setting] = &[
    setting!("network", "host", "127.0.0.1", "address or name that all ports are bound on",
        |c, t| c.network.host => host(t), c.network.host.clone()),
    setting!("network", "publisher_port", "9000", "publishers connect here; 0 takes a free port",
        |c, t| c.network.publisher_port => port(t), c.network.publisher_port.to_string()),
    setting!("network", "subscriber_port", "9090", "subscribers connect here; 0 takes a free port",
        |c, t| c.network.subscriber_port => port(t), c.network.subscriber_port.to_string()),
    setting!("network", "nats_port", "",
        "NATS clients connect here, usually 4222; 0 takes a free port; empty: off",
        |c, t| c.network.nats_port => optional_port(t),
        c.network.nats_port.map_or(String::new(), |port| port.to_string())),
    setting!("network", "publisher_socket", "",
        "path of a Unix socket for publishers, beside their port; empty: none",
        |c, t| c.network.publisher_socket => socket_path(t),
        show_path(c.network.publisher_socket.as_deref())),
    setting!("network", "subscriber_socket", "",
        "path of a Unix socket for subscribers, beside their port; empty: none",
        |c, t| c.network.subscriber_socket => socket_path(t),
        show_path(c.network.subscriber_socket.as_deref())),
    setting!("network", "nats_socket", "",
        "path of a Unix socket for NATS clients; empty: none",
        |c, t| c.network.nats_socket => socket_path(t),
        show_path(c.network.nats_socket.as_deref())),
    setting!("network", "socket_mode", "0660",
        "permissions of Unix sockets, octal: who may write to one may connect",
        |c, t| c.network.socket_mode => permissions(t), format!("{:04o}", c.network.socket_mode)),
    setting!("network", "socket_group", "",
        "group that Unix sockets belong to, a name or a number; empty: the broker's own",
        |c, t| c.network.socket_group => group(t),
        c.network.socket_group.clone().unwrap_or_default()),
    setting!(reload "network", "max_connections", "10000",
        "connections at a time, all ports together",
        |c, t| c.network.max_connections => count(t, 1..=1_000_000),
        c.network.max_connections.to_string()),
    setting!("network", "read_bytes", "128KiB", "bytes that one read takes at most",
        |c, t| c.network.read_bytes => size(t, 64..=16 << 20),
        show_size(c.network.read_bytes as u64)),
    setting!("network", "unsent_bytes", "256KiB",
        "bytes that a socket takes which cannot be sent yet; 0: what the kernel allows",
        |c, t| c.network.unsent_bytes => size(t, 0..=1 << 30),
        show_size(c.network.unsent_bytes as u64)),
    setting!(reload "tls", "certificate", "",
        "PEM file of the broker's certificate and those that lead to its root; empty: no TLS",
        |c, t| c.tls.certificate => file(t), show_path(c.tls.certificate.as_deref())),
    setting!(reload "tls", "key", "",
        "PEM file of its private key, which nobody else may read",
        |c, t| c.tls.key => file(t), show_path(c.tls.key.as_deref())),
    setting!(reload "tls", "mode", "auto",
        "off, optional (TLS and plain on one port), required, or auto: required with a certificate",
        |c, t| c.tls.mode => choice(t, TLS_MODES), chosen(&c.tls.mode, TLS_MODES)),
    setting!(reload "tls", "client_ca", "",
        "PEM file of the roots that certificates of clients have to come from",
        |c, t| c.tls.client_ca => file(t), show_path(c.tls.client_ca.as_deref())),
    setting!(reload "tls", "client_certificates", "none",
        "whether clients show certificates: none, optional or required",
        |c, t| c.tls.client_certificates => choice(t, CLIENT_CERTIFICATES),
        chosen(&c.tls.client_certificates, CLIENT_CERTIFICATES)),
    setting!(reload "tls", "client_crl", "",
        "PEM file of lists of revoked certificates of clients; empty: none",
        |c, t| c.tls.client_crl => file(t), show_path(c.tls.client_crl.as_deref())),
    setting!(reload "tls", "nats_handshake_first", "no",
        "whether NATS clients begin TLS before they are told anything: yes or no",
        |c, t| c.tls.nats_handshake_first => choice(t, YES_OR_NO),
        chosen(&c.tls.nats_handshake_first, YES_OR_NO)),
    setting!("limits", "max_payload", "1MiB", "the largest payload of a message",
        |c, t| c.limits.max_payload => size(t, 0..=1 << 30),
        show_size(c.limits.max_payload as u64)),
    setting!(reload "limits", "max_subscriptions", "10000", "subscriptions of one connection",
        |c, t| c.limits.max_subscriptions => count(t, 0..=10_000_000),
        c.limits.max_subscriptions.to_string()),
    setting!(reload "limits", "nats_max_subscriptions", "1000000",
        "subscriptions of one NATS connection",
        |c, t| c.limits.nats_max_subscriptions => count(t, 0..=10_000_000),
        c.limits.nats_max_subscriptions.to_string()),
    setting!(reload "limits", "outbox_bytes", "8MiB", "bytes that may wait for one subscriber",
        |c, t| c.limits.outbox_bytes => size(t, 1..=1 << 40),
        show_size(c.limits.outbox_bytes as u64)),
    setting!(reload "limits", "nats_outbox_bytes", "64MiB",
        "bytes that may wait for one NATS client",
        |c, t| c.limits.nats_outbox_bytes => size(t, 1..=1 << 40),
        show_size(c.limits.nats_outbox_bytes as u64)),
    setting!(reload "limits", "memory_bytes", "512MiB",
        "bytes of all inboxes and outboxes together; subscriptions may take as much again",
        |c, t| c.limits.memory_bytes => size(t, 1..=1 << 44),
        show_size(c.limits.memory_bytes as u64)),
    setting!(reload "overflow", "policy", "block",
        "when a subscriber is too slow: block (publishers wait), drop (it is told), disconnect",
        |c, t| c.overflow.policy => choice(t, POLICIES), chosen(&c.overflow.policy, POLICIES)),
    setting!(reload "overflow", "nats_policy", "disconnect",
        "the same for NATS clients: block, drop (it is not told), disconnect",
        |c, t| c.overflow.nats_policy => choice(t, POLICIES),
        chosen(&c.overflow.nats_policy, POLICIES)),
    setting!(reload "overflow", "stall_timeout", "10",
        "block: seconds that a subscriber may hold up publishers below min_rate",
        |c, t| c.overflow.stall_timeout => seconds(t, 0.01..=DAY),
        show_seconds(c.overflow.stall_timeout)),
    setting!(reload "overflow", "nats_stall_timeout", "5",
        "block: seconds that a NATS client may hold up others, or be held up by anyone",
        |c, t| c.overflow.nats_stall_timeout => seconds(t, 0.01..=DAY),
        show_seconds(c.overflow.nats_stall_timeout)),
    setting!(reload "overflow", "min_rate", "1KiB",
        "block: bytes a second that it must take meanwhile; 0 lets it hold them up for ever",
        |c, t| c.overflow.min_rate_bytes_per_second => size(t, 0..=1 << 40),
        show_size(c.overflow.min_rate_bytes_per_second as u64)),
    setting!(reload "timeouts", "hello", "5", "seconds from connecting to a whole HELLO",
        |c, t| c.timeouts.hello => seconds(t, 0.01..=DAY), show_seconds(c.timeouts.hello)),
    setting!(reload "timeouts", "heartbeat", "30",
        "seconds of silence until a client is pinged, and twice that until it is closed; 0: never",
        |c, t| c.timeouts.heartbeat => heartbeat(t), show_seconds(c.timeouts.heartbeat)),
    setting!(reload "timeouts", "drain", "10",
        "seconds from the signal to stop until what is undelivered is given up",
        |c, t| c.timeouts.drain => seconds(t, 0.0..=DAY), show_seconds(c.timeouts.drain)),
    setting!(reload "log", "level", "info", "off, error, warn, info, debug or trace",
        |c, t| c.log.level => choice(t, LEVELS), chosen(&c.log.level, LEVELS)),
    setting!(reload "log", "file", "",
        "name of a file that lines are appended to; empty: standard error",
        |c, t| c.log.file => Ok::<_, String>((!t.is_empty()).then(|| t.into())),
        c.log.file.as_ref().map_or(String::new(), |file| file.display().to_string())),
    setting!(reload "log", "format", "auto",
        "text, journal (priority prefix, no time), or auto: journal when systemd is listening",
        |c, t| c.log.format => choice(t, FORMATS), chosen(&c.log.format, FORMATS)),
    setting!("monitor", "address", "",
        "host:port of the page, /metrics, /connections, /healthz; port 0: a free one; empty: off",
        |c, t| c.monitor.address => host_and_port(t),
        c.monitor.address.clone().unwrap_or_default()),
    setting!("monitor", "topics", "",
        "topics and filters that are always counted, separated by commas, 32 at most",
        |c, t| c.monitor.topics => filters(t, MAX_LISTED), c.monitor.topics.join(", ")),
    setting!("monitor", "busiest", "10", "how many of the busiest topics are shown beside them",
        |c, t| c.monitor.busiest => count(t, 0..=100), c.monitor.busiest.to_string()),
    setting!(reload "monitor", "user", "",
        "user whose name and secret are asked for (HTTP Basic), but for /healthz; empty: nobody's",
        |c, t| c.monitor.user => monitor::user(t), c.monitor.user.clone().unwrap_or_default()),
    setting!(reload "users", "file", "",
        "name of the file of users, like users.ini; empty: no users, everyone may do everything",
        |c, t| c.users.file => Ok::<_, String>((!t.is_empty()).then(|| t.into())),
        c.users.file.as_ref().map_or(String::new(), |file| file.display().to_string())),
    setting!(reload "users", "anonymous", "",
        "the user whose rights clients have that show nothing; empty: they are refused",
        |c, t| c.users.anonymous => users::optional_name(t),
        c.users.anonymous.clone().unwrap_or_default()),
    setting!(reload "link", "servers", "",
        "ports for leaf nodes of a NATS cluster to join, like hub1:7422, hub2:7422; empty: none",
        |c, t| c.link.servers => link::servers(t), link::show_servers(&c.link.servers)),
    setting!(reload "link", "name", "",
        "what this broker is called there, unlike all others; empty: by its host and port",
        |c, t| c.link.name => link::optional_name(t), c.link.name.clone().unwrap_or_default()),
    setting!(reload "link", "cluster", "",
        "the hub sends brokers of one name nothing of each other; empty: a name of its own",
        |c, t| c.link.cluster => link::cluster(t), c.link.cluster.clone()),
    setting!(reload "link", "user", "", "the hub's user that the broker is; empty: none",
        |c, t| c.link.user => link::optional_name(t), c.link.user.clone().unwrap_or_default()),
    setting!(reload "link", "secret_file", "",
        "file of one line: the user's password, or without a user a token",
        |c, t| c.link.secret_file => file(t), show_path(c.link.secret_file.as_deref())),
    setting!(reload "link", "nkey_file", "",
        "file of one line: the seed of an nkey, which begins with SU",
        |c, t| c.link.nkey_file => file(t), show_path(c.link.nkey_file.as_deref())),
    setting!(reload "link", "credentials", "", "file of a JWT and its seed, as nsc makes it",
        |c, t| c.link.credentials => file(t), show_path(c.link.credentials.as_deref())),
    setting!(reload "link", "tls", "auto",
        "whether the link is encrypted: yes, no, or auto: if the hub asks for it",
        |c, t| c.link.tls => choice(t, LINK_TLS), chosen(&c.link.tls, LINK_TLS)),
    setting!(reload "link", "tls_first", "no",
        "whether TLS begins at once, as hubs with handshake_first want it: yes or no",
        |c, t| c.link.tls_first => choice(t, YES_OR_NO), chosen(&c.link.tls_first, YES_OR_NO)),
    setting!(reload "link", "ca", "",
        "PEM file of the roots that the hub's certificate has to come from; empty: the system's",
        |c, t| c.link.ca => file(t), show_path(c.link.ca.as_deref())),
    setting!(reload "link", "certificate", "",
        "PEM file of a certificate to show to the hub; empty: none",
        |c, t| c.link.certificate => file(t), show_path(c.link.certificate.as_deref())),
    setting!(reload "link", "key", "", "PEM file of its private key, which nobody else may read",
        |c, t| c.link.key => file(t), show_path(c.link.key.as_deref())),
    setting!(reload "link", "export", ">, !$SYS.>, !$LDS.>, !$JS.EVENT.>",
        "topics and filters that may be sent to the hub, with ! in front of those that may not",
        |c, t| c.link.export => grants(t), show_grants(&c.link.export)),
    setting!(reload "link", "import", ">, !$SYS.>, !$LDS.>, !$JS.EVENT.>, !$GR.>, !_GR_.>, !_R_.>",
        "the same for those that are taken from it",
        |c, t| c.link.import => grants(t), show_grants(&c.link.import)),
    setting!(reload "link", "forward", "$KV.>, $OBJ.>",
        "topics and filters that are sent though the hub does not ask for them",
        |c, t| c.link.forward => filters(t, MAX_FORWARDED), c.link.forward.join(", ")),
    setting!(reload "link", "policy", "drop",
        "when the hub is slow or away: drop (messages for it are lost), block (they wait for it)",
        |c, t| c.link.policy => choice(t, LINK_POLICIES), chosen(&c.link.policy, LINK_POLICIES)),
    setting!(reload "link", "buffer_bytes", "64MiB", "bytes that may wait for the hub",
        |c, t| c.link.buffer_bytes => size(t, 1..=1 << 40),
        show_size(c.link.buffer_bytes as u64)),
    setting!(reload "link", "reconnect_min", "1",
        "seconds until the hub is dialled again, at least; up to twice that by chance",
        |c, t| c.link.reconnect_min => seconds(t, 0.01..=DAY), show_seconds(c.link.reconnect_min)),
    setting!(reload "link", "reconnect_max", "30",
        "the same at most, after several attempts in vain",
        |c, t| c.link.reconnect_max => seconds(t, 0.01..=DAY), show_seconds(c.link.reconnect_max)),
];

/// The text of `config.ini`: every setting with its default and a line on what it does.
pub fn config_file() -> String {
    let mut text = String::from(
        "; The broker's settings, each with its default. The broker also runs without this file.\n\
         ; Sizes are bytes, or take KiB, MiB, GiB. Times are seconds, decimals allowed.\n\
         ; Comments are lines that begin with ; or #: nothing may stand behind a value.\n\
         ; On SIGHUP the broker reads this file again; what is marked [restart] keeps its value.\n",
    );
    let mut section = "";
    for setting in SETTINGS {
        if setting.section != section {
            section = setting.section;
            text.push_str(&format!("\n[{section}]\n"));
        }
        let mark = if setting.reloads { "" } else { " [restart]" };
        let line = format!("; {}{mark}\n{} = {}", setting.help, setting.key, setting.default);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// An address or a name to listen on; an IPv6 address may stand in brackets.
///
/// # Errors
/// What was expected instead.
pub fn host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let bad = bare.is_empty() || bare.contains(|c: char| c.is_whitespace() || "[]".contains(c));
    if bad { Err("an address or a host name".into()) } else { Ok(bare.into()) }
}

fn heartbeat(text: &str) -> Result<std::time::Duration, String> {
    let duration = seconds(text, 0.0..=DAY)?;
    // Below that, a client could not answer in time however healthy it is.
    let too_short = !duration.is_zero() && duration < std::time::Duration::from_millis(10);
    if too_short { Err("0, or seconds from 0.01 to 86400".into()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_shown_as_it_is_written() {
        let config = Config::default();
        for setting in SETTINGS {
            assert_eq!(setting.show(&config), setting.default, "{}", setting.key);
        }
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn the_default_ports_are_those_that_clients_know() {
        let network = Config::default().network;
        let ports = (network.publisher_port, network.subscriber_port);
        let native = wire::native::DEFAULT_PUBLISHER_PORT;
        assert_eq!(ports, (native, wire::native::DEFAULT_SUBSCRIBER_PORT));
    }

    #[test]
    fn sections_stand_together_and_keys_once() {
        let mut names: Vec<_> = SETTINGS.iter().map(|s| (s.section, s.key)).collect();
        let mut sections: Vec<_> = SETTINGS.iter().map(|s| s.section).collect();
        sections.dedup();
        let expected =
            ["network", "tls", "limits", "overflow", "timeouts", "log", "monitor", "users", "link"];
        assert_eq!(sections, expected);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SETTINGS.len());
    }
}
