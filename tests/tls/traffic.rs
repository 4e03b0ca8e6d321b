//! Proves that what goes over TLS is what went in, whatever its size and however slowly it is read,
//! on all ports; and that plain clients are served beside it where that is allowed, and only there.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use crate::broker;
use crate::support::frame::publish;
use crate::support::{
    Broker, Certificates, Event, Flood, Http, NatsPeer, PATIENCE, Peer, Process, Relay, eventually,
};

/// Clients that speak TLS to both ports.
fn clients(certificates: &Certificates, broker: &Broker, arguments: &str) -> (Peer, Peer) {
    let subscribers = certificates.client(broker.subscribers, arguments);
    let publishers = certificates.client(broker.publishers, arguments);
    let subscriber = Peer::connect(subscribers.address).hello(b"subscriber");
    (subscriber, Peer::connect(publishers.address).hello(b"publisher"))
}

#[test]
fn messages_of_any_size_go_through_both_versions() {
    let certificates = Certificates::new();
    let broker = broker(&certificates, &[]);
    for version in ["-tls1_3", "-tls1_2"] {
        let (mut subscriber, mut publisher) = clients(&certificates, &broker, version);
        subscriber.subscribe(b"t", b"");
        for size in [0, 1, 127, 16_000, 16_384, 16_385, 100_000, 1_000_000] {
            let payload: Vec<u8> = (0..size).map(|at| at as u8).collect();
            publisher.publish(b"t", &payload);
            subscriber.expect_message(b"t", &payload);
        }
    }
}

#[test]
fn a_slow_reader_gets_all_of_many_large_messages_in_their_order() {
    let certificates = Certificates::new();
    let broker = broker(&certificates, &[("overflow.stall_timeout", "600")]);
    let (mut subscriber, publisher) = clients(&certificates, &broker, "");
    subscriber.subscribe(b"t", b"");
    let body = |number: u32| number.to_be_bytes().repeat(50_000);
    let bytes: Vec<u8> = (0..200).flat_map(|number| publish(b"t", &body(number))).collect();
    let flood = Flood::start(publisher.sender(), bytes);
    // It holds up the publisher: nothing waits without a bound.
    flood.wait_until_blocked();
    for number in 0..200 {
        subscriber.expect_message(b"t", &body(number));
    }
    flood.finish();
}

#[test]
fn what_waits_in_sessions_is_shown_and_is_a_few_records_for_each() {
    const STALLED: usize = 3;
    /// Three records of a write, with what stands around their payload.
    const MOST: f64 = 3.0 * (16_384.0 + 64.0);
    let certificates = Certificates::new();
    let settings = [
        ("overflow.stall_timeout", "600"),
        ("limits.outbox_bytes", "256KiB"),
        ("monitor.address", "127.0.0.1:0"),
    ];
    let broker = broker(&certificates, &settings);
    let waiting = || {
        let relay = certificates.client(broker.monitor(), "");
        Http::get(relay.address, "/metrics").sample("broker_tls_bytes")
    };
    let subscribers: Vec<_> = (0..STALLED)
        .map(|_| {
            let relay = certificates.client(broker.subscribers, "");
            let mut peer = Peer::connect_small(relay.address).hello(b"stalled");
            peer.subscribe(b"t", b"");
            peer
        })
        .collect();
    let relay = certificates.client(broker.publishers, "");
    let publisher = Peer::connect(relay.address).hello(b"publisher");
    let flood = Flood::start(publisher.sender(), publish(b"t", &[7; 200_000]).repeat(200));
    flood.wait_until_blocked();
    let bytes = waiting();
    assert!(bytes > 0.0 && bytes <= STALLED as f64 * MOST, "{bytes} bytes");
    drop(subscribers);
    flood.finish();
    eventually("sessions with nothing in them", || (waiting() == 0.0).then_some(()));
}

#[test]
fn an_end_reaches_the_other_side_behind_all_that_was_said() {
    let certificates = Certificates::new();
    let mut broker = broker(&certificates, &[]);
    let (mut subscriber, mut publisher) = clients(&certificates, &broker, "");
    subscriber.subscribe(b"t", b"");
    publisher.publish(b"t", &[7; 300_000]);
    publisher.confirm();
    broker.signal("TERM");
    let frames = subscriber.frames_until_close();
    assert_eq!(frames.len(), 2, "the message and GOODBYE");
    drop((subscriber, publisher));
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn plain_clients_are_served_on_the_same_port_if_that_is_allowed() {
    let certificates = Certificates::new();
    let settings = [("tls.mode", "optional"), ("network.nats_port", "0")];
    let broker = broker(&certificates, &settings);
    let (mut subscriber, mut publisher) = clients(&certificates, &broker, "");
    let mut plain = broker.subscriber_of(&[b"t"]);
    subscriber.subscribe(b"t", b"");
    publisher.publish(b"t", b"from one");
    broker.publisher().publish(b"t", b"from the other");
    for peer in [&mut plain, &mut subscriber] {
        let mut got = [peer.recv().body, peer.recv().body];
        got.sort();
        assert_eq!(got, [b"from one".to_vec(), b"from the other".to_vec()]);
    }
    let client = NatsPeer::named(broker.nats(), "plain");
    assert_eq!(client.info["tls_available"], true);
    assert_eq!(client.info["tls_required"], serde_json::Value::Null);
}

#[test]
fn a_client_that_does_not_speak_tls_where_it_has_to_is_closed_without_a_word() {
    let certificates = Certificates::new();
    let broker = broker(&certificates, &[("network.nats_port", "0")]);
    for address in [broker.publishers, broker.subscribers] {
        let mut peer = Peer::connect(address);
        peer.send(&crate::support::frame::hello(b"plain", b"version=1\n"));
        let event = peer.next(PATIENCE);
        assert!(matches!(event, Event::Closed(0) | Event::Reset), "{event:?}");
    }
    let stream = TcpStream::connect(broker.nats()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes its options");
    let mut reader = BufReader::new(&stream);
    let mut info = String::new();
    reader.read_line(&mut info).expect("INFO was due");
    assert!(info.contains("\"tls_required\":true"), "{info}");
    (&stream).write_all(b"CONNECT {}\r\nPING\r\n").expect("it is open");
    let mut rest = String::new();
    let _ = reader.read_line(&mut rest);
    assert_eq!(rest, "");
}

#[test]
fn a_nats_client_begins_tls_behind_info() {
    let certificates = Certificates::new();
    let broker = broker(&certificates, &[("network.nats_port", "0")]);
    let behind = Relay::behind_info(broker.nats());
    let client = certificates.client(behind.address, "");
    let stream = TcpStream::connect(client.address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes its options");
    (&stream).write_all(b"CONNECT {\"verbose\":false}\r\nSUB t 1\r\nPING\r\n").expect("it is open");
    let mut lines = BufReader::new(&stream).lines();
    let mut line = || lines.next().expect("a line was due").expect("it can be read");
    assert_eq!(line(), "PONG", "there is no second INFO");
    let payload = "x".repeat(100_000);
    (&stream).write_all(format!("PUB t 100000\r\n{payload}\r\n").as_bytes()).expect("it is open");
    assert_eq!(line(), "MSG t 1 100000");
    assert_eq!(line(), payload);
}

#[test]
fn a_nats_client_is_told_nothing_before_the_handshake_where_that_comes_first() {
    let certificates = Certificates::new();
    let settings = [("network.nats_port", "0"), ("tls.nats_handshake_first", "yes")];
    let broker = broker(&certificates, &settings);
    let silent = TcpStream::connect(broker.nats()).expect("it listens");
    let client = certificates.client(broker.nats(), "");
    let mut peer = NatsPeer::named(client.address, "client");
    assert_eq!(peer.info["tls_required"], true);
    peer.send("SUB t 1\r\nPUB t 2\r\nhi\r\n");
    peer.expect_payload("hi");
    silent.set_nonblocking(true).expect("a socket takes its options");
    assert!(silent.peek(&mut [0]).is_err(), "it was told something");
}

#[test]
fn unix_sockets_never_speak_tls() {
    let certificates = Certificates::new();
    let dir = crate::support::relay::short_dir();
    let path = dir.join("n");
    let text = path.display().to_string();
    let broker = broker(&certificates, &[("network.nats_socket", &text)]);
    broker.log().wait_for("the socket", |line| line.contains("NATS clients on unix:"));
    let client = NatsPeer::named(Relay::to_path(&path).address, "local");
    assert_eq!(client.info["tls_required"], serde_json::Value::Null);
    let _ = std::fs::remove_dir_all(dir);
}

#[test]
fn the_monitor_speaks_https() {
    let certificates = Certificates::new();
    for (mode, plain) in [("required", false), ("optional", true)] {
        let settings = [("tls.mode", mode), ("monitor.address", "127.0.0.1:0")];
        let broker = broker(&certificates, &settings);
        let relay = certificates.client(broker.monitor(), "");
        let metrics = Http::get(relay.address, "/metrics");
        let days = metrics.sample("broker_tls_certificate_expiry_days");
        assert!((89.0..=90.0).contains(&days), "{days}");
        assert!(Http::get(relay.address, "/").body.contains("<html"), "a large page");
        assert_eq!(Http::try_get(broker.monitor(), "/healthz").is_some(), plain, "{mode}");
    }
}

#[test]
fn a_session_is_resumed() {
    let certificates = Certificates::new();
    let broker = broker(&certificates, &[]);
    for version in ["-tls1_2", "-tls1_3"] {
        let session = certificates.path(version);
        let mut first = Command::new("openssl");
        first.current_dir(certificates.path("."));
        first.args(["s_client", "-connect", &broker.subscribers.to_string(), version]);
        first.args(["-sess_out", version]);
        // TLS 1.3 gives its ticket behind the handshake: the program stays while its input does.
        let (stdin, input) = std::io::pipe().expect("there is a pipe");
        let first = Process::spawn_on(&mut first, OwnedFd::from(stdin).into(), Stdio::null());
        eventually("a session", || {
            std::fs::metadata(&session).is_ok_and(|file| file.len() > 0).then_some(())
        });
        drop((first, input));
        let again = format!("{version} -sess_in {version}");
        let (_, said) = certificates.look(broker.subscribers, &again);
        assert!(said.contains("Reused, TLSv1"), "{version}: {said}");
    }
}
