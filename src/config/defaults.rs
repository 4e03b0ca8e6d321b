//! The configuration that the defaults of the table make.
//!
//! Owns nothing: each field's value is its row's.

use std::time::Duration;

use log::LevelFilter;

use super::{
    ClientCertificates, Config, Limits, Link, LinkTls, Log, LogFormat, Monitor, Network, Overflow,
    SETTINGS, Timeouts, Tls, TlsMode, UsersFile,
};
use crate::engine::access::Grants;
use crate::engine::rules::OverflowPolicy;

/// The configuration that the table's defaults make.
pub(super) fn defaults() -> Config {
    // Every field is overwritten by its row; the table's test fails if one is not.
    let mut config = Config {
        network: Network {
            host: String::new(),
            publisher_port: 0,
            subscriber_port: 0,
            nats_port: None,
            publisher_socket: None,
            subscriber_socket: None,
            nats_socket: None,
            socket_mode: 0,
            socket_group: None,
            max_connections: 0,
            read_bytes: 0,
            unsent_bytes: 0,
        },
        tls: Tls {
            certificate: None,
            key: None,
            mode: TlsMode::Off,
            client_ca: None,
            client_certificates: ClientCertificates::None,
            client_crl: None,
            nats_handshake_first: false,
        },
        limits: Limits {
            max_payload: 0,
            max_subscriptions: 0,
            nats_max_subscriptions: 0,
            outbox_bytes: 0,
            nats_outbox_bytes: 0,
            memory_bytes: 0,
        },
        overflow: Overflow {
            policy: OverflowPolicy::Block,
            nats_policy: OverflowPolicy::Block,
            stall_timeout: Duration::ZERO,
            nats_stall_timeout: Duration::ZERO,
            min_rate_bytes_per_second: 0,
        },
        timeouts: Timeouts {
            hello: Duration::ZERO,
            heartbeat: Duration::ZERO,
            drain: Duration::ZERO,
        },
        log: Log { level: LevelFilter::Off, file: None, format: LogFormat::Auto },
        monitor: Monitor { address: None, topics: Vec::new(), busiest: 0, user: None },
        users: UsersFile { file: None, anonymous: None },
        link: link(),
    };
    for setting in SETTINGS {
        let applied = setting.apply(&mut config, setting.default);
        assert!(applied.is_ok(), "default of [{}] {} is valid", setting.section, setting.key);
    }
    config
}

/// To be overwritten, as all the others.
fn link() -> Link {
    Link {
        servers: Vec::new(),
        name: None,
        cluster: String::new(),
        user: None,
        secret_file: None,
        nkey_file: None,
        credentials: None,
        tls: LinkTls::No,
        tls_first: false,
        ca: None,
        certificate: None,
        key: None,
        export: Grants::default(),
        import: Grants::default(),
        forward: Vec::new(),
        policy: OverflowPolicy::Block,
        buffer_bytes: 0,
        reconnect_min: Duration::ZERO,
        reconnect_max: Duration::ZERO,
    }
}
