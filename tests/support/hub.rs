//! A hub that a broker dials as a leaf node, by a script: it says what a test tells it to, when the
//! test does. What happens on a link is [`Link`]'s.

use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::{Value, json};

use super::link::{Link, merge};
use super::{PATIENCE, eventually};

/// A port for leaf nodes.
pub(crate) struct Hub {
    pub(crate) address: SocketAddr,
    /// `None`: connections are refused.
    listener: Option<TcpListener>,
    info: Value,
}

impl Hub {
    /// As a nats-server is without settings.
    pub(crate) fn start() -> Hub {
        Hub::with(&json!({}))
    }

    /// With these fields in each INFO, in place of its own or beside them.
    pub(crate) fn with(fields: &Value) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let mut info = json!({
            "server_id": "NHUB",
            "server_name": "hub",
            "version": "2.15.1",
            "proto": 3,
            "host": "127.0.0.1",
            "port": address.port(),
            "headers": true,
            "auth_required": true,
            "max_payload": 1_048_576,
            "client_id": 5,
            "compression": "s2_auto",
            "leafnode_urls": [address.to_string()],
        });
        merge(&mut info, fields);
        listener.set_nonblocking(true).expect("a socket takes its options");
        Hub { address, listener: Some(listener), info }
    }

    /// Waits for the next connection, and says nothing on it.
    pub(crate) fn accept_silent(&self) -> TcpStream {
        let listener = self.listener.as_ref().expect("the hub listens");
        let (stream, _) = eventually("a broker dials", || listener.accept().ok());
        stream.set_nonblocking(false).expect("a socket takes its options");
        stream.set_nodelay(true).expect("a socket takes its options");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes its options");
        stream
    }

    /// Whether a connection waits to be accepted. It is, and lost with that.
    pub(crate) fn is_dialled(&self) -> bool {
        self.listener.as_ref().expect("the hub listens").accept().is_ok()
    }

    /// Waits for the next connection, introduces itself, and waits for CONNECT.
    pub(crate) fn greet(&self) -> Link {
        let link = Link::on(self.accept_silent(), &self.info);
        link.info(&json!({"nonce": "bm9uY2U"}));
        drop(link.wait_until("CONNECT", |state| state.connect.is_some()));
        link
    }

    /// The same, and lets the broker join without any interest of its own.
    pub(crate) fn accept(&self) -> Link {
        let link = self.greet();
        link.join("");
        link
    }

    /// Refuses connections from now on. Links stay as they are.
    pub(crate) fn close(&mut self) {
        self.listener = None;
    }

    /// Listens again, on the same port.
    pub(crate) fn reopen(&mut self) {
        let listener = eventually("the port is free", || TcpListener::bind(self.address).ok());
        listener.set_nonblocking(true).expect("a socket takes its options");
        self.listener = Some(listener);
    }
}
