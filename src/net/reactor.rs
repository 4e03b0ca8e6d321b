//! The one loop.
//!
//! Owns the poll and the listeners. It waits for events, hands them to the turn, accepts, and lets
//! the turn run. Must not decide about clients.
//!
//! Sockets are registered once, for both directions, edge-triggered. So a connection that stops
//! before its socket said that it would block is remembered in the lists of the turn, and then the
//! next wait does not sleep.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use log::info;
use mio::{Events, Poll, Token as PollToken};

use super::clock::Clock;
use super::link::{self, Link};
use super::listener::Listener;
use super::monitor::Monitor;
use super::service_manager::ServiceManager;
use super::signals::Signals;
use super::sockets::{AllSockets, readiness};
use super::tls::{self, Tls};
use super::transport::{Stream, Transport};
use super::{Ended, Reload, RunError};
use crate::config::{Config, SETTINGS};
use crate::engine::Engine;
use crate::engine::access::{User, Users};
use crate::engine::token::Token;
use crate::engine::turn::Turn;

/// Events taken from the system at once.
const EVENTS: usize = 1_024;

const SIGNALS: PollToken = PollToken(usize::MAX);
/// Listeners count downwards from here, connections upwards from 0.
pub(super) const FIRST_LISTENER: usize = usize::MAX - 1;
/// Tokens of connections are below this; what is between belongs to the monitor.
const CONNECTIONS: usize = 1 << 32;

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
    pub(super) turn: Turn<AllSockets>,
    pub(super) monitor: Option<Monitor>,
    /// `None`: the settings name no hub.
    pub(super) link: Option<Link>,
    /// What clients may or have to speak over ports; `None`: plain bytes.
    pub(super) tls: Option<Rc<Tls>>,
    /// When to look at the certificate's end again, and the days that the log has warned of.
    pub(super) expiry: (Option<Instant>, Option<i64>),
    /// A signal has come.
    pub(super) signalled: bool,
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
        let read_bytes = config.network.read_bytes;
        let id = format!("broker-{}", std::process::id());
        let engine = Engine::new(config.rules(), read_bytes, id);
        let mut reactor = Reactor {
            poll,
            clock,
            signals,
            service,
            config: config.clone(),
            reload,
            listeners: Vec::new(),
            turn: Turn::new(engine, AllSockets::default(), read_bytes),
            monitor: None,
            link: None,
            tls: None,
            expiry: (None, None),
            signalled: false,
            drained_by: None,
            undelivered: 0,
        };
        let settings: Vec<_> = SETTINGS
            .iter()
            .map(|setting| format!("{}.{}={}", setting.section, setting.key, setting.show(config)))
            .collect();
        info!("broker {} starts: {}", env!("CARGO_PKG_VERSION"), settings.join(" "));
        let tls = tls::load(&config.tls, None).map_err(RunError::configuration)?;
        let plan = link::load(config).map_err(RunError::configuration)?;
        let users = config.users().map_err(|errors| RunError::configuration(errors.to_string()))?;
        if let Some(users) = &users {
            info!("{} users may come in", users.len());
        }
        let watcher = watcher(config, users.as_ref());
        reactor.turn.engine_mut().set_users(users, reactor.clock.now());
        // The service manager hears that all is ready when the other ports are open.
        reactor.start_monitor(watcher)?;
        reactor.turn.sockets_mut().secure(tls.clone());
        reactor.secure(tls);
        reactor.open_ports()?;
        reactor.relink(plan);
        Ok(reactor)
    }

    fn start_monitor(&mut self, watcher: Option<Rc<User>>) -> Result<(), RunError> {
        let (now, registry) = (self.clock.now(), self.poll.registry());
        self.monitor = Monitor::new(&self.config, registry, self.turn.engine_mut(), now)?;
        if let Some(monitor) = &mut self.monitor {
            monitor.ask_for(watcher);
        }
        Ok(())
    }

    /// What the monitor does in a turn, behind all else.
    fn serve_monitor(&mut self) {
        if let Some(monitor) = &mut self.monitor {
            let now = self.clock.now();
            let before = self.clock.since_advance();
            monitor.turn(self.poll.registry(), self.turn.engine(), now);
            let took = self.clock.since_advance();
            monitor.turn_took(took, took.saturating_sub(before), now);
        }
    }

    /// Turns until the broker was told to stop and has drained.
    pub(super) fn run(mut self) -> Result<Ended, RunError> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            self.wait(&mut events)?;
            self.turn.begin();
            self.note(&events);
            if let Some(ended) = self.heed_signals() {
                return Ok(ended);
            }
            self.accept();
            self.heed_time_of_tls();
            self.dial();
            self.run_turn();
            self.heed_link();
            self.serve_monitor();
            self.tell_service_manager();
            if self.is_drained() {
                return Ok(Ended::Drained);
            }
        }
    }

    /// Sleeps until something happens or is due; not at all if something is left to do.
    fn wait(&mut self, events: &mut Events) -> Result<(), RunError> {
        let waiting = self.listeners.iter().any(Listener::is_waiting);
        let asked = self.monitor.as_ref().is_some_and(Monitor::is_busy);
        let checking = self.turn.sockets_mut().is_checking();
        let dialling = self.link.as_ref().is_some_and(Link::is_busy);
        let busy = waiting || asked || checking || dialling;
        let busy = busy || self.signalled || self.turn.is_busy();
        let timeout = if busy {
            Some(Duration::ZERO)
        } else {
            let retries = self.listeners.iter().filter_map(Listener::deadline);
            let handshake = self.turn.sockets_mut().next_handshake();
            let own = self.turn.next_deadline().into_iter().chain(handshake).chain(self.expiry.0);
            let due = own.chain(retries).chain(self.drained_by);
            let due = due.chain(self.monitor.as_ref().and_then(Monitor::deadline));
            let due = due.chain(self.link.as_ref().and_then(Link::deadline));
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

    /// Passes on what the events say.
    fn note(&mut self, events: &Events) {
        for event in events {
            let index = event.token().0;
            self.signalled |= event.token() == SIGNALS;
            if let Some(listener) = self.listeners.get_mut(FIRST_LISTENER.wrapping_sub(index)) {
                listener.ready = true;
            } else if index < CONNECTIONS {
                self.turn.note_event(Token::new(index), readiness(event));
            } else if let Some(link) = &mut self.link {
                link.note(event.token());
            }
        }
        if let Some(monitor) = &mut self.monitor {
            monitor.note(events);
        }
    }

    /// Accepts connections from the listeners in turn, within the budget.
    fn accept(&mut self) {
        let now = self.clock.now();
        let mut accepted = true;
        while std::mem::take(&mut accepted) {
            for listener in &mut self.listeners {
                if !self.turn.may_accept() {
                    return;
                }
                let Some(client) = listener.accept(now) else { continue };
                accepted = true;
                let is_port = matches!(client.stream, Stream::Tcp(_));
                let tls = self.tls.as_ref().filter(|_| is_port);
                let offer = tls.map(|tls| tls.offer(listener.role.protocol));
                let may_shake = offer.is_some();
                let mut transport = Transport::new(client.stream, offer);
                let token = self.turn.accept(listener.role, &client.address, now);
                if let Some(peer) = client.peer {
                    self.turn.engine_mut().set_peer(token, peer);
                }
                let poll_token = PollToken(token.index());
                let failed = transport.register(self.poll.registry(), poll_token).is_err();
                self.turn.sockets_mut().insert(token, transport);
                if may_shake {
                    let due = now + self.config.timeouts.hello;
                    self.turn.expect_handshake_by(token, listener.role.protocol, due);
                }
                if failed {
                    self.turn.connection_failed(token);
                }
            }
        }
    }

    /// Dials the hub, if there is one to dial.
    fn dial(&mut self) {
        if let Some(link) = &mut self.link {
            link.dial(&mut self.turn, self.poll.registry(), self.clock.now());
        }
    }

    /// Heeds what has happened on the link.
    fn heed_link(&mut self) {
        if let Some(link) = &mut self.link {
            link.heed(&mut self.turn, self.clock.now());
        }
    }

    fn run_turn(&mut self) {
        let before = self.turn.engine().connections();
        self.turn.run(self.clock.now());
        self.note_departures(before);
    }

    /// Ends a turn in which nothing was served, behind a change between two turns.
    pub(super) fn end_turn(&mut self) {
        let before = self.turn.engine().connections();
        self.turn.end(self.clock.now());
        self.note_departures(before);
    }

    /// Descriptors that connections have left may be what accepting waits for.
    fn note_departures(&mut self, before: usize) {
        if self.turn.engine().connections() < before {
            self.listeners.iter_mut().for_each(Listener::retry_now);
        }
    }
}

/// The user whose secret the monitor asks for, if it does.
///
/// # Panics
/// If there is no such user, which a valid configuration rules out: nobody is to read the monitor
/// by a mistake in here.
pub(super) fn watcher(config: &Config, users: Option<&Users>) -> Option<Rc<User>> {
    let name = config.monitor.user.as_deref()?;
    let user = users.and_then(|users| users.named(name));
    Some(user.expect("a valid configuration names a user that there is").clone())
}

#[cfg(test)]
mod tests;
