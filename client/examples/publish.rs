//! Publishes three messages to a broker on this machine, and waits until it has confirmed them:
//! `cargo run -p pubsub-client --example publish`.

use std::time::Duration;

use pubsub_client::{ClientError, ConnectOptions, DEFAULT_PUBLISHER_PORT, Publisher};

fn main() -> Result<(), ClientError> {
    run(&format!("127.0.0.1:{DEFAULT_PUBLISHER_PORT}"))
}

/// Publishes to the broker at `address`, its publishers' port.
pub(crate) fn run(address: &str) -> Result<(), ClientError> {
    let options = ConnectOptions::new().id("greeter").connect_timeout(Duration::from_secs(3));
    let mut publisher = Publisher::connect_with(address, &options)?;
    println!("connected to {}", publisher.welcome().server);
    for number in 1..=3 {
        publisher.publish("greetings.en", format!("hello, {number}"))?;
    }
    publisher.close()
}
