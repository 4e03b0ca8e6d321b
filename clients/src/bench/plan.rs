//! What a benchmark is to do: the parsed and checked command line. Plain values.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::protocol::Protocol;
use crate::credentials::Credentials;
use crate::tls::TlsArgs;

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// Which broker.
    pub(crate) place: Place,
    /// Its process, if the user knows it.
    pub(crate) broker_pid: Option<u32>,
    /// The protocol.
    pub(crate) protocol: Protocol,
    /// Who all connections say that they are.
    pub(crate) credentials: Option<Credentials>,
    /// Connections that publish, or make requests.
    pub(crate) publishers: usize,
    /// Connections that subscribe; 0: only publish, or make requests.
    pub(crate) subscribers: usize,
    /// How many topics publishers publish to in turn.
    pub(crate) topics: usize,
    /// Subscribe to all by one wildcard.
    pub(crate) wildcard: bool,
    /// Sizes of payloads.
    pub(crate) sizes: Sizes,
    /// Seed of their choice.
    pub(crate) seed: u64,
    /// How much to publish.
    pub(crate) amount: Amount,
    /// Messages a second of all publishers; `None`: at full speed.
    pub(crate) rate: Option<f64>,
    /// Number and check every message.
    pub(crate) verify: bool,
    /// How often.
    pub(crate) runs: usize,
    /// Requests, in place of messages that are published.
    pub(crate) requests: Option<Requests>,
}

/// What requests need beside what is published anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Requests {
    /// Connections that answer, members of one queue group.
    pub(crate) responders: usize,
    /// How many requests each requester leaves without an answer before it waits for one.
    pub(crate) window: usize,
}

/// Which broker is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// One of our own.
    Embedded,
    /// One that is there.
    At {
        /// Its address or name.
        host: String,
        /// Where it takes publishers.
        publisher_port: u16,
        /// Where it takes subscribers.
        subscriber_port: u16,
        /// How, if in TLS.
        tls: Option<TlsArgs>,
    },
    /// One that is there, on this machine.
    Sockets {
        /// The Unix socket where it takes publishers.
        publisher: PathBuf,
        /// The Unix socket where it takes subscribers.
        subscriber: PathBuf,
    },
}

/// When publishing ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Amount {
    /// After so many messages of all publishers together.
    Messages(u64),
    /// After so long.
    Time(Duration),
}

/// Sizes of payloads, in bytes, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// The smallest.
    pub(crate) least: usize,
    /// The largest; not below `least`.
    pub(crate) most: usize,
}

impl Sizes {
    /// The largest payload that can be asked for; brokers accept less.
    const MOST: usize = 1 << 30;

    /// Reads `BYTES` or `BYTES..BYTES`.
    ///
    /// # Errors
    /// What was expected.
    pub(crate) fn parse(text: &str) -> Result<Sizes, String> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        match (least.parse(), most.parse()) {
            (Ok(least), Ok(most)) if least <= most && most <= Sizes::MOST => {
                Ok(Sizes { least, most })
            }
            _ => {
                Err(format!("expected bytes, or a range such as 100..2000, up to {}", Sizes::MOST))
            }
        }
    }

    /// Whether all payloads are equally long.
    pub(crate) fn is_one(self) -> bool {
        self.least == self.most
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_one() {
            write!(f, "{}", self.least)
        } else {
            write!(f, "{}..{}", self.least, self.most)
        }
    }
}

impl Plan {
    /// Deliveries of each message that are counted; an answer is one of its request.
    pub(crate) fn deliveries(&self) -> usize {
        if self.requests.is_some() { 1 } else { self.subscribers }
    }

    /// Connections that what is published goes to: subscribers or responders.
    pub(crate) fn receivers(&self) -> usize {
        self.requests.map_or(self.subscribers, |requests| requests.responders)
    }

    /// What is done with a message, and what has been done with it when it is there.
    pub(crate) fn words(&self) -> [&'static str; 2] {
        if self.requests.is_some() { ["requested", "answered"] } else { ["published", "delivered"] }
    }

    /// As part of a report for machines.
    pub(crate) fn to_json(&self) -> Value {
        let (messages, seconds) = match self.amount {
            Amount::Messages(messages) => (Some(messages), None),
            Amount::Time(time) => (None, Some(time.as_secs_f64())),
        };
        json!({
            "protocol": self.protocol.name(),
            "responders": self.requests.map(|requests| requests.responders),
            "window": self.requests.map(|requests| requests.window),
            "publishers": self.publishers,
            "subscribers": self.subscribers,
            "topics": self.topics,
            "wildcard": self.wildcard,
            "size": self.sizes.to_string(),
            "seed": self.seed,
            "messages": messages,
            "seconds": seconds,
            "rate": self.rate,
            "verify": self.verify,
            "runs": self.runs,
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let who = if self.requests.is_some() { "requester" } else { "publisher" };
        write!(f, "{}, {}", plural(self.publishers, who), plural(self.topics, "topic"))?;
        match (self.requests, self.subscribers) {
            (Some(requests), _) => write!(f, ", {}", plural(requests.responders, "responder"))?,
            (None, 0) => write!(f, ", no subscribers")?,
            (None, n) => write!(f, ", {}", plural(n, "subscriber"))?,
        }
        if self.wildcard {
            write!(f, " by wildcard")?;
        }
        if let Some(requests) = self.requests {
            write!(f, ", window {}", requests.window)?;
        }
        write!(f, ", {} B", self.sizes)?;
        match self.amount {
            Amount::Messages(n) if self.requests.is_some() => write!(f, ", {n} requests")?,
            Amount::Messages(n) => write!(f, ", {n} messages")?,
            Amount::Time(time) => write!(f, ", {} s", time.as_secs_f64())?,
        }
        match self.rate {
            Some(rate) => write!(f, ", {rate}/s on schedule")?,
            None => write!(f, ", as fast as it goes")?,
        }
        if self.verify {
            write!(f, ", verified")?;
        }
        Ok(())
    }
}

#[cfg(test)]
impl Plan {
    /// One message from one publisher to one subscriber, for tests to change.
    pub(crate) fn example() -> Plan {
        Plan {
            place: Place::Embedded,
            broker_pid: None,
            protocol: Protocol::Native,
            credentials: None,
            publishers: 1,
            subscribers: 1,
            topics: 1,
            wildcard: false,
            sizes: Sizes { least: 128, most: 128 },
            seed: 7,
            amount: Amount::Messages(1),
            rate: None,
            verify: false,
            runs: 1,
            requests: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_a_number_or_a_range() {
        assert_eq!(Sizes::parse("7"), Ok(Sizes { least: 7, most: 7 }));
        assert_eq!(Sizes::parse("0..10"), Ok(Sizes { least: 0, most: 10 }));
        for text in ["", "..", "1..", "..1", "2..1", "x", "-1", "1...2", "99999999999"] {
            assert!(Sizes::parse(text).is_err(), "{text}");
        }
    }
}
