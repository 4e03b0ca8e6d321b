//! The service manager (systemd): what it is told, and its watchdog; sd_notify(3).
//!
//! Owns the socket to it and when something is due. Must not know what the broker does, nor ever
//! wait: a service manager that does not listen is no reason to keep clients waiting. Without
//! NOTIFY_SOCKET there is nothing here, and nothing is done.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use log::warn;
use sd_notify::NotifyState;

/// The shortest time between two lines of live figures.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// How much more time a drain asks for at once, and it asks again in half of that: a process
/// that is stuck in a long drain must not be waited for to its end.
const EXTENSION: Duration = Duration::from_secs(20);
/// What comes behind the drain: closing, ending.
const MARGIN: Duration = Duration::from_secs(5);
/// When to try again what the service manager's socket had no room for.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Bytes of a status. systemd ignores a whole message beyond 4,096 bytes, with the sign of life or
/// the READY=1 that is in it; people look at the first line of it anyway.
const MAX_STATUS: usize = 1 << 10;
/// Messages that may wait for room; beyond it the oldest is forgotten.
const MAX_UNSENT: usize = 16;

/// The service manager, if there is one that wants to hear from us.
pub(super) struct ServiceManager(Option<Link>);

struct Link {
    /// Open from the start on: when descriptors run out it is needed most.
    socket: UnixDatagram,
    address: SocketAddr,
    unsent: VecDeque<String>,
    retry_at: Option<Instant>,
    has_failed: bool,
    /// Half of the watchdog's interval, and when a sign of life is due.
    watchdog: Option<(Duration, Instant)>,
    /// When to ask for more time to drain.
    extend_at: Option<Instant>,
    status: String,
    status_at: Instant,
    /// What people must see until it is over.
    trouble: Option<String>,
}

impl ServiceManager {
    /// None.
    pub(super) fn none() -> ServiceManager {
        ServiceManager(None)
    }

    /// The one that the environment names.
    pub(super) fn from_environment(now: Instant) -> ServiceManager {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return ServiceManager(None);
        };
        // An interval of nothing would be a loop that does nothing else.
        let interval = sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero());
        match open(name.as_bytes()) {
            Ok((socket, address)) => ServiceManager(Some(Link {
                socket,
                address,
                unsent: VecDeque::new(),
                retry_at: None,
                has_failed: false,
                watchdog: interval.map(|interval| (interval / 2, now + interval / 2)),
                extend_at: None,
                status: String::new(),
                status_at: now,
                trouble: None,
            })),
            Err(error) => {
                warn!("cannot talk to the service manager at {}: {error}", name.display());
                ServiceManager(None)
            }
        }
    }

    /// Whether there is one.
    pub(super) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Everything is set up; `status` is for people.
    pub(super) fn ready(&mut self, status: &str, now: Instant) {
        if let Some(link) = &mut self.0 {
            let status = link.new_status(status, now);
            link.tell(&[NotifyState::Ready, NotifyState::Status(&status)], now);
        }
    }

    /// The configuration is about to be read again. [`reloaded`](Self::reloaded) must follow.
    pub(super) fn reloading(&mut self, now: Instant) {
        if let Some(link) = &mut self.0 {
            // Both in one datagram, or the service manager would miss the time of the first. That
            // this clock cannot be read does not happen.
            let time = NotifyState::monotonic_usec_now().unwrap_or(NotifyState::MonotonicUsec(0));
            link.tell(&[NotifyState::Reloading, time], now);
        }
    }

    /// It was read, or not: `trouble` stays in the status until the next time.
    pub(super) fn reloaded(&mut self, trouble: Option<String>, status: &str, now: Instant) {
        if let Some(link) = &mut self.0 {
            link.trouble = trouble;
        }
        self.ready(status, now);
    }

    /// Draining begins and takes up to `left`.
    pub(super) fn stopping(&mut self, left: Duration, status: &str, now: Instant) {
        if let Some(link) = &mut self.0 {
            link.trouble = None;
            let status = link.new_status(status, now);
            let extension = link.extension(left, now);
            link.tell(&[NotifyState::Stopping, extension, NotifyState::Status(&status)], now);
        }
    }

    /// The broker cannot start; the process is about to end.
    pub(super) fn failed(&mut self, reason: &str, now: Instant) {
        if let Some(link) = &mut self.0 {
            let status = link.new_status(&shortened(reason, MAX_STATUS), now);
            link.tell(&[NotifyState::Status(&status)], now);
        }
    }

    /// When to end a turn next, though nothing else happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let link = self.0.as_ref()?;
        let sign_of_life = link.watchdog.map(|(_, due)| due);
        [sign_of_life, link.extend_at, link.retry_at].into_iter().flatten().min()
    }

    /// Tells what is due at the end of a turn: a sign of life, more time if the drain has time
    /// `left`, and figures if the last ones are old and were others. They are no reason to wake up.
    pub(super) fn end_turn(
        &mut self,
        left: Option<Duration>,
        figures: impl FnOnce() -> String,
        now: Instant,
    ) {
        let Some(link) = &mut self.0 else { return };
        let mut states = Vec::new();
        if let Some((half, due)) = &mut link.watchdog
            && *due <= now
        {
            *due = now + *half;
            states.push(NotifyState::Watchdog);
        }
        if let Some(left) = left
            && link.extend_at.is_some_and(|at| at <= now)
        {
            states.push(link.extension(left, now));
        }
        let status;
        if link.status_at + STATUS_EVERY <= now {
            let before = std::mem::take(&mut link.status);
            status = link.new_status(&figures(), now);
            if status != before {
                states.push(NotifyState::Status(&status));
            }
        }
        if !states.is_empty() {
            link.tell(&states, now);
        } else if link.retry_at.is_some_and(|at| at <= now) {
            link.send_unsent(now);
        }
    }
}

impl Link {
    /// A line for people, with the trouble that there is.
    fn new_status(&mut self, text: &str, now: Instant) -> String {
        let mut status = text.to_owned();
        if let Some(trouble) = &self.trouble {
            let room = MAX_STATUS.saturating_sub(text.len());
            status = format!("{}; {text}", shortened(trouble, room));
        }
        // A line feed would begin another message.
        self.status = status.replace('\n', "; ");
        self.status_at = now;
        self.status.clone()
    }

    /// Asks for time until the drain must have ended, or for a part of it and again later.
    fn extension(&mut self, left: Duration, now: Instant) -> NotifyState<'static> {
        self.extend_at = (left > EXTENSION).then(|| now + EXTENSION / 2);
        let time = (left.min(EXTENSION) + MARGIN).as_micros();
        // EXTENSION + MARGIN are far less than 2^32 microseconds.
        NotifyState::ExtendTimeoutUsec(time as u32)
    }

    fn tell(&mut self, states: &[NotifyState<'_>], now: Instant) {
        let message: String = states.iter().map(|state| format!("{state}\n")).collect();
        if self.unsent.len() == MAX_UNSENT {
            self.unsent.pop_front();
        }
        self.unsent.push_back(message);
        self.send_unsent(now);
    }

    fn send_unsent(&mut self, now: Instant) {
        self.retry_at = None;
        while let Some(message) = self.unsent.front() {
            match self.socket.send_to_addr(message.as_bytes(), &self.address) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if is_full(&error) => {
                    self.retry_at = Some(now + RETRY_AFTER);
                    return;
                }
                Err(error) if !self.has_failed => {
                    self.has_failed = true;
                    warn!("the service manager cannot be told: {error}");
                }
                Err(_) => {}
                Ok(_) => self.has_failed = false,
            }
            self.unsent.pop_front();
        }
    }
}

/// The text, or as much of its beginning as there is room for; the log has all of it.
fn shortened(text: &str, room: usize) -> Cow<'_, str> {
    // Each line feed becomes two characters.
    if text.len() + text.matches('\n').count() <= room {
        return text.into();
    }
    let mut end = room / 2;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}... (more in the log)", &text[..end]).into()
}

/// A path, or an abstract name behind `@`.
fn open(name: &[u8]) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "no path and no @name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// There is no room now, and will be.
fn is_full(error: &io::Error) -> bool {
    const ENOBUFS: i32 = 105;
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(ENOBUFS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_of_any_length_fits_into_a_message() {
        assert_eq!(shortened("one\ntwo", 100), "one\ntwo");
        for text in ["x".repeat(100_000), "\n".repeat(100_000), "\u{1f980}".repeat(100_000)] {
            let short = shortened(&text, MAX_STATUS).replace('\n', "; ");
            assert!(short.len() <= MAX_STATUS + 32, "{}", short.len());
            assert!(short.ends_with("... (more in the log)"), "{short}");
        }
    }
}
