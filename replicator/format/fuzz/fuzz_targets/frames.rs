//! A peer's frames.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| twindisk_format::fuzzing::fuzz_frames(data));
