//! Looks for a shorter story: leaves out faults and operations one after the other, as long as the same rule breaks.
//!
//! Each attempt runs in a process of its own, since some stories end in a panic.

use std::process::ExitCode;

use twindisk_simulator::{say, swarm::Swarm};

use crate::workers::program;

/// What is left out.
#[derive(Clone, Debug, Default)]
struct Cut {
    skip: Vec<u32>,
    untargeted: bool,
    operations: Option<u64>,
}

/// Shrinks a failing seed and says how to run what is left.
pub(crate) fn shrink(seed: u64, swarm: &Swarm) -> ExitCode {
    let mut cut = Cut::default();
    let Some(rule) = attempt(seed, &cut) else {
        say!("seed {seed} breaks no rule");
        return ExitCode::SUCCESS;
    };
    let mut attempts = 1;
    let mut try_cut = |cut: &mut Cut, shorter: Cut| {
        attempts += 1;
        let same = attempt(seed, &shorter).is_some_and(|other| other == rule);
        if same {
            *cut = shorter;
        }
        same
    };
    let untargeted = Cut {
        untargeted: true,
        ..cut.clone()
    };
    try_cut(&mut cut, untargeted);
    let mut operations = swarm.load.operations;
    while operations > 1 {
        operations /= 2;
        let shorter = Cut {
            operations: Some(operations),
            ..cut.clone()
        };
        if !try_cut(&mut cut, shorter) {
            break;
        }
    }
    loop {
        let before = cut.skip.len();
        for number in 0..swarm.faults.planned() {
            if !cut.skip.contains(&number) {
                let mut shorter = cut.clone();
                shorter.skip.push(number);
                try_cut(&mut cut, shorter);
            }
        }
        if cut.skip.len() == before {
            break;
        }
    }
    say!(
        "{attempts} attempts; {} of {} planned faults are left. {rule}",
        swarm.faults.planned() as usize - cut.skip.len(),
        swarm.faults.planned()
    );
    say!("run it with: {} --trace", arguments(seed, &cut).join(" "));
    ExitCode::FAILURE
}

/// The rule that a run breaks, if it does.
fn attempt(seed: u64, cut: &Cut) -> Option<String> {
    let output = program().args(arguments(seed, cut)).output().ok()?;
    if output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let rule = text
        .lines()
        .find_map(|line| line.strip_prefix("VIOLATION "))
        .and_then(|line| line.split(':').next())
        .unwrap_or("panic");
    Some(rule.to_owned())
}

fn arguments(seed: u64, cut: &Cut) -> Vec<String> {
    let mut arguments = vec!["--seed".to_owned(), seed.to_string()];
    if !cut.skip.is_empty() {
        let list: Vec<String> = cut.skip.iter().map(u32::to_string).collect();
        arguments.extend(["--skip".to_owned(), list.join(",")]);
    }
    if cut.untargeted {
        arguments.push("--untargeted".to_owned());
    }
    if let Some(operations) = cut.operations {
        arguments.extend(["--operations".to_owned(), operations.to_string()]);
    }
    arguments
}
