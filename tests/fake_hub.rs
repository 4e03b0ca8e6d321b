//! Proves that the hub which tests let a broker dial keeps to the protocol: a leaf node written on
//! `wire::leaf` joins it, is told what it should be, and is heard.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use serde_json::json;
use support::{Hub, Link, LinkMessage, PATIENCE};
use wire::leaf::connect::{Connect, LogIn};
use wire::leaf::info::HubInfo;
use wire::leaf::line::{Line, Message, parse};
use wire::leaf::{LINE_END, MAX_LINE_BYTES};

/// A leaf node that waits for each line.
struct Leaf {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Leaf {
    /// Dials a hub and joins it, with this beside CONNECT.
    fn join(hub: &Hub, lines: &str, joined: &str) -> (Leaf, Link) {
        let stream = TcpStream::connect(hub.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes its options");
        let mut leaf = Leaf { stream, read: Vec::new() };
        let log_in = LogIn::User { user: "u", pass: "p" };
        let connect = Connect {
            name: "leaf",
            headers: true,
            cluster: "leaves",
            remote_account: "LEAVES",
            version: "2.10.0",
            protocol: 1,
            log_in,
            deny_pub: &[],
            isolate: false,
        };
        let mut out = Vec::new();
        connect.write(&mut out);
        leaf.send(&out);
        leaf.send(lines.as_bytes());
        leaf.send(b"PING\r\n");
        let link = hub.greet();
        link.join(joined);
        (leaf, link)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the hub takes lines");
    }

    /// The next line as it is written, and what follows it. Both are empty at the end.
    fn next(&mut self) -> (String, Vec<u8>) {
        loop {
            if let Some((line, length)) = parse(&self.read, MAX_LINE_BYTES).expect("a hub's line") {
                let body = match line {
                    Line::Message(message) => message.total_bytes as usize + LINE_END.len(),
                    _ => 0,
                };
                if self.read.len() >= length + body {
                    let mut bytes = self.read.split_off(length + body);
                    std::mem::swap(&mut bytes, &mut self.read);
                    let body = bytes.split_off(length);
                    return (String::from_utf8_lossy(&bytes).trim_end().to_owned(), body);
                }
            }
            let mut more = [0; 4_096];
            match self.stream.read(&mut more).expect("a line was due") {
                0 => return (String::new(), Vec::new()),
                count => self.read.extend_from_slice(&more[..count]),
            }
        }
    }

    fn info(&mut self) -> HubInfo {
        let (line, _) = self.next();
        let json = line.strip_prefix("INFO ").unwrap_or_else(|| panic!("INFO was due: {line}"));
        HubInfo::parse(json.as_bytes()).expect("INFO can be read")
    }
}

#[test]
fn a_leaf_node_joins_and_is_told_in_the_usual_order() {
    let hub = Hub::with(&json!({"cluster": "hubs", "export": {"deny": ["secret"]}}));
    let lines = "LS+ a.>\r\nLS+ a.* g 2\r\nLS+ b\r\nLS- b\r\n";
    let (mut leaf, link) = Leaf::join(&hub, lines, "LS+ $LDS.x\r\n");
    assert_eq!((&link.connect()["user"], &link.connect()["pass"]), (&json!("u"), &json!("p")));
    let first = leaf.info();
    assert!(first.is_leaf_port && first.nonce.is_some() && !first.connect_info);
    assert_eq!((first.cluster.as_str(), first.max_payload), ("hubs", Some(1_048_576)));
    assert_eq!(first.leafnode_urls, Some(vec![hub.address.to_string()]));
    let joined = leaf.info();
    assert!(joined.connect_info && joined.remote_account == "$G" && joined.nonce.is_none());
    assert!(!joined.export.permits(b"secret"));
    assert_eq!(leaf.next().0, "LS+ $LDS.x");
    assert_eq!(leaf.next().0, "PONG");
    link.wait_for_interest("a.>", 1);
    link.wait_for_interest("a.* g", 2);
    link.wait_for_no_interest("b");
    assert_eq!(link.state().changes, ["LS+ a.>", "LS+ a.* g 2", "LS+ b", "LS- b"]);
    link.info(&json!({"leafnode_urls": []}));
    assert_eq!(leaf.info().leafnode_urls, Some(Vec::new()));
}

#[test]
fn messages_pass_both_ways_in_all_forms() {
    let hub = Hub::start();
    let (mut leaf, link) = Leaf::join(&hub, "", "");
    while leaf.next().0 != "PONG" {}
    let headers = "NATS/1.0\r\n\r\n";
    link.publish("a", "", b"1");
    link.publish("a + r g h", headers, b"LS+ x\r\n");
    assert_eq!(leaf.next(), ("LMSG a 1".to_owned(), b"1\r\n".to_vec()));
    let body = b"NATS/1.0\r\n\r\nLS+ x\r\n\r\n".to_vec();
    assert_eq!(leaf.next(), ("HMSG a + r g h 12 19".to_owned(), body));
    let groups: [&[u8]; 2] = [b"g", b"h"];
    for (reply, groups) in [(None, &groups[..0]), (Some(b"r".as_slice()), &groups), (None, &groups)]
    {
        for header_bytes in [None, Some(12)] {
            let total_bytes = header_bytes.unwrap_or(0) + 2;
            let mut out = Vec::new();
            Message { subject: b"s", reply, groups, header_bytes, total_bytes }.write(&mut out);
            out.extend_from_slice(header_bytes.map_or(b"", |_| headers.as_bytes()));
            out.extend_from_slice(b"hi\r\n");
            leaf.send(&out);
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let expected = LinkMessage {
                subject: "s".to_owned(),
                reply: reply.map(text),
                groups: groups.iter().map(|name| text(name)).collect(),
                headers: header_bytes.map_or(Vec::new(), |_| headers.into()),
                payload: b"hi".to_vec(),
            };
            assert_eq!(link.message(), expected);
        }
    }
}

#[test]
fn a_hub_answers_or_does_not_and_asks_itself() {
    let hub = Hub::start();
    let (mut leaf, link) = Leaf::join(&hub, "", "");
    while leaf.next().0 != "PONG" {}
    link.set_answers(false);
    leaf.send(b"PING\r\nLS+ a\r\n");
    link.wait_for_interest("a", 1);
    link.send("+OK\r\n");
    assert_eq!(leaf.next().0, "+OK", "PING was not answered");
    thread::scope(|scope| {
        scope.spawn(|| link.confirm());
        assert_eq!(leaf.next().0, "PING");
        leaf.send(b"LMSG b 0\r\n\r\nPONG\r\n");
    });
    assert_eq!(link.state().messages.len(), 1);
}

#[test]
fn links_end_and_the_port_comes_again() {
    let mut hub = Hub::start();
    let (mut leaf, link) = Leaf::join(&hub, "", "");
    while leaf.next().0 != "PONG" {}
    hub.close();
    assert!(TcpStream::connect(hub.address).is_err());
    thread::scope(|scope| {
        scope.spawn(|| link.refuse("Loop detected"));
        assert_eq!(leaf.next().0, "-ERR 'Loop detected'");
        assert_eq!(leaf.next().0, "");
        drop(leaf);
    });
    hub.reopen();
    let (mut leaf, link) = Leaf::join(&hub, "LS+ again\r\n", "");
    while leaf.next().0 != "PONG" {}
    link.wait_for_interest("again", 1);
    leaf.send(b"-ERR 'Loop detected'\r\n");
    drop(leaf);
    assert_eq!(link.wait_for_end(), ["Loop detected"]);
    assert!(!hub.is_dialled());
}
