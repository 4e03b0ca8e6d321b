//! Connecting, and staying connected: each failure is reported as the right error.

use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use pubsub_client::{ClientError, ConnectOptions, Event, Publisher, Subscriber};
use wire::native::error_code::ErrorCode;
use wire::native::frame::Kind;

use crate::support::fake::{FakeBroker, Peer};
use crate::support::{beside, options};

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
        Publisher::connect_with(address, &options).unwrap().welcome().clone()
    });
    assert_eq!((welcome.max_payload, welcome.heartbeat), (77, None));
    assert_eq!(welcome.server, "fake/0");
}

#[test]
fn connecting_fails_by_cause() {
    let connect = |broker: fn(Peer)| {
        let fails = |address| Subscriber::connect_with(address, &options()).err().unwrap();
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
    assert!(matches!(no_broker, ClientError::Protocol(_)), "{no_broker:?}");

    let goodbye = connect(|mut peer| {
        peer.send(Kind::Goodbye, b"", b"maintenance");
        peer.close();
    });
    assert_eq!(goodbye.to_string(), "the broker is shutting down: maintenance");

    let unknown = Subscriber::connect_with(("", 1), &options()).err().unwrap();
    assert!(matches!(unknown, ClientError::Resolve(_)), "{unknown:?}");
}

#[test]
fn connecting_tries_every_address_and_names_each_failure() {
    let free = |listener: &TcpListener| listener.local_addr().unwrap();
    let (one, two) = (TcpListener::bind("127.0.0.1:0"), TcpListener::bind("127.0.0.1:0"));
    let addresses = [free(&one.unwrap()), free(&two.unwrap())];
    let error = Publisher::connect_with(&addresses[..], &options()).err().unwrap();
    let text = error.to_string();
    assert!(matches!(&error, ClientError::Connect(attempts) if attempts.len() == 2), "{error:?}");
    assert!(addresses.iter().all(|address| text.contains(&address.to_string())), "{text}");

    beside(
        |fake| drop(fake.welcome()),
        |address| Publisher::connect_with(&[addresses[0], address][..], &options()).unwrap(),
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
            let error = Subscriber::connect_with(address, &options).err().unwrap();
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
        |address| Subscriber::connect_with(address, &options().local_port(port)).unwrap(),
    );
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
        let publisher = Publisher::connect_with(address, &options()).unwrap();
        publisher.end_watch().wait();
        // The application receives, or this subscriber would never see the PING.
        let mut subscriber = Subscriber::connect_with(address, &options()).unwrap();
        let error = subscriber.next_event().unwrap_err();
        assert!(matches!(error, ClientError::Disconnected), "{error:?}");
    });
}

#[test]
fn an_impossible_max_payload_is_capped() {
    let broker = |fake: &FakeBroker| {
        let mut peer = fake.accept();
        peer.receive();
        peer.send_welcome(usize::MAX, 1e15);
        peer.send(Kind::Publish, b"t", b"x");
        peer.close();
    };
    beside(broker, |address| {
        let mut subscriber = Subscriber::connect_with(address, &options()).unwrap();
        assert!(subscriber.welcome().max_payload < u32::MAX as usize);
        assert!(matches!(subscriber.next_event().unwrap(), Event::Message(_)));
    });
}

#[test]
fn a_local_port_that_is_in_use_is_named() {
    let broker = |fake: &FakeBroker| {
        let first = fake.welcome();
        first.close();
    };
    beside(broker, |address| {
        let first = Publisher::connect_with(address, &options()).unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = Subscriber::connect_with(address, &options().local_port(port)).err().unwrap();
        assert!(error.to_string().contains(&format!("local port {port}: ")), "{error}");
        drop(first);
    });
}
