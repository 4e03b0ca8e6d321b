//! Thousands of light connections, made as fast as the system allows.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::frame::{Inbox, hello, kind, ping, subscribe};
use super::{Broker, PATIENCE};

/// Files that all ordinary tests with many connections have open together, when they run at the
/// same time in one process.
pub(crate) const FILES_OF_ALL_TESTS: u64 = 8_192;

/// Lets this process open so many files; panics if the system does not allow it.
pub(crate) fn open_files(wanted: u64) {
    // The limit belongs to the process: a test must not undo what another one has just set.
    static RAISING: Mutex<()> = Mutex::new(());
    let _raising = RAISING.lock().unwrap_or_else(PoisonError::into_inner);
    let (soft, hard) = rlimit::Resource::NOFILE.get().expect("the system has this limit");
    assert!(hard >= wanted, "this test needs `ulimit -Hn` to be {wanted}, not {hard}");
    if soft < wanted {
        rlimit::Resource::NOFILE.set(wanted, hard).expect("it is within the hard limit");
    }
}

/// What a client sends to connect and subscribe, and how long the answer is.
#[derive(Clone)]
pub(crate) struct Greeting {
    bytes: Vec<u8>,
    answer: usize,
}

impl Greeting {
    /// HELLO, SUBSCRIBE and PING in one write; tries it once to see how long the answers are.
    pub(crate) fn new(broker: &Broker, filter: &[u8]) -> Greeting {
        let frames = [hello(b"crowd", b"version=1\n"), subscribe(filter, b""), ping(b"in")];
        let bytes = frames.concat();
        let mut stream = connect(broker.subscribers).expect("the broker accepts");
        stream.write_all(&bytes).expect("the broker reads");
        let (mut inbox, mut answer) = (Inbox::default(), 0);
        loop {
            let mut buffer = [0; 1_024];
            let count = stream.read(&mut buffer).expect("the broker answers");
            assert!(count > 0, "the broker closed instead of an answer");
            answer += count;
            inbox.push(&buffer[..count]);
            while let Some(frame) = inbox.cut() {
                if frame.kind == kind::PONG {
                    return Greeting { bytes, answer };
                }
                assert_eq!(frame.kind, kind::WELCOME, "{frame:?}");
            }
        }
    }

    /// A connection that is subscribed.
    pub(crate) fn enter(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = connect(address)?;
        stream.write_all(&self.bytes)?;
        let mut answer = [0; 1_024];
        stream.read_exact(&mut answer[..self.answer])?;
        Ok(stream)
    }

    /// The least work of any server for such clients: accept, read once, write once. It keeps them
    /// all, and ends with the test.
    pub(crate) fn bare_server(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let answer = vec![0; self.answer];
        thread::spawn(move || {
            let mut kept = Vec::new();
            let mut buffer = [0; 4_096];
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let _ = stream.set_nodelay(true);
                let _ = stream.read(&mut buffer);
                let _ = stream.write_all(&answer);
                kept.push(stream);
            }
        });
        address
    }
}

pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    // Without a time-out for connecting, which would take two more system calls.
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Ends a connection by a reset instead of FIN, as a restarted machine does.
pub(crate) fn reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("a socket takes its options");
}
