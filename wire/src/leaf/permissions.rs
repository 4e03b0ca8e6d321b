//! What a leaf node may send and subscribe to, as the hub has told it.
//!
//! Owns the test of a subject against those lists. A hub closes a link that breaks them, so each
//! message and each LS+ is tested before it is sent. Must not know where the lists are from.

use super::subject::{GATEWAY_REPLY_PREFIX, LOOP_MARK_PREFIX, OLD_GATEWAY_REPLY_PREFIX};
use crate::topic::{has_wildcard, matches};

/// What begins the subjects that are free of permissions.
const FREE_PREFIXES: [&[u8]; 3] =
    [LOOP_MARK_PREFIX, GATEWAY_REPLY_PREFIX, OLD_GATEWAY_REPLY_PREFIX];

/// One list of a hub's INFO: `import`, what may be subscribed to, or `export`, what may be sent.
/// The default permits everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions {
    /// Filters of what is permitted; `None`: everything.
    pub allow: Option<Vec<String>>,
    /// Filters of what is not, though it be allowed.
    pub deny: Vec<String>,
}

impl Permissions {
    /// Whether everything is permitted, so that no subject has to be tested.
    pub fn is_everything(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty()
    }

    /// Whether this valid topic may be sent, by `export`, or subscribed to, by `import`. Costs a
    /// comparison with each filter.
    ///
    /// A filter may be longer than the ones of [`crate::topic`], or break their grammar: then it
    /// matches no valid topic, or those that begin as it does up to its first `>`.
    pub fn permits(&self, topic: &[u8]) -> bool {
        let any = |filters: &[String]| filters.iter().any(|one| matches(one.as_bytes(), topic));
        if FREE_PREFIXES.iter().any(|prefix| topic.starts_with(prefix)) {
            return true;
        }
        self.allow.as_deref().is_none_or(any) && !any(&self.deny)
    }

    /// Whether LS+ may be sent for this valid filter, by `import`. The hub takes each filter with a
    /// wildcard, and sends what is permitted of it.
    pub fn permits_interest(&self, filter: &[u8]) -> bool {
        has_wildcard(filter) || self.permits(filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions(allow: Option<&[&str]>, deny: &[&str]) -> Permissions {
        let own = |filters: &[&str]| filters.iter().map(ToString::to_string).collect();
        Permissions { allow: allow.map(own), deny: own(deny) }
    }

    #[test]
    fn denials_win_and_nothing_said_is_everything() {
        let long = "x".repeat(60_000);
        let some = Some(["a.*", "in.>", "b"].as_slice());
        let rows = [
            (permissions(None, &[]), "a", true),
            (permissions(None, &["a"]), "a", false),
            (permissions(None, &["a"]), "a.b", true),
            (permissions(Some(&[]), &[]), "a", false),
            (permissions(some, &[]), "a.b", true),
            (permissions(some, &[]), "a.b.c", false),
            (permissions(some, &[]), "in.b.c", true),
            (permissions(some, &[]), "in", false),
            (permissions(some, &["in.secret", "a.>"]), "in.secret", false),
            (permissions(some, &["in.secret", "a.>"]), "in.public", true),
            (permissions(some, &["in.secret", "a.>"]), "a.b", false),
            (permissions(some, &["in.secret", "a.>"]), "b", true),
            // The grammar does not matter for what a filter is made of.
            (permissions(Some(&[&long, "a group", "b..c"]), &[]), "a", false),
            (permissions(Some(&[&long, "a group", "b..c", "a"]), &[&long, ""]), "a", true),
        ];
        for (permissions, topic, expected) in rows {
            assert_eq!(permissions.permits(topic.as_bytes()), expected, "{permissions:?} {topic}");
            assert!(
                permissions.allow.is_some()
                    || permissions.is_everything() == expected
                    || !permissions.deny.is_empty()
            );
        }
    }

    #[test]
    fn what_servers_need_among_themselves_is_free() {
        let nothing = permissions(Some(&[]), &[">"]);
        for topic in ["$LDS.abc", "_GR_.a.b.c", "$GR.1.x"] {
            assert!(nothing.permits(topic.as_bytes()), "{topic}");
            assert!(nothing.permits_interest(topic.as_bytes()), "{topic}");
        }
        for topic in ["$LDS", "$LDSx.a", "_GR_", "_GR.a", "$GRx", "_R_.a", "$SYS.a", "$JS.ACK.a"] {
            assert!(!nothing.permits(topic.as_bytes()), "{topic}");
        }
    }

    #[test]
    fn a_wildcard_is_asked_for_in_any_case() {
        let permissions = permissions(Some(&["a.>"]), &["a.secret"]);
        for (filter, expected) in
            [("a.b", true), ("a.secret", false), ("b", false), ("b.*", true), (">", true)]
        {
            assert_eq!(permissions.permits_interest(filter.as_bytes()), expected, "{filter}");
        }
        assert!(!permissions.is_everything() && Permissions::default().is_everything());
    }
}
