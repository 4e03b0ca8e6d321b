//! What work costs, and how much of it fits into a turn: the one page with all prices.
//!
//! Owns the unit, the prices, and the two accounts that every piece of work is charged to where it
//! is done: the connection's that asked for it, and the turn's. Must not decide whose turn it is;
//! the turn asks.
//!
//! One unit is 10 ns on the machine of `docs/performance.md`. A turn has [`TURN`] units, 2 ms:
//!
//! | part of a turn | may spend | then |
//! | --- | --- | --- |
//! | serving connections | a half of it, 1 ms | the others come first in the next turn |
//! | one connection of them | an eighth, a share, 0.25 ms | it yields and comes behind others |
//! | accepting; handshakes; deadlines; departures | a share each | the rest is for the next turn |
//! | flushing | what is left, at least a half | the rest is flushed in the next turn |
//! | flushing one connection | a share | it goes on behind the others |
//!
//! What cannot be divided may exceed that: one message to all of its receivers, one read, one
//! write, one change of a subscription, the receivers of one route. Two limits are not about time:
//! [`READ_BYTES`] keeps what was read in the processor's cache until it is written, and
//! [`THIN_BYTES`] lets serving go on, to twice a turn at most, while a flush would make many writes
//! of a few bytes each, since such a write costs as much as a full one.

/// Units that a turn may spend: 2 ms.
pub const TURN: u64 = 200_000;
/// Bytes that all connections together bring into one turn; twice that while a flush would be thin.
pub const READ_BYTES: usize = 512 << 10;
/// A flush is thin while it would write less than this to each connection, in bytes.
pub const THIN_BYTES: usize = 4 << 10;

/// A system call that reads, and what surrounds it.
pub const READ: u64 = 150;
/// A frame that is no message: decoding it, and its answer.
pub const FRAME: u64 = 25;
/// A run of messages: telling where it ends and where it goes.
pub const RUN: u64 = 5;
/// A topic looked up among those whose route is known.
pub const TOPIC: u64 = 4;
/// A run brought into an encoding, without its messages.
pub const ENCODING: u64 = 10;
/// Each message of such a run, without its bytes.
pub const ENCODED: u64 = 1;
/// A slice put into an outbox.
pub const DELIVERY: u64 = 5;
/// A receiver looked at that has no room for all of a run.
pub const LOOK: u64 = 3;
/// A route that is not cached: making it, without its receivers and the nodes visited.
pub const ROUTE: u64 = 100;
/// A node of the trie visited by a search.
pub const NODE: u64 = 8;
/// A receiver collected into a route.
pub const RECEIVER: u64 = 4;
/// A cached topic forgotten to make room.
pub const EVICTION: u64 = 30;
/// A subscription made or ended, without its tokens.
pub const SUBSCRIPTION: u64 = 150;
/// Each token of a filter with a wildcard that is added or removed.
pub const FILTER_TOKEN: u64 = 40;
/// A client that says who it is: each secret that may be its own, hashed.
pub const LOG_IN: u64 = 200;
/// A signature checked, by which it shows who it is.
pub const SIGNATURE: u64 = 10_000;
/// A grant looked at.
pub const GRANT: u64 = 4;
/// A system call that writes, without its bytes.
pub const WRITE: u64 = 400;
/// Bytes that a socket takes for one unit.
pub const WRITTEN_BYTES: u64 = 32;
/// A connection accepted: four system calls.
pub const ACCEPT: u64 = 2_000;
/// A connection closed: two system calls and a line in the log.
pub const CLOSE: u64 = 1_500;
/// Bytes that are encrypted or decrypted for one unit.
pub const CIPHERED_BYTES: u64 = 16;
/// Nanoseconds of a unit, for a TLS handshake: what that takes is measured, since it depends on the
/// keys that both sides have chosen.
pub const NANOS: u64 = 10;
/// Bytes copied for one unit, into an encoding or out of sparse chunks.
pub const COPIED_BYTES: u64 = 64;

/// What was spent: in this turn, and by the connection that is being served.
#[derive(Debug)]
pub struct Budget {
    /// Units of a turn.
    units: u64,
    turn: u64,
    connection: u64,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::new(TURN)
    }
}

impl Budget {
    /// A budget of so many units in a turn.
    pub fn new(units: u64) -> Budget {
        Budget { units, turn: 0, connection: 0 }
    }

    /// Units of a turn.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Units of a share.
    pub fn share(&self) -> u64 {
        self.units / 8
    }

    /// A new turn, in which nothing is spent.
    pub fn begin_turn(&mut self) {
        *self = Budget::new(self.units);
    }

    /// Another connection is served or flushed from now on.
    pub fn begin_connection(&mut self) {
        self.connection = 0;
    }

    /// Work for the connection being served was done.
    pub fn charge(&mut self, units: u64) {
        self.turn += units;
        self.connection += units;
    }

    /// Work was done that is not for the connection being served.
    pub fn charge_turn(&mut self, units: u64) {
        self.turn += units;
    }

    /// The connection has asked for work that is done later, and charged to the turn then.
    pub fn charge_ahead(&mut self, units: u64) {
        self.connection += units;
    }

    /// Units spent in this turn.
    pub fn spent(&self) -> u64 {
        self.turn
    }

    /// Units left of the share of the connection that is being served.
    pub fn left_of_share(&self) -> u64 {
        self.share().saturating_sub(self.connection)
    }

    /// Whether the connection that is being served has used up its share.
    pub fn is_share_used(&self) -> bool {
        self.connection >= self.share()
    }
}

/// What writing so many bytes to each of so many connections will cost, in bytes alone.
pub fn writing(receivers: usize, bytes: usize) -> u64 {
    receivers as u64 * bytes as u64 / WRITTEN_BYTES
}
