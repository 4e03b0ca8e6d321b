#![no_main]
//! See `src/leaf.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| broker_fuzz::leaf::check(data));
