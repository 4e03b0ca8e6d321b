//! How a client connects: its id, its local port, its time-outs, its credentials.
//!
//! Owns the settings and their limits; does not connect.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use wire::native::handshake::{Hello, MAX_HELLO_BODY, MAX_ID_BYTES};

use crate::error::ClientError;
#[cfg(feature = "tls")]
use crate::tls::{Secrets, Tls};

/// How to connect. The defaults: no id, any local port, 10 s to connect, no time-out for answers,
/// no credentials.
///
/// ```
/// use std::time::Duration;
/// use pubsub_client::ConnectOptions;
///
/// let options = ConnectOptions::new()
///     .id("sensor-7")
///     .connect_timeout(Duration::from_secs(3))
///     .read_timeout(Duration::from_secs(30));
/// # let _ = options;
/// ```
#[derive(Clone)]
pub struct ConnectOptions {
    pub(crate) id: String,
    pub(crate) local_port: u16,
    pub(crate) connect_timeout: Duration,
    pub(crate) read_timeout: Option<Duration>,
    pub(crate) unix_socket: Option<PathBuf>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Secrets>,
    user: Option<String>,
    secret: Option<String>,
}

impl ConnectOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> ConnectOptions {
        ConnectOptions {
            id: String::new(),
            local_port: 0,
            connect_timeout: Duration::from_secs(10),
            read_timeout: None,
            unix_socket: None,
            #[cfg(feature = "tls")]
            tls: None,
            user: None,
            secret: None,
        }
    }

    /// The client's id: 0 to 255 bytes, no control characters. Several clients may share one.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> ConnectOptions {
        self.id = id.into();
        self
    }

    /// The local port that the connection is made from; 0: any that is free.
    #[must_use]
    pub fn local_port(mut self, port: u16) -> ConnectOptions {
        self.local_port = port;
        self
    }

    /// The longest that connecting to one address, or the broker's welcome, may take.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> ConnectOptions {
        self.connect_timeout = timeout;
        self
    }

    /// The longest that [`flush`](crate::Publisher::flush), [`confirm`](crate::Subscriber::confirm)
    /// and [`next_event`](crate::Subscriber::next_event) wait for the broker. A publisher that the
    /// broker holds back, because its subscribers are slow, waits just as long.
    #[must_use]
    pub fn read_timeout(mut self, timeout: Duration) -> ConnectOptions {
        self.read_timeout = Some(timeout);
        self
    }

    /// The user to say that one is, without a secret: for a broker that knows it otherwise, such as
    /// by a client certificate. No line break.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> ConnectOptions {
        self.user = Some(user.into());
        self.secret = None;
        self
    }

    /// The Unix socket of a broker on this machine; an address is not connected to then.
    #[must_use]
    pub fn unix_socket(mut self, path: impl Into<PathBuf>) -> ConnectOptions {
        self.unix_socket = Some(path.into());
        self
    }

    /// Connects to addresses in TLS; Unix sockets have no need of it. The files are read now.
    ///
    /// # Errors
    /// `Option`: what is wrong with which file.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: &Tls) -> Result<ConnectOptions, ClientError> {
        self.tls = Some(tls.load()?);
        Ok(self)
    }

    /// Until when the broker has to have answered. A time-out beyond the range of the clock is
    /// none.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.connect_timeout)
    }

    /// The user and the secret to show to the broker. Neither may hold a line break.
    #[must_use]
    pub fn credentials(
        mut self,
        user: impl Into<String>,
        secret: impl Into<String>,
    ) -> ConnectOptions {
        self.user = Some(user.into());
        self.secret = Some(secret.into());
        self
    }

    /// Checks that the options can be sent to the broker: lengths and characters.
    ///
    /// # Errors
    /// `Option`, as connecting would fail, but before anything is connected to.
    pub fn validate(&self) -> Result<(), ClientError> {
        self.hello().map(drop)
    }

    /// The HELLO frame with these options.
    pub(crate) fn hello(&self) -> Result<Vec<u8>, ClientError> {
        if self.id.len() > MAX_ID_BYTES || self.id.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(ClientError::Option(format!(
                "the client id {:?} cannot be used: at most {MAX_ID_BYTES} bytes, \
                 no control characters",
                self.id
            )));
        }
        let credentials = [&self.user, &self.secret];
        if credentials.into_iter().flatten().any(|text| text.contains('\n')) {
            let text = "user and secret cannot hold a line break";
            return Err(ClientError::Option(text.to_owned()));
        }
        let hello =
            Hello { id: &self.id, user: self.user.as_deref(), secret: self.secret.as_deref() };
        let mut frame = Vec::new();
        hello.encode(&mut frame);
        if frame.len() > MAX_HELLO_BODY {
            let text = "id, user and secret are too long together (about 3,800 bytes)";
            return Err(ClientError::Option(text.to_owned()));
        }
        Ok(frame)
    }
}

impl Default for ConnectOptions {
    fn default() -> ConnectOptions {
        ConnectOptions::new()
    }
}

// Written by hand so that no secret ends up in a log.
impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("id", &self.id)
            .field("local_port", &self.local_port)
            .field("connect_timeout", &self.connect_timeout)
            .field("read_timeout", &self.read_timeout)
            .field("unix_socket", &self.unix_socket)
            .field("user", &self.user)
            .field("secret", &self.secret.as_ref().map(|_| "***"))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_is_refused_before_the_broker_would_refuse_it() {
        let new = ConnectOptions::new;
        assert!(new().id("x".repeat(255)).hello().is_ok());
        let bad = [
            new().id("x".repeat(256)),
            new().id("a\nb"),
            new().credentials("u\nversion=2", "s"),
            new().user("u\nsecret=x"),
            new().credentials("u", "s".repeat(5_000)),
        ];
        for options in bad {
            assert!(matches!(options.hello(), Err(ClientError::Option(_))), "{options:?}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", ConnectOptions::new().credentials("ann", "hush"));
        assert!(shown.contains("ann") && !shown.contains("hush"), "{shown}");
    }
}
