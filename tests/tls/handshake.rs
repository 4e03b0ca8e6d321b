//! Proves that handshakes come to their end or to that of the connection, whatever the other side
//! sends, and who is let in with which certificate.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::broker;
use crate::support::{Broker, Certificates, Http, NatsPeer, PATIENCE, Peer, Relay, eventually};

/// A client that has sent these bytes.
fn raw(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes its options");
    stream.write_all(bytes).expect("it is open");
    stream
}

/// Reads to the end, however it comes: an alert at most.
fn ends(mut stream: TcpStream) {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
}

/// The first bytes that a client sends.
pub(crate) fn client_hello(certificates: &Certificates) -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let relay = certificates.client(listener.local_addr().expect("it is bound"), "");
    let _client = TcpStream::connect(relay.address).expect("it listens");
    let (mut stream, _) = listener.accept().expect("it connects");
    let mut bytes = vec![0; 4_096];
    let count = stream.read(&mut bytes).expect("it says something");
    bytes.truncate(count);
    bytes
}

fn is_alive(certificates: &Certificates, broker: &Broker) {
    let relay = certificates.client(broker.subscribers, "");
    Peer::connect(relay.address).hello(b"alive").subscribe(b"t", b"");
}

#[test]
fn a_handshake_may_come_one_byte_at_a_time() {
    let certificates = Certificates::new();
    let broker = broker(&certificates, &[]);
    let parts = Relay::in_parts(broker.subscribers, 1);
    let relay = certificates.client(parts.address, "");
    let mut peer = Peer::connect(relay.address).hello(b"slow");
    peer.subscribe(b"t", b"");
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let certificates = Certificates::new();
    let broker = broker(&certificates, &[("network.nats_port", "0")]);
    let hello = client_hello(&certificates);
    assert_eq!(hello[0], 0x16);
    let rows: [Vec<u8>; 6] = [
        [&hello[..], &[0; 100]].concat(),
        [&hello[..], &[0x17, 3, 3, 0x40, 0], &[9; 0x4000]].concat(),
        [&hello[..], &hello[..]].concat(),
        vec![0x16; 70_000],
        [&[0x16, 3, 1, 0xff, 0xff][..], &[1; 70_000]].concat(),
        b"\x16\x03\x01\x00\x05hello".to_vec(),
    ];
    for bytes in rows {
        for address in [broker.subscribers, broker.publishers, broker.nats()] {
            let mut stream = TcpStream::connect(address).expect("it listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes its options");
            // It may be closed before it has sent all.
            let _ = stream.write_all(&bytes);
            ends(stream);
        }
    }
    is_alive(&certificates, &broker);
    assert!(!broker.log().so_far().iter().any(|line| line.contains("panicked")));
}

#[test]
fn half_a_handshake_is_not_waited_for_for_ever() {
    let certificates = Certificates::new();
    let settings = [("network.nats_port", "0"), ("timeouts.hello", "0.3")];
    let broker = broker(&certificates, &settings);
    let hello = client_hello(&certificates);
    let begun = Instant::now();
    let mut all = Vec::new();
    for address in [broker.subscribers, broker.nats()] {
        for bytes in [&[][..], &hello[..1], &hello[..hello.len() - 1], &hello] {
            all.push(raw(address, bytes));
        }
    }
    all.into_iter().for_each(ends);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(300) && took < PATIENCE, "{took:?}");
    is_alive(&certificates, &broker);
}

#[test]
fn silent_nats_clients_may_stay_where_tls_is_optional_unless_they_have_begun_it() {
    let certificates = Certificates::new();
    let settings =
        [("tls.mode", "optional"), ("network.nats_port", "0"), ("timeouts.hello", "0.2")];
    let broker = broker(&certificates, &settings);
    let begun = raw(broker.nats(), &client_hello(&certificates)[..10]);
    let mut silent = TcpStream::connect(broker.nats()).expect("it listens");
    ends(begun);
    std::thread::sleep(Duration::from_millis(500));
    silent.set_read_timeout(Some(PATIENCE)).expect("a socket takes its options");
    silent.write_all(b"CONNECT {}\r\nPING\r\n").expect("it is open");
    let mut said = Vec::new();
    while !said.ends_with(b"PONG\r\n") {
        let mut bytes = [0; 1_000];
        let count = silent.read(&mut bytes).expect("PONG was due");
        assert!(count > 0, "{}", said.escape_ascii());
        said.extend(&bytes[..count]);
    }
}

#[test]
fn clients_see_which_certificates_are_not_to_be_trusted() {
    let certificates = Certificates::new();
    certificates.self_signed("own");
    certificates.signed("elsewhere", "ca", "subjectAltName=DNS:elsewhere.example", 90);
    for (name, reason) in [("own", "self-signed"), ("elsewhere", "ostname mismatch")] {
        let settings = certificates.settings(name);
        let settings: Vec<_> = settings.iter().map(|(a, b)| (*a, b.as_str())).collect();
        let broker = Broker::with(&settings);
        let (is_fine, said) = certificates.look(broker.subscribers, "");
        assert!(!is_fine && said.contains(reason), "{name}: {said}");
    }
    let broker = broker(&certificates, &[]);
    let (is_fine, said) = certificates.look(broker.subscribers, "");
    assert!(is_fine && said.contains("Verification: OK"), "{said}");
}

#[test]
fn certificates_of_clients_are_checked() {
    let certificates = Certificates::new();
    certificates.authority("clients");
    certificates.authority("others");
    for (name, authority, days) in
        [("alice", "clients", 90), ("late", "clients", -1), ("mallory", "others", 90)]
    {
        certificates.signed(name, authority, "subjectAltName=email:a@b.example", days);
    }
    certificates.signed("revoked", "clients", "subjectAltName=DNS:r.example", 90);
    certificates.revoke("clients", &["revoked"]);
    let (authority, list) = (certificates.text("clients.pem"), certificates.text("clients.crl"));
    for mode in ["required", "optional"] {
        let broker = broker(
            &certificates,
            &[
                ("tls.client_ca", &authority),
                ("tls.client_crl", &list),
                ("tls.client_certificates", mode),
                ("network.nats_port", "0"),
                ("tls.nats_handshake_first", "yes"),
            ],
        );
        for (name, is_welcome) in [
            ("alice", true),
            ("late", false),
            ("mallory", false),
            ("revoked", false),
            ("", mode == "optional"),
        ] {
            for version in ["-tls1_3", "-tls1_2"] {
                let own = format!("{version} -cert {name}.pem -key {name}.key");
                let arguments = if name.is_empty() { version } else { own.as_str() };
                let relay = certificates.client(broker.subscribers, arguments);
                let mut peer = Peer::connect(relay.address);
                // The program may have ended already.
                let hello = crate::support::frame::hello(b"c", b"version=1\n");
                let sent = peer.try_send(&hello).is_ok();
                let event = peer.next(PATIENCE);
                let is_in = sent && matches!(event, crate::support::Event::Frame(_));
                assert_eq!(is_in, is_welcome, "{mode} {version} {name}: {event:?}");
            }
        }
        let relay = certificates.client(broker.nats(), "-cert alice.pem -key alice.key");
        let client = NatsPeer::named(relay.address, "alice");
        let verifies = client.info["tls_verify"] == true;
        assert_eq!(verifies, mode == "required");
    }
}

#[test]
fn failed_handshakes_are_told_with_address_and_cause_once_a_second_and_counted() {
    let certificates = Certificates::new();
    certificates.authority("others");
    certificates.signed("mallory", "others", "subjectAltName=email:a@b.example", 90);
    let authority = certificates.text("ca.pem");
    let broker = broker(
        &certificates,
        &[
            ("tls.client_ca", &authority),
            ("tls.client_certificates", "optional"),
            ("monitor.address", "127.0.0.1:0"),
        ],
    );
    let tell = |address: &str, cause: &str| {
        let line = broker.log().wait_for(cause, |line| {
            line.contains("disconnected: ") && line.contains(address) && line.contains(cause)
        });
        assert!(line.contains("[WARN]") && line.contains(": tls_failed ("), "{line}");
    };
    let plain = raw(broker.publishers, b"hello? is anybody there?");
    tell(&plain.local_addr().expect("it is connected").to_string(), "does not speak TLS");
    ends(plain);
    // Each of these is in a second of its own, or in a sum.
    let many: Vec<_> = (0..30).map(|_| raw(broker.subscribers, &[0x16; 100])).collect();
    many.into_iter().for_each(ends);
    let words = "with tls_failed; ";
    let sum = broker.log().wait_for(words, |line| line.contains(words));
    assert!(sum.contains("[WARN]") && sum.contains("connections ended in the last"), "{sum}");
    let told = broker.log().so_far().iter().filter(|it| it.contains(": tls_failed (")).count();
    assert!(told < 10, "{told} lines for 31 failures");
    // One that comes while many are counted has no line of its own.
    eventually("a line about a certificate", || {
        let relay = certificates.client(broker.subscribers, "-cert mallory.pem -key mallory.key");
        let mut peer = Peer::connect(relay.address);
        let _ = peer.try_send(b"x");
        ends(peer.sender());
        let told =
            |line: &String| line.contains(": tls_failed (") && line.contains("UnknownIssuer");
        broker.log().so_far().iter().any(told).then_some(())
    });
    let client = raw(broker.monitor(), b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let words = format!("the monitor did not answer {}", client.local_addr().expect("it has one"));
    broker.log().wait_for(&words, |line| line.contains(&words) && line.contains("tls_failed ("));
    let metrics = Http::get(certificates.client(broker.monitor(), "").address, "/metrics");
    assert!(metrics.sample("broker_disconnects_total{reason=\"tls_failed\"}") >= 32.0);
    assert_eq!(metrics.sample("broker_monitor_tls_failed_total"), 1.0);
}
