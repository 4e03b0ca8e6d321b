//! The weight of subscriptions is what they cost, so the limit of the index's memory is real.
//!
//! One test, in a process of its own, since what the process occupies is all that there is to
//! measure.

use std::fs;

use broker::engine::budget::Budget;
use broker::engine::routing::Index;
use broker::engine::token::Token;
use wire::Encoding;

/// The smallest value of the limit, in bytes.
const LIMIT: usize = 64 << 20;

/// Bytes that this process occupies.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let number = line.trim().trim_end_matches(" kB");
    number.parse::<usize>().expect("kibibytes") * 1_024
}

/// Subscriptions in queue groups once cost nearly twice what they weighed.
#[test]
fn subscriptions_cost_no_more_than_they_weigh() {
    type Name = fn(usize) -> String;
    let kinds: [(&str, Name, Option<Name>); 4] = [
        ("in a group of its own filter", |n| format!("t{n}"), Some(|_| "g".into())),
        ("in its own group of one filter", |_| "t".into(), Some(|n| format!("g{n}"))),
        ("with a wildcard", |n| format!("*.{n}.a.b.c.d.e.f"), None),
        ("plain", |n| format!("t{n}"), None),
    ];
    // None is dropped in between, or the next one would be given its memory.
    let mut indexes = Vec::new();
    for (kind, filter, group) in kinds {
        let before = resident();
        let mut index = Index::new(0);
        let mut count = 0;
        while index.bytes() < LIMIT {
            let group = group.map(|name| name(count));
            let group = group.as_deref().map(str::as_bytes);
            let (token, filter) = (Token::new(count), filter(count));
            let budget = &mut Budget::default();
            index.subscribe(token, filter.as_bytes(), group, Encoding::Native, budget);
            count += 1;
        }
        let cost = resident() - before;
        assert_eq!(index.subscriptions(), count);
        assert!(cost < LIMIT, "{count} subscriptions {kind} cost {cost} bytes");
        indexes.push(index);
    }
}
