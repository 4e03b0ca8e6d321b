//! Proves that the link is encrypted where the hub or the settings want it, in front of INFO or
//! behind it, and that a hub is believed by its certificate alone.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConnection};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;

use crate::broker;
use crate::support::{Broker, Certificates, Hub};

/// How a port speaks TLS for a hub that does not.
struct Front {
    config: Arc<ServerConfig>,
    /// The hub's first line goes in front of it, in plain text.
    says_info: bool,
}

impl Front {
    /// With a certificate, and if `wants_own` one wanted of the broker.
    fn new(certificates: &Certificates, name: &str, says_info: bool, wants_own: bool) -> Front {
        let path = |ending: &str| certificates.path(&format!("{name}.{ending}"));
        let chain = CertificateDer::pem_file_iter(path("pem")).expect("it is there");
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("it is one");
        let key = PrivateKeyDer::from_pem_file(path("key")).expect("it is one");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("it has them");
        let builder = if wants_own {
            let mut roots = RootCertStore::empty();
            let ca = CertificateDer::from_pem_file(certificates.path("ca.pem"));
            roots.add(ca.expect("it is one")).expect("it is a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().expect("there are roots"))
        } else {
            builder.with_no_client_auth()
        };
        let config = builder.with_single_cert(chain, key).expect("they fit");
        Front { config: Arc::new(config), says_info }
    }

    /// A port in front of this hub.
    fn before(self, hub: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            for broker in listener.incoming().map_while(Result::ok) {
                let hub = TcpStream::connect(hub).expect("the hub listens");
                if self.says_info {
                    pass_line(&hub, &broker);
                }
                let config = Arc::clone(&self.config);
                let mut tls = ServerConnection::new(config).expect("it is usable");
                // A hub may say much before the handshake has ended.
                tls.set_buffer_limit(None);
                pass(broker, hub, tls);
            }
        });
        address
    }
}

/// Passes the first line on, as it is.
fn pass_line(mut from: &TcpStream, mut to: &TcpStream) {
    let (mut byte, mut line) = ([0], Vec::new());
    while line.last() != Some(&b'\n') {
        from.read_exact(&mut byte).expect("a line was due");
        line.push(byte[0]);
    }
    to.write_all(&line).expect("the broker takes it");
}

/// Passes both ways on until one side has ended. No lock is held while a socket is read.
fn pass(broker: TcpStream, hub: TcpStream, tls: ServerConnection) {
    let tls = Arc::new(Mutex::new(tls));
    let (shared, mut from, mut to) = (
        Arc::clone(&tls),
        hub.try_clone().expect("a handle"),
        broker.try_clone().expect("a handle"),
    );
    thread::spawn(move || {
        let mut bytes = [0; 16_384];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            let mut tls = shared.lock().expect("nobody has failed");
            tls.writer().write_all(&bytes[..count]).expect("it is kept");
            while tls.wants_write() && tls.write_tls(&mut to).is_ok() {}
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        let (mut broker, mut hub) = (broker, hub);
        let mut bytes = [0; 16_384];
        while let Ok(count @ 1..) = broker.read(&mut bytes) {
            let mut tls = tls.lock().expect("nobody has failed");
            let mut rest = &bytes[..count];
            let mut plain = Vec::new();
            let mut is_good = true;
            while !rest.is_empty() && is_good {
                tls.read_tls(&mut rest).expect("it is kept");
                is_good = tls.process_new_packets().is_ok();
                // `WouldBlock` is the end of what is there.
                let _ = tls.reader().read_to_end(&mut plain);
            }
            while tls.wants_write() && tls.write_tls(&mut broker).is_ok() {}
            drop(tls);
            if !is_good || hub.write_all(&plain).is_err() {
                break;
            }
        }
        let _ = broker.shutdown(Shutdown::Both);
        let _ = hub.shutdown(Shutdown::Both);
    });
}

/// A hub that asks for TLS behind its INFO.
fn asking() -> Hub {
    Hub::with(&json!({"tls_required": true}))
}

/// The next connection to a hub, which has said its INFO on it and nothing else.
fn introduced(hub: &Hub, wants_tls: bool) -> TcpStream {
    let mut stream = hub.accept_silent();
    let info = json!({"leafnode_urls": [], "headers": true, "tls_required": wants_tls});
    stream.write_all(format!("INFO {info}\r\n").as_bytes()).expect("the broker reads");
    stream
}

/// A server of the settings that the certificate `broker` is for.
fn named(address: SocketAddr) -> String {
    format!("localhost:{}", address.port())
}

fn joins(broker: &Broker, hub: &Hub) {
    let _link = hub.accept();
    broker.log().wait_for("it joins", |line| line.contains("link: joined"));
}

/// The first warning of the link.
fn warning(broker: &Broker) -> String {
    broker.log().wait_for("a warning", |line| line.contains("[WARN] link: "))
}

#[test]
fn tls_begins_when_the_hub_asks_for_it() {
    let certificates = Certificates::new();
    let hub = asking();
    let front = Front::new(&certificates, "broker", true, false).before(hub.address);
    let ca = certificates.text("ca.pem");
    for tls in ["auto", "yes"] {
        let broker = broker(&named(front), &[("link.ca", &ca), ("link.tls", tls)]);
        joins(&broker, &hub);
    }
    let broker = broker(&named(front), &[("link.tls", "no")]);
    let _link = introduced(&hub, true);
    let line = warning(&broker);
    assert!(line.contains("the hub wants TLS, and [link] tls = no; set [link] tls"), "{line}");
}

#[test]
fn tls_begins_at_once_where_the_settings_say_so() {
    let certificates = Certificates::new();
    let hub = Hub::start();
    let front = Front::new(&certificates, "broker", false, false).before(hub.address);
    let ca = certificates.text("ca.pem");
    let broker = broker(&named(front), &[("link.ca", &ca), ("link.tls_first", "yes")]);
    let link = hub.accept();
    broker.log().wait_for("it joins", |line| line.contains("link: joined"));
    // Lines and messages go through as without it.
    link.send("LS+ big\r\n");
    link.confirm();
    let payload = vec![b'x'; 500_000];
    broker.publisher().publish(b"big", &payload);
    assert!(link.message().payload == payload);
    let mut subscriber = broker.subscriber_of(&[b"down"]);
    link.wait_for_interest("down", 1);
    link.publish("down", "", &payload);
    subscriber.expect_message(b"down", &payload);
}

#[test]
fn an_endless_or_a_silent_hub_inside_tls_is_given_up() {
    let certificates = Certificates::new();
    let ca = certificates.text("ca.pem");
    let endless = [b"INFO {\"a\":\"".to_vec(), vec![b'x'; 300_000]].concat();
    for (said, says) in [(endless, "first line does not end"), (Vec::new(), "INFO did not come")] {
        let hub = Hub::start();
        let front = Front::new(&certificates, "broker", false, false).before(hub.address);
        let more = [("link.ca", &*ca), ("link.tls_first", "yes"), ("timeouts.hello", "10")];
        let broker = broker(&named(front), &more);
        let mut stream = hub.accept_silent();
        // The broker may close before it has read all of it.
        let _ = stream.write_all(&said);
        let line = warning(&broker);
        assert!(line.contains(says), "{line}");
        let mut subscriber = broker.subscriber_of(&[b"a"]);
        broker.publisher().publish(b"a", b"x");
        subscriber.expect_message(b"a", b"x");
    }
}

#[test]
fn a_hub_without_tls_is_refused_where_the_settings_want_it() {
    let hub = Hub::start();
    let certificates = Certificates::new();
    let ca = certificates.text("ca.pem");
    let broker = broker(&named(hub.address), &[("link.ca", &ca), ("link.tls", "yes")]);
    let _link = introduced(&hub, false);
    let line = warning(&broker);
    assert!(line.contains("the hub has no TLS, and [link] tls = yes"), "{line}");
}

#[test]
fn a_certificate_that_does_not_hold_is_told_of() {
    let certificates = Certificates::new();
    certificates.signed("old", "ca", "subjectAltName=DNS:localhost", -1);
    certificates.signed("other", "ca", "subjectAltName=DNS:other.example", 90);
    certificates.authority("stranger");
    certificates.signed("strange", "stranger", "subjectAltName=DNS:localhost", 90);
    let ca = certificates.text("ca.pem");
    for (name, says) in
        [("old", "xpired"), ("other", "not valid for name"), ("strange", "UnknownIssuer")]
    {
        let hub = asking();
        let front = Front::new(&certificates, name, true, false).before(hub.address);
        let broker = broker(&named(front), &[("link.ca", &ca)]);
        let _link = introduced(&hub, true);
        let line = warning(&broker);
        assert!(line.contains("was not reached: TLS: ") && line.contains(says), "{line}");
        assert!(line.contains("; check the hub's certificate, [link] ca"), "{line}");
    }
}

#[test]
fn a_hub_that_wants_a_certificate_is_shown_one() {
    let certificates = Certificates::new();
    certificates.signed("own", "ca", "subjectAltName=DNS:machine.example", 90);
    let hub = asking();
    let front = Front::new(&certificates, "broker", true, true).before(hub.address);
    let [ca, own, key] = ["ca.pem", "own.pem", "own.key"].map(|file| certificates.text(file));
    let settings = [("link.ca", &*ca), ("link.certificate", &*own), ("link.key", &*key)];
    let server = named(front);
    let with = broker(&server, &settings);
    joins(&with, &hub);
    drop(with);
    let without = broker(&server, &settings[..1]);
    let _link = introduced(&hub, true);
    let line = warning(&without);
    assert!(line.contains("the hub ends TLS, or what it sends is none; check the"), "{line}");
}

#[test]
fn certificates_of_clients_do_not_concern_the_link() {
    let certificates = Certificates::new();
    let hub = asking();
    let front = Front::new(&certificates, "broker", true, false).before(hub.address);
    let [ca, own, key] = ["ca.pem", "broker.pem", "broker.key"].map(|it| certificates.text(it));
    let server = named(front);
    let settings =
        crate::settings(&server, &[("link.ca", &ca), ("tls.certificate", &own), ("tls.key", &key)]);
    let dir = crate::support::TempDir::new();
    dir.write("config.ini", &crate::support::process::ini(&settings));
    let broker = Broker::run(dir, &["-s", "0", "-p", "0"]);
    let link = hub.accept();
    broker.log().wait_for("it joins", |line| line.contains("link: joined"));
    // The broker's own certificate changes, and all connections are looked at again.
    certificates.signed("next", "ca", "subjectAltName=DNS:localhost", 90);
    certificates.replace("broker", "next");
    broker.signal("HUP");
    broker.log().wait_for("the reload", |line| line.contains("what TLS goes by has changed"));
    link.confirm();
    link.confirm();
    assert!(!hub.is_dialled());
}
