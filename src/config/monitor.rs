//! What the monitor's settings have to be beside the others: its address none of the broker's own,
//! and its user somebody whose secret does not cross a network in plain text.
//!
//! Owns what counts as the same address, or as this machine's own, without asking for names. Must
//! not resolve or bind any.

use std::net::IpAddr;
use std::path::Path;

use super::{Config, ConfigErrors, Network, TlsMode, users};
use crate::engine::access::Users;

/// # Errors
/// Which of the settings do not fit each other.
pub(super) fn validate(config: &Config) -> Result<(), String> {
    let (monitor, network) = (&config.monitor, &config.network);
    if let Some(address) = &monitor.address
        && let Some(role) = taken_port(network, address)
    {
        return Err(format!("[monitor] address = {address} is the {role}' port: give it another"));
    }
    let Some(name) = &monitor.user else { return Ok(()) };
    if config.users.file.is_none() {
        return Err(format!(
            "[monitor] user = {name} is nobody: name the file of users, [users] file, too"
        ));
    }
    // With TLS as an offer, a client that does not take it would send the secret all the same.
    if let Some(address) = &monitor.address
        && !is_loopback(address)
        && config.tls.mode() != TlsMode::Required
    {
        return Err(format!(
            "[monitor] user = {name}: its secret would come to {address} in plain text: set [tls] \
             certificate and key, with mode = auto or required, or listen on 127.0.0.1"
        ));
    }
    Ok(())
}

/// # Errors
/// That the monitor's user is not among them, or could show nothing.
pub(super) fn check_user(name: &str, users: &Users, path: &Path) -> Result<(), ConfigErrors> {
    let what = match users.named(name) {
        None => "is not in this file: add a section",
        Some(user) if user.secrets.is_empty() => "has no secret in this file: add a line to",
        Some(_) => return Ok(()),
    };
    let text = format!(
        "[monitor] user = {name} of the configuration {what} [{name}] (broker --new-secret makes \
         its secret), or take the setting away"
    );
    Err(ConfigErrors::one(path, 0, &text))
}

/// The name of a user, or nothing.
///
/// # Errors
/// What was expected instead.
pub(super) fn user(text: &str) -> Result<Option<String>, String> {
    match text.contains(':') {
        true => Err("a name without a colon, behind which HTTP has the secret, or nothing".into()),
        false => users::optional_name(text),
    }
}

/// Whether only this machine reaches a `host:port`, as far as its text tells.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let ip = bare(host).parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// A host without the brackets that an IPv6 address may have.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Who connects to the port that the monitor's `host:port` would be bound on, if it is one of the
/// broker's.
fn taken_port(network: &Network, address: &str) -> Option<&'static str> {
    let (host, port) = address.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    let taken = network.ports().into_iter().find(|(taken, _)| *taken == port)?;
    overlap(&network.host, bare(host)).then_some(taken.1)
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
    fn a_secret_is_not_asked_for_where_others_could_read_it() {
        let of = |address: &str, mode| {
            let mut config = Config::default();
            config.monitor.address = Some(address.into());
            config.monitor.user = Some("ann".into());
            config.users.file = Some("users.ini".into());
            config.tls.mode = mode;
            validate(&config)
        };
        for own in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:1", "localhost:1"] {
            assert_eq!(of(own, TlsMode::Off), Ok(()), "{own}");
        }
        for other in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "broker.example:1"] {
            for mode in [TlsMode::Off, TlsMode::Optional] {
                let error = of(other, mode).unwrap_err();
                assert!(error.contains("in plain text") && error.contains(other), "{error}");
            }
            assert_eq!(of(other, TlsMode::Required), Ok(()), "{other}");
        }
        let mut config = Config::default();
        config.monitor.user = Some("ann".into());
        assert!(validate(&config).unwrap_err().contains("name the file of users"));
        assert!(user("a:b").is_err());
        assert_eq!((user(""), user("a b")), (Ok(None), Ok(Some("a b".into()))));
    }

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
