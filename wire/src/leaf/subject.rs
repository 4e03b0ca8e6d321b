//! Subjects and filters that come over a link: which of them we carry, and which are the servers'
//! own.
//!
//! Owns the names that NATS servers use among themselves. Must not decide what is done about a
//! subject. NATS allows more than [`crate::topic`] has: other leaf nodes can send subjects of
//! 60,000 bytes, or such as are not UTF-8.

use crate::nats::subject as nats;
use crate::topic::{self, TopicError, has_wildcard};

/// Begins a reply by which a message of a stream is acknowledged.
const ACK_PREFIX: &[u8] = b"$JS.ACK.";
/// The dots in it, behind which a subject may follow.
const ACK_DOTS: usize = 8;
/// Stands between it and that subject.
const ACK_MARK: u8 = b'@';
/// Begins the subject by which a cluster finds out that a way leads back to it.
pub const LOOP_MARK_PREFIX: &[u8] = b"$LDS.";
/// Begins a reply that has come from another cluster.
pub(super) const GATEWAY_REPLY_PREFIX: &[u8] = b"_GR_.";
/// The same as old servers have it.
pub(super) const OLD_GATEWAY_REPLY_PREFIX: &[u8] = b"$GR.";
/// Begins a reply that has come from another account.
const ACCOUNT_REPLY_PREFIX: &[u8] = b"_R_.";
/// What begins subjects of servers alone.
const SERVER_PREFIXES: [&[u8]; 4] =
    [b"$SYS.", LOOP_MARK_PREFIX, OLD_GATEWAY_REPLY_PREFIX, b"$JS.EVENT."];
/// What begins replies on their way.
const REPLY_PREFIXES: [&[u8]; 2] = [GATEWAY_REPLY_PREFIX, ACCOUNT_REPLY_PREFIX];

/// Whether the subject of a message is a topic here. Else the message is dropped and counted: no
/// subscriber can have a filter that matches it.
///
/// # Errors
/// The rule of topics that it breaks.
pub fn check_subject(subject: &[u8]) -> Result<(), TopicError> {
    topic::validate_topic(subject)
}

/// Whether a filter of the hub's can match a topic of ours, so that it is worth keeping. A filter
/// that breaks the grammar of ours never does: what it matches would break the same rule.
///
/// # Errors
/// The rule of filters that it breaks.
pub fn check_filter(filter: &[u8]) -> Result<(), TopicError> {
    topic::validate_filter(filter)
}

/// Whether a reply can cross the link: it is one that NATS clients may be given, and no mark of the
/// line that it stands on.
pub fn is_reply_carried(reply: &[u8]) -> bool {
    !matches!(reply, b"+" | b"|") && nats::is_reply_carried(reply)
}

/// Whether the subject is the mark by which a cluster finds loops. As interest of the hub it is
/// kept apart: it is neither told to anybody nor sent back.
pub fn is_loop_mark(subject: &[u8]) -> bool {
    subject.strip_prefix(LOOP_MARK_PREFIX).is_some_and(|id| !id.is_empty())
}

/// Whether interest of the hub is that of servers: users are not told of it, and it does not count
/// as a receiver of what they send. Filters of replies count only with a wildcard; without one they
/// are an inbox, which somebody waits at. What answers to such a reply is sent in either case.
pub fn is_internal_interest(filter: &[u8]) -> bool {
    let begins = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| filter.starts_with(prefix));
    begins(&SERVER_PREFIXES) || begins(&REPLY_PREFIXES) && has_wildcard(filter)
}

/// Whether a message with this subject is the servers' own, so that users are not given it through
/// a wildcard.
pub fn is_internal_subject(subject: &[u8]) -> bool {
    SERVER_PREFIXES.iter().chain(&REPLY_PREFIXES).any(|prefix| subject.starts_with(prefix))
}

/// The parts of a reply under which a stream delivers: where to acknowledge the message, which is
/// the reply to show, and the subject to show in place of the line's. `None`: it is another reply.
///
/// The hub leaves the cut to whoever is last on the way. A message that is acknowledged under the
/// uncut name counts as not acknowledged.
pub fn jetstream_reply(reply: &[u8]) -> Option<(&[u8], &[u8])> {
    if !reply.starts_with(ACK_PREFIX) {
        return None;
    }
    let mut dots = reply.iter().enumerate().filter(|&(_, &byte)| byte == b'.');
    let (last_dot, _) = dots.nth(ACK_DOTS - 1)?;
    let mark = last_dot + reply[last_dot..].iter().position(|&byte| byte == ACK_MARK)?;
    let (ack, shown) = (&reply[..mark], &reply[mark + 1..]);
    (!shown.is_empty()).then_some((ack, shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_of_the_hub_are_carried_if_they_are_topics() {
        let long = "x".repeat(1_024);
        let longer = "x".repeat(1_025);
        let longest = "x".repeat(60_000);
        let many = vec!["t"; 128].join(".");
        let more = vec!["t"; 129].join(".");
        let rows: [(&[u8], bool, bool); 14] = [
            (b"a.b", true, true),
            (b"$JS.API.INFO", true, true),
            (long.as_bytes(), true, true),
            (many.as_bytes(), true, true),
            ("caf\u{e9}".as_bytes(), true, true),
            (longer.as_bytes(), false, false),
            (longest.as_bytes(), false, false),
            (more.as_bytes(), false, false),
            (b"a\xFF", false, false),
            (b"a\x01", false, false),
            (b"a..b", false, false),
            (b"", false, false),
            (b"a.*", false, true),
            (b">", false, true),
        ];
        for (subject, as_subject, as_filter) in rows {
            let name = subject.escape_ascii();
            assert_eq!(check_subject(subject).is_ok(), as_subject, "{name}");
            assert_eq!(check_filter(subject).is_ok(), as_filter, "{name}");
        }
    }

    #[test]
    fn replies_are_no_marks() {
        for reply in [b"_INBOX.a".as_slice(), b"++", b"+.|", b"*", b"a..b"] {
            assert!(is_reply_carried(reply), "{}", reply.escape_ascii());
        }
        for reply in [b"+".as_slice(), b"|", b"", b"a\xFF", b"a\0", &[b'a'; 1_025]] {
            assert!(!is_reply_carried(reply), "{}", reply.escape_ascii());
        }
    }

    #[test]
    fn a_stream_names_the_subject_behind_the_acknowledgement() {
        let ack = b"$JS.ACK.ORDERS.c1.1.5.5.1764163411382061000.0";
        let reply = |rest: &[u8]| [ack.as_slice(), rest].concat();
        assert_eq!(jetstream_reply(ack), None);
        assert_eq!(jetstream_reply(&reply(b"@")), None);
        assert_eq!(jetstream_reply(&reply(b"@a.b")), Some((ack.as_slice(), b"a.b".as_slice())));
        assert_eq!(jetstream_reply(&reply(b"@a@b.@")), Some((ack.as_slice(), &b"a@b.@"[..])));
        // Later servers may put in more words, and names of streams may hold the mark.
        let long = b"$JS.ACK.dom.acc.S@.c@d.1.5.5.17.0.x@a";
        let (at, _) = long.split_at(long.len() - 2);
        assert_eq!(jetstream_reply(long), Some((at, b"a".as_slice())));
        for other in ["", "$JS.ACK", "$JS.ACK.@a", "$JS.ACK.S.c.1.5.5.17@0", "$JS.API.a@b", "@"] {
            assert_eq!(jetstream_reply(other.as_bytes()), None, "{other}");
        }
        let other = "x$JS.ACK.S.c.1.5.5.17.0@a";
        assert_eq!(jetstream_reply(other.as_bytes()), None);
    }

    #[test]
    fn what_servers_use_among_themselves_is_told_apart() {
        let rows = [
            ("$SYS.REQ.USER.INFO", true, true),
            ("$SYS.>", true, true),
            ("$LDS.Ab12", true, true),
            ("$GR.x.>", true, true),
            ("$JS.EVENT.>", true, true),
            ("$JS.EVENT.ADVISORY.API", true, true),
            ("_GR_.>", true, true),
            ("_R_.>", true, true),
            ("_R_.ab.*", true, true),
            ("_GR_.x.y._INBOX.1", false, true),
            ("_R_.ab.cd", false, true),
            ("$JS.API.>", false, false),
            ("$JS.ACK.S.c.>", false, false),
            ("$JS.EVENTS.a", false, false),
            ("$KV.bucket.key", false, false),
            ("_INBOX.*", false, false),
            ("$SYS", false, false),
            (">", false, false),
            ("a", false, false),
        ];
        for (filter, interest, subject) in rows {
            assert_eq!(is_internal_interest(filter.as_bytes()), interest, "{filter}");
            assert_eq!(is_internal_subject(filter.as_bytes()), subject, "{filter}");
        }
        assert!(is_loop_mark(b"$LDS.Ab12"));
        assert!(!is_loop_mark(b"$LDS.") && !is_loop_mark(b"$LDS") && !is_loop_mark(b"a.$LDS.b"));
    }
}
