//! What the engine did, in its order, for tests that compare it with a model.
//!
//! Owns the record, which is kept in tests only. Nothing may depend on it.

use super::token::Token;

/// The record.
#[derive(Default)]
pub(crate) struct Journal {
    #[cfg(test)]
    entries: Vec<Entry>,
}

/// One thing that the engine did.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A request of a connection was processed.
    Processed(Token),
    /// So many messages of a connection were delivered to so many receivers.
    Delivered(Token, u64, usize),
    /// Nothing is delivered to a connection any more.
    Left(Token),
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

    /// Nothing is delivered to a connection any more.
    pub(crate) fn left(&mut self, token: Token) {
        #[cfg(test)]
        self.entries.push(Entry::Left(token));
        #[cfg(not(test))]
        let _ = token;
    }

    /// What was done since this was asked last.
    #[cfg(test)]
    pub(crate) fn take(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.entries)
    }
}
