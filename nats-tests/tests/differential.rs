//! The differential test: seeded sessions played to a real nats-server and to the server under
//! test, transcripts compared. `SEEDS=10000` says how many, `SEED=42` plays one again and shrinks
//! it. With `SERVER` set to a nats-server it proves that the comparison itself is steady.

use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use nats_tests::compare::{ALLOWED, Difference, first_difference};
use nats_tests::generate::{self, MAX_PAYLOAD};
use nats_tests::play::Player;
use nats_tests::server::Server;
use nats_tests::session::{Line, Session};
use nats_tests::shrink::shrink;

/// How many sessions are played by default.
const SEEDS: u64 = 200;

/// Both servers, and a change to what the tested one is sent.
struct Pair {
    reference: Player,
    tested: Player,
    change: fn(&mut Session),
}

impl Pair {
    fn new() -> Pair {
        let option = format!("max_payload={MAX_PAYLOAD}");
        let reference = Player::new(Server::reference(&[&option]));
        Pair { reference, tested: Player::new(Server::under_test(&[&option])), change: |_| {} }
    }

    /// The reference twice, one of them with a changed session.
    fn of_references(change: fn(&mut Session)) -> Pair {
        let option = format!("max_payload={MAX_PAYLOAD}");
        let [reference, tested] = [(), ()].map(|()| Player::new(Server::reference(&[&option])));
        Pair { reference, tested, change }
    }

    fn difference(&mut self, session: &Session) -> Option<Difference> {
        let mut changed = session.clone();
        (self.change)(&mut changed);
        let reference = self.reference.play(session);
        first_difference(&reference, &self.tested.play(&changed))
    }

    /// This session shrunk, and what differs in it.
    fn shrunk(&mut self, session: &Session) -> (Session, Option<Difference>) {
        let start = Instant::now();
        let small = shrink(session, |session| {
            start.elapsed().as_secs() < 120 && self.difference(session).is_some()
        });
        let difference = self.difference(&small);
        (small, difference)
    }

    /// The report about a session, if the servers differ in it.
    fn complaint(&mut self, seed: u64) -> Option<String> {
        let session = generate::session(seed);
        let first = self.difference(&session)?;
        let (small, difference) = self.shrunk(&session);
        let report = match difference {
            Some(difference) => difference.report(&small),
            None => format!("once only, it did not come again:\n{}", first.report(&session)),
        };
        let name = "cargo test --test differential";
        Some(format!("seed {seed}; again: SEED={seed} {name}\n\n{report}"))
    }
}

/// The number that this variable of the environment holds.
fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
}

#[test]
fn sessions_get_the_same_answers_as_from_the_reference() {
    let (first, last) = match number("SEED") {
        Some(seed) => (seed, seed + 1),
        None => (0, number("SEEDS").unwrap_or(SEEDS)),
    };
    let next = AtomicU64::new(first);
    let complaints = Mutex::new(Vec::new());
    let play = || {
        let mut pair = Pair::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last {
                return;
            }
            if let Some(complaint) = pair.complaint(seed) {
                // One is enough to work on; more of them may be the same.
                next.store(last, Ordering::Relaxed);
                complaints.lock().expect("no test panics with it").push(complaint);
            }
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from).min(8);
    thread::scope(|scope| {
        for _ in 0..workers.min((last - first) as usize) {
            scope.spawn(play);
        }
    });
    let complaints = complaints.into_inner().expect("no test panicked with it");
    let allowed: Vec<_> = ALLOWED.iter().map(|(what, why)| format!("- {what}: {why}")).collect();
    let allowed = allowed.join("\n");
    let all = complaints.join("\n");
    assert!(all.is_empty(), "{all}\nWhat may differ, and is not compared:\n{allowed}");
}

/// Changes each line that is sent, CONNECT with its members.
fn edit(session: &mut Session, change: impl Fn(&mut Line)) {
    let lines = session.steps.iter_mut().filter_map(|step| step.action.lines_mut());
    lines.flatten().for_each(change);
}

/// Changes a field of CONNECT.
fn set_connect_field(session: &mut Session, name: &str, value: bool) {
    edit(session, |line| {
        for field in line.fields.iter_mut().flatten() {
            if field.to_lowercase().trim_start().starts_with(&format!("\"{name}\"")) {
                *field = format!("\"{name}\":{value}");
            }
        }
    });
}

/// Changes the line, if it is one of this verb, word by word.
fn reword(session: &mut Session, verb: &[u8], change: fn(&mut Vec<Vec<u8>>)) {
    edit(session, |line| {
        let end = line.bytes.iter().position(|&b| b == b'\n').map_or(0, |end| end + 1);
        let words = line.bytes[..end].split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
        let mut words: Vec<Vec<u8>> = words.map(<[u8]>::to_vec).collect();
        if words.len() > 1 && words[0].eq_ignore_ascii_case(verb) {
            change(&mut words);
            let rest = line.bytes.split_off(end);
            line.bytes = [words.join(&b' '), b"\r\n".to_vec(), rest].concat();
        }
    });
}

/// A server with one error behaves as the reference does with a changed session.
#[test]
fn a_server_that_is_wrong_in_one_thing_is_found() {
    type Change = fn(&mut Session);
    let wrong: [(&str, Change); 10] = [
        ("echo is ignored", |session| set_connect_field(session, "echo", true)),
        ("headers are always sent", |session| set_connect_field(session, "headers", true)),
        ("no responders are never reported", |session| {
            set_connect_field(session, "no_responders", false);
        }),
        ("verbose is ignored", |session| set_connect_field(session, "verbose", false)),
        ("pedantic is ignored", |session| set_connect_field(session, "pedantic", false)),
        ("UNSUB ignores its maximum", |session| {
            reword(session, b"UNSUB", |words| words.truncate(2));
        }),
        ("a maximum of 2 is taken for 3", |session| {
            reword(session, b"UNSUB", |words| {
                if words.get(2).is_some_and(|max| max == b"2") {
                    words[2] = b"3".to_vec();
                }
            });
        }),
        ("queue groups are ignored", |session| {
            reword(session, b"SUB", |words| {
                if words.len() == 4 {
                    words.remove(2);
                }
            });
        }),
        ("a reply is lost", |session| {
            reword(session, b"PUB", |words| {
                if words.len() == 4 {
                    words.remove(2);
                }
            });
        }),
        ("the first token alone decides", |session| {
            reword(session, b"SUB", |words| {
                if words[1].ends_with(b".*") {
                    words[1].pop();
                    words[1].push(b'>');
                }
            });
        }),
    ];
    for (what, change) in wrong {
        let mut pair = Pair::of_references(change);
        let differs = |seed: &u64| pair.difference(&generate::session(*seed)).is_some();
        let seed = (0..300).find(differs).unwrap_or_else(|| panic!("no seed finds that {what}"));
        let (small, difference) = pair.shrunk(&generate::session(seed));
        let difference = difference.unwrap_or_else(|| panic!("{what}: seed {seed}, once only"));
        println!("{what}: seed {seed}, {} steps\n{}", small.steps.len(), difference.report(&small));
        assert!(small.steps.len() <= 8, "{what}: seed {seed} shrinks to {}", small.steps.len());
    }
}
