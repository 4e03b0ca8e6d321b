//! Proves that the clusters of the tests are what they say: servers that know each other, with
//! ports that a leaf node can join, and the same ports after a restart.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use nats_tests::cluster::{Cluster, Options};
use nats_tests::peer::Peer;
use nats_tests::{PATIENCE, eventually};
use serde_json::{Value, json};

/// A leaf node, line by line.
struct Leaf(BufReader<TcpStream>);

impl Leaf {
    /// Dials, and reads INFO.
    fn dial(address: SocketAddr) -> (Leaf, Value) {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("the socket takes options");
        let mut leaf = Leaf(BufReader::new(stream));
        let info = leaf.line();
        let json = info.strip_prefix("INFO ").unwrap_or_else(|| panic!("INFO was due: {info}"));
        (leaf, serde_json::from_str(json).expect("INFO is JSON"))
    }

    /// Joins with these fields of CONNECT, asks for this, and waits until it is in force.
    fn join(&mut self, connect: &Value, interest: &str) {
        self.send(&format!("CONNECT {connect}\r\nLS+ {interest}\r\nPING\r\n"));
        while self.line() != "PONG" {}
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("it takes lines");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let count = self.0.read_line(&mut line).expect("a line was due");
        assert!(count > 0, "the connection has ended");
        line.trim_end().to_owned()
    }

    /// The next line that is a message, and its body.
    fn message(&mut self) -> (String, String) {
        let mut line = self.line();
        while !line.starts_with("LMSG ") {
            line = self.line();
        }
        let size = line.rsplit(' ').next().and_then(|size| size.parse::<usize>().ok());
        let mut body = vec![0; size.expect("a message says its size") + 2];
        self.0.read_exact(&mut body).expect("the rest of a message");
        (line, String::from_utf8_lossy(&body).trim_end().to_owned())
    }
}

#[test]
fn one_server_asks_leaf_nodes_who_they_are() {
    let user = Some(("leaf", "its \"password\""));
    let cluster = Cluster::start(&Options { nodes: 1, user, ..Options::default() });
    let node = cluster.node(0);
    let (mut refused, info) = Leaf::dial(node.leafnodes);
    assert_eq!((&info["server_name"], &info["cluster"]), (&json!("hub-1"), &Value::Null));
    refused.send("CONNECT {\"user\":\"leaf\",\"pass\":\"another\"}\r\n");
    assert_eq!(refused.line(), "-ERR 'Authorization Violation'");
    let (mut leaf, _) = Leaf::dial(node.leafnodes);
    let connect = json!({"name": "l", "user": "leaf", "pass": "its \"password\""});
    leaf.join(&connect, "a.>");
    assert_eq!(node.leaf_names(), BTreeSet::from(["l".to_owned()]));
    let mut client = Peer::connect(node.server.address);
    client.send(b"CONNECT {\"verbose\":false}\r\nPUB a.b 2\r\nhi\r\n");
    assert_eq!(leaf.message(), ("LMSG a.b 2".to_owned(), "hi".to_owned()));
}

#[test]
fn three_servers_know_each_other_and_come_again_on_the_same_ports() {
    let options = Options { nodes: 3, name: "hubs", jetstream: true, ..Options::default() };
    let mut cluster = Cluster::start(&options);
    let ports: Vec<_> = cluster.nodes().iter().map(|node| node.leafnodes).collect();
    let urls: BTreeSet<_> = ports.iter().map(ToString::to_string).collect();
    let told = |info: &Value| -> BTreeSet<String> {
        serde_json::from_value(info["leafnode_urls"].clone()).expect("it is a list of texts")
    };
    for address in &ports {
        let (_, info) = Leaf::dial(*address);
        assert_eq!((told(&info), &info["cluster"]), (urls.clone(), &json!("hubs")));
        assert_eq!(info["jetstream"], true);
    }
    let (mut leaf, _) = Leaf::dial(ports[0]);
    leaf.join(&json!({"name": "l"}), "a.>");
    cluster.stop(1, "KILL");
    assert!(TcpStream::connect(ports[1]).is_err(), "it has ended");
    // The hub tells its leaf nodes which servers are left.
    let is_told = |leaf: &mut Leaf, count: usize| loop {
        let line = leaf.line();
        let Some(json) = line.strip_prefix("INFO ") else { continue };
        if told(&serde_json::from_str(json).expect("INFO is JSON")).len() == count {
            return;
        }
    };
    is_told(&mut leaf, 2);
    cluster.start_again(1);
    is_told(&mut leaf, 3);
    // It learns again what the leaf node of another wants, in its own time.
    let node = cluster.node(1);
    eventually("it knows the interest", || {
        let routes = node.read("/routez?subs=1")?;
        routes["routes"].to_string().contains("\"a.>\"").then_some(())
    });
    let mut client = Peer::connect(node.server.address);
    client.send(b"CONNECT {\"verbose\":false}\r\nPUB a.b 5\r\nagain\r\n");
    assert_eq!(leaf.message(), ("LMSG a.b 5".to_owned(), "again".to_owned()));
}
