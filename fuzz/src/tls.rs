//! Any bytes at a port that may speak TLS, in any pieces, before there is a session.
//!
//! The input says who has to speak TLS, which port it is and how large the pieces are; the rest are
//! the client's bytes. Whatever they are, they come to a session, to a close or to waiting: nothing
//! panics, what is kept is bounded, where TLS has to be spoken nothing is answered in plain text,
//! and nothing is left behind.

use std::cell::RefCell;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use broker::config::{Config, TlsMode};
use broker::engine::sessions::connection::Role;
use broker::engine::turn::Readiness;
use broker::net::secured::{Secrets, Secured};

/// What one session may hold, in bytes, as docs/security.md has it.
const MOST_HELD: usize = 256 << 10;
/// Beyond the time for a handshake and HELLO.
const LONG: Duration = Duration::from_secs(60);
/// What TLS begins with.
const CLIENT_HELLO: u8 = 0x16;
/// Bytes of a script in front of those that are sent.
const HEAD: usize = 4;

/// Made for this alone: it protects nothing.
const PEM: &str = include_str!("../fixtures/broker.pem");
const KEY: &str = include_str!("../fixtures/broker.key");

/// Who has to speak TLS, which the first two bits of a script say.
#[derive(Clone, Copy)]
struct Port {
    is_required: bool,
    /// NATS clients begin TLS before they are told anything.
    is_first: bool,
    role: Role,
}

impl Port {
    fn of(byte: u8) -> Port {
        let role = [Role::PUBLISHER, Role::SUBSCRIBER, Role::NATS, Role::NATS];
        Port {
            is_required: byte & 1 == 0,
            is_first: byte & 2 != 0,
            role: role[usize::from(byte >> 2 & 3)],
        }
    }

    fn is_nats(self) -> bool {
        self.role == Role::NATS
    }
}

/// The configurations, in the order of the two bits.
fn configurations() -> Vec<(Config, Secrets)> {
    let dir = tempfile::tempdir().expect("there is room for two files");
    let [pem, key] = [("broker.pem", PEM), ("broker.key", KEY)].map(|(name, text)| {
        let path = dir.path().join(name);
        fs::write(&path, text).expect("there is room for it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        path
    });
    let all = (0..4).map(|bits| {
        let mut config = Config::default();
        config.network.nats_port = Some(0);
        config.tls.certificate = Some(pem.clone());
        config.tls.key = Some(key.clone());
        config.tls.mode = if bits & 1 == 0 { TlsMode::Required } else { TlsMode::Optional };
        config.tls.nats_handshake_first = bits & 2 != 0;
        let secrets = Secrets::load(&config).expect("the files are good");
        (config, secrets)
    });
    all.collect()
}

thread_local! {
    /// Made once: reading a key takes longer than all else.
    static CONFIGURATIONS: RefCell<Vec<(Config, Secrets)>> = RefCell::default();
}

/// Runs a script.
pub fn check(data: &[u8]) {
    CONFIGURATIONS.with_borrow_mut(|all| {
        if all.is_empty() {
            *all = configurations();
        }
        let Some((head, bytes)) = data.split_at_checked(HEAD) else { return };
        let (config, secrets) = &all[usize::from(head[0] & 3)];
        play(&mut Secured::new(config, secrets), Port::of(head[0]), &head[1..], bytes);
    });
}

fn play(broker: &mut Secured, port: Port, sizes: &[u8], mut bytes: &[u8]) {
    let (token, mut client) = broker.connect(port.role).expect("there are sockets");
    let mut heard = Vec::new();
    broker.event(token, Readiness { writable: true, ..Readiness::default() });
    let first = bytes.first().copied();
    let mut is_open = listen(&mut client, &mut heard);
    for size in sizes.iter().cycle() {
        if bytes.is_empty() || !is_open {
            break;
        }
        // None at all would be no piece; 0 stands for the rest.
        let size = if *size == 0 { bytes.len() } else { usize::from(*size).min(bytes.len()) };
        match client.write(&bytes[..size]) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        broker.event(token, Readiness { readable: true, writable: true, ..Readiness::default() });
        is_open = listen(&mut client, &mut heard);
        let (_, held) = broker.held();
        assert!(held <= MOST_HELD, "a session holds {held} bytes");
    }
    // Nobody is waited for in a handshake for ever, nor without HELLO. Who may as well be silent
    // has the time twice, once before it has begun.
    broker.pass(LONG);
    broker.pass(LONG);
    is_open = listen(&mut client, &mut heard) && is_open;
    let is_silent_native = first.is_none() && !port.is_nats();
    let may_stay = !port.is_required && first != Some(CLIENT_HELLO) && !is_silent_native;
    assert!(!is_open || may_stay, "it is waited for");
    check_answers(port, first, &heard);
    // It fails only if the broker has closed before.
    let _ = client.shutdown(Shutdown::Both);
    drop(client);
    let end = Readiness { readable: true, writable: true, ended: true, ..Readiness::default() };
    broker.event(token, end);
    broker.pass(LONG);
    assert_eq!(broker.connections(), 0, "it has gone");
    assert_eq!(broker.held(), (0, 0), "nothing is held");
}

/// Takes what the broker says; whether its side is still open.
fn listen(client: &mut UnixStream, heard: &mut Vec<u8>) -> bool {
    match client.read_to_end(heard) {
        Ok(_) => false,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// Where TLS has to be spoken, or is, nothing comes in plain text but INFO in front of it.
fn check_answers(port: Port, first: Option<u8>, heard: &[u8]) {
    let is_plain = !port.is_required && first.is_some_and(|byte| byte != CLIENT_HELLO);
    if is_plain {
        return;
    }
    let mut rest = heard;
    if port.is_nats() && !port.is_first && rest.starts_with(b"INFO ") {
        let end = rest.iter().position(|byte| *byte == b'\n').expect("INFO is one line");
        rest = &rest[end + 1..];
    }
    // A handshake, an alert, or what a client of TLS 1.3 ignores.
    let is_record = matches!(rest.first(), None | Some(0x14..=0x16));
    assert!(is_record, "said in plain text: {}", rest.escape_ascii());
}
