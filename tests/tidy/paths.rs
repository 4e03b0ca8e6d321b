//! The paths into this crate that a file's code names, written out from the crate's root.

use super::code::{Source, block_end, inside_word, word_at};

/// A path from the crate's root, and the byte of the code where it begins.
pub(crate) type Named = (usize, Vec<String>);

/// The module that a file of `src/` is.
pub(crate) fn module(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
    let last = module.last().map(String::as_str);
    let alone = module.len() == 1;
    if last == Some("mod") || (alone && matches!(last, Some("lib" | "main"))) {
        module.pop();
    }
    Some(module)
}

/// All paths that begin with `crate`, `self` or `super`, groups in braces taken apart. A path that
/// takes everything ends in `*`.
pub(crate) fn named(source: &Source, module: &[String]) -> Vec<Named> {
    let mut found = Vec::new();
    for first in ["crate", "self", "super"] {
        for (at, _) in source.code.match_indices(first) {
            let behind = at + first.len();
            let whole = word_at(&source.code, at) == first && !inside_word(&source.code, at);
            let begins = whole && !source.code[..at].trim_end().ends_with("::");
            if begins && source.code[behind..].trim_start().starts_with("::") {
                let mut inner = module.to_vec();
                inner.extend(inline_modules(&source.code, at));
                let mut relative = Vec::new();
                tree(&source.code, at, &mut Vec::new(), &mut relative);
                found.extend(relative.into_iter().map(|path| (at, resolve(&inner, &path))));
            }
        }
    }
    found
}

/// Names of the modules with a block that `at` is in, outermost first.
fn inline_modules(code: &str, at: usize) -> Vec<String> {
    let mut names = Vec::new();
    for (start, _) in code[..at].match_indices("mod ") {
        if inside_word(code, start) {
            continue;
        }
        let name = word_at(code, start + 4);
        let behind = start + 4 + name.len();
        let open = behind + code[behind..].len() - code[behind..].trim_start().len();
        if code[open..].starts_with('{') && block_end(code, open) > at {
            names.push(name.to_owned());
        }
    }
    names
}

/// Reads a path or a tree of `use` at `at`; adds all that it names. Gives where it ends.
fn tree(code: &str, at: usize, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let depth = prefix.len();
    let mut at = skip_space(code, at);
    loop {
        if code[at..].starts_with('{') {
            at += 1;
            loop {
                at = skip_space(code, at);
                match code[at..].chars().next() {
                    Some(',') => at += 1,
                    Some('}') | None => break,
                    Some(_) => at = tree(code, at, prefix, found).max(at + 1),
                }
            }
            at = (at + 1).min(code.len());
            break;
        }
        let star = code[at..].starts_with('*');
        let word = if star { "*" } else { word_at(code, at) };
        // `self` in a group is what stands before the group.
        if word != "self" || prefix.is_empty() {
            prefix.push(word.to_owned());
        }
        at += word.len();
        let next = skip_space(code, at);
        if word.is_empty() || !code[next..].starts_with("::") {
            found.push(prefix.clone());
            break;
        }
        at = skip_space(code, next + 2);
    }
    prefix.truncate(depth);
    // `as name` behind a path.
    let next = skip_space(code, at);
    if word_at(code, next) == "as" {
        let name = skip_space(code, next + 2);
        return name + word_at(code, name).len();
    }
    at
}

fn skip_space(code: &str, at: usize) -> usize {
    at + code[at..].len() - code[at..].trim_start().len()
}

/// The path from the crate's root, seen from `module`.
fn resolve(module: &[String], path: &[String]) -> Vec<String> {
    let mut from = Vec::new();
    let mut rest = path;
    if let Some((first, behind)) = path.split_first() {
        if first != "crate" {
            from = module.to_vec();
        }
        rest = if first == "super" { path } else { behind };
    }
    while let Some((first, behind)) = rest.split_first() {
        match first.as_str() {
            "super" => drop(from.pop()),
            "self" => {}
            _ => break,
        }
        rest = behind;
    }
    from.extend(rest.iter().cloned());
    from
}

#[test]
fn files_are_the_modules_that_rust_takes_them_for() {
    let rows = [
        ("src/lib.rs", ""),
        ("src/main.rs", ""),
        ("src/config.rs", "config"),
        ("src/broker/mod.rs", "broker"),
        ("src/broker/topic_index/trie.rs", "broker.topic_index.trie"),
        ("src/net/main.rs", "net.main"),
    ];
    for (path, expected) in rows {
        assert_eq!(module(path).unwrap().join("."), expected, "{path}");
    }
    assert_eq!(module("clients/src/lib.rs"), None);
}

#[test]
fn paths_are_written_out_from_the_crates_root() {
    let rows = [
        ("use wire::native::frame;", "wire.frame"),
        (
            "use crate::{net, wire::{self, topic as t, frame::*}};",
            "net wire wire.topic wire.frame.*",
        ),
        ("use super::chunk::Slice;", "broker.chunk.Slice"),
        ("use super::*;", "broker.*"),
        ("use super::super::net::Reactor;", "net.Reactor"),
        ("use self::part::Part;", "broker.inbox.part.Part"),
        ("mod tests { use super::*; }", "broker.inbox.*"),
        (
            "mod a { mod b { use super::x; } use super::y; } use super::z;",
            "broker.inbox.a.x broker.inbox.y broker.z",
        ),
        (
            "fn f() -> crate::net::Error { super::outbox::f(); self.x() }",
            "net.Error broker.outbox.f",
        ),
        ("fn f() { \"crate::net\"; /* crate::net */ my_crate::net(); other::super::x(); }", ""),
        ("use crate :: net :: x;", "net.x"),
    ];
    for (text, expected) in rows {
        let source = Source::new("src/broker/inbox.rs", text);
        let found = named(&source, &module(&source.path).unwrap());
        let mut found: Vec<String> = found.into_iter().map(|(_, path)| path.join(".")).collect();
        let mut expected: Vec<&str> = expected.split_whitespace().collect();
        found.sort();
        expected.sort_unstable();
        assert_eq!(found, expected, "{text}");
    }
}
