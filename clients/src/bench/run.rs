//! One run: connects, starts the threads, watches them, and makes figures of what they counted.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::net::sockopt::set_socket_send_buffer_size;

use crate::bench::embedded::EmbeddedBroker;
use crate::bench::failure::Failure;
use crate::bench::figures::Figures;
use crate::bench::link::{self, Link};
use crate::bench::plan::{Place, Plan};
use crate::bench::process::{self, Cpu};
use crate::bench::progress::Progress;
use crate::bench::publish::{Published, PublisherThread};
use crate::bench::receive::{self, Received, ReceiverThread, Stopped};
use crate::bench::shared::{Shared, latency_histogram};
use crate::bench::traffic::{Blocks, Traffic};

/// How often the threads are looked at.
const WATCH: Duration = Duration::from_millis(5);
/// How often a point of throughput over time is kept.
const SAMPLE_NS: u64 = 100_000_000;
/// Socket buffers of publishers as fast as it goes: large ones would hide a slow broker behind
/// bytes that wait, and what waits in them is no longer in the cache when the broker reads it.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// The same, where each message is copied to so many subscribers that caches are short.
const SMALL_SEND_BUFFER_BYTES: usize = 32 << 10;
const MANY_SUBSCRIBERS: usize = 100;

/// The shortest run of which the system's ticks, of 10 ms each, tell something.
const TICKS_SECONDS: f64 = 0.5;
/// The least CPU time, in seconds, of which they tell who used it: 20 of them.
const TOLD_APART_SECONDS: f64 = 0.2;

/// The broker that is measured.
#[derive(Debug)]
pub(crate) struct Broker {
    publishers: SocketAddr,
    subscribers: SocketAddr,
    /// Its process, if that is on this machine and we may look at it.
    pub(crate) pid: Option<u32>,
    /// Its name and version; empty before the first run.
    pub(crate) server: String,
    embedded: Option<EmbeddedBroker>,
    stop: Arc<AtomicBool>,
}

/// One run, done.
#[derive(Debug)]
pub(crate) struct Run {
    /// What it came to.
    pub(crate) figures: Figures,
    /// Latency of all messages that were timed, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// Throughput over time.
    pub(crate) timeline: Vec<Sample>,
    /// What `--verify` found, the first few in words.
    pub(crate) faults: Vec<String>,
    /// How many it found.
    pub(crate) fault_count: u64,
}

/// The counters at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// Seconds since the start of the run.
    pub(crate) seconds: f64,
    /// Messages published until then.
    pub(crate) published: u64,
    /// Messages delivered until then.
    pub(crate) delivered: u64,
}

impl Broker {
    /// Finds the broker of the plan, or starts one. Its runs end early when `stop` says so.
    ///
    /// # Errors
    /// When its host is unknown, or it does not start.
    pub(crate) fn find(plan: &Plan, stop: Arc<AtomicBool>) -> Result<Broker, Failure> {
        let (host, publisher_port, subscriber_port, embedded) = match &plan.place {
            Place::Embedded => {
                let broker = EmbeddedBroker::start()?;
                let host = "127.0.0.1".to_owned();
                (host, broker.publisher_port, broker.subscriber_port, Some(broker))
            }
            Place::At { host, publisher_port, subscriber_port } => {
                (host.clone(), *publisher_port, *subscriber_port, None)
            }
        };
        let publishers = link::resolve(&host, publisher_port)?;
        let known = plan.broker_pid.or(embedded.as_ref().map(EmbeddedBroker::pid));
        Ok(Broker {
            publishers,
            subscribers: link::resolve(&host, subscriber_port)?,
            pid: known.or_else(|| process::listener_on(publishers)),
            server: String::new(),
            embedded,
            stop,
        })
    }

    /// Whether it is one of our own.
    pub(crate) fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// Where it is, for people.
    pub(crate) fn address(&self) -> String {
        format!(
            "{}, publishers on port {}, subscribers on port {}",
            self.publishers.ip(),
            self.publishers.port(),
            self.subscribers.port()
        )
    }

    /// Runs the plan once.
    ///
    /// # Errors
    /// When the broker cannot be reached, refuses something, or goes away.
    pub(crate) fn run(&mut self, plan: &Plan, progress: &mut Progress) -> Result<Run, Failure> {
        let traffic = Traffic::new(plan);
        for skim in [true, false] {
            match self.attempt(plan, &traffic, skim, progress) {
                Err(Stopped::Misread) => progress.say(
                    "the broker sends more than messages (an overflow policy that drops?): \
                     starting over, reading every byte",
                ),
                Err(Stopped::Failed(failure)) => return Err(failure),
                Ok(run) => return Ok(run),
            }
        }
        Err(Failure::new("what the broker sends is not its protocol"))
    }

    fn attempt(
        &mut self,
        plan: &Plan,
        traffic: &Traffic,
        skim: bool,
        progress: &mut Progress,
    ) -> Result<Run, Stopped> {
        process::raise_descriptors(plan.publishers + plan.subscribers);
        let subscribers =
            receive::connect(plan, traffic, self.subscribers).map_err(Stopped::Failed)?;
        let publishers = self.connect_publishers(plan).map_err(Stopped::Failed)?;
        let sockets = publishers.iter().filter_map(|link| link.stream.try_clone().ok()).collect();
        let blocks: Vec<Option<Blocks>> = (0..plan.publishers)
            .map(|index| {
                let repeat = plan.rate.is_none() && !plan.verify;
                repeat.then(|| Blocks::new(traffic, index))
            })
            .collect();
        let before = Usage::now(self.pid);
        let shared = &Shared::new(plan.publishers, Arc::clone(&self.stop));
        thread::scope(|scope| {
            let receiver = (plan.subscribers > 0).then(|| {
                let thread = ReceiverThread::new(plan, traffic, shared, subscribers, skim);
                scope.spawn(move || thread.run())
            });
            let threads = (0..).zip(publishers).zip(blocks).map(|((index, link), blocks)| {
                let thread = PublisherThread { plan, traffic, shared, index, link };
                scope.spawn(move || thread.run(blocks))
            });
            let threads = Threads { receiver, publishers: threads.collect(), sockets };
            let timeline = threads.watch(plan, shared, progress);
            let used = Usage::now(self.pid).since(&before);
            let (received, published) = threads.join()?;
            Ok(finish(plan, shared, &used, received, &published, timeline))
        })
    }

    fn connect_publishers(&mut self, plan: &Plan) -> Result<Vec<Link>, Failure> {
        let many = plan.subscribers >= MANY_SUBSCRIBERS;
        let buffer = if many { SMALL_SEND_BUFFER_BYTES } else { SEND_BUFFER_BYTES };
        let mut links = Vec::new();
        for index in 0..plan.publishers {
            let link = Link::connect(format!("publisher {index}"), self.publishers)?;
            if link.max_payload < plan.sizes.most {
                return Err(Failure::new(format!(
                    "the broker takes payloads of up to {} bytes; --size asks for {}",
                    link.max_payload, plan.sizes
                )));
            }
            if plan.rate.is_none() {
                // It only makes figures better: the system's own size will do.
                let _ = set_socket_send_buffer_size(&link.stream, buffer);
            }
            self.server.clone_from(&link.server);
            links.push(link);
        }
        Ok(links)
    }
}

/// The threads of a run.
struct Threads<'scope> {
    receiver: Option<ScopedJoinHandle<'scope, Result<Received, Stopped>>>,
    publishers: Vec<ScopedJoinHandle<'scope, Result<Published, Failure>>>,
    sockets: Vec<TcpStream>,
}

impl Threads<'_> {
    /// Waits until all have ended, keeping points of throughput meanwhile.
    fn watch(&self, plan: &Plan, shared: &Shared, progress: &mut Progress) -> Vec<Sample> {
        let mut timeline = vec![Sample { seconds: 0.0, published: 0, delivered: 0 }];
        let mut next = SAMPLE_NS;
        let mut cut = false;
        loop {
            let published = self.publishers.iter().all(ScopedJoinHandle::is_finished);
            let received = self.receiver.as_ref().is_none_or(ScopedJoinHandle::is_finished);
            let now = shared.now_ns();
            let over = published && received;
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

    fn join(self) -> Result<(Option<Received>, Vec<Published>), Stopped> {
        let crashed = || Stopped::Failed(Failure::new("a thread of the benchmark crashed"));
        let received = match self.receiver {
            Some(thread) => Some(thread.join().map_err(|_| crashed())?),
            None => None,
        };
        let published = self
            .publishers
            .into_iter()
            .map(|thread| thread.join().map_err(|_| crashed())?.map_err(Stopped::Failed));
        let published: Result<Vec<_>, _> = published.collect();
        // Where a subscriber failed first, publishers were cut off: theirs is not the reason.
        match received {
            Some(Err(stopped)) => Err(stopped),
            Some(Ok(received)) => Ok((Some(received), published?)),
            None => Ok((None, published?)),
        }
    }
}

/// CPU time used so far, by whom.
#[derive(Debug, Clone, Copy)]
struct Usage {
    broker: Option<Cpu>,
    own: f64,
    machine: Option<f64>,
    broker_peak_kib: Option<f64>,
}

impl Usage {
    fn now(pid: Option<u32>) -> Usage {
        Usage {
            broker: pid.and_then(process::cpu_of),
            own: process::own_cpu(),
            machine: process::machine_cpu(),
            broker_peak_kib: pid.and_then(process::peak_memory_kib),
        }
    }

    fn since(&self, before: &Usage) -> Usage {
        let broker = self.broker.zip(before.broker).map(|(now, then)| Cpu {
            user: now.user - then.user,
            system: now.system - then.system,
            total: now.total - then.total,
        });
        let machine = self.machine.zip(before.machine).map(|(now, then)| now - then);
        Usage { broker, machine, own: self.own - before.own, ..*self }
    }
}

fn finish(
    plan: &Plan,
    shared: &Shared,
    used: &Usage,
    received: Option<Received>,
    published: &[Published],
    timeline: Vec<Sample>,
) -> Run {
    let received = received.unwrap_or_else(|| Received {
        latency: latency_histogram(),
        told_lost: 0,
        faults: Vec::new(),
        fault_count: 0,
        cpu: 0.0,
    });
    let busiest = published.iter().map(|one| one.cpu).fold(received.cpu, f64::max);
    let mut late = latency_histogram();
    for one in published {
        // Both have the same bounds, which is all that adding asks for.
        let _ = late.add(&one.late);
    }
    let mut figures = counted(plan, shared, &received);
    let seconds = figures.seconds;
    let messages = if plan.subscribers > 0 { figures.delivered } else { figures.published };
    if let Some(broker) = used.broker {
        let per_thousand = |cpu: f64| cpu * 1e9 / messages.max(1) as f64;
        figures.broker_cpu_us = Some(per_thousand(broker.total));
        figures.broker_cores = Some(broker.total / seconds);
        if seconds >= TICKS_SECONDS {
            let parts = broker.user + broker.system;
            figures.broker_user_percent =
                (parts >= TOLD_APART_SECONDS).then(|| broker.user / parts * 100.0);
            let others = |all: f64| ((all - used.own - broker.total) / seconds).max(0.0);
            figures.other_cores = used.machine.map(others);
        }
    }
    figures.broker_peak_kib = used.broker_peak_kib;
    figures.own_cores = used.own / seconds;
    figures.busiest_thread_cores = busiest / seconds;
    figures.set_latency(&received.latency);
    if !late.is_empty() {
        figures.send_late_p99_us = Some(late.value_at_quantile(0.99) as f64 / 1e3);
    }
    let Received { latency, faults, fault_count, .. } = received;
    Run { figures, latency, timeline, faults, fault_count }
}

fn counted(plan: &Plan, shared: &Shared, received: &Received) -> Figures {
    let published = shared.published.load(Relaxed);
    let delivered = shared.delivered.load(Relaxed);
    let publishing = seconds(shared.confirmed_ns.load(Relaxed));
    let delivering = seconds(shared.delivered_ns.load(Relaxed));
    let expected = published * plan.subscribers as u64;
    let (bytes, time) = match plan.subscribers {
        0 => (shared.published_bytes.load(Relaxed), publishing),
        _ => (shared.delivered_bytes.load(Relaxed), delivering),
    };
    Figures {
        seconds: publishing.max(delivering),
        published,
        published_per_s: published as f64 / publishing,
        expected,
        delivered,
        delivered_per_s: delivered as f64 / delivering,
        mb_per_s: bytes as f64 / 1e6 / time,
        lost: expected.saturating_sub(delivered),
        told_lost: received.told_lost,
        ..Figures::default()
    }
}

/// Never 0, so that rates are numbers.
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds.max(1) as f64 / 1e9
}
