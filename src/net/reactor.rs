//! The one loop.
//!
//! Owns the poll, the sockets, and the list of connections that are ready. A turn: wait, accept,
//! read, do what is due, flush, reap. Must not decide about clients.
//!
//! Sockets are registered once, for both directions, edge-triggered. So whoever stops before the
//! socket said that it would block has to remember it: readable connections stay in the ready
//! list, writable ones in the broker's list of dirty outboxes, and then the next wait does not
//! sleep.

use std::io;
use std::time::{Duration, Instant};

use log::info;
use mio::{Events, Poll, Token as PollToken};

use super::clock::Clock;
use super::listener::Listener;
use super::monitor::Monitor;
use super::peers::Peers;
use super::service_manager::ServiceManager;
use super::signals::Signals;
use super::transport::Transport;
use super::{Ended, Reload, RunError};
use crate::broker::{Broker, Input, Progress, Token};
use crate::config::{Config, SETTINGS};

/// Events taken from the system at once.
const EVENTS: usize = 1_024;
/// Bytes that all connections together bring into one turn, so that what was read is still in
/// the processor's cache when it is written, and nobody waits long for the flush.
const TURN_BYTES: usize = 512 << 10;
/// The same when they make only small writes to many, so that each write carries more.
const THIN_TURN_BYTES: usize = 1 << 20;
/// Events taken from the system meanwhile.
const MEANWHILE_EVENTS: usize = 256;
/// What a connection costs that comes, leaves, or is written to because something is due: a system
/// call or a few (measured: 8 to 20 µs).
const CROWD_COST: Duration = Duration::from_micros(20);
/// Of these, as many are seen to in a turn as add this part to what the turn before took, and a
/// few in any case: a crowd must not hold up those that stay, nor be held up by a long turn.
const CROWD_PART: u32 = 10;
const FEW: usize = 8;
/// What is read and thrown away at once, behind the end of a conversation.
const DISCARD_BYTES: usize = 16 << 10;

const SIGNALS: PollToken = PollToken(usize::MAX);
/// Listeners count downwards from here, connections upwards from 0.
pub(super) const FIRST_LISTENER: usize = usize::MAX - 1;

/// The loop and all that it waits for.
pub(super) struct Reactor {
    pub(super) poll: Poll,
    pub(super) clock: Clock,
    pub(super) signals: Signals,
    pub(super) service: ServiceManager,
    pub(super) config: Config,
    /// How to read the configuration again; `None`: it is not to be.
    pub(super) reload: Option<Reload>,
    pub(super) listeners: Vec<Listener>,
    pub(super) broker: Broker,
    pub(super) monitor: Option<Monitor>,
    pub(super) peers: Peers,
    /// How many of a crowd are seen to in this turn.
    crowd: usize,
    /// The number of this turn, for telling who has been served in it.
    pub(super) turn: u32,
    /// For the events that come in the middle of a flush; taken while they are dealt with.
    pub(super) meanwhile: Option<Events>,
    /// A signal has come.
    pub(super) signalled: bool,
    pub(super) flushing: Vec<Token>,
    discarded: Vec<u8>,
    read_bytes: usize,
    pub(super) drained_by: Option<Instant>,
    /// Messages that were not delivered before draining began.
    pub(super) undelivered: u64,
}

impl Reactor {
    /// Opens both ports. With `reload` it is a daemon, which the service manager may care for.
    pub(super) fn new(config: &Config, reload: Option<Reload>) -> Result<Reactor, RunError> {
        let poll = Poll::new().map_err(|error| RunError::new("cannot wait for events", error))?;
        let signals = Signals::new(poll.registry(), SIGNALS, reload.is_some())
            .map_err(|error| RunError::new("cannot listen to signals", error))?;
        let clock = Clock::new();
        let service = match &reload {
            Some(_) => ServiceManager::from_environment(clock.real()),
            None => ServiceManager::none(),
        };
        let mut reactor = Reactor {
            poll,
            clock,
            signals,
            service,
            config: config.clone(),
            reload,
            listeners: Vec::new(),
            broker: Broker::new(
                config.rules(),
                config.network.read_bytes,
                format!("broker-{}", std::process::id()),
            ),
            monitor: None,
            peers: Peers::default(),
            crowd: FEW,
            turn: 0,
            meanwhile: Some(Events::with_capacity(MEANWHILE_EVENTS)),
            signalled: false,
            flushing: Vec::new(),
            discarded: vec![0; DISCARD_BYTES],
            read_bytes: config.network.read_bytes,
            drained_by: None,
            undelivered: 0,
        };
        let settings: Vec<_> = SETTINGS
            .iter()
            .map(|setting| format!("{}.{}={}", setting.section, setting.key, setting.show(config)))
            .collect();
        info!("broker {} starts: {}", env!("CARGO_PKG_VERSION"), settings.join(" "));
        // The service manager hears that all is ready when the other ports are open.
        reactor.start_monitor()?;
        reactor.open_ports()?;
        Ok(reactor)
    }

    fn start_monitor(&mut self) -> Result<(), RunError> {
        let now = self.clock.now();
        self.monitor = Monitor::new(&self.config, self.poll.registry(), &mut self.broker, now)?;
        Ok(())
    }

    /// What the monitor does in a turn, behind all else.
    fn serve_monitor(&mut self) {
        if let Some(monitor) = &mut self.monitor {
            let now = self.clock.now();
            let before = self.clock.since_advance();
            monitor.turn(self.poll.registry(), &self.broker, now);
            let took = self.clock.since_advance();
            monitor.turn_took(took, took.saturating_sub(before), now);
        }
    }

    /// Turns until the broker was told to stop and has drained.
    pub(super) fn run(mut self) -> Result<Ended, RunError> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            self.wait(&mut events)?;
            self.note(&events);
            if let Some(ended) = self.heed_signals() {
                return Ok(ended);
            }
            self.accept();
            self.serve();
            self.broker.expire(self.clock.now(), 2 * self.crowd);
            self.flush_letting_others_in();
            self.end_turn();
            self.serve_monitor();
            self.tell_service_manager();
            if self.is_drained() {
                return Ok(Ended::Drained);
            }
        }
    }

    /// Sleeps until something happens or is due; not at all if something is left to do.
    fn wait(&mut self, events: &mut Events) -> Result<(), RunError> {
        self.turn = self.turn.wrapping_add(1);
        let spare = self.clock.since_advance() / CROWD_PART;
        self.crowd = FEW.max((spare.as_micros() / CROWD_COST.as_micros()) as usize);
        let waiting = self.listeners.iter().any(Listener::is_waiting);
        let asked = self.monitor.as_ref().is_some_and(Monitor::is_busy);
        let unserved = self.signalled || self.peers.ready() + self.peers.ending() > 0;
        let timeout = if waiting || asked || unserved || self.broker.has_dirty() {
            Some(Duration::ZERO)
        } else {
            let retries = self.listeners.iter().filter_map(Listener::deadline);
            let due = self.broker.next_deadline().into_iter().chain(retries).chain(self.drained_by);
            let due = due.chain(self.monitor.as_ref().and_then(Monitor::deadline));
            let due = due.min().map(|at| at.saturating_duration_since(self.clock.now()));
            let told = self.service.deadline();
            let told = told.map(|at| at.saturating_duration_since(self.clock.real()));
            due.into_iter().chain(told).min()
        };
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(RunError::new("cannot wait for events", error)),
        }
        self.clock.advance(timeout);
        Ok(())
    }

    /// Remembers what the events say.
    pub(super) fn note(&mut self, events: &Events) {
        for event in events {
            let index = event.token().0;
            self.signalled |= event.token() == SIGNALS;
            if let Some(listener) = self.listeners.get_mut(FIRST_LISTENER.wrapping_sub(index)) {
                listener.ready = true;
            } else if let Some(token) = self.peers.note(index, event)
                && event.is_writable()
            {
                self.broker.writable(token);
            }
        }
        if let Some(monitor) = &mut self.monitor {
            monitor.note(events);
        }
    }

    fn accept(&mut self) {
        // Those who leave first, so that a crowd that returns finds the room that it has left.
        if self.broker.is_full() && self.peers.ending() > 0 {
            return;
        }
        let now = self.clock.now();
        for position in 0..self.listeners.len() {
            for _ in 0..self.crowd {
                let listener = &mut self.listeners[position];
                let role = listener.role;
                let Some((stream, address)) = listener.accept(now) else {
                    break;
                };
                let mut transport = Transport::new(stream);
                let token = self.broker.accept(role, &address.to_string(), now);
                let failed =
                    transport.register(self.poll.registry(), PollToken(token.index())).is_err();
                self.peers.insert(token, transport);
                if failed {
                    self.broker.connection_failed(token);
                }
            }
        }
    }

    /// Reads the connections that are ready, and a few of those that are ending.
    fn serve(&mut self) {
        self.serve_ready();
        for _ in 0..self.crowd.min(self.peers.ending()) {
            if let Some(token) = self.peers.next_ending() {
                self.serve_one(token, self.read_bytes);
            }
        }
    }

    /// Reads the connections that are ready within the budget of the turn: each once, or more
    /// often as long as what was read makes only small writes to many.
    fn serve_ready(&mut self) {
        let mut read = 0;
        loop {
            let before = read;
            for _ in 0..self.peers.ready() {
                let Some(token) = self.peers.next_ready() else { break };
                read += self.serve_one(token, self.read_bytes);
                let most = if self.broker.is_thin() { THIN_TURN_BYTES } else { TURN_BYTES };
                if read >= most {
                    return;
                }
            }
            // What is only carried on with brings nothing in, and may be much work.
            if self.peers.ready() == 0 || read == before || !self.broker.is_thin() {
                return;
            }
        }
    }

    /// Reads one connection once, so many bytes at most. Returns how many it brought in.
    pub(super) fn serve_one(&mut self, token: Token, most: usize) -> usize {
        let now = self.clock.now();
        let Some(peer) = self.peers.get_mut(token) else {
            return 0;
        };
        peer.served = self.turn;
        let (progress, count) = match self.broker.next_input(token, peer.readable) {
            Input::Wait => {
                if peer.failed {
                    self.broker.connection_failed(token);
                }
                return 0;
            }
            Input::CarryOn => (self.broker.carry_on(token, now), 0),
            Input::Discard => {
                self.discard(token);
                return DISCARD_BYTES;
            }
            Input::Read(mut filling) => {
                let spare = filling.spare(most);
                let wanted = spare.len();
                let read = peer.transport.read(spare);
                let count = read.as_ref().map_or(0, |count| *count);
                peer.readable = count == wanted || (peer.ended && count > 0);
                let idle = !peer.readable;
                let progress = self.broker.received(token, filling, count, idle, now);
                match read {
                    Ok(0) => self.broker.end_of_input(token),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => self.broker.connection_failed(token),
                }
                (progress, count)
            }
        };
        self.finish_carrying(token, progress);
        count
    }

    /// Carries out to the end what was read, flushing when the broker asks for it.
    fn finish_carrying(&mut self, token: Token, mut progress: Progress) {
        while progress == Progress::FlushFirst {
            self.flush();
            progress = self.broker.carry_on(token, self.clock.now());
        }
        // Whoever has a backlog comes back when the broker can go on with it.
        let is_readable = self.peers.get(token).is_some_and(|peer| peer.readable);
        if is_readable && !self.broker.has_backlog(token) {
            self.peers.go_on(token);
        }
    }

    /// Reads and throws away what comes behind the end of a conversation.
    fn discard(&mut self, token: Token) {
        let Some(peer) = self.peers.get_mut(token) else {
            return;
        };
        match peer.transport.read(&mut self.discarded) {
            Ok(0) => {
                peer.readable = false;
                self.broker.end_of_input(token);
            }
            Ok(_) => self.peers.make_ready(token),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => peer.readable = false,
            Err(_) => self.broker.connection_failed(token),
        }
    }

    pub(super) fn end_turn(&mut self) {
        self.broker.end_turn(self.clock.now());
        for token in self.broker.take_shutdowns() {
            if let Some(peer) = self.peers.get(token) {
                peer.transport.shutdown_write();
            }
        }
        let gone = self.broker.take_gone();
        self.peers.remove(&gone);
        if !gone.is_empty() {
            self.listeners.iter_mut().for_each(Listener::retry_now);
        }
        for token in self.broker.take_resumed() {
            if self.broker.has_backlog(token) {
                self.peers.go_on(token);
            } else {
                self.peers.make_ready(token);
            }
        }
    }
}

#[cfg(test)]
mod tests;
