//! One attempt to reach a hub: its name, a connection, its INFO, and TLS.
//!
//! Owns the socket until the hub has introduced itself and may be spoken to, and the time that all
//! of it may take. It never waits. Of what the hub says it reads its first line and no byte beyond.
//! Must not introduce the broker.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Registry, Token};
use wire::leaf::MAX_LINE_BYTES;
use wire::leaf::hub_error::HubError;
use wire::leaf::info::HubInfo;
use wire::leaf::line::{Line, LineError, max_line_bytes, parse};

use super::candidates::Candidate;
use super::look_up::LookUp;
use super::plan::{NoTls, Plan};
use super::short;
use super::trouble::{CONNECTION, INFO, Trouble};
use crate::config::LinkTls;
use crate::net::transport::{self, Stream, Transport};

/// Bytes of the first line that are read before others have their turn.
const LINE_SHARE: usize = 16 << 10;

/// What an attempt needs beside its own state.
pub(super) struct Tools<'a> {
    pub(super) plan: &'a Plan,
    pub(super) look_up: &'a mut LookUp,
    pub(super) registry: &'a Registry,
    /// The token of its socket, and of the look-up.
    pub(super) tokens: [Token; 2],
}

/// An attempt.
pub(super) struct Attempt {
    pub(super) candidate: Candidate,
    /// When it began, and when it has to be done.
    pub(super) began: Instant,
    due: Instant,
    /// The address that was connected to.
    address: Option<SocketAddr>,
    step: Step,
}

enum Step {
    LookUp,
    /// To the first of these addresses; the error is that of the one before.
    Dial(VecDeque<SocketAddr>, Option<io::Error>),
    /// The connection is being made, until then.
    Connect(Transport, VecDeque<SocketAddr>, Instant),
    /// TLS, in front of INFO or behind it.
    Shake(Transport, Option<Box<HubInfo>>),
    Info(Transport, Vec<u8>),
    Done,
}

/// A hub that may be spoken to.
pub(super) struct Reached {
    pub(super) transport: Transport,
    pub(super) info: HubInfo,
    pub(super) address: SocketAddr,
}

/// What an attempt has come to by now.
pub(super) enum Progress {
    /// It waits for an event, or for [`Attempt::deadline`].
    Waits,
    /// It goes on at once, when others have had their turn.
    GoesOn,
    Reached(Box<Reached>),
    Failed(Trouble),
}

/// What a step leads to.
enum Next {
    Step(Step),
    /// It is to be gone on with when something has happened.
    ForEvent(Step),
    /// The same when others have had their turn.
    ForOthers(Step),
    Reached(Box<Reached>),
}

impl Attempt {
    /// Begins one. Nothing happens until it is told to go on.
    pub(super) fn new(candidate: Candidate, plan: &Plan, now: Instant) -> Attempt {
        let due = now + plan.hello;
        Attempt { candidate, began: now, due, address: None, step: Step::LookUp }
    }

    /// When to go on even if no event comes.
    pub(super) fn deadline(&self) -> Instant {
        match &self.step {
            Step::Connect(_, _, by) => self.due.min(*by),
            _ => self.due,
        }
    }

    /// Goes as far as it can without waiting.
    pub(super) fn go_on(&mut self, tools: &mut Tools<'_>, now: Instant) -> Progress {
        loop {
            if self.due <= now {
                return Progress::Failed(Trouble::Late(self.step.awaited()));
            }
            match self.step(tools, now) {
                Ok(Next::Step(step)) => self.step = step,
                Ok(Next::ForEvent(step)) => {
                    self.step = step;
                    return Progress::Waits;
                }
                Ok(Next::ForOthers(step)) => {
                    self.step = step;
                    return Progress::GoesOn;
                }
                Ok(Next::Reached(reached)) => return Progress::Reached(reached),
                Err(trouble) => return Progress::Failed(trouble),
            }
        }
    }

    fn step(&mut self, tools: &mut Tools<'_>, now: Instant) -> Result<Next, Trouble> {
        match std::mem::replace(&mut self.step, Step::Done) {
            Step::LookUp => self.look_up(tools),
            Step::Dial(addresses, error) => self.dial(addresses, error, tools, now),
            Step::Connect(transport, left, by) => self.connect(transport, left, by, tools, now),
            Step::Shake(transport, info) => self.shake(transport, info),
            Step::Info(transport, line) => self.read_info(transport, line, tools.plan),
            Step::Done => unreachable!("nobody goes on with an attempt that has ended"),
        }
    }

    fn look_up(&mut self, tools: &mut Tools<'_>) -> Result<Next, Trouble> {
        let [_, token] = tools.tokens;
        match tools.look_up.addresses(&self.candidate.server, tools.registry, token) {
            Ok(Some(addresses)) => Ok(Next::Step(Step::Dial(addresses.into(), None))),
            Ok(None) => Ok(Next::ForEvent(Step::LookUp)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Trouble::NameServer),
            Err(error) => Err(Trouble::Name(error)),
        }
    }

    /// Connects to the next address. `error` is why the one before failed.
    fn dial(
        &mut self,
        mut addresses: VecDeque<SocketAddr>,
        error: Option<io::Error>,
        tools: &mut Tools<'_>,
        now: Instant,
    ) -> Result<Next, Trouble> {
        // The time that is left is shared, or one that is silent would keep the others from theirs.
        let share = self.due.saturating_duration_since(now) / addresses.len().max(1) as u32;
        let Some(address) = addresses.pop_front() else {
            let none = || io::Error::other("the name has no address");
            return Err(Trouble::Connect(error.unwrap_or_else(none)));
        };
        let [token, _] = tools.tokens;
        let connected = TcpStream::connect(address).and_then(|socket| {
            transport::prepare(&socket, tools.plan.unsent_bytes)?;
            let mut transport = Transport::new(Stream::Tcp(socket), None);
            transport.register(tools.registry, token)?;
            Ok(transport)
        });
        Ok(match connected {
            Ok(transport) => {
                self.address = Some(address);
                Next::Step(Step::Connect(transport, addresses, now + share))
            }
            Err(error) => Next::Step(Step::Dial(addresses, Some(error))),
        })
    }

    fn connect(
        &mut self,
        transport: Transport,
        left: VecDeque<SocketAddr>,
        by: Instant,
        tools: &mut Tools<'_>,
        now: Instant,
    ) -> Result<Next, Trouble> {
        match transport.is_connected() {
            Ok(Some(())) if tools.plan.settings.tls_first => {
                Ok(Next::Step(self.begin_tls(transport, None, tools.plan)?))
            }
            Ok(Some(())) => Ok(Next::Step(Step::Info(transport, Vec::new()))),
            Ok(None) if now < by => Ok(Next::ForEvent(Step::Connect(transport, left, by))),
            Ok(None) => Ok(Next::Step(Step::Dial(left, Some(io::ErrorKind::TimedOut.into())))),
            Err(error) => Ok(Next::Step(Step::Dial(left, Some(error)))),
        }
    }

    fn begin_tls(
        &self,
        mut transport: Transport,
        info: Option<Box<HubInfo>>,
        plan: &Plan,
    ) -> Result<Step, Trouble> {
        let host = &self.candidate.tls_name;
        match plan.secure(&mut transport, host) {
            Ok(()) => Ok(Step::Shake(transport, info)),
            Err(NoTls::Roots) => Err(Trouble::NoRoots),
            Err(NoTls::Name) => Err(Trouble::TlsName(host.clone())),
            Err(NoTls::Session(error)) => Err(Trouble::Tls(error)),
        }
    }

    /// Goes on with a handshake, in front of INFO or behind it.
    fn shake(
        &mut self,
        mut transport: Transport,
        info: Option<Box<HubInfo>>,
    ) -> Result<Next, Trouble> {
        match transport.shake_hands() {
            Ok(true) => Ok(match info {
                Some(info) => self.reached(transport, info),
                None => Next::Step(Step::Info(transport, Vec::new())),
            }),
            Ok(false) => Ok(Next::ForEvent(Step::Shake(transport, info))),
            Err(error) => Err(closed("end of the TLS handshake", error)),
        }
    }

    /// Reads the first line, and nothing behind it.
    fn read_info(
        &mut self,
        mut transport: Transport,
        mut line: Vec<u8>,
        plan: &Plan,
    ) -> Result<Next, Trouble> {
        let share = line.len() + LINE_SHARE;
        loop {
            match parse(&line, MAX_LINE_BYTES) {
                Ok(Some((said, _))) => return self.heed(said, transport, plan),
                Ok(None) if line.len() >= max_line_bytes(MAX_LINE_BYTES) => {
                    return Err(Trouble::LongLine);
                }
                Ok(None) if line.len() >= share => {
                    return Ok(Next::ForOthers(Step::Info(transport, line)));
                }
                Ok(None) => {}
                Err(LineError::ControlLineTooLong) => return Err(Trouble::LongLine),
                Err(_) => return Err(Trouble::NoLine),
            }
            let most = share - line.len();
            match transport.read_line(&mut line, most) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Next::ForEvent(Step::Info(transport, line)));
                }
                Err(error) => return Err(closed(INFO, error)),
            }
        }
    }

    /// What the first line says.
    fn heed(&mut self, said: Line<'_>, transport: Transport, plan: &Plan) -> Result<Next, Trouble> {
        let info = match said {
            Line::Info(json) => HubInfo::parse(json).ok_or(Trouble::NoInfo)?,
            Line::Error(text) => return Err(Trouble::hub(text, HubError::of(text))),
            _ => return Err(Trouble::NoInfo),
        };
        if !info.is_leaf_port {
            return Err(Trouble::WrongPort);
        }
        if !info.cluster.is_empty() && info.cluster == plan.settings.cluster {
            return Err(Trouble::SameCluster(short(&info.cluster)));
        }
        if !info.headers {
            return Err(Trouble::NoHeaders);
        }
        let info = Box::new(info);
        if transport.tls_version().is_some() {
            return Ok(self.reached(transport, info));
        }
        match (info.tls_required, plan.settings.tls) {
            (true, LinkTls::No) => Err(Trouble::TlsWanted),
            (false, LinkTls::Yes) => Err(Trouble::TlsUnwanted),
            (true, _) => Ok(Next::Step(self.begin_tls(transport, Some(info), plan)?)),
            (false, _) => Ok(self.reached(transport, info)),
        }
    }

    fn reached(&self, transport: Transport, info: Box<HubInfo>) -> Next {
        let address = self.address.expect("it was connected to");
        Next::Reached(Box::new(Reached { transport, info: *info, address }))
    }
}

impl Step {
    /// What is waited for, for people.
    fn awaited(&self) -> &'static str {
        match self {
            Step::LookUp => "the address of its name",
            Step::Dial(..) | Step::Connect(..) => CONNECTION,
            Step::Shake(..) => "the end of the TLS handshake",
            Step::Info(..) | Step::Done => INFO,
        }
    }
}

/// The connection has ended while this was waited for, or TLS has something against the peer, or
/// the peer against us.
pub(super) fn closed(what: &'static str, error: io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::InvalidData => Trouble::Tls(error),
        io::ErrorKind::UnexpectedEof => Trouble::Closed(what, None),
        _ => Trouble::Closed(what, Some(error)),
    }
}
