//! Which clients receive a message, how often, in which form, and in which order.

use std::collections::HashMap;

use nats_tests::frame::{Frame, Message};
use nats_tests::peer::Event;
use nats_tests::server::Server;

use crate::client::Client;
use crate::server_unless_different;

/// The messages received up to now.
fn messages(client: &mut Client) -> Vec<Message> {
    client.send(b"PING\r\n");
    let mut messages = Vec::new();
    loop {
        match client.receive() {
            Event::Frame(Frame::Message(message)) => messages.push(message),
            Event::Frame(Frame::Pong) => return messages,
            other => panic!("{other:?}"),
        }
    }
}

/// How many messages each of these subscriptions has received.
fn counts(clients: &mut [Client]) -> HashMap<Vec<u8>, usize> {
    let mut counts = HashMap::new();
    for message in clients.iter_mut().flat_map(messages) {
        *counts.entry(message.sid).or_default() += 1;
    }
    counts
}

#[test]
fn each_subscription_that_matches_gets_its_copy() {
    let server = Server::under_test(&[]);
    let mut client = Client::connect(&server);
    client.says(b"SUB a.b 1\r\nSUB a.* 2\r\nSUB > 3\r\nSUB a.b 4\r\nSUB b 5\r\n", b"");
    client.send(b"PUB a.b 2\r\nhi\r\n");
    let mut sids: Vec<_> = messages(&mut client).into_iter().map(|message| message.sid).collect();
    sids.sort();
    assert_eq!(sids, [b"1", b"2", b"3", b"4"]);
}

#[test]
fn headers_are_cut_off_for_those_who_cannot_take_them() {
    let server = Server::under_test(&[]);
    let mut plain = Client::quiet_with(&server, "\"headers\":false");
    let mut able = Client::connect(&server);
    let mut sender = Client::connect(&server);
    plain.says(b"SUB a 1\r\n", b"");
    able.says(b"SUB a 2\r\n", b"");
    let block = "NATS/1.0\r\nA: b\r\nA: c\r\n\r\n";
    let rows = [
        (block, "hi"),
        (block, ""),
        ("hi", "ho"),
        ("NATS/1.0 409 text\r\n\r\n", ""),
        ("\r\n\r\n", "\r\n"),
        ("no end", "x"),
    ];
    for (block, payload) in rows {
        let sizes = format!("{} {}", block.len(), block.len() + payload.len());
        sender.says(format!("HPUB a r {sizes}\r\n{block}{payload}\r\n").as_bytes(), b"");
        able.expect_only(format!("HMSG a 2 r {sizes}\r\n{block}{payload}\r\n").as_bytes());
        plain.expect_only(format!("MSG a 1 r {}\r\n{payload}\r\n", payload.len()).as_bytes());
    }
    // Without a block it is a message like any other.
    sender.says(b"HPUB a 0 2\r\nhi\r\nHPUB a 0 0\r\n\r\n", b"");
    able.expect_only(b"MSG a 2 2\r\nhi\r\nMSG a 2 0\r\n\r\n");
    plain.expect_only(b"MSG a 1 2\r\nhi\r\nMSG a 1 0\r\n\r\n");
}

#[test]
fn any_bytes_are_a_payload() {
    let server = Server::under_test(&[]);
    let mut client = Client::connect(&server);
    client.says(b"SUB a 1\r\n", b"");
    let all: Vec<u8> = (0..=255).collect();
    client.says(
        &[b"PUB a 256\r\n", &all[..], b"\r\n"].concat(),
        &[b"MSG a 1 256\r\n", &all[..], b"\r\n"].concat(),
    );
}

#[test]
fn a_group_shares_by_its_name_whatever_the_filters() {
    let server = Server::under_test(&[]);
    let mut clients = [(); 4].map(|()| Client::connect(&server));
    clients[0].says(b"SUB a g one\r\n", b"");
    clients[1].says(b"SUB * g other\r\n", b"");
    // Another group receives all, and so does a plain subscription.
    clients[2].says(b"SUB a h all\r\nSUB a plain\r\nSUB b g none\r\n", b"");
    let publications = b"PUB a 0\r\n\r\n".repeat(400);
    clients[3].says(&publications, b"");
    let counts = counts(&mut clients);
    let count = |sid: &str| counts.get(sid.as_bytes()).copied().unwrap_or(0);
    assert_eq!(count("one") + count("other"), 400, "{counts:?}");
    assert!(count("one") >= 40 && count("other") >= 40, "nobody is left out: {counts:?}");
    assert_eq!([count("all"), count("plain"), count("none")], [400, 400, 0]);
}

#[test]
fn two_subscriptions_of_one_connection_are_two_members() {
    let server = Server::under_test(&[]);
    let mut clients = [(); 3].map(|()| Client::connect(&server));
    clients[0].says(b"SUB a g 1\r\nSUB a g 2\r\n", b"");
    clients[1].says(b"SUB a g 3\r\n", b"");
    let publications = b"PUB a 0\r\n\r\n".repeat(600);
    clients[2].says(&publications, b"");
    let counts = counts(&mut clients);
    let counts: Vec<usize> = counts.values().copied().collect();
    assert_eq!((counts.len(), counts.iter().sum()), (3, 600), "{counts:?}");
    assert!(counts.iter().all(|&count| count >= 60), "{counts:?}");
}

#[test]
fn a_member_that_leaves_is_left_out() {
    let server = Server::under_test(&[]);
    let mut stays = Client::connect(&server);
    stays.says(b"SUB a g 1\r\n", b"");
    let mut leaves = Client::connect(&server);
    leaves.says(b"SUB a g 1\r\nUNSUB 1\r\n", b"");
    let publications = b"PUB a 0\r\n\r\n".repeat(50);
    leaves.says(&publications, b"");
    stays.expect_only(&b"MSG a 1 0\r\n\r\n".repeat(50));
}

#[test]
fn names_of_groups_are_any_words() {
    let server = Server::under_test(&[]);
    let mut client = Client::connect(&server);
    for name in ["..", "*", ">", ".a", "a.", "é", "\u{1}", "'\"", &"q".repeat(255)] {
        client.says(format!("SUB a {name} 1\r\n").as_bytes(), b"");
        client.says(b"PUB a 0\r\n\r\n", b"MSG a 1 0\r\n\r\n");
        client.says(b"UNSUB 1\r\n", b"");
    }
}

#[test]
fn a_pong_comes_behind_all_that_was_asked_before() {
    let server = Server::under_test(&[]);
    let mut client = Client::connect(&server);
    client.send(b"SUB a 1\r\n");
    let (mut sent, mut expected) = (Vec::new(), Vec::new());
    for number in 0..500 {
        sent.extend(format!("PUB a 4\r\n{number:04}\r\nPING\r\n").bytes());
        expected.extend(format!("MSG a 1 4\r\n{number:04}\r\nPONG\r\n").bytes());
    }
    client.send(&sent);
    client.expect(&expected);
}

#[test]
fn one_order_for_all() {
    let Some(server) = server_unless_different("one_order_for_all", &[]) else { return };
    let mut subscribers = [(); 2].map(|()| Client::connect(&server));
    for subscriber in &mut subscribers {
        subscriber.says(b"SUB > 1\r\n", b"");
    }
    let publisher = |name: &'static str| {
        let mut client = Client::connect(&server);
        std::thread::spawn(move || {
            for number in 0..2_000 {
                let text = format!("{name}{number:04}");
                client.send(format!("PUB {name} {}\r\n{text}\r\n", text.len()).as_bytes());
            }
            client.expect_only(b"");
        })
    };
    for publisher in [publisher("a"), publisher("b")] {
        publisher.join().expect("the publisher gets what it expects");
    }
    let [first, second] = subscribers.each_mut().map(messages);
    assert_eq!(first.len(), 4_000);
    assert_eq!(first, second);
}
