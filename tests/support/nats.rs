//! A raw NATS client: sends any lines, and returns what it receives.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;
use super::peer::tiny_socket;

/// A connection to the port for NATS clients.
pub(crate) struct NatsPeer {
    stream: BufReader<TcpStream>,
    /// The broker's INFO.
    pub(crate) info: serde_json::Value,
}

impl NatsPeer {
    /// Connects, sends this CONNECT, and waits until it is processed.
    pub(crate) fn connect(address: SocketAddr, json: &str) -> NatsPeer {
        let mut peer = NatsPeer::begin(address);
        peer.send(&format!("CONNECT {json}\r\n"));
        peer.confirm();
        peer
    }

    /// The same with the smallest buffers that there are, so that what is sent soon waits in the
    /// broker.
    pub(crate) fn connect_tiny(address: SocketAddr, json: &str) -> NatsPeer {
        let mut peer = NatsPeer::on(tiny_socket(address));
        peer.send(&format!("CONNECT {json}\r\n"));
        peer.confirm();
        peer
    }

    /// Connects, and reads INFO.
    pub(crate) fn begin(address: SocketAddr) -> NatsPeer {
        NatsPeer::on(TcpStream::connect_timeout(&address, PATIENCE).expect("it listens"))
    }

    fn on(stream: TcpStream) -> NatsPeer {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes its options");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes its options");
        let mut peer = NatsPeer { stream: BufReader::new(stream), info: serde_json::Value::Null };
        let info = peer.line();
        let info = info.strip_prefix("INFO ").unwrap_or_else(|| panic!("INFO was due: {info}"));
        peer.info = serde_json::from_str(info).expect("INFO is JSON");
        peer
    }

    /// A client with this name that only receives answers to its requests.
    pub(crate) fn named(address: SocketAddr, name: &str) -> NatsPeer {
        NatsPeer::connect(address, &format!("{{\"verbose\":false,\"name\":\"{name}\"}}"))
    }

    /// Its end of the connection.
    pub(crate) fn local(&self) -> SocketAddr {
        self.stream.get_ref().local_addr().expect("it is connected")
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).expect("the broker takes lines");
    }

    /// Waits until everything sent before is processed.
    pub(crate) fn confirm(&mut self) {
        self.send("PING\r\n");
        assert_eq!(self.line(), "PONG");
    }

    /// The next line, without its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line was due");
        line.trim_end().to_owned()
    }

    /// The next message: its line, and what follows it. `None`: the connection has ended.
    pub(crate) fn message(&mut self) -> Option<(String, Vec<u8>)> {
        let line = self.line();
        if line.is_empty() {
            return None;
        }
        assert!(line.starts_with("MSG ") || line.starts_with("HMSG "), "no message: {line}");
        let size = line.rsplit(' ').next().and_then(|size| size.parse::<usize>().ok());
        let mut body = vec![0; size.expect("a message says its size") + 2];
        self.stream.read_exact(&mut body).expect("the rest of a message");
        assert!(body.ends_with(b"\r\n"), "a message ends with CR LF");
        body.truncate(body.len() - 2);
        Some((line, body))
    }

    /// A second handle to the connection, to write while this one reads.
    pub(crate) fn sender(&self) -> TcpStream {
        self.stream.get_ref().try_clone().expect("a socket can be shared")
    }

    /// The next message has this payload.
    pub(crate) fn expect_payload(&mut self, payload: &str) {
        let line = self.line();
        assert!(
            line.starts_with("MSG ") && line.ends_with(&format!(" {}", payload.len())),
            "{line}"
        );
        assert_eq!(self.line(), payload);
    }

    /// The beginning of the next line, which stays to be read.
    pub(crate) fn peek_line(&mut self) -> String {
        let bytes = self.stream.fill_buf().expect("something was due");
        String::from_utf8_lossy(&bytes[..bytes.len().min(5)]).into_owned()
    }

    /// Reads to the end of the connection; until then there are only messages, the last of which
    /// may be cut.
    pub(crate) fn read_messages_to_end(mut self) {
        let mut all = Vec::new();
        let _ = self.stream.read_to_end(&mut all);
        assert!(!all.windows(5).any(|part| part == b"-ERR "), "it is closed without a word");
    }

    /// Reads to the end of the connection, however it comes.
    pub(crate) fn read_to_end(mut self) {
        let mut bytes = [0; 65_536];
        while self.stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
    }
}
