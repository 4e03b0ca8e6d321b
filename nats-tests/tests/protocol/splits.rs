//! Any byte may be the last of a read: all kinds of lines, cut at each place.

use nats_tests::server::Server;

use crate::client::Client;

const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\
    \"no_responders\":true,\"name\":\"\\\"}\\u00e9\"}\r\n";

const SENT: &str = "PING\r\nSUB a 1\r\nsub  b.* \tgroup\t2 \nPUB a 2\r\nhi\r\n\
    PUB b.c  reply 0\r\n\r\nHPUB a r 12 14\r\nNATS/1.0\r\n\r\nho\r\nPUB a 4\r\n\r\n\r\n\r\n\
    PUB nobody a 1\r\nx\r\nPONG xyz\r\n+OK\r\nUNSUB 2 1\r\nPUB b.c 0\r\n\r\nSUB a..b 3\r\n\
    unsub 1 \nPUB a 2\r\nno\r\nPING z\n";

const EXPECTED: &str = "PONG\r\nMSG a 1 2\r\nhi\r\nMSG b.c 2 reply 0\r\n\r\n\
    HMSG a 1 r 12 14\r\nNATS/1.0\r\n\r\nho\r\nMSG a 1 4\r\n\r\n\r\n\r\n\
    HMSG a 1 38 38\r\nNATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n\r\n\
    -ERR 'Invalid Subject'\r\nPONG\r\n";

/// Sends the parts on a new connection. Between them, another connection waits for an answer, so
/// that the server has read the part before.
fn check_parts(server: &Server, other: &mut Client, parts: &[&[u8]]) {
    let mut client = Client::silent(server);
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            other.expect_only(b"");
        }
        client.send(part);
    }
    client.expect(EXPECTED.as_bytes());
    client.expect_only(b"");
}

#[test]
fn cut_in_two_at_each_byte() {
    let server = Server::under_test(&[]);
    let mut other = Client::connect(&server);
    let all = format!("{CONNECT}{SENT}");
    let all = all.as_bytes();
    for cut in 0..all.len() {
        check_parts(&server, &mut other, &[&all[..cut], &all[cut..]]);
    }
}

#[test]
fn byte_by_byte_and_by_other_lengths() {
    let server = Server::under_test(&[]);
    let mut other = Client::connect(&server);
    let all = format!("{CONNECT}{SENT}");
    for length in [1, 2, 3, 5, 7, 11, 64] {
        let parts: Vec<&[u8]> = all.as_bytes().chunks(length).collect();
        check_parts(&server, &mut other, &parts);
    }
}

#[test]
fn errors_cut_at_each_byte() {
    let server = Server::under_test(&[]);
    let mut other = Client::connect(&server);
    let unknown = "-ERR 'Unknown Protocol Operation'\r\n";
    let rows = [
        ("PUB a 2\r\nhix\r\n", unknown),
        ("PUB a 2\r\nhi\n", unknown),
        ("PUBLISH\r\n", unknown),
        ("SUB a b c d\r\n", ""),
        ("PUB a 1048577\r\n", "-ERR 'Maximum Payload Violation'\r\n"),
        ("CONNECT {\"protocol\":2}\r\n", "-ERR 'invalid client protocol'\r\n"),
        ("CONNECT {\r\n", ""),
    ];
    for (row, expected) in rows {
        for cut in 0..row.len() {
            let mut client = Client::connect(&server);
            client.send(&row.as_bytes()[..cut]);
            other.expect_only(b"");
            client.send(&row.as_bytes()[cut..]);
            client.expect_end(expected.as_bytes());
        }
    }
}
