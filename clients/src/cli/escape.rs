//! Makes text from other programs harmless for a terminal.
//!
//! Owns which characters can control a terminal or make a line look like another. Whether output
//! goes to a terminal is decided elsewhere.

/// Appends `text` with every control character but the tab, every byte that is not UTF-8 and every
/// change of writing direction replaced by an escape such as `\x1b`.
pub(super) fn push_harmless(out: &mut Vec<u8>, text: &[u8]) {
    push_escaped(out, text, |character| character == '\t');
}

/// As [`push_harmless`], but leaves line feeds as they are.
pub(super) fn push_harmless_lines(out: &mut Vec<u8>, text: &[u8]) {
    push_escaped(out, text, |character| matches!(character, '\t' | '\n'));
}

/// Appends JSON text with the characters that JSON allows and terminals obey in JSON's own escapes,
/// which mean the same.
pub(super) fn push_harmless_json(out: &mut Vec<u8>, json: &str) {
    let mut buffer = [0; 4];
    for character in json.chars() {
        if drives_terminal(character) {
            out.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
        } else {
            out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        }
    }
}

fn push_escaped(out: &mut Vec<u8>, text: &[u8], keep: impl Fn(char) -> bool) {
    let mut buffer = [0; 4];
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            if keep(character) || !drives_terminal(character) {
                out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
            } else if character.is_ascii() {
                out.extend(std::ascii::escape_default(character as u8));
            } else {
                out.extend_from_slice(character.escape_unicode().to_string().as_bytes());
            }
        }
        out.extend(chunk.invalid().escape_ascii());
    }
}

fn drives_terminal(character: char) -> bool {
    let changes_direction = matches!(
        character,
        '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
    );
    // `is_control` knows the C1 controls too, which some terminals obey.
    character.is_control() || changes_direction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drives_a_terminal_is_escaped_and_the_rest_is_kept() {
        let rows: [(&[u8], &str); 8] = [
            (b"plain \\ text", "plain \\ text"),
            ("größe ✓".as_bytes(), "größe ✓"),
            (b"\x1b[2J\x07", "\\x1b[2J\\x07"),
            (b"a\tb\nc\r", "a\tb\\nc\\r"),
            (b"\x7f\0", "\\x7f\\x00"),
            ("\u{9b}31m".as_bytes(), "\\u{9b}31m"),
            ("\u{202E}abc".as_bytes(), "\\u{202e}abc"),
            (b"\xFF\xC3", "\\xff\\xc3"),
        ];
        for (text, expected) in rows {
            let mut out = Vec::new();
            push_harmless(&mut out, text);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
        let mut out = Vec::new();
        push_harmless_lines(&mut out, b"a\n\x1b");
        assert_eq!(out, b"a\n\\x1b");
    }

    #[test]
    fn json_means_the_same_when_it_is_made_harmless() {
        let json = serde_json::to_string("\u{7f}\u{9b}2J é").unwrap();
        let mut out = Vec::new();
        push_harmless_json(&mut out, &json);
        assert_eq!(out, "\"\\u007f\\u009b2J é\"".as_bytes());
        let back: String = serde_json::from_slice(&out).unwrap();
        assert_eq!(back, "\u{7f}\u{9b}2J é");
    }
}
