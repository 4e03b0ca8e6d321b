//! From bytes that were read to what they ask for.
//!
//! Owns the order in which frames are carried out and the answers to them. Messages are cut into
//! runs by `runs`; where they go is decided by the topic index, how they get there by `deliver`.

use std::time::Instant;

use log::{debug, info, trace};

use super::chunk::{Filling, Slice};
use super::close_reason::CloseReason;
use super::connection::{Role, State};
use super::{Broker, MAX_ANSWER_BYTES, Progress, Token};
use wire::native::error_code::ErrorCode;
use wire::native::frame::{self, Frame, HEADER_BYTES, Header, Kind};
use wire::native::handshake::{Hello, Welcome};
use wire::topic::{self, TopicError};

/// What WELCOME says the broker is.
const SERVER: &str = concat!("broker/", env!("CARGO_PKG_VERSION"));

/// What the subscriptions of one connection may weigh, in bytes. Far beyond 10,000 ordinary ones.
const MAX_SUBSCRIPTION_BYTES: usize = 32 << 20;
/// What the subscriptions of all connections may weigh in any case, in bytes; beyond it, as much
/// as in- and outboxes may.
const MIN_INDEX_BYTES: usize = 64 << 20;

/// Why carrying out stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The next frame is not whole.
    Incomplete,
    /// The next frame waits for a flush.
    FlushFirst,
    /// What came before was much work: others first, then on from here.
    Yield,
    /// The next frame waits for other clients, or for this one to read its answers.
    Parked,
    /// The connection is being closed.
    Closed,
}

impl Broker {
    /// `count` bytes were read into `filling`. `idle`: the socket has no more for now.
    pub fn received(
        &mut self,
        token: Token,
        mut filling: Filling,
        count: usize,
        idle: bool,
        now: Instant,
    ) -> Progress {
        filling.advance(count);
        let inbox = &mut self.connections[token.index()].inbox;
        match inbox.filled(filling, &self.pool) {
            Some(input) => self.carry_out(token, &input, idle, now),
            None => Progress::Done,
        }
    }

    /// Goes on with what was stopped earlier.
    pub fn carry_on(&mut self, token: Token, now: Instant) -> Progress {
        if !self.go_on_delivering(now) {
            return Progress::FlushFirst;
        }
        match self.connections[token.index()].inbox.take_backlog() {
            Some(input) => self.carry_out(token, &input, true, now),
            None => Progress::Done,
        }
    }

    fn carry_out(&mut self, token: Token, input: &Slice, idle: bool, now: Instant) -> Progress {
        let mut at = 0;
        let before = self.index.work();
        let stop = self.carry_frames(token, input, &mut at, now);
        let connection = &mut self.connections[token.index()];
        // Whoever waits for the broker's own work is not silent meanwhile.
        if (at > 0 || stop == Stop::Yield) && connection.is_talking() {
            connection.showed_life(now);
        }
        if !connection.is_talking() {
            return Progress::Done;
        }
        let rest = input.part(at, input.len());
        if stop == Stop::Incomplete {
            connection.inbox.keep(rest, idle, &self.pool);
        } else {
            connection.inbox.put_back(rest);
        }
        if !connection.inbox.is_empty() {
            self.note_backlog(token);
        }
        if stop == Stop::Yield && self.index.work() > before {
            self.resumed_last.push(token);
        } else if stop == Stop::Yield {
            self.resumed.push(token);
        }
        if stop == Stop::FlushFirst { Progress::FlushFirst } else { Progress::Done }
    }

    /// Carries out frames from `at` on, and leaves `at` at the first one that it did not.
    fn carry_frames(&mut self, token: Token, input: &Slice, at: &mut usize, now: Instant) -> Stop {
        loop {
            let connection = &self.connections[token.index()];
            if connection.role == Role::Publisher
                && connection.state == State::Open
                && let Some(stop) = self.carry_messages(token, input, at, now)
            {
                return stop;
            }
            let bytes = &input.bytes()[*at..];
            let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
                return Stop::Incomplete;
            };
            let reader = self.connections[token.index()].reader();
            let max_payload = self.rules.max_payload;
            let done = Header::parse(header).and_then(|header| {
                let kind = header.check(reader, max_payload)?;
                if bytes.len() < header.frame_len() {
                    return Ok(false);
                }
                let frame = Frame::cut(&bytes[..header.frame_len()], &header, kind)?;
                *at += header.frame_len();
                self.connections[token.index()].traffic.frames += 1;
                self.carry_frame(token, frame, now).map(|()| true)
            });
            match done {
                Ok(true) => {}
                Ok(false) => return Stop::Incomplete,
                Err(code) => {
                    self.close(token, CloseReason::of_refusal(code), now);
                    return Stop::Closed;
                }
            }
            let connection = &mut self.connections[token.index()];
            if connection.outbox.answers() > MAX_ANSWER_BYTES {
                connection.awaits_answers = true;
                return Stop::Parked;
            }
        }
    }

    /// Carries out any frame but a valid message.
    fn carry_frame(&mut self, token: Token, frame: Frame, now: Instant) -> Result<(), ErrorCode> {
        trace!("{:?} from {}", frame.kind, self.connections[token.index()]);
        match frame.kind {
            Kind::Hello => self.greet(token, frame, now)?,
            Kind::Subscribe | Kind::Unsubscribe => self.change_subscription(token, frame)?,
            Kind::Publish => {
                if let Err(error) = topic::validate_topic(frame.topic) {
                    self.refuse_topic(token, frame.topic, error);
                }
            }
            Kind::Ping => {
                let mut pong = Vec::new();
                frame::encode(Kind::Pong, 0, b"", frame.body, &mut pong);
                self.answer(token, &pong);
            }
            // Its arrival is the sign of life that it stands for.
            Kind::Pong => {}
            Kind::Welcome | Kind::Error | Kind::Lost | Kind::Goodbye => {
                return Err(ErrorCode::NotAllowed);
            }
        }
        Ok(())
    }

    fn greet(&mut self, token: Token, frame: Frame, now: Instant) -> Result<(), ErrorCode> {
        let hello = Hello::parse(frame.topic, frame.body)?;
        let welcome = Welcome {
            id: &self.id,
            server: SERVER,
            max_payload: self.rules.max_payload,
            heartbeat: self.rules.heartbeat.as_secs_f64(),
        };
        let mut bytes = Vec::new();
        welcome.encode(&mut bytes);
        let connection = &mut self.connections[token.index()];
        connection.set_id(hello.id);
        connection.state = State::Open;
        connection.showed_life(now);
        info!("connected: {connection}");
        self.answer(token, &bytes);
        // The heartbeat may be shorter than what is left of the hello time-out.
        self.arm(token);
        Ok(())
    }

    fn change_subscription(&mut self, token: Token, frame: Frame) -> Result<(), ErrorCode> {
        let group = Some(frame.body).filter(|body| !body.is_empty());
        if group.is_some_and(|group| topic::validate_group(group).is_err()) {
            return Err(ErrorCode::Malformed);
        }
        if let Err(error) = topic::validate_filter(frame.topic) {
            self.refuse_topic(token, frame.topic, error);
            return Ok(());
        }
        if frame.kind == Kind::Unsubscribe {
            if let Some(group) = self.index.group(frame.topic, group) {
                self.leave_full_group(token, group);
            }
            self.index.unsubscribe(token, frame.topic, group);
        } else if self.index.holds(token, frame.topic, group) {
            return Ok(());
        } else if let Some(text) = self.one_too_many(token) {
            self.refuse_frame(token, ErrorCode::TooMany, frame.topic, text);
            return Ok(());
        } else {
            self.index.subscribe(token, frame.topic, group);
            // Whoever waits for the group may give its message to this member.
            if let Some(group) = self.index.group(frame.topic, group) {
                self.end_group_waits(group);
            }
        }
        Ok(())
    }

    /// Why a connection may not have one subscription more.
    fn one_too_many(&self, token: Token) -> Option<&'static str> {
        let (of_this_one, of_all) = self.index.weights(token);
        if self.index.count(token) >= self.rules.max_subscriptions {
            Some("this connection has as many subscriptions as it may")
        } else if of_this_one > MAX_SUBSCRIPTION_BYTES {
            Some("the subscriptions of this connection take up too much memory")
        } else if of_all > self.rules.memory_bytes.max(MIN_INDEX_BYTES) {
            Some("the subscriptions of all connections take up too much memory")
        } else {
            None
        }
    }

    fn refuse_topic(&mut self, token: Token, topic: &[u8], error: TopicError) {
        let connection = &self.connections[token.index()];
        debug!("bad topic {:?} from {connection}: {error}", String::from_utf8_lossy(topic));
        self.refuse_frame(token, ErrorCode::BadTopic, topic, &error.to_string());
    }
}

#[cfg(test)]
mod tests;
