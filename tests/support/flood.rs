//! Sends more than is read, in a thread, and detects whether it is blocked.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// Without progress for so long, a sender counts as blocked.
const BLOCKED_AFTER: Duration = Duration::from_millis(400);

/// A thread that sends bytes as fast as they are taken.
pub(crate) struct Flood {
    thread: JoinHandle<io::Result<()>>,
    written: Arc<AtomicUsize>,
    total: usize,
}

impl Flood {
    pub(crate) fn start(mut stream: TcpStream, bytes: Vec<u8>) -> Flood {
        let written = Arc::new(AtomicUsize::new(0));
        let (total, progress) = (bytes.len(), Arc::clone(&written));
        let thread = thread::spawn(move || {
            stream.set_write_timeout(Some(3 * PATIENCE))?;
            for piece in bytes.chunks(8_192) {
                stream.write_all(piece)?;
                progress.fetch_add(piece.len(), Ordering::SeqCst);
            }
            Ok(())
        });
        Flood { thread, written, total }
    }

    /// Waits until the broker takes no more, which must be before all is sent.
    pub(crate) fn wait_until_blocked(&self) {
        let deadline = Instant::now() + 2 * PATIENCE;
        let (mut last, mut since) = (0, Instant::now());
        while Instant::now() < deadline {
            let written = self.written.load(Ordering::SeqCst);
            assert!(written < self.total, "all {} bytes were taken, none held up", self.total);
            if written != last {
                (last, since) = (written, Instant::now());
            } else if since.elapsed() > BLOCKED_AFTER && written > 0 {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("the sender neither finished nor got stuck");
    }

    /// Whether the thread has ended, successfully or not.
    pub(crate) fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until all is sent.
    pub(crate) fn finish(self) {
        let sent = self.thread.join().expect("the sending thread does not panic");
        sent.expect("the broker takes all that it is sent");
    }
}
