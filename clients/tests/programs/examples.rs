//! The examples of the library against a real broker.

#[path = "../../../client/examples/publish.rs"]
mod publish;
#[path = "../../../client/examples/subscribe.rs"]
mod subscribe;

use crate::support::real::Broker;

#[test]
fn what_one_example_publishes_the_other_receives() {
    let broker = Broker::start();
    let at = |port: u16| format!("127.0.0.1:{port}");
    let subscriber = subscribe::subscribed(&at(broker.subscriber_port)).unwrap();
    publish::run(&at(broker.publisher_port)).unwrap();
    let messages = subscribe::first_three(subscriber).unwrap();
    let payloads: Vec<_> = messages.iter().map(|message| message.payload.as_slice()).collect();
    assert_eq!(payloads, [b"hello, 1", b"hello, 2", b"hello, 3"]);
}
