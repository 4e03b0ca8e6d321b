//! Proves rule 4 as far as queue groups go: each group that matches delivers a message to exactly
//! one of its members, who take turns, and a group is its name, whatever the filters.

use std::collections::BTreeMap;

use crate::support::{Broker, Frame, Peer};

const END: &[u8] = b"the.end";

/// A member of the group (`filter`, `name`) that also receives the end.
fn member(broker: &Broker, filter: &[u8], name: &[u8]) -> Peer {
    let mut peer = broker.subscriber_of(&[END]);
    peer.subscribe(filter, name);
    peer
}

/// Publishes `count` numbered messages and the end.
fn publish_numbered(publisher: &mut Peer, topic: &[u8], count: u32) {
    for i in 0..count {
        publisher.publish(topic, &i.to_be_bytes());
    }
    publisher.publish(END, b"");
}

/// The numbers that this peer gets before the end.
fn numbers(peer: &mut Peer) -> Vec<u32> {
    let number = |message: Frame| {
        let body = message.body.as_slice();
        u32::from_be_bytes(body.try_into().expect("the test's payloads are numbers"))
    };
    peer.messages_until(END).into_iter().map(number).collect()
}

/// How often each number arrived, over all these peers.
fn times<'a>(peers: impl IntoIterator<Item = &'a mut Peer>) -> BTreeMap<u32, usize> {
    let mut times = BTreeMap::new();
    for number in peers.into_iter().flat_map(numbers) {
        *times.entry(number).or_default() += 1;
    }
    times
}

fn assert_each_arrived(times: &BTreeMap<u32, usize>, count: u32, often: usize) {
    let expected: BTreeMap<u32, usize> = (0..count).map(|i| (i, often)).collect();
    assert_eq!(*times, expected);
}

#[test]
fn each_message_goes_to_exactly_one_member_and_members_take_turns() {
    let broker = Broker::start();
    for filter in [b"jobs.x".as_slice(), b"jobs.*", b"jobs.>", b"*.x"] {
        let mut members: Vec<Peer> = (0..3).map(|_| member(&broker, filter, b"g")).collect();
        publish_numbered(&mut broker.publisher(), b"jobs.x", 300);
        let shares: Vec<Vec<u32>> = members.iter_mut().map(numbers).collect();
        let sizes: Vec<usize> = shares.iter().map(Vec::len).collect();
        assert_eq!(
            sizes,
            [100, 100, 100],
            "the members of {} took no turns",
            filter.escape_ascii()
        );
        let mut all: Vec<u32> = shares.concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..300), "not each message exactly once");
        assert!(shares.iter().all(|share| share.is_sorted()), "a share is out of order");
    }
}

#[test]
fn a_group_of_one_gets_everything() {
    let broker = Broker::start();
    let mut only = member(&broker, b"jobs", b"g");
    publish_numbered(&mut broker.publisher(), b"jobs", 100);
    assert_each_arrived(&times([&mut only]), 100, 1);
}

#[test]
fn each_group_gets_each_message_beside_plain_subscribers() {
    let broker = Broker::start();
    let mut first = [member(&broker, b"jobs", b"one"), member(&broker, b"jobs", b"one")];
    let mut second = [member(&broker, b"jobs", b"two"), member(&broker, b"jobs", b"two")];
    let mut plain = broker.subscriber_of(&[b"jobs", END]);
    publish_numbered(&mut broker.publisher(), b"jobs", 100);
    assert_each_arrived(&times(&mut first), 100, 1);
    assert_each_arrived(&times(&mut second), 100, 1);
    assert_each_arrived(&times([&mut plain]), 100, 1);
}

#[test]
fn one_name_is_one_group_whatever_the_filters() {
    let broker = Broker::start();
    let mut exact = member(&broker, b"jobs.x", b"g");
    let mut wild = member(&broker, b"jobs.*", b"g");
    let mut tail = member(&broker, b"jobs.>", b"g");
    publish_numbered(&mut broker.publisher(), b"jobs.x", 60);
    let got = [numbers(&mut exact), numbers(&mut wild), numbers(&mut tail)];
    assert_eq!(got.each_ref().map(Vec::len), [20; 3], "they take turns");
    let mut all = got.concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 60, "each message goes to one of them");
    // Only two of them match this one; the turns continue.
    publish_numbered(&mut broker.publisher(), b"jobs.y", 20);
    let got = [numbers(&mut exact), numbers(&mut wild), numbers(&mut tail)];
    assert_eq!(got.map(|numbers| numbers.len()), [0, 10, 10]);
}

#[test]
fn membership_counts_apart_from_plain_filters_of_the_connection() {
    let broker = Broker::start();
    let mut both = member(&broker, b"jobs", b"g");
    both.subscribe(b"jobs", b"");
    both.subscribe(b"*", b"");
    publish_numbered(&mut broker.publisher(), b"jobs", 50);
    assert_each_arrived(&times([&mut both]), 50, 2);
}

#[test]
fn a_plain_subscriber_in_a_group_of_two_takes_nothing_from_the_other_count() {
    let broker = Broker::start();
    let mut both = member(&broker, b"jobs", b"g");
    both.subscribe(b"jobs", b"");
    let mut other = member(&broker, b"jobs", b"g");
    publish_numbered(&mut broker.publisher(), b"jobs", 50);
    // One copy for the plain filter, one for the group, wherever that went.
    assert_each_arrived(&times([&mut both, &mut other]), 50, 2);
}

#[test]
fn one_connection_in_several_groups_gets_a_copy_for_each() {
    let broker = Broker::start();
    let mut peer = member(&broker, b"jobs.x", b"one");
    peer.subscribe(b"jobs.x", b"two");
    peer.subscribe(b"jobs.*", b"one");
    publish_numbered(&mut broker.publisher(), b"jobs.x", 50);
    // "one" is one group, by whichever filter.
    assert_each_arrived(&times([&mut peer]), 50, 2);
}

#[test]
fn joining_twice_is_one_membership() {
    let broker = Broker::start();
    let mut twice = member(&broker, b"jobs", b"g");
    twice.subscribe(b"jobs", b"g");
    let mut once = member(&broker, b"jobs", b"g");
    publish_numbered(&mut broker.publisher(), b"jobs", 100);
    let (twice_got, once_got) = (numbers(&mut twice), numbers(&mut once));
    assert_eq!((twice_got.len(), once_got.len()), (50, 50));

    twice.unsubscribe(b"jobs", b"g");
    publish_numbered(&mut broker.publisher(), b"jobs", 20);
    assert_eq!((numbers(&mut twice).len(), numbers(&mut once).len()), (0, 20));
}

#[test]
fn leaving_a_group_affects_that_group_only() {
    let broker = Broker::start();
    let mut leaver = member(&broker, b"jobs", b"g");
    leaver.subscribe(b"jobs", b"other");
    leaver.subscribe(b"jobs", b"");
    let mut stayer = member(&broker, b"jobs", b"g");
    leaver.unsubscribe(b"jobs", b"g");
    publish_numbered(&mut broker.publisher(), b"jobs", 40);
    assert_each_arrived(&times([&mut stayer]), 40, 1);
    assert_each_arrived(&times([&mut leaver]), 40, 2);

    leaver.unsubscribe(b"jobs", b"");
    publish_numbered(&mut broker.publisher(), b"jobs", 40);
    assert_each_arrived(&times([&mut stayer]), 40, 1);
    assert_each_arrived(&times([&mut leaver]), 40, 1);
}

#[test]
fn unsubscribing_with_another_name_or_none_leaves_the_membership() {
    let broker = Broker::start();
    let mut peer = member(&broker, b"jobs", b"g");
    for (filter, name) in [(b"jobs".as_slice(), b"".as_slice()), (b"jobs", b"G"), (b"*", b"g")] {
        peer.unsubscribe(filter, name);
    }
    publish_numbered(&mut broker.publisher(), b"jobs", 10);
    assert_each_arrived(&times([&mut peer]), 10, 1);
}

#[test]
fn the_turns_go_on_among_those_who_are_left_when_a_member_closes() {
    let broker = Broker::start();
    let mut members: Vec<Peer> = (0..3).map(|_| member(&broker, b"jobs.*", b"g")).collect();
    let mut publisher = broker.publisher();
    publish_numbered(&mut publisher, b"jobs.x", 30);
    assert_each_arrived(&times(&mut members), 30, 1);
    while let Some(mut leaver) = members.pop() {
        leaver.half_close();
        leaver.expect_close();
        publish_numbered(&mut publisher, b"jobs.x", 30);
        let expected = if members.is_empty() { 0 } else { 30 };
        assert_each_arrived(&times(&mut members), expected, 1);
    }
    // The group has ended; a new one of its name starts from the beginning.
    let mut newcomer = member(&broker, b"jobs.*", b"g");
    publish_numbered(&mut publisher, b"jobs.x", 30);
    assert_each_arrived(&times([&mut newcomer]), 30, 1);
}

#[test]
fn a_member_that_joins_takes_its_turns() {
    let broker = Broker::start();
    let mut first = member(&broker, b"jobs", b"g");
    let mut publisher = broker.publisher();
    publish_numbered(&mut publisher, b"jobs", 10);
    assert_eq!(numbers(&mut first).len(), 10);
    let mut second = member(&broker, b"jobs", b"g");
    publish_numbered(&mut publisher, b"jobs", 10);
    assert_eq!((numbers(&mut first).len(), numbers(&mut second).len()), (5, 5));
}

#[test]
fn group_names_may_be_like_topics_up_to_255_bytes() {
    let broker = Broker::start();
    let longest = [b'g'; 255];
    let names: [&[u8]; 5] = [b"g", b"a.b.c", b"#1", "équipe".as_bytes(), &longest];
    for name in names {
        println!("{}", name.escape_ascii());
        let mut members = [member(&broker, b"jobs", name), member(&broker, b"jobs", name)];
        publish_numbered(&mut broker.publisher(), b"jobs", 10);
        assert_each_arrived(&times(&mut members), 10, 1);
    }
}
