//! A raw blocking client: sends any bytes, and returns what it receives.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::frame::{self, FATAL, Frame, Inbox, kind};

/// What a connection received next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A whole frame.
    Frame(Frame),
    /// The broker shut its sending side; so many bytes of a partial frame arrived before.
    Closed(usize),
    /// The connection was reset, or failed otherwise.
    Reset,
    /// Nothing arrived in the time given.
    Quiet,
}

/// One connection to the broker.
pub(crate) struct Peer {
    stream: TcpStream,
    inbox: Inbox,
    pings: u64,
}

impl Peer {
    /// Connects without sending anything.
    pub(crate) fn connect(address: SocketAddr) -> Peer {
        let stream = TcpStream::connect_timeout(&address, PATIENCE);
        Peer::on(stream.unwrap_or_else(|error| panic!("no connection to {address}: {error}")))
    }

    /// Connects with small kernel buffers on this side, so that not reading has an effect soon.
    pub(crate) fn connect_small(address: SocketAddr) -> Peer {
        Peer::on(small_socket(address, |_| {}))
    }

    /// The same with small segments as on a real wire, which keep the kernel's buffer for what the
    /// broker sends small as well: tens of KiB instead of megabytes.
    pub(crate) fn connect_tiny(address: SocketAddr) -> Peer {
        Peer::on(tiny_socket(address))
    }

    fn on(stream: TcpStream) -> Peer {
        stream.set_nodelay(true).expect("a socket takes its options");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes its options");
        Peer { stream, inbox: Inbox::default(), pings: 0 }
    }

    /// Sends HELLO and takes WELCOME.
    pub(crate) fn hello(mut self, id: &[u8]) -> Peer {
        self.send(&frame::hello(id, b"version=1\n"));
        self.expect_welcome();
        self
    }

    /// This side's address, as the broker sees it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket has an address")
    }

    /// A second handle to send through, for a thread.
    pub(crate) fn sender(&self) -> TcpStream {
        self.stream.try_clone().expect("a handle can be copied")
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the broker takes what it is sent");
    }

    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(crate) fn publish(&mut self, topic: &[u8], payload: &[u8]) {
        self.send(&frame::publish(topic, payload));
    }

    /// Subscribes and waits until it is in force. An empty `group` is a plain filter.
    pub(crate) fn subscribe(&mut self, filter: &[u8], group: &[u8]) {
        self.send(&frame::subscribe(filter, group));
        self.confirm();
    }

    /// Unsubscribes and waits until it is in force.
    pub(crate) fn unsubscribe(&mut self, filter: &[u8], group: &[u8]) {
        self.send(&frame::unsubscribe(filter, group));
        self.confirm();
    }

    /// Sends FIN: this side is done sending.
    pub(crate) fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// Waits for PONG, which must be the next frame: everything sent is processed.
    pub(crate) fn confirm(&mut self) {
        let before = self.frames_until_pong();
        assert!(before.is_empty(), "nothing but PONG was due: {before:?}");
    }

    /// Sends PING and takes all frames up to its PONG.
    pub(crate) fn frames_until_pong(&mut self) -> Vec<Frame> {
        self.pings += 1;
        let token = format!("confirm {}", self.pings);
        self.send(&frame::ping(token.as_bytes()));
        let mut frames = Vec::new();
        loop {
            let frame = self.recv();
            if frame.kind == kind::PONG && frame.body == token.as_bytes() {
                assert!(frame.topic.is_empty() && frame.flags == 0, "{frame:?}");
                return frames;
            }
            frames.push(frame);
        }
    }

    /// The next event, waiting at most so long for it.
    pub(crate) fn next(&mut self, within: Duration) -> Event {
        let deadline = Instant::now() + within;
        loop {
            if let Some(frame) = self.inbox.cut() {
                return Event::Frame(frame);
            }
            match self.fill(deadline) {
                Ok(0) => return Event::Closed(self.inbox.partial()),
                Ok(_) => {}
                Err(error) if is_timeout(&error) => return Event::Quiet,
                Err(_) => return Event::Reset,
            }
        }
    }

    /// One read from the socket: the number of bytes, 0 at the end.
    fn fill(&mut self, deadline: Instant) -> io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let mut buffer = [0; 65_536];
        let read = self.stream.read(&mut buffer)?;
        self.inbox.push(&buffer[..read]);
        Ok(read)
    }

    /// Takes at most `most` bytes off the socket, frame or not: a reader that is slow on purpose.
    pub(crate) fn take_bytes(&mut self, most: usize) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(PATIENCE))?;
        let mut buffer = vec![0; most];
        let read = self.stream.read(&mut buffer)?;
        self.inbox.push(&buffer[..read]);
        Ok(read)
    }

    /// The next frame, which must arrive.
    pub(crate) fn recv(&mut self) -> Frame {
        match self.next(PATIENCE) {
            Event::Frame(frame) => frame,
            other => panic!("a frame was due, but: {other:?}"),
        }
    }

    /// The next frame must be this message.
    pub(crate) fn expect_message(&mut self, topic: &[u8], payload: &[u8]) {
        let expected =
            Frame { kind: kind::PUBLISH, flags: 0, topic: topic.to_vec(), body: payload.to_vec() };
        let frame = self.recv();
        assert!(frame == expected, "{expected:?} was due, not {frame:?}");
    }

    /// All messages before the one with this topic. Nothing but messages may arrive.
    pub(crate) fn messages_until(&mut self, last_topic: &[u8]) -> Vec<Frame> {
        let mut messages = Vec::new();
        loop {
            let frame = self.recv();
            assert_eq!(frame.kind, kind::PUBLISH, "only messages were due: {frame:?}");
            if frame.topic == last_topic {
                return messages;
            }
            messages.push(frame);
        }
    }

    pub(crate) fn expect_welcome(&mut self) -> Frame {
        let frame = self.recv();
        assert_eq!((frame.kind, frame.flags), (kind::WELCOME, 0), "no WELCOME: {frame:?}");
        frame
    }

    /// The next frame must be an ERROR of this code and fatality, with a text in UTF-8.
    pub(crate) fn expect_error(&mut self, code: u16, fatal: bool) -> Frame {
        let frame = self.recv();
        check_error(&frame, code, fatal);
        frame
    }

    /// A fatal ERROR, and then the end of the connection without anything more.
    pub(crate) fn expect_refusal(&mut self, code: u16) {
        self.expect_error(code, true);
        self.expect_close();
    }

    /// The broker must end the connection in order, between frames.
    pub(crate) fn expect_close(&mut self) {
        let event = self.next(PATIENCE);
        assert_eq!(event, Event::Closed(0), "an orderly end was due");
    }

    /// All frames up to the orderly end of the connection.
    pub(crate) fn frames_until_close(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            match self.next(PATIENCE) {
                Event::Frame(frame) => frames.push(frame),
                Event::Closed(0) => return frames,
                other => panic!("frames and an orderly end were due, not {other:?}"),
            }
        }
    }
}

/// A connection with small buffers on this side, and what else `prepare` sets.
/// A connection with the smallest buffers that there are.
pub(super) fn tiny_socket(address: SocketAddr) -> TcpStream {
    small_socket(address, |socket| {
        socket.set_tcp_mss(536).expect("the segment size can be set");
        socket.set_recv_buffer_size(4_096).expect("the buffer size can be set");
    })
}

fn small_socket(address: SocketAddr, prepare: impl FnOnce(&socket2::Socket)) -> TcpStream {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)
        .expect("the system has a socket for a test");
    socket.set_recv_buffer_size(65_536).expect("the buffer size can be set");
    socket.set_send_buffer_size(16_384).expect("the buffer size can be set");
    prepare(&socket);
    socket.connect(&address.into()).expect("the broker accepts");
    socket.into()
}

/// Checks all that an ERROR frame must be.
pub(crate) fn check_error(frame: &Frame, code: u16, fatal: bool) {
    assert_eq!(frame.error_code(), code, "another code was due: {frame:?}");
    let flags = if fatal { FATAL } else { 0 };
    assert_eq!(frame.flags, flags, "the FATAL flag is wrong: {frame:?}");
    assert!(std::str::from_utf8(&frame.body[2..]).is_ok(), "text not UTF-8: {frame:?}");
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
