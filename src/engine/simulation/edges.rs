//! Which edges of the broker the worlds reach: a simulation proves nothing about what never
//! happens in it.
//!
//! Owns the table of edges and of how many worlds must reach each. A world notes what happens.

use std::collections::BTreeMap;

/// Each edge, and how many of the ordinary run's worlds must at least reach it.
const EDGES: [(&str, u64); 108] = [
    ("publisher paused", 100),
    ("publisher waits for a queue group", 50),
    ("turn that used up its budget", 50),
    ("share of a connection used up", 50),
    ("flush left for the next turn", 50),
    ("subscriptions given up later", 10),
    ("write of many slices", 10),
    ("message larger than its outbox", 100),
    ("message dropped", 100),
    ("LOST heard", 100),
    ("LOST within the same outbox twice", 50),
    ("LOST heard by a member of a queue group", 20),
    ("memory full, reading stopped", 50),
    ("frame ends in full memory", 10),
    ("closed: frame time-out", 5),
    ("sparse chunks compacted", 100),
    ("half-written frame compacted", 10),
    ("closed: slow consumer under block", 10),
    ("closed: slow consumer under disconnect", 100),
    ("closed: hello time-out", 100),
    ("closed: heartbeat time-out", 100),
    ("closed: too many connections", 100),
    ("closed: malformed", 100),
    ("closed: hello expected", 100),
    ("closed: not allowed", 100),
    ("closed: too large", 100),
    ("closed: by the client", 100),
    ("closed: lost", 100),
    ("frame half-written when closing began", 50),
    ("messages undelivered at the end", 100),
    ("too many subscriptions", 100),
    ("bad topic refused", 100),
    ("unread for its answers", 10),
    ("PING heard", 100),
    ("frame larger than a chunk", 100),
    ("frame never ended", 50),
    ("message cut by the end of input", 50),
    ("told to stop while a client was busy", 100),
    ("rules changed", 100),
    ("more due than one turn does", 100),
    ("GOODBYE behind messages", 50),
    ("hundreds of connections", 20),
    ("token used again", 100),
    ("turns of a queue group compared", 3),
    ("search interrupted", 100),
    ("native message to a NATS client", 100),
    ("runs given together", 40),
    ("NATS message to a native client", 100),
    ("headers passed on", 100),
    ("headers cut off", 100),
    ("own message kept back", 100),
    ("empty message", 100),
    ("payload too large to be copied", 50),
    ("subscription ended by its maximum", 100),
    ("maximum counts what came before", 100),
    ("SUB with a sid in use", 100),
    ("too many subscriptions of a NATS client", 100),
    ("message to a subject that nothing matches", 100),
    ("503", 100),
    ("+OK", 100),
    ("second CONNECT", 100),
    ("CONNECT carried out in parts", 100),
    ("INFO that the broker stops", 100),
    ("several copies for one NATS client", 100),
    ("queue group of native and NATS members", 100),
    ("NATS client closed: slow consumer", 100),
    ("NATS client took nothing for long", 100),
    ("NATS client waits for receivers", 100),
    ("NATS client closed: stale", 100),
    ("NATS message dropped", 10),
    ("users changed", 100),
    ("message refused for its user", 100),
    ("subscription refused for its user", 100),
    ("queue group refused for its user", 50),
    ("denial within a grant withheld a message", 100),
    ("denial passed over a member of a queue group", 50),
    ("subscription ended by other users", 100),
    ("reply allowed once", 40),
    ("reply refused the second time", 20),
    ("hub joined", 100),
    ("interest of a hub that has gone kept", 100),
    ("message of a hub", 100),
    ("message of a hub too large", 100),
    ("message of a hub not carried", 100),
    ("hub named queue groups", 100),
    ("subject of a stream shown", 100),
    ("permissions of a hub", 100),
    ("mark of the broker came back", 50),
    ("filter of a hub not carried", 100),
    ("too many filters of a hub", 100),
    ("message too large for a hub", 100),
    ("message dropped for a hub", 30),
    ("queue group served behind a hub", 50),
    ("several groups behind a hub", 50),
    ("plain subscribers and a group behind a hub", 100),
    ("message for a group kept from a hub", 10),
    ("lost without a hub", 100),
    ("messages unconfirmed", 100),
    ("filter taken back from a hub", 100),
    ("weight of a group told anew", 50),
    ("filter that was not asked for", 50),
    ("publisher waits for a hub", 10),
    ("member here served before a hub", 50),
    ("closed: slow hub", 5),
    ("other rules of the link", 50),
    ("messages wait for a hub", 20),
    ("hub waited for in vain", 3),
    ("messages handed over to another hub", 5),
];

/// What one world, or many, reached: how often, and in how many worlds.
#[derive(Clone, Default)]
pub(super) struct Edges(BTreeMap<&'static str, (u64, u64)>);

impl Edges {
    /// An edge was reached so many times more.
    pub(super) fn note(&mut self, edge: &'static str, times: u64) {
        debug_assert!(EDGES.iter().any(|(name, _)| *name == edge), "{edge} is not in the table");
        if times > 0 {
            let (count, worlds) = self.0.entry(edge).or_default();
            *count += times;
            *worlds = 1;
        }
    }

    /// Adds what another world reached.
    pub(super) fn add(&mut self, other: &Edges) {
        for (edge, (count, worlds)) in &other.0 {
            let (all, all_worlds) = self.0.entry(edge).or_default();
            *all += count;
            *all_worlds += worlds;
        }
    }

    /// The table, and the edges that too few of so many worlds reached.
    pub(super) fn report(&self, worlds: u64, ordinary: u64) -> (String, Vec<&'static str>) {
        let mut table = format!("{:<48} {:>10} {:>8} {:>8}\n", "edge", "times", "worlds", "least");
        let mut missed = Vec::new();
        for (edge, least) in EDGES {
            let (count, reached) = self.0.get(edge).copied().unwrap_or_default();
            let least = least * worlds / ordinary;
            table += &format!("{edge:<48} {count:>10} {reached:>8} {least:>8}\n");
            if reached < least {
                missed.push(edge);
            }
        }
        (table, missed)
    }
}
