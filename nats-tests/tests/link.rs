//! Brokers that are leaf nodes of a real cluster: three servers that know each other, a broker at
//! each, and clients of all six.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use nats_tests::eventually;
use nats_tests::frame::{Frame, Message};
use nats_tests::mesh::Mesh;
use nats_tests::peer::{Event, Peer};

/// A client, and what it subscribes to.
struct Client {
    peer: Peer,
    subscriptions: Vec<(&'static str, Option<&'static str>)>,
    heard: Vec<Message>,
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let mut peer = Peer::connect(address);
        let options = "{\"verbose\":false,\"headers\":true,\"no_responders\":true}";
        peer.send(format!("CONNECT {options}\r\n").as_bytes());
        Client { peer, subscriptions: Vec::new(), heard: Vec::new() }
    }

    fn say(&mut self, lines: &str) {
        self.peer.send(lines.as_bytes());
    }

    fn subscribe(&mut self, filter: &'static str, group: Option<&'static str>) {
        let sid = self.subscriptions.len();
        self.say(&format!("SUB {filter} {} {sid}\r\n", group.unwrap_or("")));
        self.subscriptions.push((filter, group));
    }

    /// Everything that was sent before has been processed here.
    fn settle(&mut self) {
        self.say("PING\r\n");
        self.hear_until(|frame| *frame == Frame::Pong);
    }

    /// Hears messages until a frame is such a one.
    fn hear_until(&mut self, mut is_last: impl FnMut(&Frame) -> bool) {
        loop {
            let Event::Frame(frame) = self.peer.receive() else { panic!("a frame was due") };
            if frame == Frame::Ping {
                self.say("PONG\r\n");
            }
            let last = is_last(&frame);
            if let Frame::Message(message) = frame {
                self.heard.push(message);
            }
            if last {
                return;
            }
        }
    }

    /// The next message to this subject.
    fn hear(&mut self, subject: &str) -> Message {
        self.hear_until(
            |frame| matches!(frame, Frame::Message(it) if it.subject == subject.as_bytes()),
        );
        self.heard.pop().expect("it was heard")
    }
}

/// Whether a filter matches a subject, by the definition.
fn matches(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for token in filter.split('.') {
        let found = tokens.next();
        match token {
            ">" => return found.is_some(),
            "*" if found.is_some() => {}
            _ if found == Some(token) => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

const FILTERS: [&str; 8] = ["t.a", "t.b", "t.*", "t.>", "t.a.*", "t.*.x", "*.a", "t.b.x"];
const SUBJECTS: [&str; 7] = ["t.a", "t.b", "t.a.x", "t.a.y", "t.b.x", "t.c", "t.c.d.e"];
const GROUPS: [&str; 2] = ["g", "h"];
const MESSAGES: usize = 300;

/// All clients hear of each other's subscriptions: interest has no fence across a cluster, so each
/// publisher asks until each subscriber has heard it. What was asked for before comes before.
fn spread(clients: &mut [Client], publishers: &[usize]) {
    for number in 0..clients.len() {
        clients[number].say(&format!("SUB zz.probe.{number} probe\r\n"));
        clients[number].settle();
    }
    for &publisher in publishers {
        for number in 0..clients.len() {
            let subject = format!("zz.probe.{number}");
            let mark = format!("{publisher}");
            eventually(&format!("{publisher} reaches {number}"), || {
                clients[publisher].say(&format!("PUB {subject} {}\r\n{mark}\r\n", mark.len()));
                clients[publisher].settle();
                clients[number].settle();
                let heard = clients[number].heard.iter();
                let mut own = heard.filter(|it| it.subject == subject.as_bytes());
                own.any(|it| it.payload == mark.as_bytes()).then_some(())
            });
        }
    }
    // A probe that was sent twice may still be on its way; it is told by its subject.
    clients.iter_mut().for_each(|client| client.heard.clear());
}

#[test]
fn each_message_is_where_it_belongs_once_and_in_order() {
    let seed = std::env::var("LINK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = fastrand::Rng::with_seed(seed);
    let mesh = Mesh::start(3, false);
    let addresses = mesh.addresses();
    let mut clients: Vec<_> = (0..30).map(|at| Client::connect(addresses[at % 6])).collect();
    for client in &mut clients {
        for _ in 0..random.usize(0..4) {
            let group = random.bool().then(|| GROUPS[random.usize(0..GROUPS.len())]);
            client.subscribe(FILTERS[random.usize(0..FILTERS.len())], group);
        }
        client.say("SUB zz.end end\r\n");
    }
    let publishers: Vec<usize> = (0..6).collect();
    spread(&mut clients, &publishers);

    let mut sent = Vec::new();
    for number in 0..MESSAGES {
        for &publisher in &publishers {
            let subject = SUBJECTS[random.usize(0..SUBJECTS.len())];
            let payload = format!("{publisher}:{number}");
            clients[publisher].say(&format!("PUB {subject} {}\r\n{payload}\r\n", payload.len()));
            sent.push((publisher, subject, payload));
        }
    }
    for &publisher in &publishers {
        clients[publisher].say("PUB zz.end 1\r\n.\r\n");
    }
    for client in &mut clients {
        let mut ends = client.heard.iter().filter(|it| it.subject == b"zz.end").count();
        while ends < publishers.len() {
            client.hear("zz.end");
            ends += 1;
        }
        client.settle();
    }

    let mut groups: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for (number, client) in clients.iter().enumerate() {
        for (sid, (filter, group)) in client.subscriptions.iter().enumerate() {
            let own = client.heard.iter().filter(|it| it.sid == sid.to_string().as_bytes());
            let own: Vec<_> =
                own.map(|it| String::from_utf8_lossy(&it.payload).into_owned()).collect();
            for &publisher in &publishers {
                let from = |payload: &&str| payload.starts_with(&format!("{publisher}:"));
                let heard: Vec<_> = own.iter().map(String::as_str).filter(from).collect();
                let all = sent.iter().filter(|it| it.0 == publisher && matches(filter, it.1));
                let all: Vec<_> = all.map(|it| &*it.2).collect();
                match group {
                    None => assert_eq!(heard, all, "seed {seed}: client {number}, {filter}"),
                    Some(_) => {
                        let mut rest = all.iter();
                        let in_order = heard.iter().all(|it| rest.any(|other| other == it));
                        assert!(in_order, "seed {seed}: client {number}, {filter}: {heard:?}");
                    }
                }
            }
            if let Some(group) = group {
                for payload in &own {
                    let (.., payload) =
                        sent.iter().find(|it| it.2 == *payload).expect("it was sent");
                    *groups.entry((group, payload)).or_default() += 1;
                }
            }
        }
    }
    for group in GROUPS {
        for (_, subject, payload) in &sent {
            let is_member = |(filter, name): &(&str, Option<&str>)| {
                *name == Some(group) && matches(filter, subject)
            };
            let has_members = clients.iter().any(|it| it.subscriptions.iter().any(is_member));
            let times = groups.get(&(group, &**payload)).copied().unwrap_or(0);
            let wanted = u32::from(has_members);
            assert_eq!(times, wanted, "seed {seed}: {group}, {subject}, {payload}");
        }
    }
}

#[test]
fn requests_headers_and_the_lack_of_an_answer_cross() {
    let mesh = Mesh::start(2, false);
    let mut asks = Client::connect(mesh.brokers[0].address);
    let mut answers = Client::connect(mesh.brokers[1].address);
    let mut behind = Client::connect(mesh.cluster.node(1).server.address);
    let inbox = "SUB _INBOX.me.* 0\r\n";
    asks.say(inbox);
    asks.settle();
    let ask = "HPUB ask _INBOX.me.1 18 20\r\nNATS/1.0\r\nK: v\r\n\r\nhi\r\n";
    asks.say(ask);
    assert!(asks.hear("_INBOX.me.1").is_no_responders());
    answers.say("SUB ask group 0\r\n");
    answers.settle();
    // When the way there is known, and the way back.
    let request = eventually("it is asked", || {
        asks.say(ask);
        asks.settle();
        let is_silent = asks.heard.drain(..).all(|it| !it.is_no_responders());
        is_silent.then(|| answers.hear("ask"))
    });
    assert_eq!(request.headers.as_deref(), Some(&b"NATS/1.0\r\nK: v\r\n\r\n"[..]));
    assert_eq!(request.payload, b"hi");
    let reply = String::from_utf8(request.reply.expect("an answer is wanted")).expect("text");
    answers.say(&format!("PUB {reply} 2\r\nho\r\n"));
    assert_eq!(asks.hear("_INBOX.me.1").payload, b"ho");
    // The same from a client of the cluster to one of a broker.
    behind.say("SUB _INBOX.b.* 0\r\n");
    behind.settle();
    behind.say("PUB ask _INBOX.b.1 1\r\nx\r\n");
    let request = answers.hear("ask");
    answers.say(&format!(
        "PUB {} 1\r\ny\r\n",
        String::from_utf8(request.reply.expect("an answer is wanted")).expect("text")
    ));
    assert_eq!(behind.hear("_INBOX.b.1").payload, b"y");
    answers.say("UNSUB 0\r\n");
    answers.settle();
    eventually("nobody is there any more", || {
        asks.say(ask);
        asks.settle();
        asks.heard.drain(..).any(|it| it.is_no_responders()).then_some(())
    });
}

#[test]
fn a_broker_finds_its_way_back_when_servers_die() {
    let mut mesh = Mesh::start(3, false);
    let mut here = Client::connect(mesh.brokers[0].address);
    let mut there = Client::connect(mesh.brokers[1].address);
    let mut beside = Client::connect(mesh.brokers[0].address);
    for client in [&mut there, &mut beside] {
        client.say("SUB t 0\r\n");
        client.settle();
    }
    let mut number = 0;
    let mut crosses = |here: &mut Client, there: &mut Client, beside: &mut Client| {
        eventually("messages cross", || {
            number += 1;
            let text = number.to_string();
            here.say(&format!("PUB t {}\r\n{text}\r\n", text.len()));
            here.settle();
            // Whatever happens out there.
            assert_eq!(beside.hear("t").payload, text.as_bytes());
            there.settle();
            there.heard.drain(..).any(|it| it.payload == text.as_bytes()).then_some(())
        });
    };
    crosses(&mut here, &mut there, &mut beside);
    // It goes to another server, of which it has learnt from the first.
    mesh.cluster.stop(0, "KILL");
    crosses(&mut here, &mut there, &mut beside);
    mesh.wait_until_joined();
    for at in [1, 2] {
        mesh.cluster.stop(at, "KILL");
    }
    for _ in 0..100 {
        number_of(&mut here, &mut beside);
    }
    for at in 0..3 {
        mesh.cluster.start_one(at);
    }
    mesh.cluster.wait_until_joined();
    mesh.wait_until_joined();
    crosses(&mut here, &mut there, &mut beside);
}

/// A message between two clients of one broker.
fn number_of(here: &mut Client, beside: &mut Client) {
    here.say("PUB t 5\r\nlocal\r\n");
    assert_eq!(beside.hear("t").payload, b"local");
}

/// Neither when it is killed nor when it stands still and is given up, and none twice.
#[test]
fn under_block_messages_wait_until_another_server_is_joined() {
    const MESSAGES: usize = 2_000;
    let more = ["link.policy=block", "overflow.stall_timeout=600", "monitor.address=127.0.0.1:0"];
    let mut mesh = Mesh::with(3, false, &more);
    let mut here = Client::connect(mesh.brokers[0].address);
    let mut there = Client::connect(mesh.brokers[1].address);
    there.say("SUB t 0\r\n");
    there.settle();
    eventually("interest crosses", || {
        here.say("PUB t 5\r\nfirst\r\n");
        here.settle();
        there.settle();
        (!there.heard.is_empty()).then_some(())
    });
    let monitor = mesh.brokers[0].monitor.expect("it has one");
    mesh.cluster.stop(0, "KILL");
    eventually("the link is down", || {
        let connections = nats_tests::monitor::read(monitor, "/connections")?;
        connections.to_string().contains("\"down\"").then_some(())
    });
    for number in 0..MESSAGES {
        let text = number.to_string();
        here.say(&format!("PUB t {}\r\n{text}\r\n", text.len()));
    }
    here.settle();
    for number in 0..MESSAGES {
        let mut next = there.hear("t");
        while next.payload == b"first" {
            next = there.hear("t");
        }
        assert_eq!(next.payload, number.to_string().as_bytes());
    }
}

/// A server that stands still is one that dies slowly: nobody here hears of it.
#[test]
fn messages_go_on_here_while_a_server_stands_still() {
    let mesh = Mesh::start(1, false);
    let mut here = Client::connect(mesh.brokers[0].address);
    let mut beside = Client::connect(mesh.brokers[0].address);
    let hub = &mesh.cluster.node(0).server;
    let mut there = Client::connect(hub.address);
    for client in [&mut there, &mut beside] {
        client.say("SUB t 0\r\n");
        client.settle();
    }
    eventually("interest crosses", || {
        number_of(&mut here, &mut beside);
        there.settle();
        (!there.heard.is_empty()).then_some(())
    });
    hub.signal("STOP");
    // More than the sockets between them hold.
    let payload = "x".repeat(100_000);
    for _ in 0..1_000 {
        here.say(&format!("PUB t 100000\r\n{payload}\r\n"));
        assert_eq!(beside.hear("t").payload.len(), 100_000);
    }
    hub.signal("CONT");
    there.heard.clear();
    eventually("messages cross again", || {
        number_of(&mut here, &mut beside);
        there.settle();
        there.heard.drain(..).any(|it| it.payload == b"local").then_some(())
    });
}
