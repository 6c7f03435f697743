//! Another node that has a copy of a resource: what this one has to do with it.

use crate::{Agent, MemberIndex, PeerIndex, PeerView, Question, ResourceIndex, Role, Time};

/// What is known of another node that has a copy of a resource, and what was done about it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
    /// Since when the two replicas are not connected.
    pub(crate) lost: Option<Time>,
    /// When the local one was last seen to get something done before that.
    pub(crate) moved_before: Time,
    /// Since when the peer's agent says that its replica is not primary: it has no process, or is standby.
    pub(crate) idle: Option<Time>,
    /// Since when the peer's agent says that its primary hangs and can't be killed.
    pub(crate) hung: Option<Time>,
    /// Since when the I/O of the local primary waits for it, whether it is connected or not.
    pub(crate) waits: Option<Time>,
    /// The local replica has said last that it does not belong to the in-sync set.
    pub(crate) is_out: bool,
    /// What gave the right to go on without it since it was lost.
    pub(crate) right: Option<Right>,
    /// What its agent is asked, if it is.
    pub(crate) asking: Option<Asking>,
    /// The last connection of the two replicas when it was fired at, or said to be off.
    pub(crate) fired_met: u64,
    /// Its question for which the local replica was recorded as Outdated.
    pub(crate) released: Question,
    /// Its configuration names another arbiter: see `conflict`.
    pub(crate) arbiters_differ: bool,
}

/// A right to go on without a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Right {
    /// What gave it.
    pub(crate) what: String,
    /// The last connection of the two replicas then.
    pub(crate) met: u64,
    /// It is the arbiter's: the other node may live.
    pub(crate) is_granted: bool,
}

impl Right {
    /// The one that such a receipt gives.
    pub(crate) fn new(kind: &str, detail: &str, met: u64) -> Self {
        Self {
            what: format!("{kind}: {detail}"),
            met,
            is_granted: false,
        }
    }
}

/// The peer's agent is asked to let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asking {
    pub(crate) question: Question,
    /// Since when.
    pub(crate) since: Time,
    /// The last connection of the replicas then.
    pub(crate) met: u64,
}

impl Member {
    /// This agent stood still: nothing that it waited for had its time.
    pub(crate) fn forgive(&mut self, now: Time) {
        for since in [
            &mut self.lost,
            &mut self.idle,
            &mut self.hung,
            &mut self.waits,
        ] {
            *since = since.map(|_| now);
        }
        self.asking = self.asking.map(|asking| Asking {
            since: now,
            ..asking
        });
    }
}

impl Agent {
    /// The members of a resource; it borrows nothing.
    pub(crate) fn members(
        &self,
        resource: ResourceIndex,
    ) -> impl ExactSizeIterator<Item = MemberIndex> + use<> {
        self.resources[resource].members.keys()
    }

    pub(crate) fn member(&self, resource: ResourceIndex, member: MemberIndex) -> &Member {
        &self.resources[resource].members[member]
    }

    pub(crate) fn member_mut(
        &mut self,
        resource: ResourceIndex,
        member: MemberIndex,
    ) -> &mut Member {
        &mut self.resources[resource].members[member]
    }

    pub(crate) fn peer_of(&self, resource: ResourceIndex, member: MemberIndex) -> PeerIndex {
        self.config.resources[resource].members[member].peer
    }

    /// What a member's node is called.
    pub(crate) fn member_name(&self, resource: ResourceIndex, member: MemberIndex) -> &str {
        &self.config.peers[self.peer_of(resource, member)].name
    }

    /// The member that was primary last, as far as the local replica knows.
    pub(crate) fn led_member(&self, resource: ResourceIndex) -> Option<MemberIndex> {
        let view = self.resources[resource].view.as_ref();
        let led = view.and_then(|view| view.led)?;
        let members = &self.config.resources[resource].members;
        members.position(|member| self.config.peers[member.peer].node == led.node)
    }

    /// The node of the primary that the local replica is connected to.
    pub(crate) fn follows(&self, resource: ResourceIndex) -> Option<u8> {
        let view = self.resources[resource].view.as_ref()?;
        let leads = |peer: &PeerView| peer.role == Some(Role::Primary);
        let member = view.peers.position(leads)?;
        Some(self.config.peers[self.peer_of(resource, member)].node)
    }

    /// The local replica is connected to that of a member.
    pub(crate) fn is_linked(&self, resource: ResourceIndex, member: MemberIndex) -> bool {
        let view = self.resources[resource].view.as_ref();
        view.is_some_and(|view| view.peers[member].linked)
    }

    /// The names of the members of which that is so.
    pub(crate) fn names(
        &self,
        resource: ResourceIndex,
        is: impl Fn(MemberIndex) -> bool,
    ) -> String {
        let members = self.members(resource).filter(|member| is(*member));
        let names: Vec<&str> = members
            .map(|member| self.member_name(resource, member))
            .collect();
        names.join(" and ")
    }
}
