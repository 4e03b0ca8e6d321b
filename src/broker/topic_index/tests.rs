//! The index against the plain definition: a list of subscriptions and a loop.

use std::collections::BTreeMap;
use std::rc::Weak;
use std::time::Instant;

use super::*;
use wire::topic::matches;

type Held = (Token, Vec<u8>, Option<Vec<u8>>);

fn route(index: &mut TopicIndex, topic: &str) -> Vec<usize> {
    let route = index.route(topic.as_bytes()).unwrap();
    route.plain.iter().map(|token| token.index()).collect()
}

fn subscribe(index: &mut TopicIndex, token: usize, filter: &str) {
    index.subscribe(Token::new(token), filter.as_bytes(), None);
}

#[test]
fn connection_is_in_a_route_once_however_many_filters_match() {
    let mut index = TopicIndex::default();
    for filter in ["a.b", "a.*", "*.b", ">"] {
        subscribe(&mut index, 3, filter);
    }
    subscribe(&mut index, 1, "a.b");
    assert_eq!(route(&mut index, "a.b"), [1, 3]);
    assert_eq!(route(&mut index, "x.y.z"), [3]);
}

#[test]
fn equal_receivers_share_one_route() {
    let mut index = TopicIndex::default();
    subscribe(&mut index, 1, ">");
    let a = index.route(b"a").unwrap();
    let b = index.route(b"b").unwrap();
    assert!(Rc::ptr_eq(&a, &b));
    subscribe(&mut index, 2, "a");
    let a = index.route(b"a").unwrap();
    assert!(!Rc::ptr_eq(&a, &b) && Rc::ptr_eq(&b, &index.route(b"b").unwrap()));
}

/// Routes that were asked for once stay no longer than the topics that led to them, in whatever
/// order topics come back.
#[test]
fn routes_together_never_outgrow_the_cache() {
    const LIMIT: usize = 64 << 10;
    const BITS: usize = 10;
    let mut index = TopicIndex::default();
    index.cache.limit(LIMIT);
    for token in 0..40 {
        subscribe(&mut index, token, ">");
    }
    // Each set of these subscribers is the route of one topic.
    let tokens = |chosen: &dyn Fn(usize) -> &'static str| {
        (0..BITS).map(chosen).collect::<Vec<_>>().join(".")
    };
    for bit in 0..BITS {
        subscribe(&mut index, 40 + bit, &tokens(&|at| if at == bit { "1" } else { "*" }));
    }
    let topic = |number: usize| tokens(&|at| if number >> at & 1 == 1 { "1" } else { "0" });
    let mut given = Vec::new();
    for known in (64..=1 << BITS).step_by(64) {
        for number in (known - 64..known).chain(0..known) {
            let route = index.route(topic(number).as_bytes()).unwrap();
            given.push(Rc::downgrade(&route));
        }
        given.sort_by_key(Weak::as_ptr);
        given.dedup_by_key(|route| Weak::as_ptr(route));
        given.retain(|route| route.strong_count() > 0);
        let alive = given.iter().filter_map(Weak::upgrade);
        let bytes: usize = alive.map(|route| size_of_val(&*route.plain)).sum();
        assert!(bytes <= LIMIT, "{bytes} bytes of routes for {known} topics");
    }
}

#[test]
fn changes_show_in_routes_that_were_cached() {
    let mut index = TopicIndex::default();
    assert_eq!(route(&mut index, "a.b"), [0; 0]);
    subscribe(&mut index, 1, "a.b");
    assert_eq!(route(&mut index, "a.b"), [1]);
    subscribe(&mut index, 2, "a.*");
    assert_eq!(route(&mut index, "a.b"), [1, 2]);
    index.unsubscribe(Token::new(1), b"a.b", None);
    assert_eq!(route(&mut index, "a.b"), [2]);
    index.forget(Token::new(2));
    assert_eq!(route(&mut index, "a.b"), [0; 0]);
    assert_eq!((index.subscriptions(), index.filters()), (0, 0));
}

#[test]
fn members_of_a_group_take_turns() {
    let mut index = TopicIndex::default();
    for token in 0..3 {
        index.subscribe(Token::new(token), b"t", Some(b"g"));
    }
    let route = index.route(b"t").unwrap();
    assert!(route.plain.is_empty());
    let group = route.groups[0];
    let turn = |index: &mut TopicIndex| {
        let first = index.members(group).next().unwrap().index();
        index.pass_turn(group, 0);
        first
    };
    let turns: Vec<_> = (0..6).map(|_| turn(&mut index)).collect();
    assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
    index.pass_turn(group, 0);
    index.unsubscribe(Token::new(1), b"t", Some(b"g"));
    let mut members: Vec<_> = index.members(group).map(Token::index).collect();
    members.sort_unstable();
    assert_eq!(members, [0, 2]);
}

#[test]
fn bad_topics_have_no_route() {
    let mut index = TopicIndex::default();
    assert!(matches!(index.route(b"a..b"), Err(NoRoute::BadTopic(TopicError::EmptyToken))));
    assert!(matches!(index.route(b"*"), Err(NoRoute::BadTopic(TopicError::WildcardInTopic))));
    assert_eq!(index.cached_topics(), 0);
}

#[test]
fn random_changes_agree_with_a_list_and_a_loop() {
    for nodes in [NODES_IN_A_CALL, 2] {
        random_changes_agree(nodes);
    }
}

/// The same with so many nodes in a call: searches are interrupted and go on behind changes.
fn random_changes_agree(nodes: u64) {
    let filters = ["a", "b", "a.b", "a.*", "*.b", "a.>", ">", "*", "*.*.c", "a.b.c"];
    let topics = ["a", "b", "c", "a.b", "b.b", "a.b.c", "c.c.c", "a.x.y.z"];
    let groups: [Option<&[u8]>; 3] = [None, Some(b"g"), Some(b"h")];
    let mut random = 0x1234_5678_u64;
    let mut pick = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % below
    };
    let mut index = TopicIndex::default();
    index.limit_calls(nodes);
    let mut interrupted = 0;
    let mut model: Vec<Held> = Vec::new();
    for step in 0..20_000 {
        let (token, filter) = (Token::new(pick(6)), filters[pick(10)].as_bytes());
        let group = groups[pick(3)];
        let held = (token, filter.to_vec(), group.map(<[u8]>::to_vec));
        let asked = index.route(topics[pick(8)].as_bytes());
        interrupted += u64::from(asked.is_err_and(|error| error == NoRoute::NotYet));
        match pick(20) {
            0 => {
                index.forget(token);
                model.retain(|entry| entry.0 != token);
            }
            1..=9 => {
                index.unsubscribe(token, filter, group);
                model.retain(|entry| *entry != held);
            }
            _ => {
                index.subscribe(token, filter, group);
                if !model.contains(&held) {
                    model.push(held);
                }
            }
        }
        agrees(&mut index, &model, topics[pick(8)], step);
        assert_eq!(index.subscriptions(), model.len());
        assert_eq!(index.count(token), model.iter().filter(|entry| entry.0 == token).count());
    }
    for token in 0..6 {
        index.forget(Token::new(token));
    }
    assert_eq!(interrupted > 1_000, nodes < NODES_IN_A_CALL, "{interrupted} searches");
    assert_eq!((index.subscriptions(), index.filters(), index.registry.audiences()), (0, 0, 0));
    assert_eq!(index.registry.bytes(), 0);
}

/// The route of a topic is what the list and the loop say.
fn agrees(index: &mut TopicIndex, model: &[Held], topic: &str, step: usize) {
    let matching = |entry: &&Held| matches(&entry.1, topic.as_bytes());
    let mut plain: Vec<_> =
        model.iter().filter(matching).filter(|e| e.2.is_none()).map(|e| e.0).collect();
    plain.sort_unstable();
    plain.dedup();
    let route = loop {
        match index.route(topic.as_bytes()) {
            Err(NoRoute::NotYet) => {}
            found => break found.unwrap(),
        }
    };
    assert_eq!(route.plain[..], plain[..], "step {step}, topic {topic}");
    let mut members: Vec<Vec<Token>> =
        route.groups.iter().map(|&group| index.members(group).collect()).collect();
    members.iter_mut().for_each(|tokens| tokens.sort_unstable());
    members.sort();
    let mut expected: BTreeMap<(&[u8], &[u8]), Vec<Token>> = BTreeMap::new();
    for entry in model.iter().filter(matching) {
        if let Some(group) = &entry.2 {
            expected.entry((&entry.1, group)).or_default().push(entry.0);
        }
    }
    let mut expected: Vec<_> = expected.into_values().collect();
    expected.iter_mut().for_each(|tokens| tokens.sort_unstable());
    expected.sort();
    assert_eq!(members, expected, "step {step}, topic {topic}");
}

/// A subscription costs what its filter has tokens, however many others hold it: each change at
/// ten thousand subscribers, a thousand times as many as at ten, is about the same work.
#[test]
fn storms_of_changes_cost_no_more_on_a_crowded_topic() {
    let storm = |members: usize| {
        let mut index = TopicIndex::default();
        for filter in ["crowded.t", "crowded.*"] {
            (0..members).for_each(|token| subscribe(&mut index, token, filter));
        }
        let begin = Instant::now();
        for _ in 0..20_000 {
            for filter in ["crowded.t", "crowded.*"] {
                subscribe(&mut index, members, filter);
                index.unsubscribe(Token::new(members), filter.as_bytes(), None);
                // One in the middle of the list, and not its last.
                index.unsubscribe(Token::new(members / 2), filter.as_bytes(), None);
                subscribe(&mut index, members / 2, filter);
            }
        }
        Instant::now() - begin
    };
    // The shortest of three, since others use the machine, too.
    let shortest = |members| (0..3).map(|_| storm(members)).min().unwrap();
    let (few, many) = (shortest(10), shortest(10_000));
    assert!(many < few * 50, "{many:?} with 10,000 subscribers, {few:?} with 10");
}
