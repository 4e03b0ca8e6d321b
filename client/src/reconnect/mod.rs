//! Clients that connect again by themselves.
//!
//! Owns the policy: how long to pause, when to give up, what to call on a loss. What a publisher
//! sends again and a subscriber subscribes to again is in the modules below.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::ClientError;
use crate::options::ConnectOptions;

mod publisher;
mod subscriber;

pub use publisher::ReconnectingPublisher;
pub use subscriber::ReconnectingSubscriber;

/// How to connect again. The defaults: pauses from 0.1 s that grow to 10 s, without giving up.
///
/// Connecting for the first time is tried again in the same way.
///
/// ```no_run
/// use std::time::Duration;
/// use pubsub_client::{ConnectOptions, Reconnect};
///
/// # fn main() -> Result<(), pubsub_client::ClientError> {
/// let reconnect = Reconnect::new()
///     .give_up_after(Duration::from_secs(60))
///     .on_loss(|error| eprintln!("{error}; connecting again"));
/// let mut publisher = reconnect.publisher("127.0.0.1:9000", &ConnectOptions::new())?;
/// publisher.publish("#hello", "at least once")?;
/// publisher.flush()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Reconnect {
    first_pause: Duration,
    longest_pause: Duration,
    give_up_after: Option<Duration>,
    on_loss: Option<OnLoss>,
}

/// Called on each loss.
type OnLoss = Arc<dyn Fn(&ClientError) + Send + Sync>;

impl Reconnect {
    /// The defaults.
    #[must_use]
    pub fn new() -> Reconnect {
        Reconnect {
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(10),
            give_up_after: None,
            on_loss: None,
        }
    }

    /// The first pause, and the longest; each is twice the one before, and shortened at random by
    /// up to half, so that many clients do not reconnect all at once.
    #[must_use]
    pub fn pauses(mut self, first: Duration, longest: Duration) -> Reconnect {
        (self.first_pause, self.longest_pause) = (first, longest.max(first));
        self
    }

    /// The longest time without a connection, after which the call that waits for it fails.
    #[must_use]
    pub fn give_up_after(mut self, time: Duration) -> Reconnect {
        self.give_up_after = Some(time);
        self
    }

    /// Called with the reason each time that a connection is lost or an attempt has failed, and
    /// another one follows.
    #[must_use]
    pub fn on_loss(mut self, told: impl Fn(&ClientError) + Send + Sync + 'static) -> Reconnect {
        self.on_loss = Some(Arc::new(told));
        self
    }

    /// Connects a publisher to a broker's publishers' port. The address is resolved anew for each
    /// attempt.
    ///
    /// # Errors
    /// As [`Publisher::connect_with`](crate::Publisher::connect_with), where a retry cannot help,
    /// or the time is up.
    pub fn publisher(
        &self,
        address: impl ToSocketAddrs + Send + 'static,
        options: &ConnectOptions,
    ) -> Result<ReconnectingPublisher, ClientError> {
        ReconnectingPublisher::connect(Place::new(address, options, self))
    }

    /// Connects a subscriber to a broker's subscribers' port. The address is resolved anew for each
    /// attempt.
    ///
    /// # Errors
    /// As [`publisher`](Reconnect::publisher).
    pub fn subscriber(
        &self,
        address: impl ToSocketAddrs + Send + 'static,
        options: &ConnectOptions,
    ) -> Result<ReconnectingSubscriber, ClientError> {
        ReconnectingSubscriber::connect(Place::new(address, options, self))
    }
}

impl Default for Reconnect {
    fn default() -> Reconnect {
        Reconnect::new()
    }
}

impl fmt::Debug for Reconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnect")
            .field("first_pause", &self.first_pause)
            .field("longest_pause", &self.longest_pause)
            .field("give_up_after", &self.give_up_after)
            .finish_non_exhaustive()
    }
}

/// What gives the addresses of the broker, each time anew.
type Resolve = Box<dyn Fn() -> io::Result<Vec<SocketAddr>> + Send>;

/// Where a client belongs, and how it gets back there.
pub(crate) struct Place {
    resolve: Resolve,
    options: ConnectOptions,
    policy: Reconnect,
}

impl Place {
    fn new(
        address: impl ToSocketAddrs + Send + 'static,
        options: &ConnectOptions,
        policy: &Reconnect,
    ) -> Place {
        let resolve = Box::new(move || address.to_socket_addrs().map(Iterator::collect));
        Place { resolve, options: options.clone(), policy: policy.clone() }
    }

    /// Tries until it succeeds, a retry cannot help, or the time is up. `lost`: why the previous
    /// connection ended.
    pub(crate) fn reach<T>(
        &self,
        mut lost: Option<ClientError>,
        connect: impl Fn(&[SocketAddr], &ConnectOptions) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let started = Instant::now();
        let mut pause = self.policy.first_pause;
        loop {
            if let Some(error) = lost.take() {
                let left =
                    self.policy.give_up_after.map(|time| time.saturating_sub(started.elapsed()));
                if !error.is_worth_a_retry() || left.is_some_and(|left| left.is_zero()) {
                    return Err(error);
                }
                if let Some(told) = &self.policy.on_loss {
                    told(&error);
                }
                let shortened = pause.mul_f64(0.5 + 0.5 * fastrand::f64());
                thread::sleep(left.map_or(shortened, |left| left.min(shortened)));
                pause = (pause * 2).min(self.policy.longest_pause);
            }
            let unknown = |error| ClientError::Resolve(Arc::new(error));
            let addresses = (self.resolve)().map_err(unknown);
            match addresses.and_then(|addresses| connect(&addresses, &self.options)) {
                Ok(connected) => return Ok(connected),
                Err(error) => lost = Some(error),
            }
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { options, policy, .. } = self;
        f.debug_struct("Place")
            .field("options", options)
            .field("policy", policy)
            .finish_non_exhaustive()
    }
}
