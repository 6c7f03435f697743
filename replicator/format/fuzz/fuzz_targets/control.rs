//! The bytes of a control message.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| twindisk_format::fuzzing::fuzz_control(data));
