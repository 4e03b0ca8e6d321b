//! The messages of a subscriber as iterators.
//!
//! Owns what an iterator makes of the events that are not messages. The subscriber receives them.

use crate::error::ClientError;
use crate::event::{Event, OwnedMessage};
use crate::subscriber::Subscriber;

/// The messages of a [`Subscriber`], made by [`Subscriber::messages`].
#[derive(Debug)]
pub struct Messages<'a> {
    subscriber: &'a mut Subscriber,
    over: bool,
}

/// The messages of a [`Subscriber`] that it owns, made by [`Subscriber::into_iter`].
#[derive(Debug)]
pub struct IntoMessages {
    subscriber: Subscriber,
    over: bool,
}

impl<'a> Messages<'a> {
    pub(crate) fn of(subscriber: &'a mut Subscriber) -> Messages<'a> {
        Messages { subscriber, over: false }
    }
}

impl IntoMessages {
    pub(crate) fn of(subscriber: Subscriber) -> IntoMessages {
        IntoMessages { subscriber, over: false }
    }

    /// The subscriber, to subscribe to more between two messages.
    pub fn subscriber(&mut self) -> &mut Subscriber {
        &mut self.subscriber
    }
}

impl Iterator for Messages<'_> {
    type Item = Result<OwnedMessage, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        next(self.subscriber, &mut self.over)
    }
}

impl Iterator for IntoMessages {
    type Item = Result<OwnedMessage, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        next(&mut self.subscriber, &mut self.over)
    }
}

/// The next message, or the error in its place. `None` after the end.
fn next(subscriber: &mut Subscriber, over: &mut bool) -> Option<Result<OwnedMessage, ClientError>> {
    if *over {
        return None;
    }
    let error = match subscriber.next_event() {
        Ok(Event::Message(message)) => return Some(Ok(message.into_owned())),
        Ok(Event::Lost(count)) => ClientError::Lost(count),
        Ok(Event::Refused(refusal)) => ClientError::Refused(vec![refusal]),
        // A plain subscriber has no such event.
        Ok(Event::Reconnected(_)) => return next(subscriber, over),
        Err(error) => error,
    };
    *over = error.is_final();
    (!matches!(error, ClientError::Goodbye(_))).then_some(Err(error))
}
