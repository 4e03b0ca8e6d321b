//! Topics and filters: their grammar, their tokens, and when a filter matches a topic.
//!
//! All of it works on bytes and is case-sensitive. Matching here is the plain definition, one
//! filter against one topic; the broker's index must always agree with it.

use std::fmt;

/// The longest topic or filter, in bytes.
pub const MAX_TOPIC_BYTES: usize = 1_024;
/// The most tokens in a topic or filter.
pub const MAX_TOKENS: usize = 128;
/// The longest name of a queue group, in bytes.
pub const MAX_GROUP_BYTES: usize = 255;
/// Matches exactly one token.
pub const ANY_TOKEN: &[u8] = b"*";
/// As a filter's last token: matches one or more tokens.
pub const ANY_TAIL: &[u8] = b">";

/// Why a topic, a filter or the name of a queue group is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicError {
    /// It has no byte at all.
    Empty,
    /// It is longer than [`MAX_TOPIC_BYTES`] (a group: [`MAX_GROUP_BYTES`]).
    TooLong,
    /// It is not UTF-8.
    NotUtf8,
    /// It holds a control character or a space.
    ControlOrSpace,
    /// A token is empty: a dot at an end, or two in a row.
    EmptyToken,
    /// It has more than [`MAX_TOKENS`] tokens.
    TooManyTokens,
    /// A topic to publish to has a token that is `*` or `>`.
    WildcardInTopic,
    /// A filter has a `>` that is not its last token.
    TailNotLast,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TopicError::Empty => "it is empty",
            TopicError::TooLong => "it is too long (1,024 bytes, a queue group 255)",
            TopicError::NotUtf8 => "it is not UTF-8",
            TopicError::ControlOrSpace => "it has a space or a control character",
            TopicError::EmptyToken => "it has an empty token (a dot at an end, or two in a row)",
            TopicError::TooManyTokens => "it has more than 128 tokens",
            TopicError::WildcardInTopic => "a topic to publish to cannot have a token * or >",
            TopicError::TailNotLast => "the token > must be the last",
        })
    }
}

impl std::error::Error for TopicError {}

/// Checks a topic to publish to.
///
/// # Errors
/// The rule that it breaks.
pub fn validate_topic(topic: &[u8]) -> Result<(), TopicError> {
    validate_tokens(topic)?;
    let wildcard = tokens(topic).any(|token| token == ANY_TOKEN || token == ANY_TAIL);
    if wildcard { Err(TopicError::WildcardInTopic) } else { Ok(()) }
}

/// Checks a filter to subscribe to.
///
/// # Errors
/// The rule that it breaks.
pub fn validate_filter(filter: &[u8]) -> Result<(), TopicError> {
    validate_tokens(filter)?;
    let mut rest = tokens(filter);
    // `any` stops behind the first `>`; whatever is left then came after it.
    let has_tail = rest.any(|token| token == ANY_TAIL);
    if has_tail && rest.next().is_some() { Err(TopicError::TailNotLast) } else { Ok(()) }
}

/// Checks the name of a queue group: a topic of at most [`MAX_GROUP_BYTES`].
///
/// # Errors
/// The rule that it breaks.
pub fn validate_group(name: &[u8]) -> Result<(), TopicError> {
    if name.len() > MAX_GROUP_BYTES {
        return Err(TopicError::TooLong);
    }
    validate_topic(name)
}

/// What topics and filters have in common.
fn validate_tokens(topic: &[u8]) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::Empty);
    }
    if topic.len() > MAX_TOPIC_BYTES {
        return Err(TopicError::TooLong);
    }
    if std::str::from_utf8(topic).is_err() {
        return Err(TopicError::NotUtf8);
    }
    if topic.iter().any(|&byte| byte <= b' ' || byte == 0x7F) {
        return Err(TopicError::ControlOrSpace);
    }
    if tokens(topic).any(<[u8]>::is_empty) {
        return Err(TopicError::EmptyToken);
    }
    if tokens(topic).count() > MAX_TOKENS { Err(TopicError::TooManyTokens) } else { Ok(()) }
}

/// The tokens of a topic or filter, in order.
pub fn tokens(topic: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
    topic.split(|&byte| byte == b'.')
}

/// Whether a valid filter has a wildcard, so that it can match more than the topic of its name.
pub fn has_wildcard(filter: &[u8]) -> bool {
    tokens(filter).any(|token| token == ANY_TOKEN || token == ANY_TAIL)
}

/// Whether a valid filter matches a valid topic.
pub fn matches(filter: &[u8], topic: &[u8]) -> bool {
    let mut rest = tokens(topic);
    for wanted in tokens(filter) {
        let Some(token) = rest.next() else {
            return false;
        };
        if wanted == ANY_TAIL {
            return true;
        }
        if wanted != ANY_TOKEN && wanted != token {
            return false;
        }
    }
    rest.next().is_none()
}

/// Whether each topic that `narrow` matches is matched by `wide` too; both are valid filters.
pub fn includes(wide: &[u8], narrow: &[u8]) -> bool {
    let (mut wide, mut narrow) = (tokens(wide), tokens(narrow));
    loop {
        match (wide.next(), narrow.next()) {
            (None, None) => return true,
            (Some(ANY_TAIL), Some(_)) => return true,
            (Some(ANY_TOKEN), Some(token)) if token != ANY_TAIL => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// Whether there is a topic that both filters match; both are valid.
pub fn overlaps(one: &[u8], other: &[u8]) -> bool {
    let (mut one, mut other) = (tokens(one), tokens(other));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(ANY_TAIL), Some(_)) | (Some(_), Some(ANY_TAIL)) => return true,
            (Some(ANY_TOKEN), Some(_)) | (Some(_), Some(ANY_TOKEN)) => {}
            (Some(token), Some(same)) if token == same => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_filters_are_taken_or_refused_by_the_grammar() {
        use TopicError::*;
        let long = "x".repeat(1_024);
        let longer = "x".repeat(1_025);
        let many = vec!["t"; 128].join(".");
        let more = vec!["t"; 129].join(".");
        // (bytes, as a topic, as a filter)
        let rows: Vec<(&[u8], Option<TopicError>, Option<TopicError>)> = vec![
            (b"#hello", None, None),
            (b"orders.eu.created", None, None),
            ("température".as_bytes(), None, None),
            (b"$SYS.x", None, None),
            (b"_INBOX", None, None),
            (b"a/b+c", None, None),
            (long.as_bytes(), None, None),
            (many.as_bytes(), None, None),
            (b"", Some(Empty), Some(Empty)),
            (longer.as_bytes(), Some(TooLong), Some(TooLong)),
            (more.as_bytes(), Some(TooManyTokens), Some(TooManyTokens)),
            (b".", Some(EmptyToken), Some(EmptyToken)),
            (b"a.", Some(EmptyToken), Some(EmptyToken)),
            (b".a", Some(EmptyToken), Some(EmptyToken)),
            (b"a..b", Some(EmptyToken), Some(EmptyToken)),
            (b"a b", Some(ControlOrSpace), Some(ControlOrSpace)),
            (b"a\0b", Some(ControlOrSpace), Some(ControlOrSpace)),
            (b"a\nb", Some(ControlOrSpace), Some(ControlOrSpace)),
            (b"a\x1F", Some(ControlOrSpace), Some(ControlOrSpace)),
            (b"a\x7F", Some(ControlOrSpace), Some(ControlOrSpace)),
            (b"\xFF\xFE", Some(NotUtf8), Some(NotUtf8)),
            (b"*", Some(WildcardInTopic), None),
            (b">", Some(WildcardInTopic), None),
            (b"a.*.b", Some(WildcardInTopic), None),
            (b"a.>", Some(WildcardInTopic), None),
            (b"*.>", Some(WildcardInTopic), None),
            (b">.a", Some(WildcardInTopic), Some(TailNotLast)),
            (b">.>", Some(WildcardInTopic), Some(TailNotLast)),
            (b"a*.b>", None, None),
            (b"**", None, None),
            (b">>", None, None),
        ];
        for (bytes, topic, filter) in rows {
            assert_eq!(validate_topic(bytes).err(), topic, "topic {}", bytes.escape_ascii());
            assert_eq!(validate_filter(bytes).err(), filter, "filter {}", bytes.escape_ascii());
        }
    }

    #[test]
    fn groups_are_topics_of_at_most_255_bytes() {
        assert_eq!(validate_group(&[b'g'; 255]), Ok(()));
        assert_eq!(validate_group(&[b'g'; 256]), Err(TopicError::TooLong));
        assert_eq!(validate_group(b"a.*"), Err(TopicError::WildcardInTopic));
        assert_eq!(validate_group(b""), Err(TopicError::Empty));
    }

    #[test]
    fn filters_match_the_topics_that_the_protocol_says() {
        let rows = [
            ("a", "a", true),
            ("a", "b", false),
            ("a", "A", false),
            ("a", "a.b", false),
            ("a.b", "a", false),
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("a.b.c", "a.b", false),
            ("ab", "a.b", false),
            ("*", "a", true),
            ("*", "a.b", false),
            ("*.*", "a", false),
            ("*.*", "a.b", true),
            ("*.*", "a.b.c", false),
            ("a.*", "a", false),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.*", "b.b", false),
            ("*.b", "a.b", true),
            ("*.b", "a.c", false),
            ("*.b", "b", false),
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.b.d", false),
            ("a.*.c", "a.c", false),
            ("a.*.c", "a.b.b.c", false),
            (">", "a", true),
            (">", "a.b.c.d", true),
            ("a.>", "a", false),
            ("a.>", "a.b", true),
            ("a.>", "a.b.c.d", true),
            ("a.>", "b.b", false),
            ("a.>", "ab.c", false),
            ("*.>", "a", false),
            ("*.>", "a.b", true),
            ("*.>", "a.b.c", true),
            ("a.*.>", "a.b", false),
            ("a.*.>", "a.b.c", true),
            ("*.b.>", "a.b.c", true),
            ("*.b.>", "a.c.c", false),
            ("a*", "ab", false),
            ("a*", "a*", true),
            ("a>", "a>", true),
            (">>", "a", false),
            ("**", "a", false),
            ("#hello", "#hello", true),
            ("#", "#hello", false),
            ("température.*", "température.été", true),
            ("temp\u{e9}rature", "tempe\u{301}rature", false),
            ("$SYS.>", "$SYS.a", true),
            ("*.a", "$SYS.a", true),
        ];
        for (filter, topic, expected) in rows {
            assert_eq!(matches(filter.as_bytes(), topic.as_bytes()), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn only_whole_tokens_are_wildcards() {
        assert!(has_wildcard(b"*") && has_wildcard(b"a.>") && has_wildcard(b"a.*.b"));
        assert!(!has_wildcard(b"a") && !has_wildcard(b"a*.>b"));
    }

    /// All filters, or all topics, of one to three tokens out of `words`.
    fn all_of(words: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut longest = all.clone();
        for _ in 0..2 {
            let longer = |begin: &String| -> Vec<String> {
                words.iter().map(|it| format!("{begin}.{it}")).collect()
            };
            longest = longest.iter().flat_map(longer).collect();
            all.extend(longest.clone());
        }
        all
    }

    #[test]
    fn inclusion_and_overlap_are_what_they_are_for_all_topics() {
        let topics = all_of(&["a", "b", "c"]);
        let mut filters = all_of(&["a", "b", "*", ">"]);
        filters.retain(|filter| validate_filter(filter.as_bytes()).is_ok());
        for one in filters.iter().map(String::as_bytes) {
            let matched = |filter| move |topic: &&String| matches(filter, topic.as_bytes());
            let of_one: Vec<_> = topics.iter().filter(matched(one)).collect();
            for other in filters.iter().map(String::as_bytes) {
                let both = of_one.iter().filter(|topic| matched(other)(topic)).count();
                let names = || format!("{:?}", [one, other].map(String::from_utf8_lossy));
                assert_eq!(overlaps(one, other), both > 0, "{}", names());
                // A tail also matches topics that are longer than those here.
                let has_tail = |filter: &[u8]| filter.ends_with(ANY_TAIL);
                let is_longer = has_tail(one) && !has_tail(other);
                assert_eq!(includes(other, one), both == of_one.len() && !is_longer, "{}", names());
            }
        }
    }
}
