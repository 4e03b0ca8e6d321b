//! The life of the daemon around the loop: opening its ports, reading its configuration again,
//! stopping, and telling the service manager of it all.
//!
//! Owns what signals mean. Must not do what only the loop may: read, write, reap.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use log::{error, info, warn};
use mio::Token as PollToken;
use wire::native::{DEFAULT_PUBLISHER_PORT, DEFAULT_SUBSCRIBER_PORT};

use super::link::{self, Link, Plan};
use super::listener::Listener;
use super::listener::unix::Access;
use super::monitor::Monitor;
use super::reactor::{FIRST_LISTENER, Reactor, watcher};
use super::signals::Signalled;
use super::tls::{self, Tls};
use super::{Ended, RunError, activation};
use crate::config::{Config, ConfigErrors, Reloaded};
use crate::engine::Engine;
use crate::engine::sessions::connection::Role;
use crate::engine::sessions::nats_requests::Identity;
use crate::engine::sessions::protocol::Protocol;
use crate::limits;
use crate::logging::Prepared;

/// How often the end of the certificate is looked at.
const DAY: Duration = Duration::from_secs(86_400);

impl Reactor {
    /// Opens all ports: a socket that the service manager has passed on is taken, what is missing
    /// is bound as configured. The log says where.
    pub(super) fn open_ports(&mut self) -> Result<(), RunError> {
        let mut passed = match &self.reload {
            Some(_) => activation::passed_sockets()?,
            None => Vec::new(),
        };
        self.introduce(None);
        let network = &self.config.network;
        let host = network.host.clone();
        let ports = [
            (Role::PUBLISHER, Some(network.publisher_port), DEFAULT_PUBLISHER_PORT),
            (Role::SUBSCRIBER, Some(network.subscriber_port), DEFAULT_SUBSCRIBER_PORT),
            (Role::NATS, network.nats_port, wire::nats::DEFAULT_PORT),
        ];
        if !passed.is_empty() && host != Config::default().network.host {
            warn!("[network] host = {host} is not used: the service manager has passed sockets");
        }
        for (role, port, default) in ports {
            let is_for = |(for_role, _): &mut (Role, _)| *for_role == role;
            let sockets: Vec<_> = passed.extract_if(.., is_for).collect();
            if sockets.is_empty() {
                for listener in
                    port.map_or(Ok(Vec::new()), |port| Listener::bind(&host, port, role))?
                {
                    self.listen(listener, "")?;
                }
            }
            let mut has_path = false;
            for (_, socket) in sockets {
                let listener = Listener::adopt(socket, role);
                let address = listener.address().ok().flatten();
                let expected = |found: SocketAddr| [0, default, found.port()];
                let is_other = |found| port.is_some_and(|port| !expected(found).contains(&port));
                if address.is_some_and(is_other) {
                    let (key, port) = (role.key(), port.unwrap_or_default());
                    warn!("[network] {key} = {port} is not used: a socket was passed instead");
                }
                has_path |= address.is_none();
                self.listen(listener, ", passed by the service manager")?;
            }
            self.open_path(role, has_path)?;
        }
        if self.has_nats() && !self.config.network.has_nats() {
            // Only the socket says so.
            let (rules, now) = (self.config.rules_where(true), self.clock.now());
            self.turn.engine_mut().set_rules(rules, now);
        }
        self.warn_if_open_to_all();
        let (status, now) = (figures(self.turn.engine()), self.clock.real());
        self.service.ready(&status, now);
        Ok(())
    }

    /// Opens the Unix socket of a role, if there is to be one and none was passed.
    fn open_path(&mut self, role: Role, was_passed: bool) -> Result<(), RunError> {
        let network = &self.config.network;
        let Some((key, path)) = network.socket_of(role) else { return Ok(()) };
        if was_passed {
            warn!("[network] {key} is not used: a socket was passed instead");
            return Ok(());
        }
        let access = Access { mode: network.socket_mode, group: network.socket_group.as_deref() };
        let listener = Listener::bind_path(path, &access, role)?;
        self.listen(listener, "")
    }

    /// Whether there is a port for NATS clients, wherever it is from.
    fn has_nats(&self) -> bool {
        self.listeners.iter().any(|listener| listener.role.protocol == Protocol::Nats)
    }

    fn listen(&mut self, mut listener: Listener, origin: &str) -> Result<(), RunError> {
        let role = listener.role;
        let token = PollToken(FIRST_LISTENER - self.listeners.len());
        let failed = |error| RunError::new(format!("cannot listen for {}", role.plural()), error);
        let unsent_bytes = self.config.network.unsent_bytes;
        listener.register(self.poll.registry(), token, unsent_bytes).map_err(failed)?;
        let place = listener.place().map_err(failed)?;
        info!("listening for {} on {place}{origin}", role.plural());
        if let Some(address) = listener.address().map_err(failed)?
            && role.protocol == Protocol::Nats
        {
            self.introduce(Some(address));
        }
        self.listeners.push(listener);
        Ok(())
    }

    /// Says so if other machines reach a port, or the monitor, and nobody is asked who it is.
    fn warn_if_open_to_all(&self) {
        if self.tls.as_ref().is_some_and(|tls| tls.info().required && tls.info().verify) {
            return;
        }
        if let Some(address) = self.monitor.as_ref().and_then(Monitor::open_address) {
            warn!(
                "everyone who reaches {address} may read the monitor, with topics, ids and \
                 addresses of clients: name a user for it, [monitor] user, or listen on 127.0.0.1"
            );
        }
        let mut addresses = self.listeners.iter().filter_map(|it| it.address().ok().flatten());
        if let Some(address) = addresses.find(|it| !it.ip().is_loopback())
            && self.config.users.file.is_none()
        {
            warn!(
                "everyone who reaches {address} may do everything: name the users in a file, \
                 [users] file, or listen on 127.0.0.1"
            );
        }
    }

    /// Tells the engine what NATS clients are told of the broker and the address that they have
    /// come to. Their tools are told of it without one, too.
    fn introduce(&mut self, address: Option<SocketAddr>) {
        let known = self.turn.engine().identity().server_id.clone();
        let server_id = if known.is_empty() { server_id() } else { known };
        let host = address.map(|address| address.ip().to_string()).unwrap_or_default();
        let port = address.map_or(0, |address| address.port());
        let tls = self.tls.as_ref().map(|tls| tls.info()).unwrap_or_default();
        self.turn.engine_mut().introduce(Identity { server_id, host, port, tls });
    }

    /// What holds for connections over ports from now on.
    pub(super) fn secure(&mut self, tls: Option<Rc<Tls>>) {
        let now = self.clock.now();
        self.expiry = (tls.as_ref().map(|_| now + DAY), None);
        if let Some(monitor) = &mut self.monitor {
            monitor.secure(tls.clone());
        }
        self.tls = tls;
        if let Some(tls) = &self.tls {
            tls.warn_of_expiry(&mut self.expiry.1);
        }
        let identity = self.turn.engine().identity().clone();
        let tls = self.tls.as_ref().map(|tls| tls.info()).unwrap_or_default();
        self.turn.engine_mut().introduce(Identity { tls, ..identity });
    }

    /// Does what time asks for: ends handshakes that take too long, and connections whose
    /// certificate does not hold any more, and looks at the end of the broker's own.
    pub(super) fn heed_time_of_tls(&mut self) {
        let (now, hello) = (self.clock.now(), self.config.timeouts.hello);
        self.turn.end_late_handshakes(now, hello);
        if self.turn.sockets_mut().is_checking() {
            let refused = self.turn.sockets_mut().check_some();
            for token in refused {
                info!("connection {}: its certificate holds no more; closed", token.index());
                self.turn.connection_failed(token);
            }
        }
        if let (Some(due), warned) = &mut self.expiry
            && *due <= now
            && let Some(tls) = &self.tls
        {
            *due = now + DAY;
            tls.warn_of_expiry(warned);
        }
    }

    /// Does what signals ask for; something if that is to end at once.
    pub(super) fn heed_signals(&mut self) -> Option<Ended> {
        if !std::mem::take(&mut self.signalled) {
            return None;
        }
        let Signalled { stops, reload } = self.signals.take();
        if stops > 0 && self.turn.engine().is_draining() {
            let lost = self.turn.engine_mut().give_up();
            warn!("told to stop a second time: stopped at once, {lost} messages undelivered");
            return Some(Ended::Interrupted);
        }
        if stops > 0 {
            self.begin_drain();
        } else if reload && self.turn.engine().is_draining() {
            warn!("not reloaded: the broker is stopping");
        } else if reload {
            self.reload();
        }
        None
    }

    fn begin_drain(&mut self) {
        let drain = self.config.timeouts.drain;
        info!("told to stop: delivering what was accepted, for {} s at most", drain.as_secs_f64());
        for mut listener in self.listeners.drain(..) {
            // Closing alone would not do: the service manager may hold the same socket open, and
            // then each connection to it would wake us up. That it fails changes nothing else.
            let _ = listener.deregister(self.poll.registry());
        }
        if let Some(link) = &mut self.link {
            link.stop();
        }
        let now = self.clock.now();
        self.turn.engine_mut().shut_down(now);
        self.undelivered = self.turn.engine().stats().undelivered;
        self.drained_by = Some(self.clock.now() + drain);
        let status = format!("draining; {}", figures(self.turn.engine()));
        self.service.stopping(drain, &status, self.clock.real());
    }

    /// Whether draining has come to its end.
    pub(super) fn is_drained(&mut self) -> bool {
        let Some(by) = self.drained_by else {
            return false;
        };
        if self.turn.engine().connections() == 0 {
            self.turn.engine_mut().report_rest(self.clock.now());
            match self.turn.engine().stats().undelivered - self.undelivered {
                0 => info!("drained: everything that was accepted has been delivered"),
                lost => warn!("drained, but {lost} messages were for clients that went away"),
            }
            return true;
        }
        if by > self.clock.now() {
            return false;
        }
        let lost = self.turn.engine_mut().give_up();
        if lost > 0 {
            warn!("the drain time-out has ended: {lost} messages were not delivered");
        } else {
            info!("drained");
        }
        self.end_turn();
        self.turn.engine_mut().report_rest(self.clock.now());
        true
    }

    /// Reads the configuration again. All of it applies, or nothing; no client is disconnected.
    fn reload(&mut self) {
        self.service.reloading(self.clock.real());
        let trouble = self.try_reload().err().map(|errors| {
            for line in errors.to_string().lines() {
                error!("not reloaded: {line}");
            }
            error!("the old settings stay in force; correct that, and send SIGHUP again");
            format!("not reloaded, the old settings are in force: {errors}")
        });
        self.service.reloaded(trouble, &figures(self.turn.engine()), self.clock.real());
    }

    fn try_reload(&mut self) -> Result<(), ConfigErrors> {
        let Some(read) = &self.reload else { return Ok(()) };
        let Reloaded { config, changed, kept } = self.config.reload(&read()?)?;
        let log = Prepared::new(&config.log).map_err(|error| {
            let file = config.log.file.as_deref().unwrap_or("standard error".as_ref());
            ConfigErrors::message(format!("the log {} cannot be opened: {error}", file.display()))
        })?;
        if config.has_secrets() {
            limits::keep_secrets();
        }
        let tls = tls::load(&config.tls, self.tls.as_ref()).map_err(ConfigErrors::message)?;
        let users = config.users()?;
        let plan = link::load(&config).map_err(ConfigErrors::message)?;
        // From here on nothing fails.
        let moved = config.log.file.as_ref().filter(|_| config.log.file != self.config.log.file);
        if let Some(file) = moved {
            info!("the log goes on in {}", file.display());
        }
        log.install_with(|| {
            for change in &changed {
                info!("reloaded: {change}");
            }
            for change in &kept {
                warn!("reloaded, but for {change}: that needs a restart");
            }
            if changed.is_empty() && kept.is_empty() {
                info!("reloaded: no setting has changed");
            }
        });
        limits::raise_descriptors(config.network.max_connections);
        let now = self.clock.now();
        let rules = config.rules_where(self.has_nats());
        self.turn.engine_mut().set_rules(rules, now);
        let watcher = watcher(&config, users.as_ref());
        if self.turn.engine_mut().set_users(users, now) {
            info!("reloaded: the users have changed");
        }
        self.end_turn();
        let is_same = match (&tls, &self.tls) {
            (Some(new), Some(old)) => Rc::ptr_eq(new, old),
            (new, old) => new.is_none() && old.is_none(),
        };
        self.secure(tls);
        if !is_same {
            info!("reloaded: what TLS goes by has changed; it holds for new connections");
            self.turn.sockets_mut().secure(self.tls.clone());
        }
        if let Some(monitor) = &mut self.monitor {
            monitor.ask_for(watcher);
            monitor.note_reload();
        }
        self.config = config;
        self.relink(plan);
        Ok(())
    }

    /// What holds for the link from now on. One that goes by the same is left alone; else it ends,
    /// and the hub is dialled anew.
    pub(super) fn relink(&mut self, plan: Option<Plan>) {
        let plan = match (&mut self.link, plan) {
            (None, None) => return,
            (Some(link), Some(plan)) => match link.adopt(plan) {
                None => return,
                other => other,
            },
            (_, plan) => plan,
        };
        let now = self.clock.now();
        if self.link.take().is_some() {
            info!("link: what it goes by has changed: it ends");
            self.turn.engine_mut().set_link(None, now);
            self.end_turn();
            // What has happened on it until now is of no interest any more.
            drop(self.turn.engine_mut().take_link_events());
        }
        let Some(plan) = plan else { return };
        self.turn.engine_mut().set_link(Some(self.config.link.rules()), now);
        self.end_turn();
        let own = self.listeners.first().map(|listener| match listener.address() {
            Ok(Some(address)) => address.port().to_string(),
            _ => listener.place().unwrap_or_default(),
        });
        let name = Link::usual_name(&own.unwrap_or_default());
        self.link = Some(Link::new(plan, name, now));
    }

    /// Tells the service manager at the end of a turn what is due.
    pub(super) fn tell_service_manager(&mut self) {
        if self.service.is_there() {
            let left = self.drained_by.map(|by| by.saturating_duration_since(self.clock.now()));
            let engine = self.turn.engine();
            let drains = if left.is_some() { "draining; " } else { "" };
            let status = || format!("{drains}{}", figures(engine));
            self.service.end_turn(left, status, self.clock.real());
        }
    }
}

/// The id of this run of the broker, of the shape that NATS tools know: an N and 55 letters and
/// digits. Keys of the hash tables are random, and so is what they make of a number.
fn server_id() -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let state = RandomState::new();
    let letters = (0..55_u64).map(|place| {
        let random = state.hash_one(place) % LETTERS.len() as u64;
        char::from(LETTERS[random as usize])
    });
    std::iter::once('N').chain(letters).collect()
}

/// What goes on, in a line for people.
fn figures(engine: &Engine) -> String {
    let (stats, sizes) = (engine.stats(), engine.index_sizes());
    format!(
        "{} connections, {} subscriptions; {} messages in, {} out, {} dropped; {} KiB held",
        engine.connections(),
        sizes.subscriptions,
        stats.messages_in,
        stats.deliveries,
        stats.dropped,
        engine.memory_held() >> 10,
    )
}
