//! Two that could become equal do not yet, because of a third node: data comes from one node at a time, and a primary says
//! who of its standbys is equal.

use twindisk_format::{control::PeerState, ids::Slot};

use crate::{Mark, compare::Reason, mutants::Mutant, peer::Phase, replica::Replica};

impl Replica {
    /// Why this node and a peer may not become equal now: data comes from one node at a time, and never from one that is
    /// being overwritten itself. A standby vouches for nobody while it has a primary, which may be going on without the
    /// peer at this moment.
    pub(super) fn must_wait(&mut self, slot: Slot, reason: Reason, lead: bool) -> Option<String> {
        let said = self.peer(slot).said.as_ref();
        let vouch = reason.resync || said.is_none_or(|said| !said.up_to_date);
        if let Some(primary) = self.follows().filter(|primary| *primary != slot && vouch) {
            self.marks.mark(Mark::PrimaryMakesEqual);
            let name = &self.peer(primary).name;
            return Some(if self.store.peer(primary).standing.is_counted() {
                format!("{name} is primary and has to make the two equal")
            } else {
                format!(
                    "{name} is primary and has no copy of its own to make the two equal: \
                     `twindisk switchover` here makes this node primary"
                )
            });
        }
        let target_of = self.slots().find(|other| {
            let peer = self.peer(*other);
            let primary = peer.said.as_ref().is_some_and(|said| said.primary);
            *other != slot
                && matches!(&peer.phase, Phase::Following { reason, .. } if reason.resync || primary)
        })?;
        let name = self.peer(target_of).name.clone();
        let primary = self
            .peer(slot)
            .said
            .as_ref()
            .is_some_and(|said| said.primary);
        if primary && !lead {
            let why = "a primary brings this node up to date instead";
            self.drop_link(target_of, Mark::PrimaryInstead, why);
            return None;
        }
        self.marks.mark(Mark::BroughtUpByAnother);
        Some(format!("{name} is bringing this node up to date"))
    }

    /// The same seen from the other side: the peer follows a primary, and will do nothing. To be recorded as outdated for
    /// it would be to release a copy that the primary counts on, which does not know.
    pub(super) fn peer_must_wait(
        &mut self,
        slot: Slot,
        reason: Reason,
        mine: &PeerState,
    ) -> Option<String> {
        let me = self.store.get().node;
        let said = self.peer(slot).said.as_ref()?;
        let primary = said.follows.filter(|primary| *primary != me)?;
        let vouches = !reason.resync && mine.up_to_date;
        if mine.primary || vouches || self.mutant(Mutant::FollowAFollower) {
            return None;
        }
        if self.is_rewound(slot) {
            // That is recorded, and the peer hears of it, though it does nothing: else it would be news again and again.
            return None;
        }
        let name = self.slots().find(|slot| self.peer(*slot).node == primary);
        let name = name.map_or_else(
            || format!("node {primary}"),
            |slot| self.peer(slot).name.clone(),
        );
        self.marks.mark(Mark::PeersPrimaryMakesEqual);
        Some(format!(
            "{} follows {name}, which has to make the two equal",
            self.peer(slot).name
        ))
    }

    /// This node is about to be overwritten: who took it for equal, or for a source, must think again.
    pub(super) fn part_from_others(&mut self, leader: Slot) {
        for slot in self.slots() {
            // One that this node was about to follow would take it back into the set, though it releases itself now (R14).
            let relies = matches!(
                self.peer(slot).phase,
                Phase::Established | Phase::Leading { .. } | Phase::Following { .. }
            );
            if slot != leader && relies {
                let name = self.peer(leader).name.clone();
                let why = format!("{name} brings this node up to date");
                self.drop_link(slot, Mark::AnotherLeads, why);
            }
        }
    }
}
