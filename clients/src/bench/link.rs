//! A connection to the broker: opened, greeted, confirmed. Blocking.
//!
//! Speaks of single frames; must not know what is measured.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use wire::native::error_code::ErrorCode;
use wire::native::frame::{self, Frame, Kind, Reader};
use wire::native::handshake::{Hello, Welcome};

use crate::bench::failure::Failure;

/// How long a broker may take to answer, or to take a block, before it counts as hung.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Without a heartbeat, how often a client says that it is alive.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);

/// A connection that the broker has welcomed.
#[derive(Debug)]
pub(crate) struct Link {
    /// The connection.
    pub(crate) stream: TcpStream,
    /// What the broker calls itself.
    pub(crate) server: String,
    /// Its largest payload, in bytes.
    pub(crate) max_payload: usize,
    /// How long the client may be silent.
    pub(crate) keepalive: Duration,
    name: String,
    unread: Vec<u8>,
}

/// Resolves a host and port.
///
/// # Errors
/// When there is no such host.
pub(crate) fn resolve(host: &str, port: u16) -> Result<SocketAddr, Failure> {
    let found = (host, port).to_socket_addrs().map(|mut addresses| addresses.next());
    match found {
        Ok(Some(address)) => Ok(address),
        Ok(None) => Err(Failure::new(format!("{host} has no address; check -h"))),
        Err(error) => Err(Failure::new(format!("{host} cannot be resolved: {error}; check -h"))),
    }
}

impl Link {
    /// Connects and says HELLO as `name`, such as `publisher 3`.
    ///
    /// # Errors
    /// When nobody listens, or the one who does is no broker or refuses us.
    pub(crate) fn connect(name: String, address: SocketAddr) -> Result<Link, Failure> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).map_err(|error| {
            Failure::new(format!(
                "{name} cannot connect to {address}: {error}; is the broker running there?"
            ))
        })?;
        let mut link = Link {
            stream,
            server: String::new(),
            max_payload: 0,
            keepalive: LONGEST_SILENCE,
            name,
            unread: Vec::new(),
        };
        link.greet().map_err(|why| {
            Failure::new(format!("{} was not welcomed by {address}: {why}", link.name))
        })?;
        Ok(link)
    }

    /// Has the broker confirm all that was sent before.
    ///
    /// # Errors
    /// When the broker refused any of it, is gone, or does not answer.
    pub(crate) fn confirm(&mut self) -> Result<(), Failure> {
        let mut ping = Vec::new();
        frame::encode(Kind::Ping, 0, b"", b"bench", &mut ping);
        let sent = self.stream.write_all(&ping);
        // Whatever happened to the PING: what the broker said before says why.
        match self.read_until_pong() {
            Ok(()) => sent.map_err(|error| self.failed(&error.to_string())),
            Err(why) => Err(self.failed(&why)),
        }
    }

    /// Why sending failed: what the broker said about it, if it did.
    pub(crate) fn broken(&mut self, error: &io::Error) -> Failure {
        let why = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!("the broker took nothing for {} s", PATIENCE.as_secs())
            }
            _ => error.to_string(),
        };
        // A broker that closed said its reason first; one that hangs need not be waited for again.
        let _ = self.stream.set_read_timeout(Some(Duration::from_secs(1)));
        match self.read_until_pong() {
            Err(said) if said.starts_with(SAYS) => self.failed(&said),
            _ => self.failed(&why),
        }
    }

    /// Splits off what is left to read: the connection and the bytes that came already.
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.unread)
    }

    fn greet(&mut self) -> Result<(), String> {
        let told = |error: io::Error| error.to_string();
        self.stream.set_nodelay(true).map_err(told)?;
        self.stream.set_read_timeout(Some(PATIENCE)).map_err(told)?;
        self.stream.set_write_timeout(Some(PATIENCE)).map_err(told)?;
        let mut hello = Vec::new();
        let id = format!("bench-{}-{}", std::process::id(), self.name.replace(' ', "-"));
        Hello { id: &id, user: None, secret: None }.encode(&mut hello);
        // A broker that is full refuses before it reads, so its answer matters more than ours.
        let sent = self.stream.write_all(&hello).map_err(told);
        let mut welcome = None;
        let read = self.read_frames(|frame| match frame.kind {
            Kind::Welcome => {
                let parsed = Welcome::parse(frame.topic, frame.body)
                    .map_err(|_| "its WELCOME is not of version 1".to_owned())?;
                let keepalive = Duration::try_from_secs_f64(parsed.heartbeat / 3.0);
                welcome = Some((parsed.server.to_owned(), parsed.max_payload, keepalive));
                Ok(true)
            }
            _ => refused(frame).map(|()| false),
        });
        read.and(sent)?;
        if let Some((server, max_payload, keepalive)) = welcome {
            (self.server, self.max_payload) = (server, max_payload);
            let heartbeat = keepalive.ok().filter(|keepalive| !keepalive.is_zero());
            self.keepalive = heartbeat.unwrap_or(LONGEST_SILENCE).min(LONGEST_SILENCE);
        }
        Ok(())
    }

    fn read_until_pong(&mut self) -> Result<(), String> {
        self.read_frames(|frame| match frame.kind {
            Kind::Pong => Ok(true),
            _ => refused(frame).map(|()| false),
        })
    }

    /// Reads frames until `each` says that it was the last one that is wanted.
    fn read_frames(
        &mut self,
        mut each: impl FnMut(&Frame<'_>) -> Result<bool, String>,
    ) -> Result<(), String> {
        loop {
            while let Some(frame) = Frame::decode(&self.unread, Reader::Client, usize::MAX >> 32)
                .map_err(|_| "what it sends is not the broker's protocol".to_owned())?
            {
                let len = frame.encoded_len();
                let last = each(&frame);
                self.unread.drain(..len);
                if last? {
                    return Ok(());
                }
            }
            let mut bytes = [0; 4_096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err("the broker closed the connection".to_owned()),
                Ok(n) => self.unread.extend_from_slice(&bytes[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Err("the broker does not answer".to_owned());
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn failed(&self, why: &str) -> Failure {
        Failure::new(format!("{}: {why}", self.name))
    }
}

const SAYS: &str = "the broker says ";

/// What a frame of the broker's refuses; other frames refuse nothing.
///
/// # Errors
/// The broker's words.
pub(crate) fn refused(frame: &Frame<'_>) -> Result<(), String> {
    match frame.kind {
        Kind::Error => {
            let (code, text) = frame::decode_error(frame.body).unwrap_or((0, frame.body));
            let name = ErrorCode::from_code(code).map_or("ERROR", ErrorCode::name);
            let about = match frame.topic {
                [] => String::new(),
                topic => format!(" ({})", topic.escape_ascii()),
            };
            Err(format!("{SAYS}{name}: {}{about}", String::from_utf8_lossy(text)))
        }
        Kind::Goodbye => Err(format!("{SAYS}GOODBYE: {}", String::from_utf8_lossy(frame.body))),
        _ => Ok(()),
    }
}
