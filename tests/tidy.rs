//! Proves by reading the source what neither a crate boundary nor a lint can: that imports point
//! downwards, how wide a line is, that a file says what it is, and what it must not mention.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What a layer of `src/` may name of this crate besides itself. One that is not there is skipped.
const MAY_NAME: [(&str, &[&str]); 5] = [
    ("broker", &[]),
    ("engine", &[]),
    ("engine::buffers", &[]),
    ("engine::access", &[]),
    ("engine::routing", &["engine::token", "engine::budget", "engine::access"]),
];
/// Columns that a line may have.
const WIDTH: usize = 100;

/// Words, `::` and all other characters of the code without comments, each with its line.
fn tokens(text: &str) -> Vec<(usize, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut rest = line.split("//").next().unwrap_or_default();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                _ if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            if !first.is_whitespace() {
                found.push((number, &rest[..length]));
            }
            rest = &rest[length..];
        }
    }
    found
}

/// Adds the paths of the tree that begins here, such as `a::{b, c::*}`, each with `prefix` in front
/// of it. Gives the number of tokens.
fn expand<'a>(
    tokens: &[(usize, &'a str)],
    prefix: &[&'a str],
    to: &mut Vec<Vec<&'a str>>,
) -> usize {
    let token = |at: usize| tokens.get(at).map_or("}", |(_, token)| token);
    let (mut path, mut at) = (prefix.to_vec(), 0);
    while token(at) != "{" {
        path.push(token(at));
        if token(at + 1) != "::" {
            to.push(path);
            return at + 1;
        }
        at += 2;
    }
    while token(at) != "}" {
        at += 1;
        if token(at) != "}" {
            at += expand(&tokens[at..], &path, to);
        }
        // Behind it may stand another name, `as x`.
        while !["}", ","].contains(&token(at)) {
            at += 1;
        }
    }
    at + 1
}

/// The paths beginning with `crate` or `super` that a file of `src/` names, each with its line and
/// written out from the crate's root. Modules within the file begin and end as rustfmt has it.
fn named(file: &str, text: &str) -> Vec<(usize, String)> {
    let mut module = module(file);
    let (depth, lines, tokens) = (module.len(), text.lines().collect::<Vec<_>>(), tokens(text));
    let (mut found, mut read) = (Vec::new(), 0);
    for (at, (number, token)) in tokens.iter().enumerate() {
        for line in &lines[read..*number] {
            let opened = line.strip_suffix(" {").filter(|item| !item.starts_with(' '));
            if *line == "}" {
                module.truncate(depth);
            } else if let Some((_, name)) = opened.and_then(|item| item.rsplit_once("mod ")) {
                module.push(name);
            }
        }
        read = *number;
        let before = at.checked_sub(1).map_or("", |before| tokens[before].1);
        let begins = ["crate", "super"].contains(token) && !["::", "in"].contains(&before);
        if begins && tokens.get(at + 1).is_some_and(|(_, next)| *next == "::") {
            let mut paths = Vec::new();
            expand(&tokens[at..], &[], &mut paths);
            found.extend(paths.iter().map(|path| (*number, resolve(&module, path))));
        }
    }
    found
}

/// The module that a file of `src/` is.
fn module(file: &str) -> Vec<&str> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let is_root = path == "lib" || path == "main";
    path.split('/').filter(|_| !is_root).collect()
}

fn resolve(module: &[&str], path: &[&str]) -> String {
    let mut from = if path[0] == "crate" { Vec::new() } else { module.to_vec() };
    for name in path {
        match *name {
            "super" => drop(from.pop()),
            "crate" | "self" => {}
            name => from.push(name),
        }
    }
    from.join("::")
}

/// Whether this path is the module or lies within it.
fn is_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// What a file names and may not.
fn upwards(file: &str, text: &str) -> Vec<String> {
    let own = module(file).join("::");
    let mut found = Vec::new();
    for (layer, allowed) in MAY_NAME.iter().filter(|(layer, _)| is_in(&own, layer)) {
        for (line, path) in named(file, text) {
            if !is_in(&path, layer) && !allowed.iter().any(|allowed| is_in(&path, allowed)) {
                found.push(format!("{file}:{line}: {layer} may not name {path}"));
            }
        }
    }
    found
}

/// The top-level modules that name each other in a circle, or that name one which does.
fn circle<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, text) in files {
        let Some(own) = module(file).first().map(|own| (*own).to_owned()) else { continue };
        let top = |(_, path): (usize, String)| path.split("::").next().map(str::to_owned);
        let others = named(file, text).into_iter().filter_map(top).filter(|other| *other != own);
        names.entry(own.clone()).or_default().extend(others);
    }
    loop {
        // A module that names none of those that are left is in no circle.
        let left: BTreeSet<String> = names.keys().cloned().collect();
        names.retain(|_, others| !others.is_disjoint(&left));
        if names.len() == left.len() {
            return names.into_keys().collect();
        }
    }
}

/// Lines that are too wide, and a file that does not open with what it is.
fn looks(file: &str, text: &str) -> Vec<String> {
    let wide = (1..).zip(text.lines()).filter(|(_, line)| line.chars().count() > WIDTH);
    let wide = wide.map(|(number, _)| format!("{file}:{number}: wider than {WIDTH} columns"));
    let silent = !text.starts_with("//!") && !file.starts_with("fuzz/fuzz_targets/");
    wide.chain(silent.then(|| format!("{file}:1: a file opens with //! and what it is"))).collect()
}

/// Names of what is not part of the project.
fn foreign_names(file: &str, text: &str) -> Vec<String> {
    // Put together here, so that this file does not mention them either.
    let names = [("sha", "red/"), ("PROTO", "COL.md"), ("DES", "IGN.md"), ("STY", "LE.md")];
    let names = names.map(|(start, end)| format!("{start}{end}"));
    let found = names.iter().filter(|name| text.contains(name.as_str()));
    found.map(|name| format!("{file}: {name} is not part of the project")).collect()
}

/// Adds the path from the repository's root, and the text, of every file below `dir` that is text.
fn read(root: &Path, dir: &Path, files: &mut Vec<(String, String)>) {
    let left_out = [".git", "target", "corpus", "corpus-work", "artifacts", "Cargo.lock"];
    let entries = fs::read_dir(dir).expect("the repository can be read");
    let paths = entries.map(|entry| entry.expect("so can this").path());
    for path in paths.filter(|path| !left_out.iter().any(|name| path.ends_with(name))) {
        if path.is_dir() {
            read(root, &path, files);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let name = path.strip_prefix(root).expect("it is below the root").display().to_string();
            files.push((name, text));
        }
    }
}

#[test]
fn the_repository_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    read(root, root, &mut files);
    let all = || files.iter().map(|(file, text)| (file.as_str(), text.as_str()));
    let rust = || all().filter(|(file, _)| file.ends_with(".rs"));
    let ours = || rust().filter(|(file, _)| file.starts_with("src/"));
    assert!(ours().any(|(file, _)| file == "src/lib.rs"), "the source was not found");
    let mut found: Vec<String> = ours().flat_map(|(file, text)| upwards(file, text)).collect();
    found.extend(rust().flat_map(|(file, text)| looks(file, text)));
    found.extend(all().flat_map(|(file, text)| foreign_names(file, text)));
    found.extend(circle(ours()).iter().map(|module| format!("{module} is in a circle of imports")));
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn paths_are_written_out_from_the_crates_root() {
    let rows = [
        (
            "use crate::{net, engine::{self, token as t, rules::*}};",
            "net engine engine::token engine::rules::*",
        ),
        ("use super::chunk::Slice; pub(in crate::net) fn f() {}", "engine::buffers::chunk::Slice"),
        (
            "mod tests {\n    use super::*;\n}\nuse super::b;",
            "engine::buffers::inbox::* engine::buffers::b",
        ),
        (
            "fn f() -> crate::net::Error { super::super::g(); other::super::x() } // crate::a",
            "crate::net::Error engine::g",
        ),
    ];
    for (text, expected) in rows {
        let found = named("src/engine/buffers/inbox.rs", text);
        let found: Vec<String> = found.into_iter().map(|(_, path)| path).collect();
        assert_eq!(found.join(" "), expected.replace("crate::", ""), "{text}");
    }
}

#[test]
fn each_rule_finds_what_it_is_for() {
    let rows = [
        ("src/engine/buffers/mod.rs", "use crate::engine::token::Token;", 1),
        ("src/engine/buffers/chunk.rs", "use super::inbox::Inbox; use wire::native::frame;", 0),
        ("src/engine/routing/trie.rs", "use super::super::{token, budget::Budget, rules};", 1),
        ("src/engine/turn.rs", "use super::delivery::runs; use crate::config::Config;", 1),
        ("src/net/reactor.rs", "use crate::{config, engine};", 0),
    ];
    for (file, text, expected) in rows {
        assert_eq!(upwards(file, text).len(), expected, "{file}: {text}");
    }
    let down = [("src/net/mod.rs", "use crate::config;"), ("src/config.rs", "use crate::engine;")];
    assert!(circle(down.into_iter()).is_empty());
    let up = [down[0], down[1], ("src/engine/mod.rs", "fn f() { crate::net::run() }")];
    assert_eq!(circle(up.into_iter()), ["config", "engine", "net"]);
    let line = |columns| format!("//! x\n{}\n", "é".repeat(columns));
    assert_eq!((looks("a.rs", &line(100)).len(), looks("a.rs", &line(101)).len()), (0, 1));
    assert_eq!(looks("src/x.rs", "use std::fs;\n").len(), 1);
    assert_eq!(foreign_names("x.md", &["see sha", "red/x"].concat()).len(), 1);
}
