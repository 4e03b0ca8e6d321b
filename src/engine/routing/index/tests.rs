//! The index against the plain definition: a list of subscriptions and a loop.

use std::collections::BTreeMap;
use std::rc::Weak;

use wire::topic::matches;

use super::*;

type Held = (Token, Vec<u8>, Option<Vec<u8>>);

fn find(index: &mut Index, topic: &str) -> Result<Rc<Route>, NoRoute> {
    index.route(topic.as_bytes(), &mut Budget::default())
}

fn plain(route: &Route) -> Vec<Token> {
    route.plain.iter().flat_map(|audience| audience.receivers.iter().copied()).collect()
}

fn route(index: &mut Index, topic: &str) -> Vec<usize> {
    let route = find(index, topic).unwrap();
    plain(&route).into_iter().map(Token::index).collect()
}

fn subscribe(index: &mut Index, token: usize, filter: &str) {
    subscribe_in(index, Token::new(token), filter.as_bytes(), None);
}

fn subscribe_in(index: &mut Index, token: Token, filter: &[u8], group: Option<&[u8]>) {
    index.subscribe(token, filter, group, Encoding::Native, &mut Budget::default());
}

fn unsubscribe_in(index: &mut Index, token: Token, filter: &[u8], group: Option<&[u8]>) {
    index.unsubscribe(token, filter, group, Encoding::Native, &mut Budget::default());
}

fn forget(index: &mut Index, token: Token) {
    assert!(index.give_up(token, &mut Budget::default(), u64::MAX));
}

#[test]
fn connection_is_in_a_route_once_however_many_filters_match() {
    let mut index = Index::new(0);
    for filter in ["a.b", "a.*", "*.b", ">"] {
        subscribe(&mut index, 3, filter);
    }
    subscribe(&mut index, 1, "a.b");
    assert_eq!(route(&mut index, "a.b"), [1, 3]);
    assert_eq!(route(&mut index, "x.y.z"), [3]);
}

#[test]
fn equal_receivers_share_one_route() {
    let mut index = Index::new(0);
    subscribe(&mut index, 1, ">");
    find(&mut index, "a").unwrap();
    let a = find(&mut index, "a").unwrap();
    let b = find(&mut index, "b").unwrap();
    assert!(Rc::ptr_eq(&a, &b), "though only one of them has a place in the cache");
    assert_eq!(index.cached_topics(), 1);
    let b = find(&mut index, "b").unwrap();
    assert!(Rc::ptr_eq(&a, &b));
    assert_eq!(index.cached_topics(), 2);
    subscribe(&mut index, 2, "a");
    let a = find(&mut index, "a").unwrap();
    assert!(!Rc::ptr_eq(&a, &b) && Rc::ptr_eq(&b, &find(&mut index, "b").unwrap()));
}

/// Routes that were asked for once stay no longer than the topics that led to them, in whatever
/// order topics come back.
#[test]
fn routes_together_never_outgrow_the_cache() {
    const LIMIT: usize = 64 << 10;
    const BITS: usize = 10;
    let mut index = Index::new(0);
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
            let route = find(&mut index, &topic(number)).unwrap();
            given.push(Rc::downgrade(&route));
        }
        given.sort_by_key(Weak::as_ptr);
        given.dedup_by_key(|route| Weak::as_ptr(route));
        given.retain(|route| route.strong_count() > 0);
        let alive = given.iter().filter_map(Weak::upgrade);
        let bytes: usize = alive.map(|route| route.bytes()).sum();
        assert!(bytes <= LIMIT, "{bytes} bytes of routes for {known} topics");
    }
}

#[test]
fn changes_show_in_routes_that_were_cached() {
    let mut index = Index::new(0);
    assert_eq!(route(&mut index, "a.b"), [0; 0]);
    subscribe(&mut index, 1, "a.b");
    assert_eq!(route(&mut index, "a.b"), [1]);
    subscribe(&mut index, 2, "a.*");
    assert_eq!(route(&mut index, "a.b"), [1, 2]);
    unsubscribe_in(&mut index, Token::new(1), b"a.b", None);
    assert_eq!(route(&mut index, "a.b"), [2]);
    forget(&mut index, Token::new(2));
    assert_eq!(route(&mut index, "a.b"), [0; 0]);
    assert_eq!((index.subscriptions(), index.filters()), (0, 0));
}

/// Serves the member of the topic's only group whose turn it is.
fn serve(index: &mut Index, topic: &str) -> usize {
    let route = find(index, topic).unwrap();
    let first = index.members(&route.groups[0]).next().unwrap();
    index.pass_turn(route.groups[0].group, &first);
    first.token.index()
}

#[test]
fn members_of_a_group_take_turns() {
    let mut index = Index::new(0);
    for token in 0..3 {
        subscribe_in(&mut index, Token::new(token), b"t", Some(b"g"));
    }
    assert!(route(&mut index, "t").is_empty());
    let turns: Vec<_> = (0..6).map(|_| serve(&mut index, "t")).collect();
    assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
    assert_eq!(serve(&mut index, "t"), 0);
    unsubscribe_in(&mut index, Token::new(1), b"t", Some(b"g"));
    let turns: Vec<_> = (0..3).map(|_| serve(&mut index, "t")).collect();
    assert_eq!(turns, [2, 0, 2]);
}

#[test]
fn a_queue_group_is_its_name_whatever_its_filters() {
    let mut index = Index::new(0);
    for (token, filter) in [(0, "a.*"), (1, "*.b"), (1, ">"), (2, "a.b"), (3, "c")] {
        subscribe_in(&mut index, Token::new(token), filter.as_bytes(), Some(b"g"));
    }
    let group = |index: &mut Index, topic| {
        let route = find(index, topic).unwrap();
        assert_eq!(route.groups.len(), 1, "each name is there once");
        index.members(&route.groups[0]).map(|member| member.token.index()).collect::<Vec<_>>()
    };
    assert_eq!(group(&mut index, "a.b"), [0, 1, 2]);
    assert_eq!(group(&mut index, "c"), [1, 3]);
    // There is one turn for the name: next is the member behind the one served last.
    let turns: Vec<_> =
        ["a.b", "c", "c", "a.b", "c", "a.b"].map(|topic| serve(&mut index, topic)).to_vec();
    assert_eq!(turns, [0, 1, 3, 0, 1, 2]);
    assert_eq!(group(&mut index, "a.b"), [0, 1, 2], "behind the last one is the first");
    assert_eq!(index.held(Token::new(1)).groups, 1, "two filters, one name");
}

#[test]
fn subscriptions_are_given_up_in_pieces() {
    let mut index = Index::new(0);
    let token = Token::new(1);
    for number in 0..10 {
        subscribe(&mut index, 1, &format!("a.*.{number}"));
    }
    let mut budget = Budget::default();
    assert!(!index.give_up(token, &mut budget, 0), "one in any case");
    assert_eq!(index.subscriptions(), 9);
    let price = budget.spent();
    assert!(!index.give_up(token, &mut budget, 4 * price));
    assert_eq!(index.subscriptions(), 6);
    assert!(index.give_up(token, &mut budget, u64::MAX));
    assert_eq!((index.subscriptions(), index.bytes()), (0, 0));
}

#[test]
fn bad_topics_have_no_route() {
    let mut index = Index::new(0);
    assert!(matches!(find(&mut index, "a..b"), Err(NoRoute::BadTopic(TopicError::EmptyToken))));
    assert!(matches!(find(&mut index, "*"), Err(NoRoute::BadTopic(TopicError::WildcardInTopic))));
    assert_eq!(index.cached_topics(), 0);
}

#[test]
fn random_changes_agree_with_a_list_and_a_loop() {
    for nodes in [u64::MAX, 2] {
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
    let mut index = Index::new(0);
    index.limit_calls(nodes);
    let mut interrupted = 0;
    let mut model: Vec<Held> = Vec::new();
    for step in 0..20_000 {
        let (token, filter) = (Token::new(pick(6)), filters[pick(10)].as_bytes());
        let group = groups[pick(3)];
        let held = (token, filter.to_vec(), group.map(<[u8]>::to_vec));
        let asked = find(&mut index, topics[pick(8)]);
        interrupted += u64::from(asked.is_err_and(|error| error == NoRoute::NotYet));
        match pick(20) {
            0 => {
                forget(&mut index, token);
                model.retain(|entry| entry.0 != token);
            }
            1..=9 => {
                unsubscribe_in(&mut index, token, filter, group);
                model.retain(|entry| *entry != held);
            }
            _ => {
                subscribe_in(&mut index, token, filter, group);
                if !model.contains(&held) {
                    model.push(held);
                }
            }
        }
        agrees(&mut index, &model, topics[pick(8)], step);
        assert_eq!(index.subscriptions(), model.len());
        assert_eq!(
            index.held(token).subscriptions,
            model.iter().filter(|entry| entry.0 == token).count()
        );
    }
    for token in 0..6 {
        forget(&mut index, Token::new(token));
    }
    assert_eq!(interrupted > 1_000, nodes < u64::MAX, "{interrupted} searches");
    assert_eq!((index.subscriptions(), index.filters()), (0, 0));
    assert_eq!(index.registry.lists_and_groups(), (0, 0));
    assert_eq!(index.registry.bytes(), 0);
}

/// The route of a topic is what the list and the loop say.
fn agrees(index: &mut Index, model: &[Held], topic: &str, step: usize) {
    let matching = |entry: &&Held| matches(&entry.1, topic.as_bytes());
    let mut expected: Vec<_> =
        model.iter().filter(matching).filter(|e| e.2.is_none()).map(|e| e.0).collect();
    expected.sort_unstable();
    expected.dedup();
    let route = loop {
        match find(index, topic) {
            Err(NoRoute::NotYet) => {}
            found => break found.unwrap(),
        }
    };
    assert_eq!(plain(&route), expected, "step {step}, topic {topic}");
    let mut members: Vec<Vec<Token>> = route
        .groups
        .iter()
        .map(|it| index.members(it).map(|member| member.token).collect())
        .collect();
    members.iter_mut().for_each(|tokens| tokens.sort_unstable());
    members.sort();
    let mut expected: BTreeMap<&[u8], Vec<Token>> = BTreeMap::new();
    for entry in model.iter().filter(matching) {
        if let Some(group) = &entry.2 {
            expected.entry(group).or_default().push(entry.0);
        }
    }
    let mut expected: Vec<_> = expected.into_values().collect();
    for tokens in &mut expected {
        tokens.sort_unstable();
        tokens.dedup();
    }
    expected.sort();
    assert_eq!(members, expected, "step {step}, topic {topic}");
}
