//! From bytes that were read to what they ask for.
//!
//! Owns the order in which frames are carried out and the answers to them. Where a message goes is
//! decided by the topic index, how it gets there by `deliver`.

use std::rc::Rc;
use std::time::Instant;

use log::{Level, debug, info, log_enabled, trace};

use super::chunk::{Filling, Slice};
use super::close_reason::CloseReason;
use super::connection::{Role, State};
use super::deliver::{GroupsReady, Run};
use super::topic_index::Route;
use super::{Broker, MAX_ANSWER_BYTES, Progress, Token};
use crate::wire::error_code::ErrorCode;
use crate::wire::frame::{self, Frame, HEADER_BYTES, Header, Kind};
use crate::wire::handshake::{Hello, Welcome};
use crate::wire::topic::{self, TopicError};

/// What WELCOME says the broker is.
const SERVER: &str = concat!("broker/", env!("CARGO_PKG_VERSION"));

/// Why carrying out stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The next frame is not whole.
    Incomplete,
    /// The next frame waits for a flush.
    FlushFirst,
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
        let stop = self.carry_frames(token, input, &mut at, now);
        let connection = &mut self.connections[token.index()];
        if at > 0 && connection.is_talking() {
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
        if stop == Stop::FlushFirst {
            Progress::FlushFirst
        } else {
            Progress::Done
        }
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

    /// Carries out all messages from `at` up to a frame that is something else, not whole, or not
    /// valid; `None` then. This is the path that every message takes.
    fn carry_messages(
        &mut self,
        token: Token,
        input: &Slice,
        at: &mut usize,
        now: Instant,
    ) -> Option<Stop> {
        let bytes = input.bytes();
        let mut run = Run {
            start: *at,
            end: *at,
            ..Run::default()
        };
        let mut route: Option<Rc<Route>> = None;
        // The message before: a header of the same 8 bytes needs no check but that of the topic.
        let (mut same_header, mut topic) = ([0; HEADER_BYTES], &bytes[..0]);
        // Nothing is as long as this, so nothing is taken to be like the message before the first.
        let mut frame_len = usize::MAX;
        loop {
            let rest = &bytes[run.end..];
            let Some(&header) = rest.first_chunk::<HEADER_BYTES>() else {
                break;
            };
            if header == same_header && rest.len() >= frame_len {
                let next = &rest[HEADER_BYTES..HEADER_BYTES + topic.len()];
                if next == topic {
                    run.end += frame_len;
                    run.messages += 1;
                    continue;
                }
            }
            let Some((next_len, next_topic)) = self.message_at(rest, &header) else {
                break;
            };
            if next_topic != topic || route.is_none() {
                let Ok(next) = self.index.route(next_topic) else {
                    break;
                };
                let joins = route.as_ref().is_some_and(|route| Rc::ptr_eq(route, &next));
                if !joins || !next.groups.is_empty() {
                    *at = run.end;
                    if !self.finish_run(token, input, &mut run, route.as_ref(), now) {
                        return Some(Stop::FlushFirst);
                    }
                    route = Some(next);
                }
            }
            (same_header, frame_len, topic) = (header, next_len, next_topic);
            let grouped = route.as_ref().filter(|route| !route.groups.is_empty());
            if let Some(route) = grouped.cloned() {
                let message = Run {
                    start: run.end,
                    end: run.end + next_len,
                    messages: 1,
                    shortest: next_len,
                };
                if let Some(stop) = self.carry_grouped(token, input, message, &route, now) {
                    if stop != Stop::Parked && self.interrupted.is_some() {
                        *at = message.end;
                    }
                    return Some(stop);
                }
                run = Run {
                    start: message.end,
                    end: message.end,
                    ..Run::default()
                };
                *at = message.end;
                // Each message of a group is placed on its own.
                frame_len = usize::MAX;
                continue;
            }
            run.shortest = if run.messages == 0 {
                next_len
            } else {
                run.shortest.min(next_len)
            };
            run.end += next_len;
            run.messages += 1;
        }
        *at = run.end;
        let finished = self.finish_run(token, input, &mut run, route.as_ref(), now);
        (!finished).then_some(Stop::FlushFirst)
    }

    /// The length and topic of a whole, acceptable message.
    fn message_at<'a>(
        &self,
        bytes: &'a [u8],
        header: &[u8; HEADER_BYTES],
    ) -> Option<(usize, &'a [u8])> {
        let header = Header::parse(header).ok()?;
        let kind = header
            .check(frame::Reader::BrokerFromPublisher, self.rules.max_payload)
            .ok()?;
        if kind != Kind::Publish || bytes.len() < header.frame_len() {
            return None;
        }
        Some((
            header.frame_len(),
            &bytes[HEADER_BYTES..HEADER_BYTES + header.topic_len()],
        ))
    }

    /// Delivers a run, if there is anything in it, and begins the next one behind it. `false`:
    /// the delivery was interrupted for a flush.
    fn finish_run(
        &mut self,
        token: Token,
        input: &Slice,
        run: &mut Run,
        route: Option<&Rc<Route>>,
        now: Instant,
    ) -> bool {
        let done = std::mem::replace(
            run,
            Run {
                start: run.end,
                end: run.end,
                ..Run::default()
            },
        );
        let (Some(route), true) = (route, done.messages > 0) else {
            return true;
        };
        if log_enabled!(Level::Trace) {
            let receivers = route.plain.len();
            trace!(
                "{} messages from {} to {receivers} subscribers",
                done.messages,
                self.connections[token.index()]
            );
        }
        self.deliver(token, input, done, route, now)
    }

    /// Carries out one message that goes to queue groups, and maybe to plain receivers too.
    fn carry_grouped(
        &mut self,
        token: Token,
        input: &Slice,
        message: Run,
        route: &Rc<Route>,
        now: Instant,
    ) -> Option<Stop> {
        match self.groups_ready(route, message.end - message.start) {
            GroupsReady::FlushFirst => return Some(Stop::FlushFirst),
            GroupsReady::No(group) => {
                self.wait_for_group(token, group, now);
                return Some(Stop::Parked);
            }
            GroupsReady::Yes => self.deliver_to_groups(input, message, route, now),
        }
        (!self.deliver(token, input, message, route, now)).then_some(Stop::FlushFirst)
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
        connection.id = hello.id.into();
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
        } else if frame.kind == Kind::Unsubscribe {
            self.index.unsubscribe(token, frame.topic, group);
        } else if !self.index.holds(token, frame.topic, group) {
            if self.index.count(token) >= self.rules.max_subscriptions {
                let text = "this connection has as many subscriptions as it may";
                self.refuse_frame(token, ErrorCode::TooMany, frame.topic, text);
            } else {
                self.index.subscribe(token, frame.topic, group);
            }
        }
        Ok(())
    }

    fn refuse_topic(&mut self, token: Token, topic: &[u8], error: TopicError) {
        let connection = &self.connections[token.index()];
        debug!(
            "bad topic {:?} from {connection}: {error}",
            String::from_utf8_lossy(topic)
        );
        self.refuse_frame(token, ErrorCode::BadTopic, topic, &error.to_string());
    }
}
