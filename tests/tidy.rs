//! Proves by reading the source what no compiler checks: which layer may name what, how wide a
//! line and how long a function may be, how a file opens. The rules and the proofs that each of
//! them bites are in `tidy/`.

#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/paths.rs"]
mod paths;
#[path = "tidy/taste.rs"]
mod taste;

use std::fs;
use std::path::{Path, PathBuf};

use code::Source;

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `dir`, leaving out what is built, fetched or generated.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    let left_out = [".git", "target", "corpus", "corpus-work", "artifacts", "Cargo.lock"];
    for entry in fs::read_dir(dir).expect("the repository can be read") {
        let path = entry.expect("the repository can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if left_out.contains(&name.as_ref()) {
            continue;
        }
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Path from the repository's root, and text, of every file that is text.
fn texts() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    files(root(), &mut paths);
    let text = |path: PathBuf| {
        let name = path.strip_prefix(root()).ok()?.to_str()?.to_owned();
        Some((name, fs::read_to_string(path).ok()?))
    };
    let mut texts: Vec<_> = paths.into_iter().filter_map(text).collect();
    texts.sort();
    texts
}

/// Every Rust file of the repository.
fn sources() -> Vec<Source> {
    let rust = |(path, _): &(String, String)| path.ends_with(".rs");
    let source = |(path, text): (String, String)| Source::new(&path, &text);
    let mut sources: Vec<Source> = texts().into_iter().filter(rust).map(source).collect();
    let for_tests: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        let below = |module: &String| {
            let rest = source.path.strip_prefix(module.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        source.test_only = for_tests.iter().any(below);
    }
    let has = |path: &str| sources.iter().any(|source| source.path == path);
    assert!(has("src/lib.rs") && has("tests/tidy.rs"), "the source was not found");
    sources
}

/// Nothing may be found in any source.
fn clean(rule: impl Fn(&Source) -> Vec<String>) {
    let found: Vec<String> = sources().iter().flat_map(rule).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn imports_point_downwards_only() {
    clean(layers::downwards);
}

#[test]
fn the_lower_layers_use_the_crates_they_may() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("there is a manifest");
    let crates = layers::dependencies(&manifest);
    assert!(crates.contains(&"mio".to_owned()), "the dependencies were not found: {crates:?}");
    clean(|source| layers::crates(source, &crates));
}

#[test]
fn parts_of_the_broker_import_none_of_each_other_but_chunk() {
    clean(layers::siblings);
}

#[test]
fn only_net_main_and_the_clients_name_sockets_and_clocks() {
    clean(layers::sockets_and_clocks);
}

#[test]
fn lines_are_at_most_100_columns_wide() {
    clean(taste::width);
}

#[test]
fn every_file_of_the_programs_opens_with_what_it_is() {
    clean(taste::opening);
}

#[test]
fn no_function_is_longer_than_70_lines() {
    clean(taste::function_length);
}

#[test]
fn unwrap_outside_tests_has_its_reason_beside_it() {
    clean(taste::unwraps);
}

#[test]
fn no_file_names_what_is_not_part_of_the_project() {
    let found: Vec<String> =
        texts().iter().flat_map(|(path, text)| taste::foreign_names(path, text)).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}
