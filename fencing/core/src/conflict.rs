//! A replica that is in conflict with another one (split brain, unrelated, rolled back): a person decides whose data
//! counts. Until then this agent promotes, releases and shoots for it nobody, and says so (R11).

use std::fmt;

use crate::{Agent, Beat, Level, PeerIndex, ResourceIndex, mutants::Mutant, resource::Resource};

impl Agent {
    /// Whether the replica was in conflict with another one when it said something last, or the two nodes do not agree on who
    /// decides.
    pub(crate) fn in_conflict(&self, resource: ResourceIndex) -> bool {
        let mut members = self.resources[resource].members.iter();
        if members.any(|member| member.arbiters_differ) {
            return true;
        }
        let any = |one: &Resource| one.conflict.is_some();
        any(&self.resources[resource])
            || self.mutant(Mutant::ConflictOfAny) && self.resources.iter().any(any)
    }

    /// The replica has said something of itself. What it said last holds while its process is gone.
    pub(crate) fn look_at_conflict(&mut self, resource: ResourceIndex) {
        let state = &mut self.resources[resource];
        let Some(view) = &state.view else { return };
        if state.conflict == view.conflict {
            return;
        }
        let before = std::mem::replace(&mut state.conflict, view.conflict.clone());
        match (before, state.conflict.clone()) {
            (None, Some(why)) => {
                let what = format!("decides nothing any more, a person has to: {why}");
                self.report(Level::Alarm, Some(resource), what);
            }
            (Some(_), None) => {
                let what = "its conflict is over: decides again";
                self.report(Level::Info, Some(resource), what.into());
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    /// R8: where two nodes ask different arbiters, each could go on and not know of the other.
    pub(crate) fn compare_arbiters(&mut self, peer: PeerIndex, beat: &Beat) {
        for resource in self.resources.keys() {
            let config = &self.config.resources[resource];
            let Some(member) = config.member(peer) else {
                continue;
            };
            let mut said = beat.resources.iter();
            let Some(said) = said.find(|said| said.name == config.name) else {
                continue;
            };
            let here = Named::new(&config.arbiter_id, config.arbiter);
            let there = Named::new(&said.arbiter, said.witness);
            let differ = here.differs(there);
            let state = &mut self.resources[resource].members[member];
            let before = std::mem::replace(&mut state.arbiters_differ, differ);
            if differ && !before {
                let name = &self.config.peers[peer].name;
                let what = format!(
                    "decides nothing any more: its arbiter is {here} here and {there} in the configuration of {name}. Make the files \
                     the same and restart the agents",
                );
                self.report(Level::Alarm, Some(resource), what);
            } else if before && !differ {
                let what = "both nodes name the same arbiter: decides again";
                self.report(Level::Info, Some(resource), what.into());
            }
        }
    }
}

/// An arbiter as a configuration names it.
#[derive(Clone, Copy)]
pub(crate) struct Named<'n> {
    kind: &'n str,
    /// Empty: not said.
    which: &'n str,
}

impl<'n> Named<'n> {
    /// By its kind with a digest behind it; who says neither knows witnesses alone, or power switches.
    pub(crate) fn new(id: &'n str, keeps_record: bool) -> Self {
        let (kind, which) = id.split_once(' ').unwrap_or((id, ""));
        let kind = match (kind, keeps_record) {
            ("", true) => "witness",
            ("", false) => "fence",
            (kind, _) => kind,
        };
        Self { kind, which }
    }

    fn differs(self, other: Self) -> bool {
        let said = !self.which.is_empty() && !other.which.is_empty();
        self.kind != other.kind || said && self.which != other.which
    }

    /// As it is called in a sentence.
    pub(crate) fn word(self) -> &'n str {
        match self.kind {
            "witness" => "the witness",
            kind => kind,
        }
    }
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)?;
        if self.which.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", self.which)
    }
}
