//! The whole broker without sockets, in random worlds that replay exactly.
//!
//! Each seed makes a world: limits, a policy, and clients that connect, say sensible and senseless
//! things in pieces cut anywhere, read slowly or not at all, and vanish. A naive model (a list of
//! subscriptions and a loop) tells what each client must receive. After each step memory is
//! recounted; at the end everybody reads on, and nothing may be left waiting.
//!
//! `SIMULATION_SEEDS=1000000 cargo test --release simulation` runs more seeds,
//! `SIMULATION_SEED=42` one. A failing seed is printed by the test that fails.

use super::*;

mod client;
mod model;
mod random;
mod world;

use random::Random;
use world::World;

/// Seeds of an ordinary test run, and steps of each.
const SEEDS: u64 = 2_000;
const STEPS: usize = 1_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Runs one seed to its end; returns a hash of everything that clients received.
fn run(seed: u64, steps: usize) -> u64 {
    let mut world = World::new(seed);
    for _ in 0..steps {
        world.step();
    }
    world.finish()
}

/// Runs seeds; the panic of a failing one is told with the fewest steps that still fail.
fn run_seeds(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        if std::panic::catch_unwind(|| run(seed, STEPS)).is_err() {
            let fails = |steps: &usize| std::panic::catch_unwind(|| run(seed, *steps)).is_err();
            let steps = (1..=STEPS).find(fails).unwrap_or(STEPS);
            panic!("seed {seed} fails within {steps} steps: SIMULATION_SEED={seed} replays it");
        }
    }
}

#[test]
fn every_seed_agrees_with_the_model() {
    if let Some(seed) = number("SIMULATION_SEED") {
        run(seed, STEPS);
        return;
    }
    let seeds = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let threads = 2;
    std::thread::scope(|scope| {
        let halves: Vec<_> = (0..threads)
            .map(|part| scope.spawn(move || run_seeds((part..seeds).step_by(threads as usize))))
            .collect();
        for half in halves {
            half.join().expect("a seed failed; see above which");
        }
    });
}

#[test]
fn same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        assert_eq!(run(seed, STEPS), run(seed, STEPS), "seed {seed}");
    }
}
