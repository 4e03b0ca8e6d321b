//! The threads of a run: starts them, and watches them until all have ended.
//!
//! Must not know what is in messages, nor how the counts are used.

use std::net::Shutdown;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use socket2::Socket;

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

/// How often the threads are checked.
const WATCH: Duration = Duration::from_millis(5);
/// How often a sample of the throughput is taken.
const SAMPLE_NS: u64 = 100_000_000;

/// The connections of a run, and everything that can be prepared before the clock starts.
#[derive(Debug)]
pub(crate) struct Workers {
    /// Subscribers or responders, subscribed.
    receivers: Vec<Link>,
    publishers: Publishers,
    /// To shut down publishers that are stuck.
    sockets: Vec<Socket>,
    /// Whether bytes may be counted unseen.
    skim: bool,
}

#[derive(Debug)]
enum Publishers {
    OfMessages(Vec<(Link, Pace)>),
    OfRequests(Vec<(Link, Inbox)>, usize),
}

impl Workers {
    /// Prepares all threads. `skim`: count by length where possible.
    ///
    /// # Errors
    /// When the broker refuses an inbox.
    pub(crate) fn new(
        plan: &Plan,
        traffic: &Traffic,
        receivers: Vec<Link>,
        publishers: Vec<Link>,
        skim: bool,
    ) -> Result<Workers, Failure> {
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
        Ok(Workers { receivers, publishers, sockets, skim })
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
                    let (schedule, polled) = (Schedule::new(plan, index), 0);
                    let thread = PublisherThread { traffic, schedule, shared, index, link, polled };
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

/// The threads of a run in progress.
pub(crate) struct Threads<'scope> {
    all: Vec<ScopedJoinHandle<'scope, Result<Account, Stopped>>>,
    sockets: Vec<Socket>,
}

impl Threads<'_> {
    /// Waits until all have ended, and samples the throughput meanwhile.
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
                // Ends writes that are blocked because the broker hangs.
                cut = true;
                self.sockets.iter().for_each(|socket| drop(socket.shutdown(Shutdown::Both)));
            }
            thread::sleep(WATCH);
        }
    }

    /// What all of them have measured.
    ///
    /// # Errors
    /// Why the first of them was stopped: publishers are cut off where a subscriber failed, so
    /// theirs is not the reason.
    pub(crate) fn join(self) -> Result<Account, Stopped> {
        let crashed = || Stopped::Failed(Failure::new("a thread of the benchmark crashed"));
        // Joins all threads, even if the first has failed.
        let ended: Vec<_> = self.all.into_iter().map(ScopedJoinHandle::join).collect();
        let mut sum = Account::new();
        for one in ended {
            sum.add(one.map_err(|_| crashed())??);
        }
        Ok(sum)
    }
}
