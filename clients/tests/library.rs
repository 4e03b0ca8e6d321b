//! The library against brokers that misbehave: each fault becomes the error that it is, nothing
//! waits for ever, and nothing that arrived before the fault is lost.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use broker::wire::error_code::ErrorCode;
use broker::wire::frame::Kind;
use clients::{ClientError, ConnectOptions, Event, Publisher, Subscriber};

use support::PATIENCE;
use support::fake::{FakeBroker, Peer};

fn options() -> ConnectOptions {
    ConnectOptions::new().id("test")
}

/// Runs `broker` beside the test; it must come to its end too.
fn beside<T: Send>(
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

fn subscribe_to(broker: impl FnOnce(Peer) + Send, client: impl FnOnce(Subscriber) + Send) {
    beside(
        |fake| broker(fake.welcome()),
        |address| client(Subscriber::connect(address, &options()).unwrap()),
    );
}

fn publish_to(broker: impl FnOnce(Peer) + Send, client: impl FnOnce(Publisher) + Send) {
    beside(
        |fake| broker(fake.welcome()),
        |address| client(Publisher::connect(address, &options()).unwrap()),
    );
}

#[test]
fn hello_carries_id_and_credentials() {
    let broker = |fake: &FakeBroker| {
        let mut peer = fake.accept();
        let hello = peer.receive();
        assert_eq!((hello.kind, hello.topic.as_str()), (Kind::Hello, "me"));
        assert_eq!(hello.body, b"version=1\nuser=ann\nsecret=hush\n");
        peer.send_welcome(77, 0.0);
        peer.close();
    };
    let options = ConnectOptions::new().id("me").credentials("ann", "hush");
    let welcome = beside(broker, |address| {
        Publisher::connect(address, &options)
            .unwrap()
            .welcome()
            .clone()
    });
    assert_eq!((welcome.max_payload, welcome.heartbeat), (77, None));
    assert_eq!(welcome.server, "fake/0");
}

#[test]
fn connecting_fails_by_cause() {
    let connect = |broker: fn(Peer)| {
        let fails = |address| Subscriber::connect(address, &options()).err().unwrap();
        beside(|fake| broker(fake.accept()), fails)
    };
    let refused = connect(|mut peer| {
        peer.send_error(ErrorCode::TooMany, true, "", "full");
        peer.close();
    });
    let ClientError::ClosedByBroker(refusal) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refusal.to_string(), "TOO_MANY: full");

    let closed = connect(Peer::close);
    assert!(matches!(closed, ClientError::Disconnected), "{closed:?}");

    let no_broker = connect(|mut peer| {
        peer.send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        peer.close();
    });
    assert!(
        matches!(no_broker, ClientError::Protocol(_)),
        "{no_broker:?}"
    );

    let goodbye = connect(|mut peer| {
        peer.send(Kind::Goodbye, b"", b"maintenance");
        peer.close();
    });
    assert_eq!(
        goodbye.to_string(),
        "the broker is shutting down: maintenance"
    );

    let unknown = Subscriber::connect(("", 1), &options()).err().unwrap();
    assert!(matches!(unknown, ClientError::Resolve(_)), "{unknown:?}");
}

#[test]
fn connecting_tries_every_address_and_names_each_failure() {
    let free = |listener: &TcpListener| listener.local_addr().unwrap();
    let (one, two) = (
        TcpListener::bind("127.0.0.1:0"),
        TcpListener::bind("127.0.0.1:0"),
    );
    let addresses = [free(&one.unwrap()), free(&two.unwrap())];
    let error = Publisher::connect(&addresses[..], &options())
        .err()
        .unwrap();
    let text = error.to_string();
    assert!(
        matches!(&error, ClientError::Connect(attempts) if attempts.len() == 2),
        "{error:?}"
    );
    assert!(
        addresses
            .iter()
            .all(|address| text.contains(&address.to_string())),
        "{text}"
    );

    beside(
        |fake| drop(fake.welcome()),
        |address| Publisher::connect(&[addresses[0], address][..], &options()).unwrap(),
    );
}

#[test]
fn connecting_gives_up_on_a_broker_that_says_nothing() {
    let (done, wait) = mpsc::channel::<()>();
    let error = beside(
        move |fake| {
            let _silent = fake.accept();
            let _ = wait.recv();
        },
        |address| {
            let options = options().connect_timeout(Duration::from_millis(50));
            let error = Subscriber::connect(address, &options).err().unwrap();
            drop(done);
            error
        },
    );
    assert!(matches!(error, ClientError::TimedOut(_)), "{error:?}");
}

#[test]
fn connecting_from_a_local_port_uses_it() {
    let port = {
        let probe = TcpListener::bind("127.0.0.1:0").unwrap();
        probe.local_addr().unwrap().port()
    };
    beside(
        |fake| {
            let peer = fake.welcome();
            assert_eq!(peer.stream.peer_addr().unwrap().port(), port);
        },
        |address| Subscriber::connect(address, &options().local_port(port)).unwrap(),
    );
}

#[test]
fn messages_come_out_of_any_partition_into_reads() {
    let broker = |mut peer: Peer| {
        let mut bytes = Vec::new();
        for number in 0..50u8 {
            let payload = vec![number; usize::from(number) * 3];
            broker::wire::frame::encode(Kind::Publish, 0, b"a.b", &payload, &mut bytes);
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
        assert_eq!(
            (subscribe.topic.as_str(), &*subscribe.body),
            ("a.>", b"g".as_slice())
        );
        let ping = peer.receive();
        peer.send(Kind::Publish, b"a.b", b"one");
        peer.send(Kind::Ping, b"", b"are you there");
        peer.send(Kind::Lost, b"", &7u64.to_be_bytes());
        peer.send_error(ErrorCode::TooMany, false, "a.>", "no more");
        peer.send(Kind::Pong, b"", &ping.body);
        peer.send(Kind::Publish, b"a.b", b"two");
        let pong = peer.receive();
        assert_eq!(
            (pong.kind, &*pong.body),
            (Kind::Pong, b"are you there".as_slice())
        );
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
    const COUNT: usize = 2_000;
    // Answers of 2,000 x 4 KiB fill every buffer between the two unless the client reads them, and
    // this broker reads nothing while it cannot write.
    let broker = |mut peer: Peer| {
        let text = "x".repeat(4_000);
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
            subscriber.subscribe(&format!("t.{number}"), None).unwrap();
        }
        let Err(ClientError::Refused(refusals)) = subscriber.confirm() else {
            panic!("all were refused");
        };
        assert_eq!(refusals.len(), COUNT);
        assert_eq!(refusals[COUNT - 1].about, format!("t.{}", COUNT - 1));
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
            // Asked again, the answer is the same.
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
fn flush_waits_for_the_confirmation_of_all_before_it() {
    let broker = |mut peer: Peer| {
        for payload in [b"one".as_slice(), b"two"] {
            let received = peer.receive();
            assert_eq!((received.kind, &*received.body), (Kind::Publish, payload));
        }
        let ping = peer.receive();
        assert_eq!(ping.kind, Kind::Ping);
        // PONGs that answer nothing of ours change nothing.
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
        let mut publisher = Publisher::connect(address, &options()).unwrap();
        let error = publisher.publish("a.*", b"x").unwrap_err();
        assert!(matches!(error, ClientError::Topic { .. }) && !error.is_final());
        let error = publisher.publish("t", b"fives").unwrap_err();
        assert!(matches!(
            error,
            ClientError::TooLarge { bytes: 5, limit: 4 }
        ));
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
            assert!(
                error.to_string().ends_with("TIMEOUT: no sign of life"),
                "{error}"
            );
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
        let mut publisher = Publisher::connect(address, &options).unwrap();
        let error = publisher.flush().unwrap_err();
        assert!(matches!(error, ClientError::TimedOut(_)), "{error:?}");
        let late = publisher.flush().unwrap_err();
        assert!(matches!(late, ClientError::TimedOut(_)), "{late:?}");
        go_on.send(()).unwrap();
        publisher.end_watch().wait();
    });
}

#[test]
fn both_clients_show_signs_of_life_and_answer_pings_while_idle() {
    let broker = |fake: &FakeBroker| {
        for _ in 0..2 {
            let mut peer = fake.welcome_with(1_000, 0.2);
            peer.send(Kind::Ping, b"", b"there?");
            let (mut answered, mut signs) = (false, 0);
            while !answered || signs < 2 {
                let received = peer.receive();
                match received.kind {
                    Kind::Pong => answered = received.body == b"there?",
                    Kind::Ping => signs += 1,
                    other => panic!("{other:?}"),
                }
            }
            peer.close();
        }
    };
    beside(broker, |address| {
        let publisher = Publisher::connect(address, &options()).unwrap();
        publisher.end_watch().wait();
        // The application receives, or this subscriber would never see the PING.
        let mut subscriber = Subscriber::connect(address, &options()).unwrap();
        let error = subscriber.next_event().unwrap_err();
        assert!(matches!(error, ClientError::Disconnected), "{error:?}");
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
            publisher.publish("t", &[0; 100_000]).unwrap();
        }
        assert!(matches!(publisher.flush(), Err(ClientError::Refused(_))));
    });
}

#[test]
fn a_broker_that_boasts_is_not_believed() {
    let broker = |fake: &FakeBroker| {
        let mut peer = fake.accept();
        peer.receive();
        peer.send_welcome(usize::MAX, 1e15);
        peer.send(Kind::Publish, b"t", b"x");
        peer.close();
    };
    beside(broker, |address| {
        let mut subscriber = Subscriber::connect(address, &options()).unwrap();
        assert!(subscriber.welcome().max_payload < u32::MAX as usize);
        assert!(matches!(
            subscriber.next_event().unwrap(),
            Event::Message(_)
        ));
    });
}

#[test]
fn dropping_a_publisher_sends_what_was_published() {
    let broker = |mut peer: Peer| {
        let received = peer.receive();
        assert_eq!(
            (received.kind, &*received.body),
            (Kind::Publish, b"last".as_slice())
        );
        assert_eq!(peer.try_receive(), None);
    };
    publish_to(broker, |mut publisher| {
        publisher.publish("t", b"last").unwrap();
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
            assert!(matches!(
                subscriber.next_event().unwrap(),
                Event::Message(_)
            ));
            subscribing.join().unwrap().close();
            assert!(subscriber.next_event().unwrap_err().is_final());
        });
    });
}
