//! What the program publishes with: one connection, or one that is established again when lost.
//!
//! Owns the choice between the two, and the texts when a connection is lost.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use std::vec;

use pubsub_client::{ClientError, EndWatch, Publisher, Reconnect, ReconnectingPublisher, Welcome};

use crate::cli::pace::Backoff;
use crate::cli::report::say;
use crate::cli::target::Target;

use super::PROGRAM;

/// How often to connect again when a broker sends GOODBYE in place of WELCOME: it was being
/// restarted, and where a service manager holds its port open, the next one answers.
const ATTEMPTS_AT_GOODBYE: usize = 8;

/// A connection, or one that is established again when it is lost.
pub(super) enum Sender {
    Once(Publisher),
    Again(Again),
}

/// A connection that is established again when it is lost.
pub(super) struct Again {
    publisher: Box<ReconnectingPublisher>,
    /// The current loss has been reported: failed attempts after it are not.
    is_reported: Arc<AtomicBool>,
}

impl Again {
    /// Does something that may take several connections; afterwards the loss is over.
    fn with_publisher<T>(&mut self, act: impl FnOnce(&mut ReconnectingPublisher) -> T) -> T {
        let done = act(&mut self.publisher);
        self.is_reported.store(false, Ordering::Relaxed);
        done
    }
}

impl Sender {
    /// Connects; with `retry` until it succeeds, and again when the connection is lost.
    pub(super) fn connect(target: &Arc<Target>, retry: bool) -> Result<Sender, ClientError> {
        if retry {
            let is_reported = Arc::new(AtomicBool::new(false));
            let policy = report_once(target, &is_reported);
            let made = policy.publisher(Places(Arc::clone(target)), &target.options)?;
            is_reported.store(false, Ordering::Relaxed);
            return Ok(Sender::Again(Again { publisher: Box::new(made), is_reported }));
        }
        let mut backoff = Backoff::new();
        let mut goodbye = None;
        for _ in 0..ATTEMPTS_AT_GOODBYE {
            let connected = target
                .addresses()
                .and_then(|addresses| Publisher::connect_with(&addresses[..], &target.options));
            match connected {
                Err(error @ ClientError::Goodbye(_)) => goodbye = Some(error),
                Err(ClientError::Connect(_)) if goodbye.is_some() => {}
                connected => return connected.map(Sender::Once),
            }
            thread::sleep(backoff.pause());
        }
        Err(goodbye.unwrap_or(ClientError::Disconnected))
    }

    pub(super) fn welcome(&self) -> &Welcome {
        match self {
            Sender::Once(publisher) => publisher.welcome(),
            Sender::Again(again) => again.publisher.welcome(),
        }
    }

    pub(super) fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<(), ClientError> {
        match self {
            Sender::Once(publisher) => publisher.publish(topic, payload),
            Sender::Again(again) => {
                again.with_publisher(|publisher| publisher.publish(topic, payload))
            }
        }
    }

    pub(super) fn send(&mut self) -> Result<(), ClientError> {
        match self {
            Sender::Once(publisher) => publisher.send(),
            Sender::Again(again) => again.with_publisher(ReconnectingPublisher::send),
        }
    }

    pub(super) fn flush(&mut self) -> Result<(), ClientError> {
        match self {
            Sender::Once(publisher) => publisher.flush(),
            Sender::Again(again) => again.with_publisher(ReconnectingPublisher::flush),
        }
    }

    pub(super) fn idle(&mut self, time: Duration) -> Result<(), ClientError> {
        match self {
            Sender::Once(publisher) => publisher.idle(time),
            Sender::Again(again) => again.with_publisher(|publisher| publisher.idle(time)),
        }
    }

    /// What waits for the end of the connection, where that is the end of the program as well.
    pub(super) fn end_watch(&self) -> Option<EndWatch> {
        match self {
            Sender::Once(publisher) => Some(publisher.end_watch()),
            Sender::Again(_) => None,
        }
    }

    pub(super) fn close(self) -> Result<(), ClientError> {
        match self {
            Sender::Once(publisher) => publisher.close(),
            Sender::Again(Again { mut publisher, .. }) => {
                publisher.flush()?;
                let resent = publisher.resent();
                if resent > 0 {
                    let text = format!("{resent} messages were sent again; some may come twice");
                    say(PROGRAM, &text);
                }
                Ok(())
            }
        }
    }
}

/// Reports each loss once, not each attempt.
fn report_once(target: &Arc<Target>, is_reported: &Arc<AtomicBool>) -> Reconnect {
    let (names, is_reported) = (Arc::clone(target), Arc::clone(is_reported));
    Reconnect::new().on_loss(move |error| {
        if !is_reported.swap(true, Ordering::Relaxed) {
            let error = names.explain(error);
            say(PROGRAM, &format!("{error}; trying again until the broker is there"));
        }
    })
}

/// The places of a target, looked up anew each time.
struct Places(Arc<Target>);

impl ToSocketAddrs for Places {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<vec::IntoIter<SocketAddr>> {
        match self.0.addresses() {
            Ok(addresses) => Ok(addresses.into_iter()),
            Err(ClientError::Resolve(error)) => {
                Err(io::Error::new(error.kind(), error.to_string()))
            }
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }
}
