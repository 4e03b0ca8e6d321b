//! Requests: the threads that make them, and those that answer.
//!
//! A requester has one inbox, and leaves as many requests without an answer as the plan's window
//! allows. Responders send back what they received. Needs a protocol with replies.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use crate::bench::account::Account;
use crate::bench::failure::{Failure, Stopped};
use crate::bench::link::Link;
use crate::bench::protocol::{Incoming, Message};
use crate::bench::publish::sleep_precisely;
use crate::bench::schedule::Schedule;
use crate::bench::shared::Shared;
use crate::bench::traffic::{Number, Traffic};

/// Bytes of requests in one write; answers are polled after it.
const WRITE_BYTES: usize = 64 << 10;
/// A wait without answers, at most.
const WAIT: Duration = Duration::from_millis(20);
/// A request that was not answered for so long is lost.
const LOST_NS: u64 = 3_000_000_000;

/// The topics of the answers to one requester.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// What their topics begin with; the number of the request follows.
    prefix: String,
}

impl Inbox {
    /// A unique one, subscribed to and confirmed.
    ///
    /// # Errors
    /// When the broker refuses it.
    pub(crate) fn open(link: &mut Link) -> Result<Inbox, Failure> {
        let prefix = format!("_INBOX.{:016x}.", fastrand::u64(..));
        let mut bytes = Vec::new();
        link.protocol.subscribe(&format!("{prefix}*"), None, "0", &mut bytes);
        link.write(&bytes)?;
        link.confirm()?;
        Ok(Inbox { prefix })
    }

    /// The number of the request that is answered on this topic.
    fn number_of(&self, topic: &[u8]) -> Option<u64> {
        let number = topic.strip_prefix(self.prefix.as_bytes())?;
        std::str::from_utf8(number).ok()?.parse().ok()
    }
}

/// A request without an answer.
#[derive(Debug, Clone, Copy)]
struct Open {
    number: u64,
    /// When it was written.
    since: u64,
    /// What its latency counts from.
    from: u64,
}

/// One requester.
#[derive(Debug)]
pub(crate) struct RequesterThread<'a> {
    /// What is requested.
    pub(crate) traffic: &'a Traffic,
    /// When.
    pub(crate) schedule: Schedule,
    /// What the threads of the run share.
    pub(crate) shared: &'a Shared,
    /// Which one it is.
    pub(crate) index: usize,
    /// Its connection.
    pub(crate) link: Link,
    /// Where answers arrive.
    pub(crate) inbox: Inbox,
    /// How many requests may be without an answer.
    pub(crate) window: usize,
    /// Whether answers must equal their requests.
    pub(crate) verify: bool,
}

impl RequesterThread<'_> {
    /// Makes its requests, and waits until all are answered, or lost.
    ///
    /// # Errors
    /// When the broker refused one or was lost, or there is no responder; the run then ends.
    pub(crate) fn run(mut self) -> Result<Account, Stopped> {
        sleep_precisely();
        let mut account = Account::new();
        let done = self.all(&mut account).and_then(|()| self.link.confirm());
        self.shared.publisher_ends(done.is_ok());
        done?;
        Ok(account.closed())
    }

    fn all(&mut self, account: &mut Account) -> Result<(), Failure> {
        let (mut number, mut open) = (0, VecDeque::new());
        loop {
            let now = self.shared.now_ns();
            let over = self.schedule.is_over(now) || self.shared.is_told_to_stop();
            if self.shared.abort.load(Relaxed) {
                return Ok(());
            }
            if !over {
                self.send(&mut number, now, &mut open, account)?;
            }
            let more = !over && self.schedule.has(number);
            if open.is_empty() && !more {
                return Ok(());
            }
            // Lost requests make room for others.
            while open.front().is_some_and(|first: &Open| now - first.since > LOST_NS) {
                open.pop_front();
            }
            let has_room = more && open.len() < self.window;
            let until_due = self.schedule.due(number).saturating_sub(now);
            let wait = if has_room { Duration::from_nanos(until_due).min(WAIT) } else { WAIT };
            self.receive(wait, &mut open, account)?;
        }
    }

    /// Writes what is due and has room, at once.
    fn send(
        &mut self,
        number: &mut u64,
        now: u64,
        open: &mut VecDeque<Open>,
        account: &mut Account,
    ) -> Result<(), Failure> {
        let (schedule, first) = (self.schedule, *number);
        let (mut bytes, mut payload, mut reply) = (Vec::new(), 0, String::new());
        let is_due = |number| schedule.has(number) && schedule.due(number) <= now;
        while open.len() < self.window && is_due(*number) && bytes.len() < WRITE_BYTES {
            let due = schedule.due(*number);
            if due > 0 {
                account.late.saturating_record(now - due);
            }
            reply.clone_from(&self.inbox.prefix);
            reply.push_str(&number.to_string());
            let (index, reply) = (self.index, reply.as_bytes());
            payload += self.traffic.encode_request(index, *number, reply, &mut bytes).len() as u64;
            open.push_back(Open {
                number: *number,
                since: now,
                from: if due > 0 { due } else { now },
            });
            *number += 1;
        }
        if !bytes.is_empty() {
            self.link.write(&bytes)?;
            self.shared.add_published(*number - first, payload);
        }
        Ok(())
    }

    fn receive(
        &mut self,
        wait: Duration,
        open: &mut VecDeque<Open>,
        account: &mut Account,
    ) -> Result<(), Failure> {
        let (mut answers, mut bytes) = (0, 0);
        let (inbox, index) = (&self.inbox, self.index);
        let checked = self.verify.then_some(self.traffic);
        let (shared, mut come) = (self.shared, None);
        self.link.receive(wait, |incoming| match incoming {
            Incoming::Message(message) => {
                let now = *come.get_or_insert_with(|| shared.now_ns());
                let which = inbox.number_of(message.topic);
                let place = open.iter().position(|one| Some(one.number) == which);
                let Some(open) = place.and_then(|place| open.remove(place)) else {
                    account.faults.add(|| format!("requester {index}: {}", unasked(which)));
                    return Ok(());
                };
                (answers, bytes) = (answers + 1, bytes + message.payload.len() as u64);
                account.latency.saturating_record(now.saturating_sub(open.from).max(1));
                let expected = Number { publisher: index, number: open.number };
                if let Some(wrong) = checked.and_then(|traffic| wrong(traffic, message, expected)) {
                    account.faults.add(|| format!("requester {index}: {wrong}"));
                }
                Ok(())
            }
            Incoming::NoResponders => Err("nobody is there to answer (the broker says 503); \
                did a responder lose its connection?"
                .to_owned()),
            _ => Ok(()),
        })?;
        self.shared.add_delivered(answers, bytes, self.shared.now_ns());
        Ok(())
    }
}

fn unasked(which: Option<u64>) -> String {
    match which {
        Some(number) => format!("an answer to {number}, twice or too late"),
        None => "an answer to no request of ours".to_owned(),
    }
}

/// What is wrong with an answer.
fn wrong(traffic: &Traffic, message: &Message<'_>, expected: Number) -> Option<String> {
    match traffic.check_payload(message.payload) {
        Ok(came) if came == expected => None,
        Ok(came) => Some(format!("{expected} was answered by {came}")),
        Err(what) => Some(what),
    }
}

/// One responder.
#[derive(Debug)]
pub(crate) struct ResponderThread<'a> {
    /// What the threads of the run share.
    pub(crate) shared: &'a Shared,
    /// Its connection, subscribed.
    pub(crate) link: Link,
}

impl ResponderThread<'_> {
    /// Answers until all requesters have ended.
    ///
    /// # Errors
    /// When the broker refused an answer or was lost; the run then ends.
    pub(crate) fn run(mut self) -> Result<Account, Stopped> {
        let answered = self.all();
        if answered.is_err() {
            self.shared.abort.store(true, Release);
        }
        answered?;
        Ok(Account::new().closed())
    }

    fn all(&mut self) -> Result<(), Failure> {
        let (protocol, mut answers) = (self.link.protocol, Vec::new());
        while self.shared.publishing.load(Acquire) > 0 && !self.shared.abort.load(Relaxed) {
            answers.clear();
            self.link.receive(WAIT, |incoming| {
                if let Incoming::Message(Message { reply: Some(reply), payload, .. }) = incoming {
                    protocol.publish(reply, None, payload, &mut answers);
                }
                Ok(())
            })?;
            if !answers.is_empty() {
                self.link.write(&answers)?;
            }
        }
        Ok(())
    }
}
