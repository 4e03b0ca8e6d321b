//! Subjects, filters, replies and queue groups of NATS clients: which of them we carry.
//!
//! Owns what becomes of each name that a client can send. Must not write answers. NATS calls a
//! topic a subject; the grammar of both is [`crate::topic`]'s, and NATS allows more than that has.

use std::fmt;

use crate::topic::{self, MAX_GROUP_BYTES, MAX_TOPIC_BYTES, TopicError};

/// The name of a queue group that NATS servers keep for themselves.
const RESERVED_GROUP: &[u8] = b"_sys_";

/// What becomes of a message, by its subject alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishSubject {
    /// The subject is a topic: the message goes to those whose filters match.
    Topic,
    /// The subject is allowed but no filter matches it: it has an empty token, or one that is a
    /// wildcard. To a pedantic client that is "Invalid Publish Subject", besides.
    MatchesNobody,
    /// NATS allows the subject and we do not: it is too long, has too many tokens, is not UTF-8 or
    /// has control characters. The message is dropped, as one that the client may not publish.
    NotCarried,
}

/// Sorts the subject of a message. It must not be empty and has no blanks, as lines are split at
/// them.
pub fn check_publish(subject: &[u8]) -> PublishSubject {
    match topic::validate_topic(subject) {
        Ok(()) => PublishSubject::Topic,
        Err(TopicError::EmptyToken | TopicError::WildcardInTopic) => PublishSubject::MatchesNobody,
        Err(_) => PublishSubject::NotCarried,
    }
}

/// Why a filter is refused. The connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterError {
    /// It is wrong for NATS too: it has an empty token, or a token behind `>`.
    Invalid,
    /// NATS allows it and we do not: it is too long, is not UTF-8 or has control characters. It is
    /// refused as one that the client may not subscribe to.
    NotCarried,
    /// The same, because it has too many tokens, for which there is a text of its own.
    TooManyTokens,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FilterError::Invalid => "it has an empty token, or a token behind >",
            FilterError::NotCarried => "it is too long, not UTF-8, or has control characters",
            FilterError::TooManyTokens => "it has more than 128 tokens",
        })
    }
}

impl std::error::Error for FilterError {}

/// Checks a filter to subscribe to. It must not be empty and has no blanks.
///
/// # Errors
/// The rule that it breaks.
pub fn check_filter(filter: &[u8]) -> Result<(), FilterError> {
    topic::validate_filter(filter).map_err(|error| match error {
        TopicError::EmptyToken | TopicError::TailNotLast => FilterError::Invalid,
        TopicError::TooManyTokens => FilterError::TooManyTokens,
        _ => FilterError::NotCarried,
    })
}

/// Whether a reply subject is carried. It is passed on as it is: empty tokens and wildcards are the
/// receivers' business, but what a MSG line cannot hold is refused like the subject of a message.
pub fn is_reply_carried(reply: &[u8]) -> bool {
    (1..=MAX_TOPIC_BYTES).contains(&reply.len())
        && !reply.iter().any(u8::is_ascii_control)
        && std::str::from_utf8(reply).is_ok()
}

/// Whether a queue group may have this name, which is any bytes without blanks, not always UTF-8.
pub fn is_group_carried(name: &[u8]) -> bool {
    (1..=MAX_GROUP_BYTES).contains(&name.len()) && name != RESERVED_GROUP
}

#[cfg(test)]
mod tests {
    use super::*;
    use PublishSubject::{MatchesNobody, NotCarried, Topic};

    #[test]
    fn subjects_and_filters_are_sorted_by_what_becomes_of_them() {
        let long = "x".repeat(1_024);
        let longer = "x".repeat(1_025);
        let many = vec!["t"; 128].join(".");
        let more = vec!["t"; 129].join(".");
        let invalid = Some(FilterError::Invalid);
        let not_carried = Some(FilterError::NotCarried);
        let rows: Vec<(&[u8], PublishSubject, Option<FilterError>)> = vec![
            (b"a", Topic, None),
            (b"a.b", Topic, None),
            ("caf\u{e9}.b".as_bytes(), Topic, None),
            (b"$SYS.REQ.USER.INFO", Topic, None),
            (b"_R_.a", Topic, None),
            (b"a*b.>>", Topic, None),
            (long.as_bytes(), Topic, None),
            (many.as_bytes(), Topic, None),
            (b"a..b", MatchesNobody, invalid),
            (b".a", MatchesNobody, invalid),
            (b"a.", MatchesNobody, invalid),
            (b".", MatchesNobody, invalid),
            (b"*", MatchesNobody, None),
            (b"a.*.b", MatchesNobody, None),
            (b"a.>", MatchesNobody, None),
            (b"a.>.b", MatchesNobody, invalid),
            (longer.as_bytes(), NotCarried, not_carried),
            (more.as_bytes(), NotCarried, Some(FilterError::TooManyTokens)),
            (b"a\0b", NotCarried, not_carried),
            (b"a\x7Fb", NotCarried, not_carried),
            (b"a\xFFb", NotCarried, not_carried),
            // What we cannot carry is looked at before what NATS does not allow either.
            (b"a..b\xFF", NotCarried, not_carried),
        ];
        for (bytes, publish, filter) in rows {
            assert_eq!(check_publish(bytes), publish, "publish {}", bytes.escape_ascii());
            assert_eq!(check_filter(bytes).err(), filter, "filter {}", bytes.escape_ascii());
        }
    }

    #[test]
    fn replies_are_free_within_the_limits_of_bytes_and_length() {
        for reply in [b"_INBOX.x.1".as_slice(), b"*", b"r..x", b"r.>", b"\xC3\xA9", &[b'.'; 1_024]]
        {
            assert!(is_reply_carried(reply), "{}", reply.escape_ascii());
        }
        for reply in [b"".as_slice(), b"a\0", b"\x7F", b"\xC3", &[b'a'; 1_025]] {
            assert!(!is_reply_carried(reply), "{}", reply.escape_ascii());
        }
    }

    #[test]
    fn groups_are_any_bytes_up_to_255() {
        for name in [b"g".as_slice(), b"..", b"*", b"a.>", b"\xFF\0", &[b'g'; 255]] {
            assert!(is_group_carried(name), "{}", name.escape_ascii());
        }
        assert!(!is_group_carried(b"") && !is_group_carried(&[b'g'; 256]));
        assert!(!is_group_carried(b"_sys_") && is_group_carried(b"_sys_2"));
    }
}
