//! Asks the broker's monitor over HTTP.
//!
//! Owns where the monitor is, what is shown to it, and the limits of time and size for a response.
//! Must not know what is asked for.

use std::env;
use std::io::{self, Read};
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pubsub_client::{Secrets, Stream};
use serde_json::Value;

use super::args::Connection;
use super::defaults;
use super::report::Failure;
use crate::credentials::{Credentials, advice};

/// The variable in place of `--monitor`.
const VARIABLE: &str = "BROKER_MONITOR";
/// For each of: connecting to an address, a part of the response.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest response that is accepted, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// Where the monitor is, and how it is asked.
pub(super) struct Monitor {
    address: String,
    /// Whom to trust, and what to show; `None`: plain bytes.
    tls: Option<Secrets>,
    /// Who asks.
    credentials: Option<Credentials>,
}

impl Monitor {
    /// What was typed, else what the environment says, else what `config.ini` says.
    pub(super) fn find(given: Option<&str>, how: &Connection) -> Result<Monitor, Failure> {
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
        let credentials = how.credentials.read().map_err(Failure::Usage)?;
        let host = address.rsplit_once(':').map_or(&*address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let tls = how.tls.of(Some(host)).map(|tls| tls.load()).transpose();
        let tls = tls.map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(Monitor { address, tls, credentials })
    }

    /// The JSON at a path.
    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        let failed = |what: String| Failure::Failed(format!("monitor {}: {what}", self.address));
        let exchange =
            |shown| self.exchange(path, shown).map_err(|error| failed(error.to_string()));
        let hint = if self.tls.is_none() { ", or one that wants --tls" } else { "" };
        let no_monitor = || failed(format!("what answers there is no monitor of a broker{hint}"));
        let mut answer = exchange(None)?;
        // A monitor that asks for no secret is given none.
        if let Some(credentials) = &self.credentials
            && cut(&answer).is_some_and(|(head, _)| status(head) == 401)
        {
            answer = exchange(Some(credentials))?;
        }
        let (head, body) = cut(&answer).ok_or_else(no_monitor)?;
        match status(head) {
            200 => serde_json::from_slice(body).map_err(|error| failed(error.to_string())),
            401 => Err(failed(advice(self.credentials.as_ref()))),
            status => Err(failed(format!("it answers {path} with status {status}"))),
        }
    }

    fn exchange(&self, path: &str, shown: Option<&Credentials>) -> io::Result<Vec<u8>> {
        let stream = self.connect()?;
        // Version 1.0: the response ends with the connection, and is not chunked.
        let mut request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n", self.address);
        if let Some(Credentials { user, secret }) = shown {
            let both = format!("{user}:{}", secret.as_deref().unwrap_or_default());
            request += &format!("Authorization: Basic {}\r\n", STANDARD.encode(both));
        }
        request += "\r\n";
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        (&stream).take(MAX_ANSWER_BYTES).read_to_end(&mut answer).map_err(|error| {
            match error.kind() {
                io::ErrorKind::WouldBlock => {
                    io::Error::new(io::ErrorKind::TimedOut, "it does not answer")
                }
                _ => error,
            }
        })?;
        Ok(answer)
    }

    fn connect(&self) -> io::Result<Stream> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => return self.secure(stream, address.ip()),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn secure(&self, stream: TcpStream, address: IpAddr) -> io::Result<Stream> {
        stream.set_write_timeout(Some(PATIENCE))?;
        let stream = match &self.tls {
            None => Stream::plain(stream.into()),
            Some(secrets) => {
                let deadline = Instant::now().checked_add(PATIENCE);
                Stream::secure(stream.into(), secrets.session(address)?, deadline)?
            }
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
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
