//! `Publisher` against brokers that misbehave: nothing waits for ever, every reason is reported.

use std::sync::mpsc;
use std::time::Duration;

use pubsub_client::{ClientError, Publisher};
use wire::native::error_code::ErrorCode;
use wire::native::frame::Kind;

use crate::support::fake::{FakeBroker, Peer};
use crate::support::{PATIENCE, beside, options, publish_to, subscribe_to};

#[test]
fn flush_waits_for_the_confirmation_of_all_before_it() {
    let broker = |mut peer: Peer| {
        for payload in [b"one".as_slice(), b"two"] {
            let received = peer.receive();
            assert_eq!((received.kind, &*received.body), (Kind::Publish, payload));
        }
        let ping = peer.receive();
        assert_eq!(ping.kind, Kind::Ping);
        // PONGs that answer none of our PINGs change nothing.
        peer.send(Kind::Pong, b"", b"");
        peer.send(Kind::Pong, b"", b"some other text");
        peer.send(Kind::Pong, b"", &0u64.to_be_bytes());
        peer.send_error(ErrorCode::NotAllowed, false, "t", "not yours");
        peer.send(Kind::Pong, b"", &ping.body);
        let ping = peer.receive();
        peer.send(Kind::Pong, b"", &ping.body);
        peer.close();
    };
    publish_to(broker, |mut publisher| {
        publisher.publish("t", b"one").unwrap();
        publisher.publish("t", b"two").unwrap();
        let Err(ClientError::Refused(refusals)) = publisher.flush() else {
            panic!("one was refused");
        };
        assert_eq!(refusals[0].to_string(), "NOT_ALLOWED (t): not yours");
        publisher.flush().unwrap();
    });
}

#[test]
fn what_the_broker_would_refuse_is_not_sent() {
    let broker = |fake: &FakeBroker| {
        let mut peer = fake.welcome_with(4, 0.0);
        assert_eq!(peer.receive().body, b"good");
        assert_eq!(peer.try_receive(), None);
    };
    beside(broker, |address| {
        let mut publisher = Publisher::connect_with(address, &options()).unwrap();
        let error = publisher.publish("a.*", b"x").unwrap_err();
        assert!(matches!(error, ClientError::Topic { .. }) && !error.is_final());
        let error = publisher.publish("t", b"fives").unwrap_err();
        assert!(matches!(error, ClientError::TooLarge { bytes: 5, limit: 4 }));
        publisher.publish("t", b"good").unwrap();
    });
    subscribe_to(
        |mut peer| assert_eq!(peer.try_receive(), None),
        |mut subscriber| {
            assert!(subscriber.subscribe("a..b", None).is_err());
            assert!(subscriber.subscribe("a", Some("*")).is_err());
        },
    );
}

#[test]
fn flush_gives_the_broker_s_reason_for_the_end() {
    let broker = |mut peer: Peer| {
        peer.receive();
        peer.send_error(ErrorCode::Timeout, true, "", "no sign of life");
        peer.close();
    };
    publish_to(broker, |mut publisher| {
        publisher.publish("t", b"x").unwrap();
        for _ in 0..2 {
            let error = publisher.flush().unwrap_err();
            assert!(error.is_final());
            assert!(error.to_string().ends_with("TIMEOUT: no sign of life"), "{error}");
        }
        assert!(publisher.idle(PATIENCE).is_err());
        publisher.end_watch().wait();
    });
}

#[test]
fn flush_times_out_and_can_go_on() {
    let (go_on, wait) = mpsc::channel();
    let broker = move |fake: &FakeBroker| {
        let mut peer = fake.welcome();
        let pings = [peer.receive(), peer.receive()];
        wait.recv().unwrap();
        for ping in pings {
            peer.send(Kind::Pong, b"", &ping.body);
        }
        peer.close();
    };
    beside(broker, |address| {
        let options = options().read_timeout(Duration::from_millis(50));
        let mut publisher = Publisher::connect_with(address, &options).unwrap();
        let error = publisher.flush().unwrap_err();
        assert!(matches!(error, ClientError::TimedOut(_)), "{error:?}");
        let late = publisher.flush().unwrap_err();
        assert!(matches!(late, ClientError::TimedOut(_)), "{late:?}");
        go_on.send(()).unwrap();
        publisher.end_watch().wait();
    });
}

#[test]
fn a_publisher_that_is_held_back_still_reads_what_the_broker_says() {
    // Refusals of 16 MiB fill every buffer between the two unless the client reads them, while this
    // broker reads nothing and so keeps the client from sending. A client that answers PINGs on the
    // thread that reads would wait for ever here, and so would this broker.
    let broker = |mut peer: Peer| {
        let first = peer.receive();
        assert_eq!(first.kind, Kind::Publish);
        let text = "x".repeat(8_000);
        for number in 0..2_000u32 {
            peer.send(Kind::Ping, b"", &number.to_be_bytes());
            peer.send_error(ErrorCode::NotAllowed, false, "t", &text);
        }
        let mut messages = 1;
        loop {
            let received = peer.receive();
            match received.kind {
                Kind::Publish => messages += 1,
                Kind::Ping => break peer.send(Kind::Pong, b"", &received.body),
                _ => {}
            }
        }
        assert_eq!(messages, 300);
        peer.close();
    };
    publish_to(broker, |mut publisher| {
        for _ in 0..300 {
            publisher.publish("t", [0; 100_000]).unwrap();
        }
        assert!(matches!(publisher.flush(), Err(ClientError::Refused(_))));
    });
}

#[test]
fn dropping_a_publisher_sends_what_was_published() {
    let broker = |mut peer: Peer| {
        let received = peer.receive();
        assert_eq!((received.kind, &*received.body), (Kind::Publish, b"last".as_slice()));
        assert_eq!(peer.try_receive(), None);
    };
    publish_to(broker, |mut publisher| {
        publisher.publish("t", b"last").unwrap();
    });
}

#[test]
fn a_number_that_was_not_asked_for_confirms_nothing() {
    let (go_on, wait) = mpsc::channel();
    let broker = move |fake: &FakeBroker| {
        let mut peer = fake.welcome();
        for number in [2, u64::MAX] {
            peer.send(Kind::Pong, b"", &number.to_be_bytes());
        }
        let ping = peer.receive();
        wait.recv().unwrap();
        peer.send(Kind::Pong, b"", &ping.body);
        peer.close();
    };
    let client = |address| {
        let options = options().read_timeout(Duration::from_millis(200));
        let mut publisher = Publisher::connect_with(address, &options).unwrap();
        let error = publisher.flush().unwrap_err();
        assert!(matches!(error, ClientError::TimedOut(_)), "{error:?}");
        go_on.send(()).unwrap();
        publisher.end_watch().wait();
    };
    beside(broker, client);
}
