//! What can be set, section by section.
//!
//! Owns the types, and what follows from the settings of one section alone. Must not know how they
//! are written.

use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;

use crate::engine::rules::OverflowPolicy;
use crate::engine::sessions::connection::Role;

/// Addresses, connections and reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Address or name that all ports are bound on.
    pub host: String,
    /// Port for publishers; 0: any free one.
    pub publisher_port: u16,
    /// Port for subscribers; 0: any free one.
    pub subscriber_port: u16,
    /// Port for NATS clients; 0: any free one; `None`: off.
    pub nats_port: Option<u16>,
    /// Unix socket for publishers beside their port; `None`: off.
    pub publisher_socket: Option<PathBuf>,
    /// Unix socket for subscribers beside their port; `None`: off.
    pub subscriber_socket: Option<PathBuf>,
    /// Unix socket for NATS clients; `None`: off.
    pub nats_socket: Option<PathBuf>,
    /// Permissions of the files of Unix sockets.
    pub socket_mode: u32,
    /// Name or number of the group that has them; `None`: the broker's own.
    pub socket_group: Option<String>,
    /// Connections at a time, all ports together.
    pub max_connections: usize,
    /// Bytes that one read takes at most; also what one connection may bring into one turn.
    pub read_bytes: usize,
    /// Bytes that a socket takes which cannot be sent yet; 0: what the kernel allows.
    pub unsent_bytes: usize,
}

/// Whether and how connections over ports are encrypted.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// The file of the certificate and those between it and its root; `None`: none.
    pub certificate: Option<PathBuf>,
    /// The file of its key; `None`: none.
    pub key: Option<PathBuf>,
    /// Who has to speak TLS, as it is set.
    pub mode: TlsMode,
    /// The file of the roots that certificates of clients come from; `None`: none.
    pub client_ca: Option<PathBuf>,
    /// Whether clients have to show certificates.
    pub client_certificates: ClientCertificates,
    /// The file of certificates that were revoked; `None`: none.
    pub client_crl: Option<PathBuf>,
    /// NATS clients begin TLS before they are told anything.
    pub nats_handshake_first: bool,
}

/// Who has to speak TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// All clients, if there is a certificate.
    Auto,
    /// None may.
    Off,
    /// Each as it likes.
    Optional,
    /// All have to.
    Required,
}

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked for any.
    None,
    /// Those that have one show it.
    Optional,
    /// All have to.
    Required,
}

impl Tls {
    /// Who has to speak TLS; not `Auto`.
    pub fn mode(&self) -> TlsMode {
        match (self.mode, &self.certificate) {
            (TlsMode::Auto, None) => TlsMode::Off,
            (TlsMode::Auto, Some(_)) => TlsMode::Required,
            (mode, _) => mode,
        }
    }

    /// # Errors
    /// Which of the settings do not fit each other.
    pub(super) fn validate(&self) -> Result<(), String> {
        let needs = |has: bool, what: &str, other: &str| match has {
            true => Ok(()),
            false => Err(format!("[tls] {what} needs [tls] {other}: set both, or neither")),
        };
        if self.certificate.is_some() {
            needs(self.key.is_some(), "certificate", "key")?;
        }
        if self.key.is_some() {
            needs(self.certificate.is_some(), "key", "certificate")?;
        }
        if matches!(self.mode, TlsMode::Optional | TlsMode::Required) {
            needs(self.certificate.is_some(), "mode", "certificate and key")?;
        }
        if self.client_certificates != ClientCertificates::None {
            needs(self.client_ca.is_some(), "client_certificates", "client_ca")?;
        }
        if self.client_crl.is_some() {
            needs(self.client_ca.is_some(), "client_crl", "client_ca")?;
        }
        Ok(())
    }
}

/// What one client, and all of them together, may use.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// The largest payload, in bytes.
    pub max_payload: usize,
    /// Subscriptions of one connection.
    pub max_subscriptions: usize,
    /// Subscriptions of one NATS connection.
    pub nats_max_subscriptions: usize,
    /// Bytes that may wait for one subscriber.
    pub outbox_bytes: usize,
    /// Bytes that may wait for one NATS client.
    pub nats_outbox_bytes: usize,
    /// Bytes of all inboxes and outboxes together.
    pub memory_bytes: usize,
}

/// What happens to a subscriber that is slower than its messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Overflow {
    /// The policy.
    pub policy: OverflowPolicy,
    /// The policy for NATS clients.
    pub nats_policy: OverflowPolicy,
    /// How long a subscriber may hold up publishers below `min_rate_bytes_per_second`.
    pub stall_timeout: Duration,
    /// How long a NATS client may hold up others, or be held up.
    pub nats_stall_timeout: Duration,
    /// Bytes a second that a subscriber that holds up publishers must take; 0: none.
    pub min_rate_bytes_per_second: usize,
}

/// How long things may take.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeouts {
    /// From connecting to a whole HELLO.
    pub hello: Duration,
    /// Silence after which a client is sent PING, and after twice of which it is closed; zero:
    /// never.
    pub heartbeat: Duration,
    /// From the signal to stop until what is still undelivered is given up.
    pub drain: Duration,
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// The least important level that is written.
    pub level: LevelFilter,
    /// The file to append to; `None`: standard error.
    pub file: Option<PathBuf>,
    /// How a line looks.
    pub format: LogFormat,
}

/// The HTTP port for whoever watches the broker.
#[derive(Debug, Clone, PartialEq)]
pub struct Monitor {
    /// The address and port to listen on, as `host:port`; port 0: any free one; `None`: off.
    pub address: Option<String>,
    /// Topics and filters whose figures are always shown.
    pub topics: Vec<String>,
    /// How many of the busiest topics are shown beside them.
    pub busiest: usize,
    /// The user whose name and secret are asked for; `None`: everyone may read.
    pub user: Option<String>,
}

/// Where the users stand.
#[derive(Debug, Clone, PartialEq)]
pub struct UsersFile {
    /// The file; `None`: there are no users, and everyone may do everything.
    pub file: Option<PathBuf>,
    /// The user whose rights clients have that show nothing; `None`: they are refused.
    pub anonymous: Option<String>,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `Journal` where standard error is connected to the journal, else `Text`.
    Auto,
    /// Time, level, text.
    Text,
    /// A priority prefix (`<6>`) and the text; the journal adds the time.
    Journal,
}

impl Network {
    /// The ports that are asked for, and who connects to each.
    pub(super) fn ports(&self) -> Vec<(u16, &'static str)> {
        let native = [(self.publisher_port, "publishers"), (self.subscriber_port, "subscribers")];
        native.into_iter().chain(self.nats_port.map(|port| (port, "NATS clients"))).collect()
    }

    /// The Unix sockets that are asked for, with the keys of their settings.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let all = [
            ("publisher_socket", &self.publisher_socket),
            ("subscriber_socket", &self.subscriber_socket),
            ("nats_socket", &self.nats_socket),
        ];
        all.into_iter().filter_map(|(key, path)| Some((key, path.as_deref()?)))
    }

    /// The Unix socket for clients of a role, with the key of its setting.
    pub fn socket_of(&self, role: Role) -> Option<(&'static str, &Path)> {
        self.sockets().find(|(key, _)| *key == role.socket_key())
    }

    /// Whether NATS clients are asked for.
    pub fn has_nats(&self) -> bool {
        self.nats_port.is_some() || self.nats_socket.is_some()
    }
}
