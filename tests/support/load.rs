//! Full speed: a publisher that sends as much as is accepted, a subscriber that only counts.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::frame::publish;
use super::{PATIENCE, Peer};

/// How long a thread may not notice that it is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A thread that publishes block after block as fast as they are accepted.
pub(crate) struct Pump {
    stop: Arc<AtomicBool>,
    stream: TcpStream,
    thread: JoinHandle<u64>,
}

impl Pump {
    /// `refill` puts whole frames into the empty block, and says how many.
    pub(crate) fn start(
        peer: &Peer,
        mut refill: impl FnMut(&mut Vec<u8>) -> u64 + Send + 'static,
    ) -> Pump {
        let stream = peer.sender();
        stream.set_write_timeout(Some(LOOK_EVERY)).expect("a socket takes its options");
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, mut into) = (Arc::clone(&stop), peer.sender());
        let thread = thread::spawn(move || {
            let (mut block, mut messages) = (Vec::new(), 0);
            while !stopped.load(Ordering::Relaxed) {
                block.clear();
                let count = refill(&mut block);
                if write_patiently(&mut into, &block).is_err() {
                    break;
                }
                messages += count;
            }
            messages
        });
        Pump { stop, stream, thread }
    }

    /// The same message over and over.
    pub(crate) fn repeating(peer: &Peer, topic: &[u8], payload: &[u8]) -> Pump {
        let frame = publish(topic, payload);
        let count = ((256 << 10) / frame.len()).max(1);
        let all = frame.repeat(count);
        Pump::start(peer, move |block| {
            block.extend(&all);
            count as u64
        })
    }

    /// Stops after a whole block, which the broker must accept in time: the messages sent.
    pub(crate) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let messages = self.thread.join().expect("a pump does not panic");
        let writable = self.stream.set_write_timeout(Some(PATIENCE));
        writable.expect("a socket takes its options");
        messages
    }

    /// Stops anywhere, and ends the connection.
    pub(crate) fn kill(self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.stream.shutdown(Shutdown::Both);
        self.thread.join().expect("a pump does not panic");
    }
}

/// Writes all of it, however long it is held up.
fn write_patiently(stream: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A thread that reads all that a subscriber receives, and counts the bytes.
pub(crate) struct Meter {
    stop: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Meter {
    pub(crate) fn start(peer: Peer) -> Meter {
        let (stop, bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&bytes));
        let thread = thread::spawn(move || {
            let mut stream = peer.sender();
            stream.set_read_timeout(Some(LOOK_EVERY)).expect("a socket takes its options");
            let mut buffer = vec![0; 256 << 10];
            while !stopped.load(Ordering::Relaxed) {
                match stream.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(count) => counted.fetch_add(count as u64, Ordering::Relaxed),
                    Err(_) => 0,
                };
            }
        });
        Meter { stop, bytes, thread: Some(thread) }
    }

    /// Bytes received up to now.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes a second, measured for so long.
    pub(crate) fn rate(&self, lasting: Duration) -> f64 {
        let (start, before) = (Instant::now(), self.bytes());
        thread::sleep(lasting);
        (self.bytes() - before) as f64 / start.elapsed().as_secs_f64()
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
