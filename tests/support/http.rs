//! A raw HTTP client: sends any bytes, and separates responses by their Content-Length.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::PATIENCE;

/// One response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    /// The value of a header, which must be there once.
    pub(crate) fn header(&self, name: &str) -> &str {
        let named = |line: &&str| line.split(": ").next() == Some(name);
        let lines: Vec<&str> = self.head.lines().filter(named).collect();
        assert_eq!(lines.len(), 1, "{name} is due once in:\n{}", self.head);
        lines[0].split_once(": ").expect("it was found by that").1
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("Content-Type"), "application/json");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The value of a sample of `/metrics`, named with its labels.
    pub(crate) fn sample(&self, name: &str) -> f64 {
        let found = self.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let found = found.unwrap_or_else(|| panic!("no {name} in:\n{}", self.body));
        found.parse().unwrap_or_else(|_| panic!("{name} is no number: {found}"))
    }
}

/// One connection to a monitor.
pub(crate) struct Http {
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
}

impl Http {
    pub(crate) fn connect(address: SocketAddr) -> Http {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes its options");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes its options");
        Http { stream, received: Vec::new() }
    }

    /// With a small kernel buffer on this side, so that not reading has an effect soon.
    pub(crate) fn connect_small(address: SocketAddr) -> Http {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)
            .expect("the system has a socket for a test");
        socket.set_recv_buffer_size(4_096).expect("the buffer size can be set");
        socket.connect(&address.into()).expect("it listens");
        Http { stream: socket.into(), received: Vec::new() }
    }

    /// One request on a new connection.
    pub(crate) fn get(address: SocketAddr, target: &str) -> Response {
        let mut http = Http::connect(address);
        http.send(&request("GET", target));
        http.response()
    }

    /// One request; `None` if the connection is closed without a response.
    pub(crate) fn try_get(address: SocketAddr, target: &str) -> Option<Response> {
        let mut http = Http::connect(address);
        http.stream.write_all(request("GET", target).as_bytes()).ok()?;
        let answered = http.stream.peek(&mut [0]).is_ok_and(|count| count > 0);
        answered.then(|| http.response())
    }

    pub(crate) fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).expect("the broker takes a request");
    }

    /// The next response, with its body.
    pub(crate) fn response(&mut self) -> Response {
        let mut response = self.response_to_head();
        let length: usize = response.header("Content-Length").parse().expect("it is a number");
        self.fill(length);
        let body = self.received.drain(..length).collect();
        response.body = String::from_utf8(body).expect("all bodies are UTF-8");
        response
    }

    /// The next response, which has no body.
    pub(crate) fn response_to_head(&mut self) -> Response {
        let end = loop {
            let text = self.received.windows(4).position(|four| four == b"\r\n\r\n");
            match text {
                Some(end) => break end + 4,
                None => self.fill(self.received.len() + 1),
            }
        };
        let head = self.received.drain(..end).collect();
        let head = String::from_utf8(head).expect("all heads are ASCII");
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status in: {head}"));
        Response { status, head, body: String::new() }
    }

    /// Nothing more may arrive but the end.
    pub(crate) fn expect_close(&mut self) {
        let rest = String::from_utf8_lossy(&self.received);
        assert!(rest.is_empty(), "the end was due, not: {rest}");
        match self.stream.read(&mut [0]) {
            Ok(count) => assert_eq!(count, 0, "the end was due"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
    }

    /// Reads until there are so many bytes.
    fn fill(&mut self, count: usize) {
        let mut buffer = [0; 65_536];
        while self.received.len() < count {
            let read = self.stream.read(&mut buffer).expect("a response was due");
            let so_far = String::from_utf8_lossy(&self.received);
            assert!(read > 0, "the connection ended within a response: {so_far}");
            self.received.extend(&buffer[..read]);
        }
    }
}

/// A request.
pub(crate) fn request(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}
