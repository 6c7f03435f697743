//! I/O that stands still while the host lives. A person is told first. A primary that goes on like that has failed: its
//! process is killed, which costs nobody anything that it had not lost already, and the other node takes over as from any
//! process that is gone. One that can't be killed (the kernel does not let go of it before its disk answers) says so in its
//! beats, and the other node has its host fenced.

use std::time::Duration;

use crate::{
    Action, Agent, HungIo, Level, MemberIndex, ResourceIndex, Role, Time, mutants::Mutant,
    resource::Resource,
};

impl Resource {
    /// For how long its disk has answered nothing though it was asked, or its process has said nothing.
    pub(crate) fn stands_still(&self, now: Time) -> Duration {
        let since = self.view.as_ref().map(|_| now.since(self.moved));
        since.unwrap_or_default()
    }
}

impl Agent {
    /// Whether no primary of this node hangs, and no services stay that have to be gone: what a watchdog is fed for. A primary
    /// that waits for a receipt or for the peer does not hang, and one whose process is gone does not either. What is gentler
    /// than a reset gets its time first.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let profile = self.config.profile;
        let last = if self.may_kill() {
            profile.hung() + profile.hang()
        } else {
            profile.hang()
        };
        let mut resources = self.resources.keys();
        !resources.any(|resource| self.hangs(resource, last) || self.overstays(resource))
    }

    /// Whether a primary of this node has stood still for so long.
    fn hangs(&self, resource: ResourceIndex, time: Duration) -> bool {
        let state = &self.resources[resource];
        let view = state.view.as_ref();
        let time = if self.mutant(Mutant::HastyKill) {
            self.config.profile.interval()
        } else {
            time
        };
        view.is_some_and(|view| view.role == Role::Primary) && state.stands_still(self.now) >= time
    }

    /// Whether killing the process of the replicas makes anything better: each primary among them has somebody to take over.
    fn may_kill(&self) -> bool {
        let decides = !self.memory.maintenance && !self.memory.blocked && !self.leaving;
        let has_successor = |resource| self.successors(resource).next().is_some();
        self.config.hung_io == HungIo::Act
            && decides
            && self.resources.keys().all(|resource| {
                let view = self.resources[resource].view.as_ref();
                view.is_none_or(|view| view.role == Role::Standby || has_successor(resource))
            })
    }

    /// The members that would take over if the primary were lost, as their agents say.
    pub(crate) fn successors(&self, resource: ResourceIndex) -> impl Iterator<Item = MemberIndex> {
        let view = self.resources[resource].view.as_ref();
        self.members(resource).filter(move |member| {
            let said = self.said_exactly(resource, *member);
            view.is_some_and(|view| view.peers[*member].in_sync)
                && said.is_some_and(|said| said.ready)
        })
    }

    /// Whether this node would take a resource over if its primary were gone.
    pub(crate) fn is_ready(&self, resource: ResourceIndex) -> bool {
        let state = &self.resources[resource];
        let decides = !self.memory.maintenance && !self.memory.blocked && !self.leaving;
        let able = state.view.as_ref().is_some_and(|view| {
            view.role == Role::Standby
                && view.up_to_date
                && view.has_others()
                && self.own_services_fit(resource, view)
        });
        decides && able && !self.is_stuck(resource)
    }

    /// Whether the replica of this node stands still itself, whatever its role: it is no help to anybody.
    pub(crate) fn is_stuck(&self, resource: ResourceIndex) -> bool {
        self.resources[resource].stands_still(self.now) >= self.config.profile.hang()
    }

    /// A primary of this node stands still, was killed for that, and is there all the same.
    pub(crate) fn is_hung(&self, resource: ResourceIndex) -> bool {
        self.resources[resource].killed && self.hangs(resource, self.config.profile.hung())
    }

    /// A member's agent has said for a while that its primary hangs and can't be killed. Who hangs itself (the disk may be
    /// one that both share) is no better.
    pub(crate) fn has_hung_primary(&self, resource: ResourceIndex, member: MemberIndex) -> bool {
        let grace = self.config.profile.restart_grace();
        let since = self.member(resource, member).hung;
        self.config.hung_io == HungIo::Act
            && since.is_some_and(|since| self.now.since(since) >= grace)
            && !self.is_stuck(resource)
    }

    /// A standby that lives and gets nothing done, its disk most likely, stops a primary as one does that is gone: each
    /// time that it is connected, comparing comes to nothing. It has as long as a primary that hangs.
    pub(crate) fn waits_in_vain(&self, resource: ResourceIndex, member: MemberIndex) -> bool {
        let since = self.member(resource, member).waits;
        self.config.hung_io == HungIo::Act
            && since.is_some_and(|since| self.now.since(since) >= self.config.profile.hung())
            && !self.is_stuck(resource)
    }

    pub(crate) fn look_at_hangs(&mut self) {
        let profile = self.config.profile;
        for resource in self.resources.keys() {
            if !self.hangs(resource, profile.hang()) {
                let state = &mut self.resources[resource];
                (state.hang_told, state.killed) = (false, false);
                continue;
            }
            if !std::mem::replace(&mut self.resources[resource].hang_told, true) {
                self.tell_hang(resource);
            }
            if self.hangs(resource, profile.hung()) {
                self.kill(resource);
            }
        }
    }

    fn tell_hang(&mut self, resource: ResourceIndex) {
        let seconds = self.config.profile.hang().as_secs();
        let next = if self.may_kill() {
            let peer = self.names(resource, |member| {
                self.successors(resource).next() == Some(member)
            });
            format!("if it goes on for as long again, its process is killed and {peer} takes over")
        } else {
            "a watchdog, if there is one, is fed no longer and resets this host".to_owned()
        };
        let what = format!(
            "its disk has answered nothing, or its process has said nothing, for {seconds} s: {next}"
        );
        self.report(Level::Alarm, Some(resource), what);
    }

    /// Kills a process once for each time that it hangs.
    fn kill(&mut self, resource: ResourceIndex) {
        let view = self.resources[resource].view.as_ref();
        let Some(run) = view.map(|view| view.run) else {
            return;
        };
        if self.resources[resource].killed || !self.may_kill() {
            return;
        }
        self.resources[resource].killed = true;
        let what = format!(
            "its I/O has stood still for {} s: its process is killed, so that it is taken over",
            self.config.profile.hung().as_secs()
        );
        self.report(Level::Alarm, Some(resource), what);
        self.act(Action::Kill { resource, run });
        self.beat_now = true;
    }
}
