//! The search for the filters that match a topic, so many nodes at a time.
//!
//! Owns the one search that was interrupted and goes on later. It does not begin anew when filters
//! come or go meanwhile, but takes note of those that match its topic. Must not know which
//! connection asks.
//!
//! There is one place for an interrupted search, and a connection that needs it goes on with the
//! search that has it first. So that one ends even if the connection that began it never comes
//! back, and no two ever undo each other's work. What was found waits for its owner for a while,
//! and stays true: it may be stale anywhere else by then.

use std::collections::HashSet;

use smallvec::SmallVec;

use super::trie::Trie;
use wire::topic::{matches, tokens};

/// An interrupted search goes on over at least this part of what it has visited so far, lest it
/// never end where filters are added faster than it visits their nodes.
const GROWTH_PART: u64 = 128;

/// So many others that need its place wait until the owner of a search that has ended comes back.
const PATIENCE: u32 = 64;

/// What one call came to.
pub(super) struct Step {
    /// Nodes that it visited.
    pub(super) visited: u64,
    /// The filters that match the topic, if all of them are known now.
    pub(super) found: Option<Vec<u32>>,
    /// Another topic, whose search has ended earlier and which was not asked for since, and its
    /// filters.
    pub(super) other: Option<(Box<[u8]>, Vec<u32>)>,
}

/// How far a search is.
struct Search {
    /// Nodes to visit, and how many of the topic's tokens lead to each.
    open: Vec<(u32, usize)>,
    found: Vec<u32>,
    visited: u64,
}

/// A search that goes on later.
pub(super) struct Interrupted {
    topic: Box<[u8]>,
    search: Search,
    /// Numbers of matching filters that have come since it was interrupted, and are still there.
    added: HashSet<u32>,
    /// Numbers of matching filters that have gone since then.
    removed: HashSet<u32>,
    /// How many others have needed its place since it ended.
    waited: u32,
}

impl Trie {
    /// Looks for the filters that match a valid topic, in about `nodes` nodes, or in so many more
    /// of those that an earlier call for the topic has left; none is visited twice.
    pub(super) fn matching(&mut self, topic: &[u8], nodes: u64) -> Step {
        if let Some(mut own) = self.interrupted.take_if(|earlier| *earlier.topic == *topic) {
            let visited = self.go_on(&mut own, nodes);
            if own.has_ended() {
                return Step { visited, found: Some(own.filters()), other: None };
            }
            self.interrupted = Some(own);
            return Step { visited, found: None, other: None };
        }
        let is_busy = self.interrupted.as_ref().is_some_and(|earlier| !earlier.has_ended());
        let share = if is_busy { nodes / 2 } else { nodes };
        let mut search = self.begin();
        let mut visited = self.visit(topic, &mut search, share);
        if search.open.is_empty() {
            return Step { visited, found: Some(search.found), other: None };
        }
        let mut other = None;
        if let Some(mut earlier) = self.interrupted.take() {
            earlier.waited += u32::from(earlier.has_ended());
            visited += self.go_on(&mut earlier, nodes - share);
            if earlier.waited < PATIENCE {
                // What was found here is lost: it was not much.
                self.interrupted = Some(earlier);
                return Step { visited, found: None, other: None };
            }
            other = Some((earlier.topic.clone(), earlier.filters()));
        }
        self.interrupted = Some(Box::new(Interrupted::new(topic, search)));
        Step { visited, found: None, other }
    }

    /// Whether there is a search that goes on later.
    #[cfg(test)]
    pub(super) fn is_searching(&self) -> bool {
        self.interrupted.is_some()
    }

    fn begin(&self) -> Search {
        let is_empty = self.nodes[self.root as usize].is_unused();
        let open = if is_empty { Vec::new() } else { vec![(self.root, 0)] };
        Search { open, found: Vec::new(), visited: 0 }
    }

    /// Goes on with an interrupted search. Returns how many nodes it visited.
    fn go_on(&self, earlier: &mut Interrupted, nodes: u64) -> u64 {
        let nodes = nodes.max(earlier.search.visited / GROWTH_PART);
        self.visit(&earlier.topic, &mut earlier.search, nodes)
    }

    /// Visits so many nodes at most, and returns how many it were.
    fn visit(&self, topic: &[u8], search: &mut Search, nodes: u64) -> u64 {
        if search.open.is_empty() {
            return 0;
        }
        let wanted: SmallVec<[&[u8]; 16]> = tokens(topic).collect();
        let mut visited = 0;
        while visited < nodes
            && let Some((node, depth)) = search.open.pop()
        {
            visited += 1;
            let node = &self.nodes[node as usize];
            let Some(token) = wanted.get(depth) else {
                search.found.extend(node.filter);
                continue;
            };
            search.found.extend(node.tail);
            let children = [node.any, node.by_token.get(*token).copied()];
            search.open.extend(children.into_iter().flatten().map(|child| (child, depth + 1)));
        }
        search.visited += visited;
        visited
    }
}

impl Interrupted {
    fn new(topic: &[u8], search: Search) -> Interrupted {
        let (added, removed) = (HashSet::new(), HashSet::new());
        Interrupted { topic: topic.into(), search, added, removed, waited: 0 }
    }

    fn has_ended(&self) -> bool {
        self.search.open.is_empty()
    }

    /// What it has found, when it has ended.
    fn filters(self) -> Vec<u32> {
        let Interrupted { search: Search { mut found, .. }, added, removed, .. } = self;
        // One that came later may have been visited as well. The number of one that has gone may
        // have been given to another, which was added then if it matches.
        found.retain(|filter| !added.contains(filter) && !removed.contains(filter));
        found.extend(added);
        found
    }

    /// A filter has come.
    pub(super) fn add(&mut self, name: &[u8], filter: u32) {
        if matches(name, &self.topic) {
            self.added.insert(filter);
        }
    }

    /// A filter has gone.
    pub(super) fn remove(&mut self, name: &[u8], filter: u32) {
        if matches(name, &self.topic) {
            self.added.remove(&filter);
            self.removed.insert(filter);
        }
    }

    /// A node has gone; its number may be given to another one.
    pub(super) fn remove_node(&mut self, node: u32) {
        self.search.open.retain(|(open, _)| *open != node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number below `below`, always the same ones in turn.
    fn pick(random: &mut u64, below: u64) -> u64 {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*random >> 33) % below
    }

    /// So many tokens, each of them one of these.
    fn name(random: &mut u64, length: u64, choice: &[&str]) -> String {
        let mut token = || choice[pick(random, choice.len() as u64) as usize];
        (0..length).map(|_| token()).collect::<Vec<_>>().join(".")
    }

    fn as_defined(filters: &[(String, u32)], topic: &str) -> Vec<u32> {
        let matching = |(name, _): &&(String, u32)| matches(name.as_bytes(), topic.as_bytes());
        let mut found: Vec<_> =
            filters.iter().filter(matching).map(|(_, number)| *number).collect();
        found.sort_unstable();
        found
    }

    /// Numbers are given again as soon as they are free, as the registry does.
    #[test]
    fn interrupted_searches_find_what_is_there_when_they_end() {
        let mut random = 7;
        let (mut trie, mut filters) = (Trie::new(), Vec::<(String, u32)>::new());
        let (mut ended, mut others, mut interrupted) = (0, 0, 0);
        for _ in 0..200_000 {
            let length = 1 + pick(&mut random, 5);
            if pick(&mut random, 10) < 2 {
                let mut filter = name(&mut random, length, &["*", "a", "b"]);
                if pick(&mut random, 3) == 0 {
                    filter += ".>";
                }
                let known = filters.iter().position(|(name, _)| *name == filter);
                if let Some(known) = known {
                    filters.swap_remove(known);
                    trie.remove(filter.as_bytes());
                } else if filter.contains(['*', '>']) {
                    let is_free = |number: &u32| filters.iter().all(|(_, used)| used != number);
                    let number = (0..).find(is_free).unwrap();
                    trie.insert(filter.as_bytes(), number);
                    filters.push((filter, number));
                }
            }
            let topic = name(&mut random, length, &["a", "b"]);
            let step = trie.matching(topic.as_bytes(), 1 + pick(&mut random, 6));
            interrupted += u64::from(step.found.is_none());
            others += u64::from(step.other.is_some());
            let other = step.other.map(|(name, found)| (String::from_utf8(name.into()), found));
            let other = other.map(|(name, found)| (name.unwrap(), found));
            for (topic, mut found) in other.into_iter().chain(step.found.map(|it| (topic, it))) {
                found.sort_unstable();
                assert_eq!(found, as_defined(&filters, &topic), "{topic}");
                ended += 1;
            }
        }
        assert!(
            ended > 10_000 && others > 100 && interrupted > 10_000,
            "{ended} ended, {others} for others, {interrupted} interrupted"
        );
    }

    /// A topic that matches the beginnings of many filters takes many calls, each of which is
    /// bounded, and one that takes few nodes need not wait for it.
    #[test]
    fn no_call_visits_more_than_it_may() {
        let mut trie = Trie::new();
        for number in 0..1_u32 << 10 {
            let token = |bit: u32| if number >> bit & 1 == 1 { "t." } else { "*." };
            let filter: String = (0..10).map(token).collect();
            trie.insert(format!("{filter}>").as_bytes(), number);
        }
        trie.insert(b"cheap.*", 1 << 10);
        let costly = ["t"; 11].join(".");
        let mut calls = 0;
        let found = loop {
            calls += 1;
            let step = trie.matching(costly.as_bytes(), 100);
            assert!(step.visited <= 100, "{} nodes", step.visited);
            if let Some(found) = step.found {
                break found;
            }
            assert_eq!(trie.matching(b"cheap.x", 100).found, Some(vec![1 << 10]));
        };
        assert_eq!((found.len(), calls), (1 << 10, 2_047_usize.div_ceil(100)));
    }

    /// Even if what others find for it is of no use, since routes change all the time.
    #[test]
    fn two_in_turn_both_come_to_an_end() {
        let mut trie = Trie::new();
        for number in 0..1_u32 << 5 {
            let token = |bit: u32| if number >> bit & 1 == 1 { "t." } else { "*." };
            let filter: String = (0..5).map(token).collect();
            trie.insert(format!("{filter}>").as_bytes(), number);
        }
        let topics = ["t.t.t.t.t.a", "t.t.t.t.t.b"];
        for nodes in 1..60 {
            let mut found = [0; 2];
            for call in 0..1_000 {
                let step = trie.matching(topics[call % 2].as_bytes(), nodes);
                found[call % 2] += u32::from(step.found.is_some());
            }
            assert!(found[0] > 0 && found[1] > 0, "{found:?} with {nodes} nodes in a call");
        }
    }

    /// Each call visits one node at first, and twenty are added behind it.
    #[test]
    fn search_ends_though_filters_come_faster_than_it_goes() {
        let mut random = 3;
        let mut trie = Trie::new();
        let topic = ["t"; 31].join(".");
        for number in 0..10_000 {
            let filter = format!("*.{}.*", name(&mut random, 29, &["*", "t"]));
            trie.insert(filter.as_bytes(), number);
            if trie.matching(topic.as_bytes(), 1).found.is_some_and(|found| found.len() > 100) {
                return;
            }
        }
        panic!("it goes on for ever");
    }
}
