//! Who may come in, and what each may do there.
//!
//! Owns the users that the operator has named, how a client shows that it is one of them, and what
//! a topic or filter that it asks for comes to. Must not know connections, files or sockets: those
//! who ask say what they were shown.

pub mod credentials;
pub mod grants;
pub mod users;

pub use grants::{Grant, Grants};
pub use users::{Peer, Rights, Shown, User, Users};
