//! A resource beside the agents that look after it.

use std::collections::BTreeMap;

use twindisk_core::CommandId;
use twindisk_fencing_core::{ReplicaView, ResourceIndex};

use super::{idle::Idle, services::Services};
use crate::world::World;

/// A resource that they look after.
#[derive(Debug)]
pub(super) struct Ward {
    /// Of each node.
    pub(super) sides: Vec<Side>,
    /// Who has asked for which command: the node, the run of its agent, and the number of the order.
    pub(super) asked: BTreeMap<CommandId, (usize, u64, u64)>,
    /// When each node opened its device last.
    pub(super) opened: Vec<u64>,
    /// Since when each node is primary, has services, and neither its standby nor a word of the witness.
    pub(super) cut_off: Vec<Option<u64>>,
    /// Since when services run on two nodes.
    pub(super) both_since: Option<u64>,
    pub(super) idle: Idle,
}

impl Ward {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            sides: (0..nodes).map(|_| Side::default()).collect(),
            asked: BTreeMap::new(),
            opened: vec![0; nodes],
            cut_off: vec![None; nodes],
            both_since: None,
            idle: Idle::new(nodes),
        }
    }
}

/// A resource on a node, beside its agent.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// The order that the agent waits for.
    pub(super) order: Option<u64>,
    /// What the agent was told last of its replica.
    pub(super) seen: Option<ReplicaView>,
    /// Which primary its replica is connected to, as the agent was told, and since when.
    pub(super) follows: Option<(usize, u64)>,
    /// The question that the agent waits for.
    pub(super) asking: Option<u64>,
    pub(super) services: Services,
}

impl World {
    /// The resource in hand.
    pub(super) fn ward(&mut self) -> &mut Ward {
        let resource = self.resource;
        &mut self.agents().wards[resource]
    }

    /// The same, to look at it.
    pub(super) fn its_ward(&self) -> &Ward {
        &self.agents.as_ref().expect("this cluster has agents").wards[self.resource]
    }

    /// What agents call the resource in hand.
    pub(crate) const fn its_index(&self) -> ResourceIndex {
        ResourceIndex::new(self.resource)
    }

    /// Of the resource in hand: whether its services run on this node and nowhere else.
    pub(crate) fn services_run_on(&self, number: usize) -> bool {
        let sides = &self.its_ward().sides;
        let mut others = self.others(number);
        sides[number].services.run() && !others.any(|other| sides[other].services.run())
    }

    /// When a node opened the device of the resource in hand last.
    pub(crate) fn opened_at(&self, number: usize) -> u64 {
        self.its_ward().opened[number]
    }
}
