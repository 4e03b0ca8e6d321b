//! Binding, accepting, and running out of file descriptors.
//!
//! Owns one listening socket. Must not know what becomes of a connection.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use log::{error, warn};
use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};

use super::RunError;
use crate::engine::sessions::connection::Role;

/// Connections that may wait to be accepted; the kernel takes the smaller of this and its own
/// limit (`net.core.somaxconn`, 4096 by default).
const BACKLOG: i32 = 4_096;
/// How long to wait before accepting again when the system has run out of something.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How often to say so.
const WARN_EVERY: Duration = Duration::from_secs(1);

/// A listening socket.
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) role: Role,
    /// There may be somebody to accept.
    pub(super) ready: bool,
    /// Not before then, since the system has run out of something.
    retry_at: Option<Instant>,
    warned_at: Option<Instant>,
}

impl Listener {
    /// Binds the first address of `host` that can be bound.
    pub(super) fn bind(host: &str, port: u16, role: Role) -> Result<Listener, RunError> {
        let what = || format!("cannot listen for {role}s on {}", show(host, port));
        let addresses = (host, port)
            .to_socket_addrs()
            .map_err(|error| RunError::new(what(), error))?
            .collect::<Vec<_>>();
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match bind(address) {
                Ok(socket) => return Ok(Listener::new(socket, role)),
                Err(error) => failure = error,
            }
        }
        Err(RunError::new(what(), failure))
    }

    /// Takes over a socket that listens already and does not block.
    pub(super) fn adopt(socket: std::net::TcpListener, role: Role) -> Listener {
        Listener::new(TcpListener::from_std(socket), role)
    }

    fn new(socket: TcpListener, role: Role) -> Listener {
        Listener { socket, role, ready: false, retry_at: None, warned_at: None }
    }

    /// The address that was bound, with its real port.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next connection, if there is one and the system can afford it.
    pub(super) fn accept(&mut self, now: Instant) -> Option<(TcpStream, SocketAddr)> {
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
                error!("accepting {}s: {error}", self.role);
                self.retry_at = Some(now + RETRY_AFTER);
                return None;
            }
        }
    }

    /// Somebody has left: what had run out may be there again.
    pub(super) fn retry_now(&mut self) {
        self.retry_at = None;
    }

    /// Whether there may be somebody to accept now: no event will tell again.
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
                "cannot accept {}s: {error}; trying again while those connected go on (raise \
                 LimitNOFILE or `ulimit -n`, or lower max_connections)",
                self.role
            );
        }
    }
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
    fn binding_a_port_that_is_taken_says_so() {
        let first = Listener::bind("127.0.0.1", 0, Role::PUBLISHER).unwrap();
        let port = first.address().unwrap().port();
        let error = Listener::bind("127.0.0.1", port, Role::SUBSCRIBER).err().unwrap().to_string();
        assert!(error.contains(&format!("for subscribers on 127.0.0.1:{port}: ")), "{error}");
        assert!(error.contains("stop the program that has the port"), "{error}");
    }
}
