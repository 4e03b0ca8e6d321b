#![no_main]
//! See `src/users.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| broker_fuzz::users::check(data));
