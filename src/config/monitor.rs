//! Whether the monitor's address is one of the broker's own.
//!
//! Owns what counts as the same address without asking for names. Must not resolve or bind any.

use std::net::IpAddr;

use super::Network;

/// Who connects to the port that the monitor's `host:port` would be bound on, if it is one of the
/// broker's.
pub(super) fn taken_port(network: &Network, address: &str) -> Option<&'static str> {
    let (host, port) = address.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let taken = network.ports().into_iter().find(|(taken, _)| *taken == port)?;
    overlap(&network.host, host).then_some(taken.1)
}

/// Whether both are bound on one address, as far as their text tells.
fn overlap(one: &str, other: &str) -> bool {
    let address = |host: &str| match host {
        "localhost" => "127.0.0.1".parse().ok(),
        host => host.parse::<IpAddr>().ok(),
    };
    match (address(one), address(other)) {
        (Some(one), Some(other)) => one == other || one.is_unspecified() || other.is_unspecified(),
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_brokers_own_ports_are_recognised() {
        let of = |host: &str, address: &str| {
            let network = Network { host: host.into(), ..Config::default().network };
            taken_port(&network, address)
        };
        assert_eq!(of("127.0.0.1", "127.0.0.1:9000"), Some("publishers"));
        assert_eq!(of("localhost", "127.0.0.1:9090"), Some("subscribers"));
        assert_eq!(of("0.0.0.0", "10.0.0.1:9000"), Some("publishers"));
        assert_eq!(of("::1", "[::1]:9000"), Some("publishers"));
        assert_eq!(of("127.0.0.1", "10.0.0.1:9000"), None);
        assert_eq!(of("127.0.0.1", "127.0.0.1:9190"), None);
        assert_eq!(of("127.0.0.1", "127.0.0.1:0"), None);
    }
}
