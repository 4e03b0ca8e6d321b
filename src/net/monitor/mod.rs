//! The HTTP port for those who watch the broker.
//!
//! Owns its listeners and its connections, which are bounded in number, size and time. It has its
//! turn behind the fan-out's, makes at most one response in it, and rests behind that, so it cannot
//! slow the broker down; without connections it has no deadline and makes no system call. Reads the
//! broker, and must not change it.
//!
//! - `connection`: one HTTP connection; `request` and `response`: what it reads and writes.
//! - `guard`: who may read all that.
//! - `answer`: which body is whose.
//! - `snapshot`, `turns`, `process`, `cpu`: figures. `metrics`, `json`, `page`: how they are
//!   written. `nats`: what the tools of NATS ask for.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZero;
use std::rc::Rc;
use std::time::{Duration, Instant};

use log::{debug, info};
use mio::net::TcpListener;
use mio::{Events, Interest, Registry, Token as PollToken};
use time::OffsetDateTime;

use super::tls::Tls;
use super::transport::{self, Stream, Transport};
use super::{RunError, listener};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::access::User;
use crate::engine::sessions::protocol::Protocol;

mod answer;
mod connection;
mod cpu;
mod guard;
mod json;
mod metrics;
mod nats;
mod page;
mod process;
mod request;
mod response;
mod snapshot;
mod topic_rates;
mod turns;

use connection::{Connection, Wanted};
use cpu::Cpu;
use guard::Guard;
use request::Request;
use response::{Body, Status};
use topic_rates::TopicRates;
use turns::Turns;

/// Connections that are served at a time.
const MAX_CONNECTIONS: usize = 16;
/// Beyond them, connections that are told so at a time; more are closed without a word.
const MAX_REFUSALS: usize = 8;
/// Connections accepted in one turn.
const ACCEPTS: usize = 8;
/// How long to wait before accepting again when the system has run out of something.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the monitor does is followed by a rest of so many times as long. So it takes a tenth of the
/// loop's time at most, however much is asked of it and however much there is to look at.
const REST: u32 = 9;
/// The longest rest: a turn in which the process was not scheduled says nothing about the work.
const MAX_REST: Duration = Duration::from_millis(100);

/// The monitor's poll tokens: its listeners' downwards from here, and upwards one for each of its
/// connections. Those of the broker's listeners are near the end of all numbers, its connections'
/// at the start.
const LISTENER: usize = usize::MAX / 2;
const FIRST_CONNECTION: usize = LISTENER + 1;

/// One of the addresses of the HTTP port.
struct Listener {
    socket: TcpListener,
    /// There may be a client to accept.
    ready: bool,
}

/// The HTTP port.
pub(super) struct Monitor {
    listeners: Vec<Listener>,
    /// Not before then, since the system has run out of something.
    retry_at: Option<Instant>,
    /// By their poll tokens. The first [`MAX_CONNECTIONS`] are served.
    connections: Vec<Option<Connection>>,
    /// Whose turn it is.
    next: usize,
    /// Nothing is read, answered or written before then.
    rests_until: Option<Instant>,
    /// How many of the busiest topics are shown.
    busiest: usize,
    /// When it began, by the wall and by the broker's clock.
    started: OffsetDateTime,
    began: Instant,
    /// When the configuration was read.
    configured: OffsetDateTime,
    /// Processors of the machine.
    cores: usize,
    /// What clients may or have to speak; `None`: plain bytes.
    tls: Option<Rc<Tls>>,
    guard: Guard,
    turns: Turns,
    rates: RefCell<TopicRates>,
    cpu: RefCell<Cpu>,
}

impl Monitor {
    /// Binds the address of the settings, if there is one, or all of them if it is a name, and lets
    /// the broker count topics. The log says where.
    pub(super) fn new(
        config: &Config,
        registry: &Registry,
        engine: &mut Engine,
        now: Instant,
    ) -> Result<Option<Monitor>, RunError> {
        let settings = &config.monitor;
        let Some(address) = &settings.address else { return Ok(None) };
        let error =
            |error| RunError::new(format!("cannot listen for monitors on {address}"), error);
        let listeners = listen(address, registry).map_err(error)?;
        let listed: Vec<_> = settings.topics.iter().map(String::as_str).collect();
        engine.count_topics(&listed);
        let started = OffsetDateTime::now_utc();
        Ok(Some(Monitor {
            listeners,
            retry_at: None,
            connections: (0..MAX_CONNECTIONS + MAX_REFUSALS).map(|_| None).collect(),
            next: 0,
            rests_until: None,
            busiest: settings.busiest,
            started,
            began: now,
            configured: started,
            cores: std::thread::available_parallelism().map_or(1, NonZero::get),
            tls: None,
            guard: Guard::default(),
            turns: Turns::default(),
            rates: RefCell::default(),
            cpu: RefCell::new(Cpu::new(now)),
        }))
    }

    /// What clients may or have to speak from now on.
    pub(super) fn secure(&mut self, tls: Option<Rc<Tls>>) {
        self.tls = tls;
    }

    /// Whose name and secret are asked for from now on; `None`: nobody's.
    pub(super) fn ask_for(&mut self, user: Option<Rc<User>>) {
        self.guard.ask_for(user);
    }

    /// An address of this machine at which others may read without being asked who they are.
    pub(super) fn open_address(&self) -> Option<SocketAddr> {
        let addresses = self.listeners.iter().filter_map(|it| it.socket.local_addr().ok());
        addresses.filter(|it| !it.ip().is_loopback()).find(|_| !self.guard.asks())
    }

    /// The configuration was read again.
    pub(super) fn note_reload(&mut self) {
        self.configured = OffsetDateTime::now_utc();
    }

    /// Remembers what the events say.
    pub(super) fn note(&mut self, events: &Events) {
        for event in events {
            let index = event.token().0;
            if let Some(listener) = self.listeners.get_mut(LISTENER.wrapping_sub(index)) {
                listener.ready = true;
            }
            let place = index.wrapping_sub(FIRST_CONNECTION);
            if let Some(Some(connection)) = self.connections.get_mut(place) {
                connection.note(event);
            }
        }
    }

    /// A turn of the loop, which began at `now`, took so long, `own` of it for the monitor.
    pub(super) fn turn_took(&mut self, time: Duration, own: Duration, now: Instant) {
        self.turns.observe(time);
        if self.rests_until.is_none() {
            self.rests_until = Some(now + time + (own * REST).min(MAX_REST));
        }
    }

    /// Whether something is left to do without waiting.
    pub(super) fn is_busy(&self) -> bool {
        self.rests_until.is_none() && self.has_work()
    }

    fn has_work(&self) -> bool {
        let waiting = self.is_waited_for() && self.retry_at.is_none();
        waiting || self.connections.iter().flatten().any(Connection::is_busy)
    }

    /// Whether there may be a client to accept.
    fn is_waited_for(&self) -> bool {
        self.listeners.iter().any(|listener| listener.ready)
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let retry = self.retry_at.filter(|_| self.is_waited_for());
        let rest = self.rests_until.filter(|_| self.has_work());
        let due = self.connections.iter().flatten().map(Connection::deadline);
        due.chain(retry).chain(rest).chain(self.guard.due()).min()
    }

    /// Its part of a turn: accepts, reads, writes, and makes one response at most.
    pub(super) fn turn(&mut self, registry: &Registry, engine: &Engine, now: Instant) {
        self.guard.report(now);
        self.rests_until = self.rests_until.filter(|at| *at > now);
        let rests = self.rests_until.is_some();
        if !rests {
            self.accept(registry, now);
        }
        let count = self.connections.len();
        let first = self.next;
        let mut answered = false;
        for place in (first..count).chain(0..first) {
            let Some(connection) = &mut self.connections[place] else { continue };
            let is_due = connection.deadline() <= now;
            let wanted = if is_due {
                connection.expire()
            } else if rests || answered || !connection.is_busy() {
                continue;
            } else {
                connection.turn(now)
            };
            if let Some(why) = connection.take_refused() {
                self.guard.handshake_failed(connection.address(), &why, now);
            }
            if let Some(wanted) = wanted {
                let address = connection.address();
                let (response, keep) = self.response(&wanted, address, engine, now);
                if let Some(connection) = &mut self.connections[place] {
                    connection.answer(response, keep, now);
                }
                // The one behind it is the first in the next turn.
                self.next = (place + 1) % count;
                answered = true;
            }
            if self.connections[place].as_ref().is_some_and(Connection::is_gone) {
                self.connections[place] = None;
            }
        }
    }

    fn accept(&mut self, registry: &Registry, now: Instant) {
        if self.retry_at.is_some_and(|at| at > now) {
            return;
        }
        self.retry_at = None;
        for _ in 0..ACCEPTS {
            let Some(listener) = self.listeners.iter_mut().find(|it| it.ready) else { return };
            match listener.socket.accept() {
                Ok((stream, address)) => {
                    // As in the native protocol, the client speaks first.
                    let offer = self.tls.as_ref().map(|tls| tls.offer(Protocol::Native));
                    let transport = Transport::new(Stream::Tcp(stream), offer);
                    self.admit(transport, address, registry, now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => listener.ready = false,
                Err(error) => {
                    debug!("cannot accept monitors: {error}; trying again in a second");
                    self.retry_at = Some(now + RETRY_AFTER);
                    return;
                }
            }
        }
    }

    fn admit(
        &mut self,
        mut transport: Transport,
        address: SocketAddr,
        registry: &Registry,
        now: Instant,
    ) {
        // The free place that comes first: one beyond the limit is only taken when all are.
        let Some(place) = self.connections.iter().position(Option::is_none) else { return };
        if transport.register(registry, PollToken(FIRST_CONNECTION + place)).is_err() {
            return;
        }
        let mut connection = Connection::new(transport, address, now);
        if place >= MAX_CONNECTIONS {
            let body = Body::text(Status::Unavailable, "too many connections to the monitor");
            let response = response::render(&body, false, false, OffsetDateTime::now_utc());
            connection.answer(response, false, now);
        }
        // A client that is gone already must not have the place until its time is up.
        if !connection.is_gone() {
            self.connections[place] = Some(connection);
        }
    }

    /// The response, and whether another request may follow.
    fn response(
        &mut self,
        wanted: &Wanted,
        address: SocketAddr,
        engine: &Engine,
        now: Instant,
    ) -> (Vec<u8>, bool) {
        let wall = OffsetDateTime::now_utc();
        let (body, head, keep) = match wanted {
            Wanted::Refusal(status) => (Body::of(*status), false, false),
            Wanted::Request(request) if !self.guard.admits(request, address, now) => {
                (Body::of(Status::Unauthorized), request.head, request.keep)
            }
            Wanted::Request(Request { wanted: Err(status), head, .. }) => {
                (Body::of(*status), *head, false)
            }
            Wanted::Request(Request { wanted: Ok(endpoint), head, keep, .. }) => {
                (self.body(*endpoint, engine, now, wall), *head, *keep)
            }
        };
        (response::render(&body, head, keep, wall), keep)
    }
}

/// Binds all addresses of a name and port, and says so.
fn listen(address: impl ToSocketAddrs, registry: &Registry) -> io::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for (place, mut socket) in listener::bind_everywhere(address)?.into_iter().enumerate() {
        transport::prepare(&socket, 0)?;
        registry.register(&mut socket, PollToken(LISTENER - place), Interest::READABLE)?;
        info!("listening for monitors on {} (http)", socket.local_addr()?);
        listeners.push(Listener { socket, ready: false });
    }
    Ok(listeners)
}

#[cfg(test)]
mod tests;
