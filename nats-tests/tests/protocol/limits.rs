//! Control lines, payloads, subscriptions and connections: as large or as many as may be, and more.

use nats_tests::server::Server;

use crate::client::{CONNECT, Client};
use crate::server_unless_different;

const TOO_LONG: &[u8] = b"-ERR 'maximum control line exceeded'\r\n";
const TOO_LARGE: &[u8] = b"-ERR 'Maximum Payload Violation'\r\n";

/// Arguments of this length, made of blanks.
fn padded(first: &str, last: &str, length: usize) -> String {
    format!("{first}{}{last}", " ".repeat(length - first.len() - last.len()))
}

#[test]
fn arguments_have_4096_bytes_at_most() {
    let server = Server::under_test(&[]);
    let lines = |length: usize| {
        let connect = "{\"verbose\":false,\"name\":\"";
        [
            (format!("SUB {}\r\n", padded("a", "2", length)), ""),
            (format!("SUB {}\n", padded("a", "2", length)), ""),
            // Leading blanks do not count, trailing ones do.
            (format!("SUB \t    {}\r\n", padded("a", "2", length)), ""),
            (format!("SUB {}\r\n", padded("a 2", "", length)), ""),
            (format!("PUB {}\r\n\r\n", padded("x", "0", length)), ""),
            (format!("PUB {}\r\n\r\n", padded("x 0", "", length)), ""),
            (format!("HPUB {}\r\n\r\n", padded("x 0", "0", length)), ""),
            (format!("UNSUB {}\r\n", padded("9", "1", length)), ""),
            (format!("UNSUB {}\r\n", padded("9", "", length)), ""),
            (format!("PUB y {}\r\n\r\n", padded("r", "0", length - 2)), ""),
            (format!("CONNECT {connect}{}\"}}\r\n", "n".repeat(length - 2 - connect.len())), ""),
        ]
    };
    for ((fits, answer), (too_long, _)) in lines(4_096).into_iter().zip(lines(4_097)) {
        let mut client = Client::connect(&server);
        client.says(fits.as_bytes(), answer.as_bytes());
        let mut client = Client::connect(&server);
        client.send(too_long.as_bytes());
        client.expect_end(TOO_LONG);
    }
}

#[test]
fn a_line_without_end_is_cut_off() {
    let server = Server::under_test(&[]);
    for verb in ["SUB ", "PUB ", "UNSUB ", "HPUB ", "CONNECT ", "INFO ", "-ERR "] {
        let mut client = Client::connect(&server);
        client.send(format!("{verb}{}", "a".repeat(5_000)).as_bytes());
        client.expect_end(TOO_LONG);
    }
}

#[test]
fn garbage_behind_ping() {
    let Some(server) = server_unless_different("garbage_behind_ping", &[]) else { return };
    for verb in ["PING ", "PONG ", "+OK "] {
        let mut client = Client::connect(&server);
        client.send(format!("{verb}{}", "a".repeat(5_000)).as_bytes());
        client.expect_end(TOO_LONG);
    }
}

#[test]
fn a_payload_has_max_payload_bytes_at_most() {
    let server = Server::under_test(&["max_payload=5000"]);
    let mut subscriber = Client::connect(&server);
    subscriber.says(b"SUB a 1\r\n", b"");
    let payload = "x".repeat(5_000);
    let mut client = Client::connect(&server);
    client.says(format!("PUB a 5000\r\n{payload}\r\n").as_bytes(), b"");
    subscriber.expect_only(format!("MSG a 1 5000\r\n{payload}\r\n").as_bytes());
    // Headers count.
    client.says(format!("HPUB a 4000 5000\r\n{payload}\r\n").as_bytes(), b"");
    subscriber.expect_only(format!("HMSG a 1 4000 5000\r\n{payload}\r\n").as_bytes());
    let rows =
        ["PUB a 5001", "PUB a r 5001", "HPUB a 2 5001", "HPUB a 5001 5001", "PUB a 999999999"];
    for row in rows {
        let mut client = Client::connect(&server);
        // Refused at the control line: the payload is not awaited.
        client.send(format!("{row}\r\n").as_bytes());
        client.expect_end(TOO_LARGE);
    }
    subscriber.expect_only(b"");
}

#[test]
fn the_error_arrives_though_the_payload_is_on_its_way() {
    let server = Server::under_test(&[]);
    let mut client = Client::connect(&server);
    client.send(format!("PUB a 1048577\r\n{}\r\n", "x".repeat(1_048_577)).as_bytes());
    client.expect_end(TOO_LARGE);
}

#[test]
fn a_large_message_goes_through() {
    let server = Server::under_test(&[]);
    let mut subscriber = Client::connect(&server);
    subscriber.says(b"SUB a 1\r\n", b"");
    let payload = "x".repeat(1_048_576);
    let mut client = Client::connect(&server);
    client.says(format!("PUB a 1048576\r\n{payload}\r\n").as_bytes(), b"");
    subscriber.expect_only(format!("MSG a 1 1048576\r\n{payload}\r\n").as_bytes());
}

#[test]
fn more_subscriptions_than_allowed_are_refused() {
    let options = ["limits.nats_max_subscriptions=2", "max_subscriptions=2"];
    let server = Server::under_test(&options);
    let mut client = Client::connect(&server);
    client.says(b"SUB a 1\r\nSUB b 2\r\n", b"");
    client.says(b"SUB c 3\r\n", b"-ERR 'maximum subscriptions exceeded'\r\n");
    client.says(b"PUB c 0\r\n\r\nPUB a 0\r\n\r\n", b"MSG a 1 0\r\n\r\n");
    client.says(b"UNSUB 1\r\nSUB c 3\r\nPUB c 0\r\n\r\n", b"MSG c 3 0\r\n\r\n");
}

#[test]
fn more_connections_than_allowed_are_refused() {
    let server = Server::under_test(&["network.max_connections=1", "max_connections=1"]);
    let mut first = Client::connect(&server);
    let mut second = Client::silent(&server);
    let info = second.receive_any();
    let is_info = |event: &nats_tests::peer::Event| {
        matches!(event, nats_tests::peer::Event::Frame(nats_tests::frame::Frame::Info(_)))
    };
    assert!(is_info(&info), "{info:?}");
    second.expect_end(b"-ERR 'maximum connections exceeded'\r\n");
    first.expect_only(b"");
}

#[test]
fn connect_has_room_for_what_libraries_send() {
    let server = Server::under_test(&[]);
    let long = "x".repeat(2_000);
    let connect = CONNECT.replace("\"name\":\"\"", &format!("\"name\":\"{long}\""));
    Client::with(&server, &connect).expect_only(b"");
}
