//! The link to a NATS cluster, as the loop sees it: dials one hub after the other, hands what was
//! reached to the engine, and dials again when that has ended.
//!
//! Owns which hub is dialled when, and what the log tells of it. It never waits: an attempt goes on
//! when something has happened on its socket. Without a link, there is nothing of all this. What
//! goes over the link is the engine's business.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::{Registry, Token as PollToken};
use wire::leaf::hub_error::HubError;
use wire::leaf::info::HubInfo;

use super::sockets::AllSockets;
use crate::engine::close_reason::CloseReason;
use crate::engine::link::{Hub, LinkEvent};
use crate::engine::turn::{Readiness, Turn};

mod attempt;
mod backoff;
mod candidates;
pub(super) mod check;
mod log_in;
mod look_up;
mod plan;
mod seed;
mod trouble;

use attempt::{Attempt, Progress, Reached, Tools};
use backoff::Backoff;
use candidates::{Candidate, Candidates};
use look_up::LookUp;
use trouble::Trouble;

pub(super) use plan::{Plan, load};

/// The tokens of the socket of an attempt, and of a look-up. They are far from all others': a
/// connection's are small, the monitor's about half of all numbers, a listener's near their end.
const TOKENS: [PollToken; 2] = [PollToken(usize::MAX / 4), PollToken(usize::MAX / 4 + 1)];
/// How long an error of the hub counts as the reason for the end of the link.
const ERROR_COUNTS: Duration = Duration::from_secs(10);
/// Characters of a word of the hub's that are shown.
const MAX_SHOWN: usize = 100;
/// What a hub takes that does not say how much: as much as nats-server does by default.
const USUAL_MAX_PAYLOAD: usize = 1 << 20;

/// The link.
pub(super) struct Link {
    plan: Plan,
    /// What the broker is called at the hub.
    name: String,
    candidates: Candidates,
    backoff: Backoff,
    look_up: LookUp,
    /// Random, so that no two brokers wait alike.
    chance: RandomState,
    attempts: u64,
    state: State,
}

enum State {
    /// Until the next attempt.
    Waits(Instant),
    /// An attempt; whether it can go on.
    Dials(Box<Attempt>, bool),
    /// A hub was reached; the engine has it.
    Speaks(Box<Spoken>),
    /// Nothing is dialled any more.
    Stopped,
}

/// A hub that was reached.
struct Spoken {
    candidate: Candidate,
    began: Instant,
    /// The newest that it has told, of what it is.
    server: String,
    account: String,
    joined: Option<Instant>,
    /// The last error that it has told, and when.
    error: Option<(Trouble, Instant)>,
    /// The log has warned of an error behind which the link goes on.
    has_warned: bool,
}

impl Link {
    /// Dials from now on, under this name where the settings have none.
    pub(super) fn new(plan: Plan, name: String, now: Instant) -> Link {
        let settings = &plan.settings;
        Link {
            name: settings.name.clone().unwrap_or(name),
            candidates: Candidates::new(&settings.servers),
            backoff: Backoff::new(settings.reconnect_min, settings.reconnect_max),
            look_up: LookUp::default(),
            chance: RandomState::new(),
            attempts: 0,
            state: State::Waits(now),
            plan,
        }
    }

    /// Goes by another plan from now on, if that says the same of the link; else gives it back.
    pub(super) fn adopt(&mut self, plan: Plan) -> Option<Plan> {
        if !self.plan.is(&plan) {
            return Some(plan);
        }
        // Of what others have in common with it something may have changed.
        self.plan = plan;
        None
    }

    /// What it is called at the hub, if the settings do not say so: the machine, and a port or a
    /// path there that is the broker's own.
    pub(super) fn usual_name(own: &str) -> String {
        let system = rustix::system::uname();
        format!("{}:{own}", system.nodename().to_string_lossy())
    }

    /// Something has happened on what this token is of.
    pub(super) fn note(&mut self, token: PollToken) {
        if TOKENS.contains(&token)
            && let State::Dials(_, ready) = &mut self.state
        {
            *ready = true;
        }
    }

    /// Whether something is left to do without waiting.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.state, State::Dials(_, true))
    }

    /// When to look at it even if no event comes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Waits(until) => Some(*until),
            State::Dials(attempt, _) => Some(attempt.deadline()),
            State::Speaks(_) | State::Stopped => None,
        }
    }

    /// Nothing is dialled any more.
    pub(super) fn stop(&mut self) {
        self.state = State::Stopped;
    }

    /// Dials, and goes on with that; in front of the rest of a turn.
    pub(super) fn dial(&mut self, turn: &mut Turn<AllSockets>, registry: &Registry, now: Instant) {
        if let State::Waits(until) = self.state
            && until <= now
        {
            let candidate = self.candidates.next().clone();
            info!("link: dialling the hub {}", candidate.server);
            self.state = State::Dials(Box::new(Attempt::new(candidate, &self.plan, now)), true);
        }
        let State::Dials(attempt, ready) = &mut self.state else { return };
        if !*ready && attempt.deadline() > now {
            return;
        }
        let (plan, look_up) = (&self.plan, &mut self.look_up);
        let mut tools = Tools { plan, look_up, registry, tokens: TOKENS };
        match attempt.go_on(&mut tools, now) {
            Progress::Waits => *ready = false,
            Progress::GoesOn => *ready = true,
            Progress::Failed(trouble) => {
                let candidate = attempt.candidate.clone();
                self.failed(&candidate, &trouble, now);
            }
            Progress::Reached(reached) => {
                let (candidate, began) = (attempt.candidate.clone(), attempt.began);
                self.reached(*reached, candidate, began, turn, registry, now);
            }
        }
    }

    /// Hands a hub to the engine.
    fn reached(
        &mut self,
        reached: Reached,
        candidate: Candidate,
        began: Instant,
        turn: &mut Turn<AllSockets>,
        registry: &Registry,
        now: Instant,
    ) {
        let Reached { mut transport, info, address } = reached;
        let Ok(connect) = self.plan.connect(&self.name, &info, false) else {
            return self.failed(&candidate, &Trouble::NoNonce, now);
        };
        let tls = transport.tls_version().map(|tls| format!(", {tls}")).unwrap_or_default();
        debug!("link: {} is {}{tls}; introduced as {:?}", address, title(&info), self.name);
        let max_payload = info.max_payload.map_or(USUAL_MAX_PAYLOAD, |bytes| bytes as usize);
        let hub = Hub { name: short(&info.server_name), connect, max_payload };
        let token = turn.join(hub, &address.to_string(), now);
        let failed = transport.reregister(registry, PollToken(token.index())).is_err();
        turn.sockets_mut().insert(token, transport);
        // What TLS has decrypted behind the first line, no event tells of.
        let (readable, writable) = (true, true);
        turn.note(token, Readiness { readable, writable, ended: false, failed });
        let server = title(&info);
        self.state = State::Speaks(Box::new(Spoken {
            candidate,
            began,
            server,
            account: String::new(),
            joined: None,
            error: None,
            has_warned: false,
        }));
    }

    /// Heeds what has happened on the link; behind the rest of a turn.
    pub(super) fn heed(&mut self, turn: &mut Turn<AllSockets>, now: Instant) {
        for event in turn.engine_mut().take_link_events() {
            let State::Speaks(spoken) = &mut self.state else { continue };
            match event {
                LinkEvent::Joined(waited) => {
                    self.backoff.reset();
                    spoken.joined = Some(now);
                    spoken.tell(turn, waited, now);
                }
                LinkEvent::Info(info) => {
                    if info.connect_info {
                        spoken.account = short(&info.remote_account);
                    }
                    if let Some(urls) = info.leafnode_urls {
                        self.candidates.learn(&urls, &spoken.candidate);
                    }
                }
                LinkEvent::Error(text, error) => {
                    let trouble = Trouble::hub(&text, error);
                    let may_go_on = !error.closes() || error == HubError::Other;
                    // A hub may tell thousands of them; one says what is wrong.
                    if may_go_on && !std::mem::replace(&mut spoken.has_warned, true) {
                        warn!("link: the hub {}: {trouble}", spoken.candidate.server);
                    }
                    if error.closes() {
                        spoken.error = Some((trouble, now));
                    }
                }
                LinkEvent::Ended(reason) => self.ended(reason, now),
            }
        }
    }

    /// The link has ended.
    fn ended(&mut self, reason: CloseReason, now: Instant) {
        let State::Speaks(spoken) = std::mem::replace(&mut self.state, State::Stopped) else {
            return;
        };
        let Spoken { candidate, joined, error, server, .. } = *spoken;
        let told = error.filter(|(_, at)| now.saturating_duration_since(*at) < ERROR_COUNTS);
        let trouble = told.map_or(Trouble::Ended(reason), |(trouble, _)| trouble);
        let what = match joined {
            Some(since) => {
                self.candidates.lost(&candidate);
                let seconds = now.saturating_duration_since(since).as_secs();
                format!("link: lost the hub {server} at {} after {seconds} s", candidate.server)
            }
            None => {
                self.candidates.failed(&candidate);
                format!("link: the hub {server} at {} does not let us in", candidate.server)
            }
        };
        self.wait(&what, &trouble, now);
    }

    /// An attempt was in vain.
    fn failed(&mut self, candidate: &Candidate, trouble: &Trouble, now: Instant) {
        let what = format!("link: the hub {} was not reached", candidate.server);
        self.candidates.failed(candidate);
        self.wait(&what, trouble, now);
    }

    /// Waits for the next attempt, and says why.
    fn wait(&mut self, what: &str, trouble: &Trouble, now: Instant) {
        self.attempts += 1;
        let chance = self.chance.hash_one(self.attempts) as f64 / u64::MAX as f64;
        let wait = self.backoff.wait(self.candidates.len(), trouble.asks_for(), chance);
        let next = &self.candidates.next().server;
        let advice = Some(trouble.advice()).filter(|advice| !advice.is_empty());
        let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
        warn!("{what}: {trouble}{advice}; dialling {next} in {}", seconds(wait));
        self.state = State::Waits(now + wait);
    }
}

impl Spoken {
    /// Tells that the hub has let us in.
    fn tell(&self, turn: &Turn<AllSockets>, waited: u64, now: Instant) {
        let took = now.saturating_duration_since(self.began);
        let figures = turn.engine().link_figures().unwrap_or_default();
        let account = Some(&self.account).filter(|account| !account.is_empty());
        let account = account.map(|account| format!(", account {account}")).unwrap_or_default();
        info!(
            "link: joined the hub {} at {}{account}, in {} ms: told {} filters, heard {}",
            self.server,
            self.candidate.server,
            took.as_millis(),
            figures.told,
            figures.heard,
        );
        if waited > 0 {
            info!("link: {waited} messages have waited for it");
        }
    }
}

/// What a hub is, for people.
fn title(info: &HubInfo) -> String {
    let name = if info.server_name.is_empty() { &info.server_id } else { &info.server_name };
    match info.version.as_str() {
        "" => short(name),
        version => format!("{} (nats-server {})", short(name), short(version)),
    }
}

/// What a hub says of itself: no more than a word or two, and nothing that a terminal obeys.
fn short(text: &str) -> String {
    text.escape_debug().take(MAX_SHOWN).collect()
}

/// A time for people.
fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
