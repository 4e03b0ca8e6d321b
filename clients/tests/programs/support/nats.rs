//! A fake NATS server: as much of one as a benchmark needs, and one fault.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use wire::nats::line::{self, Line, Publish};
use wire::nats::message::{MessageLine, NoResponders};

/// Its fault.
#[derive(Debug, Clone, Copy)]
pub enum Habit {
    /// None.
    Good,
    /// Asks each client for PONG when it connects, and a subscriber with each tenth message.
    Pings,
    /// Does not deliver the messages with these numbers, of all that it receives.
    Drops(&'static [usize]),
    /// Answers CONNECT by this, and closes.
    RefusesConnect(&'static str),
    /// Answers each PUB by this, and continues.
    RefusesPublish(&'static str),
    /// Closes a subscriber with its tenth message, without an error.
    ClosesSubscribers,
    /// Answers each request so.
    HasNoResponders,
    /// Adds this to its INFO.
    Demands(&'static str),
}

/// The server. Its threads end with the test's process.
pub struct FakeNats {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
}

struct World {
    habit: Habit,
    clients: Vec<TcpStream>,
    subscriptions: Vec<Subscription>,
    published: usize,
    delivered: usize,
    connects: Vec<String>,
    pings: usize,
    pongs: usize,
}

struct Subscription {
    client: usize,
    filter: Vec<u8>,
    group: Option<Vec<u8>>,
    sid: Vec<u8>,
}

impl FakeNats {
    pub fn start(habit: Habit) -> FakeNats {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let world = Arc::new(Mutex::new(World {
            habit,
            clients: Vec::new(),
            subscriptions: Vec::new(),
            published: 0,
            delivered: 0,
            connects: Vec::new(),
            pings: 0,
            pongs: 0,
        }));
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&world);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let world = Arc::clone(&shared);
                let mut all = world.lock().unwrap();
                all.clients.push(stream.try_clone().unwrap());
                let client = all.clients.len() - 1;
                drop(all);
                thread::spawn(move || serve(&world, client, &stream));
            }
        });
        FakeNats { address, world }
    }

    /// Arguments that point `bench-publisher` at it.
    pub fn aimed(&self, args: &str) -> String {
        format!("--protocol nats -p {} {args}", self.address.port())
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The JSON of each CONNECT.
    pub fn connects(&self) -> Vec<String> {
        self.world.lock().unwrap().connects.clone()
    }

    /// How often it has sent PING, and how often PONG arrived.
    pub fn pings_and_pongs(&self) -> (usize, usize) {
        let world = self.world.lock().unwrap();
        (world.pings, world.pongs)
    }
}

fn serve(world: &Mutex<World>, client: usize, mut stream: &TcpStream) {
    let demands = match world.lock().unwrap().habit {
        Habit::Demands(what) => what,
        _ => "",
    };
    // Clients wait for INFO; one that does not uses another protocol, and has to detect that.
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let has_waited = stream.read(&mut [0]).is_err();
    stream.set_read_timeout(None).unwrap();
    let mut info = b"INFO {\"version\":\"0.9.8\",\"headers\":true,\"max_payload\":1000000".to_vec();
    info.extend_from_slice(format!("{demands}}}\r\n").as_bytes());
    stream.write_all(&info).unwrap();
    if !has_waited {
        return;
    }
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
        let (line, _) = line::parse(&bytes, 4_096).unwrap().unwrap();
        let mut payload = Vec::new();
        if let Line::Publish(publish) = &line {
            payload.resize(publish.total_bytes as usize + 2, 0);
            if reader.read_exact(&mut payload).is_err() {
                return;
            }
        }
        world.lock().unwrap().line(client, &line, &payload);
        bytes.clear();
    }
}

impl World {
    fn line(&mut self, client: usize, line: &Line<'_>, payload: &[u8]) {
        match *line {
            Line::Connect(json) => {
                self.connects.push(String::from_utf8(json.to_vec()).unwrap());
                match self.habit {
                    Habit::RefusesConnect(text) => {
                        self.send(client, format!("-ERR '{text}'\r\n").as_bytes());
                        let _ = self.clients[client].shutdown(Shutdown::Both);
                    }
                    Habit::Pings => self.ping(client),
                    _ => {}
                }
            }
            Line::Ping => self.send(client, b"PONG\r\n"),
            Line::Pong => self.pongs += 1,
            Line::Subscribe { filter, group, sid } => self.subscriptions.push(Subscription {
                client,
                filter: filter.to_vec(),
                group: group.map(<[u8]>::to_vec),
                sid: sid.to_vec(),
            }),
            Line::Publish(ref publish) => self.publish(client, publish, payload),
            _ => panic!("{line:?}"),
        }
    }

    fn publish(&mut self, client: usize, publish: &Publish<'_>, payload: &[u8]) {
        let number = self.published;
        self.published += 1;
        match (self.habit, publish.reply) {
            (Habit::Drops(numbers), _) if numbers.contains(&number) => return,
            (Habit::RefusesPublish(text), _) => {
                return self.send(client, format!("-ERR '{text}'\r\n").as_bytes());
            }
            (Habit::HasNoResponders, Some(reply)) => {
                let mut out = Vec::new();
                NoResponders { subject: publish.subject, reply, sid: b"0" }.write(&mut out);
                return self.send(client, &out);
            }
            _ => {}
        }
        // Members of a group take turns.
        let matching = self.subscriptions.iter().filter(|one| one.matches(publish.subject));
        let (members, mut chosen): (Vec<_>, Vec<_>) = matching.partition(|one| one.group.is_some());
        chosen.extend(members.get(number % members.len().max(1)));
        let chosen: Vec<_> = chosen.iter().map(|one| (one.client, one.sid.clone())).collect();
        for (receiver, sid) in chosen {
            let (subject, reply) = (publish.subject, publish.reply);
            let total_bytes = publish.total_bytes;
            let mut out = Vec::new();
            MessageLine { subject, sid: &sid, reply, header_bytes: 0, total_bytes }.write(&mut out);
            out.extend_from_slice(payload);
            self.send(receiver, &out);
            self.delivered += 1;
            match self.habit {
                Habit::Pings if self.delivered.is_multiple_of(10) => self.ping(receiver),
                Habit::ClosesSubscribers if self.delivered == 10 => {
                    let _ = self.clients[receiver].shutdown(Shutdown::Both);
                }
                _ => {}
            }
        }
    }

    fn ping(&mut self, client: usize) {
        self.pings += 1;
        self.send(client, b"PING\r\n");
    }

    fn send(&self, client: usize, bytes: &[u8]) {
        // A client that has ended is not a failure of the server.
        let _ = (&self.clients[client]).write_all(bytes);
    }
}

impl Subscription {
    fn matches(&self, subject: &[u8]) -> bool {
        match self.filter.strip_suffix(b">").or_else(|| self.filter.strip_suffix(b"*")) {
            Some(prefix) => subject.starts_with(prefix),
            None => self.filter == subject,
        }
    }
}
