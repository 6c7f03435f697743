//! The question that finds what has not happened yet finds a wrong answer without a fault that would show it.

use twindisk_core::Mutant as OfReplica;
use twindisk_simulator::{Mutant, Telling, run_swarm, swarm::Swarm};

/// Seeds within which it must be found.
const SEEDS: u64 = 60;

/// The seeds in which a deliberate bug is found by the question.
fn found(mutant: Option<Mutant>) -> Vec<u64> {
    let fails = |seed: &u64| {
        let mut swarm = Swarm::draw(*seed);
        swarm.mutant = mutant;
        swarm.alone = true;
        // Nobody is promoted, fenced or forced beyond the first primary.
        (swarm.lossy, swarm.faults.fencing, swarm.faults.commands) = (false, false, 0);
        let outcome = run_swarm(swarm, Telling::Silent);
        let asked = |story: &str| story.starts_with("if all others were fenced now");
        outcome.violation.is_some_and(|found| asked(&found.story))
    };
    (0..SEEDS).filter(fails).collect()
}

#[test]
fn who_would_be_promoted_though_outdated_is_found() {
    assert_ne!(
        found(Some(Mutant::Replica(OfReplica::PromoteOutdated))),
        [0; 0]
    );
}

#[test]
fn who_has_no_bug_has_an_answer() {
    assert_eq!(found(None), [0; 0]);
}
