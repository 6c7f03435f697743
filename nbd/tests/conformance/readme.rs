//! The README's conformance table names tests that exist.

use std::path::Path;

#[test]
fn every_test_named_in_the_table_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let mut named = 0;
    for row in readme.lines().filter(|line| line.starts_with('|')) {
        let cell = row.trim_end_matches('|').rsplit('|').next().unwrap();
        for (module, test) in cell.split('`').filter_map(|word| word.split_once("::")) {
            // The crate's own, the engine's, and those of the whole program.
            let places = [
                "tests/conformance",
                "../replicator/engine/tests/engine",
                "../tools/tests/end_to_end",
                "../tools/tests",
            ];
            let found = places.iter().any(|place| {
                let file = root.join(format!("{place}/{module}.rs"));
                let source = std::fs::read_to_string(&file).unwrap_or_default();
                source.contains(&format!("fn {test}("))
            });
            assert!(found, "{module}::{test}");
            named += 1;
        }
    }
    assert!(named > 50, "only {named} tests are named");
}
