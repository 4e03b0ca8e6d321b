//! Cuts what a publisher sent into runs: adjacent messages with the same receivers.
//!
//! Owns the run, and the loop that takes each run through admission and delivery. This is the path
//! of every message, so it must do nothing twice: a message that looks like the one before it costs
//! two comparisons. Must not know who the receivers are.

use std::rc::Rc;
use std::time::Instant;

use log::{Level, log_enabled, trace};
use wire::native::frame::{HEADER_BYTES, Header, Kind, Reader};

use super::admission::Verdict;
use super::waits::Obstacle;
use crate::engine::buffers::chunk::Slice;
use crate::engine::routing::{NoRoute, Route};
use crate::engine::sessions::requests::Stop;
use crate::engine::token::Token;
use crate::engine::{Engine, budget};

/// Adjacent messages with one route, as a part of what was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) messages: u64,
    /// Bytes of the shortest message, or less.
    shortest: usize,
}

impl Run {
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// The first messages, which together take no more than so many bytes; maybe none.
    pub(super) fn fitting(self, room: usize, source: &Slice) -> Run {
        if self.len() <= room {
            return self;
        }
        // A full outbox costs one comparison, however long the run.
        if room < self.shortest {
            return Run { end: self.start, messages: 0, ..self };
        }
        self.take_while(source, |part, length| part.len() + length <= room)
    }

    /// The first messages, each of which takes more than so many bytes; the first one does.
    pub(super) fn not_fitting(self, room: usize, source: &Slice) -> Run {
        if room < self.shortest {
            return self;
        }
        self.take_while(source, |_, length| length > room)
    }

    /// The first message.
    pub(super) fn first(self, source: &Slice) -> Run {
        self.take_while(source, |part, _| part.messages == 0)
    }

    /// Bytes of the first message.
    pub(super) fn first_len(self, source: &Slice) -> usize {
        message_len(&source.bytes()[self.start..])
    }

    /// The first messages as long as each may be added, which its length is given of.
    fn take_while(self, source: &Slice, may_add: impl Fn(&Run, usize) -> bool) -> Run {
        let mut part = Run { end: self.start, messages: 0, ..self };
        while part.messages < self.messages {
            let length = message_len(&source.bytes()[part.end..]);
            if !may_add(&part, length) {
                break;
            }
            part.end += length;
            part.messages += 1;
        }
        part
    }

    /// What is behind a first part.
    fn behind(self, part: Run) -> Run {
        Run { start: part.end, messages: self.messages - part.messages, ..self }
    }
}

/// How far a scan for runs is.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Header and topic of the message before: one with the same is like it in all that matters.
    header: [u8; HEADER_BYTES],
    topic: &'a [u8],
    frame_len: usize,
    /// The first message of the next run and its route, if that was looked up already.
    ahead: Option<(Rc<Route>, usize)>,
    /// The search for the route of the next message is not finished.
    is_searching: bool,
}

impl<'a> Scan<'a> {
    fn new(bytes: &'a [u8], at: usize) -> Scan<'a> {
        // Eight zeros are no header, so nothing is taken to be like a message before the first.
        let (header, topic, frame_len) = ([0; HEADER_BYTES], &bytes[..0], usize::MAX);
        Scan { bytes, at, header, topic, frame_len, ahead: None, is_searching: false }
    }

    /// Whether there is another frame, as far as its length tells.
    fn has_whole_frame(&self) -> bool {
        let rest = &self.bytes[self.at..];
        let header = rest.first_chunk::<HEADER_BYTES>().map(Header::parse);
        matches!(header, Some(Ok(header)) if rest.len() >= header.frame_len())
    }

    /// Takes all messages into the run that are like the last one in it.
    fn extend(&self, run: &mut Run) {
        let topic = HEADER_BYTES..HEADER_BYTES + self.topic.len();
        while let Some(rest) = self.bytes.get(run.end..)
            && rest.len() >= self.frame_len
            && rest[..HEADER_BYTES] == self.header
            && rest[topic.clone()] == *self.topic
        {
            run.end += self.frame_len;
            run.messages += 1;
        }
    }
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
        let stop = self.process_runs(token, input, at, now);
        if self.is_counting_topics {
            self.count_topics_of(&input.bytes()[start..*at]);
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
        let start = *at;
        let mut scan = Scan::new(input.bytes(), start);
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
            let stop = self.process_run(token, input, run, &route, at, now);
            if stop.is_some() {
                return stop;
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
    ) -> Option<Stop> {
        while run.messages > 0 {
            match self.admit(token, input, run, route, now) {
                Verdict::Deliver(part) => {
                    self.deliver(token, input, part, route, now);
                    self.waits.admitted(token);
                    *at = part.end;
                    run = run.behind(part);
                    if run.messages > 0 && self.budget.is_share_used() {
                        return Some(Stop::Yield);
                    }
                }
                Verdict::FlushFirst => return Some(Stop::FlushFirst),
                Verdict::Wait(obstacle) => {
                    self.park(token, obstacle, Some(route));
                    return Some(Stop::Parked);
                }
            }
            if self.is_beyond_memory(token) {
                self.park(token, Obstacle::Memory, None);
                return Some(Stop::Parked);
            }
        }
        None
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

    /// Counts whole and valid messages for their topics, once for all adjacent ones that are alike.
    /// A look at them of its own, so that figures which are not wanted cost nothing.
    fn count_topics_of(&mut self, mut bytes: &[u8]) {
        while let Some(Ok(header)) = bytes.first_chunk::<HEADER_BYTES>().map(Header::parse) {
            let length = header.frame_len();
            let like = &bytes[..HEADER_BYTES + header.topic_len()];
            let mut end = length;
            while bytes[end..].len() >= length && bytes[end..].starts_with(like) {
                end += length;
            }
            let messages = (end / length) as u64;
            self.index.count_messages(&like[HEADER_BYTES..], messages, end as u64);
            bytes = &bytes[end..];
        }
    }

    /// The next run and its route. A message for queue groups is a run of its own, since each
    /// goes to another member.
    fn next_run(&mut self, scan: &mut Scan<'_>) -> Option<(Rc<Route>, Run)> {
        let ahead = scan.ahead.take();
        let (route, first) = ahead.or_else(|| self.look_up(scan, scan.at, None))?;
        let end = scan.at + first;
        let mut run = Run { start: scan.at, end, messages: 1, shortest: first };
        if route.groups.is_empty() {
            loop {
                scan.extend(&mut run);
                if run.messages > 1 {
                    self.index.asked_for_again(scan.topic, &mut self.budget);
                }
                let Some((next, length)) = self.look_up(scan, run.end, Some(&route)) else { break };
                if !Rc::ptr_eq(&next, &route) {
                    scan.ahead = Some((next, length));
                    break;
                }
                run.end += length;
                run.messages += 1;
                run.shortest = run.shortest.min(length);
            }
        }
        scan.at = run.end;
        Some((route, run))
    }

    /// The route and length of the message at `at`, if it is whole and valid, and the route found;
    /// `before` is the route of the message before it.
    fn look_up<'a>(
        &mut self,
        scan: &mut Scan<'a>,
        at: usize,
        before: Option<&Rc<Route>>,
    ) -> Option<(Rc<Route>, usize)> {
        let rest = &scan.bytes[at..];
        let bytes = rest.first_chunk::<HEADER_BYTES>()?;
        let (mut topic_len, mut frame_len) = (scan.topic.len(), scan.frame_len);
        if *bytes != scan.header {
            let header = Header::parse(bytes).ok()?;
            let kind = header.check(Reader::BrokerFromPublisher, self.rules.max_payload).ok()?;
            if kind != Kind::Publish {
                return None;
            }
            (topic_len, frame_len) = (header.topic_len(), header.frame_len());
        }
        if rest.len() < frame_len {
            return None;
        }
        let topic: &'a [u8] = &rest[HEADER_BYTES..HEADER_BYTES + topic_len];
        let route = match before {
            Some(route) if topic == scan.topic => route.clone(),
            _ => {
                self.budget.charge(budget::TOPIC);
                match self.index.route(topic, &mut self.budget) {
                    Ok(route) => route,
                    Err(error) => {
                        scan.is_searching = error == NoRoute::NotYet;
                        return None;
                    }
                }
            }
        };
        (scan.header, scan.topic, scan.frame_len) = (*bytes, topic, frame_len);
        Some((route, frame_len))
    }
}

/// Bytes of the message that begins here; it is known to be whole.
fn message_len(bytes: &[u8]) -> usize {
    let header = bytes.first_chunk::<HEADER_BYTES>().and_then(|head| Header::parse(head).ok());
    header.expect("a run consists of whole messages").frame_len()
}
