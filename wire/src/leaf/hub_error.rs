//! The errors that a hub tells: which they are, and what they mean for the link.
//!
//! Owns the texts, as far as they have to be told apart, and the waiting time that servers keep
//! after each. Must not wait or log.

use std::fmt;
use std::time::Duration;

/// What the text of an `-ERR` says, as far as it changes what is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HubError {
    /// The credentials are wrong, missing, expired or revoked; or something was sent in front of
    /// CONNECT.
    Authorization,
    /// CONNECT did not come in time.
    AuthenticationTimeout,
    /// A way leads back from us to the hub.
    LoopDetected,
    /// Another link has joined under the same names, and takes this one's place.
    DuplicateConnection,
    /// The link's cluster has the name of the hub's own.
    SameClusterName,
    /// A message that we may not send, or interest in what we may not have.
    PermissionsViolation,
    /// A message that is larger than the hub takes.
    MaximumPayload,
    /// CONNECT names too old a version.
    MinimumVersion,
    /// We did not answer PING in time.
    Stale,
    /// LS+ for more filters than the hub allows. It does not say which one it has not taken, and
    /// the link stays.
    MaximumSubscriptions,
    /// LS+ for a filter that is none. It does not say which, and the link stays.
    InvalidSubscription,
    /// Any other text. The link is closed behind most of them.
    Other,
}

/// How long to wait before a link is dialled again, as servers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// 1 s, and up to 1 s more by chance.
    Usual,
    /// 5 s: only another version of one side mends it.
    Version,
    /// 30 s: what the link does, or is called, has to change at one of the sides.
    Long,
    /// 30 s, and the log says it each time: the credentials have to change.
    Credentials,
}

impl Wait {
    /// The least time to wait. Up to a second more, by chance, keeps links from dialling together.
    pub const fn least(self) -> Duration {
        Duration::from_secs(match self {
            Wait::Usual => 1,
            Wait::Version => 5,
            Wait::Long | Wait::Credentials => 30,
        })
    }
}

/// What texts hold, in lower case. The first that fits counts.
const TEXTS: [(&[u8], HubError); 18] = [
    (b"permissions violation", HubError::PermissionsViolation),
    (b"loop detected", HubError::LoopDetected),
    (b"authorization violation", HubError::Authorization),
    (b"authentication timeout", HubError::AuthenticationTimeout),
    (b"authentication expired", HubError::Authorization),
    (b"authentication revoked", HubError::Authorization),
    (b"authentication error", HubError::Authorization),
    (b"authentication failure", HubError::Authorization),
    (b"connection type not allowed", HubError::Authorization),
    (b"duplicate remote leafnode connection", HubError::DuplicateConnection),
    (b"same cluster name", HubError::SameClusterName),
    (b"maximum payload", HubError::MaximumPayload),
    (b"minimum version", HubError::MinimumVersion),
    (b"stale connection", HubError::Stale),
    (b"maximum subscriptions", HubError::MaximumSubscriptions),
    (b"maximum account active connections", HubError::Other),
    (b"invalid subscription", HubError::InvalidSubscription),
    (b"invalid subject", HubError::InvalidSubscription),
];
/// Behind which a text may quote names, so that it is looked at no further.
const QUOTE: u8 = b'"';

impl HubError {
    /// Sorts a text, which stands without its single quotes. Upper and lower case are the same, as
    /// servers have changed them. Names that a text quotes are not looked at.
    pub fn of(text: &[u8]) -> HubError {
        let fixed = text.split(|&byte| byte == QUOTE).next().unwrap_or_default();
        let holds =
            |part: &[u8]| fixed.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part));
        TEXTS.iter().find(|(part, _)| holds(part)).map_or(HubError::Other, |&(_, error)| error)
    }

    /// Whether the hub closes the link behind it. Of [`HubError::Other`] nobody knows: whoever
    /// waits for the end goes on if it does not come.
    pub fn closes(self) -> bool {
        !matches!(self, HubError::MaximumSubscriptions | HubError::InvalidSubscription)
    }

    /// How long to wait before the link is dialled again.
    pub fn wait(self) -> Wait {
        match self {
            HubError::Authorization => Wait::Credentials,
            // Servers dial at once behind a duplicate, and two of one name end each other for ever.
            HubError::DuplicateConnection => Wait::Long,
            HubError::LoopDetected | HubError::SameClusterName | HubError::PermissionsViolation => {
                Wait::Long
            }
            HubError::MinimumVersion => Wait::Version,
            HubError::AuthenticationTimeout
            | HubError::MaximumPayload
            | HubError::Stale
            | HubError::MaximumSubscriptions
            | HubError::InvalidSubscription
            | HubError::Other => Wait::Usual,
        }
    }
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HubError::Authorization => "the hub refuses the credentials",
            HubError::AuthenticationTimeout => "CONNECT came too late",
            HubError::LoopDetected => "a way leads back to the hub",
            HubError::DuplicateConnection => "another link has joined under the same names",
            HubError::SameClusterName => "the hub's cluster has the same name",
            HubError::PermissionsViolation => "the hub's permissions were broken",
            HubError::MaximumPayload => "a message was larger than the hub takes",
            HubError::MinimumVersion => "the hub wants a newer version",
            HubError::Stale => "the hub had no answer to PING",
            HubError::MaximumSubscriptions => "the hub takes no more subscriptions",
            HubError::InvalidSubscription => "the hub takes a filter for none",
            HubError::Other => "the hub reports another error",
        })
    }
}

impl std::error::Error for HubError {}

#[cfg(test)]
mod tests {
    use super::*;
    use HubError::*;

    #[test]
    fn texts_of_a_hub_are_sorted() {
        // (as a nats-server 2.15.1 sends it, which, whether the link is closed, the wait)
        let rows = [
            ("Authorization Violation", Authorization, true, Wait::Credentials),
            ("Authentication Timeout", AuthenticationTimeout, true, Wait::Usual),
            (
                "Loop detected for leafnode account=\"$G\". Delaying attempt to reconnect for 30s",
                LoopDetected,
                true,
                Wait::Long,
            ),
            ("Duplicate Remote LeafNode Connection", DuplicateConnection, true, Wait::Long),
            ("remote leafnode has same cluster name", SameClusterName, true, Wait::Long),
            (
                "Permissions Violation for Publish to \"in.secret\"",
                PermissionsViolation,
                true,
                Wait::Long,
            ),
            (
                "Permissions Violation for Subscription to \"forbidden\"",
                PermissionsViolation,
                true,
                Wait::Long,
            ),
            ("Maximum Payload Violation", MaximumPayload, true, Wait::Usual),
            (
                "connection rejected since minimum version required is \"2.8.0\"",
                MinimumVersion,
                true,
                Wait::Version,
            ),
            ("Stale Connection", Stale, true, Wait::Usual),
            ("maximum subscriptions exceeded", MaximumSubscriptions, false, Wait::Usual),
            ("Invalid Subscription", InvalidSubscription, false, Wait::Usual),
            ("Unknown Protocol Operation", Other, true, Wait::Usual),
            ("maximum control line exceeded", Other, true, Wait::Usual),
            ("cluster name cannot contain spaces", Other, true, Wait::Usual),
            ("attempted to connect to leaf node port", Other, true, Wait::Usual),
            (
                "Rejecting connection from gateway \"g\" on the leafnode port",
                Other,
                true,
                Wait::Usual,
            ),
            ("User Authentication Expired", Authorization, true, Wait::Credentials),
            ("User Authentication Revoked", Authorization, true, Wait::Credentials),
            ("maximum connections exceeded", Other, true, Wait::Usual),
            ("maximum account active connections exceeded", Other, true, Wait::Usual),
            ("", Other, true, Wait::Usual),
        ];
        for (text, error, closes, wait) in rows {
            for text in [text.to_owned(), text.to_uppercase(), text.to_lowercase()] {
                let found = HubError::of(text.as_bytes());
                assert_eq!((found, found.closes(), found.wait()), (error, closes, wait), "{text}");
            }
        }
    }

    #[test]
    fn names_in_a_text_are_not_taken_for_the_text() {
        let text = b"Some day: \"loop detected\"";
        assert_eq!(HubError::of(text), Other);
        let text = b"Permissions Violation for Publish to \"stale connection\"";
        assert_eq!(HubError::of(text), PermissionsViolation);
        assert_eq!(HubError::of(b"\xFF\0loop detected"), LoopDetected);
    }

    #[test]
    fn waits_are_those_of_servers() {
        let seconds = |wait: Wait| wait.least().as_secs();
        assert_eq!((seconds(Wait::Usual), seconds(Wait::Version)), (1, 5));
        assert_eq!((seconds(Wait::Long), seconds(Wait::Credentials)), (30, 30));
    }
}
