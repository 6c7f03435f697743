//! A stranger at either end of the handshake.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| twindisk_format::fuzzing::fuzz_auth(data));
