//! Clients that outlive their connection, against brokers that end it.

use std::time::Duration;

use pubsub_client::{ClientError, ConnectOptions, Event, Reconnect};
use wire::native::error_code::ErrorCode;
use wire::native::frame::Kind;

use crate::support::fake::{FakeBroker, Peer};
use crate::support::{beside, options};

/// Without long pauses.
fn short_pauses() -> Reconnect {
    Reconnect::new().pauses(Duration::from_millis(1), Duration::from_millis(20))
}

/// Reads messages up to the next PING, and answers that.
fn confirm(peer: &mut Peer) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    loop {
        let received = peer.receive();
        match received.kind {
            Kind::Publish => payloads.push(received.body),
            _ => {
                peer.send(Kind::Pong, b"", &received.body);
                return payloads;
            }
        }
    }
}

#[test]
fn a_publisher_sends_again_what_was_not_confirmed_and_nothing_else() {
    let broker = |fake: &FakeBroker| {
        let mut peer = fake.welcome();
        assert_eq!(confirm(&mut peer), [b"one"]);
        // The second arrives, and its confirmation is lost.
        assert_eq!(peer.receive().body, b"two");
        peer.receive();
        peer.close();
        drop(fake.accept());
        let mut peer = fake.welcome();
        assert_eq!(confirm(&mut peer), [b"two"]);
        assert_eq!(confirm(&mut peer), [b"three"]);
        peer.close();
    };
    beside(broker, |address| {
        let mut publisher = short_pauses().publisher(address, &options()).unwrap();
        for payload in ["one", "two", "three"] {
            publisher.publish("t", payload).unwrap();
            publisher.flush().unwrap();
        }
        assert_eq!((publisher.reconnects(), publisher.resent()), (1, 1));
        assert!(matches!(publisher.publish("a.*", ""), Err(ClientError::Topic { .. })));
    });
}

#[test]
fn a_subscriber_asks_again_for_what_is_wanted_then_and_tells_the_gap() {
    let broker = |fake: &FakeBroker| {
        let mut peer = fake.welcome();
        let kinds: Vec<_> = (0..4).map(|_| peer.receive().kind).collect();
        assert_eq!(kinds[3], Kind::Unsubscribe);
        peer.send(Kind::Publish, b"a", b"before");
        peer.send(Kind::Goodbye, b"", b"upgrade");
        peer.close();
        let mut peer = fake.welcome();
        for (filter, group) in [("a", b"".as_slice()), ("c.>", b"g")] {
            let received = peer.receive();
            assert_eq!((received.topic.as_str(), &*received.body), (filter, group));
        }
        peer.send(Kind::Publish, b"a", b"behind");
        assert_eq!(peer.try_receive(), None);
    };
    beside(broker, |address| {
        let mut subscriber = short_pauses().subscriber(address, &options()).unwrap();
        for (filter, group) in [("a", None), ("b", None), ("c.>", Some("g"))] {
            subscriber.subscribe(filter, group).unwrap();
        }
        subscriber.unsubscribe("b", None).unwrap();
        let is = |event: Event<'_>, payload: &[u8]| {
            assert!(matches!(event, Event::Message(found) if found.payload == payload));
        };
        is(subscriber.next_event().unwrap(), b"before");
        let Event::Reconnected(gap) = subscriber.next_event().unwrap() else {
            panic!("the gap is told before what comes behind it");
        };
        assert_eq!(gap.reason, "the broker is shutting down: upgrade");
        is(subscriber.next_event().unwrap(), b"behind");
    });
}

#[test]
fn a_refusal_is_not_retried_and_attempts_end() {
    let broker = |fake: &FakeBroker| {
        fake.accept().send_error(ErrorCode::Unauthorized, true, "", "no");
    };
    let refused =
        beside(broker, |address| short_pauses().publisher(address, &options()).err().unwrap());
    assert!(matches!(refused, ClientError::ClosedByBroker(_)), "{refused:?}");

    let told = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&told);
    let policy = short_pauses().give_up_after(Duration::from_millis(100)).on_loss(move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    // Nothing listens on port 1.
    let error = policy.subscriber("127.0.0.1:1", &ConnectOptions::new()).err().unwrap();
    assert!(matches!(error, ClientError::Connect(_)), "{error:?}");
    assert!(told.load(std::sync::atomic::Ordering::Relaxed) > 1);
}
