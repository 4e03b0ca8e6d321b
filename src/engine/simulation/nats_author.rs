//! Makes up what NATS clients say.
//!
//! Owns how likely each line is, and the names in it.

use super::author::{Author, FILTERS, FLOOD, GROUPS, TOPICS};
use super::nats::{Line, Options, Sent};
use super::script::{Action, Said};

/// Names of subscriptions; some are no numbers, or none that stand for themselves.
const SIDS: [&str; 9] =
    ["1", "2", "3", "9", "10", "4294967295", "a", "007", "a-long-name.of-letters"];
/// What replies are wanted on; the last two are no topics.
const REPLIES: [&str; 6] = ["r.1", "r.2", "a", "r.1.2", "r.*", "r..x"];
/// Subjects that no filter matches.
const ODD_SUBJECTS: [&str; 3] = ["a..b", "a.*", ">"];
const ODD_FILTERS: [&str; 6] = ["r.*", "r.>", "r.1", "r.2", ">.a", "a..b"];

impl Author {
    /// A NATS client says what it wants, or does not.
    pub(super) fn introduce(&mut self, client: usize) {
        self.with_headers.insert(client, false);
        if self.random.chance(85) {
            let options = self.options(client);
            self.say(client, Line::Connect(options));
            self.say(client, Line::Ping);
        }
    }

    fn say(&mut self, client: usize, line: Line) {
        self.actions.push(Action::Say(client, Said::Nats(line)));
    }

    fn options(&mut self, client: usize) -> Options {
        let random = &mut self.random;
        let mut maybe = |percent, value| random.chance(percent).then_some(value);
        let mut options = Options {
            verbose: maybe(75, false),
            pedantic: maybe(60, false),
            echo: maybe(30, false),
            headers: maybe(60, true),
            no_responders: None,
            protocol: maybe(60, true).map(u8::from),
        };
        options.echo = options.echo.or(maybe(20, true));
        options.verbose = options.verbose.or(maybe(20, true));
        options.headers = options.headers.or(maybe(20, false));
        let before = self.with_headers.get(&client).copied().unwrap_or(false);
        let headers = options.headers.unwrap_or(before);
        if self.random.chance(if headers { 70 } else { 1 }) {
            options.no_responders = Some(true);
        } else if !headers {
            options.no_responders = Some(false);
        }
        self.with_headers.insert(client, headers);
        options
    }

    /// Something that a NATS client says.
    pub(super) fn line(&mut self, client: usize) -> Said {
        if self.with_nonsense && self.random.chance(1) {
            return Said::Nats(self.nonsense());
        }
        Said::Nats(match self.random.below(24) {
            0 | 1 => Line::Ping,
            2 => Line::Pong,
            3 if self.random.chance(50) => Line::Connect(self.options(client)),
            3..=5 => Line::Unsub(self.random.pick(&SIDS), None),
            6 | 7 => {
                let max = 1 + self.random.below(6) as u64;
                Line::Unsub(self.random.pick(&SIDS), Some(max))
            }
            8 if self.with_parts => Line::Part(1 + self.random.below(self.max_payload)),
            8..=13 => self.subscription(),
            _ => Line::Pub(self.message(client)),
        })
    }

    fn subscription(&mut self) -> Line {
        let with_group = self.with_groups && self.random.chance(40);
        let group = with_group.then(|| self.random.pick(&GROUPS));
        let is_odd = self.random.chance(20);
        let filter =
            if is_odd { self.random.pick(&ODD_FILTERS) } else { self.random.pick(&FILTERS) };
        Line::Sub(filter, group, self.random.pick(&SIDS))
    }

    fn message(&mut self, client: usize) -> Sent {
        self.next_message += 1;
        let most = self.max_payload;
        let takes_headers = self.with_headers.get(&client).copied().unwrap_or(false);
        let headers = (takes_headers && self.random.chance(50))
            .then(|| self.random.pick(&[0, 2, 12, 20, 40]).min(most));
        let left = most - headers.unwrap_or(0);
        let length = match self.random.below(20) {
            0 => left,
            1..4 => 0,
            4 => self.random.below(8),
            _ => 8 + self.random.below(60),
        };
        let subject = match self.random.below(20) {
            0 => self.random.pick(&ODD_SUBJECTS),
            1 | 2 => self.random.pick(&REPLIES[..4]),
            _ => self.random.pick(&TOPICS),
        };
        let reply = self.random.chance(40).then(|| self.random.pick(&REPLIES));
        Sent { subject, reply, number: self.next_message, headers, length: length.min(left) }
    }

    fn nonsense(&mut self) -> Line {
        let (bytes, error) = self.random.pick(&[
            ("FOO\r\n", "Unknown Protocol Operation"),
            ("PUB a 1\r\nxyz\r\n", "Unknown Protocol Operation"),
            ("PUB a 999999\r\n", "Maximum Payload Violation"),
            ("SUB a\r\n", ""),
            ("CONNECT []\r\n", ""),
            ("HPUB a 5 3\r\n", ""),
        ]);
        Line::Nonsense(bytes, error)
    }

    /// More work or more answers than fit into a turn or an outbox.
    pub(super) fn flood_lines(&mut self, client: usize) {
        match self.random.below(5) {
            0 => self.actions.extend([Action::Say(client, Said::Nats(Line::Ping)); FLOOD]),
            1 => {
                let odd = Line::Sub(">.a", None, "1");
                self.actions.extend([Action::Say(client, Said::Nats(odd)); FLOOD]);
            }
            2 => {
                let (filter, sid) = (self.random.pick(&FILTERS), self.random.pick(&SIDS));
                for _ in 0..FLOOD / 4 {
                    self.say(client, Line::Sub(filter, None, sid));
                    self.say(client, Line::Unsub(sid, None));
                }
            }
            3 => {
                // The same to one subject, so that all of them may be one run.
                let subject = self.random.pick(&TOPICS);
                let reply = self.random.chance(50).then_some("r.1");
                for _ in 0..FLOOD / 5 {
                    self.next_message += 1;
                    let number = self.next_message;
                    let length = if self.random.chance(50) { 8 } else { 0 };
                    let sent = Sent { subject, reply, number, headers: None, length };
                    self.say(client, Line::Pub(sent));
                }
            }
            _ => {
                for _ in 0..FLOOD / 5 {
                    let sent = Sent { length: 8, headers: None, ..self.message(client) };
                    self.say(client, Line::Pub(sent));
                }
            }
        }
    }
}
