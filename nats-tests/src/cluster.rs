//! Clusters of the reference with ports for leaf nodes. Owns their servers, and when all of them
//! know each other; what is tested about them is not known here.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::server::Server;
use crate::{eventually, monitor};

/// What a cluster is to be.
#[derive(Clone, Debug, Default)]
pub struct Options<'a> {
    /// How many servers it has. A single one has no port for others, and no name of a cluster.
    pub nodes: usize,
    /// The name of its cluster, for more than one.
    pub name: &'a str,
    /// The servers keep streams, in a directory that goes with the cluster.
    pub jetstream: bool,
    /// The name and password that leaf nodes have to give.
    pub user: Option<(&'a str, &'a str)>,
    /// More settings in the block `leafnodes`, as the configuration has them.
    pub leafnodes: &'a str,
    /// More settings of each server, `key=value`.
    pub more: &'a [&'a str],
}

/// Servers that know each other. They are ended when this is dropped.
pub struct Cluster {
    nodes: Vec<Node>,
    store: Option<PathBuf>,
}

/// A server of a cluster.
pub struct Node {
    /// Its name, `hub-1` and so on.
    pub name: String,
    /// Its process, and where it listens for clients.
    pub server: Server,
    /// Where it listens for leaf nodes: the same after a restart.
    pub leafnodes: SocketAddr,
}

impl Node {
    /// What its monitor tells. `None`: it has none at present, or does not answer with 200.
    pub fn read(&self, target: &str) -> Option<Value> {
        monitor::read(self.server.monitor?, target)
    }

    /// The leaf nodes that it has, by `/leafz`: the name of each.
    pub fn leaf_names(&self) -> BTreeSet<String> {
        let answer = self.read("/leafz").unwrap_or_default();
        names(&answer["leafs"], "name")
    }
}

impl Cluster {
    /// Starts one, and waits until all of its servers know each other, and streams can be made.
    pub fn start(options: &Options) -> Cluster {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let store = || std::env::temp_dir().join(format!("streams-{}-{number}", process::id()));
        let store = options.jetstream.then(store);
        // Each server has to be told the ports of all.
        let ports = free_ports(2 * options.nodes);
        let (routes, leafnodes) = ports.split_at(options.nodes);
        let start = |at: usize| {
            let name = format!("hub-{}", at + 1);
            let settings = settings(options, &name, (at, routes), leafnodes[at], store.as_ref());
            let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
            Node { name, server: Server::reference(&settings), leafnodes: leafnodes[at] }
        };
        let cluster = Cluster { nodes: (0..options.nodes).map(start).collect(), store };
        cluster.wait_until_joined();
        cluster
    }

    /// One of its servers, from 0.
    pub fn node(&self, at: usize) -> &Node {
        &self.nodes[at]
    }

    /// All of its servers.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Ends one of its servers by this signal, and waits for its end.
    pub fn stop(&mut self, at: usize, signal: &str) {
        self.nodes[at].server.stop(signal);
    }

    /// Starts one that was ended, on the same ports, and waits until all know each other again.
    pub fn start_again(&mut self, at: usize) {
        self.nodes[at].server.start_again();
        self.wait_until_joined();
    }

    /// Starts one that was ended, on the same ports, and does not wait for the others.
    pub fn start_one(&mut self, at: usize) {
        self.nodes[at].server.start_again();
    }

    /// Waits until each of its servers is connected to all others, and is ready. All must run.
    pub fn wait_until_joined(&self) {
        for node in &self.nodes {
            let others = self.nodes.iter().filter(|other| other.name != node.name);
            let others: BTreeSet<_> = others.map(|other| other.name.clone()).collect();
            eventually(&format!("{} knows {others:?}", node.name), || {
                let known = names(&node.read("/routez")?["routes"], "remote_name");
                (known == others && node.read("/healthz").is_some()).then_some(())
            });
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes.clear();
        if let Some(store) = &self.store {
            let _ = fs::remove_dir_all(store);
        }
    }
}

/// The configuration of one server, `key=value`.
fn settings(
    options: &Options,
    name: &str,
    (at, routes): (usize, &[SocketAddr]),
    leafnodes: SocketAddr,
    store: Option<&PathBuf>,
) -> Vec<String> {
    let log_in = options.user.map_or_else(String::new, |(user, password)| {
        format!(", authorization {{ user: {user:?}, password: {password:?} }}")
    });
    let more = match options.leafnodes {
        "" => String::new(),
        more => format!(", {more}"),
    };
    let mut settings = vec![
        format!("server_name={name}"),
        "http_port=-1".to_owned(),
        format!("leafnodes={{ listen: \"{leafnodes}\"{log_in}{more} }}"),
    ];
    if routes.len() > 1 {
        let others: Vec<_> = routes.iter().map(|route| format!("\"nats://{route}\"")).collect();
        let (own, others) = (routes[at], others.join(", "));
        let name = options.name;
        settings.push(format!("cluster={{ name: {name}, listen: \"{own}\", routes: [{others}] }}"));
    }
    if let Some(store) = store {
        let store = store.join(name);
        settings.push(format!("jetstream={{ store_dir: {store:?}, max_mem: 64M, max_file: 64M }}"));
    }
    settings.extend(options.more.iter().map(ToString::to_string));
    settings
}

/// The texts in this field of each object in a list.
fn names(list: &Value, field: &str) -> BTreeSet<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|entry| entry[field].as_str().map(str::to_owned)).collect()
}

/// So many addresses on which nobody listens. Another program may take one until it is used.
fn free_ports(count: usize) -> Vec<SocketAddr> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    // All are held until the last is chosen, so that no two are the same.
    let held: Vec<_> = (0..count).map(bind).collect();
    held.iter().map(|listener| listener.local_addr().expect("it is bound")).collect()
}
