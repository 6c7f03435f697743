//! Another node, as its heartbeats show it.

use std::{collections::VecDeque, time::Duration};

use crate::{
    Beat, BeatResource, PathIndex, Table, Time, check::Check, fence::Fencing, proof::Proof,
    reading::Reading,
};

/// So many ended runs of a peer are remembered: more than its agent is restarted while a datagram is under way.
const ENDED: usize = 100;

/// A node that shares a resource with this one.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Each path to it.
    pub(crate) paths: Table<PathIndex, Path>,
    /// Its run, as heard last.
    pub(crate) boot: u64,
    /// The latest start of a run of it.
    started: u64,
    /// Earlier runs, newest last.
    ended: VecDeque<u64>,
    /// When it said something new last, over whatever path; `None`: never.
    heard: Option<Time>,
    /// What it said last.
    pub(crate) beat: Option<Beat>,
    /// That answers something which this agent has sent lately: what it asks for may be done.
    pub(crate) answers: bool,
    /// The shot at it that is wanted or under way.
    pub(crate) fencing: Fencing,
    /// What its power has read as since it fell silent.
    pub(crate) reading: Reading,
    /// What its fence devices say while it is heard.
    pub(crate) check: Check,
    /// Its run when it was fired at last.
    pub(crate) fired_boot: u64,
    /// It was read as off, and was not heard since.
    pub(crate) proof: Option<Proof>,
    /// Since when it says that it hears nothing of this node.
    pub(crate) deaf: Option<Time>,
    /// When it was shot, newest last.
    pub(crate) shots: Vec<Time>,
    /// How long its fence device took to answer last.
    pub(crate) latency: Duration,
    /// What it said when it did not work the last time that it was asked.
    pub(crate) fault: Option<String>,
    /// None of its levels works without a person.
    pub(crate) by_hand: bool,
}

/// One heartbeat path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Path {
    /// When something came over it last; `None`: never.
    pub(crate) heard: Option<Time>,
    /// The newest beat of the current run that came over it.
    seq: u64,
    /// Its silence was reported.
    pub(crate) warned: bool,
}

impl Peer {
    pub(crate) fn new(paths: &Table<PathIndex, String>) -> Self {
        Self {
            paths: paths.iter().map(|_| Path::default()).collect(),
            boot: 0,
            started: 0,
            ended: VecDeque::new(),
            heard: None,
            beat: None,
            answers: false,
            fencing: Fencing::Idle,
            reading: Reading::default(),
            check: Check::default(),
            fired_boot: 0,
            proof: None,
            deaf: None,
            shots: Vec::new(),
            latency: Duration::ZERO,
            fault: None,
            by_hand: false,
        }
    }

    /// Takes a beat in; says why not. `me` is the receiver's run; who is silent for `dead` is lost.
    ///
    /// A beat of an earlier run, recorded and sent again, must not make a dead node live: a run is believed if it is
    /// not one that another has followed, and began later than all others or has heard this run of the receiver (clocks
    /// can be set back).
    pub(crate) fn hear(
        &mut self,
        now: Time,
        path: PathIndex,
        beat: &Beat,
        me: u64,
        dead: Duration,
    ) -> Result<(), &'static str> {
        let Some(known) = self.paths.get(path) else {
            return Err("it came over a path that is not configured");
        };
        if beat.boot == self.boot {
            if beat.seq <= known.seq {
                return Err("it was sent before, or overtaken");
            }
        } else {
            let record = beat.started <= self.started && beat.echo != me;
            if record || self.ended.contains(&beat.boot) {
                return Err("it is of a run of that agent that has ended");
            }
            if self.ended.len() == ENDED {
                self.ended.pop_front();
            }
            self.ended.push_back(self.boot);
            self.boot = beat.boot;
            self.started = self.started.max(beat.started);
            self.paths.iter_mut().for_each(|path| path.seq = 0);
            self.deaf = None;
        }
        // Deaf is who goes on speaking and hears nothing: after a silence both sides have to be heard first.
        if !self.is_heard(now, dead) {
            self.deaf = None;
        }
        let newest = self
            .beat
            .as_ref()
            .is_none_or(|last| last.boot != beat.boot || last.seq < beat.seq);
        let known = &mut self.paths[path];
        known.seq = beat.seq;
        known.heard = Some(now);
        if newest {
            // A copy that comes later over another path shows that path, and not that its sender still lives.
            self.heard = Some(now);
            self.beat = Some(beat.clone());
            self.deaf = (beat.hears == 0).then(|| self.deaf.unwrap_or(now));
        }
        Ok(())
    }

    /// This is the newest beat of it.
    pub(crate) fn is_newest(&self, beat: &Beat) -> bool {
        let newest = self.beat.as_ref();
        newest.is_some_and(|newest| (newest.boot, newest.seq) == (beat.boot, beat.seq))
    }

    /// Its agent was stopped by a person, and was not heard since.
    pub(crate) fn has_left(&self) -> bool {
        self.beat.as_ref().is_some_and(|beat| beat.leaving)
    }

    /// Its fence device is in use, or about to be.
    pub(crate) fn is_aimed_at(&self) -> bool {
        self.fencing != Fencing::Idle
    }

    /// When it was heard last, over whatever path.
    pub(crate) fn heard(&self) -> Option<Time> {
        self.heard
    }

    /// Since when nothing is heard of it, or it hears nothing of this node; `None`: it was never heard.
    pub(crate) fn lost_since(&self) -> Option<Time> {
        self.deaf
            .map_or(self.heard, |deaf| Some(deaf).min(self.heard))
    }

    /// Whether it was heard within the last `time`.
    pub(crate) fn is_heard(&self, now: Time, time: Duration) -> bool {
        self.heard().is_some_and(|heard| now.since(heard) < time)
    }

    /// What it says of a resource, if it was heard within the last `time` and was not powered off since.
    pub(crate) fn says(&self, now: Time, time: Duration, resource: &str) -> Option<&BeatResource> {
        let speaks = self.is_heard(now, time) && self.proof.is_none();
        let beat = self.beat.as_ref().filter(|_| speaks)?;
        beat.resources.iter().find(|said| said.name == resource)
    }

    /// Paths over which it is heard, one bit each.
    pub(crate) fn hears(&self, now: Time, time: Duration) -> u8 {
        let heard = |path: &Path| path.heard.is_some_and(|heard| now.since(heard) < time);
        let bits = self.paths.iter().enumerate().take(8);
        bits.fold(0, |bits, (at, path)| bits | u8::from(heard(path)) << at)
    }

    /// The receiver itself stood still: nobody's silence means anything.
    pub(crate) fn forgive(&mut self, now: Time) {
        self.heard = self.heard.map(|_| now);
        for path in self.paths.iter_mut() {
            if path.heard.is_some() {
                path.heard = Some(now);
            }
        }
        self.deaf = self.deaf.map(|_| now);
        self.reading.interrupt();
    }
}
