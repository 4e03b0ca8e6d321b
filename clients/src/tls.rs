//! The flags of TLS, which all programs have.
//!
//! Owns what they mean together. Does not connect.

use std::path::PathBuf;

use clap::Args;
use pubsub_client::Tls;

/// Flags of TLS.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct TlsArgs {
    /// Connect in TLS
    #[arg(long)]
    tls: bool,

    /// PEM file of the roots to trust [default: those that this machine trusts]
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca: Option<PathBuf>,

    /// PEM file of a certificate to show to the broker
    #[arg(long, value_name = "FILE", requires_all = ["tls", "key"])]
    cert: Option<PathBuf>,

    /// PEM file of its private key
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// Name that the broker's certificate has to be for [default: the host that is connected to]
    #[arg(long, value_name = "NAME", requires = "tls")]
    server_name: Option<String>,
}

impl TlsArgs {
    /// What is asked for, of a broker at this host; `None`: plain connections.
    pub(crate) fn of(&self, host: Option<&str>) -> Option<Tls> {
        if !self.tls {
            return None;
        }
        let mut tls = Tls::new();
        if let Some(ca) = &self.ca {
            tls = tls.ca_file(ca);
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            tls = tls.certificate(cert, key);
        }
        if let Some(name) = self.server_name.as_deref().or(host) {
            tls = tls.server_name(name);
        }
        Some(tls)
    }

    /// Whether it is asked for at all.
    pub(crate) fn is_on(&self) -> bool {
        self.tls
    }

    /// Whether a name is given that holds for all hosts.
    pub(crate) fn has_name(&self) -> bool {
        self.server_name.is_some()
    }
}
