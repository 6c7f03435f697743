//! The mutation check: cores with a deliberate bug run seeds until a rule is broken. It proves that the checker bites.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use twindisk_simulator::Mutant;

use crate::workers::{Orders, run_all};

/// What an earlier run has found: the seeds that it names are tried first.
const TABLE: &str = include_str!("../MUTANTS.md");

/// Where a mutant was found.
struct Found {
    seed: u64,
    /// The broken rule, or how the core's own checks stopped it.
    how: String,
}

/// The mutant of that name; prints all of them when there is none.
pub(crate) fn named(name: Option<&str>) -> Result<Option<Mutant>, ()> {
    let Some(name) = name else { return Ok(None) };
    let found = Mutant::ALL.iter().find(|mutant| mutant.name() == name);
    if found.is_none() {
        for mutant in Mutant::ALL {
            println!(
                "{:<26} {:<10} {}",
                mutant.name(),
                mutant.rule(),
                mutant.what()
            );
        }
    }
    found.copied().map(Some).ok_or(())
}

/// Looks for every mutant in at most `seeds` seeds, and prints a table of how each was found.
pub(crate) fn find_all(start: u64, seeds: u64, jobs: usize) -> ExitCode {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(mutant) = Mutant::ALL.get(number) else {
                        break;
                    };
                    let result = find(*mutant, start, seeds);
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.insert(number, result);
                }
            });
        }
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("| mutant | what it does | breaks | found by | seed |");
    println!("|---|---|---|---|---|");
    let mut missed = Vec::new();
    for (mutant, result) in Mutant::ALL.iter().zip(found.values()) {
        show(*mutant, result.as_ref());
        if result.is_none() {
            missed.push(mutant.name());
        }
    }
    let all = Mutant::ALL.len();
    let count = all - missed.len();
    println!("\n{count} of {all} mutants found in at most {seeds} seeds each");
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("not found: {}", missed.join(", "));
    ExitCode::FAILURE
}

/// A seed that fails with the mutant and holds without it: the one in the table, or the first.
fn find(mutant: Mutant, start: u64, seeds: u64) -> Option<Found> {
    let end = start + seeds;
    let known = known_seed(mutant).filter(|seed| (start..end).contains(seed));
    known
        .and_then(|seed| scan(mutant, seed, seed + 1))
        .or_else(|| scan(mutant, start, end))
}

fn scan(mutant: Mutant, start: u64, end: u64) -> Option<Found> {
    let mut from = start;
    while from < end {
        let (seed, why) = first_failing(Some(mutant), from, end - from)?;
        if first_failing(None, seed, 1).is_none() {
            let how = how(&why);
            return Some(Found { seed, how });
        }
        from = seed + 1;
    }
    None
}

/// Where the table says that a mutant is found.
fn known_seed(mutant: Mutant) -> Option<u64> {
    let row = TABLE
        .lines()
        .find(|row| row.starts_with(&format!("| {} |", mutant.name())))?;
    row.trim_end_matches(" |").rsplit("| ").next()?.parse().ok()
}

fn first_failing(mutant: Option<Mutant>, start: u64, seeds: u64) -> Option<(u64, String)> {
    let results = run_all(&Orders {
        agents: false,
        start,
        seeds,
        jobs: 1,
        deadline: None,
        failures: 1,
        mutant,
    });
    results.failing.into_iter().next()
}

/// The rule of a violation, or what a panic or a hang was.
fn how(why: &str) -> String {
    let (rule, rest) = why.split_once(": ").unwrap_or((why, ""));
    match rule {
        "panic" => {
            // `panicked at file:line:column: message`
            let message = rest
                .rsplit_once(".rs:")
                .map_or(rest, |(_, message)| message);
            let message = message
                .split_once(' ')
                .map_or(message, |(_, message)| message);
            let message: String = message.chars().take(60).collect();
            format!("assertion of the core: {message}")
        }
        rule => rule.to_owned(),
    }
}

fn show(mutant: Mutant, found: Option<&Found>) {
    let (how, seed) = match found {
        Some(found) => (&*found.how, found.seed.to_string()),
        None => ("**nothing**", String::new()),
    };
    println!(
        "| {} | {} | {} | {how} | {seed} |",
        mutant.name(),
        mutant.what(),
        mutant.rule(),
    );
}
