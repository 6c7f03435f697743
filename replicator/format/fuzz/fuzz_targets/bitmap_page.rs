//! A page of a dirty bitmap as found on a disk.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| twindisk_format::fuzzing::fuzz_bitmap_page(data));
