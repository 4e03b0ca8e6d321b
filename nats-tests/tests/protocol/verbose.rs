//! Where `+OK` is sent on verbose connections, and the errors on pedantic ones.

use nats_tests::server::Server;

use crate::client::Client;
use crate::server_unless_different;

#[test]
fn each_accepted_line_has_its_ok_in_front_of_what_it_causes() {
    let server = Server::under_test(&[]);
    let mut client = Client::silent(&server);
    let connect = b"CONNECT {\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\n";
    let rows: [(&[u8], &[u8]); 17] = [
        (connect, b"+OK\r\n"),
        (b"PING\r\n", b"PONG\r\n"),
        (b"PONG\r\n", b""),
        (b"+OK\r\n", b""),
        (b"INFO {}\r\n", b""),
        (b"SUB a 1\r\n", b"+OK\r\n"),
        (b"SUB other 1\r\n", b"+OK\r\n"),
        (b"SUB a..b 2\r\n", b"-ERR 'Invalid Subject'\r\n"),
        (b"PUB a 2\r\nhi\r\n", b"+OK\r\nMSG a 1 2\r\nhi\r\n"),
        (b"HPUB a 2 2\r\nhi\r\n", b"+OK\r\nHMSG a 1 2 2\r\nhi\r\n"),
        (b"PUB nobody 0\r\n\r\n", b"+OK\r\n"),
        (
            b"PUB b a 0\r\n\r\n",
            b"+OK\r\nHMSG a 1 33 33\r\nNATS/1.0 503\r\nNats-Subject: b\r\n\r\n\r\n",
        ),
        (b"PUB a..b 0\r\n\r\n", b"+OK\r\n"),
        (b"UNSUB none\r\n", b"+OK\r\n"),
        (b"UNSUB 1 zz\r\n", b"+OK\r\n"),
        (b"UNSUB 1\r\n", b"+OK\r\n"),
        (b"CONNECT {\"verbose\":false}\r\nSUB a 1\r\n", b""),
    ];
    for (sent, expected) in rows {
        client.says(sent, expected);
    }
}

#[test]
fn pedantic_connections_hear_of_odd_subjects_and_nothing_else() {
    let server = Server::under_test(&[]);
    let connect = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n";
    let mut client = Client::with(&server, connect);
    let error = "-ERR 'Invalid Publish Subject'\r\n";
    for subject in ["a..b", ".a", "a.", ".", "..", "a.*", "*", "a.>", ">", "*.a", "a.>.b"] {
        client.says(format!("PUB {subject} 0\r\n\r\n").as_bytes(), error.as_bytes());
        client.says(format!("HPUB {subject} 2 2\r\nhi\r\n").as_bytes(), error.as_bytes());
    }
    for subject in ["a", "a*b", "a>", ">>", "**", "a.b*", "*a.b", "$SYS", "_INBOX.a"] {
        client.says(format!("PUB {subject} 0\r\n\r\n").as_bytes(), b"");
        client.says(format!("PUB a {subject} 0\r\n\r\n").as_bytes(), b"");
    }
    client.says(b"PUB a r..x 0\r\n\r\nPUB a r.> 0\r\n\r\n", b"");
    client.says(b"SUB a 1\r\nSUB a 1\r\nUNSUB 9\r\nUNSUB 1 zz\r\n", b"");
    client.says(b"SUB a..b 1\r\n", b"-ERR 'Invalid Subject'\r\n");
    // The message is processed all the same.
    client.says(
        b"SUB in 1\r\nPUB a..b in 0\r\n\r\n",
        b"-ERR 'Invalid Publish Subject'\r\n\
          HMSG in 1 36 36\r\nNATS/1.0 503\r\nNats-Subject: a..b\r\n\r\n\r\n",
    );
}

#[test]
fn pedantic_once() {
    let Some(server) = server_unless_different("pedantic_once", &[]) else { return };
    let mut other = Client::connect(&server);
    let mut client = Client::with(&server, "CONNECT {\"verbose\":false}\r\n");
    client.send(b"PUB a..b 4\r\nhi");
    // By now the first part has been read, most likely.
    other.expect_only(b"");
    client.says(b"ho\r\n", b"-ERR 'Invalid Publish Subject'\r\n");
}
