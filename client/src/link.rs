//! The sending half of a connection, shared by everything that sends on it.
//!
//! Owns that frames are written whole, and the thread (the keeper) that answers the broker's PINGs
//! and shows signs of life while the application does other things. Reads nothing.
//!
//! Why a thread of its own: the broker may stop reading a publisher whose subscribers are slow,
//! and it stops reading a client that does not read its answers. The reading thread must therefore
//! never wait for a write, or both sides could wait for each other for ever.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use wire::native::frame::{self, Kind};

use crate::stream::Stream;

/// The most PONGs that are owed at once; a broker that sends more PINGs while it does not read gets
/// answers to the latest ones only.
const MAX_OWED_PONGS: usize = 64;

/// The shortest time between two signs of life.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(20);
/// The longest time between two signs of life.
const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The sending half.
#[derive(Debug)]
pub(crate) struct Link {
    stream: Stream,
    /// Held for the length of whole frames.
    writing: Mutex<()>,
    duties: Mutex<Duties>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Duties {
    /// Bodies of the PINGs to answer.
    pongs: VecDeque<Vec<u8>>,
    closed: bool,
}

impl Link {
    /// Takes over sending on `stream`. With a heartbeat, a sign of life is sent twice in each.
    pub(crate) fn new(stream: Stream, heartbeat: Option<Duration>) -> io::Result<Arc<Link>> {
        let link = Arc::new(Link {
            stream,
            writing: Mutex::new(()),
            duties: Mutex::new(Duties::default()),
            wake: Condvar::new(),
        });
        let keeper = Arc::clone(&link);
        thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || keeper.keep(heartbeat.map(sign_interval)))?;
        Ok(link)
    }

    /// The socket, for reading.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Sends whole frames; waits as long as the broker does not read.
    pub(crate) fn send(&self, frames: &[u8]) -> io::Result<()> {
        let _writing = lock(&self.writing);
        self.stream.write_all(frames)
    }

    /// Has the keeper answer a PING. Never waits for the broker.
    pub(crate) fn owe_pong(&self, body: &[u8]) {
        let mut duties = lock(&self.duties);
        if duties.pongs.len() == MAX_OWED_PONGS {
            duties.pongs.pop_front();
        }
        duties.pongs.push_back(body.to_vec());
        self.wake.notify_all();
    }

    /// Ends the sending side; reading continues.
    pub(crate) fn finish(&self) {
        self.end_duties();
        let _writing = lock(&self.writing);
        self.stream.finish();
    }

    /// Ends the connection, also for threads that wait in a read or a write.
    pub(crate) fn close(&self) {
        self.end_duties();
        self.stream.close();
    }

    fn end_duties(&self) {
        lock(&self.duties).closed = true;
        self.wake.notify_all();
    }

    fn keep(&self, interval: Option<Duration>) {
        let mut frames = Vec::new();
        while self.await_duty(interval, &mut frames) {
            if self.send(&frames).is_err() {
                // The reading side notices the same, and knows the reason.
                return;
            }
        }
    }

    /// Waits for something to send, and puts it into `frames`. `false`: the connection is over.
    fn await_duty(&self, interval: Option<Duration>, frames: &mut Vec<u8>) -> bool {
        frames.clear();
        let due = interval.map(|interval| Instant::now() + interval);
        let mut duties = lock(&self.duties);
        loop {
            if duties.closed {
                return false;
            }
            for body in duties.pongs.drain(..) {
                frame::encode(Kind::Pong, 0, b"", &body, frames);
            }
            if !frames.is_empty() {
                return true;
            }
            duties = match due {
                None => (self.wake.wait(duties)).unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let left = due.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        // Without a body, to distinguish it from the PING of a confirmation.
                        frame::encode(Kind::Ping, 0, b"", b"", frames);
                        return true;
                    }
                    let waited = self.wake.wait_timeout(duties, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// How often a sign of life is sent: twice in a heartbeat, within reason whatever the broker says.
fn sign_interval(heartbeat: Duration) -> Duration {
    (heartbeat / 2).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)
}

/// Locks; what our mutexes guard is consistent even if a thread panicked while it held one.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
