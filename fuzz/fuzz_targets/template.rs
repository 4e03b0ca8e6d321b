#![no_main]
//! See `src/template.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| broker_fuzz::template::check(data));
