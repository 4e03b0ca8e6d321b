//! Links between NATS clusters, as a leaf node speaks them: the side that dials a server's port for
//! leaf nodes, which is called the hub here.
//!
//! Owns the shape of lines, what each side says of itself, and the rules for subjects that cross a
//! link. Must not decide what is answered or when to dial again, and performs no I/O. What lines
//! are made of is shared with [`crate::nats`].
//!
//! A link carries lines. Each is a verb and arguments, split by blanks, and ends with CR LF. Behind
//! LMSG and HMSG come as many bytes as the line says, and CR LF once more:
//!
//! | line | sent by | what it says |
//! | --- | --- | --- |
//! | `INFO {json}` | hub | what it is: at once, behind CONNECT, and when its cluster changes |
//! | `CONNECT {json}` | leaf | who it is; its first line |
//! | `LS+ filter`, `LS+ filter group weight` | both | messages that match are wanted |
//! | `LS- filter`, `LS- filter group` | both | they are not any more |
//! | `LMSG subject [reply] size` | both | a message for plain subscribers |
//! | `LMSG subject + reply group.. size` | both | and for one member of each group |
//! | `LMSG subject \| group.. size` | both | the same without a reply |
//! | `HMSG ..` | both | as LMSG, with `header_size total_size` at the end |
//! | `PING`, `PONG`, `-ERR 'text'` | both | |
//!
//! A group is its name: a message goes to one member for each name on its line, whatever filters
//! the members have, and to no group that is not named.

pub mod connect;
pub mod hub_error;
pub mod info;
pub mod line;
pub mod permissions;
pub mod subject;

#[cfg(test)]
mod recorded;

pub use crate::nats::{LINE_END, OK, PING, PONG};

/// The port on which a server expects leaf nodes.
pub const DEFAULT_PORT: u16 = 7422;
/// The most bytes of arguments that a hub takes in a line, and that it sends.
pub const MAX_LINE_BYTES: usize = 65_536;
