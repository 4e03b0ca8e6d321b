//! `Subscriber` against brokers that misbehave: nothing that arrived before the fault is lost.

use std::io::Write;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use pubsub_client::{ClientError, Event, Subscriber};
use wire::native::error_code::ErrorCode;
use wire::native::frame::Kind;

use crate::support::fake::{FakeBroker, Peer};
use crate::support::{beside, options, subscribe_to};

#[test]
fn messages_come_out_of_any_partition_into_reads() {
    let broker = |mut peer: Peer| {
        let mut bytes = Vec::new();
        for number in 0..50u8 {
            let payload = vec![number; usize::from(number) * 3];
            wire::native::frame::encode(Kind::Publish, 0, b"a.b", &payload, &mut bytes);
        }
        peer.stream.set_nodelay(true).unwrap();
        for piece in bytes.chunks(7) {
            peer.send_bytes(piece);
        }
        peer.send(Kind::Goodbye, b"", b"");
        peer.close();
    };
    subscribe_to(broker, |mut subscriber| {
        let messages: Vec<_> = subscriber.messages().map(Result::unwrap).collect();
        assert_eq!(messages.len(), 50);
        for (number, message) in (0..50u8).zip(&messages) {
            assert_eq!(message.topic, "a.b");
            assert_eq!(message.payload, vec![number; usize::from(number) * 3]);
        }
    });
}

#[test]
fn confirming_keeps_the_messages_that_arrive_meanwhile() {
    let broker = |mut peer: Peer| {
        let subscribe = peer.receive();
        assert_eq!((subscribe.topic.as_str(), &*subscribe.body), ("a.>", b"g".as_slice()));
        let ping = peer.receive();
        peer.send(Kind::Publish, b"a.b", b"one");
        peer.send(Kind::Ping, b"", b"are you there");
        peer.send(Kind::Lost, b"", &7u64.to_be_bytes());
        peer.send_error(ErrorCode::TooMany, false, "a.>", "no more");
        peer.send(Kind::Pong, b"", &ping.body);
        peer.send(Kind::Publish, b"a.b", b"two");
        let pong = peer.receive();
        assert_eq!((pong.kind, &*pong.body), (Kind::Pong, b"are you there".as_slice()));
        peer.close();
    };
    subscribe_to(broker, |mut subscriber| {
        subscriber.subscribe("a.>", Some("g")).unwrap();
        let Err(ClientError::Refused(refusals)) = subscriber.confirm() else {
            panic!("the broker refused it");
        };
        assert_eq!(refusals[0].to_string(), "TOO_MANY (a.>): no more");
        let mut events = Vec::new();
        loop {
            match subscriber.next_event() {
                Ok(Event::Message(message)) => events.push(message.payload.to_vec()),
                Ok(Event::Lost(count)) => events.push(count.to_string().into_bytes()),
                Ok(other) => panic!("{other:?}"),
                Err(ClientError::Disconnected) => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(events, [b"one".to_vec(), b"7".to_vec(), b"two".to_vec()]);
    });
}

#[test]
fn subscribing_many_times_reads_the_answers_meanwhile() {
    const COUNT: usize = 20_000;
    // 20 MB each way fill every buffer between the two unless the client reads its answers, and
    // this broker reads nothing while it cannot write.
    let broker = |mut peer: Peer| {
        let text = "x".repeat(1_000);
        let mut seen = 0;
        while let Some(received) = peer.try_receive() {
            if received.kind == Kind::Subscribe {
                seen += 1;
                peer.send_error(ErrorCode::TooMany, false, &received.topic, &text);
            } else if received.kind == Kind::Ping {
                peer.send(Kind::Pong, b"", &received.body);
            }
        }
        assert_eq!(seen, COUNT);
    };
    subscribe_to(broker, |mut subscriber| {
        for number in 0..COUNT {
            subscriber.subscribe(&format!("{number:01000}"), None).unwrap();
        }
        let Err(ClientError::Refused(refusals)) = subscriber.confirm() else {
            panic!("all were refused");
        };
        assert_eq!(refusals.len(), COUNT);
        assert_eq!(refusals[COUNT - 1].about, format!("{:01000}", COUNT - 1));
    });
}

#[test]
fn receiving_fails_by_cause_after_what_came_before() {
    type Rows = [(fn(&mut Peer), fn(&ClientError) -> bool); 6];
    let rows: Rows = [
        (|_| {}, |error| matches!(error, ClientError::Disconnected)),
        (
            |peer| peer.send_bytes(b"\0\0\0\x0c\x05\0\0\x06#hel"),
            |error| matches!(error, ClientError::Disconnected),
        ),
        (
            |peer| peer.send_bytes(b"\0\0\0\x01\xff\xff\xff\xff"),
            |error| matches!(error, ClientError::Protocol(_)),
        ),
        (
            |peer| peer.send(Kind::Publish, b"\xff", b""),
            |error| matches!(error, ClientError::Protocol(_)),
        ),
        (
            |peer| peer.send_error(ErrorCode::SlowConsumer, true, "", "too slow"),
            |error| error.to_string().ends_with("SLOW_CONSUMER: too slow"),
        ),
        (
            |peer| peer.send(Kind::Goodbye, b"", b"bye"),
            |error| matches!(error, ClientError::Goodbye(reason) if reason == "bye"),
        ),
    ];
    for (fault, expected) in rows {
        let broker = |mut peer: Peer| {
            peer.send(Kind::Publish, b"t", b"before");
            fault(&mut peer);
            peer.close();
        };
        subscribe_to(broker, |mut subscriber| {
            let first = subscriber.next_event().unwrap();
            assert!(matches!(first, Event::Message(message) if message.payload == b"before"));
            // A second call returns the same error.
            for _ in 0..2 {
                let error = subscriber.next_event().unwrap_err();
                assert!(expected(&error), "{error:?}");
            }
        });
    }
}

#[test]
fn waiting_for_a_message_times_out_and_can_go_on() {
    let (go_on, wait) = mpsc::channel();
    let broker = move |mut peer: Peer| {
        wait.recv().unwrap();
        peer.send(Kind::Publish, b"t", b"late");
        peer.close();
    };
    subscribe_to(broker, |mut subscriber| {
        let deadline = Instant::now() + Duration::from_millis(20);
        let error = subscriber.next_event_before(Some(deadline)).unwrap_err();
        assert!(matches!(error, ClientError::TimedOut(_)) && !error.is_final());
        go_on.send(()).unwrap();
        let event = subscriber.next_event().unwrap();
        assert!(matches!(event, Event::Message(message) if message.payload == b"late"));
    });
}

#[test]
fn a_subscription_handle_works_from_another_thread() {
    let broker = |mut peer: Peer| {
        assert_eq!(peer.receive().kind, Kind::Subscribe);
        assert_eq!(peer.receive().kind, Kind::Unsubscribe);
        peer.send(Kind::Publish, b"t", b"x");
        assert_eq!(peer.try_receive(), None);
        let _ = peer.stream.flush();
    };
    subscribe_to(broker, |mut subscriber| {
        let handle = subscriber.subscriptions();
        thread::scope(|scope| {
            let subscribing = scope.spawn(move || {
                handle.subscribe("t", None).unwrap();
                handle.unsubscribe("t", None).unwrap();
                handle
            });
            assert!(matches!(subscriber.next_event().unwrap(), Event::Message(_)));
            subscribing.join().unwrap().close();
            assert!(subscriber.next_event().unwrap_err().is_final());
        });
    });
}

#[test]
fn a_broker_that_falls_silent_is_given_up_on() {
    let (done, wait) = mpsc::channel::<()>();
    let broker = move |fake: &FakeBroker| {
        let _silent = fake.welcome_with(1_000, 0.5);
        let _ = wait.recv();
    };
    beside(broker, |address| {
        let mut subscriber = Subscriber::connect_with(address, &options()).unwrap();
        let error = subscriber.next_event().unwrap_err();
        assert!(matches!(error, ClientError::Disconnected), "{error:?}");
        drop(done);
    });
}

#[test]
fn messages_come_by_an_iterator_that_owns_the_connection() {
    let broker = |mut peer: Peer| {
        peer.send(Kind::Publish, b"t", b"one");
        peer.send(Kind::Lost, b"", &2u64.to_be_bytes());
        peer.send(Kind::Publish, b"t", b"two");
        peer.send(Kind::Goodbye, b"", b"");
        peer.close();
    };
    subscribe_to(broker, |subscriber| {
        let received: Vec<_> = subscriber.into_iter().collect();
        assert_eq!(received.len(), 3);
        assert_eq!(received[0].as_ref().unwrap().payload, b"one");
        assert!(matches!(received[1], Err(ClientError::Lost(2))));
        assert_eq!(received[2].as_ref().unwrap().payload, b"two");
    });
}
