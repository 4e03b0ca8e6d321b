//! A run: adjacent messages with the same receivers, as a part of what was read.
//!
//! Owns what is known of it: how many messages, how many bytes in each encoding, and which first
//! part of it fits. Must not know who the receivers are.

use smallvec::SmallVec;
use wire::Encoding;

use super::messages::{Message, Sizes, sizes};
use crate::engine::buffers::chunk::Slice;
use crate::engine::routing::Route;
use crate::engine::sessions::protocol::Protocol;

/// Adjacent messages with one route, as a part of what was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) messages: u64,
    /// In which protocol they were sent.
    pub(super) protocol: Protocol,
    /// It is one message, to a reply that its publisher may publish to once.
    pub(super) is_reply: bool,
    /// Bytes of the shortest message in any encoding, or less.
    pub(super) shortest: usize,
    /// Their bytes in each encoding, if they are wanted in others than they were sent in.
    pub(super) sizes: Sizes,
}

impl Run {
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Bytes in an encoding whose sid has so many.
    pub(super) fn len_in(&self, encoding: Encoding, sid_bytes: usize) -> usize {
        match (self.protocol, encoding) {
            (Protocol::Native, Encoding::Native) => self.len(),
            _ => self.sizes.of(encoding, sid_bytes, self.messages),
        }
    }

    /// Whether receivers of an encoding are given the very bytes that were read.
    pub(super) fn is_sent_in(&self, encoding: Encoding) -> bool {
        self.protocol == Protocol::Native && encoding == Encoding::Native
    }

    /// The same run, measured in the encodings that a route asks for.
    pub(super) fn measured(self, source: &Slice, route: &Route) -> Run {
        if self.protocol == Protocol::Native && route.is_native() {
            return self;
        }
        let sizes = sizes(source.bytes(), self.start..self.end, self.protocol);
        Run { sizes, ..self }
    }

    /// The first messages, which together take no more than so many bytes; maybe none.
    pub(super) fn fitting(self, room: usize, source: &Slice, copies: &Copies) -> Run {
        if copies.of(&self) <= room {
            return self;
        }
        // A full outbox costs one comparison, however long the run.
        if room < self.shortest {
            return Run { end: self.start, messages: 0, sizes: Sizes::default(), ..self };
        }
        self.take_while(source, |part| copies.of(part) <= room)
    }

    /// The first messages, each of which takes more than so many bytes; the first one does.
    pub(super) fn not_fitting(self, room: usize, source: &Slice, copies: &Copies) -> Run {
        if room < self.shortest {
            return self;
        }
        let mut before = 0;
        self.take_while(source, |part| {
            let length = copies.of(part) - before;
            before += length;
            length > room
        })
    }

    /// The first so many messages.
    pub(super) fn first(self, source: &Slice, messages: u64) -> Run {
        if messages >= self.messages {
            return self;
        }
        self.take_while(source, |part| part.messages <= messages)
    }

    /// The first messages, as long as the part with the next one is as it may be.
    pub(super) fn take_while(self, source: &Slice, mut may_be: impl FnMut(&Run) -> bool) -> Run {
        let mut part = Run { end: self.start, messages: 0, sizes: Sizes::default(), ..self };
        while part.messages < self.messages {
            let message = Message::at(&source.bytes()[part.end..self.end], self.protocol);
            let mut more = part;
            more.end += message.length;
            more.messages += 1;
            if self.sizes != Sizes::default() {
                more.sizes.add(message.sizes(), 1);
            }
            if !may_be(&more) {
                break;
            }
            part = more;
        }
        part
    }

    /// What is behind a first part.
    pub(super) fn behind(self, part: Run) -> Run {
        let messages = self.messages - part.messages;
        Run { start: part.end, messages, sizes: self.sizes.behind(part.sizes), ..self }
    }
}

/// How many bytes a connection is given of a run: the sum of all copies that it gets.
pub(super) struct Copies(pub(super) SmallVec<[(Encoding, usize); 1]>);

impl Copies {
    /// Bytes of a run.
    pub(super) fn of(&self, run: &Run) -> usize {
        self.0.iter().map(|&(encoding, sid_bytes)| run.len_in(encoding, sid_bytes)).sum()
    }

    /// Bytes of the first message of a run.
    pub(super) fn of_first(&self, run: Run, source: &Slice) -> usize {
        self.of(&run.first(source, 1))
    }
}
