//! A fake service manager: the socket that NOTIFY_SOCKET names, and its messages.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// Receives notifications.
pub(crate) struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    /// With an abstract name, which no path can be too long for.
    pub(crate) fn new() -> Manager {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("broker-test-{}-{number}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("the name is short");
        let socket = UnixDatagram::bind_addr(&address).expect("nobody else has this name");
        Manager { socket, name: format!("@{name}") }
    }

    /// Sets the environment of a command for this manager.
    pub(crate) fn watch<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("NOTIFY_SOCKET", &self.name)
    }

    /// The next message, if one comes in this time.
    pub(crate) fn next(&self, within: Duration) -> Option<String> {
        // A time-out of zero would be none at all.
        let within = within.max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(within)).expect("a socket takes its options");
        let mut bytes = [0; 8_192];
        let count = self.socket.recv(&mut bytes).ok()?;
        assert!(count < 4_096, "a message of {count} bytes: systemd ignores it");
        Some(String::from_utf8(bytes[..count].to_vec()).expect("messages are text"))
    }

    /// Waits for a message with such a line; the ones before it are skipped.
    pub(crate) fn wait_for(&self, line: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut skipped = Vec::new();
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            if let Some(message) = self.next(left) {
                if message.lines().any(|found| found.starts_with(line)) {
                    return message;
                }
                skipped.push(message);
            }
        }
        panic!("waited in vain for {line} in {skipped:?}");
    }

    /// How many messages have arrived and not been read.
    pub(crate) fn skip(&self) -> usize {
        let mut count = 0;
        while self.next(Duration::ZERO).is_some() {
            count += 1;
        }
        count
    }
}

/// The value of `key=` in a message.
pub(crate) fn value<'a>(message: &'a str, key: &str) -> Option<&'a str> {
    message.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}
