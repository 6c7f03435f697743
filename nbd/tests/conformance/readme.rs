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
            let file = root.join(format!("tests/conformance/{module}.rs"));
            let source = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(source.contains(&format!("fn {test}(")), "{module}::{test}");
            named += 1;
        }
    }
    assert!(named > 50, "only {named} tests are named");
}
