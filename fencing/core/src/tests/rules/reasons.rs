//! What a shot or a kill may be for, by all that the agent was told.

use super::Driver;
use crate::{
    Order, Profile, ResourceIndex, Role, Services, as_ms,
    tests::bench::{DEAD, GRACE, ReplicaView},
};

impl Driver {
    pub(super) fn mets(&self) -> Vec<u64> {
        let met = |view: &Option<ReplicaView>| view.as_ref().map_or(0, |view| view.met);
        self.views.iter().map(met).collect()
    }

    /// Whether the resource needs its peer off, or released.
    pub(super) fn needs(&self, at: usize) -> bool {
        let memory = &self.agent.memory;
        self.views[at].as_ref().is_some_and(|view| {
            let needs = match view.role {
                Role::Primary => view.suspended,
                Role::Standby => view.up_to_date && !view.can_promote && !memory.blocked,
            };
            needs && !view.linked && view.peer_in_sync
                || self.waits_for_services(at, view)
                || at == 0 && view.role == Role::Primary && view.open && !self.may_start(view)
                || self.waits_in_vain(at)
        })
    }

    /// R12, R17: it could be promoted, and what was a client of the peer's time may still run there.
    pub(super) fn waits_for_services(&self, at: usize, view: &ReplicaView) -> bool {
        let free = view.role == Role::Standby && view.can_promote && view.up_to_date;
        let forgotten = self.proven && self.doubted;
        let may_run = forgotten || !self.peer_is_free(at, view);
        free && !self.agent.memory.blocked && may_run
    }

    /// R12: the services of the first resource, which is primary here, may be started. What runs there can be gone by now.
    pub(super) fn may_start(&self, view: &ReplicaView) -> bool {
        self.proven || self.rights[0] || self.may_start_unproven(view)
    }

    fn may_start_unproven(&self, view: &ReplicaView) -> bool {
        let led = view.led.expect("there is data");
        let freed = self.agent.memory.freed.iter();
        let free = freed
            .filter(|one| one.resource == "r0")
            .any(|one| one.term >= led.term);
        let runs = self.heard.as_ref().is_some_and(|(heard, beat)| {
            let said = &beat.resources[0];
            self.now - heard < DEAD && said.services != Services::Down && said.services_term != 0
        });
        free && !runs
    }

    /// As `needs`, where the agent may have forgotten the proof and what was made of it: the two have met since.
    pub(super) fn may_need(&self, at: usize) -> bool {
        let starts = |view: &ReplicaView| view.role == Role::Primary && view.open;
        let view = self.views[0].as_ref().filter(|view| starts(view));
        let forgotten = at == 0 && self.doubted;
        forgotten && view.is_some_and(|view| !self.may_start_unproven(view)) || self.needs(at)
    }

    pub(super) fn peer_is_free(&self, at: usize, view: &ReplicaView) -> bool {
        let led = view.led.expect("there is data");
        let said = |term| self.agent.memory.freed.iter().any(|one| one.term >= term);
        at == 1 || led.node == 1 || self.proven || self.rights[at] || said(led.term)
    }

    /// The peer is heard, hears this node, and has answered all that it was asked.
    pub(super) fn peer_is_well(&self) -> bool {
        self.heard.as_ref().is_some_and(|(heard, beat)| {
            let said = beat.resources.iter().zip(&self.asked);
            let answered = said
                .into_iter()
                .all(|(said, ask)| said.released == *ask || !ask.is_asked());
            self.now - heard < DEAD && beat.hears != 0 && answered
        })
    }

    pub(super) fn stands_still(&self, at: usize) -> u64 {
        self.now - self.moved[at]
    }

    /// I/O has waited for the peer for too long, connected or not.
    pub(super) fn waits_in_vain(&self, at: usize) -> bool {
        let hung = as_ms(Profile::Default.hung());
        self.waiting[at].is_some_and(|since| self.now - since >= hung)
    }

    pub(super) fn has_lost_a_hung_primary(&self, at: usize) -> bool {
        let view = self.views[at].as_ref();
        self.hung[at].is_some_and(|since| self.now - since >= GRACE)
            && view.is_some_and(|view| view.role == Role::Standby && !view.linked)
            && self.stands_still(at) < as_ms(Profile::Default.hang())
    }

    /// Killing takes every replica of the node along.
    pub(super) fn may_kill(&self, resource: ResourceIndex, run: u64) {
        let memory = &self.agent.memory;
        assert!(!memory.maintenance && !memory.blocked && !self.agent.leaving);
        let view = self.views[resource.index()].as_ref().expect("a process");
        assert_eq!((view.run, view.role), (run, Role::Primary));
        assert!(self.stands_still(resource.index()) >= as_ms(Profile::Default.hung()));
        let (heard, beat) = self.heard.as_ref().expect("somebody to take over");
        assert!(self.now - heard < DEAD && (!self.proven || self.doubted));
        for (view, said) in self.views.iter().zip(&beat.resources) {
            let primary = view.as_ref().filter(|view| view.role == Role::Primary);
            assert!(primary.is_none_or(|view| view.peer_in_sync && said.ready));
        }
    }

    pub(super) fn may_fire(&self) {
        let memory = &self.agent.memory;
        assert!(
            !memory.maintenance && !self.agent.leaving,
            "it decides nothing"
        );
        let needed = (0..2).any(|at| self.may_need(at));
        assert!(needed, "nobody needs it off");
        let left = self.heard.as_ref().is_some_and(|(_, beat)| beat.leaving);
        assert!(!left, "it said goodbye");
        assert!(
            !self.peer_is_well()
                || (0..2).any(|at| self.has_lost_a_hung_primary(at) || self.waits_in_vain(at)),
            "nothing is wrong with it"
        );
        assert!(
            self.now - self.stalled >= DEAD,
            "it stood still, and judges"
        );
        // A primary can't be outdated: such an order is an old one.
        let releases = |at: usize| {
            let standby = self.views[at]
                .as_ref()
                .is_some_and(|view| view.role == Role::Standby);
            standby && matches!(self.orders[at], Some(Order::Outdate { .. }))
        };
        assert!(
            (0..2).any(|at| self.may_need(at) && !releases(at)),
            "it is being released"
        );
    }
}
