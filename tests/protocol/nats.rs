//! NATS clients beside native ones: what crosses from one protocol to the other, in which order,
//! and what happens to clients that wait for themselves or for each other (docs/nats.md).

use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::frame::publish;
use crate::support::{Broker, Frame, NatsPeer, PATIENCE, kind};

const QUIET: &str = r#"{"verbose":false,"headers":true,"no_responders":true,"protocol":1}"#;

fn broker(more: &[(&str, &str)]) -> (Broker, SocketAddr) {
    let broker = Broker::with(&[&[("network.nats_port", "0")], more].concat());
    let address = broker.nats();
    (broker, address)
}

fn client(address: SocketAddr, lines: &str) -> NatsPeer {
    let mut client = NatsPeer::connect(address, QUIET);
    client.send(lines);
    client.confirm();
    client
}

/// A PUB of so many bytes.
fn large(subject: &str, bytes: usize) -> Vec<u8> {
    let line = format!("PUB {subject} {bytes}\r\n");
    [line.as_bytes(), &vec![b'x'; bytes], b"\r\n"].concat()
}

#[test]
fn messages_cross_between_the_protocols() {
    let (broker, address) = broker(&[]);
    let mut native = broker.subscriber_of(&[b"t.>"]);
    native.confirm();
    let mut nats = client(address, "SUB t.* 7\r\n");
    let mut bare = NatsPeer::named(address, "bare");
    bare.send("SUB t.* x\r\n");
    bare.confirm();
    let mut publisher = broker.publisher();
    publisher.publish(b"t.a", b"from native");
    publisher.confirm();
    assert_eq!(nats.message(), Some(("MSG t.a 7 11".into(), b"from native".to_vec())));
    assert_eq!(bare.message(), Some(("MSG t.a x 11".into(), b"from native".to_vec())));
    native.expect_message(b"t.a", b"from native");
    let mut other = client(address, "");
    other.send("HPUB t.b reply 20 25\r\nNATS/1.0\r\nA: bcd\r\n\r\nhello\r\n");
    other.confirm();
    native.expect_message(b"t.b", b"hello");
    let whole = b"NATS/1.0\r\nA: bcd\r\n\r\nhello".to_vec();
    assert_eq!(nats.message(), Some(("HMSG t.b 7 reply 20 25".into(), whole)));
    assert_eq!(bare.message(), Some(("MSG t.b x reply 5".into(), b"hello".to_vec())));
}

#[test]
fn all_see_one_order_whatever_they_speak() {
    const EACH: usize = 3_000;
    let (broker, address) = broker(&[("overflow.nats_policy", "block")]);
    let mut native = broker.subscriber_of(&[b"t"]);
    native.confirm();
    let mut nats = client(address, "SUB t 1\r\n");
    let publisher = broker.publisher();
    let other = client(address, "");
    let (mut one, mut two) = (publisher.sender(), other.sender());
    let native_writes = thread::spawn(move || {
        for number in 0..EACH {
            one.write_all(&publish(b"t", format!("n{number}").as_bytes())).unwrap();
        }
    });
    let nats_writes = thread::spawn(move || {
        for number in 0..EACH {
            let text = format!("p{number}");
            two.write_all(format!("PUB t {}\r\n{text}\r\n", text.len()).as_bytes()).unwrap();
        }
    });
    let seen = |frame: Frame| {
        assert_eq!(frame.kind, kind::PUBLISH);
        frame.body
    };
    let by_native: Vec<_> = (0..2 * EACH).map(|_| seen(native.recv())).collect();
    let by_nats: Vec<_> = (0..2 * EACH).map(|_| nats.message().unwrap().1).collect();
    assert!(by_native == by_nats, "the two saw different orders");
    native_writes.join().unwrap();
    nats_writes.join().unwrap();
}

#[test]
fn members_of_a_queue_group_share_whatever_they_speak() {
    const MESSAGES: usize = 300;
    let (broker, address) = broker(&[]);
    let mut native = broker.subscriber();
    native.subscribe(b"jobs.*", b"workers");
    native.confirm();
    let mut nats = client(address, "SUB jobs.> workers 1\r\nSUB end 2\r\n");
    native.subscribe(b"end", b"");
    native.confirm();
    let mut publisher = broker.publisher();
    for number in 0..MESSAGES {
        publisher.publish(b"jobs.a", number.to_string().as_bytes());
    }
    publisher.publish(b"end", b"");
    publisher.confirm();
    let mut all: Vec<Vec<u8>> = Vec::new();
    all.extend(native.messages_until(b"end").into_iter().map(|frame| frame.body));
    let of_native = all.len();
    while let Some((line, body)) = nats.message()
        && !line.starts_with("MSG end ")
    {
        all.push(body);
    }
    assert!(of_native > 0 && of_native < all.len(), "{of_native} of {} to one", all.len());
    let mut numbers: Vec<usize> =
        all.iter().map(|body| String::from_utf8_lossy(body).parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>());
}

#[test]
fn only_the_client_that_fills_its_own_outbox_is_closed() {
    let block = [
        ("overflow.nats_policy", "block"),
        ("overflow.nats_stall_timeout", "0.3"),
        ("limits.nats_outbox_bytes", "64KiB"),
    ];
    let (_broker, address) = broker(&block);
    let mut beside = client(address, "SUB beside 1\r\n");
    let own = client(address, "SUB own 1\r\n");
    let mut sender = own.sender();
    let message = large("own", 60_000);
    // It writes until its connection ends, and reads nothing.
    let begin = Instant::now();
    while sender.write_all(&message).is_ok() {
        assert!(begin.elapsed() < 3 * PATIENCE, "it goes on for ever");
    }
    beside.send("PUB beside 2\r\nhi\r\n");
    beside.expect_payload("hi");
}

#[test]
fn two_that_fill_each_other_do_not_wait_for_ever() {
    let block = [
        ("overflow.nats_policy", "block"),
        ("overflow.nats_stall_timeout", "0.3"),
        ("limits.nats_outbox_bytes", "64KiB"),
    ];
    let (_broker, address) = broker(&block);
    let one = client(address, "SUB to.one 1\r\n");
    let two = client(address, "SUB to.two 1\r\n");
    let writes = [(one.sender(), "to.two"), (two.sender(), "to.one")].map(|(mut sender, to)| {
        let message = large(to, 60_000);
        thread::spawn(move || {
            let begin = Instant::now();
            // The end of the other one ends the wait: messages sent after it have no receiver.
            let mut written = 0;
            while sender.write_all(&message).is_ok() {
                written += 1;
                if written > 2_000 {
                    return;
                }
                assert!(begin.elapsed() < 3 * PATIENCE, "it goes on for ever");
            }
        })
    });
    writes.into_iter().for_each(|write| write.join().expect("neither waits for ever"));
    let mut beside = client(address, "SUB beside 1\r\n");
    beside.send("PUB beside 2\r\nhi\r\n");
    beside.expect_payload("hi");
}

#[test]
fn a_slow_client_that_blocks_gets_everything() {
    const MESSAGES: u32 = 3_000;
    let block = [("overflow.nats_policy", "block"), ("limits.nats_outbox_bytes", "64KiB")];
    let (broker, address) = broker(&block);
    let mut nats = client(address, "SUB t 1\r\n");
    let publisher = broker.publisher();
    let mut sender = publisher.sender();
    let writes = thread::spawn(move || {
        for number in 0..MESSAGES {
            let payload = [&number.to_be_bytes()[..], &[7; 5_000]].concat();
            sender.write_all(&publish(b"t", &payload)).unwrap();
        }
    });
    for number in 0..MESSAGES {
        let (_, body) = nats.message().expect("it makes progress, so nothing is lost");
        assert_eq!(body[..4], number.to_be_bytes());
        if number % 500 == 0 {
            thread::sleep(Duration::from_millis(20));
        }
    }
    writes.join().unwrap();
}

#[test]
fn one_that_stops_costs_others_nothing_and_is_closed_without_a_word() {
    let (_broker, address) = broker(&[("limits.nats_outbox_bytes", "256KiB")]);
    let stopped = client(address, "SUB > 1\r\n");
    let mut reads = client(address, "SUB t 1\r\n");
    let mut publisher = client(address, "");
    for number in 0..400 {
        publisher.send(&format!("PUB t 50000\r\n{number:050000}\r\n"));
        let (_, body) = reads.message().expect("the one that reads gets all");
        assert!(body.ends_with(format!("{number}").as_bytes()));
    }
    publisher.confirm();
    stopped.read_messages_to_end();
}

#[test]
fn clients_are_told_when_the_broker_drains_and_get_what_was_accepted() {
    let (mut broker, address) = broker(&[]);
    let mut nats = client(address, "SUB t 1\r\n");
    let mut publisher = client(address, "");
    for _ in 0..200 {
        publisher.send(&String::from_utf8(large("t", 20_000)).unwrap());
    }
    publisher.confirm();
    broker.signal("TERM");
    let mut messages = 0;
    let lame_duck = loop {
        match nats.peek_line() {
            line if line.starts_with("INFO ") => break nats.line(),
            _ => {
                nats.message().expect("what was accepted is delivered");
                messages += 1;
            }
        }
    };
    assert!(lame_duck.contains("\"ldm\":true"), "{lame_duck}");
    while nats.message().is_some() {
        messages += 1;
    }
    assert_eq!(messages, 200);
    assert!(broker.wait().success());
}
