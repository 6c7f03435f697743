//! One request header against exports of all kinds.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| twindisk_nbd::fuzzing::fuzz_request(data));
