#![no_main]
//! See `src/frame.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| broker_fuzz::frame::check(data));
