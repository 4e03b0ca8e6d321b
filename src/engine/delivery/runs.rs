//! Cuts what a publisher sent into runs: adjacent messages with the same receivers.
//!
//! Owns the loop that takes each run through admission and delivery. This is the path of every
//! message, so it must do nothing twice: a message that looks like the one before it costs two
//! comparisons. Must not know who the receivers are.

use std::rc::Rc;
use std::time::Instant;

use log::{Level, log_enabled, trace};
use wire::leaf;
use wire::nats::MAX_CONTROL_LINE_BYTES;
use wire::nats::line::{self, Line};
use wire::topic::TopicError;

use super::admission::Verdict;
use super::memory::NO_MESSAGES;
use super::messages::{Message, Sizes, alike};
use super::run::Run;
use super::scan::{Scan, Seen};
use super::waits::Obstacle;
use crate::engine::buffers::chunk::Slice;
use crate::engine::routing::{NoRoute, Route};
use crate::engine::sessions::protocol::Protocol;
use crate::engine::sessions::requests::Stop;
use crate::engine::token::Token;
use crate::engine::{Engine, budget};

/// About what lines in front of messages have more, in another encoding, than those that were read.
const LINE_BYTES: usize = 32;

/// What came of a run.
pub(super) enum Outcome {
    /// All of it was delivered.
    Done,
    /// Subscriptions have ended with it: routes that were found before may be others now.
    Changed,
    /// It goes on later.
    Stopped(Stop),
}

impl Engine {
    /// Processes all messages from `at` up to a frame that is something else, not whole, or not
    /// valid; `None` then.
    pub(crate) fn process_messages(
        &mut self,
        token: Token,
        input: &Slice,
        at: &mut usize,
        now: Instant,
    ) -> Option<Stop> {
        let start = *at;
        let protocol = self.connections[token.index()].role.protocol;
        if self.memory.has(token, NO_MESSAGES) && begins_message(protocol, &input.bytes()[start..])
        {
            self.park(token, Obstacle::Memory, None);
            return Some(Stop::Parked);
        }
        let stop = self.process_runs(token, input, at, now);
        if self.is_counting_topics {
            for alike in alike(input.bytes(), start..*at, protocol) {
                let bytes = alike.count * alike.first.length;
                self.index.count_messages(alike.first.topic, alike.count as u64, bytes as u64);
            }
        }
        stop
    }

    fn process_runs(
        &mut self,
        token: Token,
        input: &Slice,
        at: &mut usize,
        now: Instant,
    ) -> Option<Stop> {
        let stop = self.process_scanned(token, input, at, now);
        self.close_series(token).or(stop)
    }

    fn process_scanned(
        &mut self,
        token: Token,
        input: &Slice,
        at: &mut usize,
        now: Instant,
    ) -> Option<Stop> {
        let start = *at;
        let connection = &self.connections[token.index()];
        let mut scan = Scan::new(input.bytes(), start, token, connection);
        loop {
            // The first run is tried in any case: behind a flush that it waited for, others must
            // not refill its receivers again and again.
            if scan.at > start && self.budget.is_share_used() && scan.has_whole_frame() {
                return Some(Stop::Yield);
            }
            // What was found is delivered, or a search that uses up each share would lead nowhere.
            let Some((route, run)) = self.next_run(&mut scan) else { break };
            self.budget.charge(budget::RUN);
            if log_enabled!(Level::Trace) {
                let (publisher, plain) = (&self.connections[token.index()], route.receivers());
                trace!("{} messages from {publisher} to {plain} subscribers", run.messages);
            }
            let outcome = match self.join_series(token, input, &run, &route) {
                Ok(true) => {
                    *at = run.end;
                    Outcome::Done
                }
                Ok(false) => {
                    let run = run.measured(input, &route);
                    self.process_run(token, input, run, &route, at, now)
                }
                Err(stop) => Outcome::Stopped(stop),
            };
            match outcome {
                Outcome::Done => {}
                Outcome::Changed => {
                    let connection = &self.connections[token.index()];
                    scan = Scan::new(input.bytes(), *at, token, connection);
                }
                Outcome::Stopped(stop) => return Some(stop),
            }
            if scan.is_searching {
                break;
            }
        }
        scan.is_searching.then_some(Stop::Yield)
    }

    /// Takes a run through admission and delivery, if need be part by part.
    fn process_run(
        &mut self,
        token: Token,
        input: &Slice,
        mut run: Run,
        route: &Rc<Route>,
        at: &mut usize,
        now: Instant,
    ) -> Outcome {
        let is_nats = run.protocol == Protocol::Nats;
        if is_nats && self.wants_no_responders(token) && !self.is_heard(token, route) {
            return self.process_unheard(token, input, &run, route, at, now);
        }
        while run.messages > 0 {
            match self.admit(token, input, run, route, now) {
                Verdict::Deliver(part) => {
                    let part = self.encodable(part, input, route);
                    if part.is_reply {
                        // First: the message may want its own reply there, of this client.
                        self.take_reply(token, input, part);
                    }
                    let has_ended = self.deliver(token, input, part, route, now);
                    self.end_wait(token);
                    *at = part.end;
                    run = run.behind(part);
                    if is_nats && !self.connections[token.index()].is_talking() {
                        // It was too slow for its own message.
                        return Outcome::Stopped(Stop::Closed);
                    }
                    if run.messages > 0 && self.budget.is_share_used() {
                        return Outcome::Stopped(Stop::Yield);
                    }
                    if has_ended {
                        return Outcome::Changed;
                    }
                }
                Verdict::FlushFirst => return Outcome::Stopped(Stop::FlushFirst),
                Verdict::Wait(obstacle) => {
                    self.park(token, obstacle, Some(route));
                    self.note_unread(token, now);
                    return Outcome::Stopped(Stop::Parked);
                }
            }
            if self.is_beyond_memory(token) {
                self.park(token, Obstacle::Memory, None);
                return Outcome::Stopped(Stop::Parked);
            }
        }
        Outcome::Done
    }

    /// A connection cannot go on.
    pub(crate) fn park(&mut self, token: Token, obstacle: Obstacle, refused: Option<&Rc<Route>>) {
        match obstacle {
            Obstacle::Outbox(_) | Obstacle::Group(_) => self.stats.pauses += 1,
            Obstacle::Memory => self.note_memory_full(),
            Obstacle::Answers(_) => {}
        }
        self.waits.park(token, obstacle, refused);
    }

    /// The first messages of a part that may be delivered: no more than may be brought into all of
    /// their encodings at once, each of which takes as much memory as was read.
    fn encodable(&self, part: Run, source: &Slice, route: &Route) -> Run {
        let encodings = route.plain.len();
        if encodings < 2 || part.messages < 2 {
            return part;
        }
        let bytes = encodings * (part.len() + part.messages as usize * LINE_BYTES);
        let most = self.frame_reserve() / 2;
        if bytes <= most {
            return part;
        }
        let messages = part.messages as u128 * most as u128 / bytes as u128;
        part.first(source, (messages as u64).max(1))
    }

    /// A client has published to a reply, which it may do once.
    pub(super) fn take_reply(&mut self, token: Token, source: &Slice, run: Run) {
        let message = Message::at(&source.bytes()[run.start..run.end], run.protocol);
        if let Some(replies) = &mut self.connections[token.index()].replies {
            replies.take(message.topic);
        }
    }

    /// A connection has delivered what it may have waited for.
    pub(crate) fn end_wait(&mut self, token: Token) {
        self.waits.admitted(token);
        if let Some(session) = &mut self.connections[token.index()].nats {
            session.unread = None;
        }
    }

    /// A NATS client is not read any more: for so long only.
    fn note_unread(&mut self, token: Token, now: Instant) {
        if let Some(session) = &mut self.connections[token.index()].nats
            && session.unread.is_none()
        {
            session.unread = Some(now);
            self.arm(token);
        }
    }

    /// The next run and its route. A message for queue groups is a run of its own, since each
    /// goes to another member.
    fn next_run(&mut self, scan: &mut Scan<'_>) -> Option<(Rc<Route>, Run)> {
        let ahead = scan.ahead.take();
        let (route, first) = ahead.or_else(|| self.look_up(scan, scan.at, None))?;
        let end = scan.at + first;
        let shortest = scan.payload;
        let sizes = Sizes::default();
        let protocol = scan.protocol;
        let is_reply = scan.is_reply;
        let mut run = Run { start: scan.at, end, messages: 1, protocol, is_reply, shortest, sizes };
        // Where each message is a run, copies for one connection come message by message.
        let is_alone = is_reply || scan.is_verbose;
        if route.groups.is_empty() && !route.needs_look && !is_alone {
            loop {
                scan.extend(&mut run);
                if run.messages > 1 {
                    self.index.asked_for_again(scan.topic, &mut self.budget);
                }
                let Some((next, length)) = self.look_up(scan, run.end, Some(&route)) else { break };
                if !Rc::ptr_eq(&next, &route) || scan.is_reply {
                    scan.ahead = Some((next, length));
                    break;
                }
                run.end += length;
                run.messages += 1;
                run.shortest = run.shortest.min(scan.payload);
            }
        }
        scan.at = run.end;
        Some((route, run))
    }

    /// The route and length of the message at `at`, if that is whole, valid and granted, and its
    /// route is found; `before` is the route of the message before it.
    fn look_up<'a>(
        &mut self,
        scan: &mut Scan<'a>,
        at: usize,
        before: Option<&Rc<Route>>,
    ) -> Option<(Rc<Route>, usize)> {
        let rest = &scan.bytes[at..];
        let Seen { line, topic, length, payload } = scan.see(rest, self.rules.max_payload)?;
        if rest.len() < length || !scan.ends_well(&rest[..length]) {
            return None;
        }
        if scan.protocol == Protocol::Leaf && topic != scan.topic && !self.is_imported(topic) {
            return None;
        }
        let route = match before {
            Some(route) if topic == scan.topic => route.clone(),
            _ => {
                self.budget.charge(budget::TOPIC);
                match self.index.route(topic, &mut self.budget) {
                    Ok(route) => route,
                    Err(NoRoute::BadTopic(TopicError::WildcardInTopic)) => {
                        let (route, is_searching) = self.route_to_hub(scan.publisher, topic);
                        scan.is_searching = is_searching;
                        route?
                    }
                    Err(error) => {
                        scan.is_searching = error == NoRoute::NotYet;
                        return None;
                    }
                }
            }
        };
        if let Some(user) = &scan.user
            && (scan.is_reply || topic != scan.topic)
        {
            let is_granted = self.index.may_publish(topic, user, &mut self.budget);
            if !is_granted && !self.connections[scan.publisher.index()].may_reply(topic) {
                return None;
            }
            scan.is_reply = !is_granted;
        }
        (scan.line, scan.topic, scan.frame_len, scan.payload) = (line, topic, length, payload);
        Some((route, length))
    }
}

/// Whether the control line of a message that came over NATS is there.
fn begins_message(protocol: Protocol, bytes: &[u8]) -> bool {
    match protocol {
        Protocol::Leaf => {
            let found = leaf::line::parse(bytes, leaf::MAX_LINE_BYTES);
            matches!(found, Ok(Some((leaf::line::Line::Message(_), _))))
        }
        _ => matches!(line::parse(bytes, MAX_CONTROL_LINE_BYTES), Ok(Some((Line::Publish(_), _)))),
    }
}
