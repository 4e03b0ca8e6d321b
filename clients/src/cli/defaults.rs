//! Host and port when the user left them out: what `config.ini` says, else the broker's defaults.
//!
//! Reads the broker's own configuration, so that broker and clients agree without flags.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use broker::config::Config;

use super::report::Failure;

/// Where the broker is, as far as its configuration tells.
pub(super) struct Defaults {
    pub(super) host: String,
    pub(super) publisher_port: u16,
    pub(super) subscriber_port: u16,
}

/// Reads `./config.ini` if there is one.
pub(super) fn load() -> Result<Defaults, Failure> {
    let config = Config::load(None).map_err(|errors| {
        Failure::Usage(format!(
            "{errors}\nhost and port come from config.ini unless -h and -p are both given"
        ))
    })?;
    Ok(Defaults {
        host: reachable(&config.network.host),
        publisher_port: config.network.publisher_port,
        subscriber_port: config.network.subscriber_port,
    })
}

/// A broker that listens on all addresses is reached through the loopback address.
fn reachable(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Ipv6Addr::LOCALHOST.to_string(),
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn wildcard_addresses_become_loopback() {
        let rows = [
            ("0.0.0.0", "127.0.0.1"),
            ("::", "::1"),
            ("0:0:0:0:0:0:0:0", "::1"),
            ("10.0.0.1", "10.0.0.1"),
            ("localhost", "localhost"),
        ];
        for (host, expected) in rows {
            assert_eq!(reachable(host), expected);
        }
    }
}
