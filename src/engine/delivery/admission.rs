//! Looks whether the receivers of a run take it now.
//!
//! Owns the look and what it found. It changes no queue: what is admitted is delivered by
//! `deliver`, which then never fails, waits, or stops half-way.
//!
//! A run that all plain receivers have room for is admitted by one comparison each. Otherwise its
//! first part is admitted for which each receiver is of one mind: it takes all of that part, or
//! none of it. While the socket of a receiver without room may take bytes, it is to be flushed
//! first; so a policy strikes only receivers whose socket is full as well. A message for queue
//! groups is a run by itself, since each goes to another member.
//!
//! Under `block`, a receiver that was found full counts as full until it has drained (`stall`). So
//! that a publisher with a wide route is not kept waiting for ever by others that refill its
//! receivers one by one, the connection that has waited longest needs no room: one message of it is
//! admitted as soon as no outbox on its route is over its limit. Hence no outbox is ever over its
//! limit by more than one message, times the copies of it that the connection gets.

use std::rc::Rc;
use std::time::Instant;

use wire::Encoding;

use super::runs::Run;
use super::waits::Obstacle;
use crate::engine::buffers::chunk::Slice;
use crate::engine::routing::{Route, RouteGroup};
use crate::engine::rules::OverflowPolicy;
use crate::engine::sessions::connection::State;
use crate::engine::token::Token;
use crate::engine::{Engine, budget};

/// What may be queued for one subscriber between two flushes while memory is used up, in bytes.
const ROOM_WITHOUT_MEMORY: usize = 64 << 10;

/// What a look came to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict {
    /// This first part of the run can be delivered now, as `exceptions` and `members` say.
    Deliver(Run),
    /// The connections of `flush_first` are to be flushed; then ask again.
    FlushFirst,
    /// Not now, and what it waits for.
    Wait(Obstacle),
}

/// What becomes of a receiver that is not simply given the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exception {
    /// It is given the run, behind the word of what it has missed.
    TellLost,
    /// It receives nothing any more.
    Left,
    /// The run is kept from it.
    Drop,
    /// It is closed for being slow.
    Close,
}

/// The look at a run. Kept from one to the next for its lists.
#[derive(Default)]
pub(crate) struct Admission {
    /// Plain receivers that are not simply given the run, in the order of the route.
    pub(super) exceptions: Vec<(Token, Exception)>,
    /// For each queue group of the route the member that gets the message; nothing if no member is
    /// left.
    pub(super) members: Vec<Option<(Token, Encoding, Option<Exception>)>>,
    /// Receivers to flush.
    flush_first: Vec<Token>,
    /// By token: bytes that a member was chosen for already, in this look.
    planned: Vec<usize>,
    /// Receivers that were found full, and their obstacle if they are plain ones.
    full: Vec<Token>,
    /// A queue group without room.
    full_group: Option<Obstacle>,
    /// The run is admitted as the one that has waited longest: only its first message is.
    is_oldest: bool,
}

/// How a receiver takes a run.
enum Takes {
    /// These first messages.
    Part(Run),
    /// None of these first messages.
    Nothing(Run),
}

impl Admission {
    fn begin(&mut self, is_oldest: bool) {
        self.exceptions.clear();
        for (token, ..) in self.members.drain(..).flatten() {
            self.planned[token.index()] = 0;
        }
        self.flush_first.clear();
        self.full.clear();
        self.full_group = None;
        self.is_oldest = is_oldest;
    }

    fn planned(&self, token: Token) -> usize {
        self.planned.get(token.index()).copied().unwrap_or(0)
    }

    fn choose(
        &mut self,
        (token, encoding): (Token, Encoding),
        exception: Option<Exception>,
        length: usize,
    ) {
        if self.planned.len() <= token.index() {
            self.planned.resize(token.index() + 1, 0);
        }
        self.planned[token.index()] += length;
        self.members.push(Some((token, encoding, exception)));
    }
}

impl Engine {
    /// Looks whether the receivers of a run take it now, or a first part of it.
    pub(super) fn admit(
        &mut self,
        publisher: Token,
        source: &Slice,
        run: Run,
        route: &Rc<Route>,
        now: Instant,
    ) -> Verdict {
        self.admission.begin(self.waits.is_oldest(publisher));
        let has_room = |token: &Token| self.connections[token.index()].room >= run.len();
        let scarce = !self.may_wait() && self.memory_is_scarce();
        let mut plain = route.plain.iter().flat_map(|audience| &audience.receivers);
        let mut part = run;
        if scarce || !plain.all(has_room) {
            part = self.look_at_plain(source, run, route, scarce, now);
        }
        for group in &route.groups {
            self.look_at_group(group, run.len(), route, scarce, now);
        }
        let admission = &self.admission;
        if !admission.flush_first.is_empty() {
            Verdict::FlushFirst
        } else if let Some(&full) = admission.full.first() {
            Verdict::Wait(Obstacle::Outbox(full))
        } else if let Some(group) = admission.full_group {
            Verdict::Wait(group)
        } else {
            Verdict::Deliver(part)
        }
    }

    /// The connections to flush before asking again.
    pub(crate) fn take_flush_first(&mut self) -> Vec<Token> {
        let mut tokens = std::mem::take(&mut self.admission.flush_first);
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }

    /// Looks at each plain receiver without room for all of a run. Returns the first part of the
    /// run for which each receiver takes all or nothing.
    fn look_at_plain(
        &mut self,
        source: &Slice,
        run: Run,
        route: &Route,
        scarce: bool,
        now: Instant,
    ) -> Run {
        let mut part = run;
        for &token in route.plain.iter().flat_map(|audience| &audience.receivers) {
            let connection = &self.connections[token.index()];
            if connection.room >= part.len() && !scarce {
                continue;
            }
            self.budget.charge(budget::LOOK);
            if connection.state != State::Open {
                self.admission.exceptions.push((token, Exception::Left));
                continue;
            }
            match self.takes(token, source, part, scarce) {
                Takes::Part(taken) => {
                    part = taken;
                    if self.connections[token.index()].untold() > 0 {
                        self.admission.exceptions.push((token, Exception::TellLost));
                    }
                }
                Takes::Nothing(_) if self.schedule.is_writable(token) => {
                    self.admission.flush_first.push(token);
                }
                Takes::Nothing(refused) => match self.rules.policy {
                    OverflowPolicy::Block => {
                        self.admission.full.push(token);
                        self.begin_stall(token, refused.first_len(source), now);
                    }
                    OverflowPolicy::Drop => {
                        part = refused;
                        self.admission.exceptions.push((token, Exception::Drop));
                    }
                    OverflowPolicy::Disconnect => {
                        self.admission.exceptions.push((token, Exception::Close));
                    }
                },
            }
        }
        part
    }

    /// How a receiver takes the beginning of a run.
    fn takes(&self, token: Token, source: &Slice, run: Run, scarce: bool) -> Takes {
        let room = self.room_behind(token, 0, scarce);
        let part = run.fitting(room, source);
        if part.messages > 0 {
            Takes::Part(part)
        } else if self.takes_any(token) {
            Takes::Part(run.first(source))
        } else {
            Takes::Nothing(run.not_fitting(room, source))
        }
    }

    /// Bytes that a receiver has room for behind what is queued and so many bytes more.
    fn room_behind(&self, token: Token, planned: usize, scarce: bool) -> usize {
        let connection = &self.connections[token.index()];
        if self.may_wait() && connection.stall.is_some() {
            return 0;
        }
        let limit = match (scarce, self.schedule.is_writable(token)) {
            (false, _) => self.rules.outbox_bytes,
            (true, true) => self.rules.outbox_bytes.min(ROOM_WITHOUT_MEMORY),
            (true, false) => 0,
        };
        let lost = match connection.untold() {
            0 => 0,
            _ => connection.role.protocol.lost_bytes(),
        };
        limit.saturating_sub(connection.outbox.queued() + planned + lost)
    }

    /// Whether a receiver takes a message however large: its outbox is empty, or not over its limit
    /// and the publisher has waited longest.
    fn takes_any(&self, token: Token) -> bool {
        let queued = self.outbox(token).queued();
        queued == 0 || (self.admission.is_oldest && queued <= self.rules.outbox_bytes)
    }

    /// Chooses the member of a queue group that gets a message of so many bytes: the first one with
    /// room, beginning with the one whose turn it is. If none has room, the policy strikes that
    /// one.
    fn look_at_group(
        &mut self,
        group: &RouteGroup,
        length: usize,
        route: &Route,
        scarce: bool,
        now: Instant,
    ) {
        let is_known_full = self.waits.is_group_full(group) && !self.admission.is_oldest;
        if is_known_full && self.may_wait() {
            self.admission.full_group = Some(Obstacle::Group(group.group));
            return;
        }
        let (mut looks, mut first, mut chosen) = (0, None, None);
        let mut full = Vec::new();
        for (member, encoding) in self.index.members(group) {
            looks += 1;
            let connection = &self.connections[member.index()];
            if connection.state != State::Open {
                continue;
            }
            first = first.or(Some((member, encoding)));
            if self.takes_one(member, length, route, scarce) {
                chosen = Some((member, encoding));
                break;
            }
            full.push(member);
        }
        self.budget.charge(looks * budget::LOOK);
        if let Some(member) = chosen {
            let tells = self.connections[member.0.index()].untold() > 0;
            self.admission.choose(member, tells.then_some(Exception::TellLost), length);
            return;
        }
        let Some(first) = first else {
            self.admission.members.push(None);
            return;
        };
        let before = self.admission.flush_first.len();
        let schedule = &self.schedule;
        let writable = full.iter().copied().filter(|member| schedule.is_writable(*member));
        self.admission.flush_first.extend(writable);
        if self.admission.flush_first.len() > before {
            return;
        }
        let exception = match self.rules.policy {
            OverflowPolicy::Block => {
                full.into_iter().for_each(|member| self.begin_stall(member, length, now));
                self.admission.full_group = Some(Obstacle::Group(group.group));
                return;
            }
            OverflowPolicy::Drop => Exception::Drop,
            OverflowPolicy::Disconnect => Exception::Close,
        };
        self.admission.choose(first, Some(exception), 0);
    }

    /// Whether a member takes a message of so many bytes, with all other copies of it.
    fn takes_one(&self, member: Token, length: usize, route: &Route, scarce: bool) -> bool {
        let planned = self.admission.planned(member) + length * route.plain_copies(member);
        self.room_behind(member, planned, scarce) >= length || self.takes_any(member)
    }
}
