//! The bytes to and from the broker: over TCP or a Unix socket, plain or in TLS.
//!
//! Owns the socket. One thread may read while others write; what is written in TLS must be written
//! by one at a time, which [`Link`](crate::link::Link) sees to. Knows no frames.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use socket2::Socket;

#[cfg(feature = "tls")]
use crate::tls::Session;

/// A connected byte stream that waits.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    #[cfg(feature = "tls")]
    session: Option<Session>,
}

impl Stream {
    /// A stream of plain bytes.
    pub fn plain(socket: Socket) -> Stream {
        Stream {
            socket,
            #[cfg(feature = "tls")]
            session: None,
        }
    }

    /// A stream in TLS, behind its handshake.
    ///
    /// # Errors
    /// That the other side is not to be trusted, does not trust us, or speaks no TLS.
    #[cfg(feature = "tls")]
    pub fn secure(
        socket: Socket,
        session: Session,
        deadline: Option<Instant>,
    ) -> io::Result<Stream> {
        let mut stream = Stream::plain(socket);
        session.shake_hands(|| stream.set_deadline(deadline), &stream.socket)?;
        stream.session = Some(session);
        Ok(stream)
    }

    /// How long a read waits.
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)
    }

    /// Lets a read wait until then.
    ///
    /// # Errors
    /// `TimedOut` if that is over.
    pub fn set_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        let Some(deadline) = deadline else { return self.set_read_timeout(None) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.set_read_timeout(Some(left))
    }

    /// Writes all of it; one thread at a time.
    ///
    /// # Errors
    /// Those of the system.
    pub fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(session) = &self.session {
            return session.write_all(&self.socket, bytes);
        }
        (&self.socket).write_all(bytes)
    }

    /// Ends the sending side, behind what was written; by the thread that writes.
    pub fn finish(&self) {
        #[cfg(feature = "tls")]
        if let Some(session) = &self.session {
            session.finish(&self.socket);
        }
        // It fails only if the connection has already ended.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Ends both sides, also for threads that wait.
    pub fn close(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl Read for &Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(session) = &self.session {
            return session.read(&self.socket, into);
        }
        (&self.socket).read(into)
    }
}
