//! Binding, accepting, and running out of file descriptors.
//!
//! Owns one listening socket, TCP or Unix. Must not know what becomes of a connection.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

use log::{error, warn};
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::RunError;
use super::transport::{self, Stream};
use crate::engine::access::Peer;
use crate::engine::sessions::connection::Role;

pub(super) mod unix;

use unix::{Access, SocketFile};

/// Connections that may wait to be accepted; the kernel takes the smaller of this and its own
/// limit (`net.core.somaxconn`, 4096 by default).
const BACKLOG: i32 = 4_096;
/// How long to wait before accepting again when the system has run out of something.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How often a free port is looked for that is free on all addresses of a name.
const PORT_ATTEMPTS: u32 = 16;
/// How often to say so.
const WARN_EVERY: Duration = Duration::from_secs(1);

/// A listening socket.
pub(super) struct Listener {
    socket: ListeningSocket,
    pub(super) role: Role,
    /// There may be a connection to accept.
    pub(super) ready: bool,
    /// Not before then, since the system has run out of something.
    retry_at: Option<Instant>,
    warned_at: Option<Instant>,
}

/// What it listens with.
pub(super) enum ListeningSocket {
    /// A port.
    Tcp(TcpListener),
    /// A path of this machine.
    Unix(UnixListener, Place),
}

/// Where a Unix socket is, for people, and its file if that is the broker's to remove.
pub(super) struct Place {
    path: String,
    _file: Option<SocketFile>,
}

impl Place {
    /// A path whose file is someone else's.
    pub(super) fn of_another(path: String) -> Place {
        Place { path, _file: None }
    }
}

/// A client that has connected.
pub(super) struct Accepted {
    pub(super) stream: Stream,
    /// Where it is, for people.
    pub(super) address: String,
    /// What the system knows of it.
    pub(super) peer: Option<Peer>,
}

impl Listener {
    /// Binds every address of `host`, all on one port.
    pub(super) fn bind(host: &str, port: u16, role: Role) -> Result<Vec<Listener>, RunError> {
        let failed = |error| {
            let (clients, address) = (role.plural(), show(host, port));
            RunError::new(format!("cannot listen for {clients} on {address}"), error)
        };
        let sockets = bind_everywhere((host, port)).map_err(failed)?.into_iter();
        Ok(sockets.map(|socket| Listener::new(ListeningSocket::Tcp(socket), role)).collect())
    }

    /// Binds a path of this machine.
    pub(super) fn bind_path(
        path: &Path,
        access: &Access<'_>,
        role: Role,
    ) -> Result<Listener, RunError> {
        let (socket, file) = unix::bind(path, access).map_err(|error| {
            let what = format!("cannot listen for {} on {}", role.plural(), path.display());
            RunError::new(what, error)
        })?;
        let place = Place { path: path.display().to_string(), _file: Some(file) };
        Ok(Listener::new(ListeningSocket::Unix(socket, place), role))
    }

    /// Takes over a socket that listens already and does not block.
    pub(super) fn adopt(socket: ListeningSocket, role: Role) -> Listener {
        Listener::new(socket, role)
    }

    fn new(socket: ListeningSocket, role: Role) -> Listener {
        Listener { socket, role, ready: false, retry_at: None, warned_at: None }
    }

    /// Prepares the connections that will come, and asks for an event for each.
    pub(super) fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        unsent_bytes: usize,
    ) -> io::Result<()> {
        match &mut self.socket {
            ListeningSocket::Tcp(socket) => {
                transport::prepare(socket, unsent_bytes)?;
                registry.register(socket, token, Interest::READABLE)
            }
            ListeningSocket::Unix(socket, ..) => {
                registry.register(socket, token, Interest::READABLE)
            }
        }
    }

    /// No event comes any more, even if someone else holds the same socket open.
    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match &mut self.socket {
            ListeningSocket::Tcp(socket) => registry.deregister(socket),
            ListeningSocket::Unix(socket, ..) => registry.deregister(socket),
        }
    }

    /// The address and port that were bound, if it is one with a port.
    pub(super) fn address(&self) -> io::Result<Option<SocketAddr>> {
        match &self.socket {
            ListeningSocket::Tcp(socket) => socket.local_addr().map(Some),
            ListeningSocket::Unix(..) => Ok(None),
        }
    }

    /// Where it listens, for people.
    pub(super) fn place(&self) -> io::Result<String> {
        match &self.socket {
            ListeningSocket::Tcp(socket) => Ok(socket.local_addr()?.to_string()),
            ListeningSocket::Unix(_, place) => Ok(format!("unix:{}", place.path)),
        }
    }

    /// The next connection, if there is one and the system can afford it.
    pub(super) fn accept(&mut self, now: Instant) -> Option<Accepted> {
        if !self.ready || self.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        self.retry_at = None;
        loop {
            let error = match self.socket.accept() {
                Ok(accepted) => return Some(accepted),
                Err(error) => error,
            };
            if error.kind() == io::ErrorKind::WouldBlock {
                self.ready = false;
                return None;
            }
            if is_exhaustion(&error) {
                self.retry_at = Some(now + RETRY_AFTER);
                self.warn(&error, now);
                return None;
            }
            // Of that one connection, not of the listener: it was gone before it was accepted.
            if !is_of_the_connection(&error) {
                error!("accepting {}: {error}", self.role.plural());
                self.retry_at = Some(now + RETRY_AFTER);
                return None;
            }
        }
    }

    /// A connection has left: what had run out may be there again.
    pub(super) fn retry_now(&mut self) {
        self.retry_at = None;
    }

    /// Whether there may be a connection to accept now: no event will tell again.
    pub(super) fn is_waiting(&self) -> bool {
        self.ready && self.retry_at.is_none()
    }

    /// When to try again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.retry_at.filter(|_| self.ready)
    }

    fn warn(&mut self, error: &io::Error, now: Instant) {
        if self.warned_at.is_none_or(|at| at + WARN_EVERY <= now) {
            self.warned_at = Some(now);
            warn!(
                "cannot accept {}: {error}; trying again while those connected go on (raise \
                 LimitNOFILE or `ulimit -n`, or lower max_connections)",
                self.role.plural()
            );
        }
    }
}

impl ListeningSocket {
    fn accept(&self) -> io::Result<Accepted> {
        match self {
            ListeningSocket::Tcp(socket) => {
                let (stream, address) = socket.accept()?;
                let stream = Stream::Tcp(stream);
                Ok(Accepted { stream, address: address.to_string(), peer: None })
            }
            ListeningSocket::Unix(socket, place) => {
                let (stream, _) = socket.accept()?;
                let (peer, process) = unix::peer(&stream);
                let process = process.map_or(String::new(), |id| format!(" pid {id}"));
                let address = format!("unix:{}{process}", place.path);
                Ok(Accepted { stream: Stream::Unix(stream), address, peer: Some(peer) })
            }
        }
    }
}

/// Binds every address of a name, all on one port. An address that this machine does not have is
/// left out, as long as there is another.
pub(super) fn bind_everywhere(name: impl ToSocketAddrs) -> io::Result<Vec<TcpListener>> {
    let addresses = resolve(name)?;
    let mut attempts = 0;
    loop {
        attempts += 1;
        match bind_all(&addresses) {
            // A free port of one address may be taken on another.
            Err(error)
                if addresses[0].port() == 0
                    && error.kind() == io::ErrorKind::AddrInUse
                    && attempts < PORT_ATTEMPTS => {}
            bound => return bound,
        }
    }
}

/// All addresses of a name, each once.
pub(super) fn resolve(name: impl ToSocketAddrs) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for address in name.to_socket_addrs()? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

/// Binds what this machine has of the addresses; with port 0 all on the one that the first gets.
fn bind_all(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let mut sockets: Vec<TcpListener> = Vec::new();
    let mut missing = None;
    for address in addresses {
        let mut address = *address;
        if let Some(first) = sockets.first() {
            address.set_port(first.local_addr()?.port());
        }
        match bind(address) {
            Ok(socket) => sockets.push(socket),
            Err(error) if is_missing(&error) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if sockets.is_empty() => Err(error),
        _ => Ok(sockets),
    }
}

/// The machine has no such address, or speaks no such protocol: EAFNOSUPPORT.
fn is_missing(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Restarting must not wait for connections of the one before to time out.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn show(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The process or the system has no descriptor or no memory left: accept(2), EMFILE, ENFILE,
/// ENOBUFS, ENOMEM.
fn is_exhaustion(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | ENOBUFS))
}

/// Errors that accept(2) passes on from the new connection, and interruptions.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    const EPROTO: i32 = 71;
    let kind = matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | HostUnreachable
            | TimedOut
            | PermissionDenied
    );
    kind || error.raw_os_error() == Some(EPROTO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_accept_are_told_apart() {
        for code in [12, 23, 24, 105] {
            assert!(is_exhaustion(&io::Error::from_raw_os_error(code)), "{code}");
        }
        // ECONNABORTED, EINTR, EPROTO, ENETDOWN, EHOSTUNREACH, EPERM
        for code in [103, 4, 71, 100, 113, 1] {
            let error = io::Error::from_raw_os_error(code);
            assert!(is_of_the_connection(&error) && !is_exhaustion(&error), "{code}");
        }
        assert!(!is_of_the_connection(&io::Error::from_raw_os_error(22)), "EINVAL");
    }

    #[test]
    fn all_addresses_of_a_name_have_one_port() {
        let host = |text: &str| text.parse::<std::net::IpAddr>().unwrap();
        let addresses = ["127.0.0.1", "127.0.0.2", "192.0.2.1"].map(|ip| (host(ip), 0).into());
        let bound = bind_all(&addresses).unwrap();
        let ports: Vec<_> = bound.iter().map(|one| one.local_addr().unwrap().port()).collect();
        assert!(ports.len() == 2 && ports[0] == ports[1] && ports[0] != 0, "{ports:?}");
        assert!(bind_all(&addresses[2..]).is_err(), "a name without an address of ours");
    }

    #[test]
    fn binding_a_port_that_is_taken_says_so() {
        let first = Listener::bind("127.0.0.1", 0, Role::PUBLISHER).unwrap();
        let port = first[0].address().unwrap().unwrap().port();
        let error = Listener::bind("127.0.0.1", port, Role::SUBSCRIBER).err().unwrap().to_string();
        assert!(error.contains(&format!("for subscribers on 127.0.0.1:{port}: ")), "{error}");
        assert!(error.contains("stop the program that has the port"), "{error}");
    }
}
