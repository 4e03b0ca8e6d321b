//! The threads of a run: who does what, and watching them until all have ended.
//!
//! Must not know what is in messages, nor what becomes of the counts.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use crate::bench::account::Account;
use crate::bench::blocks::Blocks;
use crate::bench::failure::{Failure, Stopped};
use crate::bench::link::Link;
use crate::bench::outcome::Sample;
use crate::bench::plan::Plan;
use crate::bench::progress::Progress;
use crate::bench::publish::{Pace, PublisherThread};
use crate::bench::receive::ReceiverThread;
use crate::bench::requests::{Inbox, RequesterThread, ResponderThread};
use crate::bench::schedule::Schedule;
use crate::bench::shared::Shared;
use crate::bench::traffic::Traffic;

/// How often the threads are looked at.
const WATCH: Duration = Duration::from_millis(5);
/// How often a point of throughput over time is kept.
const SAMPLE_NS: u64 = 100_000_000;

/// Who takes part, connected, and all that can be ready before the clock starts.
#[derive(Debug)]
pub(crate) struct Crew {
    /// Subscribers or responders, subscribed.
    receivers: Vec<Link>,
    publishers: Publishers,
    /// To cut off those who are stuck.
    sockets: Vec<TcpStream>,
    /// Whether bytes may be counted unseen.
    skim: bool,
}

#[derive(Debug)]
enum Publishers {
    OfMessages(Vec<(Link, Pace)>),
    OfRequests(Vec<(Link, Inbox)>, usize),
}

impl Crew {
    /// Gets everybody ready. `skim`: count by length where possible.
    ///
    /// # Errors
    /// When the broker refuses an inbox.
    pub(crate) fn new(
        plan: &Plan,
        traffic: &Traffic,
        receivers: Vec<Link>,
        publishers: Vec<Link>,
        skim: bool,
    ) -> Result<Crew, Failure> {
        let sockets = publishers.iter().filter_map(|link| link.stream.try_clone().ok()).collect();
        let publishers = match plan.requests {
            None => {
                let ready = |(index, link)| (link, pace(plan, traffic, index));
                Publishers::OfMessages((0..).zip(publishers).map(ready).collect())
            }
            Some(requests) => {
                let ready = |mut link| {
                    let inbox = Inbox::open(&mut link)?;
                    Ok((link, inbox))
                };
                let ready: Result<_, Failure> = publishers.into_iter().map(ready).collect();
                Publishers::OfRequests(ready?, requests.window)
            }
        };
        Ok(Crew { receivers, publishers, sockets, skim })
    }

    /// Starts a thread for each job. Those whose failure is the reason for others' come first.
    pub(crate) fn start<'scope, 'run>(
        self,
        scope: &'scope Scope<'scope, 'run>,
        plan: &'run Plan,
        traffic: &'run Traffic,
        shared: &'run Shared,
    ) -> Threads<'scope> {
        let mut all = Vec::new();
        let (receivers, skim) = (self.receivers, self.skim);
        match self.publishers {
            Publishers::OfMessages(publishers) => {
                if plan.subscribers > 0 {
                    let thread = ReceiverThread::new(plan, traffic, shared, receivers, skim);
                    all.push(scope.spawn(move || thread.run()));
                }
                all.extend((0..).zip(publishers).map(|(index, (link, pace))| {
                    let (schedule, heeded) = (Schedule::new(plan, index), 0);
                    let thread = PublisherThread { traffic, schedule, shared, index, link, heeded };
                    scope.spawn(move || thread.run(pace))
                }));
            }
            Publishers::OfRequests(requesters, window) => {
                all.extend(receivers.into_iter().map(|link| {
                    let thread = ResponderThread { shared, link };
                    scope.spawn(move || thread.run())
                }));
                all.extend((0..).zip(requesters).map(|(index, (link, inbox))| {
                    let (schedule, verify) = (Schedule::new(plan, index), plan.verify);
                    let thread = RequesterThread {
                        traffic,
                        schedule,
                        shared,
                        index,
                        link,
                        inbox,
                        window,
                        verify,
                    };
                    scope.spawn(move || thread.run())
                }));
            }
        }
        Threads { all, sockets: self.sockets }
    }
}

fn pace(plan: &Plan, traffic: &Traffic, index: usize) -> Pace {
    match plan.rate {
        Some(_) => Pace::Scheduled,
        None if plan.verify => Pace::Numbered,
        None => Pace::Blocks(Blocks::new(traffic, index)),
    }
}

/// The threads of a run that goes on.
pub(crate) struct Threads<'scope> {
    all: Vec<ScopedJoinHandle<'scope, Result<Account, Stopped>>>,
    sockets: Vec<TcpStream>,
}

impl Threads<'_> {
    /// Waits until all have ended, keeping points of throughput meanwhile.
    pub(crate) fn watch(
        &self,
        plan: &Plan,
        shared: &Shared,
        progress: &mut Progress,
    ) -> Vec<Sample> {
        let mut timeline = vec![Sample { seconds: 0.0, published: 0, delivered: 0 }];
        let mut next = SAMPLE_NS;
        let mut cut = false;
        loop {
            let over = self.all.iter().all(ScopedJoinHandle::is_finished);
            let now = shared.now_ns();
            if over || now >= next {
                next = now + SAMPLE_NS;
                let sample = Sample {
                    seconds: now as f64 / 1e9,
                    published: shared.published.load(Relaxed),
                    delivered: shared.delivered.load(Relaxed),
                };
                progress.update(plan, &sample);
                timeline.push(sample);
            }
            if over {
                progress.finish();
                return timeline;
            }
            if shared.abort.load(Acquire) && !cut {
                // Whoever is stuck in a write, to a broker that hangs, gets out of it so.
                cut = true;
                self.sockets.iter().for_each(|socket| drop(socket.shutdown(Shutdown::Both)));
            }
            thread::sleep(WATCH);
        }
    }

    /// What all of them have seen.
    ///
    /// # Errors
    /// Why the first of them was stopped: publishers are cut off where a subscriber failed, so
    /// theirs is not the reason.
    pub(crate) fn join(self) -> Result<Account, Stopped> {
        let crashed = || Stopped::Failed(Failure::new("a thread of the benchmark crashed"));
        // All are waited for, whatever becomes of the first.
        let ended: Vec<_> = self.all.into_iter().map(ScopedJoinHandle::join).collect();
        let mut sum = Account::new();
        for one in ended {
            sum.add(one.map_err(|_| crashed())??);
        }
        Ok(sum)
    }
}
