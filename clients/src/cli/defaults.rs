//! Host and port when the user left them out: what `config.ini` says, else the protocol's defaults.
//!
//! Reads four settings of the broker's configuration and nothing else of it, so that broker and
//! clients in one folder agree without flags. Errors elsewhere in the file are left to the
//! broker to report.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use ini::{Ini, ParseOption};
use pubsub_client::{DEFAULT_PUBLISHER_PORT, DEFAULT_SUBSCRIBER_PORT};

use super::report::Failure;

/// The file that is read if it is there.
const FILE: &str = "config.ini";
/// The one that the broker's service reads.
const MACHINES_FILE: &str = "/etc/broker/config.ini";
/// The section that the three settings stand in.
const SECTION: &str = "network";

/// Where the broker is, as far as its configuration says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Defaults {
    pub(super) host: String,
    pub(super) publisher_port: u16,
    pub(super) subscriber_port: u16,
    /// Where the monitor is, if it has an address that can be known.
    pub(super) monitor: Option<String>,
}

impl Default for Defaults {
    fn default() -> Defaults {
        Defaults {
            host: Ipv4Addr::LOCALHOST.to_string(),
            publisher_port: DEFAULT_PUBLISHER_PORT,
            subscriber_port: DEFAULT_SUBSCRIBER_PORT,
            monitor: None,
        }
    }
}

/// Reads the first of these that there is: `./config.ini`, the user's, the machine's.
pub(super) fn load() -> Result<Defaults, Failure> {
    for path in files(env::var_os("XDG_CONFIG_HOME"), env::var_os("HOME")) {
        let found = read(&path).map_err(|what| {
            let hint = "host and port come from config.ini unless -h and -p are both given";
            Failure::Usage(format!("{what}\n{hint}"))
        })?;
        if let Some(found) = found {
            return Ok(found);
        }
    }
    Ok(Defaults::default())
}

fn files(config_home: Option<OsString>, home: Option<OsString>) -> Vec<PathBuf> {
    // By the XDG base directory specification, a relative path is ignored.
    let config_home = config_home.map(PathBuf::from).filter(|path| path.is_absolute());
    let users = config_home.or_else(|| Some(PathBuf::from(home?).join(".config")));
    let users = users.map(|folder| folder.join("broker").join(FILE));
    [Some(FILE.into()), users, Some(MACHINES_FILE.into())].into_iter().flatten().collect()
}

/// What a file says. `None`: it is not there.
fn read(path: &Path) -> Result<Option<Defaults>, String> {
    let name = path.display();
    match fs::read_to_string(path) {
        Ok(text) => parse(&text).map(Some).map_err(|what| format!("{name}: {what}")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        // The machine's may be for the broker alone.
        Err(error) if error.kind() == ErrorKind::PermissionDenied && path.is_absolute() => Ok(None),
        Err(error) => Err(format!("{name}: cannot be read: {error}")),
    }
}

fn parse(text: &str) -> Result<Defaults, String> {
    let options = ParseOption { enabled_escape: false, ..ParseOption::default() };
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let ini = Ini::load_from_str_opt(text, options)
        .map_err(|error| format!("line {}: it is not understood", error.line + 1))?;
    let value = |key: &str| ini.section(Some(SECTION)).and_then(|section| section.get(key));
    let port = |key: &str, default: u16| match value(key).map(|text| (text, text.parse())) {
        None => Ok(default),
        // The broker took a free port: only its log knows which.
        Some((_, Ok(0))) => Ok(default),
        Some((_, Ok(port))) => Ok(port),
        Some((text, Err(_))) => Err(format!("[{SECTION}] {key} = {text}: expected a port")),
    };
    let default = Defaults::default();
    Ok(Defaults {
        host: value("host").map_or(default.host, reachable),
        publisher_port: port("publisher_port", default.publisher_port)?,
        subscriber_port: port("subscriber_port", default.subscriber_port)?,
        monitor: ini.section(Some("monitor")).and_then(|found| monitor(found.get("address")?)),
    })
}

/// The monitor's address as it is reached; with port 0 the broker took a free one.
fn monitor(address: &str) -> Option<String> {
    let (host, port) = address.trim().rsplit_once(':')?;
    let host = reachable(host);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    (port != "0").then(|| format!("{host}:{port}"))
}

/// A broker that listens on all addresses is reached through the loopback address.
fn reachable(host: &str) -> String {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Ipv6Addr::LOCALHOST.to_string(),
        _ => bare.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_settings_are_read_and_the_rest_is_left_to_the_broker() {
        let found = parse("[log]\nlevel = ?\n[network]\nhost = ::\nsubscriber_port=7\nodd = 1\n");
        let expected =
            Defaults { host: "::1".to_owned(), subscriber_port: 7, ..Defaults::default() };
        assert_eq!(found, Ok(expected));
        assert_eq!(parse(""), Ok(Defaults::default()));
        for (address, expected) in [
            ("0.0.0.0:9190", Some("127.0.0.1:9190")),
            ("[::]:9190", Some("[::1]:9190")),
            ("localhost:7", Some("localhost:7")),
            ("127.0.0.1:0", None),
        ] {
            let found = parse(&format!("[monitor]\naddress = {address}\n")).unwrap();
            assert_eq!(found.monitor.as_deref(), expected, "{address}");
        }
        assert_eq!(parse("[network]\npublisher_port = 0\n"), Ok(Defaults::default()));
    }

    #[test]
    fn the_folder_comes_before_the_user_and_the_user_before_the_machine() {
        let shown = |config_home: Option<&str>, home: Option<&str>| -> Vec<String> {
            let files = files(config_home.map(Into::into), home.map(Into::into));
            files.iter().map(|path| path.display().to_string()).collect()
        };
        let machine = "/etc/broker/config.ini";
        let expected = ["config.ini", "/x/broker/config.ini", machine];
        assert_eq!(shown(Some("/x"), Some("/h")), expected);
        let expected = ["config.ini", "/h/.config/broker/config.ini", machine];
        assert_eq!(shown(Some("odd"), Some("/h")), expected);
        assert_eq!(shown(None, None), ["config.ini", machine]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let rows = [
            ("[network]\npublisher_port = x\n", "[network] publisher_port = x: expected a port"),
            ("[network]\nhost\n", "line "),
        ];
        for (text, expected) in rows {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn wildcard_addresses_become_loopback() {
        let rows = [
            ("0.0.0.0", "127.0.0.1"),
            ("::", "::1"),
            ("[::]", "::1"),
            ("0:0:0:0:0:0:0:0", "::1"),
            ("10.0.0.1", "10.0.0.1"),
            ("localhost", "localhost"),
        ];
        for (host, expected) in rows {
            assert_eq!(reachable(host), expected);
        }
    }
}
