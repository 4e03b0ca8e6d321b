//! The subscriber: subscriptions out, messages in.
//!
//! Owns the order in which events are handed out and what confirming does to them. Messages are
//! decoded in the buffer that they were read into; nothing is allocated for one.

use std::collections::VecDeque;
use std::io;
use std::net::ToSocketAddrs;
use std::time::{Duration, Instant};

use wire::native::frame::Kind;

use crate::connection::{self, Opened, Welcome};
use crate::error::{ClientError, Refusal};
use crate::event::{Event, Message, OwnedMessage};
use crate::link::Link;
use crate::messages::{IntoMessages, Messages};
use crate::options::ConnectOptions;
use crate::read_buffer::{FramePlace, ReadBuffer};
use crate::subscriptions::Subscriptions;

/// Read at once, in bytes: large, so that a flood of small messages costs few reads.
const READ_BYTES: usize = 256 * 1024;
/// Subscriptions sent before their answers are read. The broker stops reading a client that does
/// not read its answers, and a client that then waits to send would wait for ever.
const MAX_UNCONFIRMED: u32 = 256;
/// The shortest silence after which the broker counts as lost, however short its heartbeat is.
const MIN_SILENCE: Duration = Duration::from_secs(5);

/// A connection to the broker's subscribers' port.
///
/// The connection keeps itself alive, also while the application works on a message.
///
/// ```no_run
/// use pubsub_client::{ConnectOptions, Subscriber};
///
/// # fn main() -> Result<(), pubsub_client::ClientError> {
/// let options = ConnectOptions::new().id("listener");
/// let mut subscriber = Subscriber::connect_with("127.0.0.1:9090", &options)?;
/// subscriber.subscribe("#hello", None)?;
/// subscriber.subscribe("orders.>", Some("workers"))?;
/// subscriber.confirm()?; // from here on no message is missed
/// for message in subscriber.messages() {
///     let message = message?;
///     println!("{}: {} bytes", message.topic, message.payload.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Subscriber {
    subscriptions: Subscriptions,
    buffer: ReadBuffer,
    welcome: Welcome,
    /// Bytes of the frame that was handed out last; released when the next is asked for.
    handed_out: usize,
    /// Bytes of the buffer, from its start, that `confirm` has looked at: the PONGs, PINGs and
    /// refusals in there are handled, the messages are not. At least `handed_out`, or 0.
    looked_at: usize,
    refusals: VecDeque<Refusal>,
    /// The number of the last PING that was sent.
    pings: u64,
    unconfirmed: u32,
    read_timeout: Option<Duration>,
    /// What the socket's own time-out is set to.
    socket_timeout: Option<Duration>,
}

/// What `advance` found, before it is turned into something that borrows.
#[derive(Debug)]
pub(crate) enum Found {
    Message(FramePlace),
    Lost(u64),
    Refused(Refusal),
}

impl Subscriber {
    /// Connects to the subscribers' port with the default options.
    ///
    /// # Errors
    /// As [`connect_with`](Subscriber::connect_with).
    pub fn connect(address: impl ToSocketAddrs) -> Result<Subscriber, ClientError> {
        Subscriber::connect_with(address, &ConnectOptions::new())
    }

    /// Connects to the subscribers' port and waits for the broker's welcome. A host with several
    /// addresses is tried at each.
    ///
    /// # Errors
    /// As [`Publisher::connect_with`](crate::Publisher::connect_with).
    pub fn connect_with(
        address: impl ToSocketAddrs,
        options: &ConnectOptions,
    ) -> Result<Subscriber, ClientError> {
        let opened = connection::open(address, options, READ_BYTES)?;
        let Opened { stream, buffer, welcome } = opened;
        Ok(Subscriber {
            subscriptions: Subscriptions { link: Link::new(stream, welcome.heartbeat)? },
            buffer,
            welcome,
            handed_out: 0,
            looked_at: 0,
            refusals: VecDeque::new(),
            // Starts at random, so that no PONG can match before its PING is sent.
            pings: fastrand::u64(..),
            unconfirmed: 0,
            read_timeout: options.read_timeout,
            socket_timeout: None,
        })
    }

    /// What the broker stated in its WELCOME.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Asks for the messages whose topics match the filter, as a member of a queue group if one is
    /// named: each message goes to one member of the group. In force once
    /// [`confirm`](Subscriber::confirm) returns.
    ///
    /// # Errors
    /// `Topic`: nothing was sent. Otherwise the reason why the connection is over.
    pub fn subscribe(&mut self, filter: &str, group: Option<&str>) -> Result<(), ClientError> {
        self.subscriptions.subscribe(filter, group)?;
        self.count_unconfirmed()
    }

    /// Ends the subscription that was made with the same filter and group.
    ///
    /// # Errors
    /// As [`subscribe`](Subscriber::subscribe).
    pub fn unsubscribe(&mut self, filter: &str, group: Option<&str>) -> Result<(), ClientError> {
        self.subscriptions.unsubscribe(filter, group)?;
        self.count_unconfirmed()
    }

    /// Waits until everything asked for so far is in force. Messages that arrive meanwhile are
    /// kept, and come out of [`next_event`](Subscriber::next_event) as usual.
    ///
    /// # Errors
    /// `Refused` with what the broker refused: the rest is in force. `TimedOut` after the options'
    /// read time-out. Otherwise the reason why the connection is over.
    pub fn confirm(&mut self) -> Result<(), ClientError> {
        self.look_ahead_to_pong()?;
        if self.refusals.is_empty() {
            Ok(())
        } else {
            Err(ClientError::Refused(self.refusals.drain(..).collect()))
        }
    }

    /// The next event; waits for it.
    ///
    /// # Errors
    /// `TimedOut` after the options' read time-out. Otherwise the reason why the connection is
    /// over.
    pub fn next_event(&mut self) -> Result<Event<'_>, ClientError> {
        let deadline = self.read_deadline();
        self.next_event_before(deadline)
    }

    /// The next event; waits for it until `deadline` at most, for ever without one.
    ///
    /// # Errors
    /// `TimedOut` when the deadline has passed. Otherwise the reason why the connection is over.
    pub fn next_event_before(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Event<'_>, ClientError> {
        let found = self.found_before(deadline)?;
        self.event(found)
    }

    /// The next event, if it was received already. Never waits.
    ///
    /// # Errors
    /// The reason why the connection is over.
    pub fn next_received(&mut self) -> Result<Option<Event<'_>>, ClientError> {
        match self.advance()? {
            Some(found) => self.event(found).map(Some),
            None => Ok(None),
        }
    }

    /// Waits until something, not necessarily a whole event, is received. For use when
    /// [`next_received`](Subscriber::next_received) has nothing.
    ///
    /// # Errors
    /// As [`next_event_before`](Subscriber::next_event_before).
    pub fn wait_before(&mut self, deadline: Option<Instant>) -> Result<(), ClientError> {
        let offset = self.looked_at.max(self.handed_out);
        self.fill(offset, deadline, "a message")
    }

    /// The messages, each a copy of its own. Ends when the broker shuts down in an orderly way, or
    /// after the first error that ends the connection. Lost messages and refused subscriptions are
    /// errors too, and do not end it; nor does a time-out.
    pub fn messages(&mut self) -> Messages<'_> {
        Messages::of(self)
    }

    /// The sending side, for use in other threads.
    pub fn subscriptions(&self) -> Subscriptions {
        self.subscriptions.clone()
    }

    fn count_unconfirmed(&mut self) -> Result<(), ClientError> {
        self.unconfirmed += 1;
        if self.unconfirmed < MAX_UNCONFIRMED {
            return Ok(());
        }
        self.look_ahead_to_pong()
    }

    fn look_ahead_to_pong(&mut self) -> Result<(), ClientError> {
        let deadline = self.read_deadline();
        self.pings = self.pings.wrapping_add(1);
        let question = self.pings.to_be_bytes();
        self.subscriptions.send(Kind::Ping, b"", &question)?;
        self.looked_at = self.looked_at.max(self.handed_out);
        loop {
            let max_payload = self.welcome.max_payload;
            let Some(place) = self.buffer.frame_at(self.looked_at, max_payload)? else {
                self.fill(self.looked_at, deadline, "the broker's confirmation")?;
                continue;
            };
            if place.is_last() {
                // The messages before it are still to be handed out, so it stays where it is.
                return Err(end_reason(&place, self.buffer.unused())?);
            }
            self.looked_at = place.end();
            if let Some(refusal) = self.handle(&place)? {
                self.refusals.push_back(refusal);
            }
            let body = &self.buffer.unused()[place.body.clone()];
            if place.kind == Kind::Pong && body == question {
                self.unconfirmed = 0;
                return Ok(());
            }
        }
    }

    /// Finds the next event among the received frames, and handles those that are not events.
    fn advance(&mut self) -> Result<Option<Found>, ClientError> {
        if let Some(refusal) = self.refusals.pop_front() {
            return Ok(Some(Found::Refused(refusal)));
        }
        loop {
            self.release_handed_out();
            let max_payload = self.welcome.max_payload;
            let Some(place) = self.buffer.frame_at(0, max_payload)? else {
                return Ok(None);
            };
            // A frame that ends the connection is not consumed, so that later calls return the same
            // error.
            let found = self.interpret(&place)?;
            self.handed_out = place.end();
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// What the next frame means; a frame that only needs an answer is answered.
    fn interpret(&self, place: &FramePlace) -> Result<Option<Found>, ClientError> {
        let bytes = self.buffer.unused();
        let seen = place.end() <= self.looked_at;
        match place.kind {
            Kind::Publish => {
                topic_of(place, bytes)?;
                Ok(Some(Found::Message(place.clone())))
            }
            Kind::Lost => {
                let count = bytes[place.body.clone()].try_into().map(u64::from_be_bytes);
                let count = count.map_err(|_| ClientError::malformed("LOST without a count"));
                count.map(|count| Some(Found::Lost(count)))
            }
            _ if place.is_last() => Err(end_reason(place, bytes)?),
            _ if seen => Ok(None),
            _ => Ok(self.handle(place)?.map(Found::Refused)),
        }
    }

    fn release_handed_out(&mut self) {
        self.buffer.consume(self.handed_out);
        self.looked_at = self.looked_at.saturating_sub(self.handed_out);
        self.handed_out = 0;
    }

    /// Handles a frame that is neither a message nor the end: answers a PING, reads a refusal.
    fn handle(&self, place: &FramePlace) -> Result<Option<Refusal>, ClientError> {
        let bytes = self.buffer.unused();
        let (topic, body) = (&bytes[place.topic.clone()], &bytes[place.body.clone()]);
        match place.kind {
            Kind::Ping => self.subscriptions.link.owe_pong(body),
            Kind::Error => return Refusal::parse(topic, body).map(Some),
            Kind::Welcome => return Err(ClientError::malformed("a second WELCOME")),
            _ => {}
        }
        Ok(None)
    }

    /// The next event as a value of its own, for [`event`](Subscriber::event).
    pub(crate) fn next_found(&mut self) -> Result<Found, ClientError> {
        let deadline = self.read_deadline();
        self.found_before(deadline)
    }

    fn found_before(&mut self, deadline: Option<Instant>) -> Result<Found, ClientError> {
        loop {
            if let Some(found) = self.advance()? {
                return Ok(found);
            }
            self.wait_before(deadline)?;
        }
    }

    pub(crate) fn event(&self, found: Found) -> Result<Event<'_>, ClientError> {
        let place = match found {
            Found::Lost(count) => return Ok(Event::Lost(count)),
            Found::Refused(refusal) => return Ok(Event::Refused(refusal)),
            Found::Message(place) => place,
        };
        let bytes = self.buffer.unused();
        Ok(Event::Message(Message { topic: topic_of(&place, bytes)?, payload: &bytes[place.body] }))
    }

    /// Reads once. The broker asks a silent client for a sign of life, and the keeper asks the
    /// broker for one: two heartbeats without a byte mean that the broker is lost.
    fn fill(
        &mut self,
        offset: usize,
        deadline: Option<Instant>,
        awaited: &'static str,
    ) -> Result<(), ClientError> {
        let silence = self.welcome.heartbeat.map(|time| (time * 2).max(MIN_SILENCE));
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(ClientError::TimedOut(awaited));
        }
        let timeout = left.into_iter().chain(silence).min();
        let stream = self.subscriptions.link.stream();
        if timeout != self.socket_timeout {
            stream.set_read_timeout(timeout)?;
            self.socket_timeout = timeout;
        }
        match self.buffer.fill(&mut &*stream, offset) {
            Ok(0) => Err(ClientError::Disconnected),
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => Ok(()),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut if timeout == silence => {
                    Err(ClientError::Disconnected)
                }
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    Err(ClientError::TimedOut(awaited))
                }
                _ => Err(error.into()),
            },
        }
    }

    fn read_deadline(&self) -> Option<Instant> {
        // A time-out beyond the range of the clock is none.
        (self.read_timeout).and_then(|timeout| Instant::now().checked_add(timeout))
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.subscriptions.link.close();
    }
}

impl IntoIterator for Subscriber {
    type Item = Result<OwnedMessage, ClientError>;
    type IntoIter = IntoMessages;

    /// The messages, as those of [`messages`](Subscriber::messages), by an iterator that owns the
    /// connection.
    fn into_iter(self) -> IntoMessages {
        IntoMessages::of(self)
    }
}

fn topic_of<'a>(place: &FramePlace, bytes: &'a [u8]) -> Result<&'a str, ClientError> {
    std::str::from_utf8(&bytes[place.topic.clone()])
        .map_err(|_| ClientError::malformed("a topic is not UTF-8"))
}

/// The reason in a GOODBYE or a fatal ERROR.
fn end_reason(place: &FramePlace, bytes: &[u8]) -> Result<ClientError, ClientError> {
    let (topic, body) = (&bytes[place.topic.clone()], &bytes[place.body.clone()]);
    if place.kind == Kind::Goodbye {
        let reason = String::from_utf8_lossy(body).into_owned();
        return Ok(ClientError::Goodbye(reason));
    }
    Refusal::parse(topic, body).map(ClientError::ClosedByBroker)
}
