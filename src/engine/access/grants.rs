//! Topics that are granted: some filters, without what others match.
//!
//! Owns what a list of grants says of a topic and of a filter.

use std::rc::Rc;

use wire::topic::{includes, matches, overlaps};

/// Filters, each of them valid.
pub type Filters = Box<[Box<[u8]>]>;

/// What is granted: all that a filter of `allow` matches and none of `deny` does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Grants {
    /// What is granted. Nothing is, if it is empty.
    pub allow: Filters,
    /// What is not, whatever is allowed.
    pub deny: Rc<[Box<[u8]>]>,
}

/// What a filter to subscribe to comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// All that it matches is granted.
    Whole,
    /// Some topics that it matches are denied.
    InPart,
    /// It matches topics that are not granted, or none that is.
    Refused,
}

impl Grants {
    /// Grants of everything.
    pub fn everything() -> Grants {
        Grants { allow: [Box::from(&b">"[..])].into(), deny: Rc::default() }
    }

    /// Whether all topics are granted.
    pub fn is_everything(&self) -> bool {
        self.deny.is_empty() && self.allow.iter().any(|filter| **filter == *b">")
    }

    /// Whether a valid topic is granted.
    pub fn has(&self, topic: &[u8]) -> bool {
        self.allow.iter().any(|filter| matches(filter, topic)) && !self.denies(topic)
    }

    /// Whether a valid topic is denied, allowed or not.
    pub fn denies(&self, topic: &[u8]) -> bool {
        self.deny.iter().any(|filter| matches(filter, topic))
    }

    /// What a valid filter comes to. One filter of `allow` must include it: two that do so together
    /// are not looked for.
    pub fn of(&self, filter: &[u8]) -> Grant {
        let is_allowed = self.allow.iter().any(|wide| includes(wide, filter));
        if !is_allowed || self.deny.iter().any(|denied| includes(denied, filter)) {
            Grant::Refused
        } else if self.deny.iter().any(|denied| overlaps(denied, filter)) {
            Grant::InPart
        } else {
            Grant::Whole
        }
    }

    /// How many filters there are to look at.
    pub fn len(&self) -> usize {
        self.allow.len() + self.deny.len()
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(allow: &[&str], deny: &[&str]) -> Grants {
        let filters = |list: &[&str]| list.iter().map(|it| it.as_bytes().into()).collect();
        Grants { allow: filters(allow), deny: Vec::from(filters(deny)).into() }
    }

    #[test]
    fn a_denial_wins_over_what_is_allowed() {
        let some = grants(&["orders.>", "news"], &["orders.secret.>", "*.x"]);
        for (topic, has) in [
            ("orders.a", true),
            ("orders.x", false),
            ("orders.secret", true),
            ("orders.secret.a", false),
            ("orders", false),
            ("news", true),
            ("other", false),
        ] {
            assert_eq!(some.has(topic.as_bytes()), has, "{topic}");
        }
        assert!(!grants(&[], &["a"]).has(b"b"), "denials alone grant nothing");
        assert!(Grants::everything().has(b"a.b") && Grants::everything().is_everything());
    }

    #[test]
    fn a_filter_is_granted_whole_in_part_or_not_at_all() {
        let some = grants(&["orders.>", "foo.*"], &["orders.secret.>", "orders.*.x"]);
        for (filter, grant) in [
            (">", Grant::Refused),
            ("*", Grant::Refused),
            ("orders", Grant::Refused),
            ("orders.>", Grant::InPart),
            ("orders.*", Grant::Whole),
            ("orders.*.y", Grant::InPart),
            ("orders.a.y", Grant::Whole),
            ("orders.a.x", Grant::Refused),
            ("orders.secret.*", Grant::Refused),
            ("orders.*.x", Grant::Refused),
            ("foo.*", Grant::Whole),
            ("foo.>", Grant::Refused),
            ("foo.a", Grant::Whole),
        ] {
            assert_eq!(some.of(filter.as_bytes()), grant, "{filter}");
        }
    }
}
