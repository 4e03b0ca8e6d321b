//! Plays a session against one server and records what each connection received in each step. Owns
//! the lock step: a step is over when its connection's PING is answered, and then one on each of
//! the others. Compares nothing.

use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::frame::Frame;
use crate::peer::{Event, Peer};
use crate::server::Server;
use crate::session::{Action, Line, PREFIX, Session};

/// How long nothing may arrive before a session is aborted. Shrinking waits for it again and again.
const SILENCE: Duration = Duration::from_secs(8);

/// What arrived in each step, on each connection.
pub type Transcript = Vec<Vec<Vec<Event>>>;

/// A server, and a connection to it that detects the end of others.
pub struct Player {
    server: Server,
    witness: Peer,
    played: u32,
}

impl Player {
    /// Plays against this server.
    pub fn new(server: Server) -> Player {
        let mut witness = Peer::connect(server.address);
        let options =
            "\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true";
        witness.send(format!("CONNECT {{{options}}}\r\nSUB _witness w\r\n").as_bytes());
        Player { server, witness, played: 0 }
    }

    /// Plays it, with connections of its own.
    pub fn play(&mut self, session: &Session) -> Transcript {
        self.played += 1;
        let name = format!("s{:05}", self.played);
        let peers = (0..session.connections).map(|_| None).collect();
        let mut stage = Stage { player: self, name, peers, session, record: Vec::new() };
        for step in &session.steps {
            stage.record.push(vec![Vec::new(); session.connections]);
            stage.step(step.connection, &step.action);
            if stage.record.iter().flatten().flatten().any(|event| *event == Event::Silence) {
                break;
            }
        }
        let record = stage.record.clone();
        if session.calm {
            stage.tidy();
        }
        record
    }

    /// Waits until this subject has no subscriber. False if it still has one at the time-out.
    fn is_unsubscribed(&mut self, subject: &str) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.witness.send(format!("PUB {subject} _witness 0\r\n\r\nPING\r\n").as_bytes());
            let mut gone = false;
            loop {
                match self.witness.receive() {
                    Event::Frame(Frame::Message(message)) => gone |= message.is_no_responders(),
                    Event::Frame(Frame::Pong) => break,
                    Event::Frame(Frame::Ping) => self.witness.send(b"PONG\r\n"),
                    Event::Frame(Frame::Info(_)) => {}
                    other => panic!("the witness of ends got {other:?}"),
                }
            }
            if gone || Instant::now() > deadline {
                return gone;
            }
        }
    }
}

/// One session while it is played.
struct Stage<'a> {
    player: &'a mut Player,
    name: String,
    peers: Vec<Option<Peer>>,
    session: &'a Session,
    record: Transcript,
}

impl Stage<'_> {
    fn step(&mut self, actor: usize, action: &Action) {
        let bytes = self.named(&action.lines().iter().map(Line::sent).collect::<Vec<_>>());
        let mut pongs: usize = action.lines().iter().map(|line| line.pongs).sum();
        match action {
            Action::Join(_) => {
                if self.peers[actor].is_some() {
                    return;
                }
                let peer = Peer::connect(self.player.server.address);
                peer.wait_at_most(SILENCE);
                self.peers[actor] = Some(peer);
                // The INFO.
                self.read(actor);
                self.send(actor, &bytes);
            }
            Action::Leave => {
                if self.peers[actor].take().is_some() {
                    self.await_unsubscribed(actor);
                }
            }
            Action::Send { cut, pause, .. } => {
                let (first, rest) = bytes.split_at(cut.unwrap_or(0).min(bytes.len()));
                self.send(actor, first);
                if *pause && !first.is_empty() {
                    self.read_others(actor);
                    // How much of the first part has been processed by now depends on timing.
                    for events in self.record.last_mut().into_iter().flatten() {
                        events.retain(|event| *event != Event::Frame(Frame::Pong));
                    }
                }
                self.send(actor, rest);
            }
        }
        if !self.session.calm {
            // By this subscription the witness detects the connection's end.
            let subject = self.witness_of(actor);
            self.send(actor, format!("SUB {subject} end\r\n").as_bytes());
        }
        self.send(actor, b"PING\r\n");
        pongs += 1;
        while pongs > 0 && self.peers[actor].is_some() {
            if self.read(actor) == Event::Frame(Frame::Pong) {
                pongs -= 1;
            }
        }
        self.read_others(actor);
    }

    /// Reads what all others have received up to now.
    fn read_others(&mut self, actor: usize) {
        for other in (0..self.peers.len()).filter(|&other| other != actor) {
            self.send(other, b"PING\r\n");
            while self.peers[other].is_some() && self.read(other) != Event::Frame(Frame::Pong) {}
        }
    }

    fn send(&mut self, connection: usize, bytes: &[u8]) {
        if let Some(peer) = self.peers[connection].as_mut().filter(|_| !bytes.is_empty()) {
            peer.send(bytes);
        }
    }

    /// Records the next event of this connection. After its end it has no peer any more.
    fn read(&mut self, connection: usize) -> Event {
        let Some(peer) = &mut self.peers[connection] else { return Event::Silence };
        let mut event = peer.receive();
        if event == Event::Frame(Frame::Ping) {
            peer.send(b"PONG\r\n");
        }
        if let Event::Frame(frame) = &mut event {
            unname(frame, self.name.as_bytes());
        }
        self.note(connection, event.clone());
        if !matches!(event, Event::Frame(_)) {
            self.peers[connection] = None;
        }
        if matches!(event, Event::Closed(_)) {
            self.await_unsubscribed(connection);
        }
        event
    }

    fn note(&mut self, connection: usize, event: Event) {
        self.record.last_mut().expect("a step has begun")[connection].push(event);
    }

    /// Waits until a connection's subscriptions have ended as well.
    fn await_unsubscribed(&mut self, connection: usize) {
        let subject = self.witness_of(connection);
        if !self.session.calm && !self.player.is_unsubscribed(&subject) {
            let event = Event::Frame(Frame::Strange(b"its subscriptions stay".to_vec()));
            self.note(connection, event);
        }
    }

    /// Ends all subscriptions to subjects that the next session may use.
    fn tidy(&mut self) {
        let sent: Vec<u8> = self
            .session
            .steps
            .iter()
            .flat_map(|step| step.action.lines())
            .flat_map(Line::sent)
            .collect();
        let mut sids: Vec<&[u8]> = sent.split(u8::is_ascii_whitespace).collect();
        sids.retain(|sid| !sid.is_empty() && sid.len() < 16);
        sids.sort_unstable();
        sids.dedup();
        let lines = sids.iter().flat_map(|sid| [b"UNSUB ", *sid, b"\r\n"].concat());
        let lines: Vec<u8> = lines.chain(*b"PING\r\n").collect();
        for connection in 0..self.peers.len() {
            self.send(connection, &lines);
            while self.peers[connection].is_some()
                && self.read(connection) != Event::Frame(Frame::Pong)
            {}
        }
    }

    fn witness_of(&self, connection: usize) -> String {
        format!("end.{}.{connection}", self.name)
    }

    /// The bytes with the session's name in them.
    fn named(&self, lines: &[Vec<u8>]) -> Vec<u8> {
        replaced(&lines.concat(), PREFIX, self.name.as_bytes())
    }
}

fn unname(frame: &mut Frame, name: &[u8]) {
    match frame {
        Frame::Message(message) => {
            let parts =
                [Some(&mut message.subject), message.reply.as_mut(), message.headers.as_mut()];
            parts.into_iter().flatten().for_each(|part| *part = replaced(part, name, PREFIX));
        }
        Frame::Error(text) | Frame::Strange(text) => *text = replaced(text, name, PREFIX),
        _ => {}
    }
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + from.len()].copy_from_slice(to);
        }
    }
    bytes
}
