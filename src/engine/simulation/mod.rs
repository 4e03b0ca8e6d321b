//! The engine and its turn over simulated sockets, in random worlds that replay exactly.
//!
//! Each seed makes a script: limits, a policy, and clients that connect, say sensible and senseless
//! things in pieces cut anywhere, natively or in NATS, read slowly or not at all, and vanish. It is
//! the very turn that the reactor drives. A naive model (a list of subscriptions and a loop) tells
//! what each client must receive. After each action memory is recounted; after each turn all waits
//! and deadlines are, and what the turn did is charged anew, by what came of it, and compared with
//! the budget; at the end all clients read on, and nothing may be left waiting. A table says which
//! edges the worlds reached, and fails if some were not.
//!
//! Some worlds have users, whose rights change while clients are there; the model has them as lists
//! of filters. Some have a link: hubs that come and go, want and send, and say what may cross. The
//! model tells what each must have been told and given, and what is lost.
//!
//! `SIMULATION_SEEDS=1000000 cargo test --release --lib simulation` runs more seeds, from
//! `SIMULATION_FIRST=5000` on if that is set, `SIMULATION_SEED=42` one. A failing seed is told, and
//! its script shrunk and printed as Rust; `SIMULATION_SHRINK=0` leaves that out.

use std::collections::HashMap;
use std::io::Write;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;

mod audit;
mod author;
mod charges;
mod client;
mod deadlines;
mod edges;
mod end;
mod hub;
mod hub_author;
mod hub_check;
mod hub_kept;
mod hub_model;
mod hub_world;
mod kept;
mod model;
mod nats;
mod nats_author;
mod nats_model;
mod notes;
mod random;
mod rounds;
mod script;
mod shrink;
mod sockets;
mod transcript;
mod users;
mod waiting;
mod world;

use edges::Edges;
use script::Script;
use shrink::{as_rust, fails, shrink, try_to_play};
use world::play;

/// Seeds of an ordinary test run, and steps of each.
const SEEDS: u64 = 2_000;
const STEPS: usize = 1_000;
const THREADS: u64 = 2;
/// A seed takes milliseconds; whichever takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// The first of these seeds that fails, and the edges that all of them reached.
fn run_seeds(seeds: Range<u64>) -> (Option<u64>, Edges) {
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicU64::new(u64::MAX));
    let edges = Mutex::new(Edges::default());
    let watch = Watch::default();
    std::thread::scope(|scope| {
        scope.spawn(|| watch.wait());
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end.min(failed.load(Ordering::Relaxed)) {
                        return watch.ends();
                    }
                    watch.plays(seed);
                    let script = Script::of(seed, STEPS);
                    match try_to_play(&script) {
                        Some(trace) => edges.lock().unwrap().add(&trace.edges),
                        None => drop(failed.fetch_min(seed, Ordering::Relaxed)),
                    }
                }
            });
        }
    });
    let failed = Some(failed.into_inner()).filter(|seed| *seed < u64::MAX);
    (failed, edges.into_inner().unwrap())
}

/// Tells of a seed that never ends: nothing else could, since nothing panics.
#[derive(Default)]
struct Watch {
    playing: Mutex<HashMap<std::thread::ThreadId, (u64, Instant)>>,
    ended: AtomicU64,
}

impl Watch {
    fn plays(&self, seed: u64) {
        let this = std::thread::current().id();
        self.playing.lock().unwrap().insert(this, (seed, Instant::now()));
    }

    fn ends(&self) {
        self.playing.lock().unwrap().remove(&std::thread::current().id());
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    fn wait(&self) {
        while self.ended.load(Ordering::Relaxed) < THREADS {
            for (seed, since) in self.playing.lock().unwrap().values() {
                if Instant::now() - *since > PATIENCE {
                    // Not captured, as what a test prints is: it would not be shown.
                    let _ = writeln!(std::io::stderr(), "seed {seed} fails: it hangs");
                    std::process::exit(1);
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Tells all that there is to know of a seed that fails.
fn tell(seed: u64) -> ! {
    println!("seed {seed} fails; SIMULATION_SEED={seed} replays it");
    let mut script = Script::of(seed, STEPS);
    if number("SIMULATION_SHRINK") != Some(0) {
        script = shrink(script, &|script| fails(script));
        let rust = as_rust(&script);
        println!("The shortest script found that fails, as Rust for kept.rs:\n{rust}");
    }
    play(&script);
    panic!("seed {seed} fails only sometimes");
}

#[test]
fn every_seed_agrees_with_the_model() {
    if let Some(seed) = number("SIMULATION_SEED") {
        let script = Script::of(seed, STEPS);
        if fails(&script) {
            tell(seed);
        }
        return;
    }
    let seeds = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let first = number("SIMULATION_FIRST").unwrap_or(0);
    let (failed, edges) = run_seeds(first..first + seeds);
    if let Some(seed) = failed {
        tell(seed);
    }
    let (table, missed) = edges.report(seeds, SEEDS);
    println!("{table}");
    assert!(missed.is_empty(), "too few of {seeds} worlds reached: {missed:?}\n{table}");
}

#[test]
fn same_seed_gives_the_same_trace() {
    let hash = |seed| play(&Script::of(seed, STEPS)).hash;
    for seed in 0..50 {
        assert_eq!(hash(seed), hash(seed), "seed {seed}");
    }
    let distinct: std::collections::BTreeSet<_> = (0..50).map(hash).collect();
    assert!(distinct.len() > 45, "the hash tells traces apart");
}

#[test]
fn failing_scripts_are_shrunk() {
    use script::{Action, Said};
    // It fails as soon as a client says PING and, later, one breaks.
    let fails = |script: &Script| {
        let is_ping = |action: &Action| matches!(action, Action::Say(_, Said::Ping));
        let ping = script.actions.iter().position(is_ping);
        let behind = &script.actions[ping.unwrap_or(script.actions.len())..];
        behind.iter().any(|action| matches!(action, Action::Break(_)))
    };
    let script = Script::of(1, STEPS);
    assert!(fails(&script) && script.actions.len() > 1_000);
    let small = shrink(script, &fails);
    assert_eq!(small.actions.len(), 2, "{}", as_rust(&small));
}
