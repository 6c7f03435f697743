//! Every committed seed still runs, and the targets reach what they are for.

use std::{fs, path::Path};

use super::*;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 6] = [
    ("frames", fuzz_frames),
    ("control", fuzz_control),
    ("superblock", fuzz_superblock),
    ("al_page", fuzz_al_page),
    ("bitmap_page", fuzz_bitmap_page),
    ("auth", fuzz_auth),
];

#[test]
fn seeds_replay() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (name, target) in TARGETS {
        let mut replayed = 0;
        for entry in fs::read_dir(seeds.join(name)).unwrap() {
            let seed = fs::read(entry.unwrap().path()).unwrap();
            target(&seed);
            // The same bytes in the other mode, cut, and with a flip in each place.
            for at in 0..seed.len().min(300) {
                let mut changed = seed.clone();
                changed[at] ^= 1 << (at % 8);
                target(&changed);
                target(&seed[..at]);
            }
            replayed += 1;
        }
        assert!(replayed > 0, "{name} has no seeds");
    }
}

#[test]
fn each_target_has_its_fuzzer() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    for (name, _) in TARGETS {
        let source = fs::read_to_string(targets.join(format!("{name}.rs"))).unwrap();
        assert!(source.contains(&format!("fuzzing::fuzz_{name}(")), "{name}");
    }
}
