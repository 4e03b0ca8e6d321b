//! Proves on stable that every input that fuzzing keeps still passes what fuzzing checks, and that
//! what clients receive does not depend on how bytes are cut.
//!
//! `cargo test --release --test fuzz_corpus -- --ignored` cuts the scripts a million times.

use std::fs;
use std::path::{Path, PathBuf};

#[allow(unreachable_pub, reason = "public for the fuzz targets")]
#[path = "../fuzz/src/broker/mod.rs"]
mod broker_script;
#[allow(unreachable_pub, reason = "public for the fuzz targets")]
#[path = "../fuzz/src/config.rs"]
mod config;
#[allow(unreachable_pub, reason = "public for the fuzz targets")]
#[path = "../fuzz/src/frame.rs"]
mod frame;
#[allow(unreachable_pub, reason = "public for the fuzz targets")]
#[path = "../fuzz/src/leaf.rs"]
mod leaf;
#[path = "../fuzz/src/lines.rs"]
mod lines;
#[allow(unreachable_pub, reason = "public for the fuzz targets")]
#[path = "../fuzz/src/nats.rs"]
mod nats;
#[allow(unreachable_pub, reason = "public for the fuzz targets")]
#[path = "../fuzz/src/tls.rs"]
mod tls;
#[allow(unreachable_pub, reason = "public for the fuzz targets")]
#[path = "../fuzz/src/users.rs"]
mod users;

/// Random cuts of each script in an ordinary run.
const CUTS: u64 = 20;

/// The inputs of a target's corpus, by name.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).expect("each target has a corpus");
    let path = |entry: fs::DirEntry| (entry.path(), fs::read(entry.path()).expect("a file"));
    let mut inputs: Vec<_> = entries.map(|entry| path(entry.expect("it can be read"))).collect();
    inputs.sort();
    assert!(inputs.len() >= 5, "the corpus of {target} was not found");
    inputs
}

fn replay(target: &str, check: fn(&[u8])) {
    for (path, input) in corpus(target) {
        println!("{}", path.display());
        check(&input);
    }
}

#[test]
fn frames_of_the_corpus_are_decoded_and_encoded_alike() {
    replay("frame", frame::check);
}

#[test]
fn lines_of_the_corpus_are_read_and_written_alike() {
    replay("nats", nats::check);
}

#[test]
fn lines_of_hubs_of_the_corpus_are_read_and_written_alike() {
    replay("leaf", leaf::check);
}

#[test]
fn config_files_of_the_corpus_are_read_or_refused() {
    replay("config", config::check);
}

#[test]
fn files_of_users_of_the_corpus_are_read_or_refused() {
    replay("users", users::check);
}

#[test]
fn bytes_of_the_corpus_come_to_a_session_to_a_close_or_to_waiting() {
    replay("tls", tls::check);
}

#[test]
fn scripts_of_the_corpus_leave_nothing_behind() {
    replay("broker", broker_script::check);
}

/// SplitMix64: the same pieces for the same seed.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Cuts each script so often, at places that follow from numbers; what is received must not change.
fn cut_each(cuts: u64) {
    let mut received = 0;
    for (path, input) in corpus("broker") {
        println!("{}", path.display());
        let whole = broker_script::deliveries(&input, &mut |left| left);
        received += whole.iter().map(broker_script::Received::messages).sum::<usize>();
        let by_byte = broker_script::deliveries(&input, &mut |_| 1);
        assert!(whole == by_byte, "byte by byte: {whole:?} {by_byte:?}");
        let cut = |seed: u64| {
            let mut state = seed;
            let mut piece = |left: usize| {
                // Mostly short pieces, so that headers are cut, too.
                let most = [3, 12, left][(random(&mut state) % 3) as usize].min(left);
                1 + (random(&mut state) % most as u64) as usize
            };
            let cut = broker_script::deliveries(&input, &mut piece);
            assert!(whole == cut, "seed {seed}: {whole:?} {cut:?}");
        };
        (0..cuts).for_each(cut);
    }
    assert!(received > 1_000, "hardly anything was delivered: {received} bytes of messages");
}

#[test]
fn what_is_received_does_not_depend_on_how_bytes_are_cut() {
    cut_each(CUTS);
}

#[test]
#[ignore = "takes minutes"]
fn a_million_cuts_change_nothing_either() {
    cut_each(1_000_000 / corpus("broker").len() as u64 + 1);
}
