//! The filters with wildcards, by their tokens.
//!
//! Owns the tree and nothing else: a filter is a number here. A node is one token at one place;
//! it is removed with the last filter that goes through it.

use std::collections::HashMap;

use slab::Slab;

use wire::topic::{ANY_TAIL, ANY_TOKEN, tokens};

use super::search::Interrupted;

/// A tree of filters that have a wildcard.
pub(super) struct Trie {
    pub(super) nodes: Slab<Node>,
    pub(super) root: u32,
    pub(super) interrupted: Option<Box<Interrupted>>,
}

#[derive(Default)]
pub(super) struct Node {
    pub(super) by_token: HashMap<Box<[u8]>, u32>,
    pub(super) any: Option<u32>,
    /// The filter that ends here.
    pub(super) filter: Option<u32>,
    /// The filter that goes on from here with `>`.
    pub(super) tail: Option<u32>,
}

impl Node {
    fn child(&self, token: &[u8]) -> Option<u32> {
        if token == ANY_TOKEN { self.any } else { self.by_token.get(token).copied() }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.by_token.is_empty()
            && self.any.is_none()
            && self.filter.is_none()
            && self.tail.is_none()
    }
}

impl Trie {
    pub(super) fn new() -> Trie {
        let mut nodes = Slab::new();
        let root = insert_node(&mut nodes);
        Trie { nodes, root, interrupted: None }
    }

    /// Adds a valid filter that is not in yet.
    pub(super) fn insert(&mut self, name: &[u8], filter: u32) {
        if let Some(interrupted) = &mut self.interrupted {
            interrupted.add(name, filter);
        }
        let mut at = self.root;
        for token in tokens(name) {
            if token == ANY_TAIL {
                self.nodes[at as usize].tail = Some(filter);
                return;
            }
            at = match self.nodes[at as usize].child(token) {
                Some(child) => child,
                None => self.add_child(at, token),
            };
        }
        self.nodes[at as usize].filter = Some(filter);
    }

    /// Removes a filter, and the nodes that only it went through.
    pub(super) fn remove(&mut self, name: &[u8]) {
        let mut path = vec![(self.root, ANY_TAIL)];
        for token in tokens(name).filter(|&token| token != ANY_TAIL) {
            let child = self.nodes[path[path.len() - 1].0 as usize].child(token);
            let Some(child) = child else { return };
            path.push((child, token));
        }
        let end = &mut self.nodes[path[path.len() - 1].0 as usize];
        let has_tail = tokens(name).next_back() == Some(ANY_TAIL);
        let filter = if has_tail { end.tail.take() } else { end.filter.take() };
        let mut interrupted = self.interrupted.as_deref_mut();
        if let (Some(interrupted), Some(filter)) = (&mut interrupted, filter) {
            interrupted.remove(name, filter);
        }
        while let Some((node, token)) = path.pop()
            && let Some(&(parent, _)) = path.last()
            && self.nodes[node as usize].is_unused()
        {
            self.nodes.remove(node as usize);
            if let Some(interrupted) = &mut interrupted {
                interrupted.remove_node(node);
            }
            let parent = &mut self.nodes[parent as usize];
            if token == ANY_TOKEN {
                parent.any = None;
            } else {
                parent.by_token.remove(token);
            }
        }
    }

    /// Nodes in use, the root included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    fn add_child(&mut self, parent: u32, token: &[u8]) -> u32 {
        let child = insert_node(&mut self.nodes);
        let parent = &mut self.nodes[parent as usize];
        if token == ANY_TOKEN {
            parent.any = Some(child);
        } else {
            parent.by_token.insert(token.into(), child);
        }
        child
    }
}

fn insert_node(nodes: &mut Slab<Node>) -> u32 {
    u32::try_from(nodes.insert(Node::default())).expect("fewer than 2^32 nodes fit in memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::topic::matches;

    fn matching(trie: &mut Trie, topic: &str) -> Vec<u32> {
        let mut found = trie.matching(topic.as_bytes(), u64::MAX).found.unwrap();
        found.sort_unstable();
        found
    }

    const FILTERS: [&str; 12] = [
        "*", ">", "a.*", "a.>", "*.b", "*.*", "*.>", "a.*.c", "a.b.>", "*.b.*", "*.*.*.>",
        "b.*.c.>",
    ];

    #[test]
    fn finds_what_the_definition_of_matching_says() {
        let mut trie = Trie::new();
        for (number, filter) in (0..).zip(FILTERS) {
            trie.insert(filter.as_bytes(), number);
        }
        let letters = ["a", "b", "c", "d"];
        let mut topics: Vec<String> = letters.map(String::from).to_vec();
        for _ in 0..3 {
            let longer: Vec<_> = topics
                .iter()
                .flat_map(|topic| letters.map(|letter| format!("{topic}.{letter}")))
                .collect();
            topics.extend(longer);
            topics.sort();
            topics.dedup();
        }
        for topic in topics {
            let found = matching(&mut trie, &topic);
            let expected: Vec<u32> = (0..)
                .zip(FILTERS)
                .filter(|(_, filter)| matches(filter.as_bytes(), topic.as_bytes()))
                .map(|(number, _)| number)
                .collect();
            assert_eq!(found, expected, "{topic}");
        }
    }

    #[test]
    fn removing_everything_leaves_the_root() {
        let mut trie = Trie::new();
        for round in 0..FILTERS.len() {
            for (number, filter) in (0..).zip(FILTERS) {
                trie.insert(filter.as_bytes(), number);
            }
            let (first, last) = FILTERS.split_at(round);
            for filter in last.iter().chain(first) {
                trie.remove(filter.as_bytes());
            }
            assert_eq!(trie.len(), 1);
        }
    }

    #[test]
    fn removing_one_keeps_its_neighbours() {
        let mut trie = Trie::new();
        trie.insert(b"a.*", 1);
        trie.insert(b"a.*.>", 2);
        trie.insert(b"a.>", 3);
        trie.remove(b"a.*.>");
        assert_eq!(matching(&mut trie, "a.b"), [1, 3]);
        assert_eq!(matching(&mut trie, "a.b.c"), [3]);
    }
}
