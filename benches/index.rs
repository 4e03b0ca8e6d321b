//! Looking up routes, cached and not, and changing subscriptions, from 1 to 100,000 of them.

use std::hint::black_box;

use broker::engine::budget::Budget;
use broker::engine::routing::Index;
use broker::engine::token::Token;
use criterion::{Criterion, criterion_group, criterion_main};
use wire::Encoding;

const COUNTS: [usize; 4] = [1, 100, 10_000, 100_000];

fn subscribe(index: &mut Index, token: usize, filter: &str) {
    let (token, mut budget) = (Token::new(token), Budget::default());
    index.subscribe(token, filter.as_bytes(), None, Encoding::Native, &mut budget);
}

/// An index with so many filters of so many connections, one each.
fn index(count: usize, filter: impl Fn(usize) -> String) -> Index {
    let mut index = Index::new(0);
    for number in 0..count {
        let filter = filter(number);
        subscribe(&mut index, number, &filter);
    }
    index
}

fn routes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    for count in COUNTS {
        let mut names = index(count, |number| format!("orders.{number}"));
        group.bench_function(format!("hit/{count}"), |bencher| {
            bencher.iter(|| names.route(black_box(b"orders.0"), &mut Budget::default()).is_ok());
        });
        let mut next = 0;
        group.bench_function(format!("hit-any-topic/{count}"), |bencher| {
            bencher.iter(|| {
                next = (next + 7_919) % count;
                names.route(format!("orders.{next}").as_bytes(), &mut Budget::default()).is_ok()
            });
        });
        let mut wildcards = index(count, |number| format!("orders.{number}.*"));
        let mut fresh = 0u64;
        group.bench_function(format!("miss-wildcards/{count}"), |bencher| {
            bencher.iter(|| {
                fresh += 1;
                wildcards
                    .route(format!("orders.0.{fresh}").as_bytes(), &mut Budget::default())
                    .is_ok()
            });
        });
    }
    group.finish();
}

fn changes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("subscribe-unsubscribe");
    for count in COUNTS {
        for (name, filter) in [("name", "orders"), ("wildcard", "orders.*")] {
            let mut shared = index(count, |_| filter.into());
            let token = Token::new(count);
            group.bench_function(format!("{name}/{count}"), |bencher| {
                bencher.iter(|| {
                    subscribe(&mut shared, count, filter);
                    let budget = &mut Budget::default();
                    shared.unsubscribe(token, filter.as_bytes(), None, Encoding::Native, budget);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, routes, changes);
criterion_main!(benches);
