//! What the engine did, in its order, for tests that compare it with a model.
//!
//! Owns the record, which is kept in tests only. Nothing may depend on it.

use super::routing::{GroupId, Index, Member};
use super::token::Token;

/// The record.
#[derive(Default)]
pub(crate) struct Journal {
    #[cfg(test)]
    entries: Vec<Entry>,
}

/// One thing that the engine did.
#[cfg(test)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A request of a connection was processed.
    Processed(Token),
    /// So many messages of a connection were delivered to so many receivers.
    Delivered(Token, u64, usize),
    /// So many runs of a connection, delivered before, were given to their receivers together.
    Joined(Token, u64, usize),
    /// A member of a queue group is given the message that was just delivered: its connection, the
    /// name of its subscription, and the group's.
    Chosen(Token, Box<[u8]>, Box<[u8]>),
    /// A hub is given the message that was just delivered for a queue group of this name.
    Named(Token, Box<[u8]>),
    /// A part of a CONNECT was carried out: the subscriptions that are left, and whether they take
    /// headers.
    Partly(Token, Vec<(Box<[u8]>, bool)>),
    /// Nothing is delivered to a connection any more.
    Left(Token),
    /// A hub has gone, and messages for it wait for another one, but for so many that were
    /// half-written.
    Waits(Token, u64),
    /// What comes for it does not wait any more, but is lost.
    Waited(Token),
    /// What has waited for it is lost as well.
    GaveUp(Token),
}

impl Journal {
    /// A request of a connection, no message, is processed.
    pub(crate) fn processed(&mut self, token: Token) {
        #[cfg(test)]
        self.entries.push(Entry::Processed(token));
        #[cfg(not(test))]
        let _ = token;
    }

    /// Messages of a connection are delivered.
    pub(crate) fn delivered(&mut self, token: Token, messages: u64, receivers: usize) {
        #[cfg(test)]
        self.entries.push(Entry::Delivered(token, messages, receivers));
        #[cfg(not(test))]
        let _ = (token, messages, receivers);
    }

    /// Runs of a connection were given to their receivers together.
    pub(crate) fn joined(&mut self, token: Token, runs: u64, receivers: usize) {
        #[cfg(test)]
        self.entries.push(Entry::Joined(token, runs, receivers));
        #[cfg(not(test))]
        let _ = (token, runs, receivers);
    }

    /// A member of a queue group is given a message.
    pub(crate) fn chosen(&mut self, group: GroupId, member: &Member, index: &Index) {
        #[cfg(test)]
        {
            let sid = index.sid_text(member.encoding)[..].into();
            self.entries.push(Entry::Chosen(member.token, sid, index.group_name(group).into()));
        }
        #[cfg(not(test))]
        let _ = (group, member, index);
    }

    /// A hub is given a message for a queue group.
    pub(crate) fn named(&mut self, hub: Token, group: &[u8]) {
        #[cfg(test)]
        self.entries.push(Entry::Named(hub, group.into()));
        #[cfg(not(test))]
        let _ = (hub, group);
    }

    /// A part of a CONNECT is carried out.
    pub(crate) fn partly(&mut self, token: Token, index: &Index) {
        #[cfg(test)]
        self.entries.push(Entry::Partly(token, index.names_of(token)));
        #[cfg(not(test))]
        let _ = (token, index);
    }

    /// Nothing is delivered to a connection any more.
    pub(crate) fn left(&mut self, token: Token) {
        #[cfg(test)]
        self.entries.push(Entry::Left(token));
        #[cfg(not(test))]
        let _ = token;
    }

    /// Messages for a hub that has gone wait, but for so many.
    pub(crate) fn waits(&mut self, token: Token, lost: u64) {
        #[cfg(test)]
        self.entries.push(Entry::Waits(token, lost));
        #[cfg(not(test))]
        let _ = (token, lost);
    }

    /// What comes for it does not wait any more, but is lost.
    pub(crate) fn waited(&mut self, token: Token) {
        #[cfg(test)]
        self.entries.push(Entry::Waited(token));
        #[cfg(not(test))]
        let _ = token;
    }

    /// What has waited for it is lost as well.
    pub(crate) fn gave_up(&mut self, token: Token) {
        #[cfg(test)]
        self.entries.push(Entry::GaveUp(token));
        #[cfg(not(test))]
        let _ = token;
    }

    /// What was done since this was asked last.
    #[cfg(test)]
    pub(crate) fn take(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.entries)
    }
}
