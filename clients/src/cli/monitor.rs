//! Asks the broker's monitor over HTTP.
//!
//! Owns where the monitor is, and the limits of time and size for a response. Must not know what is
//! asked for.

use std::env;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;

use super::defaults;
use super::report::Failure;

/// The variable in place of `--monitor`.
const VARIABLE: &str = "BROKER_MONITOR";
/// For each of: connecting to an address, a part of the response.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest response that is accepted, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// Where the monitor is.
pub(super) struct Monitor {
    address: String,
}

impl Monitor {
    /// What was typed, else what the environment says, else what `config.ini` says.
    pub(super) fn find(given: Option<&str>) -> Result<Monitor, Failure> {
        let variable = env::var(VARIABLE).ok().filter(|value| !value.is_empty());
        let address = match given.map(str::to_owned).or(variable) {
            Some(address) => Some(address),
            None => defaults::load()?.monitor,
        };
        let address = address.ok_or_else(|| {
            Failure::Usage(format!(
                "where is the broker's monitor? Give --monitor HOST:PORT or {VARIABLE}; it is the \
                 address in section [monitor] of the broker's config.ini, and off without one"
            ))
        })?;
        Ok(Monitor { address })
    }

    /// The JSON at a path.
    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        let failed = |what: String| Failure::Failed(format!("monitor {}: {what}", self.address));
        let answer = self.exchange(path).map_err(|error| failed(error.to_string()))?;
        let (head, body) = cut(&answer)
            .ok_or_else(|| failed("what answers there is no monitor of a broker".to_owned()))?;
        match status(head) {
            200 => serde_json::from_slice(body).map_err(|error| failed(error.to_string())),
            status => Err(failed(format!("it answers {path} with status {status}"))),
        }
    }

    fn exchange(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // Version 1.0: the response ends with the connection, and is not chunked.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).map_err(|error| {
            match error.kind() {
                io::ErrorKind::WouldBlock => {
                    io::Error::new(io::ErrorKind::TimedOut, "it does not answer")
                }
                _ => error,
            }
        })?;
        Ok(answer)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// The items of a list; none if it is not a list.
pub(super) fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// Head and body of a response.
fn cut(answer: &[u8]) -> Option<(&[u8], &[u8])> {
    const END: &[u8] = b"\r\n\r\n";
    let end = answer.windows(END.len()).position(|found| found == END)?;
    answer.starts_with(b"HTTP/1.").then_some((&answer[..end], &answer[end + END.len()..]))
}

/// The status of a response; 0 if there is none.
fn status(head: &[u8]) -> u16 {
    let word = head.split(|byte| *byte == b' ').nth(1);
    word.and_then(|word| std::str::from_utf8(word).ok()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_cut_behind_its_head() {
        let (head, body) = cut(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}\r\n\r\n").unwrap();
        assert_eq!((status(head), body), (200, &b"{}\r\n\r\n"[..]));
        assert_eq!(cut(b"\0\0\0\x10 what\r\n\r\n"), None);
        assert_eq!(status(b"HTTP/1.1"), 0);
    }
}
