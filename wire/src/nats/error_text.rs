//! The errors that a server tells NATS clients: their texts, to the letter.
//!
//! Owns the texts, and how names are quoted in them. Must not invent one: many clients never
//! connect again after a text that they do not know. Where none fits, the connection ends without a
//! word.

use std::fmt;

use super::LINE_END;

/// The longest text, in bytes. Clients cut off what is longer, or worse.
pub const MAX_TEXT_BYTES: usize = 250;
/// The most bytes for a queue group in a text that would be too long with all of its name.
const MAX_CUT_GROUP_BYTES: usize = 60;
/// The most bytes of a sid in any text.
const MAX_CUT_SID_BYTES: usize = 40;
/// Stands for the rest of a name that is too long. With it a name has an empty token, so that no
/// client takes it for another of its subscriptions.
const CUT: &str = "...";

/// What a client is told. Where a client may not do something, the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorText<'a> {
    /// The bytes are no line of the protocol.
    UnknownOperation,
    /// A control line is too long.
    ControlLineTooLong,
    /// A message is larger than the server takes.
    PayloadTooLarge,
    /// The credentials are wrong or missing, or the client wants an account.
    AuthorizationViolation,
    /// The credentials did not come in time.
    AuthenticationTimeout,
    /// The client did not answer PING in time.
    StaleConnection,
    /// CONNECT names a protocol that is not spoken.
    InvalidProtocol,
    /// CONNECT has `no_responders` without `headers`.
    NoRespondersNeedsHeaders,
    /// The server has as many connections as it takes.
    TooManyConnections,
    /// The connection has as many subscriptions as it may have. It goes on.
    TooManySubscriptions,
    /// The client did not begin TLS in time.
    TlsRequired,
    /// A filter breaks the grammar. The connection goes on.
    InvalidSubject,
    /// The subject of a message breaks the grammar, which a pedantic client wants to be told. The
    /// connection goes on.
    InvalidPublishSubject,
    /// The client may not publish to this subject.
    MayNotPublish(&'a [u8]),
    /// The client may not ask for answers at this subject.
    MayNotReply(&'a [u8]),
    /// The client may not subscribe to this.
    MayNotSubscribe {
        /// The subscription's filter.
        filter: &'a [u8],
        /// The name of its queue group.
        group: Option<&'a [u8]>,
        /// Why, if there is more to say.
        because: Option<Because<'a>>,
    },
}

/// Why a client may not subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because<'a> {
    /// The filter has too many tokens.
    TooManyTokens,
    /// It could, and its permissions have changed: the subscription with this sid is gone.
    Revoked(&'a [u8]),
}

impl ErrorText<'_> {
    /// Whether the connection ends with it.
    pub fn is_fatal(&self) -> bool {
        !matches!(
            self,
            ErrorText::TooManySubscriptions
                | ErrorText::InvalidSubject
                | ErrorText::InvalidPublishSubject
                | ErrorText::MayNotPublish(_)
                | ErrorText::MayNotReply(_)
                | ErrorText::MayNotSubscribe { .. }
        )
    }

    /// Appends the line with its end to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"-ERR '");
        out.extend_from_slice(self.to_string().as_bytes());
        out.push(b'\'');
        out.extend_from_slice(LINE_END);
    }

    fn fixed(&self) -> &'static str {
        match self {
            ErrorText::UnknownOperation => "Unknown Protocol Operation",
            ErrorText::ControlLineTooLong => "maximum control line exceeded",
            ErrorText::PayloadTooLarge => "Maximum Payload Violation",
            ErrorText::AuthorizationViolation => "Authorization Violation",
            ErrorText::AuthenticationTimeout => "Authentication Timeout",
            ErrorText::StaleConnection => "Stale Connection",
            ErrorText::InvalidProtocol => "invalid client protocol",
            ErrorText::NoRespondersNeedsHeaders => "no responders requires headers support",
            ErrorText::TooManyConnections => "maximum connections exceeded",
            ErrorText::TooManySubscriptions => "maximum subscriptions exceeded",
            ErrorText::TlsRequired => "Secure Connection - TLS Required",
            ErrorText::InvalidSubject => "Invalid Subject",
            ErrorText::InvalidPublishSubject => "Invalid Publish Subject",
            ErrorText::MayNotPublish(_) => "Permissions Violation for Publish to ",
            ErrorText::MayNotReply(_) => "Permissions Violation for Publish with Reply of ",
            ErrorText::MayNotSubscribe { .. } => "Permissions Violation for Subscription to ",
        }
    }
}

impl fmt::Display for ErrorText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fixed = self.fixed();
        f.write_str(fixed)?;
        let (name, group, because) = match *self {
            ErrorText::MayNotPublish(name) | ErrorText::MayNotReply(name) => (name, None, None),
            ErrorText::MayNotSubscribe { filter, group, because } => (filter, group, because),
            _ => return Ok(()),
        };
        let because = because.map_or_else(String::new, because_text);
        let left = MAX_TEXT_BYTES - fixed.len() - because.len();
        // Names are exact while all of them fit. The filter is what clients look for, so the group
        // is the first to be cut.
        let whole = quoted(name, usize::MAX).len() + group_text(group, usize::MAX).len();
        let group = group_text(group, if whole > left { MAX_CUT_GROUP_BYTES } else { left });
        write!(f, "{}{group}{because}", quoted(name, left - group.len()))
    }
}

/// What is said of a queue group, if there is one, in at most `most` bytes.
fn group_text(group: Option<&[u8]>, most: usize) -> String {
    let Some(group) = group else {
        return String::new();
    };
    let fixed = " using queue ";
    format!("{fixed}{}", quoted(group, most - fixed.len()))
}

fn because_text(because: Because<'_>) -> String {
    match because {
        Because::TooManyTokens => ", too many tokens".to_owned(),
        Because::Revoked(sid) => format!(" (sid {})", quoted(sid, MAX_CUT_SID_BYTES)),
    }
}

/// The name between double quotes, in at most `most` bytes. What is not Unicode or cannot be
/// printed is escaped: clients want each text to be UTF-8 on one line.
fn quoted(name: &[u8], most: usize) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => text.extend(['\\', character]),
                '\0'..='\x1F' | '\x7F' => text.push_str(&format!("\\x{:02x}", character as u32)),
                _ if character.is_control() => {
                    text.push_str(&format!("\\u{:04x}", character as u32));
                }
                _ => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    let quotes = 2;
    if text.len() > most - quotes {
        let room = most - quotes - CUT.len();
        let cut = (0..=room).rev().find(|&cut| text.is_char_boundary(cut));
        text.truncate(cut.unwrap_or(0));
        text.push_str(CUT);
    }
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(error: ErrorText) -> String {
        let mut out = Vec::new();
        error.write(&mut out);
        let line = String::from_utf8(out).expect("clients want UTF-8");
        let text = line.strip_prefix("-ERR '").and_then(|line| line.strip_suffix("'\r\n"));
        let text = text.expect("one blank, single quotes, CR LF").to_owned();
        assert!(text.len() <= MAX_TEXT_BYTES && !text.contains(char::is_control), "{text}");
        text
    }

    fn subscribe<'a>(filter: &'a str, group: Option<&'a str>) -> ErrorText<'a> {
        let (filter, group) = (filter.as_bytes(), group.map(str::as_bytes));
        ErrorText::MayNotSubscribe { filter, group, because: None }
    }

    #[test]
    fn texts_are_those_that_clients_compare_with() {
        use ErrorText::*;
        let tokens = Some(Because::TooManyTokens);
        let revoked = Some(Because::Revoked(b"1"));
        let rows = [
            (UnknownOperation, true, "Unknown Protocol Operation"),
            (ControlLineTooLong, true, "maximum control line exceeded"),
            (PayloadTooLarge, true, "Maximum Payload Violation"),
            (AuthorizationViolation, true, "Authorization Violation"),
            (AuthenticationTimeout, true, "Authentication Timeout"),
            (StaleConnection, true, "Stale Connection"),
            (InvalidProtocol, true, "invalid client protocol"),
            (NoRespondersNeedsHeaders, true, "no responders requires headers support"),
            (TooManyConnections, true, "maximum connections exceeded"),
            (TooManySubscriptions, false, "maximum subscriptions exceeded"),
            (TlsRequired, true, "Secure Connection - TLS Required"),
            (InvalidSubject, false, "Invalid Subject"),
            (InvalidPublishSubject, false, "Invalid Publish Subject"),
            (MayNotPublish(b"a.b"), false, "Permissions Violation for Publish to \"a.b\""),
            (MayNotReply(b"r.>"), false, "Permissions Violation for Publish with Reply of \"r.>\""),
            (subscribe("a.*", None), false, "Permissions Violation for Subscription to \"a.*\""),
            (
                subscribe("a", Some("q")),
                false,
                "Permissions Violation for Subscription to \"a\" using queue \"q\"",
            ),
            (
                MayNotSubscribe { filter: b"a.b.c.d", group: None, because: tokens },
                false,
                "Permissions Violation for Subscription to \"a.b.c.d\", too many tokens",
            ),
            (
                MayNotSubscribe { filter: b"a", group: Some(b"q"), because: revoked },
                false,
                "Permissions Violation for Subscription to \"a\" using queue \"q\" (sid \"1\")",
            ),
        ];
        for (error, is_fatal, expected) in rows {
            assert_eq!((text(error).as_str(), error.is_fatal()), (expected, is_fatal));
        }
    }

    #[test]
    fn names_are_quoted_so_that_the_text_is_one_line_of_utf8() {
        let rows: [(&[u8], &str); 6] = [
            (b"a\"b\\c", r#""a\"b\\c""#),
            (b"\x01\x1F\x7F", r#""\x01\x1f\x7f""#),
            (b"a\xFF\xC3", r#""a\xff\xc3""#),
            ("\u{e9}\u{80}".as_bytes(), "\"\u{e9}\\u0080\""),
            (b"it's", "\"it's\""),
            (b"", "\"\""),
        ];
        for (name, expected) in rows {
            let publish = text(ErrorText::MayNotPublish(name));
            assert_eq!(publish, format!("Permissions Violation for Publish to {expected}"));
        }
    }

    #[test]
    fn names_are_exact_while_they_fit_and_cut_when_not() {
        // What is left of a text for the name between its quotes.
        let room = MAX_TEXT_BYTES - "Permissions Violation for Subscription to \"\"".len();
        for length in [1, room - 1, room] {
            let name = "x".repeat(length);
            let quoted = format!("Subscription to \"{name}\"");
            assert!(text(subscribe(&name, None)).ends_with(&quoted), "{length}");
        }
        for name in ["x".repeat(room + 1), "x".repeat(4_096), "\u{e9}".repeat(room)] {
            let cut = text(subscribe(&name, None));
            assert!(cut.ends_with("...\"") && cut.len() > MAX_TEXT_BYTES - 3, "{cut}");
        }
    }

    #[test]
    fn a_group_is_cut_before_the_filter() {
        let room = MAX_TEXT_BYTES
            - "Permissions Violation for Subscription to \"\" using queue \"\"".len();
        let (filter, group) = ("x".repeat(100), "q".repeat(room - 100));
        let whole = text(subscribe(&filter, Some(&group)));
        assert!(whole.ends_with(&format!("\"{filter}\" using queue \"{group}\"")), "{whole}");
        let cut = text(subscribe(&filter, Some(&"q".repeat(255))));
        assert!(cut.contains(&format!("\"{filter}\" using queue \"qqq")), "{cut}");
        assert!(cut.ends_with("q...\""), "{cut}");
        let both = ErrorText::MayNotSubscribe {
            filter: &[0xFF; 1_024],
            group: Some(&[b'\\'; 255]),
            because: Some(Because::Revoked(&[1; 4_000])),
        };
        assert!(text(both).ends_with("...\")"));
    }
}
