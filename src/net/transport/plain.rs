//! A connected socket, TCP or Unix: the bytes as they go over it.
//!
//! Owns the system calls. Must not keep any bytes.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

/// A socket that is connected and does not block.
pub(in crate::net) enum Stream {
    /// Over the network.
    Tcp(TcpStream),
    /// From a process of this machine.
    Unix(UnixStream),
}

/// Calls the same on whichever socket it is.
macro_rules! with {
    ($stream:expr, $socket:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($socket) => $call,
            Stream::Unix($socket) => $call,
        }
    };
}

impl Stream {
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        with!(self, socket => registry.register(socket, token, both))
    }

    pub(super) fn reregister(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        with!(self, socket => registry.reregister(socket, token, both))
    }

    /// Whether it is connected; `None`: it is still at it.
    pub(super) fn is_connected(&self) -> io::Result<Option<()>> {
        let Stream::Tcp(socket) = self else { return Ok(Some(())) };
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        match socket.peer_addr() {
            Ok(_) => Ok(Some(())),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the next read would give. Only a TCP socket can tell.
    pub(super) fn peek(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => retry(|| socket.peek(into)),
            Stream::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        with!(self, socket => retry(|| socket.read(into)))
    }

    pub(super) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        with!(self, socket => retry(|| match slices {
            [slice] => socket.write(slice),
            slices => socket.write_vectored(slices),
        }))
    }

    pub(super) fn shutdown_write(&self) {
        // An error means that the connection is gone already; its own event tells that.
        let _ = with!(self, socket => socket.shutdown(Shutdown::Write));
    }
}

/// For TLS, which writes its records by itself.
impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        with!(self, socket => retry(|| socket.write(bytes)))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Stream::write_vectored(self, slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
