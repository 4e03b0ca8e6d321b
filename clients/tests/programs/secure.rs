//! The programs over TLS and over Unix sockets, against real brokers.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::eventually;
use crate::support::process::{self, program, run, start};
use crate::support::real::Broker;

/// A directory with the authority `ca`, and what it has signed: `broker` for localhost, `client`.
pub fn certificates() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let openssl = |words: &str, subject: &str| {
        let mut command = Command::new("openssl");
        command.current_dir(dir.path()).args(words.split_whitespace());
        if !subject.is_empty() {
            command.args(["-subj", subject]);
        }
        let output = command.output().expect("there is a program openssl");
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for name in ["ca", "others"] {
        openssl(
            &format!("req -x509 {key} -keyout {name}.key -out {name}.pem"),
            &format!("/CN=authority {name}"),
        );
    }
    for name in ["broker", "client"] {
        openssl(&format!("req {key} -keyout {name}.key -out {name}.csr"), "/CN=somebody");
        fs::write(dir.path().join("extension"), "subjectAltName=DNS:localhost").unwrap();
        openssl(
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 \
                 -extfile extension -out {name}.pem"
            ),
            "",
        );
    }
    dir
}

/// A broker that speaks TLS, and what else its config.ini says.
fn broker(dir: &Path, more: &str) -> Broker {
    let dir = dir.display();
    Broker::with_config(&format!(
        "[tls]\ncertificate = {dir}/broker.pem\nkey = {dir}/broker.key\n{more}"
    ))
}

#[test]
fn messages_go_through_tls() {
    let dir = certificates();
    let path = dir.path().display();
    let broker = broker(dir.path(), "");
    let tls = format!("--tls --ca {path}/ca.pem --server-name localhost");
    let subscriber = start(broker.subscriber(&format!("{tls} --topic lines.* --topic probe.>")));
    eventually("a subscriber that is ready", || {
        let probe = broker.publisher(&format!("{tls} --topic probe.ready --message ready"));
        assert_eq!(run(probe, b"").code, Some(0));
        subscriber.stdout().contains("ready").then_some(())
    });
    let lines: Vec<String> = (0..20_000).map(|number| format!("line {number}")).collect();
    let publisher = broker.publisher(&format!("{tls} --topic lines.x"));
    let published = run(publisher, lines.join("\n").as_bytes());
    assert_eq!((published.code, published.stderr.as_str()), (Some(0), ""));
    let large = "x".repeat(900_000);
    let publisher = broker.publisher(&format!("{tls} --topic lines.x --whole --retry"));
    assert_eq!(run(publisher, large.as_bytes()).code, Some(0));
    let output = subscriber.await_stdout(&format!("lines.x {large}\n"));
    let got = output.lines().filter(|line| line.starts_with("lines.x line "));
    assert!(got.eq(lines.iter().map(|line| format!("lines.x {line}"))));
}

#[test]
fn a_broker_that_is_not_to_be_trusted_gets_nothing() {
    let dir = certificates();
    let path = dir.path().display();
    let broker = broker(dir.path(), "");
    let rows = [
        (format!("--tls --ca {path}/others.pem --server-name localhost"), "trust its root with"),
        (format!("--tls --ca {path}/ca.pem"), "name what its certificate is for"),
        (format!("--tls --ca {path}/ca.pem --server-name other.example"), "not valid for name"),
        ("--tls --server-name localhost".to_owned(), "TLS failed: "),
    ];
    for (arguments, expected) in rows {
        // A retry would not help.
        let publisher = broker.publisher(&format!("{arguments} --topic t --message x --retry"));
        let done = run(publisher, b"");
        // Where this machine has no roots at all, that is wrong usage.
        let is_expected =
            done.stderr.contains(expected) || done.stderr.contains("no list of roots");
        assert!(matches!(done.code, Some(1 | 2)) && is_expected, "{arguments}: {done:?}");
    }
    let missing = broker.publisher("--tls --ca /nonexistent.pem --topic t --message x");
    let done = run(missing, b"");
    assert!(done.code == Some(2) && done.stderr.contains("/nonexistent.pem"), "{done:?}");
    let plain = Broker::start();
    let arguments = format!("--tls --ca {path}/ca.pem --topic t --message x");
    let done = run(plain.publisher(&arguments), b"");
    assert!(done.code == Some(1) && done.stderr.contains("leave out --tls"), "{done:?}");
}

#[test]
fn a_certificate_is_shown_where_one_is_asked_for() {
    let dir = certificates();
    let path = dir.path().display();
    let asks = format!("client_ca = {path}/ca.pem\nclient_certificates = required\n");
    let broker = broker(dir.path(), &asks);
    let tls = format!("--tls --ca {path}/ca.pem --server-name localhost --topic t --message x");
    let own = format!("{tls} --cert {path}/client.pem --key {path}/client.key");
    let done = run(broker.publisher(&own), b"");
    assert_eq!(done.code, Some(0), "{done:?}");
    let done = run(broker.publisher(&tls), b"");
    assert!(done.code == Some(1) && done.stderr.contains("--cert and --key"), "{done:?}");
}

#[test]
fn programs_reach_a_broker_by_its_unix_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let config = format!(
        "[network]\npublisher_socket = {path}/p\nsubscriber_socket = {path}/s\n\
         nats_socket = {path}/n\n"
    );
    let broker = Broker::with_config(&config);
    broker.process.await_stderr(&format!("unix:{path}/n"));
    let arguments = format!("--socket {path}/s --reconnect --topic t --topic probe.>");
    let subscriber = start(process::subscriber(&arguments));
    broker.await_ready(&subscriber);
    for more in ["", "--retry"] {
        let arguments = format!("--socket {path}/p --topic t --message local{more} {more}");
        let done = run(process::publisher(&arguments), b"");
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
        subscriber.await_stdout(&format!("t local{more}\n"));
    }
    let wrong = process::publisher(&format!("--socket {path}/s --topic t --message x"));
    let done = run(wrong, b"");
    assert!(done.stderr.contains("is that the subscribers' socket?"), "{done:?}");
    let missing = process::publisher(&format!("--socket {path}/none --topic t --message x"));
    let done = run(missing, b"");
    assert!(done.stderr.contains("/none: No such file"), "{done:?}");
    for place in [
        format!("--socket {path}/p --subscriber-socket {path}/s"),
        format!("--socket {path}/n --protocol nats"),
    ] {
        measured(&format!("{place} --subscribers 3"));
    }
}

#[test]
fn a_benchmark_goes_through_tls_in_both_protocols() {
    let dir = certificates();
    let path = dir.path().display();
    let broker = broker(dir.path(), "[network]\nnats_port = 0\n");
    let words = "listening for NATS clients on 127.0.0.1:";
    let port = eventually("its port", || {
        let log = broker.process.await_stderr(words);
        Some(log.split_once(words)?.1.split_once('\n')?.0.to_owned())
    });
    let tls = format!("--tls --ca {path}/ca.pem --server-name localhost --subscribers 3");
    measured(&format!("{} {tls}", broker.both_ports()));
    measured(&format!("-h 127.0.0.1 -p {port} --protocol nats {tls}"));
    let plain = format!("-h 127.0.0.1 -p {port} --protocol nats --messages 1");
    let done = run(program(env!("CARGO_BIN_EXE_bench-publisher"), &plain), b"");
    assert!(done.code == Some(1) && done.stderr.contains("add --tls"), "{done:?}");
}

/// A benchmark with these arguments finds all messages as they were sent.
fn measured(arguments: &str) {
    let arguments = format!("--messages 5000 --size 20..4000 --verify {arguments}");
    let done = run(program(env!("CARGO_BIN_EXE_bench-publisher"), &arguments), b"");
    assert_eq!(done.code, Some(0), "{arguments}: {done:?}");
}
