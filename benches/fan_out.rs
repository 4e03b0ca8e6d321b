//! A whole turn of the engine, from bytes in to slices out, in each scenario.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

#[allow(dead_code, reason = "each bench uses its part of the support")]
mod support;
use support::{SCENARIOS, World};

fn turns(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("turn");
    for scenario in &SCENARIOS {
        let mut world = World::new(scenario);
        let before = world.messages();
        (0..100).for_each(|_| world.turn());
        group.throughput(Throughput::Elements((world.messages() - before) / 100));
        group.bench_function(scenario.name, |bencher| bencher.iter(|| world.turn()));
        black_box(world.delivered());
    }
    group.finish();
}

criterion_group!(benches, turns);
criterion_main!(benches);
