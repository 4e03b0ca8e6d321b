//! The publisher: messages out, confirmations and refusals in.
//!
//! Owns batching, confirmation by PING and PONG, and the thread that reads the broker's answers.

use std::net::ToSocketAddrs;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use wire::native::frame::{self, FLAG_FATAL, Kind};
use wire::topic::validate_topic;

use crate::connection::{self, Opened, Welcome};
use crate::error::{ClientError, Refusal};
use crate::link::{Link, lock};
use crate::options::ConnectOptions;
use crate::read_buffer::ReadBuffer;

/// Messages are sent in batches of about this many bytes.
const BATCH_BYTES: usize = 64 * 1024;
/// A publisher only reads answers, which are few and small.
const READ_BYTES: usize = 8 * 1024;
/// The most refusals kept for the next flush; the rest are only counted by the broker.
const MAX_REFUSALS: usize = 1_024;
/// How long the broker's reason is awaited after a write has failed.
const REASON_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection to the broker's publishers' port.
///
/// [`publish`](Publisher::publish) only collects; a batch is sent when it is large enough, by
/// [`send`](Publisher::send), and by [`flush`](Publisher::flush), which also waits until the broker
/// has taken everything. Between calls the connection keeps itself alive.
///
/// ```no_run
/// use pubsub_client::{ConnectOptions, Publisher};
///
/// # fn main() -> Result<(), pubsub_client::ClientError> {
/// let options = ConnectOptions::new().id("greeter");
/// let mut publisher = Publisher::connect_with("127.0.0.1:9000", &options)?;
/// publisher.publish("#hello", "This is the first message")?;
/// publisher.publish("#hello", [0xFF, 0x00])?; // any bytes
/// publisher.flush()?; // both are in the outboxes of their subscribers now
/// publisher.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Publisher {
    link: Arc<Link>,
    shared: Arc<Shared>,
    welcome: Welcome,
    /// Whole frames, not yet sent.
    batch: Vec<u8>,
    /// The topic validated last; most messages come in runs of one topic.
    valid_topic: String,
    read_timeout: Option<Duration>,
}

/// What the reading thread learns.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the last PING that was sent.
    asked: u64,
    /// The number of the last of our PINGs that was answered; at most `asked`.
    confirmed: u64,
    refusals: Vec<Refusal>,
    /// Why the connection is over.
    end: Option<ClientError>,
}

impl Publisher {
    /// Connects to the publishers' port with the default options.
    ///
    /// # Errors
    /// As [`connect_with`](Publisher::connect_with).
    pub fn connect(address: impl ToSocketAddrs) -> Result<Publisher, ClientError> {
        Publisher::connect_with(address, &ConnectOptions::new())
    }

    /// Connects to the publishers' port and waits for the broker's welcome. A host with several
    /// addresses is tried at each.
    ///
    /// # Errors
    /// `Option` before anything is sent; `Resolve`, `Connect`, `ClosedByBroker`, `Goodbye`,
    /// `Disconnected`, `Protocol`, `TimedOut` and `Io` for failures while connecting.
    pub fn connect_with(
        address: impl ToSocketAddrs,
        options: &ConnectOptions,
    ) -> Result<Publisher, ClientError> {
        let opened = connection::open(address, options, READ_BYTES)?;
        let Opened { stream, buffer, welcome } = opened;
        let link = Link::new(stream, welcome.heartbeat)?;
        let shared = Arc::new(Shared::default());
        let reader = Answers { link: Arc::clone(&link), shared: Arc::clone(&shared), buffer };
        thread::Builder::new().name("answers".to_owned()).spawn(move || reader.read())?;
        Ok(Publisher {
            link,
            shared,
            welcome,
            batch: Vec::with_capacity(BATCH_BYTES * 2),
            valid_topic: String::new(),
            read_timeout: options.read_timeout,
        })
    }

    /// What the broker stated in its WELCOME.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Adds a message to the batch, and sends the batch once it is large. Waits while the broker
    /// holds this publisher back because subscribers are slow (its overflow policy `block`). The
    /// payload is any bytes: `&str`, `&[u8]`, `Vec<u8>`, `String`.
    ///
    /// # Errors
    /// `Topic` or `TooLarge`: the message was not accepted, all else continues. Otherwise the
    /// reason why the connection is over.
    pub fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>) -> Result<(), ClientError> {
        let payload = payload.as_ref();
        if topic != self.valid_topic {
            validate_topic(topic.as_bytes())
                .map_err(|reason| ClientError::Topic { given: topic.to_owned(), reason })?;
            topic.clone_into(&mut self.valid_topic);
        }
        if payload.len() > self.welcome.max_payload {
            return Err(ClientError::TooLarge {
                bytes: payload.len(),
                limit: self.welcome.max_payload,
            });
        }
        frame::encode(Kind::Publish, 0, topic.as_bytes(), payload, &mut self.batch);
        if self.batch.len() >= BATCH_BYTES {
            self.send()?;
        }
        Ok(())
    }

    /// Sends the batch without waiting for a confirmation.
    ///
    /// # Errors
    /// The reason why the connection is over.
    pub fn send(&mut self) -> Result<(), ClientError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let sent = self.link.send(&self.batch);
        self.batch.clear();
        sent.map_err(|error| self.reason(error.into()))
    }

    /// Sends everything and waits until the broker confirms it: all messages are in the outboxes of
    /// their subscribers then.
    ///
    /// # Errors
    /// `Refused` with everything that the broker refused since the last flush: the rest was taken.
    /// `TimedOut` after the options' read time-out; flush again to continue waiting. Otherwise the
    /// reason why the connection is over.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        // A time-out beyond the range of the clock is none.
        let deadline = (self.read_timeout).and_then(|time| Instant::now().checked_add(time));
        let wanted = {
            let mut state = lock(&self.shared.state);
            state.asked += 1;
            state.asked
        };
        frame::encode(Kind::Ping, 0, b"", &wanted.to_be_bytes(), &mut self.batch);
        self.send()?;
        self.wait(deadline, |state| state.confirmed >= wanted);
        let mut state = lock(&self.shared.state);
        if state.confirmed < wanted {
            let timed_out = ClientError::TimedOut("the broker's confirmation");
            return Err(state.end.clone().unwrap_or(timed_out));
        }
        if state.refusals.is_empty() {
            Ok(())
        } else {
            Err(ClientError::Refused(std::mem::take(&mut state.refusals)))
        }
    }

    /// Waits for this long, or until the connection ends.
    ///
    /// # Errors
    /// The reason why the connection is over.
    pub fn idle(&self, time: Duration) -> Result<(), ClientError> {
        // A time beyond the range of the clock is for ever.
        self.wait(Instant::now().checked_add(time), |_| false);
        lock(&self.shared.state).end.clone().map_or(Ok(()), Err)
    }

    /// A handle by which another thread can wait for the end of the connection.
    pub fn end_watch(&self) -> EndWatch {
        EndWatch(Arc::clone(&self.shared))
    }

    /// Flushes, ends the sending side, and waits until the broker has closed its side too.
    ///
    /// # Errors
    /// As [`flush`](Publisher::flush).
    pub fn close(mut self) -> Result<(), ClientError> {
        self.flush()?;
        self.link.finish();
        // Everything is confirmed; a broker that is slow to close must not block the caller.
        self.wait(Some(Instant::now() + REASON_TIMEOUT), |_| false);
        Ok(())
    }

    /// Ends the connection at once.
    pub(crate) fn abort(&self) {
        self.link.close();
    }

    /// Waits until the condition holds, the connection ends or the deadline passes.
    fn wait(&self, deadline: Option<Instant>, done: impl Fn(&State) -> bool) {
        self.shared.wait(deadline, done);
    }

    /// The broker's own reason for the end, which a failed write only hints at.
    fn reason(&self, failure: ClientError) -> ClientError {
        self.wait(Some(Instant::now() + REASON_TIMEOUT), |_| false);
        lock(&self.shared.state).end.clone().unwrap_or(failure)
    }
}

impl Drop for Publisher {
    /// Sends what is left, unconfirmed. The answers are read to their end by a thread, so that
    /// closing does not destroy what is still on its way to the broker.
    fn drop(&mut self) {
        if !self.batch.is_empty() {
            let _ = self.link.send(&self.batch);
        }
        self.link.finish();
    }
}

/// Waits for the end of a [`Publisher`]'s connection, in another thread.
#[derive(Debug)]
pub struct EndWatch(Arc<Shared>);

impl EndWatch {
    /// Returns the reason once the connection is over.
    pub fn wait(&self) -> ClientError {
        loop {
            self.0.wait(None, |_| false);
            if let Some(end) = lock(&self.0.state).end.clone() {
                return end;
            }
        }
    }
}

impl Shared {
    fn wait(&self, deadline: Option<Instant>, done: impl Fn(&State) -> bool) {
        let mut state = lock(&self.state);
        while state.end.is_none() && !done(&state) {
            let Some(deadline) = deadline else {
                state = (self.changed.wait(state)).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }
}

/// Reads what the broker answers. Never writes, so it can always continue reading.
struct Answers {
    link: Arc<Link>,
    shared: Arc<Shared>,
    buffer: ReadBuffer,
}

impl Answers {
    fn read(mut self) {
        let end = loop {
            if let Err(end) = self.read_once() {
                break end;
            }
        };
        self.shared.change(|state| state.end = Some(end));
        self.link.close();
    }

    fn read_once(&mut self) -> Result<(), ClientError> {
        // The broker sends no message to a publisher, so no payload is allowed for.
        while let Some(place) = self.buffer.frame_at(0, 0)? {
            let bytes = self.buffer.unused();
            let (topic, body) = (&bytes[place.topic.clone()], &bytes[place.body.clone()]);
            match place.kind {
                Kind::Ping => self.link.owe_pong(body),
                Kind::Pong => self.confirm(body),
                Kind::Error => {
                    let refusal = Refusal::parse(topic, body)?;
                    if place.flags & FLAG_FATAL != 0 {
                        return Err(ClientError::ClosedByBroker(refusal));
                    }
                    self.shared.change(|state| {
                        if state.refusals.len() < MAX_REFUSALS {
                            state.refusals.push(refusal);
                        }
                    });
                }
                Kind::Goodbye => {
                    let reason = String::from_utf8_lossy(body).into_owned();
                    return Err(ClientError::Goodbye(reason));
                }
                kind => {
                    let text = format!("{kind:?} was sent to a publisher");
                    return Err(ClientError::Protocol(text));
                }
            }
            self.buffer.consume(place.end());
        }
        let count = connection::read_before(self.link.stream(), &mut self.buffer, 0, None)?;
        if count == Some(0) {
            return Err(ClientError::Disconnected);
        }
        Ok(())
    }

    fn confirm(&self, body: &[u8]) {
        // A PONG of another length answers a sign of life, not a flush.
        if let Ok(number) = body.try_into().map(u64::from_be_bytes) {
            self.shared.change(|state| {
                // A number that was never sent confirms nothing.
                if number <= state.asked {
                    state.confirmed = state.confirmed.max(number);
                }
            });
        }
    }
}
