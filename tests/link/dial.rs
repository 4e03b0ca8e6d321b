//! Proves that what is no hub, or one that does not do what a hub should, is told for what it is,
//! and dialled again.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use crate::support::{Broker, PATIENCE};
use crate::{broker, settings};

/// A port that says this to each connection, and then nothing: it waits for the other side's end.
fn says(bytes: impl Into<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    let bytes = bytes.into();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let bytes = bytes.clone();
            thread::spawn(move || {
                stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes its options");
                // The broker may close before it has read all of it.
                let _ = stream.write_all(&bytes);
                let _ = stream.read(&mut [0; 64]);
            });
        }
    });
    address
}

/// The warnings of the link: two, as it is dialled again.
fn warnings(broker: &Broker) -> Vec<String> {
    let lines = broker.log().wait_for_count("[WARN] link: ", 2);
    let dialled = broker.log().wait_for_count("link: dialling ", 2);
    assert!(dialled.len() >= 2);
    lines
}

/// A broker that dials this finds that.
fn finds(server: &str, more: &[(&str, &str)], expected: &[&str]) {
    let mut broker = broker(server, more);
    for line in warnings(&broker) {
        for part in expected {
            assert!(line.contains(part), "{part:?} is not in: {line}");
        }
        assert!(line.contains(&format!("; dialling {server} in 0.")), "{line}");
    }
    // Nothing else is hurt.
    let mut subscriber = broker.subscriber_of(&[b"a"]);
    broker.publisher().publish(b"a", b"x");
    subscriber.expect_message(b"a", b"x");
    broker.signal("TERM");
    assert!(broker.wait().success());
}

#[test]
fn a_port_for_nats_clients_is_told_from_one_for_leaf_nodes() {
    let info = "INFO {\"server_id\":\"N\",\"version\":\"2.15.1\",\"headers\":true,\
                \"max_payload\":1048576,\"client_id\":5,\"client_ip\":\"127.0.0.1\"}\r\n";
    let expected = ["port for clients or servers, not leaf nodes", "leafnodes { listen: .. }"];
    finds(&says(info).to_string(), &[], &expected);
}

#[test]
fn silence_is_waited_for_as_long_as_the_hello_time_out() {
    let expected = ["INFO did not come in time", "tls_first"];
    finds(&says("").to_string(), &[("timeouts.hello", "0.2")], &expected);
}

#[test]
fn garbage_is_no_line_of_a_hub() {
    let expected = ["no line of a hub", "usually 7422"];
    finds(&says("HTTP/1.1 400 Bad Request\r\n\r\n").to_string(), &[], &expected);
    finds(&says([0x15, 3, 3, 0, 2, 2, 10]).to_string(), &[], &["no line of a hub"]);
}

#[test]
fn another_line_or_a_wrong_one_is_no_info() {
    for line in ["PING\r\n", "INFO [1]\r\n", "INFO {\"headers\":1}\r\n"] {
        finds(&says(line).to_string(), &[], &["no INFO of a hub"]);
    }
}

#[test]
fn an_endless_info_is_not_read_for_ever() {
    let mut line = b"INFO {\"server_id\":\"".to_vec();
    line.resize(1 << 20, b'x');
    finds(&says(line).to_string(), &[], &["first line does not end"]);
}

#[test]
fn an_error_in_place_of_info_is_quoted() {
    let text = "-ERR 'maximum connections exceeded'\r\n";
    finds(&says(text).to_string(), &[], &["'maximum connections exceeded'"]);
}

#[test]
fn a_hub_without_headers_or_of_our_own_name_is_not_joined() {
    let info = |more: &str| format!("INFO {{\"leafnode_urls\":[\"h:1\"]{more}}}\r\n");
    finds(&says(info("")).to_string(), &[], &["takes no headers"]);
    let named = info(",\"headers\":true,\"cluster\":\"broker\"");
    let broker = broker(&says(named).to_string(), &[("link.cluster", "broker")]);
    let line = broker.log().wait_for("the refusal", |line| line.contains("[WARN] link: "));
    assert!(line.contains("is called broker, too; give [link] cluster another"), "{line}");
    assert!(line.contains(" in 30.") || line.contains(" in 31."), "{line}");
}

#[test]
fn a_port_that_nobody_has_is_dialled_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    finds(&address.to_string(), &[], &["no connection: Connection refused"]);
}

#[test]
fn a_name_that_nobody_has_is_looked_up_again() {
    finds("a..b:7422", &[], &["its name was not found", "name server"]);
}

#[test]
fn a_hub_that_closes_at_once_is_told_of() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(drop));
    finds(&address.to_string(), &[], &["no INFO came"]);
}

#[test]
fn checking_the_configuration_dials_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.set_nonblocking(true).expect("a socket takes its options");
    let address = listener.local_addr().expect("it is bound").to_string();
    let dir = crate::support::TempDir::new();
    let check = |more: &[(&str, &str)]| {
        dir.write("config.ini", &crate::support::process::ini(&settings(&address, more)));
        let mut command = crate::support::broker::command(dir.path());
        command.arg("--check-config").output().expect("it can be run")
    };
    assert!(check(&[]).status.success());
    assert!(listener.accept().is_err(), "it was dialled");
    dir.write("open", "secret");
    for (settings, says) in [
        ([("link.secret_file", "open")], "chmod 640 open"),
        ([("link.nkey_file", "none")], "[link] nkey_file = none: No such file"),
        ([("link.ca", "open")], "[link] ca = open: it holds no certificate"),
        ([("link.user", "u")], "[link] user needs [link] secret_file"),
    ] {
        let output = check(&settings);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2));
        assert!(said.contains(says), "{said}");
    }
}
