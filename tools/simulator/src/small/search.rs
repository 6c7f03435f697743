//! Every order: a walk through all states that can be reached, each visited once.

use std::{collections::HashSet, fmt::Write as _};

use xxhash_rust::xxh3::Xxh3;

use super::{
    step::Step,
    world::{Bounds, World},
};

/// What a search has found.
#[derive(Clone, Debug)]
pub struct Found {
    /// States that differ.
    pub states: usize,
    /// Steps taken: more than states, since many lead to a state that is known.
    pub steps: u64,
    /// The longest way.
    pub depth: usize,
    /// Whether all states were visited.
    pub complete: bool,
    /// The rule that was broken, and the way there.
    pub violation: Option<(String, Vec<Step>)>,
}

/// Visits every state of a world of these bounds, at most `states` of them.
#[must_use]
pub fn explore(bounds: &Bounds, states: usize) -> Found {
    let mut search = Search {
        seen: HashSet::new(),
        answered: HashSet::new(),
        found: Found {
            states: 0,
            steps: 0,
            depth: 0,
            complete: true,
            violation: None,
        },
    };
    let mut way = Vec::new();
    let mut first = Place::new(World::new(bounds), None);
    let mut outcome = search.visit(&mut first);
    let mut stack = vec![first];
    while outcome.is_ok() {
        if search.seen.len() > states {
            search.found.complete = false;
            break;
        }
        let Some(place) = stack.last_mut() else {
            break;
        };
        let Some(step) = place.steps.pop() else {
            stack.pop();
            way.pop();
            continue;
        };
        search.found.steps += 1;
        way.push(step);
        search.found.depth = search.found.depth.max(way.len());
        let mut world = place.world.clone();
        outcome = world.step(step);
        if outcome.is_ok() {
            let mut next = Place::new(world, Some((place, step)));
            outcome = search.visit(&mut next);
            stack.push(next);
        }
    }
    search.found.violation = outcome.err().map(|why| (why, way));
    search.found.states = search.seen.len();
    search.found
}

struct Search {
    seen: HashSet<u128>,
    /// Nodes that were asked already whether they would keep everything.
    answered: HashSet<u128>,
    found: Found,
}

/// A state on the way that is being walked.
struct Place {
    world: World,
    /// Names of its nodes.
    nodes: [u128; 2],
    /// What is still to be tried from here.
    steps: Vec<Step>,
}

impl Search {
    /// Looks at a state, and at what can happen in it, unless it is known.
    fn visit(&mut self, place: &mut Place) -> Result<(), String> {
        if !self.seen.insert(place.digest()) {
            return Ok(());
        }
        for number in 0..2 {
            if self.answered.insert(place.digest_of(number)) {
                place.world.would_keep(number)?;
            }
        }
        place.steps = place.world.steps();
        if !place.steps.iter().copied().any(Step::goes_on) {
            place.world.at_rest()?;
        }
        Ok(())
    }
}

/// Hashes what is printed.
struct Hashed(Xxh3);

impl core::fmt::Write for Hashed {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

fn hashed(what: &dyn core::fmt::Debug) -> u128 {
    let mut hash = Hashed(Xxh3::new());
    write!(hash, "{what:?}").expect("hashing takes everything");
    hash.0.digest128()
}

impl Place {
    /// A place that is reached from `before` by `step`, or the first one.
    fn new(world: World, before: Option<(&Self, Step)>) -> Self {
        let nodes = [0, 1].map(|number| match before {
            Some((before, step)) if !step.changes(number) => before.nodes[number],
            _ => hashed(world.node(number)),
        });
        Self {
            world,
            nodes,
            steps: Vec::new(),
        }
    }

    /// A name for all that there is: worlds with the same go on alike.
    fn digest(&self) -> u128 {
        hashed(&(self.nodes, self.world.surroundings()))
    }

    /// A name for what decides whether a node would keep everything.
    fn digest_of(&self, number: usize) -> u128 {
        hashed(&(number, self.nodes[number], self.world.promises(number)))
    }
}
