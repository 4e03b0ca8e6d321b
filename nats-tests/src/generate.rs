//! Makes a session out of a seed. Owns the choice of what is sent; leaves out allowed differences
//! of the servers (listed in `compare`), and what has no single right answer: how the members of a
//! queue group share its messages must not decide what happens later.

mod broken;

use fastrand::Rng;

use crate::session::{Action, Line, PREFIX, Session, Step};

/// The largest payload that both servers are told to take.
pub const MAX_PAYLOAD: usize = 65_536;

const SIDS: [&[u8]; 7] = [b"1", b"2", b"3", b"007", b"x-9", b"\xC3\xA9", b"\xFF"];
const SUBJECTS: [&str; 10] = ["a", "b", "a.b", "a.a", "b.b", "a.b.c", "a.b.a", "a*b", "a>", "c.*d"];
const FILTERS: [&str; 18] = [
    "a", "b", "a.b", "a.*", "*.b", "*", "*.*", ">", "a.>", "*.b.*", "a.b.c", "*.>", "a*b", ">>",
    "in.0.*", "in.1.*", "in.>", "c.*d",
];
const EMPTY_TOKENS: [&str; 5] = ["a..b", ".a", "a.", ".", ".."];
const BAD_FILTERS: [&str; 6] = ["a..b", ".a", "a.", ">.a", "a.>.b", "*..>"];

/// A session of a few connections. The same seed gives the same.
pub fn session(seed: u64) -> Session {
    let mut rng = Rng::with_seed(seed);
    let connections = rng.usize(2..=4);
    let calm = rng.u8(..10) < 3;
    let mut generator = Generator {
        rng,
        calm,
        limits: false,
        serial: 0,
        clients: vec![Client::default(); connections],
    };
    generator.limits = generator.rng.bool();
    let mut steps = Vec::new();
    for connection in 0..connections {
        steps.push(Step { connection, action: generator.join(connection) });
    }
    for _ in 0..generator.rng.usize(5..=22) {
        let connection = generator.rng.usize(..connections);
        match generator.one_in(6) && generator.clients[connection].open {
            true => steps.extend(generator.subscription_with_maximum(connection)),
            false => steps.push(Step { connection, action: generator.action(connection) }),
        }
    }
    Session { connections, calm, steps }
}

/// What is known of a connection. It may be wrong about `open`: the servers decide.
#[derive(Clone, Default)]
struct Client {
    open: bool,
    headers: bool,
    /// Of plain subscriptions, and of the only members of their groups.
    sids: Vec<&'static [u8]>,
}

struct Generator {
    rng: Rng,
    calm: bool,
    /// Subscriptions end after so many messages. Then none is published to a subject with a
    /// wildcard, which the reference would count.
    limits: bool,
    serial: usize,
    clients: Vec<Client>,
}

impl Generator {
    fn action(&mut self, connection: usize) -> Action {
        if !self.clients[connection].open {
            return self.join(connection);
        }
        if !self.calm && self.one_in(25) {
            self.clients[connection].open = false;
            return Action::Leave;
        }
        let count = self.pick(&[1, 1, 1, 2, 3, 6]);
        let mut lines: Vec<Line> = (0..count).map(|_| self.line(connection)).collect();
        let length = |line: &Line| line.sent().len();
        // Where the reference closes it resets, and what is still on its way is lost: a line that
        // may cause much to be sent stands alone.
        let large = lines.iter().position(|line| length(line) > 1_000);
        if let Some(large) = large {
            lines = vec![lines.swap_remove(large)];
        } else if !self.calm && self.one_in(10) {
            self.clients[connection].open = false;
            lines.push(broken::line(&mut self.rng));
        }
        self.send(connection, lines).action
    }

    /// Sends these lines, now and then in two parts.
    fn send(&mut self, connection: usize, lines: Vec<Line>) -> Step {
        let length = lines.iter().map(|line| line.sent().len()).sum::<usize>();
        let cut = self.one_in(4).then(|| self.rng.usize(..length));
        Step { connection, action: Action::Send { lines, cut, pause: self.rng.bool() } }
    }

    /// A subscription with a maximum, and about as many messages for it, from anywhere.
    fn subscription_with_maximum(&mut self, connection: usize) -> Vec<Step> {
        let (sid, name) = (self.pick(&SIDS), self.pick(&SUBJECTS));
        let subject = self.subject(name);
        let max = self.rng.usize(1..=4);
        let mut lines = vec![self.words("SUB", &[&subject, sid], 0)];
        for _ in 0..self.pick(&[0, 0, 1, 2]) {
            lines.push(self.publication(&subject, None));
        }
        for max in [max, self.rng.usize(1..=4)].iter().take(if self.limits {
            self.pick(&[1, 1, 2])
        } else {
            0
        }) {
            lines.push(self.words("UNSUB", &[sid, max.to_string().as_bytes()], 0));
        }
        let mut steps = vec![self.send(connection, lines)];
        for _ in 0..self.rng.usize(1..=3) {
            let publisher = self.rng.usize(..self.clients.len());
            let reply = self.subject(&format!("in.{publisher}.1"));
            let count = self.rng.usize(1..=max);
            let lines = (0..count).map(|_| match self.one_in(3) {
                true => self.publication(&subject, Some(&reply)),
                false => self.publication(&subject, None),
            });
            let lines = lines.collect();
            steps.push(self.send(publisher, lines));
        }
        steps
    }

    fn join(&mut self, connection: usize) -> Action {
        self.clients[connection] = Client { open: true, ..Client::default() };
        let mut lines = Vec::new();
        if !self.one_in(8) {
            lines.push(self.connect(connection));
        }
        // Most sessions begin with a subscriber.
        for _ in 0..self.rng.usize(..3) {
            lines.push(self.subscribe(connection));
        }
        Action::Join(lines)
    }

    fn line(&mut self, connection: usize) -> Line {
        match self.rng.u8(..100) {
            0..25 => self.subscribe(connection),
            25..37 => self.unsubscribe(connection),
            37..62 => self.publish(connection),
            62..76 => self.request(connection),
            76..79 if !self.limits => {
                // In a subject space of its own: its receivers are an allowed difference.
                let subject = [PREFIX, b"void.", self.pick(&[&b"*"[..], b">", b"a.*"])].concat();
                self.publication(&subject, None)
            }
            79..81 => self.large(),
            81..85 => self.long(),
            85..89 => self.words("PING", &[], 1),
            89..90 => Line { pongs: 1, ..Line::raw(b"PING xyz\r\n") },
            90..91 => self.words("PONG", &[], 0),
            91..92 => Line::raw(self.pick(&[&b"+OK\r\n"[..], b"INFO {}\r\n", b"+ok x\n"])),
            _ => self.connect(connection),
        }
    }

    fn subscribe(&mut self, connection: usize) -> Line {
        let filter = self.pick(&FILTERS);
        let filter = self.subject(filter);
        match self.rng.u8(..10) {
            0..5 => {
                let sid = self.new_sid(connection);
                self.words("SUB", &[&filter, sid], 0)
            }
            5..6 => {
                let inbox = self.subject(&format!("in.{connection}.*"));
                self.words("SUB", &[&inbox, b"inbox"], 0)
            }
            6..7 => {
                let (bad, sid) = (self.pick(&BAD_FILTERS), self.pick(&SIDS));
                let bad = self.subject(bad);
                self.words("SUB", &[&bad, sid], 0)
            }
            7..8 => {
                // The only member of its group, so it gets each message.
                let sid = self.new_sid(connection);
                let group = format!("{}{}", self.pick(&["solo", "..", "*", ">."]), self.count());
                self.words("SUB", &[&filter, group.as_bytes(), sid], 0)
            }
            _ => {
                let (group, number) = (self.pick(&["g1", "g2"]), self.pick(&["1", "2"]));
                let group = [PREFIX, group.as_bytes()].concat();
                let sid = [b"q", &group[6..], b"-", number.as_bytes()].concat();
                self.words("SUB", &[&filter, &group, &sid], 0)
            }
        }
    }

    /// One that may be in use, or not.
    fn new_sid(&mut self, connection: usize) -> &'static [u8] {
        let sid = self.pick(&SIDS);
        self.clients[connection].sids.push(sid);
        sid
    }

    fn unsubscribe(&mut self, connection: usize) -> Line {
        if self.one_in(5) {
            let sid = format!("qg{}-{}", self.pick(&[1, 2]), self.pick(&[1, 2]));
            return self.words("UNSUB", &[sid.as_bytes()], 0);
        }
        let known = self.clients[connection].sids.clone();
        let sid = match known.is_empty() || self.one_in(4) {
            true => self.pick(&[&SIDS[..], &[&b"inbox"[..], b"none"]].concat()),
            false => self.pick(&known),
        };
        let max =
            self.pick(&["", "", "1", "1", "2", "3", "5", "02", "0", "zz", "-3", "1234567890"]);
        match max {
            max if !self.limits && max.parse() != Ok(0_u64) => self.words("UNSUB", &[sid], 0),
            "" => self.words("UNSUB", &[sid], 0),
            max => self.words("UNSUB", &[sid, max.as_bytes()], 0),
        }
    }

    fn publish(&mut self, connection: usize) -> Line {
        let name = if self.one_in(8) { self.pick(&EMPTY_TOKENS) } else { self.pick(&SUBJECTS) };
        let subject = self.subject(name);
        let reply = self.pick(&["", "", "", "a", "r..x", "r.>", "*", "in.0.1"]);
        let reply = (!reply.is_empty()).then(|| self.subject(reply));
        if self.clients[connection].headers && self.one_in(3) {
            return self.with_headers(&subject, reply.as_deref());
        }
        self.publication(&subject, reply.as_deref())
    }

    /// A publication whose answer goes to an inbox, often the connection's own.
    fn request(&mut self, connection: usize) -> Line {
        let whose = if self.one_in(4) { self.rng.usize(..2) } else { connection };
        let number = self.rng.u8(..5);
        let reply = self.subject(&format!("in.{whose}.{number}"));
        let name = self.pick(&["a", "b", "nobody", "a.b", "c", "a..b", "b.b"]);
        let subject = self.subject(name);
        if self.clients[connection].headers && self.one_in(3) {
            return self.with_headers(&subject, Some(&reply));
        }
        self.publication(&subject, Some(&reply))
    }

    fn publication(&mut self, subject: &[u8], reply: Option<&[u8]>) -> Line {
        let payload = self.payload();
        let zeros = self.pick(&["", "", "", "0", "00"]);
        let size = format!("{zeros}{}", payload.len());
        let words: Vec<&[u8]> = [Some(subject), reply].into_iter().flatten().collect();
        self.with_payload("PUB", &[&words[..], &[size.as_bytes()]].concat(), &payload)
    }

    fn with_headers(&mut self, subject: &[u8], reply: Option<&[u8]>) -> Line {
        let block = self.pick(&[
            "NATS/1.0\r\nA: b\r\n\r\n",
            "NATS/1.0 200 OK\r\n\r\n",
            "NATS/1.0\r\n\r\n",
            "hi",
            "\r\n",
            "",
        ]);
        let payload = self.payload();
        let sizes = [block.len().to_string(), (block.len() + payload.len()).to_string()];
        let words = [Some(subject), reply, Some(sizes[0].as_bytes()), Some(sizes[1].as_bytes())];
        let words: Vec<&[u8]> = words.into_iter().flatten().collect();
        self.with_payload("HPUB", &words, &[block.as_bytes(), &payload].concat())
    }

    /// As large as a payload may be.
    fn large(&mut self) -> Line {
        let subject = self.subject("a");
        let size = MAX_PAYLOAD.to_string();
        self.with_payload("PUB", &[&subject, size.as_bytes()], &[b'x'; MAX_PAYLOAD])
    }

    /// With arguments as long as a control line may be.
    fn long(&mut self) -> Line {
        let (filter, sid) = (self.subject("a"), self.pick(&SIDS));
        broken::long_line(&mut self.rng, &filter, sid, 4_096)
    }

    /// Mostly of its own, so that it says which publication it belongs to.
    fn payload(&mut self) -> Vec<u8> {
        let serial = self.count();
        match self.rng.u8(..10) {
            0 => Vec::new(),
            1 => format!("m{serial} PING\r\nMSG a 1 0\r\n\r\n").into_bytes(),
            2 => [format!("m{serial} ").into_bytes(), vec![b'y'; self.rng.usize(..3_000)]].concat(),
            _ => format!("m{serial}").into_bytes(),
        }
    }

    fn connect(&mut self, connection: usize) -> Line {
        let mut fields = Vec::new();
        for (name, absent) in [("verbose", 20), ("pedantic", 20), ("echo", 3), ("headers", 4)] {
            if self.one_in(absent) {
                continue;
            }
            // In a calm session no connection may end because of a refused request.
            let likely = if name == "headers" || name == "echo" { 75 } else { 30 };
            let yes = self.rng.u8(..100) < likely;
            if name == "headers" {
                self.clients[connection].headers = yes;
            }
            fields.push(format!("{}:{yes}", self.key(name)));
        }
        let headers = self.clients[connection].headers;
        if headers || (!self.calm && self.one_in(20)) {
            fields.push(format!("\"no_responders\":{}", self.rng.u8(..10) < 8));
        } else {
            // The first CONNECT may have asked for it, which a later one without headers may not.
            fields.push("\"no_responders\":false".to_owned());
        }
        for more in [
            "\"protocol\":1",
            "\"protocol\":0",
            "\"lang\":\"x\"",
            "\"name\":\"a \\\"b\\\"\"",
            "\"unknown\":[1,{\"a\":null}]",
            "\"tls_required\":true",
            "\"echo\":null",
            "\"verbose\":true,\"verbose\":false",
            "\"user\":\"u\",\"pass\":\"p\"",
            "\"jwt\":\"\"",
        ] {
            if self.one_in(8) {
                fields.push(more.to_owned());
            }
        }
        self.rng.shuffle(&mut fields);
        Line::connect(fields)
    }

    fn key(&mut self, name: &str) -> String {
        let name = if self.one_in(10) { name.to_uppercase() } else { name.to_owned() };
        let blank = if self.one_in(10) { " " } else { "" };
        format!("{blank}\"{name}\"{blank}")
    }

    /// The name that this has within the session.
    fn subject(&self, name: &str) -> Vec<u8> {
        let prefix: &[&[u8]] = if self.calm { &[] } else { &[PREFIX, b"."] };
        [prefix, &[name.as_bytes()]].concat().concat()
    }

    fn with_payload(&mut self, verb: &str, words: &[&[u8]], payload: &[u8]) -> Line {
        let mut line = self.words(verb, words, 0);
        for bytes in [Some(&mut line.bytes), line.plain.as_mut()].into_iter().flatten() {
            bytes.extend_from_slice(payload);
            bytes.extend_from_slice(b"\r\n");
        }
        line
    }

    /// A control line, now and then in a case and with a spacing that is allowed and odd.
    fn words(&mut self, verb: &str, words: &[&[u8]], pongs: usize) -> Line {
        let plain = [&[verb.as_bytes()], words].concat().join(&b' ');
        let plain = [&plain, &b"\r\n"[..]].concat();
        if !self.one_in(5) {
            return Line { pongs, ..Line::raw(&plain) };
        }
        let cased = verb.chars().map(|letter| match self.rng.bool() {
            true => letter.to_ascii_lowercase(),
            false => letter,
        });
        let mut bytes = cased.collect::<String>().into_bytes();
        for word in words {
            bytes.extend(self.pick(&[&b" "[..], b"  ", b"\t", b" \t "]));
            bytes.extend(*word);
        }
        bytes.extend(self.pick(&[&b""[..], b" ", b"\t \t"]));
        bytes.extend(self.pick(&[&b"\r\n"[..], b"\r\n", b"\n"]));
        Line { plain: Some(plain), pongs, ..Line::raw(&bytes) }
    }

    fn count(&mut self) -> usize {
        self.serial += 1;
        self.serial
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.rng.u32(..many) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.usize(..from.len())]
    }
}
