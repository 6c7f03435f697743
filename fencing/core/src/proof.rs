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
        });
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
