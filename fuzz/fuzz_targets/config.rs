#![no_main]
//! See `src/config.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| broker_fuzz::config::check(data));
