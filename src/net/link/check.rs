//! `--check-link`: dials each server of the settings, says what is there, and whether it lets the
//! broker in.
//!
//! Owns a loop of its own, as no broker runs. It joins under another name, so that the link of a
//! broker that runs is left alone. Must not tell of any interest.

use std::fmt::Write as _;
use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use wire::leaf::hub_error::HubError;
use wire::leaf::info::HubInfo;
use wire::leaf::line::{Line, parse};
use wire::leaf::permissions::Permissions;
use wire::leaf::{MAX_LINE_BYTES, PING};

use super::attempt::{Attempt, Progress, Reached, Tools, closed};
use super::candidates::Candidates;
use super::look_up::LookUp;
use super::plan::Plan;
use super::trouble::Trouble;
use super::{Link, TOKENS, short, title};
use crate::engine::turn::News;
use crate::net::transport::Transport;

/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;
/// Filters of a list that are shown.
const MAX_SHOWN: usize = 8;

/// What was found.
pub(in crate::net) struct Report {
    /// A few lines on each server.
    pub(in crate::net) text: String,
    /// All of them let us in.
    pub(in crate::net) all_good: bool,
}

/// Dials each server in turn. Takes as long as the servers do, each up to twice the hello time-out.
///
/// # Errors
/// When the system refuses what is needed to wait for events.
pub(in crate::net) fn check(plan: &Plan) -> io::Result<Report> {
    let mut report = Report { text: String::new(), all_good: true };
    let mut candidates = Candidates::new(&plan.settings.servers);
    for _ in 0..candidates.len() {
        let mut waiter = Waiter { poll: Poll::new()?, events: Events::with_capacity(16) };
        let candidate = candidates.next().clone();
        candidates.failed(&candidate);
        let _ = write!(report.text, "{}: ", candidate.server);
        let attempt = Attempt::new(candidate, plan, Instant::now());
        let found = reach(attempt, plan, &mut waiter)?.and_then(|reached| {
            let _ = writeln!(report.text, "{}", describe(&reached));
            join(reached, plan, &mut waiter)
        });
        match found {
            Ok(joined) => {
                let _ = writeln!(report.text, "    it lets this broker in{joined}");
            }
            Err(trouble) => {
                report.all_good = false;
                let _ = writeln!(report.text, "{}", tell(&trouble, &report.text));
            }
        }
    }
    Ok(report)
}

/// A failure, on the server's line or on one of its own.
fn tell(trouble: &Trouble, before: &str) -> String {
    let indent = if before.ends_with('\n') { "    " } else { "" };
    match trouble.advice() {
        "" => format!("{indent}{trouble}"),
        advice => format!("{indent}{trouble}\n    {advice}"),
    }
}

struct Waiter {
    poll: Poll,
    events: Events,
}

impl Waiter {
    /// Waits for an event.
    fn wait(&mut self, until: Instant) -> io::Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        // A poll that ends a little early must not spin.
        let left = left.max(Duration::from_millis(1));
        match self.poll.poll(&mut self.events, Some(left)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}

/// Goes through an attempt.
fn reach(
    mut attempt: Attempt,
    plan: &Plan,
    waiter: &mut Waiter,
) -> io::Result<Result<Reached, Trouble>> {
    let mut look_up = LookUp::default();
    loop {
        let (look_up, registry) = (&mut look_up, waiter.poll.registry());
        let mut tools = Tools { plan, look_up, registry, tokens: TOKENS };
        match attempt.go_on(&mut tools, Instant::now()) {
            Progress::Waits => waiter.wait(attempt.deadline())?,
            Progress::GoesOn => {}
            Progress::Reached(reached) => return Ok(Ok(*reached)),
            Progress::Failed(trouble) => return Ok(Err(trouble)),
        }
    }
}

/// What was reached, for people.
fn describe(reached: &Reached) -> String {
    let Reached { info, address, transport } = reached;
    let mut text = format!("{} at {address}", title(info));
    if info.cluster.is_empty() {
        text.push_str(", no cluster");
    } else {
        let _ = write!(text, ", cluster {}", short(&info.cluster));
    }
    match (info.jetstream, info.domain.is_empty()) {
        (false, _) => text.push_str(", no JetStream"),
        (true, true) => text.push_str(", JetStream"),
        (true, false) => {
            let _ = write!(text, ", JetStream in the domain {}", short(&info.domain));
        }
    }
    let _ = write!(text, ", {}", transport.tls_version().unwrap_or("no TLS"));
    text
}

/// Introduces the broker and asks for an answer; what the hub says of the link.
fn join(mut reached: Reached, plan: &Plan, waiter: &mut Waiter) -> Result<String, Trouble> {
    let name = plan.settings.name.as_deref().unwrap_or("broker");
    let name = Link::usual_name(&format!("{name}:check:{}", std::process::id()));
    let mut out = plan.connect(&name, &reached.info, true).map_err(|_| Trouble::NoNonce)?;
    out.extend_from_slice(PING);
    let until = Instant::now() + plan.hello;
    let lost = |error| closed("answer to CONNECT", error);
    let (mut written, mut read) = (0, Vec::new());
    let mut text = String::new();
    loop {
        written += write(&mut reached.transport, &out[written..]).map_err(lost)?;
        let came = read_some(&mut reached.transport, &mut read).map_err(lost)?;
        let mut used = 0;
        while let Some((line, length)) =
            parse(&read[used..], MAX_LINE_BYTES).map_err(|_| Trouble::NoLine)?
        {
            match line {
                Line::Pong => return Ok(text),
                Line::Error(words) => return Err(Trouble::hub(words, HubError::of(words))),
                Line::Info(json) => {
                    let info = HubInfo::parse(json).ok_or(Trouble::NoInfo)?;
                    if info.connect_info {
                        text = permitted(&info);
                    }
                }
                Line::Message(_) => return Err(Trouble::NoLine),
                _ => {}
            }
            used += length;
        }
        read.drain(..used);
        if until <= Instant::now() {
            return Err(Trouble::Late("an answer to CONNECT"));
        }
        match came {
            Came::Bytes => {}
            Came::Nothing => waiter.wait(until).map_err(lost)?,
            Came::End => return Err(Trouble::Closed("answer to CONNECT", None)),
        }
    }
}

/// What the hub permits, for people.
fn permitted(info: &HubInfo) -> String {
    let mut text = String::new();
    if !info.remote_account.is_empty() {
        let _ = write!(text, ", into the account {}", short(&info.remote_account));
    }
    for (what, list) in [("sent to it", &info.export), ("taken from it", &info.import)] {
        if !list.is_everything() {
            let _ = write!(text, "\n    may be {what}: {}", show(list));
        }
    }
    text
}

fn show(permissions: &Permissions) -> String {
    let allow = permissions.allow.as_deref().unwrap_or_default();
    let all = if permissions.allow.is_none() { Some(">".to_owned()) } else { None };
    let allowed = all.into_iter().chain(allow.iter().map(|filter| short(filter)));
    let list = allowed.chain(permissions.deny.iter().map(|filter| format!("!{}", short(filter))));
    let mut list: Vec<_> = list.collect();
    let more = list.len().saturating_sub(MAX_SHOWN);
    list.truncate(MAX_SHOWN);
    match (list.is_empty(), more) {
        (true, _) => "nothing".to_owned(),
        (_, 0) => list.join(", "),
        _ => format!("{}, and {more} more", list.join(", ")),
    }
}

fn write(transport: &mut Transport, bytes: &[u8]) -> io::Result<usize> {
    transport.flush()?;
    if bytes.is_empty() {
        return Ok(0);
    }
    match transport.write_vectored(&[IoSlice::new(bytes)], &mut News::default()) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        // A hub that has closed may have said why: that is read.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        written => written,
    }
}

/// What a read has brought.
enum Came {
    Bytes,
    Nothing,
    End,
}

fn read_some(transport: &mut Transport, into: &mut Vec<u8>) -> io::Result<Came> {
    let mut part = vec![0; READ_BYTES];
    match transport.read(&mut part, &mut News::default()) {
        Ok(0) => Ok(Came::End),
        Ok(count) => {
            into.extend_from_slice(&part[..count]);
            Ok(Came::Bytes)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Came::Nothing),
        Err(error) => Err(error),
    }
}
