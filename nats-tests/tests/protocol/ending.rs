//! How connections end: silent clients, slow ones, and the server's own end.

use nats_tests::frame::Frame;
use nats_tests::peer::Event;
use nats_tests::server::Server;

use crate::client::Client;
use crate::server_unless_different;

#[test]
fn a_client_that_does_not_answer_is_stale() {
    let server = Server::under_test(&["timeouts.heartbeat=10", "ping_interval=10s"]);
    let mut client = Client::connect(&server);
    let mut other = Client::connect(&server);
    let mut pings = 0;
    loop {
        match client.receive_any() {
            Event::Frame(Frame::Ping) => pings += 1,
            Event::Frame(Frame::Info(_)) => {}
            Event::Frame(Frame::Error(text)) => {
                assert_eq!(text, b"Stale Connection");
                break;
            }
            other => panic!("{other:?}"),
        }
        // A client that answers stays connected.
        other.expect_only(b"");
    }
    client.expect_end(b"");
    assert!((2..=3).contains(&pings), "{pings} PINGs");
    other.expect_only(b"");
}

#[test]
fn what_was_sent_before_the_end_is_processed() {
    let server = Server::under_test(&[]);
    let mut subscriber = Client::connect(&server);
    subscriber.says(b"SUB a 1\r\n", b"");
    let mut client = Client::connect(&server);
    client.send(b"PUB a 2\r\nhi\r\nPUB a 3\r\nho");
    client.end_sending();
    client.expect_end(b"");
    subscriber.expect_only(b"MSG a 1 2\r\nhi\r\n");
}

/// A text that is unknown to libraries would keep them from connecting again.
#[test]
fn a_slow_client_is_closed_without_a_word() {
    let server = Server::under_test(&["outbox=1048576"]);
    let mut slow = Client::connect(&server);
    slow.says(b"SUB a 1\r\n", b"");
    let mut publisher = Client::connect(&server);
    publisher.says(b"SUB in 1\r\n", b"");
    let publication = format!("PUB a in 65536\r\n{}\r\nPING\r\n", "x".repeat(65_536));
    // More than kernels buffer for a connection; without a subscriber, the slow client is closed.
    let mut gone = false;
    for _ in 0..2_000 {
        publisher.send(publication.as_bytes());
        match publisher.receive() {
            Event::Frame(Frame::Message(message)) if message.is_no_responders() => gone = true,
            Event::Frame(Frame::Pong) => {}
            other => panic!("{other:?}"),
        }
        if gone {
            break;
        }
    }
    assert!(gone, "128 MiB later the slow client is still there");
    loop {
        match slow.receive() {
            Event::Frame(Frame::Message(message)) => assert_eq!(message.payload.len(), 65_536),
            Event::Closed(_) => break,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_end_of_the_server_is_without_a_word() {
    let mut server = Server::under_test(&[]);
    let mut client = Client::connect(&server);
    let mut silent = Client::silent(&server);
    client.says(b"SUB a 1\r\n", b"");
    server.signal("TERM");
    client.expect_end(b"");
    silent.expect_end(b"");
    server.wait();
}

#[test]
fn lame_duck() {
    let Some(mut server) = server_unless_different("lame_duck", &[]) else { return };
    let mut old = Client::quiet_with(&server, "\"protocol\":0");
    let mut new = Client::quiet_with(&server, "\"protocol\":1");
    server.signal("TERM");
    let mut told = false;
    loop {
        match new.receive_any() {
            Event::Frame(Frame::Info(json)) => {
                let info: serde_json::Value = serde_json::from_slice(&json).expect("it is JSON");
                told |= info["ldm"] == true;
                // It replaces all that was known before.
                assert!(info["max_payload"].is_u64() && info["version"].is_string(), "{info}");
            }
            Event::Frame(Frame::Ping) => {}
            Event::Closed(rest) => {
                assert!(rest.is_empty());
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(told, "a client that takes INFO is told of the end");
    loop {
        match old.receive_any() {
            Event::Frame(Frame::Info(json)) => {
                assert!(!String::from_utf8_lossy(&json).contains("ldm"), "it did not ask for that");
            }
            Event::Frame(Frame::Ping) => {}
            Event::Closed(_) => break,
            other => panic!("{other:?}"),
        }
    }
    server.wait();
}

#[test]
fn drain() {
    let Some(mut server) = server_unless_different("drain", &["outbox=67108864"]) else { return };
    let mut subscriber = Client::connect(&server);
    subscriber.says(b"SUB a 1\r\n", b"");
    let mut publisher = Client::connect(&server);
    let payload = "x".repeat(65_536);
    // More than the kernel takes for a client that does not read.
    for _ in 0..500 {
        publisher.send(format!("PUB a 65536\r\n{payload}\r\n").as_bytes());
    }
    publisher.expect_only(b"");
    server.signal("TERM");
    let mut count = 0;
    loop {
        match subscriber.receive() {
            Event::Frame(Frame::Message(message)) => {
                assert_eq!(message.payload.len(), 65_536);
                count += 1;
            }
            Event::Closed(rest) => {
                assert!(rest.is_empty());
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(count, 500, "what was published before is delivered");
    server.wait();
}
