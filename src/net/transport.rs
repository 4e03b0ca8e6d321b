//! One peer's byte stream.
//!
//! Owns the socket. Whatever else a byte stream may one day be (a Unix socket, TLS) is a variant
//! in here; nothing outside of this file may tell them apart.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// A connected byte stream that does not block.
pub(super) struct Transport {
    stream: TcpStream,
}

impl Transport {
    /// Takes over a connected socket. Small frames must not wait for others (TCP_NODELAY): the
    /// broker itself gathers what can go together.
    pub(super) fn new(stream: TcpStream) -> io::Result<Transport> {
        stream.set_nodelay(true)?;
        Ok(Transport { stream })
    }

    /// Asks for events of both directions, once and for all; mio registers edge-triggered.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Reads what is there. A read that does not fill `into` has emptied the socket.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        retry(|| self.stream.read(into))
    }

    /// Writes what the socket takes. A write that does not take all has filled it.
    pub(super) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        retry(|| match slices {
            [slice] => self.stream.write(slice),
            slices => self.stream.write_vectored(slices),
        })
    }

    /// Ends the sending side; the client reads an end of file behind what was written.
    pub(super) fn shutdown_write(&self) {
        // An error means that the connection is gone already; its own event tells that.
        let _ = self.stream.shutdown(Shutdown::Write);
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
