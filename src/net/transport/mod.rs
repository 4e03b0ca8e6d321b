//! One peer's byte stream.
//!
//! Owns the socket, and whatever stands between it and the bytes that the broker sees. What a byte
//! stream is, a TCP or a Unix socket, plain or TLS, is a variant in here; nothing outside of this
//! folder may tell them apart.

use std::io::{self, IoSlice};
use std::sync::Arc;

use mio::{Registry, Token};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName};
use socket2::SockRef;

use crate::engine::turn::News;

mod held;
mod plain;
mod tls;

pub(super) use held::Held;
pub(super) use plain::Stream;
use tls::Session;
pub(super) use tls::{WORKSPACE_BYTES, Workspace};

/// Bytes of a line that are looked at at once.
const LINE_PART: usize = 4 << 10;
/// What a line ends with.
const LF: u8 = b'\n';
/// What TLS begins with; no frame, line or request does.
const CLIENT_HELLO: u8 = 0x16;

/// Sets on a listener what its connections are to have; they inherit it, without a system call for
/// each. The same on a socket that is to connect by itself. Small frames must not wait for others
/// (TCP_NODELAY): the broker itself gathers what can go together. And a socket takes no more than
/// `unsent_bytes` that are not on their way yet (TCP_NOTSENT_LOWAT): what waits for a stalled
/// client waits here, where it is counted and shared, and not once more in the kernel. 0: the
/// kernel's own limit.
pub(super) fn prepare<'a, S>(socket: &'a S, unsent_bytes: usize) -> io::Result<()>
where
    SockRef<'a>: From<&'a S>,
{
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    match u32::try_from(unsent_bytes) {
        Ok(0) | Err(_) => Ok(()),
        Ok(bytes) => socket.set_tcp_notsent_lowat(bytes),
    }
}

/// What connections of a port may speak beside or instead of plain bytes.
#[derive(Clone)]
pub(super) struct Offer {
    pub(super) server: Arc<ServerConfig>,
    /// A client need not speak TLS.
    pub(super) takes_plain: bool,
    /// The broker speaks first, and in plain text.
    pub(super) greets_plain: bool,
    pub(super) workspace: Workspace,
    pub(super) held: Held,
}

/// A connected byte stream that does not block.
pub(super) struct Transport {
    stream: Stream,
    security: Security,
}

/// What stands between the socket and the bytes that the broker sees.
enum Security {
    /// Nothing.
    None,
    /// The first byte of the client decides.
    Undecided(Box<Offer>),
    Tls(Box<Session>),
}

impl Transport {
    /// Takes over a connected socket. Without an offer it carries plain bytes.
    pub(super) fn new(stream: Stream, offer: Option<Offer>) -> Transport {
        let security = offer.map_or(Security::None, |offer| Security::Undecided(Box::new(offer)));
        Transport { stream, security }
    }

    /// Asks for events of both directions, once and for all; mio registers edge-triggered.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.stream.register(registry, token)
    }

    /// Asks for the same under another token, and for an event if there is something to do by now.
    pub(super) fn reregister(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.stream.reregister(registry, token)
    }

    /// Whether a socket that was told to connect has done so. `None`: it is still at it.
    ///
    /// # Errors
    /// Why it has not.
    pub(super) fn is_connected(&self) -> io::Result<Option<()>> {
        self.stream.is_connected()
    }

    /// Begins TLS, as the side that has connected, with a peer that has to be `name`.
    ///
    /// # Errors
    /// If there can be no such session.
    pub(super) fn secure(
        &mut self,
        client: &Arc<ClientConfig>,
        name: ServerName<'static>,
        workspace: &Workspace,
    ) -> io::Result<()> {
        let session = Session::client(client, name, workspace)?;
        self.security = Security::Tls(Box::new(session));
        Ok(())
    }

    /// Goes on with a handshake that this side has begun; whether it is done.
    ///
    /// # Errors
    /// `InvalidData` holds what TLS has against the peer, or the peer against us.
    pub(super) fn shake_hands(&mut self) -> io::Result<bool> {
        match &mut self.security {
            Security::Tls(session) => session.shake_hands(&mut self.stream),
            Security::None | Security::Undecided(_) => Ok(true),
        }
    }

    /// Appends what is there to `line`, up to the end of the line and no byte beyond, nor more than
    /// `most` bytes.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there, `UnexpectedEof` at the end.
    pub(super) fn read_line(&mut self, line: &mut Vec<u8>, most: usize) -> io::Result<()> {
        match &mut self.security {
            Security::None | Security::Undecided(_) => {
                let mut part = [0; LINE_PART];
                let seen = self.stream.peek(&mut part[..most.min(LINE_PART)])?;
                let end = part[..seen].iter().position(|&byte| byte == LF);
                let count = self.stream.read(&mut part[..end.map_or(seen, |end| end + 1)])?;
                line.extend_from_slice(&part[..count]);
                if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
            }
            Security::Tls(session) => {
                let before = line.len();
                while line.len() - before < most && line[before..].last() != Some(&LF) {
                    // What was decrypted beside it stays where it is until it is asked for.
                    let mut byte = [0];
                    match session.read(&mut self.stream, &mut byte, &mut News::default()) {
                        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                        Ok(_) => line.push(byte[0]),
                        Err(_) if line.len() > before => return Ok(()),
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
        }
    }

    /// Whether TLS is spoken with one that was connected to.
    pub(super) fn is_dialled(&self) -> bool {
        matches!(&self.security, Security::Tls(session) if session.is_dialled())
    }

    /// What TLS is spoken, for people; `None`: none.
    pub(super) fn tls_version(&self) -> Option<&'static str> {
        match &self.security {
            Security::Tls(session) => session.version(),
            Security::None | Security::Undecided(_) => None,
        }
    }

    /// Reads what is there. A read that does not fill `into` has emptied the socket, unless there
    /// is news that it is to be read again.
    pub(super) fn read(&mut self, into: &mut [u8], news: &mut News) -> io::Result<usize> {
        match &mut self.security {
            Security::None => self.stream.read(into),
            Security::Tls(session) => session.read(&mut self.stream, into, news),
            Security::Undecided(_) => self.read_first(into, news),
        }
    }

    /// Reads for the first time.
    fn read_first(&mut self, into: &mut [u8], news: &mut News) -> io::Result<usize> {
        let count = self.stream.read(into)?;
        let Security::Undecided(offer) = &self.security else { return Ok(count) };
        match into[..count].first() {
            None => Ok(0),
            Some(&CLIENT_HELLO) => {
                let mut session = Session::new(offer)?;
                session.begin_with(&into[..count]);
                self.security = Security::Tls(Box::new(session));
                self.read(into, news)
            }
            Some(_) if offer.takes_plain => {
                self.security = Security::None;
                news.settled = true;
                Ok(count)
            }
            Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak TLS")),
        }
    }

    /// Writes what the socket takes. A write that does not take all has filled it, unless there is
    /// news that it takes more.
    pub(super) fn write_vectored(
        &mut self,
        slices: &[IoSlice<'_>],
        news: &mut News,
    ) -> io::Result<usize> {
        match &mut self.security {
            Security::None => self.stream.write_vectored(slices),
            Security::Tls(session) => session.write_vectored(&mut self.stream, slices, news),
            Security::Undecided(offer) if offer.greets_plain => self.stream.write_vectored(slices),
            Security::Undecided(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Writes what waits in here, since the socket takes something again.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match &mut self.security {
            Security::Tls(session) => session.go_on(&mut self.stream),
            Security::None | Security::Undecided(_) => Ok(()),
        }
    }

    /// Ends the sending side; the client reads an end of file behind what was written.
    pub(super) fn shutdown_write(&mut self) {
        match &mut self.security {
            Security::Tls(session) => session.shutdown_write(&mut self.stream),
            Security::None | Security::Undecided(_) => self.stream.shutdown_write(),
        }
    }

    /// Whether it is not known yet how the client speaks.
    pub(super) fn is_unsettled(&self) -> bool {
        match &self.security {
            Security::None => false,
            Security::Undecided(_) => true,
            Security::Tls(session) => session.is_opening(),
        }
    }

    /// Whether a handshake that is due by now took too long. A client that may as well be silent
    /// has time left, and so has one that has begun since this was asked last.
    pub(super) fn is_late(&mut self) -> bool {
        match &mut self.security {
            Security::None => false,
            Security::Undecided(offer) => !offer.takes_plain,
            Security::Tls(session) => session.is_late(),
        }
    }

    /// Whether a session goes on that was made before.
    pub(super) fn is_resumed(&self) -> bool {
        matches!(&self.security, Security::Tls(session) if session.is_resumed())
    }

    /// The certificate of one that has connected to us, and those that lead to its root, if it has
    /// shown any.
    pub(super) fn certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match &self.security {
            Security::Tls(session) => session.certificates(),
            Security::None | Security::Undecided(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use mio::net::TcpListener;

    use super::*;

    #[test]
    fn a_connection_inherits_what_its_listener_was_prepared_with() {
        // One that blocks until a client is there.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::from_std(listener);
        prepare(&listener, 100_000).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap());
        assert_eq!(accepted.tcp_notsent_lowat().unwrap(), 100_000);
    }
}
