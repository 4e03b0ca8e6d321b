//! The sending side of a subscriber: what to receive, and what no longer.
//!
//! Owns the checks of filters and groups. Never reads, so it may be used while another thread does.

use std::sync::Arc;

use wire::native::frame::{self, Kind};
use wire::topic::{TopicError, validate_filter, validate_group};

use crate::error::ClientError;
use crate::link::Link;

/// The sending side of a [`Subscriber`](crate::Subscriber), for use in other threads while one
/// receives.
#[derive(Debug, Clone)]
pub struct Subscriptions {
    pub(crate) link: Arc<Link>,
}

impl Subscriptions {
    /// Asks for messages, as [`Subscriber::subscribe`](crate::Subscriber::subscribe) does. The
    /// subscriber gets the refusal, if there is one, as an event.
    ///
    /// # Errors
    /// `Topic`: nothing was sent. Otherwise the reason why the connection is over.
    pub fn subscribe(&self, filter: &str, group: Option<&str>) -> Result<(), ClientError> {
        self.ask(Kind::Subscribe, filter, group)
    }

    /// Ends a subscription, as [`Subscriber::unsubscribe`](crate::Subscriber::unsubscribe) does.
    ///
    /// # Errors
    /// As [`subscribe`](Subscriptions::subscribe).
    pub fn unsubscribe(&self, filter: &str, group: Option<&str>) -> Result<(), ClientError> {
        self.ask(Kind::Unsubscribe, filter, group)
    }

    /// Ends the connection. The subscriber gets what has arrived, then `Disconnected`.
    pub fn close(&self) {
        self.link.close();
    }

    fn ask(&self, kind: Kind, filter: &str, group: Option<&str>) -> Result<(), ClientError> {
        let wrong = |given: &str, reason: TopicError| ClientError::Topic {
            given: given.to_owned(),
            reason,
        };
        validate_filter(filter.as_bytes()).map_err(|reason| wrong(filter, reason))?;
        if let Some(group) = group {
            validate_group(group.as_bytes()).map_err(|reason| wrong(group, reason))?;
        }
        let group = group.unwrap_or_default();
        self.send(kind, filter.as_bytes(), group.as_bytes())
    }

    /// Sends one frame; waits as long as the broker does not read.
    pub(crate) fn send(&self, kind: Kind, topic: &[u8], body: &[u8]) -> Result<(), ClientError> {
        let mut bytes = Vec::new();
        frame::encode(kind, 0, topic, body, &mut bytes);
        Ok(self.link.send(&bytes)?)
    }
}
