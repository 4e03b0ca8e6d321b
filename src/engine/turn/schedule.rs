//! Which connections are to be served and flushed, and in which order.
//!
//! Owns what is known of each socket and every list of connections that the turn works off; it is
//! the only writer of them. Must not read, write, or know what a connection says.
//!
//! A connection stands in at most one of the lists to serve and in at most one of those to flush:
//!
//! | list | who | served |
//! | --- | --- | --- |
//! | ready | has something to read or process | first |
//! | spent | the same, and has used up its last share | then, if nothing is left to flush |
//! | settling | may be in a handshake | a few in a turn, as it costs much |
//! | ending | has ended its sending side | a few in a turn, as it costs what closing does |
//! | unflushed | was left by the turn before | first, for half of the flush |
//! | dirty | got something to write in this turn | then |
//! | bulk | got it with many others, more than a share flushes | last |

use std::collections::VecDeque;

use crate::engine::token::Token;

/// What an event says of a socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness {
    /// There may be something to read.
    pub readable: bool,
    /// It may take more bytes.
    pub writable: bool,
    /// The peer has ended its sending side: read on to the end.
    pub ended: bool,
    /// It has an error.
    pub failed: bool,
}

const READABLE: u8 = 1;
const WRITABLE: u8 = 1 << 1;
const ENDED: u8 = 1 << 2;
const FAILED: u8 = 1 << 3;
/// It stands in one of the lists to serve.
const LISTED: u8 = 1 << 4;
/// It stands in one of the lists to flush.
const DIRTY: u8 = 1 << 5;
/// It may be in a handshake.
const SETTLING: u8 = 1 << 6;

/// Turns after which a spent connection is served though something is left to flush.
const MAX_TURNS_WITHOUT_SPENT: u32 = 16;

/// The lists of a turn.
#[derive(Default)]
pub(crate) struct Schedule {
    /// By token: what is known of the socket, and where the connection stands.
    marks: Vec<u8>,
    ready: VecDeque<Token>,
    spent: VecDeque<Token>,
    ending: VecDeque<Token>,
    settling: VecDeque<Token>,
    dirty: VecDeque<Token>,
    bulk: VecDeque<Token>,
    unflushed: VecDeque<Token>,
    /// Bytes of messages queued since the last flush, for each receiver.
    queued: usize,
    turns_without_spent: u32,
}

impl Schedule {
    /// A new connection: its socket takes bytes, and nothing else is known before its first event.
    pub(crate) fn insert(&mut self, token: Token) {
        if self.marks.len() <= token.index() {
            self.marks.resize(token.index() + 1, 0);
        }
        self.marks[token.index()] = WRITABLE;
    }

    /// Forgets connections that are gone.
    pub(crate) fn remove(&mut self, gone: &[Token]) {
        let mut stands = 0;
        for token in gone {
            stands |= std::mem::take(&mut self.marks[token.index()]);
        }
        let marks = &self.marks;
        if stands & LISTED != 0 {
            let lists = [&mut self.ready, &mut self.spent, &mut self.ending, &mut self.settling];
            for list in lists {
                list.retain(|token| marks[token.index()] & LISTED != 0);
            }
        }
        if stands & DIRTY != 0 {
            for list in [&mut self.dirty, &mut self.bulk, &mut self.unflushed] {
                list.retain(|token| marks[token.index()] & DIRTY != 0);
            }
        }
    }

    fn has(&self, token: Token, mark: u8) -> bool {
        self.marks.get(token.index()).is_some_and(|marks| marks & mark != 0)
    }

    fn set(&mut self, token: Token, mark: u8, value: bool) {
        let marks = &mut self.marks[token.index()];
        *marks = if value { *marks | mark } else { *marks & !mark };
    }

    // Sockets.

    /// An event of a socket has come.
    pub(crate) fn note(&mut self, token: Token, readiness: Readiness) {
        for (mark, holds) in [
            (READABLE, readiness.readable || readiness.ended || readiness.failed),
            (WRITABLE, readiness.writable),
            (ENDED, readiness.ended || readiness.failed),
            (FAILED, readiness.failed),
        ] {
            if holds {
                self.set(token, mark, true);
            }
        }
    }

    /// Whether there may be something to read.
    pub(crate) fn is_readable(&self, token: Token) -> bool {
        self.has(token, READABLE)
    }

    /// A read has told whether there is more.
    pub(crate) fn set_readable(&mut self, token: Token, readable: bool) {
        self.set(token, READABLE, readable);
    }

    /// Whether the socket is not known to be full.
    pub(crate) fn is_writable(&self, token: Token) -> bool {
        self.has(token, WRITABLE)
    }

    /// A write has shown that the socket is full.
    pub(crate) fn set_blocked(&mut self, token: Token) {
        self.set(token, WRITABLE, false);
    }

    /// Whether the peer has ended its sending side.
    pub(crate) fn has_ended(&self, token: Token) -> bool {
        self.has(token, ENDED)
    }

    /// Whether the socket has an error.
    pub(crate) fn has_failed(&self, token: Token) -> bool {
        self.has(token, FAILED)
    }

    // Lists to serve.

    /// The connection is to be served.
    pub(crate) fn make_ready(&mut self, token: Token) {
        let marks = self.marks[token.index()];
        if marks & LISTED != 0 {
            return;
        }
        self.marks[token.index()] |= LISTED;
        let is_ending = marks & ENDED != 0 && marks & READABLE != 0;
        let list = match (marks & SETTLING != 0, is_ending) {
            (true, _) => &mut self.settling,
            (false, true) => &mut self.ending,
            (false, false) => &mut self.ready,
        };
        list.push_back(token);
    }

    /// A connection that was served has more to process, so this is not its end; `spent`: it has
    /// used up its share.
    pub(crate) fn make_ready_again(&mut self, token: Token, spent: bool) {
        if !self.has(token, LISTED) {
            self.marks[token.index()] |= LISTED;
            let list = match (self.has(token, SETTLING), spent) {
                (true, _) => &mut self.settling,
                (false, true) => &mut self.spent,
                (false, false) => &mut self.ready,
            };
            list.push_back(token);
        }
    }

    /// How many stand in the lists of the ready, the spent and the ending.
    pub(crate) fn to_serve(&self) -> (usize, usize, usize) {
        (self.ready.len(), self.spent.len(), self.ending.len())
    }

    /// The next of the ready connections.
    pub(crate) fn next_ready(&mut self) -> Option<Token> {
        let token = self.ready.pop_front()?;
        self.set(token, LISTED, false);
        Some(token)
    }

    /// The next of the spent connections.
    pub(crate) fn next_spent(&mut self) -> Option<Token> {
        let token = self.spent.pop_front()?;
        self.set(token, LISTED, false);
        Some(token)
    }

    /// A new connection may begin with a handshake.
    pub(crate) fn expect_handshake(&mut self, token: Token) {
        self.set(token, SETTLING, true);
    }

    /// Its handshake is done, or there is none; nothing could be written to it before.
    pub(crate) fn settle(&mut self, token: Token) {
        self.set(token, SETTLING, false);
        self.set(token, WRITABLE, true);
    }

    /// How many stand in the list of those that may be in a handshake.
    pub(crate) fn settling(&self) -> usize {
        self.settling.len()
    }

    /// The next connection that may be in a handshake.
    pub(crate) fn next_settling(&mut self) -> Option<Token> {
        let token = self.settling.pop_front()?;
        self.set(token, LISTED, false);
        Some(token)
    }

    /// The next of the ending connections.
    pub(crate) fn next_ending(&mut self) -> Option<Token> {
        let token = self.ending.pop_front()?;
        self.set(token, LISTED, false);
        Some(token)
    }

    /// How many of the spent connections may be served in this turn: while earlier messages are not
    /// flushed they wait, but not for ever.
    pub(crate) fn spent_allowed(&mut self) -> usize {
        if self.unflushed.is_empty() {
            self.turns_without_spent = 0;
            return self.spent.len();
        }
        self.turns_without_spent += u32::from(!self.spent.is_empty());
        if self.turns_without_spent <= MAX_TURNS_WITHOUT_SPENT {
            return 0;
        }
        self.turns_without_spent = 0;
        1
    }

    // Lists to flush.

    /// The connection has something to write; it is flushed if its socket may take it.
    pub(crate) fn mark_dirty(&mut self, token: Token) {
        self.mark_dirty_for(token, false);
    }

    /// The same, together with many others if `is_bulk`.
    pub(crate) fn mark_dirty_for(&mut self, token: Token, is_bulk: bool) {
        let marks = &mut self.marks[token.index()];
        if *marks & (WRITABLE | DIRTY) == WRITABLE {
            *marks |= DIRTY;
            let list = if is_bulk { &mut self.bulk } else { &mut self.dirty };
            list.push_back(token);
        }
    }

    /// So many bytes of messages were queued, summed up over their receivers.
    pub(crate) fn queued(&mut self, bytes: usize) {
        self.queued += bytes;
    }

    /// How many writes a flush would make now, if it would write less than `bytes` to each
    /// connection; otherwise 0.
    pub(crate) fn thin_writes(&self, bytes: usize) -> usize {
        let writes = self.dirty.len() + self.bulk.len();
        if self.queued < writes * bytes { writes } else { 0 }
    }

    /// Whether something is to be flushed.
    pub(crate) fn has_dirty(&self) -> bool {
        !(self.dirty.is_empty() && self.bulk.is_empty() && self.unflushed.is_empty())
    }

    /// A flush begins: what was left by the turn before comes first, in its part.
    pub(crate) fn next_unflushed(&mut self) -> Option<Token> {
        let token = self.unflushed.pop_front()?;
        self.set(token, DIRTY, false);
        Some(token)
    }

    /// The next connection that got something in this turn.
    pub(crate) fn next_dirty(&mut self) -> Option<Token> {
        let token = self.dirty.pop_front().or_else(|| self.bulk.pop_front())?;
        self.set(token, DIRTY, false);
        Some(token)
    }

    /// The flush ends; what it did not come to is flushed in the next turn.
    pub(crate) fn end_flush(&mut self) {
        self.unflushed.append(&mut self.dirty);
        self.unflushed.append(&mut self.bulk);
        self.queued = 0;
    }

    /// Connections that stand in a list to flush.
    pub(crate) fn dirty(&self) -> impl Iterator<Item = Token> {
        self.dirty.iter().chain(&self.bulk).chain(&self.unflushed).copied()
    }

    /// Whether a connection stands in a list to serve; asserts that it stands there once.
    #[cfg(test)]
    pub(crate) fn is_listed(&self, token: Token) -> bool {
        let lists = self.ready.iter().chain(&self.spent).chain(&self.ending).chain(&self.settling);
        let stands = lists.filter(|listed| **listed == token).count();
        assert_eq!(stands, usize::from(self.has(token, LISTED)), "{token:?} stands where it says");
        stands == 1
    }

    /// The same for the lists to flush.
    #[cfg(test)]
    pub(crate) fn is_dirty(&self, token: Token) -> bool {
        let stands = self.dirty().filter(|dirty| *dirty == token).count();
        assert_eq!(stands, usize::from(self.has(token, DIRTY)), "{token:?} stands where it says");
        stands == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_ended_stands_with_the_ending_until_it_is_read_to_its_end() {
        let (token, mut schedule) = (Token::new(3), Schedule::default());
        schedule.insert(token);
        let readable = Readiness { readable: true, ..Readiness::default() };
        schedule.note(token, readable);
        schedule.make_ready(token);
        schedule.make_ready(token);
        assert_eq!(schedule.to_serve(), (1, 0, 0), "it has something to say");
        assert_eq!(schedule.next_ready(), Some(token));
        schedule.note(token, Readiness { ended: true, ..readable });
        schedule.make_ready(token);
        assert_eq!(schedule.to_serve(), (0, 0, 1), "these may be its last words");
        assert_eq!(schedule.next_ending(), Some(token));
        schedule.make_ready_again(token, true);
        assert_eq!(schedule.to_serve(), (0, 1, 0), "they were not, and were much");
        assert_eq!(schedule.next_spent(), Some(token));
        schedule.set_readable(token, false);
        schedule.make_ready(token);
        assert_eq!(schedule.to_serve(), (1, 0, 0), "it is read, and its queue drains");
        schedule.remove(&[token]);
        assert_eq!(schedule.to_serve(), (0, 0, 0));
    }

    #[test]
    fn a_connection_in_a_handshake_stands_apart_until_it_is_settled() {
        let (token, mut schedule) = (Token::new(0), Schedule::default());
        schedule.insert(token);
        schedule.expect_handshake(token);
        schedule.set_blocked(token);
        schedule.note(token, Readiness { readable: true, ended: true, ..Readiness::default() });
        schedule.make_ready(token);
        assert_eq!((schedule.to_serve(), schedule.settling()), ((0, 0, 0), 1));
        assert_eq!(schedule.next_settling(), Some(token));
        schedule.make_ready_again(token, true);
        assert_eq!((schedule.to_serve(), schedule.next_settling()), ((0, 0, 0), Some(token)));
        schedule.settle(token);
        assert!(schedule.is_writable(token));
        schedule.make_ready_again(token, false);
        assert_eq!((schedule.to_serve(), schedule.settling()), ((1, 0, 0), 0));
    }

    #[test]
    fn spent_connections_wait_for_the_flush_but_not_for_ever() {
        let mut schedule = Schedule::default();
        let (spent, receiver) = (Token::new(0), Token::new(1));
        schedule.insert(spent);
        schedule.insert(receiver);
        schedule.make_ready_again(spent, true);
        assert_eq!(schedule.spent_allowed(), 1);
        schedule.mark_dirty(receiver);
        schedule.end_flush();
        for turn in 0..MAX_TURNS_WITHOUT_SPENT {
            assert_eq!(schedule.spent_allowed(), 0, "in turn {turn}");
        }
        assert_eq!(schedule.spent_allowed(), 1);
        assert_eq!(schedule.spent_allowed(), 0);
    }

    #[test]
    fn a_connection_that_blocks_is_not_dirty() {
        let (token, mut schedule) = (Token::new(0), Schedule::default());
        schedule.insert(token);
        schedule.set_blocked(token);
        schedule.mark_dirty(token);
        assert!(!schedule.has_dirty());
        schedule.note(token, Readiness { writable: true, ..Readiness::default() });
        schedule.mark_dirty(token);
        schedule.mark_dirty(token);
        assert_eq!((schedule.next_dirty(), schedule.next_dirty()), (Some(token), None));
    }
}
