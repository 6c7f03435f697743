//! Proves that the checker bites: each deliberate bug of the core breaks a rule in some seed, which holds without it.

use std::{fmt::Write as _, process::Command};

use twindisk_simulator::Mutant;

/// A mutant that so many seeds do not find is found by nobody.
const SEEDS: u32 = 2000;

#[test]
fn every_mutant_is_found() {
    let output = Command::new(env!("CARGO_BIN_EXE_twindisk-simulator"))
        .args(["--mutants", "--seeds", &SEEDS.to_string()])
        .output()
        .expect("the simulator starts");
    let table = String::from_utf8_lossy(&output.stdout);
    println!("{table}");
    assert!(output.status.success(), "{table}");
    let rows = table.lines().filter(|line| line.starts_with("| ")).count();
    assert_eq!(
        rows,
        Mutant::all().len() + 1,
        "a row for each, and the head"
    );
    assert!(Mutant::all().len() >= 28 + 8);
}

#[test]
fn the_table_in_the_documentation_names_every_mutant() {
    let text = include_str!("../MUTANTS.md");
    let told: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| mutant"))
        .filter_map(|line| line.rsplitn(3, " | ").nth(2))
        .collect();
    let mut wanted = String::new();
    for mutant in Mutant::all() {
        let (name, what, rule) = (mutant.name(), mutant.what(), mutant.rule());
        let _ = writeln!(wanted, "| {name} | {what} | {rule}");
    }
    assert_eq!(
        told.join("\n"),
        wanted.trim_end(),
        "`cargo run --release -p twindisk-simulator -- --mutants` prints the table"
    );
}
