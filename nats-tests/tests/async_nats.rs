//! The usual work of a NATS client, through async-nats. Each test has a server of its own, and a
//! runtime of one thread, so that what blocks the test keeps its clients from reading.

use std::future::Future;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, HeaderMap, Message, RequestErrorKind, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use nats_tests::frame::Frame;
use nats_tests::peer::{self, Peer};
use nats_tests::server::Server;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long to wait for what must arrive. Far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client, and the events of its connection.
struct ClientEvents {
    client: Client,
    events: mpsc::UnboundedReceiver<Event>,
}

impl ClientEvents {
    async fn connect(server: &Server) -> ClientEvents {
        let (sender, events) = mpsc::unbounded_channel();
        let options = options().event_callback(move |event| {
            let _ = sender.send(event);
            async {}
        });
        let client = options.connect(server.address.to_string()).await.expect("it connects");
        ClientEvents { client, events }
    }

    /// Waits for this event.
    async fn tells(&mut self, wanted: &Event) {
        while patiently(self.events.recv()).await.expect("the client runs") != *wanted {}
    }
}

fn options() -> ConnectOptions {
    let delay = |_| Duration::from_millis(50);
    ConnectOptions::new().request_timeout(Some(PATIENCE)).reconnect_delay_callback(delay)
}

async fn connect(server: &Server) -> Client {
    options().connect(server.address.to_string()).await.expect("it connects")
}

async fn patiently<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it comes in time")
}

async fn subscribe(client: &Client, filter: &'static str) -> Subscriber {
    client.subscribe(filter).await.expect("it subscribes")
}

async fn publish(client: &Client, subject: &'static str, text: &str) {
    client.publish(subject, text.to_owned().into()).await.expect("it publishes");
}

/// Waits until everything sent before is processed. The library's own flush waits only until it is
/// written.
async fn confirm(client: &Client) {
    let inbox = client.new_inbox();
    let mut subscription = client.subscribe(inbox.clone()).await.expect("it subscribes");
    client.publish(inbox, Bytes::new()).await.expect("it publishes");
    patiently(subscription.next()).await.expect("its own message comes back");
}

async fn collect(subscriber: &mut Subscriber, count: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    while messages.len() < count {
        messages.push(patiently(subscriber.next()).await.expect("the subscription goes on"));
    }
    messages
}

async fn texts(subscriber: &mut Subscriber, count: usize) -> Vec<String> {
    let messages = collect(subscriber, count).await;
    messages.iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned()).collect()
}

/// All messages up to the end of the subscription.
async fn rest(mut subscriber: Subscriber) -> usize {
    let mut count = 0;
    while patiently(subscriber.next()).await.is_some() {
        count += 1;
    }
    count
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn publish_subscribe_and_wildcards() {
    let server = Server::under_test(&[]);
    let (client, publisher) = (connect(&server).await, connect(&server).await);
    let mut matching = Vec::new();
    for filter in ["a.b", "a.*", "a.>"] {
        matching.push(subscribe(&client, filter).await);
    }
    let mut other = subscribe(&client, "a.b.c").await;
    confirm(&client).await;
    for number in numbers(100) {
        publish(&publisher, "a.b", &number).await;
    }
    for subscriber in &mut matching {
        assert_eq!(texts(subscriber, 100).await, numbers(100));
    }
    publish(&publisher, "a", "nobody").await;
    publish(&publisher, "a.b.c", "").await;
    publish(&publisher, "a.b", "last").await;
    assert_eq!(texts(&mut other, 1).await, [""]);
    assert_eq!(texts(&mut matching[0], 1).await, ["last"]);
    assert_eq!(texts(&mut matching[1], 1).await, ["last"]);
    assert_eq!(texts(&mut matching[2], 2).await, ["", "last"]);
    // It receives its own messages.
    publish(&client, "a.b", "own").await;
    assert_eq!(texts(&mut matching[0], 1).await, ["own"]);
}

#[tokio::test]
async fn no_echo() {
    let server = Server::under_test(&[]);
    let other = connect(&server).await;
    let mute = options().no_echo().connect(server.address.to_string()).await.expect("it connects");
    let (mut mute_hears, mut other_hears) =
        (subscribe(&mute, "a").await, subscribe(&other, "a").await);
    confirm(&other).await;
    publish(&mute, "a", "1").await;
    // Once this is processed, so is the subscription.
    assert_eq!(texts(&mut other_hears, 1).await, ["1"]);
    publish(&other, "a", "2").await;
    assert_eq!(texts(&mut mute_hears, 1).await, ["2"]);
}

#[tokio::test]
async fn queue_groups() {
    let server = Server::under_test(&[]);
    let mut members = Vec::new();
    for _ in 0..3 {
        let client = connect(&server).await;
        let member = client.queue_subscribe("work.*", "group".to_owned()).await;
        confirm(&client).await;
        members.push((member.expect("it subscribes"), client));
    }
    let publisher = connect(&server).await;
    for number in numbers(300) {
        publish(&publisher, "work.a", &number).await;
    }
    confirm(&publisher).await;
    let mut counts = Vec::new();
    for (mut member, client) in members {
        confirm(&client).await;
        member.unsubscribe().await.expect("it unsubscribes");
        counts.push(rest(member).await);
    }
    assert_eq!(counts.iter().sum::<usize>(), 300, "{counts:?}");
    assert!(counts.iter().all(|&count| count > 30), "{counts:?}");
}

#[tokio::test]
async fn requests() {
    let server = Server::under_test(&[]);
    for _ in 0..3 {
        let client = connect(&server).await;
        let service = client.queue_subscribe("service", "workers".to_owned()).await;
        let mut service = service.expect("it subscribes");
        confirm(&client).await;
        tokio::spawn(async move {
            while let Some(request) = service.next().await {
                let reply = request.reply.expect("an answer is wanted");
                let answer = [b"re: ", &request.payload[..]].concat();
                client.publish(reply, answer.into()).await.expect("it answers");
            }
        });
    }
    let requester = connect(&server).await;
    let asked = numbers(1_000).into_iter().map(|number| {
        let requester = requester.clone();
        tokio::spawn(async move { requester.request("service", number.into()).await })
    });
    for (asked, number) in asked.collect::<Vec<_>>().into_iter().zip(numbers(1_000)) {
        let answer = asked.await.expect("no panic").expect("an answer");
        assert_eq!(answer.payload, format!("re: {number}"));
    }
}

#[tokio::test]
async fn no_responders() {
    let server = Server::under_test(&[]);
    let client = connect(&server).await;
    for subject in ["nobody", "$JS.API.INFO"] {
        let error = client.request(subject, Bytes::new()).await.expect_err("nobody answers");
        assert_eq!(error.kind(), RequestErrorKind::NoResponders);
    }
}

#[tokio::test]
async fn headers() {
    let server = Server::under_test(&[]);
    let client = connect(&server).await;
    let mut subscriber = subscribe(&client, "a").await;
    let mut headers = HeaderMap::new();
    headers.append("X-Id", "7");
    headers.append("X-Id", "8");
    headers.insert("Other", "a b: c");
    for text in ["with", ""] {
        let publication = client.publish_with_headers("a", headers.clone(), text.into());
        publication.await.expect("it publishes");
    }
    publish(&client, "a", "without").await;
    let messages = collect(&mut subscriber, 3).await;
    for (message, text) in messages.iter().zip(["with", "", "without"]) {
        assert_eq!(message.payload, text);
        assert_eq!(message.headers.as_ref(), Some(&headers).filter(|_| text != "without"));
    }
}

#[tokio::test]
async fn unsubscribe_after() {
    let server = Server::under_test(&[]);
    let client = connect(&server).await;
    let (mut first, mut second) = (subscribe(&client, "a").await, subscribe(&client, "a").await);
    first.unsubscribe_after(3).await.expect("it unsubscribes");
    for number in numbers(5) {
        publish(&client, "a", &number).await;
    }
    assert_eq!(rest(first).await, 3);
    assert_eq!(texts(&mut second, 5).await, numbers(5));
    second.unsubscribe().await.expect("it unsubscribes");
    assert_eq!(rest(second).await, 0);
}

#[tokio::test]
async fn drain() {
    let server = Server::under_test(&[]);
    let (client, publisher) = (connect(&server).await, connect(&server).await);
    let (mut one, other) = (subscribe(&client, "a").await, subscribe(&client, "b").await);
    confirm(&client).await;
    for _ in 0..200 {
        publish(&publisher, "a", "a").await;
        publish(&publisher, "b", "b").await;
    }
    confirm(&publisher).await;
    one.drain().await.expect("a subscription drains");
    assert_eq!(rest(one).await, 200);
    client.drain().await.expect("a connection drains");
    assert_eq!(rest(other).await, 200);
}

#[tokio::test]
async fn flush() {
    let server = Server::under_test(&[]);
    let client = connect(&server).await;
    let mut subscriber = subscribe(&client, "a").await;
    for number in numbers(50) {
        publish(&client, "a", &number).await;
        patiently(client.flush()).await.expect("it flushes");
    }
    assert_eq!(texts(&mut subscriber, 50).await, numbers(50));
    let info = client.server_info();
    assert!(info.headers && info.client_id > 0 && info.port == server.address.port());
}

#[tokio::test]
async fn reconnect() {
    for signal in ["KILL", "TERM"] {
        let mut server = Server::under_test(&[]);
        let mut client = ClientEvents::connect(&server).await;
        let mut publisher = ClientEvents::connect(&server).await;
        let mut plain = subscribe(&client.client, "a").await;
        let group = client.client.queue_subscribe("a", "group".to_owned()).await;
        let mut group = group.expect("it subscribes");
        confirm(&client.client).await;
        for round in numbers(3) {
            publish(&publisher.client, "a", &round).await;
            for subscriber in [&mut plain, &mut group] {
                assert_eq!(texts(subscriber, 1).await, [round.as_str()]);
            }
            server.restart(signal);
            for client in [&mut client, &mut publisher] {
                client.tells(&Event::Disconnected).await;
                client.tells(&Event::Connected).await;
            }
            confirm(&client.client).await;
        }
    }
}

#[tokio::test]
async fn slow_consumer() {
    let server = Server::under_test(&["outbox=1048576"]);
    let mut client = ClientEvents::connect(&server).await;
    let publisher = connect(&server).await;
    let mut subscriber = subscribe(&client.client, "flood").await;
    confirm(&client.client).await;
    // The only thread is blocked meanwhile, so nothing is read.
    flood_until_closed(&server);
    client.tells(&Event::Disconnected).await;
    client.tells(&Event::Connected).await;
    confirm(&client.client).await;
    publish(&publisher, "flood", "last").await;
    while texts(&mut subscriber, 1).await != ["last"] {}
}

/// Publishes to `flood` until the server has closed its subscriber.
fn flood_until_closed(server: &Server) {
    let mut peer = Peer::connect(server.address);
    let options = "\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true";
    peer.send(format!("CONNECT {{{options}}}\r\nSUB heard 1\r\n").as_bytes());
    let publication = format!("PUB flood heard 65536\r\n{}\r\nPING\r\n", "x".repeat(65_536));
    for _ in 0..2_000 {
        peer.send(publication.as_bytes());
        loop {
            match peer.receive() {
                peer::Event::Frame(Frame::Pong) => break,
                peer::Event::Frame(Frame::Message(message)) if message.is_no_responders() => return,
                peer::Event::Frame(Frame::Info(_) | Frame::Ping) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    panic!("the slow consumer is still there");
}

#[tokio::test]
async fn max_payload() {
    let server = Server::under_test(&["max_payload=100000"]);
    let client = connect(&server).await;
    assert_eq!(client.server_info().max_payload, 100_000);
    let mut subscriber = subscribe(&client, "a").await;
    publish(&client, "a", &"x".repeat(100_000)).await;
    assert_eq!(collect(&mut subscriber, 1).await[0].payload.len(), 100_000);
    let too_much = client.publish("a", "x".repeat(100_001).into()).await;
    assert!(too_much.is_err(), "the library lets it pass");
    confirm(&client).await;
    assert_eq!(client.statistics().connects.load(std::sync::atomic::Ordering::Relaxed), 1);
}
