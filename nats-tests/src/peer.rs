//! A raw connection to a server: writes any bytes, reads frames. Owns one socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::PATIENCE;
use crate::frame::Frame;

/// A client's end of a connection.
pub struct Peer {
    stream: TcpStream,
    read: Vec<u8>,
    closed: bool,
}

/// What `Peer::receive` returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server sent this.
    Frame(Frame),
    /// The server has closed the connection, after these bytes that are not a whole frame, if any.
    Closed(Vec<u8>),
    /// Nothing arrived for as long as the tests wait.
    Silence,
}

impl Peer {
    /// Connects, and reads nothing.
    pub fn connect(address: SocketAddr) -> Peer {
        let stream = TcpStream::connect(address).expect("the server accepts connections");
        stream.set_nodelay(true).expect("the socket takes options");
        stream.set_read_timeout(Some(PATIENCE)).expect("the socket takes options");
        stream.set_write_timeout(Some(PATIENCE)).expect("the socket takes options");
        Peer { stream, read: Vec::new(), closed: false }
    }

    /// Waits for this long at most, and not for `PATIENCE`.
    pub fn wait_at_most(&self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("the socket takes options");
    }

    /// Writes these bytes with one call. If the server has closed meanwhile, the next read reports
    /// it.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Waits for the next frame, or for the end.
    pub fn receive(&mut self) -> Event {
        loop {
            if let Some((frame, length)) = Frame::parse(&self.read) {
                self.read.drain(..length);
                return Event::Frame(frame);
            }
            if self.closed {
                return Event::Closed(std::mem::take(&mut self.read));
            }
            let mut more = [0; 16_384];
            match self.stream.read(&mut more) {
                // A reset is an end like any other: what arrived before it has been read.
                Ok(0) => self.closed = true,
                Ok(length) => self.read.extend(&more[..length]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Event::Silence,
                    ErrorKind::Interrupted => {}
                    _ => self.closed = true,
                },
            }
        }
    }

    /// Ends the sending side; reading continues.
    pub fn end_sending(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }
}
