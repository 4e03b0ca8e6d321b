#![no_main]
//! See `src/nats.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| broker_fuzz::nats::check(data));
