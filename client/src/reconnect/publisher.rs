//! A publisher that outlives its connection.
//!
//! Owns the messages that are not confirmed: they are sent again on the next connection, so each is
//! delivered at least once. Must not reorder them.

use std::time::{Duration, Instant};

use crate::connection::Welcome;
use crate::error::ClientError;
use crate::publisher::Publisher;

use super::Place;

/// Bytes of unconfirmed messages that are kept; with more, confirmation is awaited.
const MAX_KEPT_BYTES: usize = 4 << 20;
/// The same by their number.
const MAX_KEPT_MESSAGES: usize = 16 << 10;

/// A [`Publisher`] that connects again when its connection is lost, made by
/// [`Reconnect::publisher`](crate::Reconnect::publisher).
///
/// What was not confirmed is sent again, in its order, before anything new: each message is
/// delivered at least once, and twice if only its confirmation was lost. Up to 4 MiB of messages
/// are kept for that; more wait for their confirmation in [`publish`](Self::publish).
#[derive(Debug)]
pub struct ReconnectingPublisher {
    place: Place,
    publisher: Publisher,
    kept: Vec<Kept>,
    kept_bytes: usize,
    reconnects: u64,
    resent: u64,
}

#[derive(Debug)]
struct Kept {
    topic: String,
    payload: Vec<u8>,
}

impl ReconnectingPublisher {
    pub(super) fn connect(place: Place) -> Result<ReconnectingPublisher, ClientError> {
        let publisher = place.reach(None, |to, options| Publisher::connect_with(to, options))?;
        let (kept, kept_bytes) = (Vec::new(), 0);
        Ok(ReconnectingPublisher { place, publisher, kept, kept_bytes, reconnects: 0, resent: 0 })
    }

    /// What the broker stated in its last WELCOME.
    pub fn welcome(&self) -> &Welcome {
        self.publisher.welcome()
    }

    /// How often it was connected again.
    pub fn reconnects(&self) -> u64 {
        self.reconnects
    }

    /// How many messages were sent again, some of which may have been delivered twice.
    pub fn resent(&self) -> u64 {
        self.resent
    }

    /// Adds a message to the batch, as [`Publisher::publish`] does.
    ///
    /// # Errors
    /// `Topic` or `TooLarge`: the message was not accepted, all else continues. Otherwise why there
    /// is no connection any more.
    pub fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>) -> Result<(), ClientError> {
        let payload = payload.as_ref();
        let sent = self.publisher.publish(topic, payload);
        if let Err(error) = &sent
            && !error.is_final()
        {
            return sent;
        }
        self.kept.push(Kept { topic: topic.to_owned(), payload: payload.to_vec() });
        self.kept_bytes += topic.len() + payload.len();
        if let Err(error) = sent {
            self.reconnect(error)?;
        }
        if self.kept_bytes > MAX_KEPT_BYTES || self.kept.len() >= MAX_KEPT_MESSAGES {
            return self.flush();
        }
        Ok(())
    }

    /// Sends the batch without waiting for a confirmation.
    ///
    /// # Errors
    /// Why there is no connection any more.
    pub fn send(&mut self) -> Result<(), ClientError> {
        match self.publisher.send() {
            Err(error) if error.is_final() => self.reconnect(error),
            sent => sent,
        }
    }

    /// Sends everything and waits until a broker confirms it, on this connection or a later one.
    ///
    /// # Errors
    /// As [`Publisher::flush`], but for the end of a connection that can be replaced.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        loop {
            match self.publisher.flush() {
                Err(error) if error.is_final() => self.reconnect(error)?,
                Err(ClientError::TimedOut(what)) => return Err(ClientError::TimedOut(what)),
                flushed => {
                    self.kept.clear();
                    self.kept_bytes = 0;
                    return flushed;
                }
            }
        }
    }

    /// Waits for this long, and connects again if the connection is lost meanwhile.
    ///
    /// # Errors
    /// Why there is none any more.
    pub fn idle(&mut self, time: Duration) -> Result<(), ClientError> {
        let started = Instant::now();
        loop {
            let left = time.saturating_sub(started.elapsed());
            match self.publisher.idle(left) {
                Err(error) => self.reconnect(error)?,
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Flushes, and ends the connection.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn close(mut self) -> Result<(), ClientError> {
        self.flush()
    }

    /// Connects again, and sends again what was not confirmed.
    fn reconnect(&mut self, lost: ClientError) -> Result<(), ClientError> {
        let kept = &self.kept;
        // The old connection ends first: its local port, if one was asked for, is needed again.
        self.publisher.abort();
        self.publisher = self.place.reach(Some(lost), |to, options| {
            let mut publisher = Publisher::connect_with(to, options)?;
            for Kept { topic, payload } in kept {
                match publisher.publish(topic, payload) {
                    // The new broker accepts less than the old one did. A flush could not
                    // report that, so it ends the attempts.
                    Err(error @ ClientError::TooLarge { .. }) => return Err(error),
                    sent => sent?,
                }
            }
            publisher.send()?;
            Ok(publisher)
        })?;
        self.reconnects += 1;
        self.resent += self.kept.len() as u64;
        Ok(())
    }
}
