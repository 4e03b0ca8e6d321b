//! The NATS protocol as the broker speaks it.
//!
//! Owns how requests look as control lines and notices as bytes, and what a client wants of its
//! conversation. Must not decide what is answered.
//!
//! A client that is told an error that its library does not know never connects again. So there are
//! no other texts than those that NATS clients know, and where none fits the connection just ends.

use std::time::Instant;

use wire::nats::connect::{ConnectError, ConnectOptions, Credentials};
use wire::nats::error_text::{Because, ErrorText};
use wire::nats::info;
use wire::nats::line::{self, Line, LineError, Publish};
use wire::nats::message::{self, NoResponders};
use wire::nats::subject::{self, FilterError, PublishSubject};
use wire::nats::{LINE_END, MAX_CONTROL_LINE_BYTES, OK, PING, PONG};

use super::connection::{Connection, State, Traffic};
use super::protocol::{Notice, Refusal, Request};
use crate::engine::buffers::outbox::Extent;
use crate::engine::close_reason::CloseReason;

/// What a client wants, and how far its conversation is. One that has not said anything wants to be
/// told of everything, and takes no headers.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// Each line that is carried out is answered.
    pub(crate) verbose: bool,
    /// It is told of subjects that it should not publish to.
    pub(crate) pedantic: bool,
    /// It is given its own messages.
    pub(crate) echo: bool,
    /// It sends headers and takes them.
    pub(crate) headers: bool,
    /// It is told of requests that nobody hears.
    pub(crate) no_responders: bool,
    /// It takes INFO at any time.
    pub(crate) takes_info: bool,
    /// It has introduced itself.
    pub(crate) has_connected: bool,
    /// Its first PING was answered. Before that, clients expect nothing that they did not ask for.
    pub(crate) has_ponged: bool,
    /// The language and the version of its library, split by a blank.
    pub(crate) library: Box<str>,
    /// It took so little while others waited for it that they do not any more, until it has caught
    /// up.
    pub(crate) is_too_slow: bool,
    /// What it is to sign to show who it is; empty where nobody signs.
    pub(crate) nonce: Box<str>,
    /// What it published.
    pub(crate) published: Traffic,
    /// Since when its socket takes nothing though something is queued.
    pub(crate) blocked: Option<Instant>,
    /// Since when it is not read, since it waits for receivers of what it publishes.
    pub(crate) unread: Option<Instant>,
}

impl Default for Session {
    fn default() -> Session {
        let options = ConnectOptions::default();
        Session {
            verbose: options.verbose,
            pedantic: options.pedantic,
            echo: options.echo,
            headers: options.headers,
            no_responders: options.no_responders,
            takes_info: false,
            has_connected: false,
            has_ponged: false,
            library: Box::default(),
            is_too_slow: false,
            nonce: Box::default(),
            published: Traffic::default(),
            blocked: None,
            unread: None,
        }
    }
}

impl Session {
    /// What the client said in CONNECT, on top of what it said before. Returns the client's name,
    /// if it gave one, and who it says it is.
    ///
    /// # Errors
    /// Why the connection is to be closed.
    pub(super) fn configure(
        &mut self,
        json: &[u8],
    ) -> Result<(Option<String>, Credentials), CloseReason> {
        let mut options = ConnectOptions {
            verbose: self.verbose,
            pedantic: self.pedantic,
            echo: self.echo,
            headers: self.headers,
            no_responders: self.no_responders,
            protocol: u8::from(self.takes_info),
            ..ConnectOptions::default()
        };
        options.merge(json).map_err(|error| match error {
            ConnectError::Malformed => CloseReason::Malformed,
            ConnectError::AuthorizationViolation => CloseReason::Unauthorized,
            ConnectError::InvalidProtocol => CloseReason::Version,
            ConnectError::NoRespondersNeedsHeaders => CloseReason::NoHeaders,
        })?;
        self.verbose = options.verbose;
        self.pedantic = options.pedantic;
        self.echo = options.echo;
        self.headers = options.headers;
        self.no_responders = options.no_responders;
        self.takes_info = options.protocol > 0;
        self.has_connected = true;
        if !(options.lang.is_empty() && options.version.is_empty()) {
            self.library = format!("{} {}", options.lang, options.version).into();
        }
        let name = Some(options.name).filter(|name| !name.is_empty());
        Ok((name, options.credentials))
    }
}

/// Cuts the first request off `bytes`; see [`Protocol::cut`](super::protocol::Protocol::cut).
pub(super) fn cut<'a>(
    bytes: &'a [u8],
    connection: &Connection,
    max_payload: usize,
) -> Result<Option<(Request<'a>, usize)>, CloseReason> {
    // Who has to log in says nothing before CONNECT.
    let is_connect = |first: &u8| first.eq_ignore_ascii_case(&b'C');
    if connection.state == State::Handshake && !bytes.first().is_none_or(is_connect) {
        return Err(CloseReason::Unauthorized);
    }
    let Some((line, length)) = line::parse(bytes, MAX_CONTROL_LINE_BYTES).map_err(close_reason)?
    else {
        return Ok(None);
    };
    let request = match line {
        Line::Publish(publish) => {
            let takes_headers = connection.nats.as_ref().is_some_and(|it| it.headers);
            check_publish(&publish, takes_headers, max_payload)?;
            let end = length + publish.total_bytes as usize;
            let behind = bytes.get(end..).unwrap_or_default();
            return match &behind[..behind.len().min(LINE_END.len())] {
                LINE_END => Ok(Some((not_a_message(&publish), end + LINE_END.len()))),
                begun if LINE_END.starts_with(begun) => Ok(None),
                _ => Err(CloseReason::UnknownOperation),
            };
        }
        Line::Connect(json) => Request::Configure { json },
        Line::Subscribe { filter, group, sid } => {
            Request::Subscribe { filter, group, sid: Some(sid) }
        }
        Line::Unsubscribe { sid, max } => Request::EndSubscription { sid, behind: max },
        Line::Ping => Request::Ping { body: b"" },
        Line::Pong => Request::Pong,
        Line::Info(json) if !info::can_be_ignored(json) => return Err(CloseReason::Malformed),
        Line::Info(_) | Line::Ok => Request::Ignored,
    };
    Ok(Some((request, length)))
}

/// Whether a message may come, as far as its control line tells.
///
/// # Errors
/// Why the connection is to be closed.
pub(crate) fn check_publish(
    publish: &Publish<'_>,
    takes_headers: bool,
    max_payload: usize,
) -> Result<(), CloseReason> {
    if publish.header_bytes.is_some() && !takes_headers {
        Err(CloseReason::Malformed)
    } else if publish.total_bytes as usize > max_payload {
        Err(CloseReason::TooLarge)
    } else {
        Ok(())
    }
}

/// What is done about a message that goes to nobody: one that does has gone its own way already.
fn not_a_message<'a>(publish: &Publish<'a>) -> Request<'a> {
    let Publish { subject, reply, .. } = *publish;
    if let Some(reply) = reply.filter(|reply| !subject::is_reply_carried(reply)) {
        return Request::Refused { about: reply, refusal: Refusal::MayNotPublish };
    }
    match subject::check_publish(subject) {
        PublishSubject::MatchesNobody => Request::Unroutable { subject, reply },
        PublishSubject::NotCarried => {
            Request::Refused { about: subject, refusal: Refusal::MayNotPublish }
        }
        PublishSubject::Topic => Request::Denied { topic: subject },
    }
}

/// Why a client may not subscribe to a filter that is right for NATS.
pub(super) fn refuse_filter<'a>(filter: &[u8], group: Option<&'a [u8]>) -> Option<Refusal<'a>> {
    let too_many_tokens = match subject::check_filter(filter) {
        Err(FilterError::TooManyTokens) => true,
        Err(FilterError::NotCarried) => false,
        Ok(()) | Err(FilterError::Invalid) if group.is_none_or(subject::is_group_carried) => {
            return None;
        }
        Ok(()) | Err(FilterError::Invalid) => false,
    };
    let because = too_many_tokens.then_some(Because::TooManyTokens);
    Some(Refusal::MayNotSubscribe { group, because })
}

/// Bytes of the message that begins here; of a line whose end is not there, as many as it may have,
/// or as a read brings at most if that is less.
pub(super) fn begun_bytes(bytes: &[u8], in_a_read: usize) -> usize {
    match line::parse(bytes, MAX_CONTROL_LINE_BYTES) {
        Ok(Some((Line::Publish(publish), length))) => {
            length + publish.total_bytes as usize + LINE_END.len()
        }
        _ => line::max_line_bytes(MAX_CONTROL_LINE_BYTES).min(in_a_read.max(bytes.len() + 1)),
    }
}

/// How far the line or message reaches that begins here.
pub(super) fn walk(bytes: &[u8]) -> Option<Extent> {
    let extent = message::walk(bytes)?;
    Some(Extent { length: extent.total_bytes, is_message: extent.is_message })
}

/// Appends a notice to `out`.
pub(super) fn say(notice: Notice<'_>, out: &mut Vec<u8>) {
    match notice {
        Notice::Info(info) => info.write(out),
        Notice::Done => out.extend_from_slice(OK),
        Notice::NoResponders { subject, reply, sid } => {
            NoResponders { subject, reply, sid }.write(out);
        }
        Notice::Ping => out.extend_from_slice(PING),
        Notice::Pong { .. } => out.extend_from_slice(PONG),
        Notice::Refused { about, refusal } => refused(about, refusal).write(out),
        Notice::Closing { reason } => {
            if let Some(text) = error(reason) {
                text.write(out);
            }
        }
        // INFO says all of it, and of losses clients know nothing.
        Notice::Welcome { .. } | Notice::Lost { .. } | Notice::Goodbye => {}
    }
}

fn refused<'a>(about: &'a [u8], refusal: Refusal<'a>) -> ErrorText<'a> {
    match refusal {
        Refusal::BadTopic(_) => ErrorText::InvalidSubject,
        Refusal::TooMany(_) => ErrorText::TooManySubscriptions,
        Refusal::Unroutable => ErrorText::InvalidPublishSubject,
        Refusal::MayNotPublish => ErrorText::MayNotPublish(about),
        Refusal::MayNotSubscribe { group, because } => {
            ErrorText::MayNotSubscribe { filter: about, group, because }
        }
    }
}

fn close_reason(error: LineError) -> CloseReason {
    match error {
        LineError::UnknownOperation => CloseReason::UnknownOperation,
        LineError::ControlLineTooLong => CloseReason::LineTooLong,
        LineError::Malformed => CloseReason::Malformed,
    }
}

/// What tells the client, where clients know a text for it.
fn error(reason: CloseReason) -> Option<ErrorText<'static>> {
    Some(match reason {
        CloseReason::UnknownOperation => ErrorText::UnknownOperation,
        CloseReason::LineTooLong => ErrorText::ControlLineTooLong,
        CloseReason::TooLarge => ErrorText::PayloadTooLarge,
        CloseReason::Version => ErrorText::InvalidProtocol,
        CloseReason::NoHeaders => ErrorText::NoRespondersNeedsHeaders,
        CloseReason::Unauthorized => ErrorText::AuthorizationViolation,
        CloseReason::TooManyConnections | CloseReason::TooManyOfUser => {
            ErrorText::TooManyConnections
        }
        CloseReason::HelloTimeout => ErrorText::AuthenticationTimeout,
        CloseReason::HeartbeatTimeout => ErrorText::StaleConnection,
        CloseReason::ClientClosed
        | CloseReason::ConnectionLost
        | CloseReason::Malformed
        | CloseReason::NotAllowed
        | CloseReason::HelloExpected
        | CloseReason::SlowConsumer
        | CloseReason::Revoked
        | CloseReason::LoopDetected
        | CloseReason::TlsFailed
        | CloseReason::FrameTimeout
        | CloseReason::Shutdown
        | CloseReason::DrainTimeout => return None,
    })
}
