//! Which layer may name what: imports point downwards, `main -> net -> broker -> wire`, and only
//! the top of it knows sockets and clocks.

use super::code::{Source, inside_word};
use super::paths::{module, named};

/// Parts of `broker/` that know nothing of each other, but for `chunk`, which all may know.
const SIBLINGS: [&str; 6] = ["chunk", "inbox", "outbox", "topic_index", "stats", "close_reason"];
/// The crates that `broker/` may use. `wire/` may, too.
const ALLOWED_CRATES: [&str; 5] = ["slab", "byteorder", "log", "hashbrown", "smallvec"];
/// What names a socket or reads a clock.
const SOCKETS_AND_CLOCKS: [&str; 11] = [
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "Instant::now",
    "SystemTime::now",
    ".elapsed(",
    "mio::",
    "socket2::",
];

/// The modules of this crate that a module may name.
fn may_name(from: &str) -> Option<&'static [&'static str]> {
    match from {
        "wire" => Some(&["wire"]),
        "broker" => Some(&["broker", "wire"]),
        "net" => Some(&["net", "broker", "wire", "config", "logging", "limits"]),
        _ => None,
    }
}

/// Paths that point upwards.
pub(crate) fn downwards(source: &Source) -> Vec<String> {
    let module = module(&source.path).unwrap_or_default();
    let Some((layer, allowed)) = module.first().and_then(|m| Some((m, may_name(m)?))) else {
        return Vec::new();
    };
    let upwards = named(source, &module)
        .into_iter()
        .filter(|(_, path)| path.first().is_some_and(|first| !allowed.contains(&first.as_str())));
    upwards
        .map(|(at, path)| source.complain(at, &format!("{layer} may not name {}", path.join("::"))))
        .collect()
}

/// Names of the crates that the package depends on, as code writes them.
pub(crate) fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.starts_with("[dependencies]");
        } else if let Some((name, _)) = line.split_once('=').filter(|_| inside) {
            let name = name.trim().replace('-', "_");
            // The one crate here whose package is called otherwise.
            names.push(if name == "rust_ini" { "ini".to_owned() } else { name });
        }
    }
    names
}

/// Crates that a lower layer uses and may not.
pub(crate) fn crates(source: &Source, dependencies: &[String]) -> Vec<String> {
    if !source.path.starts_with("src/broker") && !source.path.starts_with("src/wire") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for name in dependencies.iter().filter(|name| !ALLOWED_CRATES.contains(&name.as_str())) {
        for ending in ["::", " as ", ";"] {
            let word =
                if ending == "::" { format!("{name}::") } else { format!("use {name}{ending}") };
            let complaint = format!("this layer may not use {name}");
            // `std::time` is not the crate `time`.
            let alone = |at: &usize| !source.code[..*at].ends_with("::");
            let places = places(source, &word).into_iter().filter(alone);
            found.extend(places.map(|at| source.complain(at, &complaint)));
        }
    }
    found
}

/// Paths from one of the siblings to another.
pub(crate) fn siblings(source: &Source) -> Vec<String> {
    let module = module(&source.path).unwrap_or_default();
    let [layer, own, ..] = module.as_slice() else {
        return Vec::new();
    };
    if layer != "broker" || !SIBLINGS.contains(&own.as_str()) {
        return Vec::new();
    }
    let foreign =
        |part: &str| part == "*" || (SIBLINGS.contains(&part) && part != own && part != "chunk");
    let mut found = Vec::new();
    for (at, path) in named(source, &module) {
        if path.first().is_some_and(|first| first == "broker")
            && path.get(1).is_some_and(|part| foreign(part))
        {
            found.push(source.complain(at, &format!("{own} may not name {}", path.join("::"))));
        }
    }
    found
}

/// Sockets and clocks named where there are none.
pub(crate) fn sockets_and_clocks(source: &Source) -> Vec<String> {
    let path = source.path.as_str();
    if !path.starts_with("src/") || path.starts_with("src/net/") || path == "src/main.rs" {
        return Vec::new();
    }
    // The journal's stream is a socket.
    let is_journal = |word: &str| path == "src/logging/standard_error.rs" && word == "UnixStream";
    let mut found = Vec::new();
    for word in SOCKETS_AND_CLOCKS.into_iter().filter(|word| !is_journal(word)) {
        let complaint = format!("{word} belongs into net/, main.rs or the clients");
        found.extend(places(source, word).into_iter().filter_map(|at| {
            // Tests that hand time in need some moment to count from, and can make none up.
            let epoch = word == "Instant::now" && source.in_tests(at);
            (!epoch).then(|| source.complain(at, &complaint))
        }));
    }
    found
}

/// Where the code has this text, not as the end of a longer word.
fn places(source: &Source, text: &str) -> Vec<usize> {
    let begins = |at: usize| text.starts_with('.') || !inside_word(&source.code, at);
    let found = source.code.match_indices(text).map(|(at, _)| at);
    found.filter(|at| begins(*at)).collect()
}

/// How many complaints a rule has about a file with this text.
#[cfg(test)]
fn complaints(rule: impl Fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
    rule(&Source::new(path, text)).len()
}

#[test]
fn a_path_upwards_is_found_in_each_layer() {
    let rows = [
        ("src/wire/frame.rs", "use crate::broker::Broker;", 1),
        ("src/wire/frame.rs", "use super::super::net::Reactor;", 1),
        ("src/wire/frame.rs", "use crate::{wire::topic, config};", 1),
        ("src/wire/frame.rs", "use super::topic; use wire::native::frame;", 0),
        ("src/broker/mod.rs", "use crate::net::listener;", 1),
        ("src/broker/mod.rs", "fn f(c: &crate::config::Config) {}", 1),
        (
            "src/broker/mod.rs",
            "use crate::wire; use super::wire::topic; use self::inbox::Inbox;",
            0,
        ),
        ("src/broker/mod.rs", "// use crate::net;\nconst A: &str = \"crate::net\";", 0),
        ("src/net/reactor.rs", "use crate::cli::Cli;", 1),
        ("src/net/reactor.rs", "use crate::{broker, config, wire};", 0),
        ("src/config.rs", "use crate::net;", 0),
    ];
    for (path, text, expected) in rows {
        assert_eq!(complaints(downwards, path, text), expected, "{path}: {text}");
    }
}

#[test]
fn a_crate_in_the_wrong_layer_is_found() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\nmio = \"1\"\nrust-ini = \"0\"\n\
                    log = \"0\"\nsignal-hook = { version = \"0\" }\n[profile.dev]\nx = 1\n";
    let names = dependencies(manifest);
    assert_eq!(names, ["mio", "ini", "log", "signal_hook"]);
    let rule = |source: &Source| crates(source, &names);
    let rows = [
        ("src/broker/mod.rs", "use mio::Token;", 1),
        ("src/broker/mod.rs", "use mio as m;", 1),
        ("src/broker/mod.rs", "fn f() { ini::Ini::new() }", 1),
        ("src/wire/frame.rs", "fn f() { signal_hook::flag() }", 1),
        ("src/broker/mod.rs", "fn f() { log::info!(\"mio::\") }", 0),
        ("src/broker/mod.rs", "fn f() { gemini::f() }", 0),
        ("src/net/reactor.rs", "use mio::Token;", 0),
    ];
    for (path, text, expected) in rows {
        assert_eq!(complaints(rule, path, text), expected, "{path}: {text}");
    }
}

#[test]
fn a_path_to_a_sibling_is_found() {
    let rows = [
        ("src/broker/inbox.rs", "use super::outbox::Outbox;", 1),
        ("src/broker/outbox.rs", "use crate::broker::{chunk::Slice, stats::Stats};", 1),
        ("src/broker/stats.rs", "use super::*;", 1),
        ("src/broker/topic_index/trie.rs", "use super::super::inbox;", 1),
        ("src/broker/chunk.rs", "mod tests { fn f() { super::super::inbox::f() } }", 1),
        ("src/broker/inbox.rs", "use super::chunk::Slice; mod tests { use super::*; }", 0),
        ("src/broker/topic_index/trie.rs", "use super::route; use super::super::chunk;", 0),
        ("src/broker/mod.rs", "use self::{inbox::Inbox, outbox::Outbox};", 0),
        ("src/broker/connection.rs", "use super::inbox::Inbox;", 0),
    ];
    for (path, text, expected) in rows {
        assert_eq!(complaints(siblings, path, text), expected, "{path}: {text}");
    }
}

#[test]
fn sockets_and_clocks_are_found_where_there_are_none() {
    let rows = [
        ("src/broker/mod.rs", "let now = Instant::now();", 1),
        ("src/broker/mod.rs", "let t = std::time::SystemTime::now();", 1),
        ("src/broker/mod.rs", "let t = since.elapsed();", 1),
        ("src/broker/mod.rs", "#[test]\nfn f() { let t = Instant::now(); }", 0),
        ("src/broker/mod.rs", "#[test]\nfn f() { let t = SystemTime::now(); }", 1),
        ("src/config.rs", "use std::net::TcpStream;", 1),
        ("src/config.rs", "use std::net::{TcpListener, UdpSocket};", 2),
        ("src/lib.rs", "fn f(t: mio::Token) {}", 1),
        ("src/broker/mod.rs", "// Instant::now\nlet a = \"TcpStream\"; fn f(now: Instant) {}", 0),
        ("src/broker/mod.rs", "fn f() { MyTcpStream::new() }", 0),
        ("src/net/reactor.rs", "let now = Instant::now();", 0),
        ("src/main.rs", "let now = Instant::now();", 0),
        ("clients/src/lib.rs", "use std::net::TcpStream;", 0),
        ("tests/shutdown.rs", "use std::net::TcpStream;", 0),
    ];
    for (path, text, expected) in rows {
        assert_eq!(complaints(sockets_and_clocks, path, text), expected, "{path}: {text}");
    }
}
