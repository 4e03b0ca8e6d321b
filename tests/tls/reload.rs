//! Proves that certificates are read again on SIGHUP, all or nothing, that no connection is lost by
//! it, and that those end whose own certificate holds no more.

use std::fs;

use crate::support::process::ini;
use crate::support::{Broker, Certificates, Event, Flood, PATIENCE, Peer, Relay, TempDir};
use crate::with;

/// A broker whose `config.ini` can be written again.
fn start(certificates: &Certificates, settings: &[(&str, &str)]) -> Broker {
    let dir = TempDir::new();
    let all = with(certificates, settings);
    let all: Vec<_> = all.iter().map(|(a, b)| (*a, b.as_str())).collect();
    dir.write("config.ini", &ini(&all));
    Broker::run(dir, &["-s", "0", "-p", "0"])
}

/// One that looks at the certificates that clients have of the authority `clients`, if any.
fn start_for(certificates: &Certificates, more: &[(&str, &str)]) -> Broker {
    let (authority, list) = (certificates.text("clients.pem"), certificates.text("clients.crl"));
    let settings = [
        ("tls.client_ca", authority.as_str()),
        ("tls.client_crl", &list),
        ("tls.client_certificates", "optional"),
    ];
    start(certificates, &[&settings, more].concat())
}

#[test]
fn a_new_certificate_is_shown_to_new_clients_while_old_ones_go_on() {
    let certificates = Certificates::new();
    certificates.signed("next", "ca", "subjectAltName=DNS:localhost,DNS:next.example", 90);
    let broker = start(&certificates, &[]);
    let client = |address| Peer::connect(certificates.client(address, "").address);
    let mut subscriber = client(broker.subscribers).hello(b"subscriber");
    subscriber.subscribe(b"t", b"");
    let publisher = client(broker.publishers).hello(b"publisher");
    let message = crate::support::frame::publish(b"t", &[7; 100_000]);
    let flood = Flood::start(publisher.sender(), message.repeat(500));
    subscriber.expect_message(b"t", &[7; 100_000]);
    assert!(!certificates.look(broker.subscribers, "-showcerts").1.contains("next"));
    certificates.replace("broker", "next");
    broker.signal("HUP");
    broker.log().wait_for_count("what TLS goes by has changed", 1);
    let said = certificates.look(broker.subscribers, "").1;
    assert!(said.contains("common name of next"), "{said}");
    for _ in 1..500 {
        subscriber.expect_message(b"t", &[7; 100_000]);
    }
    flood.finish();
    broker.signal("HUP");
    broker.log().wait_for_count("reloaded: no setting has changed", 2);
    let changes = "what TLS goes by has changed";
    assert_eq!(broker.log().wait_for_count(changes, 1).len(), 1, "the same files change nothing");
}

#[test]
fn files_that_cannot_be_used_leave_the_old_ones_in_force() {
    let certificates = Certificates::new();
    certificates.signed("late", "ca", "subjectAltName=DNS:localhost", -1);
    let broker = start(&certificates, &[]);
    let good = fs::read(certificates.path("broker.pem")).expect("it is there");
    let late = fs::read(certificates.path("late.pem")).expect("it is there");
    let rows = [(&b"nothing"[..], "it holds no certificate"), (&late, "has expired on")];
    for (count, (bytes, words)) in (1..).zip(rows) {
        fs::write(certificates.path("broker.pem"), bytes).expect("it is ours");
        broker.signal("HUP");
        broker.log().wait_for_count("the old settings stay in force", count);
        let is_told = |line: &String| line.contains("not reloaded: [tls]") && line.contains(words);
        assert!(broker.log().so_far().iter().any(is_told), "{words}");
        assert!(certificates.look(broker.subscribers, "").0);
    }
    fs::write(certificates.path("broker.pem"), good).expect("it is ours");
    broker.signal("HUP");
    broker.log().wait_for_count("reloaded: no setting has changed", 1);
}

#[test]
fn connections_end_whose_certificate_holds_no_more() {
    let certificates = Certificates::new();
    certificates.authority("clients");
    for name in ["alice", "bob"] {
        certificates.signed(name, "clients", "subjectAltName=DNS:x.example", 90);
    }
    certificates.revoke("clients", &[]);
    let broker = start_for(&certificates, &[]);
    let client = |arguments: &str| {
        let relay = certificates.client(broker.subscribers, arguments);
        Peer::connect(relay.address).hello(b"client")
    };
    let mut alice = client("-cert alice.pem -key alice.key");
    let mut bob = client("-cert bob.pem -key bob.key");
    let mut nobody = client("");
    certificates.revoke("clients", &["bob"]);
    broker.signal("HUP");
    broker.log().wait_for_count("its certificate holds no more", 1);
    let event = bob.next(PATIENCE);
    assert!(matches!(event, Event::Closed(_) | Event::Reset), "{event:?}");
    for peer in [&mut alice, &mut nobody] {
        peer.subscribe(b"t", b"");
    }
}

#[test]
fn a_handshake_that_began_before_ends_by_what_holds_then() {
    let certificates = Certificates::new();
    certificates.authority("clients");
    certificates.signed("bob", "clients", "subjectAltName=DNS:x.example", 90);
    certificates.revoke("clients", &[]);
    let broker = start_for(&certificates, &[("timeouts.hello", "60")]);
    let gate = Relay::with_gate(broker.subscribers);
    let relay = certificates.client(gate.relay.address, "-cert bob.pem -key bob.key");
    let mut bob = Peer::connect(relay.address);
    gate.wait_until_reached();
    certificates.revoke("clients", &["bob"]);
    broker.signal("HUP");
    broker.log().wait_for_count("what TLS goes by has changed", 1);
    gate.open();
    let _ = bob.try_send(&crate::support::frame::hello(b"bob", b"version=1\n"));
    let event = bob.next(PATIENCE);
    assert!(matches!(event, Event::Closed(0) | Event::Reset), "{event:?}");
}
