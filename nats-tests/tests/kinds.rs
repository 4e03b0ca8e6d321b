//! Clients of all kinds around one cluster: the broker's own and those of NATS, at brokers and at
//! the servers behind them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use futures_util::StreamExt;
use nats_tests::eventually;
use nats_tests::mesh::Mesh;
use pubsub_client::{ConnectOptions, Publisher, Subscriber};
use tokio::runtime::Builder;
use tokio::sync::mpsc;

/// Messages of each client.
const MESSAGES: usize = 300;
const NODES: usize = 3;

/// What a client was given, in its order.
type Heard = Arc<Mutex<Vec<String>>>;

/// Publishes a text, as the client of this number.
type Publish = Box<dyn FnMut(&str)>;

/// A client of NATS, in a thread of its own.
fn nats_client(address: String, subject: String, filter: &'static str) -> (Publish, Heard) {
    let (sender, mut texts) = mpsc::unbounded_channel::<String>();
    let heard = Heard::default();
    let noted = Arc::clone(&heard);
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let client = async_nats::connect(address).await.expect("it connects");
            let mut messages = client.subscribe(filter).await.expect("it subscribes");
            loop {
                tokio::select! {
                    Some(message) = messages.next() => {
                        let text = String::from_utf8_lossy(&message.payload).into_owned();
                        noted.lock().expect("nobody has failed").push(text);
                    }
                    text = texts.recv() => {
                        let Some(text) = text else { return };
                        let subject = subject.clone();
                        client.publish(subject, text.into()).await.expect("it publishes");
                    }
                }
            }
        });
    });
    (Box::new(move |text| sender.send(text.to_owned()).expect("the client runs")), heard)
}

/// Two of the broker's own: a publisher and a subscriber.
fn native_clients(sockets: &[PathBuf; 2], subject: String) -> (Publish, Heard) {
    let at = |socket: &PathBuf| ConnectOptions::new().unix_socket(socket);
    // Where a socket is named, the address is not used.
    let nowhere = "127.0.0.1:1";
    let mut publisher = Publisher::connect_with(nowhere, &at(&sockets[0])).expect("it connects");
    let mut subscriber = Subscriber::connect_with(nowhere, &at(&sockets[1])).expect("it connects");
    subscriber.subscribe("k.>", None).expect("it subscribes");
    subscriber.confirm().expect("the broker has heard of it");
    let heard = Heard::default();
    let noted = Arc::clone(&heard);
    thread::spawn(move || {
        // It ends with the broker.
        for message in subscriber {
            let Ok(message) = message else { return };
            let text = String::from_utf8_lossy(&message.payload).into_owned();
            noted.lock().expect("nobody has failed").push(text);
        }
    });
    let publish = move |text: &str| {
        publisher.publish(&subject, text).expect("it publishes");
        publisher.send().expect("it is sent");
    };
    (Box::new(publish), heard)
}

#[test]
fn clients_of_all_kinds_hear_each_message_once_in_the_order_of_its_publisher() {
    let dir = std::env::temp_dir().join(format!("kinds-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory for sockets");
    let sockets = |node: usize| ["p", "s"].map(|port| dir.join(format!("{port}{node}")));
    let options = |node: usize| {
        let [publisher, subscriber] = sockets(node);
        vec![
            format!("network.publisher_socket={}", publisher.display()),
            format!("network.subscriber_socket={}", subscriber.display()),
        ]
    };
    let mesh = Mesh::with_each(NODES, false, options);

    let mut clients = Vec::new();
    for node in 0..NODES {
        let broker = mesh.brokers[node].address.to_string();
        let server = mesh.cluster.node(node).server.address.to_string();
        let subject = |number: usize| format!("k.{number}");
        clients.push(native_clients(&sockets(node), subject(clients.len())));
        clients.push(nats_client(broker, subject(clients.len()), "k.*"));
        clients.push(nats_client(server, subject(clients.len()), "k.>"));
    }
    let (mut publishers, heard): (Vec<_>, Vec<_>) = clients.into_iter().unzip();

    // Interest has no fence across a cluster.
    for (number, publish) in publishers.iter_mut().enumerate() {
        let probe = format!("{number} probe");
        eventually("all hear of each other", || {
            publish(&probe);
            thread::yield_now();
            let mut all = heard.iter().map(|heard| heard.lock().expect("nobody has failed"));
            all.all(|heard| heard.contains(&probe)).then_some(())
        });
    }
    for count in 0..MESSAGES {
        for (number, publish) in publishers.iter_mut().enumerate() {
            publish(&format!("{number} {count}"));
        }
    }
    let last = |number: usize| format!("{number} {}", MESSAGES - 1);
    for (client, heard) in heard.iter().enumerate() {
        for number in 0..publishers.len() {
            eventually(&format!("{client} hears the last of {number}"), || {
                heard.lock().expect("nobody has failed").contains(&last(number)).then_some(())
            });
        }
        let heard = heard.lock().expect("nobody has failed");
        for number in 0..publishers.len() {
            let begin = format!("{number} ");
            let own = heard.iter().filter_map(|text| text.strip_prefix(&begin));
            let own: Vec<_> = own.filter(|text| *text != "probe").collect();
            let all: Vec<_> = (0..MESSAGES).map(|count| count.to_string()).collect();
            assert_eq!(own, all, "{client} hears {number}");
        }
    }
    drop(mesh);
    std::fs::remove_dir_all(&dir).expect("it was made above");
}
