#![no_main]
//! See `src/broker/mod.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| broker_fuzz::broker::check(data));
