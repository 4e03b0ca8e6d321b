//! How a file looks: width, length of functions, its opening, and what it must not mention.

use super::code::{Source, inside_word, item_end, line_at, word_at};

/// Columns that a line may have.
const WIDTH: usize = 100;
/// Lines that a function may have, from its `fn` to its last brace.
const FUNCTION_LINES: usize = 70;

/// Lines that are too wide.
pub(crate) fn width(source: &Source) -> Vec<String> {
    let columns = |(number, line): (usize, &str)| {
        let columns = line.chars().count();
        let path = &source.path;
        (columns > WIDTH).then(|| format!("{path}:{number}: {columns} columns, at most {WIDTH}"))
    };
    (1..).zip(source.text.lines()).filter_map(columns).collect()
}

/// A file of a program or library that does not say what it is.
pub(crate) fn opening(source: &Source) -> Vec<String> {
    let is_ours = source.path.starts_with("src/") || source.path.starts_with("clients/");
    if is_ours && !source.text.starts_with("//!") {
        return vec![format!("{}:1: a file opens with //! and what it owns", source.path)];
    }
    Vec::new()
}

/// Functions that are too long.
pub(crate) fn function_length(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in source.code.match_indices("fn ") {
        let name = word_at(&source.code, at + 3);
        if name.is_empty() || inside_word(&source.code, at) {
            continue;
        }
        let end = item_end(&source.code, at);
        let lines = line_at(&source.code, end) - line_at(&source.code, at) + 1;
        if lines > FUNCTION_LINES {
            let what = format!("fn {name} has {lines} lines, at most {FUNCTION_LINES}");
            found.push(source.complain(at, &what));
        }
    }
    found
}

/// `unwrap` outside tests without a comment on its line or the one before.
pub(crate) fn unwraps(source: &Source) -> Vec<String> {
    let in_program = source.path.starts_with("src/") || source.path.starts_with("clients/src/");
    if !in_program {
        return Vec::new();
    }
    let comments = source.comments.iter();
    let comments: Vec<usize> = comments.map(|at| line_at(&source.code, *at)).collect();
    let mut found = Vec::new();
    for (at, _) in source.code.match_indices(".unwrap()") {
        let line = line_at(&source.code, at);
        let explained = comments.contains(&line) || comments.contains(&(line - 1));
        if !explained && !source.in_tests(at) {
            found.push(source.complain(at, "unwrap without the reason why it cannot fail"));
        }
    }
    found
}

/// Names of what lies outside the project and must not be mentioned in it.
pub(crate) fn foreign_names(path: &str, text: &str) -> Vec<String> {
    // Put together here, so that this file does not mention them either.
    let names = [
        ["sha", "red/"].concat(),
        ["PROTO", "COL.md"].concat(),
        ["DES", "IGN.md"].concat(),
        ["STY", "LE.md"].concat(),
    ];
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for name in names.iter().filter(|name| line.contains(name.as_str())) {
            found.push(format!("{path}:{number}: {name} is not part of the project"));
        }
    }
    found
}

/// How many complaints a rule has about a file with this text.
#[cfg(test)]
fn complaints(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
    rule(&Source::new(path, text)).len()
}

#[test]
fn a_line_of_101_columns_is_found() {
    let rows = [("x".repeat(100), 0), ("x".repeat(101), 1), ("é".repeat(100), 0)];
    for (line, expected) in rows {
        assert_eq!(complaints(width, "tests/x.rs", &format!("\n{line}\n")), expected);
    }
}

#[test]
fn a_file_that_does_not_say_what_it_is_is_found() {
    assert_eq!(complaints(opening, "src/x.rs", "// x\n"), 1);
    assert_eq!(complaints(opening, "clients/src/bin/x.rs", "use std::fs;\n"), 1);
    assert_eq!(complaints(opening, "src/x.rs", "//! x\n"), 0);
    assert_eq!(complaints(opening, "fuzz/x.rs", "fn main() {}\n"), 0);
}

#[test]
fn a_function_of_71_lines_is_found() {
    let function = |lines: usize, line: &str| {
        let body = format!("{line}\n").repeat(lines - 2);
        format!("impl X {{\npub fn f<'a>(x: [u8; 3]) -> &'a str {{\n{body}}}\nfn g();\n}}\n")
    };
    let lines =
        ["x();", "let a = '{';", "let s = \"{ // \\\" {\";", "// {", "/* } */ {}", "r#\"}\"#;"];
    for line in lines {
        assert_eq!(complaints(function_length, "src/x.rs", &function(70, line)), 0, "{line}");
        assert_eq!(complaints(function_length, "src/x.rs", &function(71, line)), 1, "{line}");
    }
    let two = function(71, "x();").repeat(2);
    assert_eq!(complaints(function_length, "src/x.rs", &two), 2);
    let pointer = format!("type F = fn (u8);\nfn f() {{}}\n{}", "const A: u8 = 1;\n".repeat(80));
    assert_eq!(complaints(function_length, "src/x.rs", &pointer), 0);
}

#[test]
fn an_unwrap_without_a_reason_is_found() {
    let rows = [
        ("src/x.rs", "fn f() { x.unwrap(); }", 1),
        ("clients/src/lib.rs", "fn f() {\n let a = \"// no comment\"; x.unwrap();\n}", 1),
        ("src/x.rs", "fn f() { x.unwrap(); } // two bytes fit\n", 0),
        ("src/x.rs", "fn f() {\n // two bytes fit\n x.unwrap();\n}", 0),
        ("src/x.rs", "fn f() { x.unwrap_or(1); \".unwrap()\"; }", 0),
        ("src/x.rs", "#[cfg(test)]\nmod tests {\n fn f() {\n x.unwrap();\n }\n}", 0),
        ("src/x.rs", "#[cfg(test)]\nmod tests {\n}\n\nfn f() {\n x.unwrap();\n}", 1),
        ("tests/x.rs", "fn f() { x.unwrap(); }", 0),
    ];
    for (path, text, expected) in rows {
        assert_eq!(complaints(unwraps, path, text), expected, "{path}: {text}");
    }
}

#[test]
fn a_foreign_name_is_found() {
    let text = ["see /work/sha", "red/x\nand the pro", "tocol\n"].concat();
    assert_eq!(foreign_names("README.md", &text).len(), 1);
    assert_eq!(foreign_names("README.md", "docs/protocol.md, shared: yes").len(), 0);
}
