//! What is known of a peer's power, and of which connection that is.

use crate::{Agent, Level, MemberIndex, PeerIndex, ResourceIndex, Table, Time, mutants::Mutant};

/// A peer was powered off and read as off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// When that was known.
    pub(crate) at: Time,
    /// What was done.
    pub(crate) detail: String,
    /// The run that it ended: what still comes from that was under way.
    pub(crate) boot: u64,
    /// It was switched on again since.
    pub(crate) turned_on: bool,
    /// There was a moment since when nobody needed it off.
    pub(crate) is_over: bool,
}

impl Agent {
    /// What is done now says nothing of a peer that connects later.
    pub(crate) fn note_meetings(&mut self, peer: PeerIndex) {
        let met = self.meetings(peer);
        self.set_meetings(peer, &met);
    }

    /// The last connection of the two replicas of each resource.
    pub(crate) fn meetings(&self, peer: PeerIndex) -> Table<ResourceIndex, u64> {
        let resources = self.resources.iter().zip(&self.config.resources);
        resources
            .map(|(state, config)| {
                let view = state.view.as_ref().zip(config.member(peer));
                view.map_or(0, |(view, member)| view.peers[member].met)
            })
            .collect()
    }

    /// What is known of the peer's power is of after these connections.
    pub(crate) fn set_meetings(&mut self, peer: PeerIndex, met: &Table<ResourceIndex, u64>) {
        let most = if self.mutant(Mutant::ShotOfFirst) {
            1
        } else {
            self.resources.len()
        };
        let resources = self.resources.iter_mut().zip(&self.config.resources);
        for ((state, config), met) in resources.zip(met).take(most) {
            if let Some(member) = config.member(peer) {
                state.members[member].fired_met = *met;
            }
        }
    }

    /// The peer is off, for all that can be known.
    pub(crate) fn prove(&mut self, peer: PeerIndex, detail: String) {
        let (at, state) = (self.now, &mut self.peers[peer]);
        let boot = state.boot;
        state.proof = Some(Proof {
            at,
            detail,
            boot,
            turned_on: false,
            is_over: false,
        });
    }

    /// R14: whether what a peer was off for is over, where a third node may have taken it in again since. Then it has to be
    /// proved off once more.
    pub(crate) fn is_proof_over(&self, resource: ResourceIndex, peer: PeerIndex) -> bool {
        let proof = self.peers[peer].proof.as_ref();
        self.members(resource).len() > 1 && proof.is_some_and(|proof| proof.is_over)
    }

    /// R14: a member was taken into the in-sync set. It has lived since whatever is known of its power, whether it was
    /// heard here or not.
    pub(crate) fn forget_power(&mut self, resource: ResourceIndex, member: MemberIndex) {
        let peer = self.peer_of(resource, member);
        if self.keeps_old_news() {
            return;
        }
        self.peers[peer].reading.interrupt();
        if self.peers[peer].proof.take().is_some() {
            let name = &self.config.peers[peer].name;
            let what = format!("{name} is in sync again: it is not taken for off any more");
            self.report(Level::Info, Some(resource), what);
        }
    }

    /// The replicas have met since the peer was off: whatever it is now, that is over. Says whether it was.
    pub(crate) fn forget_old_proof(
        &mut self,
        resource: ResourceIndex,
        member: MemberIndex,
    ) -> bool {
        let state = &self.resources[resource];
        let met = state.view.as_ref().map(|view| view.peers[member].met);
        let peer = self.peer_of(resource, member);
        if met == Some(state.members[member].fired_met) || self.peers[peer].proof.take().is_none() {
            return false;
        }
        let (name, peer) = (
            &self.config.resources[resource].name,
            &self.config.peers[peer].name,
        );
        let what = format!(
            "{peer} was connected for {name} since it was off: it is not taken for off any more"
        );
        self.report(Level::Info, Some(resource), what);
        true
    }
}
