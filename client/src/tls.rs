//! TLS: whom to trust, what to show, and a session over a socket.
//!
//! Owns the certificates and the session's state. Reading threads never write, as a broker that
//! does not read would hold them up: what a session has to answer by itself goes with the next
//! write.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::ring;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use socket2::Socket;

use crate::error::ClientError;

/// Ciphertext read at once.
const READ_BYTES: usize = 16 << 10;
/// Payload encrypted at once.
const WRITE_BYTES: usize = 32 << 10;

/// Whom to trust, and what to show. The defaults: the roots that this machine trusts, no
/// certificate, and the address that is connected to as the broker's name.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    roots: Option<PathBuf>,
    own: Option<(PathBuf, PathBuf)>,
    server_name: Option<String>,
}

impl Tls {
    /// The defaults.
    #[must_use]
    pub fn new() -> Tls {
        Tls::default()
    }

    /// Trusts the roots in this PEM file, and no others.
    #[must_use]
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Tls {
        self.roots = Some(file.into());
        self
    }

    /// Shows a certificate: PEM files of it, and of its private key.
    #[must_use]
    pub fn certificate(mut self, file: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Tls {
        self.own = Some((file.into(), key.into()));
        self
    }

    /// The name or address that the broker's certificate has to be for.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Tls {
        self.server_name = Some(name.into());
        self
    }

    /// Reads the files.
    ///
    /// # Errors
    /// `Option`: what is wrong with which of them.
    pub fn load(&self) -> Result<Secrets, ClientError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| ClientError::Option(format!("TLS cannot be used: {error}")))?
            .with_root_certificates(self.roots()?);
        let config = match &self.own {
            None => builder.with_no_client_auth(),
            Some((file, key_file)) => {
                let key = PrivateKeyDer::from_pem_file(key_file)
                    .map_err(|error| wrong(key_file, &error))?;
                let own = builder.with_client_auth_cert(certificates(file)?, key);
                own.map_err(|error| wrong(file, &error))?
            }
        };
        let name = match &self.server_name {
            None => None,
            Some(name) => Some(ServerName::try_from(name.clone()).map_err(|_| {
                ClientError::Option(format!("{name:?} is no name of a host, nor an address"))
            })?),
        };
        Ok(Secrets { config: Arc::new(config), name })
    }

    fn roots(&self) -> Result<RootCertStore, ClientError> {
        let mut store = RootCertStore::empty();
        let Some(file) = &self.roots else {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
            if store.is_empty() {
                let text = "this machine has no list of roots to trust: name a file of them";
                return Err(ClientError::Option(text.to_owned()));
            }
            return Ok(store);
        };
        for root in certificates(file)? {
            store.add(root).map_err(|error| wrong(file, &error))?;
        }
        Ok(store)
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(file, &error));
    match all {
        Ok(all) if all.is_empty() => Err(wrong(file, &"it holds no certificate (PEM)")),
        all => all,
    }
}

fn wrong(file: &Path, what: &dyn fmt::Display) -> ClientError {
    ClientError::Option(format!("{}: {what}", file.display()))
}

/// What TLS needs, read: sessions made with it resume each other.
#[derive(Clone)]
pub struct Secrets {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
}

// A private key is in there.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Secrets {
    /// A new session with the broker at this address.
    ///
    /// # Errors
    /// When there can be none.
    pub fn session(&self, address: std::net::IpAddr) -> io::Result<Session> {
        let name = self.name.clone().unwrap_or_else(|| ServerName::from(address));
        let tls = ClientConnection::new(Arc::clone(&self.config), name);
        let tls = tls.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Session { state: Mutex::new(State { tls, backlog: Vec::new() }) })
    }
}

/// A session.
#[derive(Debug)]
pub struct Session {
    /// Held while bytes are encrypted or decrypted, never while a socket is waited for.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tls: ClientConnection,
    /// Ciphertext that was read and there was no room for.
    backlog: Vec<u8>,
}

impl Session {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes through the handshake; `before_read` is called before each read.
    pub(crate) fn shake_hands(
        &self,
        before_read: impl Fn() -> io::Result<()>,
        socket: &Socket,
    ) -> io::Result<()> {
        loop {
            let (out, is_done) = self.with(|state| {
                let out = state.outgoing()?;
                Ok::<_, io::Error>((out, !state.tls.is_handshaking()))
            })?;
            // A broker that has closed may have said why.
            let sent = (&*socket).write_all(&out);
            if is_done {
                return sent;
            }
            before_read()?;
            let mut bytes = [0; READ_BYTES];
            let count = (&*socket).read(&mut bytes)?;
            if count == 0 {
                return Err(sent.err().unwrap_or(io::ErrorKind::UnexpectedEof.into()));
            }
            let taken = self.with(|state| state.take_in(&bytes[..count]));
            if let Err(error) = taken {
                // Tells the broker why.
                let alert = self.with(State::outgoing).unwrap_or_default();
                let _ = (&*socket).write_all(&alert);
                return Err(error);
            }
        }
    }

    pub(crate) fn read(&self, socket: &Socket, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(count) = self.with(|state| state.give(into))? {
                return Ok(count);
            }
            let mut bytes = [0; READ_BYTES];
            let count = (&*socket).read(&mut bytes)?;
            if count == 0 {
                return Ok(0);
            }
            self.with(|state| state.take_in(&bytes[..count]))?;
        }
    }

    pub(crate) fn write_all(&self, socket: &Socket, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let part = &bytes[..bytes.len().min(WRITE_BYTES)];
            let (count, out) = self.with(|state| {
                let count = state.tls.writer().write(part)?;
                Ok::<_, io::Error>((count, state.outgoing()?))
            })?;
            (&*socket).write_all(&out)?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    pub(crate) fn finish(&self, socket: &Socket) {
        let out = self.with(|state| {
            state.tls.send_close_notify();
            state.outgoing()
        });
        // It fails only if the connection has already ended.
        let _ = out.and_then(|out| (&*socket).write_all(&out));
    }
}

impl State {
    /// What is to be sent.
    fn outgoing(&mut self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut out)?;
        }
        Ok(out)
    }

    fn take_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.backlog.extend_from_slice(bytes);
        self.process()
    }

    /// Decrypts as much as there is room for.
    fn process(&mut self) -> io::Result<()> {
        let mut rest = &self.backlog[..];
        while !rest.is_empty() {
            let state = self.tls.process_new_packets().map_err(invalid)?;
            if state.plaintext_bytes_to_read() > 0 {
                break;
            }
            if self.tls.read_tls(&mut rest)? == 0 {
                // Nothing counts behind a farewell.
                rest = &[];
            }
        }
        self.tls.process_new_packets().map_err(invalid)?;
        let left = rest.len();
        self.backlog.drain(..self.backlog.len() - left);
        Ok(())
    }

    /// Gives what was decrypted; `None` if more has to come first.
    fn give(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.tls.reader().read(into) {
                Ok(count) => return Ok(Some(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if self.backlog.is_empty() {
                return Ok(None);
            }
            let before = self.backlog.len();
            self.process()?;
            if self.backlog.len() == before {
                return Ok(None);
            }
        }
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
