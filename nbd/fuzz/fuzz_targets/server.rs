//! A hostile client: handshake and requests.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| twindisk_nbd::fuzzing::fuzz_server(data));
