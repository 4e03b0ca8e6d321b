//! Writing what waits in the outboxes.
//!
//! Owns the order in which they are written, and who may be served meanwhile: a flush to hundreds
//! of readers takes many times as long as the read before it, so it is interrupted now and then
//! for whoever has not been served in this turn. Must not decide what is written.

use std::io::{self, IoSlice};
use std::time::Duration;

use super::reactor::Reactor;
use crate::broker::Token;

/// Bytes that one connection is written in one turn before the others have theirs.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes that are written to all before others are served meanwhile: a millisecond or two.
pub(super) const FLUSH_BYTES: usize = 4 << 20;
/// What they all together, and each of them, may bring in then.
const MEANWHILE_BYTES: usize = 16 << 10;
/// Slices in one write.
const SLICES: usize = 64;

impl Reactor {
    /// Writes every dirty outbox. A message may be on its way to some of its receivers: nobody is
    /// read before the others have it.
    pub(super) fn flush(&mut self) {
        self.flush_dirty(|_| {});
    }

    /// The same at the end of a turn, when every message is with all of its receivers.
    pub(super) fn flush_letting_others_in(&mut self) {
        self.flush_dirty(Reactor::serve_meanwhile);
    }

    /// Calls `meanwhile` each time that much was written.
    fn flush_dirty(&mut self, mut meanwhile: impl FnMut(&mut Reactor)) {
        let mut flushing = std::mem::take(&mut self.flushing);
        self.broker.take_dirty(&mut flushing);
        let mut written = 0;
        for token in flushing.drain(..) {
            written += self.flush_one(token);
            if written >= FLUSH_BYTES {
                written = 0;
                meanwhile(self);
            }
        }
        self.flushing = flushing;
    }

    /// Serves a little of whoever has not been served in this turn, and flushes what that brought.
    fn serve_meanwhile(&mut self) {
        let Some(mut events) = self.meanwhile.take() else { return };
        // A failure comes again when the loop waits, and is told there.
        if self.poll.poll(&mut events, Some(Duration::ZERO)).is_ok() {
            self.note(&events);
        }
        self.meanwhile = Some(events);
        let mut read = 0;
        for _ in 0..self.peers.ready() {
            let Some(token) = self.peers.next_ready() else { break };
            let served = self.peers.get(token).is_some_and(|peer| peer.served == self.turn);
            if served || read >= MEANWHILE_BYTES {
                self.peers.go_on(token);
            } else {
                read += self.serve_one(token, MEANWHILE_BYTES);
            }
        }
        // The last ones are those that have just got something; the others had to wait before.
        let mut fresh = Vec::new();
        self.broker.take_dirty(&mut fresh);
        let mut written = 0;
        while let Some(token) = fresh.pop() {
            if written < FLUSH_BYTES {
                written += self.flush_one(token);
            } else {
                self.broker.writable(token);
            }
        }
    }

    /// Writes one outbox. Returns how many bytes its socket took.
    fn flush_one(&mut self, token: Token) -> usize {
        let now = self.clock.now();
        let Some(peer) = self.peers.get_mut(token) else {
            return 0;
        };
        let mut written = 0;
        while !self.broker.outbox(token).is_empty() {
            if written >= WRITE_BYTES {
                self.broker.writable(token);
                break;
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let (entries, bytes) = self.broker.outbox(token).gather(&mut slices);
            match peer.transport.write_vectored(&slices[..entries]) {
                Ok(count) => {
                    written += count;
                    if count < bytes {
                        self.broker.blocked(token);
                    }
                    self.broker.sent(token, count, now);
                    if count < bytes {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.broker.blocked(token);
                    break;
                }
                Err(_) => {
                    self.broker.connection_failed(token);
                    break;
                }
            }
        }
        written
    }
}
