//! What the program publishes with: one connection, or as many as it takes.
//!
//! Owns the choice between the two, and the words when a connection is lost.

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

/// How often a broker that says goodbye in place of a welcome is asked again: it was restarted in
/// that moment, and where a service manager holds its port open the next one answers.
const ATTEMPTS_AT_GOODBYE: usize = 8;

/// A connection, or one that is made again when it is lost.
pub(super) enum Sender {
    Once(Publisher),
    Again(Again),
}

/// A connection that is made again.
pub(super) struct Again {
    publisher: Box<ReconnectingPublisher>,
    /// The loss that is being mended was told: its attempts are not.
    is_told: Arc<AtomicBool>,
}

impl Again {
    /// Does something that may take several connections; with the last of them the loss is over.
    fn mended<T>(&mut self, act: impl FnOnce(&mut ReconnectingPublisher) -> T) -> T {
        let done = act(&mut self.publisher);
        self.is_told.store(false, Ordering::Relaxed);
        done
    }
}

impl Sender {
    /// Connects; with `retry` until there is a broker, and again when it goes away.
    pub(super) fn connect(target: &Arc<Target>, retry: bool) -> Result<Sender, ClientError> {
        if retry {
            let is_told = Arc::new(AtomicBool::new(false));
            let policy = telling_once(target, &is_told);
            let made = policy.publisher(Places(Arc::clone(target)), &target.options)?;
            is_told.store(false, Ordering::Relaxed);
            return Ok(Sender::Again(Again { publisher: Box::new(made), is_told }));
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
            Sender::Again(again) => again.mended(|publisher| publisher.publish(topic, payload)),
        }
    }

    pub(super) fn send(&mut self) -> Result<(), ClientError> {
        match self {
            Sender::Once(publisher) => publisher.send(),
            Sender::Again(again) => again.mended(ReconnectingPublisher::send),
        }
    }

    pub(super) fn flush(&mut self) -> Result<(), ClientError> {
        match self {
            Sender::Once(publisher) => publisher.flush(),
            Sender::Again(again) => again.mended(ReconnectingPublisher::flush),
        }
    }

    pub(super) fn idle(&mut self, time: Duration) -> Result<(), ClientError> {
        match self {
            Sender::Once(publisher) => publisher.idle(time),
            Sender::Again(again) => again.mended(|publisher| publisher.idle(time)),
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

/// Tells each loss once, not each attempt.
fn telling_once(target: &Arc<Target>, is_told: &Arc<AtomicBool>) -> Reconnect {
    let (names, is_told) = (Arc::clone(target), Arc::clone(is_told));
    Reconnect::new().on_loss(move |error| {
        if !is_told.swap(true, Ordering::Relaxed) {
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
