//! Making a connection: the socket, then HELLO and WELCOME.
//!
//! Ends with the broker's WELCOME; everything sent and received after that belongs to other
//! modules.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use wire::native::frame::{Kind, LENGTH_OVERHEAD};
use wire::native::handshake;

use crate::error::{Attempt, ClientError, Refusal};
use crate::options::ConnectOptions;
use crate::read_buffer::ReadBuffer;
use crate::stream::Stream;

/// The largest payload that the length of a frame can hold beside the longest topic, in bytes. A
/// broker may announce more than that, but cannot accept it.
const MAX_PAYLOAD: usize = u32::MAX as usize - LENGTH_OVERHEAD - u16::MAX as usize;

/// What the broker told the client in its WELCOME.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Welcome {
    /// The broker's id.
    pub broker_id: String,
    /// The broker's name and version, `name/version`.
    pub server: String,
    /// The largest payload that the broker takes, in bytes.
    pub max_payload: usize,
    /// How long a client may be silent before the broker sends PING; `None`: for ever.
    pub heartbeat: Option<Duration>,
}

/// A connection that the broker has welcomed.
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    /// Holds the bytes that arrived right after WELCOME.
    pub(crate) buffer: ReadBuffer,
    pub(crate) welcome: Welcome,
}

/// Connects to the first of the addresses that answers, and performs the handshake. `buffer_bytes`
/// is how much is read at once.
pub(crate) fn open(
    address: impl ToSocketAddrs,
    options: &ConnectOptions,
    buffer_bytes: usize,
) -> Result<Opened, ClientError> {
    let hello = options.hello()?;
    let (stream, deadline) = match &options.unix_socket {
        Some(path) => (dial_path(path)?, options.deadline()),
        None => dial(address, options)?,
    };
    let mut buffer = ReadBuffer::new(buffer_bytes);
    // A write that fails may hide the reason that the broker gave, so the answer is read anyway.
    let written = stream.write_all(&hello);
    let welcome = await_welcome(&stream, &mut buffer, deadline);
    let welcome = match (written, welcome) {
        (Err(error), Err(ClientError::Disconnected)) => return Err(error.into()),
        (_, welcome) => welcome?,
    };
    stream.set_read_timeout(None)?;
    Ok(Opened { stream, buffer, welcome })
}

/// Connects to a Unix socket.
fn dial_path(path: &Path) -> Result<Stream, ClientError> {
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.connect(&SockAddr::unix(path)?)?;
        Ok(Stream::plain(socket))
    };
    connect().map_err(|error: io::Error| ClientError::Socket {
        path: path.to_owned(),
        error: Arc::new(error),
    })
}

/// Connects to the first address that answers, and until when it has to have said WELCOME.
fn dial(
    address: impl ToSocketAddrs,
    options: &ConnectOptions,
) -> Result<(Stream, Option<Instant>), ClientError> {
    let unknown = |error| ClientError::Resolve(Arc::new(error));
    let mut attempts = Vec::new();
    for address in address.to_socket_addrs().map_err(unknown)? {
        match dial_one(address, options) {
            Ok(socket) => {
                let deadline = options.deadline();
                return Ok((secure(socket, address, options, deadline)?, deadline));
            }
            Err(error) => attempts.push(Attempt { address, error: Arc::new(error) }),
        }
    }
    if attempts.is_empty() {
        let error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        return Err(unknown(error));
    }
    Err(ClientError::Connect(attempts))
}

/// Begins TLS, if that is asked for.
#[cfg(feature = "tls")]
fn secure(
    socket: Socket,
    address: SocketAddr,
    options: &ConnectOptions,
    deadline: Option<Instant>,
) -> Result<Stream, ClientError> {
    let Some(secrets) = &options.tls else { return Ok(Stream::plain(socket)) };
    let session = secrets.session(address.ip())?;
    Stream::secure(socket, session, deadline).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            ClientError::TimedOut("the broker's part of the TLS handshake")
        }
        _ => error.into(),
    })
}

#[cfg(not(feature = "tls"))]
#[allow(clippy::unnecessary_wraps, reason = "with the feature it may fail")]
fn secure(
    socket: Socket,
    _: SocketAddr,
    _: &ConnectOptions,
    _: Option<Instant>,
) -> Result<Stream, ClientError> {
    Ok(Stream::plain(socket))
}

fn dial_one(address: SocketAddr, options: &ConnectOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if options.local_port != 0 {
        // A restarted program must be able to bind its port again at once.
        socket.set_reuse_address(true)?;
        let any = match address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, options.local_port)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, options.local_port)),
        };
        socket.bind(&any.into()).map_err(|error| name_local_port(options, &error))?;
    }
    let connected = socket.connect_timeout(&address.into(), options.connect_timeout);
    connected.map_err(|error| match error.kind() {
        // Only now does the system notice that another connection uses this port and address.
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable if options.local_port != 0 => {
            name_local_port(options, &io::ErrorKind::AddrInUse.into())
        }
        _ => error,
    })?;
    // Writes are batched here already; the kernel must not hold them back as well.
    socket.set_tcp_nodelay(true)?;
    // Without a listener, the free local port can be the very port connected to: TCP then
    // connects the socket to itself, which is not a broker.
    if socket.local_addr()?.as_socket() == Some(address) {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(socket)
}

fn name_local_port(options: &ConnectOptions, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("local port {}: {error}", options.local_port))
}

fn await_welcome(
    stream: &Stream,
    buffer: &mut ReadBuffer,
    deadline: Option<Instant>,
) -> Result<Welcome, ClientError> {
    loop {
        if let Some(place) = buffer.frame_at(0, 0)? {
            let bytes = buffer.unused();
            let (topic, body) = (&bytes[place.topic.clone()], &bytes[place.body.clone()]);
            let answer = match place.kind {
                Kind::Welcome => parse_welcome(topic, body),
                Kind::Error => Err(ClientError::ClosedByBroker(Refusal::parse(topic, body)?)),
                Kind::Goodbye => {
                    Err(ClientError::Goodbye(String::from_utf8_lossy(body).into_owned()))
                }
                kind => Err(ClientError::malformed(format_args!("{kind:?} before WELCOME"))),
            };
            buffer.consume(place.end());
            return answer;
        }
        let timed_out = ClientError::TimedOut("the broker's welcome");
        if read_before(stream, buffer, 0, deadline)?.ok_or(timed_out)? == 0 {
            return Err(ClientError::Disconnected);
        }
    }
}

fn parse_welcome(topic: &[u8], body: &[u8]) -> Result<Welcome, ClientError> {
    let welcome = handshake::Welcome::parse(topic, body)
        .map_err(|code| ClientError::malformed(format_args!("WELCOME is refused: {code}")))?;
    let heartbeat = Duration::try_from_secs_f64(welcome.heartbeat)
        .map_err(|_| ClientError::malformed("WELCOME has a heartbeat that is no time"))?;
    Ok(Welcome {
        broker_id: welcome.id.to_owned(),
        server: welcome.server.to_owned(),
        max_payload: welcome.max_payload.min(MAX_PAYLOAD),
        heartbeat: (!heartbeat.is_zero()).then_some(heartbeat),
    })
}

/// Reads once, waiting until `deadline` at most. `None`: the deadline passed. 0: end of stream.
pub(crate) fn read_before(
    mut stream: &Stream,
    buffer: &mut ReadBuffer,
    offset: usize,
    deadline: Option<Instant>,
) -> io::Result<Option<usize>> {
    loop {
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            stream.set_read_timeout(Some(left))?;
        }
        match buffer.fill(&mut stream, offset) {
            Ok(count) => return Ok(Some(count)),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut if deadline.is_some() => {}
                _ => return Err(error),
            },
        }
    }
}
