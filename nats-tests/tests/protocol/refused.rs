//! What the protocol allows but the broker does not support: refused in a way that no library
//! treats as the end of a connection.

use nats_tests::frame::Frame;
use nats_tests::peer::Event;

use crate::client::Client;
use crate::server_unless_different;

/// Sent, and how the text of the error begins.
fn refuses(client: &mut Client, sent: &[u8], text: &str) {
    client.send(sent);
    match client.receive() {
        Event::Frame(Frame::Error(error)) => {
            let error = String::from_utf8(error).expect("an error is UTF-8");
            assert!(error.starts_with(text), "{error} does not begin with {text}");
        }
        other => panic!("no error but {other:?}"),
    }
    client.expect_only(b"");
}

#[test]
fn subjects_that_no_listener_could_carry() {
    let test = "subjects_that_no_listener_could_carry";
    let Some(server) = server_unless_different(test, &[]) else { return };
    let mut client = Client::connect(&server);
    client.says(b"SUB > 1\r\nSUB in 2\r\n", b"");
    let publish = "Permissions Violation for Publish to \"";
    let subscribe = "Permissions Violation for Subscription to \"";
    let rows: [(&[u8], &str); 6] = [
        (b"a\x01b", "a\\x01b\""),
        (b"a\x7Fb", "a\\x7fb\""),
        (b"\0", "\\x00\""),
        (b"a\xFFb", "a\\xffb\""),
        (&b"x".repeat(1_025), "xxxx"),
        (&[&b"x.".repeat(128)[..], b"x"].concat(), "x.x.x"),
    ];
    for (subject, shown) in rows {
        // It is dropped, without a `503`.
        let sent = [b"PUB ", subject, b" in 2\r\nhi\r\n"].concat();
        refuses(&mut client, &sent, &format!("{publish}{shown}"));
        let sent = [b"HPUB ", subject, b" 2 2\r\nhi\r\n"].concat();
        refuses(&mut client, &sent, &format!("{publish}{shown}"));
        let sent = [b"SUB ", subject, b" 3\r\n"].concat();
        refuses(&mut client, &sent, &format!("{subscribe}{shown}"));
        let sent = [b"SUB ", subject, b" group 3\r\n"].concat();
        refuses(&mut client, &sent, &format!("{subscribe}{shown}"));
    }
    // The sid is free.
    client.says(b"UNSUB 1\r\nSUB a 3\r\nPUB a 0\r\n\r\n", b"MSG a 3 0\r\n\r\n");
    let sent = format!("SUB a {} 4\r\n", "q".repeat(256));
    refuses(&mut client, sent.as_bytes(), &format!("{subscribe}a\" using queue \"qqq"));
    // The largest allowed one is delivered.
    for subject in ["x".repeat(1_024), "x.".repeat(127) + "x"] {
        client.send(format!("SUB {subject} 5\r\nPUB {subject} 0\r\n\r\n").as_bytes());
        client.expect_only(format!("MSG {subject} 5 0\r\n\r\n").as_bytes());
        client.says(b"UNSUB 5\r\n", b"");
    }
}

#[test]
fn a_refused_line_has_no_ok() {
    let test = "subjects_that_no_listener_could_carry";
    let Some(server) = server_unless_different(test, &[]) else { return };
    let mut client = Client::with(&server, "CONNECT {\"pedantic\":false}\r\n");
    refuses(&mut client, b"PUB a\x01 0\r\n\r\n", "Permissions Violation for Publish to \"");
    refuses(&mut client, b"SUB a\x01 1\r\n", "Permissions Violation for Subscription to \"");
}

#[test]
fn literal_wildcards() {
    let Some(server) = server_unless_different("literal_wildcards", &[]) else { return };
    let mut client = Client::connect(&server);
    client.says(b"SUB > 1\r\nSUB a.* 2\r\nSUB * 3\r\n", b"");
    for subject in ["a.*", "a.>", "*", ">"] {
        client.says(format!("PUB {subject} 0\r\n\r\n").as_bytes(), b"");
    }
    let mut pedantic = Client::with(&server, "CONNECT {\"verbose\":false}\r\n");
    for subject in ["a.*", "a.>", "*", ">"] {
        let sent = format!("PUB {subject} 0\r\n\r\n");
        pedantic.says(sent.as_bytes(), b"-ERR 'Invalid Publish Subject'\r\n");
    }
    client.expect_only(b"");
}
