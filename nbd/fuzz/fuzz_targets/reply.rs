//! A hostile server: replies as the client reads them.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| twindisk_nbd::fuzzing::fuzz_reply(data));
