//! The figures of one moment, gathered before they are written down.
//!
//! Owns which figures the monitor shows. Must not know in which format.

use std::time::Duration;

use time::OffsetDateTime;

use super::process::Process;
use super::turns::Turns;
use crate::engine::Engine;
use crate::engine::inspect::Load;
use crate::engine::link::LinkFigures;
use crate::engine::routing::counts::{Published, TopicCount};
use crate::engine::stats::Stats;

/// The version in all formats.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What was published to a topic or a listed filter.
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) published: Published,
}

/// The figures of one moment.
pub(super) struct Snapshot<'a> {
    pub(super) stats: &'a Stats,
    pub(super) load: Load,
    pub(super) turns: &'a Turns,
    pub(super) subscriptions: usize,
    pub(super) filters: usize,
    pub(super) cached_topics: usize,
    pub(super) memory_bytes: usize,
    pub(super) draining: bool,
    /// When the monitor began, and how long ago that is.
    pub(super) started: OffsetDateTime,
    pub(super) uptime: Duration,
    /// The topics of the settings, in their order.
    pub(super) listed: Vec<Topic>,
    /// The busiest others, the busiest first.
    pub(super) busiest: Vec<Topic>,
    /// Requests to the monitor with a wrong name or secret, and handshakes with it that failed.
    pub(super) refused: u64,
    pub(super) failed_handshakes: u64,
    /// Bytes that wait in TLS sessions, if there may be any.
    pub(super) tls_bytes: Option<usize>,
    /// Days until the broker's certificate ends, if it has one.
    pub(super) certificate_days: Option<i64>,
    /// What went over the link to a hub, if there is to be one.
    pub(super) link: Option<LinkFigures>,
    pub(super) process: Process,
}

/// What a snapshot needs beside the broker.
pub(super) struct Frame<'a> {
    pub(super) turns: &'a Turns,
    pub(super) started: OffsetDateTime,
    pub(super) uptime: Duration,
    /// How many of the busiest topics.
    pub(super) busiest: usize,
    /// Requests to the monitor with a wrong name or secret, and handshakes with it that failed.
    pub(super) refused: u64,
    pub(super) failed_handshakes: u64,
    /// Bytes that wait in TLS sessions, if there may be any.
    pub(super) tls_bytes: Option<usize>,
    /// Days until the broker's certificate ends, if it has one.
    pub(super) certificate_days: Option<i64>,
    pub(super) process: Process,
}

impl<'a> Snapshot<'a> {
    /// All topics that are shown, the listed ones first.
    pub(super) fn topics(&self) -> impl Iterator<Item = &Topic> + Clone {
        self.listed.iter().chain(&self.busiest)
    }

    pub(super) fn of(engine: &'a Engine, frame: Frame<'a>) -> Snapshot<'a> {
        let topic = |count: &TopicCount| {
            let name = String::from_utf8_lossy(&count.topic).into_owned();
            Topic { name, published: count.published }
        };
        let listed: Vec<_> = engine.listed_topics().iter().map(topic).collect();
        // A listed topic may be busy as well; it is shown once.
        let wanted = frame.busiest + if frame.busiest > 0 { listed.len() } else { 0 };
        let busiest = engine.busiest_topics(wanted);
        let busiest = busiest.iter().map(topic);
        let others = busiest.filter(|topic| listed.iter().all(|other| other.name != topic.name));
        let busiest = others.take(frame.busiest).collect();
        let sizes = engine.index_sizes();
        Snapshot {
            stats: engine.stats(),
            load: engine.load(),
            turns: frame.turns,
            subscriptions: sizes.subscriptions,
            filters: sizes.filters,
            cached_topics: sizes.cached_topics,
            memory_bytes: engine.memory_held(),
            draining: engine.is_draining(),
            started: frame.started,
            uptime: frame.uptime,
            listed,
            busiest,
            refused: frame.refused,
            failed_handshakes: frame.failed_handshakes,
            tls_bytes: frame.tls_bytes,
            certificate_days: frame.certificate_days,
            link: engine.link_figures(),
            process: frame.process,
        }
    }
}

/// A control character beyond ASCII. Terminals obey them as they obey those of ASCII, and topics
/// and ids may hold them.
pub(super) fn is_c1(character: char) -> bool {
    ('\u{80}'..='\u{9f}').contains(&character)
}
