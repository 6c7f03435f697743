//! The mutation check: cores with a deliberate bug run seeds until a rule is broken. It proves that the checker bites.

use std::{
    collections::BTreeMap,
    ops::Range,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use twindisk_simulator::{
    Mutant, say,
    scenarios::{self, DICE, Scenario},
};

use crate::workers::{Orders, Play, run_all};

/// What an earlier run has found: the seeds and scenarios that it names are tried first.
const TABLE: &str = include_str!("../MUTANTS.md");

/// Seeds of pairs with agents, at most.
const AGENT_SEEDS: u64 = 300;

/// In the table, before such a seed.
const AGENTS: &str = "agents ";

/// The same with a witness.
const WITNESS: &str = "witness ";

/// The same of three nodes.
const THREE: &str = "three ";

/// Where a mutant was found.
struct Found {
    place: Place,
    /// The broken rule, or how the core's own checks stopped it.
    how: String,
}

/// A seed; or a scenario, for what is too rare in seeds.
#[derive(Clone, Copy)]
enum Place {
    Seed(u64),
    Scenario(Scenario),
}

/// The mutant of that name; prints all of them when there is none.
pub(crate) fn named(name: Option<&str>) -> Result<Option<Mutant>, ()> {
    let Some(name) = name else { return Ok(None) };
    let all = Mutant::all();
    let found = all.iter().find(|mutant| mutant.name() == name);
    if found.is_none() {
        for mutant in &all {
            say!(
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
    let all = Mutant::all();
    let next = AtomicUsize::new(0);
    let found = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(mutant) = all.get(number) else {
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
    say!("| mutant | what it does | breaks | found by | where |");
    say!("|---|---|---|---|---|");
    let mut missed = Vec::new();
    for (mutant, result) in all.iter().zip(found.values()) {
        show(*mutant, result.as_ref());
        if result.is_none() {
            missed.push(mutant.name());
        }
    }
    let count = all.len() - missed.len();
    say!(
        "\n{count} of {} mutants found in at most {seeds} seeds each, or in a scenario",
        all.len()
    );
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    say!("not found: {}", missed.join(", "));
    ExitCode::FAILURE
}

/// Where a run fails with the mutant and holds without it: the place in the table, or else the first seed, or else the
/// first scenario.
fn find(mutant: Mutant, start: u64, seeds: u64) -> Option<Found> {
    // A pair with agents takes longer than a cluster without.
    let seeds = if mutant.is_of_agents() || mutant.needs_witness() {
        seeds.min(AGENT_SEEDS)
    } else {
        seeds
    };
    let end = start + seeds;
    let known = known_place(mutant).and_then(|place| match place {
        Place::Seed(seed) if (start..end).contains(&seed) => scan(mutant, None, seed..seed + 1),
        Place::Seed(_) => None,
        // Some need an interleaving that few dice have.
        Place::Scenario(scenario) => scan(mutant, Some(scenario), 1..8 * DICE + 1),
    });
    if mutant.is_of_agents() || mutant.needs_witness() {
        return known.or_else(|| scan(mutant, None, start..end));
    }
    let scripted = || scenarios::all().find_map(|it| scan(mutant, Some(it), 1..DICE + 1));
    known
        .or_else(|| scan(mutant, None, start..end))
        .or_else(scripted)
}

fn scan(mutant: Mutant, scenario: Option<Scenario>, seeds: Range<u64>) -> Option<Found> {
    let play = match scenario {
        Some(scenario) => Play::Scenario(scenario),
        None if mutant.needs_witness() => Play::Witness,
        None if mutant.needs_three() => Play::Three,
        None if mutant.is_of_agents() => Play::Agents,
        None => Play::Swarm,
    };
    let mut from = seeds.start;
    while from < seeds.end {
        let (seed, why) = first_failing(Some(mutant), play, from..seeds.end)?;
        if first_failing(None, play, seed..seed + 1).is_none() {
            let how = how(&why);
            let place = scenario.map_or(Place::Seed(seed), Place::Scenario);
            return Some(Found { place, how });
        }
        from = seed + 1;
    }
    None
}

/// Where the table says that a mutant is found.
fn known_place(mutant: Mutant) -> Option<Place> {
    let row = TABLE
        .lines()
        .find(|row| row.starts_with(&format!("| {} |", mutant.name())))?;
    let last = row.trim_end_matches(" |").rsplit("| ").next()?;
    let seed = last
        .trim_start_matches(AGENTS)
        .trim_start_matches(WITNESS)
        .trim_start_matches(THREE)
        .parse()
        .ok();
    let seed = seed.map(Place::Seed);
    seed.or_else(|| scenarios::named(last.trim_matches('`')).map(Place::Scenario))
}

fn first_failing(mutant: Option<Mutant>, play: Play, seeds: Range<u64>) -> Option<(u64, String)> {
    let results = run_all(&Orders {
        start: seeds.start,
        seeds: seeds.end - seeds.start,
        play,
        jobs: 1,
        deadline: None,
        failures: 1,
        mutant,
        alone: twindisk_simulator::swarm::ASK_ALONE,
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
    let how = found.map_or("**nothing**", |found| &found.how);
    let place = match found.map(|found| found.place) {
        Some(Place::Seed(seed)) if mutant.needs_witness() => format!("{WITNESS}{seed}"),
        Some(Place::Seed(seed)) if mutant.needs_three() => format!("{THREE}{seed}"),
        Some(Place::Seed(seed)) if mutant.is_of_agents() => format!("{AGENTS}{seed}"),
        Some(Place::Seed(seed)) => seed.to_string(),
        Some(Place::Scenario(scenario)) => format!("`{}`", scenario.name),
        None => String::new(),
    };
    say!(
        "| {} | {} | {} | {how} | {place} |",
        mutant.name(),
        mutant.what(),
        mutant.rule(),
    );
}
