//! One run, from connecting to its outcome.
//!
//! Owns the broker that is measured. Its threads are in `workers`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use rustix::net::sockopt::set_socket_send_buffer_size;

use crate::bench::embedded::EmbeddedBroker;
use crate::bench::failure::{Failure, Stopped};
use crate::bench::link::{self, Address, Link};
use crate::bench::outcome::{Run, Usage};
use crate::bench::plan::{Place, Plan};
use crate::bench::process;
use crate::bench::progress::Progress;
use crate::bench::receive;
use crate::bench::shared::Shared;
use crate::bench::traffic::Traffic;
use crate::bench::workers::Workers;

/// Socket buffers of publishers at full speed: large ones would hide a slow broker behind bytes
/// that wait, and what waits in them is no longer in the cache when the broker reads it.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// The same, where each message is copied to so many subscribers that the caches are too small.
const SMALL_SEND_BUFFER_BYTES: usize = 32 << 10;
const MANY_SUBSCRIBERS: usize = 100;

/// The broker that is measured.
#[derive(Debug)]
pub(crate) struct Broker {
    publishers: Address,
    subscribers: Address,
    /// Its process, if it is on this machine and may be inspected.
    pub(crate) pid: Option<u32>,
    /// Its name and version; empty before the first run.
    pub(crate) server: String,
    embedded: Option<EmbeddedBroker>,
    stop: Arc<AtomicBool>,
}

impl Broker {
    /// Finds the broker of the plan, or starts one. Its runs end early when `stop` says so.
    ///
    /// # Errors
    /// When its host is unknown, or it does not start.
    pub(crate) fn find(plan: &Plan, stop: Arc<AtomicBool>) -> Result<Broker, Failure> {
        let at = |host: &str, port| link::resolve(host, port);
        let (publishers, subscribers, embedded) = match &plan.place {
            Place::Embedded => {
                let broker = EmbeddedBroker::start()?;
                let at = |port| Ok::<_, Failure>(Address::Port(at("127.0.0.1", port)?, None));
                (at(broker.publisher_port)?, at(broker.subscriber_port)?, Some(broker))
            }
            Place::At { host, publisher_port, subscriber_port, tls } => {
                let tls = tls.as_ref().and_then(|tls| tls.of(Some(host)));
                let secrets = tls.map(|tls| tls.load()).transpose();
                let secrets = secrets.map_err(|error| Failure::Usage(error.to_string()))?;
                let at = |port| Ok::<_, Failure>(Address::Port(at(host, port)?, secrets.clone()));
                (at(*publisher_port)?, at(*subscriber_port)?, None)
            }
            Place::Sockets { publisher, subscriber } => {
                (Address::Path(publisher.clone()), Address::Path(subscriber.clone()), None)
            }
        };
        let known = plan.broker_pid.or(embedded.as_ref().map(EmbeddedBroker::pid));
        let found = || match &publishers {
            Address::Port(address, _) => process::listener_on(*address),
            Address::Path(_) => None,
        };
        let pid = known.or_else(found);
        Ok(Broker { publishers, subscribers, pid, server: String::new(), embedded, stop })
    }

    /// Whether this program has started it.
    pub(crate) fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// Its address, for reports.
    pub(crate) fn address(&self) -> String {
        match (&self.publishers, &self.subscribers) {
            (Address::Port(one, tls), Address::Port(other, _)) => {
                let (ip, publishers) = (one.ip(), one.port());
                let tls = if tls.is_some() { " in TLS" } else { "" };
                match other.port() {
                    both if both == publishers => format!("{ip}, port {both}{tls}"),
                    port => format!(
                        "{ip}, publishers on port {publishers}, subscribers on port {port}{tls}"
                    ),
                }
            }
            (one, other) if one.to_string() == other.to_string() => one.to_string(),
            (one, other) => format!("publishers on {one}, subscribers on {other}"),
        }
    }

    /// Runs the plan once.
    ///
    /// # Errors
    /// When the broker cannot be reached, refuses something, or is lost.
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
        // Those of publishers are open twice, to shut them down.
        process::raise_descriptors(2 * plan.publishers + plan.receivers());
        let receivers = receive::connect(plan, traffic, &self.subscribers)?;
        let publishers = self.connect_publishers(plan)?;
        let workers = Workers::new(plan, traffic, receivers, publishers, skim)?;
        let before = Usage::now(self.pid);
        let shared = &Shared::new(plan.publishers, Arc::clone(&self.stop));
        thread::scope(|scope| {
            let threads = workers.start(scope, plan, traffic, shared);
            let timeline = threads.watch(plan, shared, progress);
            let used = Usage::now(self.pid).since(&before);
            Ok(Run::new(plan, shared, &used, threads.join()?, timeline))
        })
    }

    fn connect_publishers(&mut self, plan: &Plan) -> Result<Vec<Link>, Failure> {
        let many = plan.subscribers >= MANY_SUBSCRIBERS;
        let buffer = if many { SMALL_SEND_BUFFER_BYTES } else { SEND_BUFFER_BYTES };
        let who = if plan.requests.is_some() { "requester" } else { "publisher" };
        let mut links = Vec::new();
        for index in 0..plan.publishers {
            let link = Link::connect(format!("{who} {index}"), plan, &self.publishers)?;
            if link.server.max_payload < plan.sizes.most {
                return Err(Failure::new(format!(
                    "the broker takes payloads of up to {} bytes; --size asks for {}",
                    link.server.max_payload, plan.sizes
                )));
            }
            if plan.rate.is_none() && plan.requests.is_none() {
                // It only improves the figures: without it the system's default size is used.
                let _ = set_socket_send_buffer_size(&link.stream, buffer);
            }
            self.server.clone_from(&link.server.name);
            links.push(link);
        }
        Ok(links)
    }
}
