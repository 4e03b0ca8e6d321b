//! A connection to the broker: opening, handshake, confirmations. Blocking unless stated otherwise.
//!
//! Hands on what the broker sends, one frame or line at a time; must not know what is measured.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use pubsub_client::Secrets;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::bench::failure::Failure;
use crate::bench::plan::Plan;
use crate::bench::protocol::{Incoming, Protocol, Server, WANTS_CREDENTIALS};
use crate::bench::secure;
use crate::credentials::{Credentials, advice};

/// How long a broker may take to answer, or to accept a block, before it counts as hung.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Without a heartbeat, how often a client sends a sign of life.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);
/// Bytes per read.
const READ_BYTES: usize = 16 << 10;
const CLOSED: &str = "the broker closed the connection";
const SILENT: &str = "the broker does not answer";
const SAYS: &str = "the broker says ";

/// Where a broker listens.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// On a port, and what TLS takes there.
    Port(SocketAddr, Option<Secrets>),
    /// On a Unix socket.
    Path(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Port(address, _) => write!(f, "{address}"),
            Address::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Address {
    fn connect(&self) -> io::Result<Socket> {
        match self {
            Address::Port(address, _) => {
                let stream = TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?;
                stream.set_nodelay(true)?;
                Ok(stream.into())
            }
            Address::Path(path) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                socket.connect(&SockAddr::unix(path)?)?;
                Ok(socket)
            }
        }
    }
}

/// A connection that the broker has welcomed.
#[derive(Debug)]
pub(crate) struct Link {
    /// The connection.
    pub(crate) stream: Socket,
    /// Its protocol.
    pub(crate) protocol: Protocol,
    /// What the broker states of itself.
    pub(crate) server: Server,
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
    /// Connects and introduces itself as `name`, such as `publisher 3`.
    ///
    /// # Errors
    /// When nothing listens there, or what does is not a broker or refuses the connection.
    pub(crate) fn connect(name: String, plan: &Plan, address: &Address) -> Result<Link, Failure> {
        let (protocol, credentials) = (plan.protocol, plan.credentials.as_ref());
        let stream = address.connect().map_err(|error| {
            Failure::new(format!(
                "{name} cannot connect to {address}: {error}; is the broker running there?"
            ))
        })?;
        let server = Server::default();
        let mut link = Link { stream, protocol, server, name, unread: Vec::new() };
        link.greet(address, credentials).map_err(|why| {
            let name = &link.name;
            let hint = match protocol.is_about_credentials(&why) {
                true => format!("; {}", advice(credentials)),
                false => String::new(),
            };
            Failure::new(format!("{name} was not welcomed by {address}: {why}{hint}"))
        })?;
        Ok(link)
    }

    /// How long the client may be silent.
    pub(crate) fn keepalive(&self) -> Duration {
        self.server.silence.unwrap_or(LONGEST_SILENCE).min(LONGEST_SILENCE)
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// Why it could not: what the broker said about it, if it did.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(bytes).map_err(|error| self.broken(&error))
    }

    /// Waits until the broker has confirmed everything sent before.
    ///
    /// # Errors
    /// When the broker refused any of it, has closed the connection, or does not answer.
    pub(crate) fn confirm(&mut self) -> Result<(), Failure> {
        let mut ping = Vec::new();
        self.protocol.ping(&mut ping);
        let sent = self.stream.write_all(&ping);
        // If sending the PING failed, the reason may be in what the broker sent before.
        match self.read_until_pong() {
            Ok(()) => sent.map_err(|error| self.failed(&error.to_string())),
            Err(why) => Err(self.failed(&why)),
        }
    }

    /// Reads and answers what has arrived, without waiting.
    ///
    /// # Errors
    /// When the broker has refused something, or has closed the connection.
    pub(crate) fn poll_incoming(&mut self) -> Result<(), Failure> {
        self.receive(Duration::ZERO, |_| Ok(()))
    }

    /// Waits until something arrives, so long at most, and hands on what is whole.
    ///
    /// # Errors
    /// What `each` reports; that the broker has refused something, or has closed the connection.
    pub(crate) fn receive(
        &mut self,
        timeout: Duration,
        mut each: impl FnMut(&Incoming<'_>) -> Result<(), String>,
    ) -> Result<(), Failure> {
        self.await_bytes(timeout)
            .and_then(|()| self.take(|incoming| each(incoming).map(|()| false)))
            .map(drop)
            .map_err(|why| self.failed(&why))
    }

    /// The connection, and the bytes that have been read from it but not used.
    pub(crate) fn into_parts(self) -> (Socket, Vec<u8>) {
        (self.stream, self.unread)
    }

    fn greet(
        &mut self,
        address: &Address,
        credentials: Option<&Credentials>,
    ) -> Result<(), String> {
        let told = |error: io::Error| error.to_string();
        if !self.protocol.broker_begins() {
            self.secure(address)?;
        }
        self.stream.set_read_timeout(Some(PATIENCE)).map_err(told)?;
        self.stream.set_write_timeout(Some(PATIENCE)).map_err(told)?;
        if self.protocol.broker_begins() {
            // A broker that speaks first does so at once, or it uses another protocol.
            self.stream.set_read_timeout(Some(CONNECT_TIMEOUT)).map_err(told)?;
            self.await_welcome().map_err(|why| match why.as_str() {
                SILENT => "it says nothing; is that a port for NATS clients?".to_owned(),
                _ => why,
            })?;
            self.secure(address)?;
            self.stream.set_read_timeout(Some(PATIENCE)).map_err(told)?;
        }
        if self.server.wants_credentials && credentials.is_none() {
            return Err(WANTS_CREDENTIALS.to_owned());
        }
        let mut hello = Vec::new();
        let id = format!("bench-{}-{}", std::process::id(), self.name.replace(' ', "-"));
        self.protocol.hello(&id, credentials, &self.server, &mut hello);
        // A broker that is full refuses before it reads, so its answer matters more than ours.
        let sent = self.stream.write_all(&hello).map_err(told);
        let read = match self.protocol.broker_begins() {
            true => self.read_until_pong(),
            false => self.await_welcome(),
        };
        read.and(sent)
    }

    /// Goes on in TLS, if that is asked for; one that would be needed is told by the broker.
    fn secure(&mut self, address: &Address) -> Result<(), String> {
        let is_required = self.server.wants_tls;
        match address {
            Address::Port(address, Some(secrets)) => {
                let plain = self.stream.try_clone().map_err(|error| error.to_string())?;
                let session = secrets.session(address.ip()).map_err(|error| error.to_string())?;
                let secured = secure::relay(plain, session, CONNECT_TIMEOUT);
                self.stream = secured.map_err(|error| format!("TLS failed: {error}"))?;
                Ok(())
            }
            _ if is_required => Err("it wants TLS; add --tls".to_owned()),
            _ => Ok(()),
        }
    }

    fn await_welcome(&mut self) -> Result<(), String> {
        let mut server = None;
        self.read_until(|incoming| match incoming {
            Incoming::Welcome(welcome) => {
                server = Some(welcome.clone()?);
                Ok(true)
            }
            _ => Ok(false),
        })?;
        self.server = server.unwrap_or_default();
        Ok(())
    }

    fn read_until_pong(&mut self) -> Result<(), String> {
        self.read_until(|incoming| Ok(*incoming == Incoming::Pong))
    }

    /// Why sending failed: what the broker said about it, if it did.
    fn broken(&mut self, error: &io::Error) -> Failure {
        let why = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!("the broker took nothing for {} s", PATIENCE.as_secs())
            }
            _ => error.to_string(),
        };
        // A broker that closed sent its reason first; one that hangs need not be waited for again.
        let _ = self.stream.set_read_timeout(Some(Duration::from_secs(1)));
        match self.read_until_pong() {
            Err(said) if said.starts_with(SAYS) => self.failed(&said),
            _ => self.failed(&why),
        }
    }

    /// Reads until `each` says that it was the last one wanted.
    fn read_until(
        &mut self,
        mut each: impl FnMut(&Incoming<'_>) -> Result<bool, String>,
    ) -> Result<(), String> {
        while !self.take(&mut each)? {
            let mut bytes = [0; READ_BYTES];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(CLOSED.to_owned()),
                Ok(n) => self.unread.extend_from_slice(&bytes[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Err(SILENT.to_owned());
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// Hands on what is whole, until `each` says that it was the last one wanted.
    fn take(
        &mut self,
        mut each: impl FnMut(&Incoming<'_>) -> Result<bool, String>,
    ) -> Result<bool, String> {
        let mut at = 0;
        let last = loop {
            let (incoming, length) = match self.protocol.decode(&self.unread[at..]) {
                Ok(Some(found)) => found,
                Ok(None) => break Ok(false),
                Err(why) => break Err(why),
            };
            at += length;
            let last = match incoming {
                Incoming::Refusal(text) => Err(format!("{SAYS}{text}")),
                Incoming::Ping(asked) => {
                    let mut pong = Vec::new();
                    self.protocol.pong(asked, &mut pong);
                    self.stream.write_all(&pong).map(|()| false).map_err(|error| error.to_string())
                }
                other => each(&other),
            };
            if last != Ok(false) {
                break last;
            }
        };
        self.unread.drain(..at);
        last
    }

    /// Waits until bytes arrive, so long at most, and keeps them.
    fn await_bytes(&mut self, timeout: Duration) -> Result<(), String> {
        // Far below the largest value of a time, so both parts fit.
        let timeout =
            Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        let mut socket = [PollFd::new(&self.stream, PollFlags::IN)];
        match poll(&mut socket, Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => return Ok(()),
            Ok(_) => {}
            Err(errno) => return Err(errno.to_string()),
        }
        let mut bytes = [0; READ_BYTES];
        match recv(&self.stream, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Err(self.protocol.closed().to_owned()),
            Ok((_, n)) => {
                self.unread.extend_from_slice(&bytes[..n]);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(errno) => Err(io::Error::from(errno).to_string()),
        }
    }

    fn failed(&self, why: &str) -> Failure {
        Failure::new(format!("{}: {why}", self.name))
    }
}
