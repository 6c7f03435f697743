//! A superblock as found on a disk.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| twindisk_format::fuzzing::fuzz_superblock(data));
