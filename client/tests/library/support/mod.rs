//! What the tests of the library share: brokers that misbehave on purpose, and their clients.

pub mod fake;

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use pubsub_client::{ConnectOptions, Publisher, Subscriber};

use fake::{FakeBroker, Peer};

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What all tests connect with.
pub fn options() -> ConnectOptions {
    ConnectOptions::new().id("test")
}

/// Runs `broker` in a thread besides the test; it must end too.
pub fn beside<T: Send>(
    broker: impl FnOnce(&FakeBroker) + Send,
    client: impl FnOnce(SocketAddr) -> T,
) -> T {
    let fake = FakeBroker::start();
    let address = fake.address();
    thread::scope(|scope| {
        scope.spawn(move || broker(&fake));
        client(address)
    })
}

/// A subscriber that its broker has welcomed.
pub fn subscribe_to(broker: impl FnOnce(Peer) + Send, client: impl FnOnce(Subscriber) + Send) {
    beside(
        |fake| broker(fake.welcome()),
        |address| client(Subscriber::connect_with(address, &options()).unwrap()),
    );
}

/// A publisher that its broker has welcomed.
pub fn publish_to(broker: impl FnOnce(Peer) + Send, client: impl FnOnce(Publisher) + Send) {
    beside(
        |fake| broker(fake.welcome()),
        |address| client(Publisher::connect_with(address, &options()).unwrap()),
    );
}
