//! Who may come in, and what each may do there.
//!
//! Owns the users that the operator has named, how a client shows that it is one of them, and what
//! a topic or filter that it asks for comes to. Must not know connections, files or sockets: those
//! who ask say what they were credentials.

pub mod credentials;
pub mod grants;
mod replies;
pub mod users;

pub use grants::{Grant, Grants};
pub(crate) use replies::Replies;
pub use users::{Credentials, Peer, Rights, User, Users};

use std::collections::HashMap;
use std::rc::Rc;

/// The users that there are now, and how many connections each has.
#[derive(Default)]
pub(crate) struct Access {
    users: Option<Rc<Users>>,
    connections: HashMap<Box<str>, usize>,
}

impl Access {
    /// The users; `None`: all clients may do all.
    pub(crate) fn users(&self) -> Option<&Rc<Users>> {
        self.users.as_ref()
    }

    /// Whether any user may answer what it was given, wherever that is.
    pub(crate) fn has_responders(&self) -> bool {
        self.users.as_ref().is_some_and(|users| users.has_responders())
    }

    /// Other users from now on, or none.
    pub(crate) fn set_users(&mut self, users: Option<Rc<Users>>) {
        self.users = users;
    }

    /// Whether a user may have one connection more.
    pub(crate) fn has_room_for(&self, user: &User) -> bool {
        let connections = self.connections.get(user.name.as_str()).copied().unwrap_or(0);
        user.max_connections.is_none_or(|most| connections < most)
    }

    /// A user has one connection more.
    pub(crate) fn arrived(&mut self, user: &User) {
        *self.connections.entry(user.name.as_str().into()).or_default() += 1;
    }

    /// A user has one connection less.
    pub(crate) fn left(&mut self, user: &User) {
        let name = user.name.as_str();
        if let Some(connections) = self.connections.get_mut(name) {
            *connections -= 1;
            if *connections == 0 {
                self.connections.remove(name);
            }
        }
    }
}
