//! Makes up links, and what their hubs say.
//!
//! Owns how likely each line is, and the names in it.

use super::author::{Author, FILTERS, GROUPS, HOUR, TOPICS};
use super::hub::{Line, PERMISSIONS, RULES};
use super::nats::Sent;
use super::random::Random;
use super::script::{Action, Limits, LinkSetup, Said};
use crate::engine::rules::OverflowPolicy;

/// The name of each hub in a script: there is one at a time.
const HUB: usize = 1_000_000;
/// What replies are wanted on. The ones of streams tell which subject is to be shown, but for the
/// last, where that is none. The last one of all is not carried.
const REPLIES: [&str; 7] = [
    "r.1",
    "r.2",
    "a",
    "$JS.ACK.S.c.1.2.3.4.5@b.c",
    "$JS.ACK.S.c.1.2.3.4.6@shown.to.all",
    "$JS.ACK.S.c.1.2.3.4.7@a..b",
    "r.\x7F",
];
/// Queue groups as a message names them: some that nobody is in, and one twice.
const NAMES: [&[&str]; 7] =
    [&[], &[], &["g"], &["h"], &["h", "g"], &["none", "g", "other"], &["g", "g"]];
/// Filters that no hub of ours should have, or that are not kept.
const ODD_FILTERS: [&str; 4] = ["$LDS.other", "a..b", ">.a", "r.*"];

impl Author {
    /// A link of a world.
    pub(super) fn link(&mut self, random: &mut Random) -> LinkSetup {
        self.is_linked = true;
        let policies = [OverflowPolicy::Drop, OverflowPolicy::Drop, OverflowPolicy::Block];
        LinkSetup {
            rules: random.below(RULES.len()),
            limits: Limits {
                max_subscriptions: random.pick(&[3, 8, 100]),
                outbox_bytes: random.pick(&[60, 300, 2_000, 100_000, 100_000]),
                policy: random.pick(&policies),
                stall_timeout: random.pick(&[1_000, HOUR]),
            },
        }
    }

    /// Something happens to the hub, or nothing does.
    pub(super) fn hub_step(&mut self, random: &mut Random) {
        if !self.is_linked {
            return;
        }
        match random.below(200) {
            0..4 => self.dial(random),
            4..20 => {
                for _ in 0..random.pick(&[1, 1, 3, 10]) {
                    let line = self.hub_line(random);
                    self.hub_says(line);
                }
            }
            20..35 => self.hub_reads(random),
            35 if random.chance(40) => {
                self.actions.push(match random.below(3) {
                    0 => Action::Finish(HUB),
                    _ => Action::Break(HUB),
                });
            }
            36 if random.chance(10) => self.hub_says(Line::Mark),
            37 if self.with_nonsense && random.chance(20) => {
                let nonsense = ["SUB a 1\r\n", "LS+ a b\r\n", "LMSG a\r\n", "LMSG a 1\r\nxyz\r\n"];
                self.hub_says(Line::Nonsense(random.pick(&nonsense)));
            }
            38 if self.with_parts && random.chance(20) => {
                self.hub_says(Line::Part(1 + random.below(self.max_payload)));
            }
            39 if random.chance(20) => {
                self.actions.push(Action::Link(random.below(RULES.len() + 1)));
            }
            _ => {}
        }
    }

    fn hub_says(&mut self, line: Line) {
        self.actions.push(Action::Say(HUB, Said::Hub(line)));
    }

    fn hub_reads(&mut self, random: &mut Random) {
        let room = random.pick(&self.rooms) + random.below(10);
        self.actions.push(Action::Read(HUB, room));
        if random.chance(90) {
            self.actions.push(Action::Answer(HUB));
        }
    }

    /// A hub that joins at once, mostly, and wants something.
    fn dial(&mut self, random: &mut Random) {
        let most = random.pick(&[self.max_payload, 1 << 20, 1 << 20, 30, 8]);
        self.actions.push(Action::Dial(HUB, most, random.pick(&self.rooms)));
        if random.chance(90) {
            let permissions = random.chance(30).then(|| random.below(PERMISSIONS.len()));
            self.hub_says(Line::Info(permissions.unwrap_or(0)));
            self.actions.extend([Action::Turn(0), Action::Read(HUB, 1_000), Action::Turn(0)]);
            if random.chance(30) {
                self.hub_says(Line::Ping);
            }
            for _ in 0..random.below(6) {
                let line = self.interest(random);
                self.hub_says(line);
            }
            self.actions.extend([Action::Answer(HUB), Action::Turn(0)]);
        }
    }

    fn interest(&mut self, random: &mut Random) -> Line {
        let filter = match random.below(10) {
            0 => random.pick(&ODD_FILTERS),
            _ => random.pick(&FILTERS),
        };
        let is_grouped = random.chance(40);
        let group = is_grouped.then(|| (random.pick(&GROUPS), random.below(4) as u32));
        Line::Want(filter, group)
    }

    fn hub_line(&mut self, random: &mut Random) -> Line {
        match random.below(20) {
            0..6 => self.interest(random),
            6 | 7 => {
                let group = random.chance(40).then(|| random.pick(&GROUPS));
                Line::End(random.pick(&FILTERS), group)
            }
            8 => Line::Ping,
            9 => Line::Ignored(random.pick(&["+OK\r\n", "-ERR 'x y'\r\n", "INFO {\"a\":1}\r\n"])),
            10 => Line::TooLarge(1 + random.below(300)),
            _ => Line::Message(self.hub_message(random), random.pick(&NAMES)),
        }
    }

    fn hub_message(&mut self, random: &mut Random) -> Sent {
        self.next_message += 1;
        let headers = random.chance(30).then(|| random.pick(&[0, 2, 12, 40]).min(self.max_payload));
        let left = self.max_payload - headers.unwrap_or(0);
        let length = match random.below(10) {
            0 => left,
            1 => random.below(8),
            _ => 8 + random.below(60),
        };
        let subject = match random.below(20) {
            0 => random.pick(&["a..b", "a.*", ">"]),
            1 => "r.1",
            _ => random.pick(&TOPICS),
        };
        let reply = random.chance(50).then(|| random.pick(&REPLIES));
        Sent { subject, reply, number: self.next_message, headers, length: length.min(left) }
    }
}
