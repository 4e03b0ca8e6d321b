//! The cache by itself: what is found, forgotten and shared.

use smallvec::smallvec;
use wire::Encoding;

use super::super::route::Audience;
use super::*;
use crate::engine::token::Token;

fn topic(number: usize) -> [u8; 8] {
    number.to_be_bytes()
}

/// A route that no other number has.
fn route(number: usize) -> Route {
    let receivers = Box::new([Token::new(number)]);
    let audience =
        Audience { encoding: Encoding::Native, receivers, subscriptions: Box::default() };
    Route { plain: smallvec![audience], groups: Box::default(), needs_look: false }
}

fn fresh(number: usize) -> Cached {
    Cached::Fresh(Rc::new(route(number)))
}

#[test]
fn topics_are_found_in_any_order() {
    let mut cache = Cache::new();
    for number in 0..100 {
        assert_eq!(cache.find(&topic(number), 1), Cached::Unknown);
        cache.insert(&topic(number), route(number), 1);
    }
    let forwards = 0..100;
    let backwards = (0..100).rev();
    let scattered = (0..1_000).map(|step| step * 37 % 100);
    for number in forwards.clone().chain(forwards).chain(backwards).chain(scattered) {
        assert_eq!(cache.find(&topic(number), 1), fresh(number));
    }
}

#[test]
fn memory_is_bounded_and_each_new_topic_forgets_a_few() {
    let mut cache = Cache::new();
    cache.limit(10_000);
    for number in 0..1_000 {
        assert_eq!(cache.find(&topic(number), 1), Cached::Unknown);
        let (_, forgotten) = cache.insert(&topic(number), route(number), 1);
        assert!(forgotten <= 1, "{forgotten} forgotten at once");
        assert_eq!(cache.find(&topic(number), 1), fresh(number));
        assert!(cache.bytes + cache.routes.bytes() <= 10_000);
        assert_eq!(cache.routes.len(), cache.len(), "no route outlives its topic");
    }
    assert!(cache.len() > 20);
}

#[test]
fn what_is_asked_for_again_and_again_stays() {
    let mut cache = Cache::new();
    cache.limit(10_000);
    for number in 0..1_000 {
        cache.insert(&topic(number), route(number), 1);
        if number > 0 {
            assert_eq!(cache.find(&topic(0), 1), fresh(0), "behind {number} others");
        }
    }
}

#[test]
fn what_is_counted_outlives_what_is_forgotten() {
    let mut cache = Cache::new();
    cache.limit(2_500);
    cache.count_with(TopicCounts::new(&[">"]));
    for number in 0..1_000 {
        let topic = topic(number % 25);
        if cache.find(&topic, 1) == Cached::Unknown {
            cache.insert(&topic, route(number % 25), 1);
        }
        cache.count(&topic, 2, 10);
    }
    assert!(cache.len() < 25);
    let busiest = cache.busiest(100);
    assert_eq!(busiest.len(), 25);
    let figures = busiest.iter().map(|it| (it.published.messages, it.published.bytes));
    assert!(figures.into_iter().all(|figures| figures == (80, 400)));
    assert_eq!(cache.counts().unwrap().listed()[0].published.messages, 2_000);
}

#[test]
fn one_route_that_is_heavier_than_all_may_be_is_kept_alone() {
    let mut cache = Cache::new();
    cache.limit(1_000);
    (0..3).for_each(|number| drop(cache.insert(&topic(number), route(number), 1)));
    let receivers: Box<[Token]> = (0..1_000).map(Token::new).collect();
    let audience =
        Audience { encoding: Encoding::Native, receivers, subscriptions: Box::default() };
    let heavy = Route { plain: smallvec![audience], groups: Box::default(), needs_look: false };
    cache.insert(b"heavy", heavy, 1);
    assert_eq!(cache.len(), 1);
    assert!(matches!(cache.find(b"heavy", 1), Cached::Fresh(_)));
}

#[test]
fn stale_routes_are_not_given() {
    let mut cache = Cache::new();
    cache.insert(b"t", route(1), 7);
    assert_eq!(cache.find(b"t", 8), Cached::Stale(Rc::new(route(1)), 7));
    assert_eq!(cache.find(b"t", 7), fresh(1));
    cache.renew(8);
    assert_eq!(cache.find(b"t", 8), fresh(1));
    cache.renew(7);
    cache.make_stale(b"t");
    cache.make_stale(b"unknown");
    assert_eq!(cache.find(b"t", 7), Cached::Stale(Rc::new(route(1)), 0));
    cache.insert(b"t", route(2), 8);
    assert_eq!(cache.find(b"t", 8), fresh(2));
    assert_eq!((cache.len(), cache.routes.len()), (1, 1));
}
