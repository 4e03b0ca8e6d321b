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

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use smallvec::smallvec;
use wire::Encoding;

use super::run::{Copies, Run};
use super::waits::Obstacle;
use crate::engine::buffers::chunk::Slice;
use crate::engine::routing::{Member, Route};
use crate::engine::rules::OverflowPolicy;
use crate::engine::sessions::protocol::Protocol;
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
    /// It is given nothing: it has left, or it is the publisher and wants no messages of its own.
    Nothing,
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
    pub(super) members: Vec<Option<(Member, Option<Exception>)>>,
    /// Receivers that are closed with it, and given nothing else.
    closing: Vec<Token>,
    /// Receivers to flush.
    flush_first: Vec<Token>,
    /// By token: bytes that a member was chosen for already, in this look.
    planned: Vec<usize>,
    /// Connections that get several copies and were looked at already.
    looked_at: HashMap<Token, Option<Exception>>,
    /// The publisher, if it wants no messages of its own.
    silent: Option<Token>,
    /// Receivers that were found full, and their obstacle if they are plain ones.
    full: Vec<Token>,
    /// A queue group without room.
    full_group: Option<Obstacle>,
    /// The run is admitted as the one that has waited longest: only its first message is.
    is_oldest: bool,
    /// The publisher has waited since before the rules changed, which closes nobody.
    is_exempt: bool,
}

/// How a receiver takes a run.
enum Takes {
    /// These first messages.
    Part(Run),
    /// None of these first messages.
    Nothing(Run),
}

impl Admission {
    fn begin(&mut self, is_oldest: bool, silent: Option<Token>) {
        self.silent = silent;
        self.exceptions.clear();
        for (member, _) in self.members.drain(..).flatten() {
            self.planned[member.token.index()] = 0;
        }
        if !self.looked_at.is_empty() {
            self.looked_at.clear();
        }
        self.closing.clear();
        self.flush_first.clear();
        self.full.clear();
        self.full_group = None;
        self.is_oldest = is_oldest;
    }

    fn planned(&self, token: Token) -> usize {
        self.planned.get(token.index()).copied().unwrap_or(0)
    }

    fn choose(&mut self, member: Member, exception: Option<Exception>, length: usize) {
        let place = member.token.index();
        if self.planned.len() <= place {
            self.planned.resize(place + 1, 0);
        }
        self.planned[place] += length;
        self.members.push(Some((member, exception)));
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
        let is_silent = match run.protocol {
            Protocol::Native => false,
            Protocol::Nats => !self.connections[publisher.index()].wants_echo(),
            Protocol::Leaf => route.leads_to_hub() || !route.groups.is_empty(),
        };
        let silent = is_silent.then_some(publisher);
        self.admission.begin(self.waits.is_oldest(publisher), silent);
        self.admission.is_exempt = self.waits.is_exempt(publisher);
        let is_scarce = !self.rules.only_block() && self.memory_is_scarce();
        let mut part = run;
        let is_hub_limited = route.leads_to_hub() && self.limit_of_hub().is_some();
        let needs_look = is_scarce || route.needs_look || silent.is_some() || is_hub_limited;
        if needs_look || !self.all_have_room(&run, route) {
            part = self.look_at_plain(source, run, route, is_scarce, now);
        }
        for group in &route.groups {
            if run.protocol == Protocol::Leaf && !self.is_named(group, source, &run) {
                self.admission.members.push(None);
            } else {
                self.look_at_group(group, source, &run, route, is_scarce, now);
            }
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

    /// Whether all plain receivers have room for a run of which each gets one copy.
    fn all_have_room(&self, run: &Run, route: &Route) -> bool {
        route.plain.iter().all(|audience| {
            let length = run.len_in(audience.encoding, self.index.sid_bytes(audience.encoding));
            let has_room = |token: &Token| self.connections[token.index()].room >= length;
            audience.receivers.iter().all(has_room)
        })
    }

    /// Looks at each plain receiver without room for all of a run. Returns the first part of the
    /// run for which each receiver takes all or nothing.
    fn look_at_plain(
        &mut self,
        source: &Slice,
        run: Run,
        route: &Route,
        is_scarce: bool,
        now: Instant,
    ) -> Run {
        let mut part = run;
        for audience in &route.plain {
            let one = self.copies_in(audience.encoding);
            let is_limited = audience.encoding == Encoding::Leaf && self.limit_of_hub().is_some();
            for (place, &token) in audience.receivers.iter().enumerate() {
                if let Some(id) = audience.subscriptions.get(place)
                    && let Some(left) = self.index.left(*id)
                {
                    part = part.first(source, left);
                }
                let connection = &self.connections[token.index()];
                let has_one = !is_limited && !route.needs_look && self.admission.silent.is_none();
                if has_one && !is_scarce && connection.room >= one.of(&part) {
                    continue;
                }
                self.budget.charge(budget::LOOK);
                let exception = if route.needs_look {
                    self.look_at_copies(token, source, &mut part, route, is_scarce, now)
                } else {
                    self.look_at_one(token, source, &mut part, &one, is_scarce, now)
                };
                self.admission.exceptions.extend(exception.map(|it| (token, it)));
            }
        }
        part
    }

    /// The same for a connection that may get several copies: all of them or none.
    fn look_at_copies(
        &mut self,
        token: Token,
        source: &Slice,
        part: &mut Run,
        route: &Route,
        is_scarce: bool,
        now: Instant,
    ) -> Option<Exception> {
        if let Some(&found) = self.admission.looked_at.get(&token) {
            return found.filter(|it| *it != Exception::TellLost);
        }
        let copies = self.copies_of(token, route);
        let found = self.look_at_one(token, source, part, &copies, is_scarce, now);
        self.admission.looked_at.insert(token, found);
        found
    }

    /// How a connection takes the first part of a run, which may become a shorter one.
    fn look_at_one(
        &mut self,
        token: Token,
        source: &Slice,
        part: &mut Run,
        copies: &Copies,
        is_scarce: bool,
        now: Instant,
    ) -> Option<Exception> {
        let connection = &self.connections[token.index()];
        if !connection.is_receiver() || self.is_silent(token) {
            return Some(Exception::Nothing);
        }
        if connection.is_lost() {
            return Some(Exception::Drop);
        }
        if let Some(most) = connection.most_payload() {
            let too_large = part.while_bodies(source, |body| body > most);
            if too_large.messages > 0 {
                *part = too_large;
                return Some(Exception::Drop);
            }
            *part = part.while_bodies(source, |body| body <= most);
        }
        let refused = match self.takes(token, source, *part, copies, is_scarce) {
            Takes::Part(taken) => {
                *part = taken;
                let is_untold = self.connections[token.index()].untold() > 0;
                return is_untold.then_some(Exception::TellLost);
            }
            Takes::Nothing(refused) => refused,
        };
        if self.schedule.is_writable(token) {
            self.admission.flush_first.push(token);
            return None;
        }
        match self.rules_of(token).policy {
            _ if self.connections[token.index()].holds_up(&self.rules) => {
                self.admission.full.push(token);
                self.begin_stall(token, copies.of_first(refused, source), now);
                None
            }
            OverflowPolicy::Block => unreachable!("one that blocks holds up"),
            OverflowPolicy::Drop => {
                *part = refused;
                Some(Exception::Drop)
            }
            OverflowPolicy::Disconnect => {
                self.admission.closing.push(token);
                Some(Exception::Close)
            }
        }
    }

    /// Whether a connection is not given what is published: its own messages, if it wants none of
    /// those, and a hub those of any hub.
    fn is_silent(&self, token: Token) -> bool {
        self.admission.silent.is_some_and(|publisher| {
            publisher == token || (self.is_hub(publisher) && self.is_hub(token))
        })
    }

    /// One copy in an encoding.
    fn copies_in(&self, encoding: Encoding) -> Copies {
        Copies(smallvec![(encoding, self.index.sid_bytes(encoding))])
    }

    /// All copies that a connection gets through its plain subscriptions.
    fn copies_of(&self, token: Token, route: &Route) -> Copies {
        let encodings = route.plain_encodings(token);
        Copies(encodings.map(|it| (it, self.index.sid_bytes(it))).collect())
    }

    /// How a receiver takes the beginning of a run.
    fn takes(
        &self,
        token: Token,
        source: &Slice,
        run: Run,
        copies: &Copies,
        is_scarce: bool,
    ) -> Takes {
        let room = self.room_behind(token, 0, is_scarce);
        let part = run.fitting(room, source, copies);
        if part.messages > 0 {
            Takes::Part(part)
        } else if self.takes_any(token, copies.of_first(run, source)) {
            Takes::Part(run.first(source, 1))
        } else {
            Takes::Nothing(run.not_fitting(room, source, copies))
        }
    }

    /// Bytes that a receiver has room for behind what is queued and so many bytes more.
    fn room_behind(&self, token: Token, planned: usize, is_scarce: bool) -> usize {
        let connection = &self.connections[token.index()];
        let rules = self.rules_of(token);
        let blocks = rules.policy == OverflowPolicy::Block;
        if connection.counts_as_full(&self.rules) {
            return 0;
        }
        let limit = match (is_scarce && !blocks, self.schedule.is_writable(token)) {
            (false, _) => connection.limit(&self.rules),
            (true, true) => rules.outbox_bytes.min(ROOM_WITHOUT_MEMORY),
            (true, false) => 0,
        };
        let lost = match connection.untold() {
            0 => 0,
            _ => connection.role.protocol.lost_bytes(),
        };
        limit.saturating_sub(connection.outbox.queued() + planned + lost)
    }

    /// Whether a receiver takes a message however large: its outbox is empty, or it is waited for,
    /// is not over its limit, and the publisher has waited longest.
    fn takes_any(&self, token: Token, length: usize) -> bool {
        let queued = self.outbox(token).queued();
        let connection = &self.connections[token.index()];
        if queued == 0 || !self.admission.is_oldest {
            return queued == 0;
        }
        let rules = self.rules_of(token);
        if connection.limit(&self.rules) < rules.outbox_bytes {
            // It is waited for at less than it may have, which it has even so.
            queued + length <= rules.outbox_bytes
        } else {
            let blocks = rules.policy == OverflowPolicy::Block;
            (blocks || self.admission.is_exempt) && queued <= rules.outbox_bytes
        }
    }
}

mod groups;
