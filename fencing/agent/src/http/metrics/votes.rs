//! Who could take over, and what the arbiters say: what the agent would do, before it has to.

use super::{Page, truth};
use crate::http::published::View;

impl Page {
    pub(super) fn votes(&mut self, view: &View<'_>) {
        let resources = || view.said.reply.status.resources.iter();
        self.gauge(
            "twindisk_agent_successors",
            "Nodes that would take the resource over if its primary were lost now, as far as this node knows.",
            resources().filter_map(|one| {
                let count = one.succession.as_ref()?.successors.len();
                Some(([("resource", &*one.name)], count as f64))
            }),
        );
        let keepers = || {
            resources().filter_map(|one| Some(([("resource", &*one.name)], one.keeper.as_ref()?)))
        };
        self.gauge(
            "twindisk_agent_arbiter_answers",
            "Whether the resource's arbiter has answered this node last, and refuses no claim; left out where there is none.",
            keepers().map(|(labels, keeper)| (labels, truth(keeper.answers))),
        );
        self.gauge(
            "twindisk_agent_arbiter_term",
            "The highest term that a claim was made for, by the arbiter's record as this node has read it last.",
            keepers().filter_map(|(labels, keeper)| {
                Some((labels, keeper.record.as_ref()?.term as f64))
            }),
        );
    }
}
