//! Prints the first three messages to `greetings.>` of a broker on this machine:
//! `cargo run -p pubsub-client --example subscribe`, and beside it the example `publish`.

use pubsub_client::{ClientError, DEFAULT_SUBSCRIBER_PORT, OwnedMessage, Subscriber};

fn main() -> Result<(), ClientError> {
    let subscriber = subscribed(&format!("127.0.0.1:{DEFAULT_SUBSCRIBER_PORT}"))?;
    for message in first_three(subscriber)? {
        println!("{}: {}", message.topic, String::from_utf8_lossy(&message.payload));
    }
    Ok(())
}

/// A subscriber at `address`, a broker's subscribers' port, that misses nothing from now on.
pub(crate) fn subscribed(address: &str) -> Result<Subscriber, ClientError> {
    let mut subscriber = Subscriber::connect(address)?;
    subscriber.subscribe("greetings.>", None)?;
    subscriber.confirm()?;
    Ok(subscriber)
}

/// Three messages; waits for them.
pub(crate) fn first_three(subscriber: Subscriber) -> Result<Vec<OwnedMessage>, ClientError> {
    subscriber.into_iter().take(3).collect()
}
