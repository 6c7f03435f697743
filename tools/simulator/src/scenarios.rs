//! Scenarios written by hand: what other systems got wrong, and the bugs that were found here.
//!
//! Sources: the failures that DRBD's tests and change log name, what cluster managers get wrong around fencing, and
//! this project's own history. `SCENARIOS.md` says which scenario stands for which of them.

mod dead_meta;
mod disks;
mod epochs;
mod failed_disks;
mod granted;
mod identity;
mod latency;
mod moments;
mod network;
mod no_space;
mod power;
mod race;
mod readings;
mod resync;
mod rights;
mod roles;
mod rolled_back;
mod services;
mod size;
mod split_brain;
mod stalls;
mod succession;
mod suspended;
mod three;
mod two_resources;
mod verify;
mod vouched;

use crate::{run::Outcome, swarm::Seed, trace::Telling};

/// Seeds from 1 on that each scenario is run with where all of them are, and where a deliberate bug is looked for.
pub const DICE: u64 = 3;

/// Lives through a scenario with the dice of a seed.
pub type Run = fn(Seed, Telling) -> Outcome;

/// A named scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// In a few words.
    pub name: &'static str,
    /// What it is about.
    pub subject: &'static str,
    /// Lives through it.
    pub run: Run,
}

/// All of them.
pub fn all() -> impl Iterator<Item = Scenario> {
    let subjects: [(&str, &[(&str, Run)]); 27] = [
        ("roles", roles::ALL),
        ("rights", rights::ALL),
        ("granted", granted::ALL),
        ("power", power::ALL),
        ("moments", moments::ALL),
        ("network", network::ALL),
        ("disks", disks::ALL),
        ("failed disks", failed_disks::ALL),
        ("dead metadata", dead_meta::ALL),
        ("latency", latency::ALL),
        ("resync", resync::ALL),
        ("verify", verify::ALL),
        ("size", size::ALL),
        ("stalls", stalls::ALL),
        ("suspended", suspended::ALL),
        ("no space", no_space::ALL),
        ("split brain", split_brain::ALL),
        ("three nodes", three::ALL),
        ("identity", identity::ALL),
        ("rolled back", rolled_back::ALL),
        ("epochs", epochs::ALL),
        ("two resources", two_resources::ALL),
        ("services", services::ALL),
        ("vouched for", vouched::ALL),
        ("race", race::ALL),
        ("readings", readings::ALL),
        ("succession", succession::ALL),
    ];
    subjects.into_iter().flat_map(|(subject, list)| {
        list.iter()
            .map(move |&(name, run)| Scenario { name, subject, run })
    })
}

/// The one of that name.
#[must_use]
pub fn named(name: &str) -> Option<Scenario> {
    all().find(|scenario| scenario.name == name)
}
