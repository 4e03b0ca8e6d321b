//! Invalid input: which answer, and whether the connection ends.

use nats_tests::server::Server;

use crate::client::Client;
use crate::server_unless_different;

const UNKNOWN: &[u8] = b"-ERR 'Unknown Protocol Operation'\r\n";

/// Each on a connection of its own: sent, and what comes before the end.
fn ends(server: &Server, answer: &[u8], rows: &[&[u8]]) {
    for row in rows {
        let mut client = Client::connect(server);
        client.send(row);
        client.expect_end(answer);
    }
}

#[test]
fn what_is_no_verb_is_answered_at_the_first_wrong_byte() {
    let server = Server::under_test(&[]);
    ends(
        &server,
        UNKNOWN,
        &[
            b"X",
            b"FOO\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03",
            b"\r\n",
            b"\n",
            b" PING\r\n",
            b"\t",
            b"\0",
            b"\xFF\xFE",
            b"PIN\r\n",
            b"PO\r\n",
            b"PX",
            b"SUBX",
            b"PUBa",
            b"UNSUBa",
            b"HPUBx",
            b"HX",
            b"CONX",
            b"INFX",
            b"+O\r\n",
            b"+X",
            b"-EX",
            b"{",
            b"MSG a 1 0\r\n\r\n",
            b"msg",
        ],
    );
}

#[test]
fn a_verb_without_its_arguments_is_none() {
    let server = Server::under_test(&[]);
    let rows: [&[u8]; 7] =
        [b"SUB\r\n", b"PUB\r\n", b"UNSUB\r\n", b"HPUB\r\n", b"SUB\n", b"pub\n", b"-ERR\r\n"];
    ends(&server, UNKNOWN, &rows);
}

#[test]
fn message_from_a_client() {
    if let Some(server) = server_unless_different("message_from_a_client", &[]) {
        ends(&server, UNKNOWN, &[b"HMSG a 1 0 0\r\n\r\n", b"HM", b"hmsg\r\n"]);
    }
}

#[test]
fn wrong_arguments_end_it_silently() {
    let server = Server::under_test(&[]);
    ends(
        &server,
        b"",
        &[
            b"PUB \r\n",
            b"PUB a\r\n",
            b"PUB 1\r\n1\r\n",
            b"PUB a b c 1\r\nx\r\n",
            b"PUB a -1\r\n",
            b"PUB a +1\r\n",
            b"PUB a 1x\r\n",
            b"PUB a 1.0\r\n",
            b"PUB a 0x1\r\n",
            b"PUB a x\r\n",
            b"PUB a b x\r\n",
            b"PUB a 0000000001\r\n",
            b"PUB a 9999999999\r\n",
            b"PUB a 99999999999999999999999999\r\n",
            b"SUB \r\n",
            b"SUB \t \n",
            b"SUB a\r\n",
            b"SUB a \r\n",
            b"SUB a b c d\r\n",
            b"UNSUB \r\n",
            b"UNSUB 1 2 3\r\n",
            b"HPUB \r\n",
            b"HPUB a\r\n",
            b"HPUB a 1\r\n",
            b"HPUB a b c 1 2\r\n",
            b"HPUB a -1 2\r\n",
            b"HPUB a 1 -2\r\n",
            b"HPUB a x 2\r\n",
            b"HPUB a 1 x\r\n",
            b"HPUB a 0000000001 2\r\n",
            // The headers are longer than the whole.
            b"HPUB a 5 4\r\n",
            b"HPUB a b 1 0\r\n",
        ],
    );
}

#[test]
fn what_servers_say() {
    let server = Server::under_test(&[]);
    ends(
        &server,
        b"",
        &[b"-ERR 'x'\r\n", b"-err x\r\n", b"INFO x\r\n", b"INFO {\r\n", b"INFO\r\n"],
    );
    let mut client = Client::connect(&server);
    for row in
        ["+OK\r\n", "+ok\n", "+OK and more\r\n", "INFO {\"a\":1}\r\n", "info {}\n", "PONG\r\n"]
    {
        client.says(row.as_bytes(), b"");
    }
}

#[test]
fn a_payload_ends_with_cr_lf_and_nothing_else() {
    let server = Server::under_test(&[]);
    let mut subscriber = Client::connect(&server);
    subscriber.says(b"SUB a 1\r\n", b"");
    ends(
        &server,
        UNKNOWN,
        &[
            b"PUB a 2\r\nhix\r\n",
            b"PUB a 2\r\nhi\n\n",
            b"PUB a 2\r\nhi\rx",
            b"PUB a 0\r\nx\r\n",
            b"PUB a 0\r\n\n",
            b"HPUB a 2 3\r\nhixx",
        ],
    );
    subscriber.expect_only(b"");
}

#[test]
fn headers_need_leave() {
    let server = Server::under_test(&[]);
    let lines = [
        "",
        "CONNECT {\"verbose\":false}\r\n",
        "CONNECT {\"verbose\":false,\"headers\":false}\r\n",
    ];
    for line in lines {
        let mut client = Client::silent(&server);
        client.send(line.as_bytes());
        client.send(b"HPUB a 0 0\r\n\r\n");
        client.expect_end(b"");
    }
}

#[test]
fn what_came_before_is_processed() {
    let server = Server::under_test(&[]);
    let mut subscriber = Client::connect(&server);
    subscriber.says(b"SUB a 1\r\n", b"");
    let mut client = Client::connect(&server);
    client.send(b"SUB a 7\r\nPUB a 2\r\nhi\r\nPING\r\nFOO\r\nPUB a 2\r\nno\r\n");
    client.expect_end(&[b"MSG a 7 2\r\nhi\r\nPONG\r\n", UNKNOWN].concat());
    subscriber.expect_only(b"MSG a 1 2\r\nhi\r\n");
}

#[test]
fn verbs_and_blanks_may_be_odd() {
    let server = Server::under_test(&[]);
    let rows: [(&[u8], &[u8]); 22] = [
        (b"SUB a  1\r\n", b""),
        (b"sUb \t b\t \tgroup  2 \t\r\n", b""),
        (b"SUB c 3\n", b""),
        (b"PUB a  2\r\nhi\r\n", b"MSG a 1 2\r\nhi\r\n"),
        (b"pub\tb\t2\t\nhi\r\n", b"MSG b 2 2\r\nhi\r\n"),
        (b"Pub   c   reply   3   \r\nhi \r\n", b"MSG c 3 reply 3\r\nhi \r\n"),
        (b"HPUB a  2  4 \nhiho\r\n", b"HMSG a 1 2 4\r\nhiho\r\n"),
        (b"hpub a r 0 2\r\nho\r\n", b"MSG a 1 r 2\r\nho\r\n"),
        (b"PUB a 0\r\n\r\n", b"MSG a 1 0\r\n\r\n"),
        (b"PUB a 00\n\r\n", b"MSG a 1 0\r\n\r\n"),
        (b"PUB a 4\r\n\r\n\r\n\r\n", b"MSG a 1 4\r\n\r\n\r\n\r\n"),
        (b"PUB a 6\r\nPING\r\n\r\n", b"MSG a 1 6\r\nPING\r\n\r\n"),
        (b"PiNg\r\n", b"PONG\r\n"),
        (b"PING\n", b"PONG\r\n"),
        (b"PING xyz\r\n", b"PONG\r\n"),
        (b"PINGX\r\n", b"PONG\r\n"),
        (b"ping \t \n", b"PONG\r\n"),
        (b"PONG xyz\r\npong\n", b""),
        (b"UNSUB 1 \r\n", b""),
        (b"PUB a 0\r\n\r\n", b""),
        (b"unsub\t2\n", b""),
        (b"PUB b 0\r\n\r\n", b""),
    ];
    let mut client = Client::connect(&server);
    for (sent, expected) in rows {
        client.says(sent, expected);
    }
}

#[test]
fn sizes_may_begin_with_zeros() {
    let server = Server::under_test(&[]);
    let mut client = Client::connect(&server);
    client.says(b"SUB a 1\r\n", b"");
    client.send(b"PUB a 000000002\r\nhi\r\nHPUB a 0002 000000004\r\nhiho\r\nPING\r\n");
    // The digits of the answer may be as many, or as few as can be.
    for expected in [&b"hi"[..], b"ho"] {
        match client.receive() {
            nats_tests::peer::Event::Frame(nats_tests::frame::Frame::Message(message)) => {
                assert_eq!(message.payload, expected);
            }
            other => panic!("no message but {other:?}"),
        }
    }
    client.expect(b"PONG\r\n");
}

#[test]
fn a_cr_within_a_line() {
    let Some(server) = server_unless_different("a_cr_within_a_line", &[]) else { return };
    let rows: [&[u8]; 4] =
        [b"SUB a\rb 1\r\n", b"SUB a\r1\r\n", b"UNSUB 1\r1\r\n", b"PUB a\r1 1\r\nx\r\n"];
    for row in rows {
        let mut client = Client::connect(&server);
        client.send(row);
        let first = client.receive();
        if first != nats_tests::peer::Event::Closed(Vec::new()) {
            let error = nats_tests::frame::Frame::Error(b"Unknown Protocol Operation".to_vec());
            assert_eq!(first, nats_tests::peer::Event::Frame(error));
            client.expect_end(b"");
        }
    }
}
