//! TLS as `openssl s_client` and raw bytes meet it, against a real broker process.

#[path = "../support/mod.rs"]
mod support;

// Certificates, keys and settings that cannot be used.
mod configuration;
// Handshakes: whole, in parts, broken, never done; certificates of clients.
mod handshake;
// SIGHUP with new certificates, authorities and lists.
mod reload;
// Thousands of handshakes at once, and figures.
mod storm;
// Messages, large and many, over all ports and the monitor.
mod traffic;

use support::{Broker, Certificates};

/// A broker with the certificate `broker`, and these settings.
fn broker(certificates: &Certificates, settings: &[(&str, &str)]) -> Broker {
    Broker::with(
        &with(certificates, settings).iter().map(|(a, b)| (*a, b.as_str())).collect::<Vec<_>>(),
    )
}

/// The settings of such a broker.
fn with<'a>(certificates: &Certificates, settings: &[(&'a str, &str)]) -> Vec<(&'a str, String)> {
    let own = certificates.settings("broker").into_iter();
    own.chain(settings.iter().map(|(name, value)| (*name, (*value).to_owned()))).collect()
}
