//! Brokers that are leaf nodes of a cluster of the reference, one at each of its servers. Owns
//! both, and when all have joined.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::cluster::{Cluster, Node, Options};
use crate::eventually;
use crate::server::Server;

/// Servers, and brokers that are their leaf nodes.
pub struct Mesh {
    /// The servers.
    pub cluster: Cluster,
    /// The broker at each of them, in their order.
    pub brokers: Vec<Server>,
}

impl Mesh {
    /// So many servers, with streams or without, and a broker at each.
    pub fn start(nodes: usize, jetstream: bool) -> Mesh {
        Mesh::with(nodes, jetstream, &[])
    }

    /// The brokers have these settings more.
    pub fn with(nodes: usize, jetstream: bool, more: &[&str]) -> Mesh {
        Mesh::with_each(nodes, jetstream, |_| more.iter().map(ToString::to_string).collect())
    }

    /// Each broker has these settings more, by its number.
    pub fn with_each(nodes: usize, jetstream: bool, more: impl Fn(usize) -> Vec<String>) -> Mesh {
        let name = if nodes > 1 { "hubs" } else { "" };
        let cluster = Cluster::start(&Options { nodes, name, jetstream, ..Options::default() });
        let broker = |at: usize| {
            let mut settings = more(at);
            settings.push(format!("link.servers={}", cluster.node(at).leafnodes));
            settings.push(format!("link.name=broker-{at}"));
            settings.push("link.reconnect_min=1".to_owned());
            Server::under_test(&settings.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let brokers = (0..nodes).map(broker).collect();
        let mesh = Mesh { cluster, brokers };
        mesh.wait_until_joined();
        mesh
    }

    /// Waits until each broker is a leaf node of some server.
    pub fn wait_until_joined(&self) {
        let wanted: BTreeSet<_> =
            (0..self.brokers.len()).map(|at| format!("broker-{at}")).collect();
        eventually("all brokers have joined", || {
            let nodes = self.cluster.nodes().iter();
            let joined: BTreeSet<_> = nodes.flat_map(Node::leaf_names).collect();
            (joined == wanted).then_some(())
        });
    }

    /// Where clients connect: the brokers, and the servers behind them.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let servers = self.cluster.nodes().iter().map(|node| node.server.address);
        self.brokers.iter().map(|broker| broker.address).chain(servers).collect()
    }
}
