//! What a manual page says besides the definitions of the command line: exit status, files,
//! environment, examples.
//!
//! Owns these texts. Must not repeat what a flag's own help says.

use clap_mangen::roff::{Roff, bold, roman};

/// The sections of one program.
pub(crate) struct Sections {
    program: &'static str,
    exits: &'static [(&'static str, &'static str)],
    files: &'static [(&'static str, &'static str)],
    environment: &'static [(&'static str, &'static str)],
    /// What it does, and the command line.
    examples: &'static [(&'static str, &'static str)],
}

const CONFIG_FILES: &[(&str, &str)] = &[
    (
        "config.ini",
        "in the working directory: host and ports, where flags and environment say nothing",
    ),
    (
        "~/.config/broker/config.ini",
        "the same of the user, behind that; below $XDG_CONFIG_HOME if that is set",
    ),
    ("/etc/broker/config.ini", "the same of the machine, behind both"),
];

const USER: (&str, &str) = ("BROKER_USER", "stands for --user");
const SECRET: (&str, &str) =
    ("BROKER_SECRET", "that user's secret, where --secret-file is not given");

const TABLE: [Sections; 4] = [
    Sections {
        program: "broker",
        exits: &[
            ("0", "stopped, and everything that was accepted is delivered"),
            ("1", "failed, or stopped at once by a second signal"),
            ("2", "wrong usage or configuration"),
        ],
        files: &[
            (
                "config.ini",
                "in the working directory: the configuration, if --config names no other",
            ),
            ("/etc/broker/config.ini", "the configuration of the service"),
            ("/etc/broker/users.ini", "the users of the service, where its configuration says so"),
        ],
        environment: &[
            ("NOTIFY_SOCKET, WATCHDOG_USEC", "the service manager that is told how it goes"),
            (
                "LISTEN_FDS, LISTEN_FDNAMES",
                "sockets that it passes on, named publishers, subscribers and nats",
            ),
        ],
        examples: &[
            ("With defaults, on this machine only:", "broker"),
            ("On all addresses, with a file of settings:", "broker --host 0.0.0.0 --config my.ini"),
            ("Whether a file is in order:", "broker --config my.ini --check-config"),
            ("A secret for a user, and the line for the file of users:", "broker --new-secret"),
        ],
    },
    Sections {
        program: "publisher",
        exits: &[
            ("0", "all confirmed"),
            ("1", "not all confirmed"),
            ("2", "wrong usage; nothing was sent"),
            ("3", "--timeout ended it"),
        ],
        files: CONFIG_FILES,
        environment: &[("BROKER_HOST, BROKER_PUBLISHER_PORT", "stand for -h and -p"), USER, SECRET],
        examples: &[
            ("One message:", "publisher orders.eu hello"),
            (
                "One message a line, across restarts of the broker:",
                "tail -F app.log | publisher logs.app --retry",
            ),
            (
                "What another broker's subscriber prints:",
                "subscriber -h other 'orders.>' --json | publisher --json",
            ),
            ("How long the broker takes to answer:", "publisher --ping"),
        ],
    },
    Sections {
        program: "subscriber",
        exits: &[
            ("0", "fine"),
            ("1", "failed, or the broker went away"),
            ("2", "wrong usage; nothing was connected to"),
            ("3", "--timeout ended it"),
            ("4", "--fail-on-loss ended it"),
        ],
        files: CONFIG_FILES,
        environment: &[
            ("BROKER_HOST, BROKER_SUBSCRIBER_PORT", "stand for -h and -p"),
            ("BROKER_MONITOR", "stands for --monitor"),
            USER,
            SECRET,
        ],
        examples: &[
            ("All orders as JSON:", "subscriber 'orders.>' --json | jq .payload"),
            (
                "A share of the messages, with other members of a group:",
                "subscriber jobs --group workers",
            ),
            ("One message, within ten seconds:", "subscriber done -C 1 -W 10"),
            ("Which topics there are, and who listens:", "subscriber --list"),
        ],
    },
    Sections {
        program: "bench-publisher",
        exits: &[
            ("0", "fine"),
            ("1", "failed, interrupted, or --verify found an error or a loss"),
            ("2", "wrong usage"),
        ],
        files: &[(
            "broker",
            "beside this program, else in PATH: the broker that is started without -h, -p and -s",
        )],
        environment: &[USER, SECRET],
        examples: &[
            (
                "As fast as it goes, with a hundred subscribers:",
                "bench-publisher --subscribers 100",
            ),
            ("Latency at a rate, from when a message was due:", "bench-publisher --rate 10000"),
            (
                "A server of NATS clients, on its one port:",
                "bench-publisher --protocol nats -p 4222",
            ),
            (
                "Round trips, of four requesters with two responders:",
                "bench-publisher --protocol nats --requests --requesters 4 --responders 2",
            ),
            (
                "Beside an earlier report:",
                "bench-publisher --json > then.json; bench-publisher --baseline then.json",
            ),
        ],
    },
];

impl Sections {
    /// Those of a program.
    pub(crate) fn of(program: &str) -> Option<&'static Sections> {
        const { &TABLE }.iter().find(|sections| sections.program == program)
    }

    /// All of them, without the preamble of a page.
    pub(crate) fn render(&self) -> String {
        let mut roff = Roff::new();
        list(&mut roff, "EXIT STATUS", self.exits);
        list(&mut roff, "FILES", self.files);
        list(&mut roff, "ENVIRONMENT", self.environment);
        roff.control("SH", ["EXAMPLES"]);
        for (text, command) in self.examples {
            roff.control("TP", []);
            roff.text([roman(*text)]);
            roff.text([bold(*command)]);
        }
        roff.to_roff()
    }
}

fn list(roff: &mut Roff, title: &str, rows: &[(&str, &str)]) {
    if rows.is_empty() {
        return;
    }
    roff.control("SH", [title]);
    for (name, text) in rows {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(*text)]);
    }
}
