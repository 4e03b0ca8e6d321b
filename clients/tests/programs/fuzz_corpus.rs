//! Proves on stable that every input that fuzzing keeps for the clients still passes what fuzzing
//! checks.

use std::fs;
use std::path::Path;

#[allow(unreachable_pub, reason = "public for the fuzz targets")]
#[path = "../../../fuzz/src/command.rs"]
mod command;
#[allow(unreachable_pub, reason = "public for the fuzz targets")]
#[path = "../../../fuzz/src/template.rs"]
mod template;

fn replay(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(&directory).expect("each target has a corpus") {
        let path = entry.expect("it can be read").path();
        println!("{}", path.display());
        check(&fs::read(path).expect("a file"));
        replayed += 1;
    }
    assert!(replayed >= 5, "the corpus of {target} was not found");
}

#[test]
fn command_files_of_the_corpus_are_read_or_refused() {
    replay("command", command::check);
}

#[test]
fn templates_of_the_corpus_are_filled_in_or_refused() {
    replay("template", template::check);
}
