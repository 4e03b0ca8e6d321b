//! A subscriber that outlives its connection.
//!
//! Owns its subscriptions, which are made again on the next connection. Messages published in
//! between are lost, and the loss is reported.

use std::time::Instant;

use crate::connection::Welcome;
use crate::error::ClientError;
use crate::event::{Event, Gap};
use crate::subscriber::Subscriber;

use super::Place;

/// A [`Subscriber`] that connects and subscribes again when its connection is lost, made by
/// [`Reconnect::subscriber`](crate::Reconnect::subscriber).
///
/// Brokers keep no messages: those that were published while there was no connection are missing.
/// [`Event::Reconnected`] says where.
#[derive(Debug)]
pub struct ReconnectingSubscriber {
    place: Place,
    subscriber: Subscriber,
    wanted: Vec<Subscription>,
    /// What is to be told before the next event.
    gap: Option<Gap>,
}

#[derive(Debug, PartialEq, Eq)]
struct Subscription {
    filter: String,
    group: Option<String>,
}

impl ReconnectingSubscriber {
    pub(super) fn connect(place: Place) -> Result<ReconnectingSubscriber, ClientError> {
        let subscriber = place.reach(None, |to, options| Subscriber::connect_with(to, options))?;
        Ok(ReconnectingSubscriber { place, subscriber, wanted: Vec::new(), gap: None })
    }

    /// What the broker stated in its last WELCOME.
    pub fn welcome(&self) -> &Welcome {
        self.subscriber.welcome()
    }

    /// Asks for messages, as [`Subscriber::subscribe`] does, on this connection and all later ones.
    ///
    /// # Errors
    /// `Topic`: nothing was sent. Otherwise why there is no connection any more.
    pub fn subscribe(&mut self, filter: &str, group: Option<&str>) -> Result<(), ClientError> {
        let asked = self.subscriber.subscribe(filter, group);
        if let Err(error @ ClientError::Topic { .. }) = asked {
            return Err(error);
        }
        let (filter, group) = (filter.to_owned(), group.map(str::to_owned));
        let wanted = Subscription { filter, group };
        if !self.wanted.contains(&wanted) {
            self.wanted.push(wanted);
        }
        self.or_reconnect(asked)
    }

    /// Ends the subscription that was made with the same filter and group.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn unsubscribe(&mut self, filter: &str, group: Option<&str>) -> Result<(), ClientError> {
        let is_ended = |one: &Subscription| one.filter == filter && one.group.as_deref() == group;
        self.wanted.retain(|one| !is_ended(one));
        let asked = self.subscriber.unsubscribe(filter, group);
        self.or_reconnect(asked)
    }

    /// Waits until everything asked for so far is in force.
    ///
    /// # Errors
    /// As [`Subscriber::confirm`], but for the end of a connection that can be replaced.
    pub fn confirm(&mut self) -> Result<(), ClientError> {
        loop {
            match self.subscriber.confirm() {
                Err(error) if error.is_final() => self.reconnect(error)?,
                confirmed => return confirmed,
            }
        }
    }

    /// The next event; waits for it.
    ///
    /// # Errors
    /// `TimedOut` after the options' read time-out. Otherwise why there is no connection any more.
    pub fn next_event(&mut self) -> Result<Event<'_>, ClientError> {
        let found = loop {
            if let Some(gap) = self.gap.take() {
                return Ok(Event::Reconnected(gap));
            }
            match self.subscriber.next_found() {
                Ok(found) => break found,
                Err(error) if error.is_final() => self.reconnect(error)?,
                Err(error) => return Err(error),
            }
        };
        self.subscriber.event(found)
    }

    fn or_reconnect(&mut self, done: Result<(), ClientError>) -> Result<(), ClientError> {
        match done {
            Err(error) if error.is_final() => self.reconnect(error),
            done => done,
        }
    }

    /// Connects again, and subscribes again.
    fn reconnect(&mut self, lost: ClientError) -> Result<(), ClientError> {
        let (since, reason) = (Instant::now(), lost.to_string());
        let wanted = &self.wanted;
        // The old connection ends first: its local port, if one was asked for, is needed again.
        self.subscriber.subscriptions().close();
        self.subscriber = self.place.reach(Some(lost), |to, options| {
            let mut subscriber = Subscriber::connect_with(to, options)?;
            for Subscription { filter, group } in wanted {
                subscriber.subscribe(filter, group.as_deref())?;
            }
            Ok(subscriber)
        })?;
        self.gap = Some(Gap { time: since.elapsed(), reason });
        Ok(())
    }
}
