//! The template of `--format`: parsed once, then filled in for each message.
//!
//! Owns the letters behind `%` and `\`. The clock is the caller's.

use std::io::Write;

use jiff::Timestamp;

use pubsub_client::Message;

use super::escape::push_harmless;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Topic,
    Payload,
    Hex,
    Length,
    Number,
    UnixTime,
    IsoTime,
}

/// What the template prints that is not in the message.
pub(super) struct Facts {
    /// Its number, from 1.
    pub(super) number: u64,
    /// Whether it goes to a terminal.
    pub(super) terminal: bool,
}

impl Template {
    /// Parses a template; the error says what in it is not valid.
    pub(super) fn parse(text: &str) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '%' => pieces.push(directive(characters.next())?),
                '\\' => push_text(&mut pieces, escape(characters.next())?),
                other => push_text(&mut pieces, other),
            }
        }
        Ok(Template(pieces))
    }

    /// Appends the filled-in template. The clock is only asked if the template names the time.
    pub(super) fn render(
        &self,
        message: &Message<'_>,
        facts: &Facts,
        now: impl Fn() -> Timestamp,
        out: &mut Vec<u8>,
    ) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Topic => push_bytes(out, message.topic.as_bytes(), facts),
                Piece::Payload => push_bytes(out, message.payload, facts),
                Piece::Hex => message.payload.iter().for_each(|byte| push_hex(out, *byte)),
                Piece::Length => push_display(out, message.payload.len()),
                Piece::Number => push_display(out, facts.number),
                Piece::UnixTime => push_unix_time(out, now()),
                Piece::IsoTime => push_display(out, iso_time(now())),
            }
        }
    }
}

/// Reads a template and fills it in for one message, at the epoch: all that fuzzing needs of it.
///
/// # Errors
/// What in the template is not understood.
pub fn fill_in(
    template: &str,
    topic: &str,
    payload: &[u8],
    terminal: bool,
) -> Result<Vec<u8>, String> {
    let template = Template::parse(template)?;
    let mut out = Vec::new();
    let facts = Facts { number: 1, terminal };
    template.render(&Message::new(topic, payload), &facts, || Timestamp::UNIX_EPOCH, &mut out);
    Ok(out)
}

/// The time as in `2024-05-01T12:00:00.000000000Z`: of constant length, in UTC.
pub(super) fn iso_time(time: Timestamp) -> String {
    format!("{time:.9}")
}

fn directive(letter: Option<char>) -> Result<Piece, String> {
    Ok(match letter {
        Some('t') => Piece::Topic,
        Some('p') => Piece::Payload,
        Some('x') => Piece::Hex,
        Some('l') => Piece::Length,
        Some('i') => Piece::Number,
        Some('U') => Piece::UnixTime,
        Some('I') => Piece::IsoTime,
        Some('%') => Piece::Text(b"%".to_vec()),
        other => {
            return Err(format!(
                "\"%{}\" is not known; there are %t %p %x %l %i %U %I and %%",
                other.map(String::from).unwrap_or_default()
            ));
        }
    })
}

fn escape(letter: Option<char>) -> Result<char, String> {
    Ok(match letter {
        Some('n') => '\n',
        Some('t') => '\t',
        Some('0') => '\0',
        Some('\\') => '\\',
        other => {
            return Err(format!(
                "\"\\{}\" is not known; there are \\n \\t \\0 and \\\\",
                other.map(String::from).unwrap_or_default()
            ));
        }
    })
}

fn push_text(pieces: &mut Vec<Piece>, character: char) {
    let mut buffer = [0; 4];
    let bytes = character.encode_utf8(&mut buffer).as_bytes();
    match pieces.last_mut() {
        Some(Piece::Text(text)) => text.extend_from_slice(bytes),
        _ => pieces.push(Piece::Text(bytes.to_vec())),
    }
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8], facts: &Facts) {
    if facts.terminal {
        push_harmless(out, bytes);
    } else {
        out.extend_from_slice(bytes);
    }
}

fn push_hex(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 15)]);
}

fn push_unix_time(out: &mut Vec<u8>, time: Timestamp) {
    let nanoseconds = time.as_nanosecond().max(0);
    let (seconds, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    push_display(out, format_args!("{seconds}.{rest:09}"));
}

fn push_display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, payload: &[u8], terminal: bool) -> String {
        let topic = "orders.eu";
        let facts = Facts { number: 7, terminal };
        let mut out = Vec::new();
        let now = || Timestamp::new(1_700_000_000, 5_000).unwrap();
        let template = Template::parse(template).unwrap();
        template.render(&Message::new(topic, payload), &facts, now, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_directive_is_filled_in() {
        let rows = [
            ("%t|%p|%x|%l|%i|%%", "orders.eu|hi!|686921|3|7|%"),
            ("%U", "1700000000.000005000"),
            ("%I", "2023-11-14T22:13:20.000005000Z"),
            ("a\\nb\\tc\\0d\\\\", "a\nb\tc\0d\\"),
            ("", ""),
            ("%%p é %l", "%p é 3"),
        ];
        for (template, expected) in rows {
            assert_eq!(render(template, b"hi!", false), expected, "{template}");
        }
    }

    #[test]
    fn only_the_message_is_made_harmless_for_a_terminal() {
        assert_eq!(render("\\n%p\\t", b"\x1b\n", true), "\n\\x1b\\n\t");
        assert_eq!(render("%p", b"\x1b\n", false), "\x1b\n");
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (template, expected) in [
            ("%z", "\"%z\" is not known"),
            ("100%", "\"%\" is not known"),
            ("\\q", "\"\\q\" is not known"),
            ("\\", "\"\\\" is not known"),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
