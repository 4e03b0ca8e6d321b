//! Cuts what a publisher sent into runs: adjacent messages with the same receivers.
//!
//! This is the path that every message takes, so it must do nothing twice: a message that looks
//! like the one before it costs two comparisons. Must not know who the receivers are, nor deliver.

use std::rc::Rc;
use std::time::Instant;

use log::{Level, log_enabled, trace};

use super::chunk::Slice;
use super::deliver::{GroupsReady, Run};
use super::receive::Stop;
use super::topic_index::{NoRoute, Route};
use super::{Broker, Token};
use wire::native::frame::{HEADER_BYTES, Header, Kind, Reader};

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
    /// The route of the next message is not found yet: it is somebody else's turn.
    unfinished: bool,
}

impl Scan<'_> {
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

impl Broker {
    /// Carries out all messages from `at` up to a frame that is something else, not whole, or not
    /// valid; `None` then.
    pub(super) fn carry_messages(
        &mut self,
        token: Token,
        input: &Slice,
        at: &mut usize,
        now: Instant,
    ) -> Option<Stop> {
        let start = *at;
        let stop = self.carry_runs(token, input, at, now);
        if self.index.is_counting() {
            self.count_topics_of(&input.bytes()[start..*at]);
        }
        stop
    }

    fn carry_runs(
        &mut self,
        token: Token,
        input: &Slice,
        at: &mut usize,
        now: Instant,
    ) -> Option<Stop> {
        let bytes = input.bytes();
        // Eight zeros are no header, so nothing is taken to be like a message before the first.
        let (header, topic, frame_len) = ([0; HEADER_BYTES], &bytes[..0], usize::MAX);
        let (ahead, unfinished) = (None, false);
        let mut scan = Scan { bytes, at: *at, header, topic, frame_len, ahead, unfinished };
        while let Some((route, run)) = self.next_run(&mut scan) {
            if log_enabled!(Level::Trace) {
                let (publisher, plain) = (&self.connections[token.index()], route.plain.len());
                trace!("{} messages from {publisher} to {plain} subscribers", run.messages);
            }
            if !route.groups.is_empty() {
                // Looking for members with room may be much work, too.
                if self.index.has_worked_enough() {
                    return Some(Stop::Yield);
                }
                match self.groups_ready(&route, run.len()) {
                    GroupsReady::Yes => self.deliver_to_groups(token, input, run, &route, now),
                    GroupsReady::FlushFirst => return Some(Stop::FlushFirst),
                    GroupsReady::No(group) => {
                        self.wait_for_group(token, group, run.len(), now);
                        return Some(Stop::Parked);
                    }
                }
            }
            *at = run.end;
            if !self.deliver(token, input, run, &route, now) {
                return Some(Stop::FlushFirst);
            }
            if scan.unfinished {
                return Some(Stop::Yield);
            }
            if self.is_beyond_memory(token) {
                return Some(self.stop_for_memory(token));
            }
        }
        scan.unfinished.then_some(Stop::Yield)
    }

    /// Counts whole and valid messages for their topics, once for all adjacent ones that are alike.
    /// A look at them of its own, so that nobody pays for figures that nobody wants.
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
            _ => match self.index.route(topic) {
                Ok(route) => route,
                Err(error) => {
                    scan.unfinished = error == NoRoute::NotYet;
                    return None;
                }
            },
        };
        (scan.header, scan.topic, scan.frame_len) = (*bytes, topic, frame_len);
        Some((route, frame_len))
    }
}
