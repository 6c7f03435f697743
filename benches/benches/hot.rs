//! The time of the hot paths: `cargo bench -p twindisk-benches --bench hot [-- PATTERN]`. Figures of one machine compare with
//! figures of the same machine only.

use twindisk_benches::hot::HOT;

fn main() {
    divan::main();
}

// So many calls a sample: the first, cold ones and the reading of the clock count for little.
#[divan::bench(args = HOT.iter().map(|hot| hot.name), sample_size = 500)]
fn hot(bencher: divan::Bencher<'_, '_>, name: &str) {
    let hot = HOT.iter().find(|hot| hot.name == name);
    let mut work = hot.map_or_else(|| panic!("no {name}"), |hot| (hot.prepare)());
    bencher.bench_local(&mut work);
}
