#![no_main]
//! See `src/command.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| broker_fuzz::command::check(data));
