//! What a replica remembers of its own past, so that others can tell whether it was rolled back.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::Seen;
use crate::{
    ids::{BootId, Moment},
    limits::{MAX_MADE_GOOD, MAX_RUNS},
};

/// A run of a replica's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Run {
    /// Its name. Never 0.
    pub boot: BootId,
    /// How often the superblock was written when it began.
    pub began: Moment,
}

/// The runs of a replica's process that it knows of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Runs {
    /// The newest of those that it remembers, at most [`MAX_RUNS`], oldest first, the one that goes on among them.
    pub newest: Vec<Run>,
    /// What it has forgotten since it was rolled back, of runs that are over: it has been made equal since to a copy that lacked
    /// nothing of what it had then. At most [`MAX_MADE_GOOD`], the newest last, none of a run 0.
    pub made_good: Vec<Seen>,
}

impl Runs {
    /// A run begins, after the superblock was written `began` times.
    pub fn begin(&mut self, boot: BootId, began: Moment) {
        let excess = (self.newest.len() + 1).saturating_sub(MAX_RUNS);
        self.newest.drain(..excess);
        self.newest.push(Run { boot, began });
    }

    /// What was forgotten is there again, up to where it was `seen` in a run that is over.
    pub fn make_good(&mut self, seen: Seen) {
        self.made_good.retain(|other| other.run != seen.run);
        let excess = (self.made_good.len() + 1).saturating_sub(MAX_MADE_GOOD);
        self.made_good.drain(..excess);
        self.made_good.push(seen);
    }

    /// Whether a replica with these runs, whose superblock was written `moment` times by now, lacks nothing of what it had
    /// when it was `seen`.
    #[must_use]
    pub fn remember(&self, seen: Seen, moment: Moment) -> bool {
        let covers = |good: &Seen| good.run == seen.run && seen.moment <= good.moment;
        if seen.moment == Moment(0) || self.made_good.iter().any(covers) {
            return true;
        }
        let Some(at) = self.newest.iter().position(|run| run.boot == seen.run) else {
            // Of runs before the oldest one nothing is known any more.
            let full = self.newest.len() >= MAX_RUNS;
            let oldest = self.newest.first();
            return full && oldest.is_some_and(|oldest| seen.moment <= oldest.began);
        };
        let end = self.newest.get(at + 1).map_or(moment, |next| next.began);
        seen.moment <= end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(newest: &[(u64, u64)]) -> Runs {
        let run = |&(boot, began)| Run {
            boot: BootId(boot),
            began: Moment(began),
        };
        Runs {
            newest: newest.iter().map(run).collect(),
            made_good: Vec::new(),
        }
    }

    fn seen(run: u64, moment: u64) -> Seen {
        Seen {
            run: BootId(run),
            moment: Moment(moment),
        }
    }

    #[test]
    fn what_was_rolled_back_does_not_remember_what_it_said() {
        let remembers =
            |run, said, runs: &Runs, moment| runs.remember(seen(run, said), Moment(moment));
        let three = runs(&[(1, 1), (2, 10), (3, 20)]);
        assert!(remembers(0, 0, &Runs::default(), 0), "never heard");
        assert!(remembers(3, 25, &three, 25));
        assert!(
            !remembers(3, 26, &three, 25),
            "the run that goes on has forgotten"
        );
        assert!(remembers(2, 20, &three, 25));
        assert!(!remembers(2, 21, &three, 99), "it has gone on since");
        assert!(!remembers(4, 21, &three, 99), "a clone was running");
        assert!(!remembers(4, 5, &runs(&[(5, 1)]), 99), "initialised anew");
        let old: Vec<(u64, u64)> = (1..=8).map(|at| (at + 10, at * 10)).collect();
        assert!(remembers(2, 10, &runs(&old), 99), "too old to know");
        assert!(!remembers(2, 11, &runs(&old), 99));
    }

    #[test]
    fn what_was_made_good_is_remembered_as_long_as_there_is_room() {
        let mut runs = runs(&[(1, 1), (3, 20)]);
        assert!(!runs.remember(seen(2, 21), Moment(25)));
        runs.make_good(seen(2, 21));
        assert!(runs.remember(seen(2, 21), Moment(25)));
        assert!(
            !runs.remember(seen(2, 22), Moment(25)),
            "who made it equal had not seen that"
        );
        assert!(
            !runs.remember(seen(1, 21), Moment(25)),
            "that is another one"
        );
        for run in 10..10 + MAX_MADE_GOOD as u64 {
            runs.make_good(seen(run, 1));
            runs.make_good(seen(run, 2));
        }
        assert_eq!(runs.made_good.len(), MAX_MADE_GOOD);
        assert!(!runs.remember(seen(2, 21), Moment(25)), "long ago");
    }
}
