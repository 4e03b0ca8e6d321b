//! The link as the hub sees it: a hub by a script, or none at all, and a real broker process that
//! dials it.

#[path = "../support/mod.rs"]
mod support;

// `broker --check-link`.
mod check;
// What is no hub: silent, garbage, endless, another port.
mod dial;
// Joining, who the broker is, being refused, losing the hub, and finding the next one.
mod join;
// SIGHUP with other settings of the link, and with others.
mod reload;
// TLS in front of INFO and behind it, and certificates that do not hold.
mod tls;

use std::os::unix::fs::PermissionsExt;

use support::{Broker, Hub, TempDir};

/// The settings of a broker that dials these servers, soon and again soon.
fn settings<'a>(servers: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let own = [
        ("link.servers", servers),
        ("link.name", "broker-1"),
        ("link.reconnect_min", "0.05"),
        ("link.reconnect_max", "0.2"),
    ];
    own.iter().chain(more).copied().collect()
}

/// A broker with such settings.
fn broker(servers: &str, more: &[(&str, &str)]) -> Broker {
    let dir = TempDir::new();
    dir.write("config.ini", &support::process::ini(&settings(servers, more)));
    Broker::run(dir, &["-s", "0", "-p", "0"])
}

/// The address of a hub, as a setting has it.
fn at(hub: &Hub) -> String {
    hub.address.to_string()
}

/// A file that nobody else may read; its name as a setting has it.
fn secret(dir: &TempDir, name: &str, text: &str) -> String {
    let path = dir.write(name, text);
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, mode).expect("it is ours");
    path.display().to_string()
}
