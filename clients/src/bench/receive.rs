//! The subscribers: one thread reads them all.
//!
//! Where all messages are equally long and none needs to be parsed, most bytes are discarded in the
//! kernel and messages are counted by their length. To detect a miscount, each subscriber's bytes
//! are really read every few milliseconds, and each header in them must be at its place. If one is
//! not, the broker has sent something besides messages, and [`Misread`] makes the run start again
//! with every byte read.
//!
//! [`Misread`]: Stopped::Misread

use std::io::{self, Write};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use socket2::Socket;

use crate::bench::account::Account;
use crate::bench::failure::{Failure, Stopped};
use crate::bench::link::{Address, Link};
use crate::bench::plan::Plan;
use crate::bench::protocol::Protocol;
use crate::bench::shared::Shared;
use crate::bench::subscriber::{Subscriber, Tally};
use crate::bench::traffic::Traffic;

/// Bytes that are discarded at once, at most.
const SKIM_BYTES: usize = 4 << 20;
/// Bytes that are read at once, besides what was left of the last read.
const READ_BYTES: usize = 256 << 10;
/// How often bytes are really read while most are discarded, all subscribers together.
const LOOK_NS: u64 = 5_000_000;
/// Pause between two polls at full speed, so that reads are large and wake-ups few.
const COALESCE: Duration = Duration::from_micros(100);
/// A wait without events, at most.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// When all is published and nothing has arrived for so long, the rest is lost.
const QUIET_NS: u64 = 3_000_000_000;
/// How long verified subscribers may take to confirm that nothing more arrives.
const SETTLE_NS: u64 = 10_000_000_000;

/// The queue group of responders.
const GROUP: &str = "bench";

/// Connects subscribers, or responders, and waits until the broker has confirmed their
/// subscriptions.
///
/// # Errors
/// When it refuses them.
pub(crate) fn connect(
    plan: &Plan,
    traffic: &Traffic,
    address: &Address,
) -> Result<Vec<Link>, Failure> {
    let (who, group) = match plan.requests {
        Some(_) => ("responder", Some(GROUP)),
        None => ("subscriber", None),
    };
    let mut bytes = Vec::new();
    for (filter, sid) in traffic.filters() {
        plan.protocol.subscribe(filter, group, sid, &mut bytes);
    }
    let hint = |failure: Failure| match failure {
        Failure::Failed(text) if text.contains("TOO_MANY") && !plan.wildcard => {
            Failure::new(format!("{text}; --wildcard subscribes to all topics at once"))
        }
        other => other,
    };
    (0..plan.receivers())
        .map(|index| {
            let mut link = Link::connect(format!("{who} {index}"), plan, address)?;
            link.write(&bytes).and_then(|()| link.confirm()).map_err(hint)?;
            Ok(link)
        })
        .collect()
}

/// The thread that reads.
#[derive(Debug)]
pub(crate) struct ReceiverThread<'a> {
    plan: &'a Plan,
    protocol: Protocol,
    shared: &'a Shared,
    subscribers: Vec<Subscriber>,
    tally: Tally<'a>,
    skim: bool,
    keepalive: Duration,
    scratch: Vec<u8>,
}

impl<'a> ReceiverThread<'a> {
    /// Takes over connections that have subscribed. `skim`: count by length where possible.
    pub(crate) fn new(
        plan: &'a Plan,
        traffic: &'a Traffic,
        shared: &'a Shared,
        links: Vec<Link>,
        skim: bool,
    ) -> ReceiverThread<'a> {
        let shape = traffic.shape().filter(|_| !plan.verify);
        let keepalive = links.iter().map(Link::keepalive).min().unwrap_or(Duration::MAX);
        let subscribers = (0..).zip(links).map(|(index, link)| {
            let (stream, unread) = link.into_parts();
            Subscriber::new(index, stream, unread, plan.publishers)
        });
        ReceiverThread {
            plan,
            protocol: plan.protocol,
            shared,
            subscribers: subscribers.collect(),
            // The latency of every message is measured from its due time, so every message is read.
            skim: skim
                && plan.rate.is_none()
                && shape.is_some()
                && plan.protocol.is_only_messages(),
            keepalive,
            tally: Tally::new(plan.protocol, shape, plan.verify.then_some(traffic)),
            // Memory that nothing is written to is never backed by pages.
            scratch: vec![0; SKIM_BYTES],
        }
    }

    /// Reads until all has arrived, or nothing arrives any more.
    ///
    /// # Errors
    /// Why it had to stop; all other threads are then told to stop.
    pub(crate) fn run(mut self) -> Result<Account, Stopped> {
        let ended = self.read_all();
        if ended.is_err() {
            self.shared.abort.store(true, Release);
        }
        ended.map(|()| self.tally.account.closed())
    }

    fn read_all(&mut self) -> Result<(), Stopped> {
        let failed = |errno: Errno| {
            Stopped::Failed(Failure::new(format!("cannot wait for events: {errno}")))
        };
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        for subscriber in &self.subscribers {
            let data = epoll::EventData::new_u64(subscriber.index as u64);
            epoll::add(&poll, &subscriber.stream, data, epoll::EventFlags::IN).map_err(failed)?;
        }
        let mut events = Vec::with_capacity(512);
        let (mut said, mut settling) = (0, None);
        while !self.shared.abort.load(Relaxed) {
            events.clear();
            match epoll::wait(&poll, spare_capacity(&mut events), Some(&WAIT)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
            for event in &events {
                self.readable(event.data.u64() as usize)?;
            }
            let now = self.shared.now_ns();
            self.publish_counts(now);
            if now - said > self.keepalive.as_nanos() as u64 {
                said = now;
                self.say_alive();
            }
            if self.finished(now, &mut settling) {
                break;
            }
            if self.plan.rate.is_none() {
                std::thread::sleep(COALESCE);
            }
        }
        Ok(())
    }

    fn readable(&mut self, index: usize) -> Result<(), Stopped> {
        let subscriber = &mut self.subscribers[index];
        let now = self.shared.now_ns();
        let every = LOOK_NS * self.plan.subscribers as u64;
        let look = subscriber.must_read() || now - subscriber.looked_ns >= every;
        if self.skim && !look {
            let n = receive(&subscriber.stream, &mut self.scratch, RecvFlags::TRUNC)
                .map_err(|error| stopped(index, &error))?;
            return match n {
                None => Ok(()),
                Some(0) => Err(self.closed(index)),
                Some(n) => {
                    subscriber.skip(n, &mut self.tally);
                    Ok(())
                }
            };
        }
        subscriber.looked_ns = now;
        let kept = subscriber.restore(&mut self.scratch, READ_BYTES);
        let space = &mut self.scratch[kept..kept + READ_BYTES];
        match receive(&subscriber.stream, space, RecvFlags::empty()) {
            Err(error) => Err(stopped(index, &error)),
            Ok(Some(0)) => Err(self.closed(index)),
            Ok(n) => {
                let bytes = &self.scratch[..kept + n.unwrap_or(0)];
                // The time at which the bytes had arrived, not that at which the poll began.
                let now = self.shared.now_ns();
                let read = subscriber.read(bytes, now, &mut self.tally);
                read.map_err(|misread| match misread {
                    Some(failure) => Stopped::Failed(failure),
                    None if self.skim => Stopped::Misread,
                    None => Stopped::Failed(Failure::new(format!(
                        "subscriber {index}: what came is not the broker's protocol"
                    ))),
                })
            }
        }
    }

    fn publish_counts(&mut self, now: u64) {
        let (messages, bytes) = self.tally.take_counts();
        self.shared.add_delivered(messages, bytes, now);
    }

    /// Where bytes are discarded, PINGs are too: an unsolicited PONG serves as well.
    fn say_alive(&self) {
        let mut alive = Vec::new();
        self.protocol.alive(&mut alive);
        if !alive.is_empty() {
            self.tell_broker(&alive);
        }
    }

    fn tell_broker(&self, bytes: &[u8]) {
        for subscriber in &self.subscribers {
            // A closed connection is detected by the next read.
            let _ = (&subscriber.stream).write(bytes);
        }
    }

    fn closed(&self, index: usize) -> Stopped {
        let why = self.protocol.closed();
        Stopped::Failed(Failure::new(format!("subscriber {index}: {why}")))
    }

    fn finished(&self, now: u64, settling: &mut Option<u64>) -> bool {
        if self.shared.publishing.load(Acquire) > 0 {
            return false;
        }
        if let Some(since) = *settling {
            return now - since > SETTLE_NS || self.subscribers.iter().all(|one| one.ponged);
        }
        let expected = self.shared.published.load(Relaxed) * self.subscribers.len() as u64;
        let come = self.shared.delivered.load(Relaxed) + self.tally.account.told_lost;
        let last = self.shared.delivered_ns.load(Relaxed);
        let last = last.max(self.shared.confirmed_ns.load(Relaxed));
        let over = come >= expected || now.saturating_sub(last) > QUIET_NS;
        if over && self.plan.verify {
            // Anything still under way, such as a duplicate, arrives before the PONG.
            let mut ping = Vec::new();
            self.protocol.ping(&mut ping);
            self.tell_broker(&ping);
            *settling = Some(now);
            return false;
        }
        over
    }
}

/// Reads bytes if there are any: `None` if not, 0 at the end.
fn receive(stream: &Socket, into: &mut [u8], flags: RecvFlags) -> io::Result<Option<usize>> {
    match recv(stream, into, flags | RecvFlags::DONTWAIT) {
        Ok((_, n)) => Ok(Some(n)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn stopped(index: usize, error: &io::Error) -> Stopped {
    Stopped::Failed(Failure::new(format!("subscriber {index}: {error}")))
}
