//! The errors of a client, sorted by their cause: the caller, the broker or the connection.
//!
//! Owns the error types and their texts. Which error it is is decided where it is detected.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use wire::native::error_code::ErrorCode;
use wire::native::frame;
use wire::topic::TopicError;

/// What GOODBYE means, whatever reason the broker gives; most give just this.
const SHUTTING_DOWN: &str = "the broker is shutting down";

/// Why a call of this library failed.
///
/// [`is_final`](ClientError::is_final) tells whether the connection has ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ClientError {
    /// The caller: an option, such as the client id, breaks the rules of the protocol.
    Option(String),
    /// The caller: a topic, a filter or the name of a queue group breaks the grammar. Nothing was
    /// sent. Its source is the reason.
    Topic {
        /// What was given.
        given: String,
        /// The rule that it breaks.
        reason: TopicError,
    },
    /// The caller: a payload is larger than the broker takes. Nothing was sent.
    TooLarge {
        /// Bytes of the payload.
        bytes: usize,
        /// The broker's limit, in bytes.
        limit: usize,
    },
    /// The name of the broker's host could not be turned into an address. Its source is the
    /// operating system's error.
    Resolve(Arc<io::Error>),
    /// No address of the broker could be connected to.
    Connect(Vec<Attempt>),
    /// The Unix socket of the broker could not be connected to.
    Socket {
        /// Its path.
        path: PathBuf,
        /// Why not.
        error: Arc<io::Error>,
    },
    /// TLS failed: the broker is not to be trusted, does not trust us, or speaks none.
    Tls(String),
    /// The broker refused some of the requests. The connection stays open.
    Refused(Vec<Refusal>),
    /// The broker ended the connection and said why.
    ClosedByBroker(Refusal),
    /// The broker is shutting down; the text is its reason.
    Goodbye(String),
    /// The connection ended without a reason from the broker.
    Disconnected,
    /// The broker sent something that the protocol does not allow.
    Protocol(String),
    /// Nothing arrived within the time-out; the text says what was waited for.
    TimedOut(&'static str),
    /// So many messages were not delivered to this subscriber (overflow policy `drop`).
    Lost(u64),
    /// The operating system failed to read or write. Its source is the system's error.
    Io(Arc<io::Error>),
}

/// A failed attempt to connect to an address.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Attempt {
    /// The address.
    pub address: SocketAddr,
    /// Why it could not be connected to.
    pub error: Arc<io::Error>,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.error)
    }
}

impl ClientError {
    /// Whether the connection can no longer be used, or was never established.
    pub fn is_final(&self) -> bool {
        !matches!(
            self,
            ClientError::Topic { .. }
                | ClientError::TooLarge { .. }
                | ClientError::Refused(_)
                | ClientError::TimedOut(_)
                | ClientError::Lost(_)
        )
    }

    /// Whether connecting again later may succeed: the broker may not have started yet, or may be
    /// restarted. `false` when it would only refuse the same thing again.
    pub fn is_worth_a_retry(&self) -> bool {
        match self {
            ClientError::Resolve(_)
            | ClientError::Connect(_)
            | ClientError::Socket { .. }
            | ClientError::Goodbye(_)
            | ClientError::Disconnected
            | ClientError::TimedOut(_)
            | ClientError::Io(_) => true,
            ClientError::ClosedByBroker(refusal) => matches!(
                refusal.known_code(),
                Some(ErrorCode::TooMany | ErrorCode::SlowConsumer | ErrorCode::Timeout)
            ),
            _ => false,
        }
    }

    pub(crate) fn malformed(what: impl fmt::Display) -> ClientError {
        ClientError::Protocol(what.to_string())
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected => ClientError::Disconnected,
            // Only TLS tells that what came is not valid.
            io::ErrorKind::InvalidData => ClientError::Tls(error.to_string()),
            _ => ClientError::Io(Arc::new(error)),
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Option(text) => f.write_str(text),
            // The source is not repeated here: callers that print an error print its sources
            // after it.
            ClientError::Topic { given, .. } => write!(f, "{given:?} cannot be used"),
            ClientError::TooLarge { bytes, limit } => write!(
                f,
                "the payload of {bytes} bytes is over the broker's limit of {limit} bytes"
            ),
            ClientError::Resolve(_) => f.write_str("the broker's host is not known"),
            ClientError::Connect(attempts) => {
                f.write_str("cannot connect")?;
                for (position, attempt) in attempts.iter().enumerate() {
                    let separator = if position == 0 { " to" } else { "; nor to" };
                    write!(f, "{separator} {attempt}")?;
                }
                Ok(())
            }
            ClientError::Socket { path, error } => {
                write!(f, "cannot connect to {}: {error}", path.display())
            }
            ClientError::Tls(text) => write!(f, "TLS failed: {text}"),
            ClientError::Refused(refusals) => {
                for (position, refusal) in refusals.iter().enumerate() {
                    let separator = if position == 0 { "" } else { "; " };
                    write!(f, "{separator}{refusal}")?;
                }
                Ok(())
            }
            ClientError::ClosedByBroker(refusal) => {
                write!(f, "the broker closed the connection: {refusal}")
            }
            ClientError::Goodbye(reason) if reason.is_empty() || reason == SHUTTING_DOWN => {
                f.write_str(SHUTTING_DOWN)
            }
            ClientError::Goodbye(reason) => write!(f, "{SHUTTING_DOWN}: {reason}"),
            ClientError::Disconnected => f.write_str("the connection to the broker was lost"),
            ClientError::Protocol(text) => {
                write!(f, "what answers there does not speak the protocol: {text}")
            }
            ClientError::TimedOut(what) => write!(f, "timed out while waiting for {what}"),
            ClientError::Lost(count) => write!(f, "the broker dropped {count} messages"),
            ClientError::Io(_) => f.write_str("the connection failed"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ClientError::Topic { reason, .. } => Some(reason),
            ClientError::Resolve(error) | ClientError::Io(error) => Some(error.as_ref()),
            _ => None,
        }
    }
}

/// What the broker refused, and why: an ERROR frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The number of the error, as in [`ErrorCode::code`].
    pub code: u16,
    /// What it is about: a topic, a filter, or empty.
    pub about: String,
    /// The broker's text for a person.
    pub text: String,
}

impl Refusal {
    /// The error's name, if this version of the protocol knows the number.
    pub fn known_code(&self) -> Option<ErrorCode> {
        ErrorCode::from_code(self.code)
    }

    /// Reads topic and body of an ERROR frame.
    pub(crate) fn parse(about: &[u8], body: &[u8]) -> Result<Refusal, ClientError> {
        let (code, text) = frame::decode_error(body)
            .ok_or_else(|| ClientError::malformed("an ERROR frame without a code"))?;
        Ok(Refusal {
            code,
            about: String::from_utf8_lossy(about).into_owned(),
            text: String::from_utf8_lossy(text).into_owned(),
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known_code() {
            Some(code) => write!(f, "{code}")?,
            None => write!(f, "error {}", self.code)?,
        }
        if !self.about.is_empty() {
            write!(f, " ({})", self.about)?;
        }
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goodbye_is_said_once() {
        for reason in ["", SHUTTING_DOWN] {
            assert_eq!(ClientError::Goodbye(reason.to_owned()).to_string(), SHUTTING_DOWN);
        }
        let reason = ClientError::Goodbye("upgrade".to_owned()).to_string();
        assert_eq!(reason, "the broker is shutting down: upgrade");
    }

    #[test]
    fn a_source_is_not_printed_as_well() {
        let io = || Arc::new(io::Error::other("no route"));
        let (given, reason) = ("a..b".to_owned(), TopicError::EmptyToken);
        for error in [
            ClientError::Topic { given, reason },
            ClientError::Resolve(io()),
            ClientError::Io(io()),
        ] {
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(!error.to_string().contains(&source), "{error}");
        }
    }

    #[test]
    fn refusals_name_code_subject_and_reason() {
        let refusal = Refusal::parse(b"a..b", b"\x00\x03an empty token").unwrap();
        assert_eq!(refusal.known_code(), Some(ErrorCode::BadTopic));
        assert_eq!(refusal.to_string(), "BAD_TOPIC (a..b): an empty token");
        let unknown = Refusal::parse(b"", b"\x01\x00").unwrap();
        assert_eq!(unknown.to_string(), "error 256");
        assert!(matches!(Refusal::parse(b"", b"\x01"), Err(ClientError::Protocol(_))));
    }

    #[test]
    fn a_broker_that_would_refuse_again_is_not_worth_a_retry() {
        let closed = |code: ErrorCode| {
            ClientError::ClosedByBroker(Refusal {
                code: code.code(),
                about: String::new(),
                text: String::new(),
            })
        };
        assert!(closed(ErrorCode::SlowConsumer).is_worth_a_retry());
        assert!(ClientError::Goodbye(String::new()).is_worth_a_retry());
        assert!(!closed(ErrorCode::Unauthorized).is_worth_a_retry());
        assert!(!ClientError::Option(String::new()).is_worth_a_retry());
    }
}
