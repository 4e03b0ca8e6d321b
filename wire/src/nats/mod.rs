//! The NATS client protocol, as a server speaks it: control lines, messages, subjects.
//!
//! Owns the shape of lines and the order in which they are checked. Must not decide what a line is
//! answered with, and performs no I/O.
//!
//! A connection carries control lines. Each is a verb and arguments, split by blanks, and ends with
//! CR LF; a client may leave out the CR. Behind PUB, HPUB, MSG and HMSG come as many bytes of
//! payload as the line says, and CR LF once more:
//!
//! | line | sent by | what follows |
//! | --- | --- | --- |
//! | `INFO {json}` | server | |
//! | `CONNECT {json}` | client | |
//! | `PUB subject [reply] size` | client | `size` bytes, CR LF |
//! | `HPUB subject [reply] header_size total_size` | client | headers, payload, CR LF |
//! | `SUB filter [group] sid` | client | |
//! | `UNSUB sid [max]` | client | |
//! | `MSG subject sid [reply] size` | server | `size` bytes, CR LF |
//! | `HMSG subject sid [reply] header_size total_size` | server | headers, payload, CR LF |
//! | `PING`, `PONG` | both | |
//! | `+OK`, `-ERR 'text'` | server | |

pub mod client;
pub mod connect;
pub mod error_text;
pub mod info;
pub mod line;
pub mod message;
pub mod subject;

pub(crate) mod json;
#[cfg(test)]
pub(crate) mod random;
pub(crate) mod scan;

/// The port on which NATS clients expect a server.
pub const DEFAULT_PORT: u16 = 4222;
/// The most bytes of arguments that clients expect a control line to hold.
pub const MAX_CONTROL_LINE_BYTES: usize = 4_096;
/// What ends a line, and a payload.
pub const LINE_END: &[u8] = b"\r\n";
/// Asks for [`PONG`].
pub const PING: &[u8] = b"PING\r\n";
/// Answers [`PING`].
pub const PONG: &[u8] = b"PONG\r\n";
/// Says to a client that asked to be told that its line was carried out.
pub const OK: &[u8] = b"+OK\r\n";
