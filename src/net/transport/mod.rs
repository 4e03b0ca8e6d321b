//! One peer's byte stream.
//!
//! Owns the socket, and whatever stands between it and the bytes that the broker sees. What a byte
//! stream is, a TCP or a Unix socket, is a variant in here; nothing outside of this folder may tell
//! them apart.

use std::io::{self, IoSlice};

use mio::net::TcpListener;
use mio::{Registry, Token};
use socket2::SockRef;

mod plain;

pub(super) use plain::Stream;

/// Sets on a listener what its connections are to have; they inherit it, without a system call for
/// each. Small frames must not wait for others (TCP_NODELAY): the broker itself gathers what can go
/// together. And a socket takes no more than `unsent_bytes` that are not on their way yet
/// (TCP_NOTSENT_LOWAT): what waits for a stalled client waits here, where it is counted and shared,
/// and not once more in the kernel. 0: the kernel's own limit.
pub(super) fn prepare(listener: &TcpListener, unsent_bytes: usize) -> io::Result<()> {
    let socket = SockRef::from(listener);
    socket.set_tcp_nodelay(true)?;
    match u32::try_from(unsent_bytes) {
        Ok(0) | Err(_) => Ok(()),
        Ok(bytes) => socket.set_tcp_notsent_lowat(bytes),
    }
}

/// A connected byte stream that does not block.
pub(super) struct Transport {
    stream: Stream,
}

impl Transport {
    /// Takes over a connected socket.
    pub(super) fn new(stream: Stream) -> Transport {
        Transport { stream }
    }

    /// Asks for events of both directions, once and for all; mio registers edge-triggered.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.stream.register(registry, token)
    }

    /// Reads what is there. A read that does not fill `into` has emptied the socket.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.read(into)
    }

    /// Writes what the socket takes. A write that does not take all has filled it.
    pub(super) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.write_vectored(slices)
    }

    /// Ends the sending side; the client reads an end of file behind what was written.
    pub(super) fn shutdown_write(&self) {
        self.stream.shutdown_write();
    }
}

#[cfg(test)]
mod tests {
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
