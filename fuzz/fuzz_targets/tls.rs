#![no_main]
//! See `src/tls.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| broker_fuzz::tls::check(data));
