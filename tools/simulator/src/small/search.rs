//! Every order: a walk through all states that can be reached, each visited once.

use std::{collections::HashSet, fmt::Write as _};

use xxhash_rust::xxh3::Xxh3;

/// Something whose every order of steps can be walked.
pub trait Walk: Clone {
    /// One thing that can happen.
    type Step: Copy;

    /// Names of its two nodes. `before`: those of the state that it was reached from, and by what.
    fn nodes(&self, before: Option<(&[u128; 2], Self::Step)>) -> [u128; 2];

    /// A name for all else that decides how it goes on.
    fn surroundings(&self) -> u128;

    /// A name for what decides, beside the node itself, what [`Self::question`] answers of it.
    fn asked_of(&self, number: usize) -> u128;

    /// What must hold of a node in each state.
    ///
    /// # Errors
    /// The rule that is broken.
    fn question(&self, number: usize) -> Result<(), String>;

    /// What can happen next.
    fn steps(&self) -> Vec<Self::Step>;

    /// What must hold in a state from which these steps lead on.
    ///
    /// # Errors
    /// The rule that is broken.
    fn at_rest(&self, steps: &[Self::Step]) -> Result<(), String>;

    /// Does one thing.
    ///
    /// # Errors
    /// The rule that is broken.
    fn step(&mut self, step: Self::Step) -> Result<(), String>;
}

/// What a search has found.
#[derive(Clone, Debug)]
pub struct Found<S> {
    /// States that differ.
    pub states: usize,
    /// Steps taken: more than states, since many lead to a state that is known.
    pub steps: u64,
    /// The longest way.
    pub depth: usize,
    /// Whether all states were visited.
    pub complete: bool,
    /// The rule that was broken, and the way there.
    pub violation: Option<(String, Vec<S>)>,
}

/// Visits every state that can be reached from `first`, at most `states` of them.
#[must_use]
pub fn walk<W: Walk>(first: W, states: usize) -> Found<W::Step> {
    let mut search = Search {
        seen: HashSet::new(),
        answered: HashSet::new(),
    };
    let mut found = Found {
        states: 0,
        steps: 0,
        depth: 0,
        complete: true,
        violation: None,
    };
    let mut way = Vec::new();
    let mut first = Place::new(first, None);
    let mut outcome = search.visit(&mut first);
    let mut stack = vec![first];
    while outcome.is_ok() {
        if search.seen.len() > states {
            found.complete = false;
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
        found.steps += 1;
        way.push(step);
        found.depth = found.depth.max(way.len());
        let mut world = place.world.clone();
        outcome = world.step(step);
        if outcome.is_ok() {
            let mut next = Place::new(world, Some((place, step)));
            outcome = search.visit(&mut next);
            stack.push(next);
        }
    }
    found.violation = outcome.err().map(|why| (why, way));
    found.states = search.seen.len();
    found
}

struct Search {
    seen: HashSet<u128>,
    /// Nodes that the question was asked of already.
    answered: HashSet<u128>,
}

/// A state on the way that is being walked.
struct Place<W: Walk> {
    world: W,
    /// Names of its nodes.
    nodes: [u128; 2],
    /// What is still to be tried from here.
    steps: Vec<W::Step>,
}

impl Search {
    /// Looks at a state, and at what can happen in it, unless it is known.
    fn visit<W: Walk>(&mut self, place: &mut Place<W>) -> Result<(), String> {
        if !self
            .seen
            .insert(hashed(&(place.nodes, place.world.surroundings())))
        {
            return Ok(());
        }
        for number in 0..2 {
            let asked = (number, place.nodes[number], place.world.asked_of(number));
            if self.answered.insert(hashed(&asked)) {
                place.world.question(number)?;
            }
        }
        place.steps = place.world.steps();
        place.world.at_rest(&place.steps)
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

/// A name for something: what is printed alike has the same.
pub(super) fn hashed(what: &dyn core::fmt::Debug) -> u128 {
    let mut hash = Hashed(Xxh3::new());
    write!(hash, "{what:?}").expect("hashing takes everything");
    hash.0.digest128()
}

impl<W: Walk> Place<W> {
    /// A place that is reached from `before` by `step`, or the first one.
    fn new(world: W, before: Option<(&Self, W::Step)>) -> Self {
        let nodes = world.nodes(before.map(|(before, step)| (&before.nodes, step)));
        Self {
            world,
            nodes,
            steps: Vec::new(),
        }
    }
}
