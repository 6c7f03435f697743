//! Every committed seed still runs: whole, cut at each byte, and with each byte bent.

use std::{fs, path::Path};

use super::*;

#[test]
fn seeds_replay() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/config");
    let mut accepted = 0;
    for entry in fs::read_dir(seeds).unwrap() {
        let seed = fs::read(entry.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&seed);
        accepted += usize::from(Config::parse(Path::new("/etc/t.toml"), &text).is_ok());
        fuzz_config(&seed);
        for at in 0..seed.len() {
            fuzz_config(&seed[..at]);
            for bits in [0x01, 0x10, 0x80] {
                let mut bent = seed.clone();
                bent[at] ^= bits;
                fuzz_config(&bent);
            }
        }
    }
    assert!(accepted >= 2, "{accepted} seeds are whole configurations");
}

#[test]
fn the_target_has_its_fuzzer() {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets/config.rs");
    let source = fs::read_to_string(target).unwrap();
    assert!(source.contains("fuzzing::fuzz_config("));
}
