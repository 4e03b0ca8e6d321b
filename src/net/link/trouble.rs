//! Why there is no link, in words for people: what happened, and what to do about it.
//!
//! Owns the words. Must not log them.

use std::fmt;
use std::io;

use wire::leaf::hub_error::{HubError, Wait};

use super::plan::NO_ROOTS;
use crate::engine::close_reason::CloseReason;

/// Characters of an error of the hub that are shown.
const MAX_SHOWN: usize = 200;
/// A step of an attempt that is waited for: a connection.
pub(super) const CONNECTION: &str = "a connection";
/// The same: the hub's first line.
pub(super) const INFO: &str = "INFO";

/// Why an attempt was in vain, or the link has ended.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The name of the server was not found.
    Name(io::Error),
    /// The look-up of another name does not end.
    NameServer,
    /// No address could be connected to.
    Connect(io::Error),
    /// The time for an attempt was over while this was waited for.
    Late(&'static str),
    /// The connection ended while this was waited for.
    Closed(&'static str, Option<io::Error>),
    /// What came in place of INFO is no line of a hub.
    NoLine,
    /// What came is a line, and no INFO; or an INFO that cannot be read.
    NoInfo,
    /// The INFO is longer than a line may be.
    LongLine,
    /// The port is one for clients, or for servers.
    WrongPort,
    /// The hub's cluster is called as that of the broker.
    SameCluster(String),
    /// The hub takes no headers.
    NoHeaders,
    /// The hub asks for TLS, and the settings forbid it.
    TlsWanted,
    /// The hub does not ask for TLS, and the settings do.
    TlsUnwanted,
    /// The machine trusts nobody.
    NoRoots,
    /// The server's host is no name that a certificate can be for.
    TlsName(String),
    /// What TLS has against the hub, or the hub against us.
    Tls(io::Error),
    /// The hub asks for no signature, and the broker has nothing but one.
    NoNonce,
    /// The hub has told an error.
    Hub(String, HubError),
    /// The link has ended without a word of the hub.
    Ended(CloseReason),
}

impl Trouble {
    /// An error that the hub has told, in its words.
    pub(super) fn hub(text: &[u8], error: HubError) -> Trouble {
        let mut text = String::from_utf8_lossy(text).escape_debug().to_string();
        if let Some((end, _)) = text.char_indices().nth(MAX_SHOWN) {
            text.truncate(end);
            text.push_str("..");
        }
        Trouble::Hub(text, error)
    }

    /// How long to wait at least, if the hub has said something that asks for it.
    pub(super) fn asks_for(&self) -> Option<Wait> {
        match self {
            Trouble::Hub(_, error) => Some(error.wait()),
            Trouble::SameCluster(_) => Some(HubError::SameClusterName.wait()),
            Trouble::Ended(CloseReason::LoopDetected) => Some(HubError::LoopDetected.wait()),
            _ => None,
        }
    }

    /// What an operator can do about it; empty: nothing is to be done, or nobody knows what.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Trouble::Name(_) | Trouble::NameServer => {
                "check [link] servers and the machine's name server"
            }
            Trouble::Connect(_) | Trouble::Late(CONNECTION) => {
                "check [link] servers, and that a hub with leafnodes { listen: .. } runs there"
            }
            Trouble::Late(INFO) => {
                "is it a hub's port for leaf nodes? One with handshake_first needs \
                 [link] tls_first = yes"
            }
            Trouble::NoLine | Trouble::NoInfo | Trouble::LongLine => {
                "is it a hub's port for leaf nodes, usually 7422?"
            }
            Trouble::WrongPort => {
                "name the port of leafnodes { listen: .. } in the hub's configuration, usually 7422"
            }
            Trouble::SameCluster(_) | Trouble::Hub(_, HubError::SameClusterName) => {
                "give [link] cluster another name than the hub's cluster has"
            }
            Trouble::TlsWanted => "set [link] tls = auto, and [link] ca to the roots of the hub",
            Trouble::TlsUnwanted => {
                "set up leafnodes { tls { .. } } at the hub, or set [link] tls = auto"
            }
            Trouble::NoRoots => "set [link] ca",
            Trouble::TlsName(_) => "name the server in [link] servers as its certificate does",
            Trouble::Tls(_) | Trouble::Ended(CloseReason::TlsFailed) => {
                "check the hub's certificate, [link] ca, and if the hub wants one, [link] \
                 certificate"
            }
            Trouble::NoNonce => {
                "set up the hub for nkeys or JWTs, or use [link] user and secret_file"
            }
            Trouble::Hub(_, error) => advice_on(*error),
            Trouble::Ended(CloseReason::LoopDetected) => advice_on(HubError::LoopDetected),
            _ => "",
        }
    }
}

fn advice_on(error: HubError) -> &'static str {
    match error {
        HubError::Authorization => {
            "check [link] user, secret_file, nkey_file and credentials against the hub's users"
        }
        HubError::LoopDetected => {
            "what it sends would come back: brokers on such a way need the same [link] cluster"
        }
        HubError::DuplicateConnection => "give each broker a [link] name of its own",
        HubError::PermissionsViolation => {
            "[link] export and import allow what the hub's permissions do not: narrow them"
        }
        HubError::MinimumVersion => "lower leafnodes { min_version: .. } at the hub",
        _ => "",
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Name(error) => write!(f, "its name was not found: {error}"),
            Trouble::NameServer => f.write_str("the look-up of another name does not end"),
            Trouble::Connect(error) => write!(f, "no connection: {error}"),
            Trouble::Late(what) => write!(f, "{what} did not come in time"),
            Trouble::Closed(what, None) => write!(f, "it closed the connection, no {what} came"),
            Trouble::Closed(what, Some(error)) => write!(f, "no {what} came: {error}"),
            Trouble::NoLine => f.write_str("what it says is no line of a hub"),
            Trouble::NoInfo => f.write_str("what it says is no INFO of a hub"),
            Trouble::LongLine => f.write_str("its first line does not end"),
            Trouble::WrongPort => {
                f.write_str("this is a NATS server's port for clients or servers, not leaf nodes")
            }
            Trouble::SameCluster(name) => write!(f, "the hub's cluster is called {name}, too"),
            Trouble::NoHeaders => f.write_str("the hub takes no headers"),
            Trouble::TlsWanted => f.write_str("the hub wants TLS, and [link] tls = no"),
            Trouble::TlsUnwanted => f.write_str("the hub has no TLS, and [link] tls = yes"),
            Trouble::NoRoots => f.write_str(NO_ROOTS),
            Trouble::TlsName(host) => write!(f, "no certificate can be for the host {host:?}"),
            Trouble::Tls(error) => write!(f, "TLS: {error}"),
            Trouble::NoNonce => f.write_str("the hub gives nothing to sign"),
            Trouble::Hub(text, error) => write!(f, "{error}: '{text}'"),
            Trouble::Ended(reason) => f.write_str(ended(*reason)),
        }
    }
}

/// The end of a link, in which the hub is the peer.
fn ended(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::ClientClosed => "the hub has closed the connection",
        CloseReason::ConnectionLost => "the connection broke",
        CloseReason::HeartbeatTimeout => "the hub gives no sign of life",
        CloseReason::HelloTimeout => "the hub did not answer in time",
        CloseReason::TlsFailed => "the hub ends TLS, or what it sends is none",
        CloseReason::SlowConsumer => "the hub takes too little",
        CloseReason::LoopDetected => "what is sent to the hub comes back by another way",
        CloseReason::TooLarge => "the hub sent a message that is too large",
        CloseReason::LineTooLong => "the hub sent a line that is too long",
        CloseReason::Malformed | CloseReason::UnknownOperation => {
            "the hub sent what is no line of a link"
        }
        other => other.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_hub_says_is_quoted_and_bounded() {
        let trouble = Trouble::hub(b"Authorization Violation", HubError::Authorization);
        let text = "the hub refuses the credentials: 'Authorization Violation'";
        assert_eq!(trouble.to_string(), text);
        assert_eq!(trouble.asks_for(), Some(Wait::Credentials));
        assert!(trouble.advice().contains("secret_file"));
        let odd = Trouble::hub(&[b"\x1b[2J\n\xff", &[b'x'; 9_000][..]].concat(), HubError::Other);
        let text = odd.to_string();
        assert!(text.len() < 300 && !text.contains(char::is_control), "{text}");
    }

    #[test]
    fn what_the_hub_does_not_give_a_reason_for_waits_as_usual() {
        let closed = Trouble::Ended(CloseReason::ClientClosed);
        assert_eq!(closed.to_string(), "the hub has closed the connection");
        assert_eq!((closed.asks_for(), closed.advice()), (None, ""));
        assert_eq!(Trouble::SameCluster("c".into()).asks_for(), Some(Wait::Long));
        let circle = Trouble::Ended(CloseReason::LoopDetected);
        assert!(circle.asks_for() == Some(Wait::Long) && circle.advice().contains("cluster"));
    }
}
