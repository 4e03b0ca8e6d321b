//! A Rust file as the rules see it: its text, and its code without comments and literals.

/// One Rust file.
pub(crate) struct Source {
    /// From the repository's root.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// The text with comments, strings and characters blanked; all else is where it was.
    pub(crate) code: String,
    /// Where comments begin, in bytes.
    pub(crate) comments: Vec<usize>,
    /// It is a module that another file declares for tests only.
    pub(crate) test_only: bool,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        let mut comments = Vec::new();
        let code = blank(text, &mut comments);
        let (path, text) = (path.to_owned(), text.to_owned());
        Source { path, text, code, comments, test_only: false }
    }

    /// What is said about the line at this byte of the code.
    pub(crate) fn complain(&self, at: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, line_at(&self.code, at))
    }

    /// Whether the code at this byte is only built for tests.
    pub(crate) fn in_tests(&self, at: usize) -> bool {
        self.test_only || self.tests().iter().any(|range| range.contains(&at))
    }

    /// The modules in files of their own that this one declares for tests only: the paths of
    /// those files, without `.rs`.
    pub(crate) fn test_modules(&self) -> Vec<String> {
        let directory = self.path.trim_end_matches(".rs");
        let directory = directory.strip_suffix("/mod").unwrap_or(directory);
        let declared = |range: std::ops::Range<usize>| {
            let name = self.code[range].strip_suffix(';')?.rsplit_once("mod ")?.1;
            Some(format!("{directory}/{}", name.trim()))
        };
        self.tests().into_iter().filter_map(declared).collect()
    }

    /// Byte ranges of the code that are only built for tests.
    fn tests(&self) -> Vec<std::ops::Range<usize>> {
        let starts = ["#[cfg(test)]", "#[test]"].into_iter();
        let found = starts.flat_map(|mark| self.code.match_indices(mark));
        found.map(|(start, _)| start..item_end(&self.code, start)).collect()
    }
}

/// The line of a byte, from 1.
pub(crate) fn line_at(code: &str, at: usize) -> usize {
    1 + code[..at].matches('\n').count()
}

/// Whether the byte before `at` ends an identifier, so that none can begin there.
pub(crate) fn inside_word(code: &str, at: usize) -> bool {
    let before = code[..at].chars().next_back();
    before.is_some_and(|c| c.is_alphanumeric() || c == '_')
}

/// The identifier that begins at `at`; empty if none does.
pub(crate) fn word_at(code: &str, at: usize) -> &str {
    let rest = &code[at..];
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    &rest[..end.unwrap_or(rest.len())]
}

/// Where the item that begins at `start` ends: behind its block or its semicolon.
pub(crate) fn item_end(code: &str, start: usize) -> usize {
    let mut nested = 0;
    for (at, c) in code[start..].char_indices() {
        match c {
            '(' | '[' => nested += 1,
            ')' | ']' => nested -= 1,
            ';' if nested == 0 => return start + at + 1,
            '{' if nested == 0 => return block_end(code, start + at),
            _ => {}
        }
    }
    code.len()
}

/// Behind the brace that closes the one at `open`.
pub(crate) fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return open + at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Blanks comments and literals, and notes where comments begin. Every other character stays at its
/// byte.
fn blank(text: &str, comments: &mut Vec<usize>) -> String {
    let mut code = String::with_capacity(text.len());
    while code.len() < text.len() {
        let at = code.len();
        let rest = &text[at..];
        let skipped = if rest.starts_with("//") {
            comments.push(at);
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comments.push(at);
            block_comment(rest)
        } else if let Some(hashes) = raw_string(rest).filter(|_| !inside_word(&code, at)) {
            raw_string_len(rest, hashes)
        } else if rest.starts_with('"') {
            quoted(rest, '"')
        } else if rest.starts_with('\'') {
            character(rest)
        } else {
            0
        };
        if skipped == 0 {
            code.extend(rest.chars().next());
        } else {
            blank_out(&rest[..skipped], &mut code);
        }
    }
    code
}

/// As many bytes as `text` has, of which only the ends of lines are left.
fn blank_out(text: &str, code: &mut String) {
    code.extend(text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
}

/// Length of a block comment; they nest.
fn block_comment(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let (mut depth, mut at) = (0, 0);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" if depth == 1 => return at + 2,
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

/// The number of `#` of the raw string that begins here.
fn raw_string(rest: &str) -> Option<usize> {
    let behind = ["r", "br", "cr"].iter().find_map(|prefix| {
        let rest = rest.strip_prefix(prefix)?;
        rest.starts_with(['#', '"']).then_some(rest)
    })?;
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    behind[hashes..].starts_with('"').then_some(hashes)
}

fn raw_string_len(rest: &str, hashes: usize) -> usize {
    let open = rest.find('"').map_or(rest.len(), |quote| quote + 1);
    let close = format!("\"{}", "#".repeat(hashes));
    rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len())
}

/// Length of what is quoted, up to and with the first quote that is not escaped.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Length of a character literal; 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => quoted(rest, '\''),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

#[test]
fn comments_and_literals_are_blanked_and_all_else_stays() {
    let rows = [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c\n */ d */ e", "a          \n         e"),
        (r#"a "b // c" d"#, "a          d"),
        (r#"a "\"" b"#, "a      b"),
        (r#"b"x" c"#, "b    c"),
        ("r\"\\\" a", "     a"),
        ("br#\"x\" y\"# a", "           a"),
        ("r#type a", "r#type a"),
        ("for\"x\"", "for   "),
        ("'a' b", "    b"),
        ("'\\'' b", "     b"),
        ("'\\u{1F}' b", "         b"),
        ("'é' b", "     b"),
        ("<'a> &'a b", "<'a> &'a b"),
        ("'{' {", "    {"),
        ("'\"' \"}\" {", "        {"),
    ];
    for (text, code) in rows {
        assert_eq!(blank(text, &mut Vec::new()), code, "{text}");
    }
}

#[test]
fn test_code_is_found() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { '}'; }\n}\n#[test]\nfn c() {}\n";
    let source = Source::new("src/x.rs", text);
    let inside = |what: &str| {
        let at = text.find(what).unwrap();
        source.in_tests(at)
    };
    assert!(!inside("fn a") && inside("fn b") && inside("fn c"));
    let alone = Source::new("src/x.rs", "#[cfg(test)]\nmod tests;\nfn a() {}\n");
    assert_eq!(alone.tests(), vec![0..23]);
}

#[test]
fn test_modules_in_other_files_are_found() {
    let text = "#[cfg(test)]\nmod simulation;\npub mod stats;\n#[cfg(test)]\nmod tests {}\n";
    let parent = Source::new("src/broker/mod.rs", text);
    assert_eq!(parent.test_modules(), ["src/broker/simulation"]);
    let parent = Source::new("src/x.rs", "#[cfg(test)]\npub(crate) mod tests;\n");
    assert_eq!(parent.test_modules(), ["src/x/tests"]);
    let mut alone = Source::new("src/x/tests.rs", "fn f() {}\n");
    assert!(!alone.in_tests(0));
    alone.test_only = true;
    assert!(alone.in_tests(0));
}
