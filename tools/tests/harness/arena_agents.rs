//! What the agents of an arena say.

use std::{thread, time::Duration};

use serde_json::Value;

use super::arena::Arena;

/// Between two beats of the default profile.
const BEAT: Duration = Duration::from_millis(250);

impl Arena {
    /// Waits until both agents know who is what, and have told each other: they look and beat a few times a second.
    pub(crate) fn until_agents_see(&self, primary: &str, standby: &str) {
        for (node, state) in [
            (primary, format!("primary here, {standby} connected")),
            (standby, format!("standby, {primary} connected")),
        ] {
            self.until_agent(node, &state, |said| said["resources"][0]["state"] == *state);
        }
        // Nothing shows from outside what the last beat said: one that was sent after that has come within two intervals.
        thread::sleep(2 * BEAT);
    }

    /// The same with three nodes.
    pub(crate) fn until_all_agents_see(&self, primary: &str) {
        for node in self.cluster.names() {
            let others: Vec<&str> = self.cluster.names().filter(|one| *one != node).collect();
            let role = if node == primary {
                "primary here"
            } else {
                "standby"
            };
            let state = format!("{role}, {} connected", others.join(" and "));
            self.until_agent(node, &state, |said| said["resources"][0]["state"] == *state);
        }
        thread::sleep(2 * BEAT);
    }

    /// What an agent says of itself, if it answers.
    pub(crate) fn try_agent(&self, node: &str) -> Option<Value> {
        let said = self.cluster.run(node, &["agent", "status", "--json"]);
        serde_json::from_str(&said.out).ok()
    }

    /// What an agent says of itself.
    pub(crate) fn agent_says(&self, node: &str) -> Value {
        self.try_agent(node)
            .unwrap_or_else(|| panic!("{node}'s agent does not answer\n{}", self.logs()))
    }

    /// Waits until an agent's state is as wanted.
    pub(crate) fn until_agent(
        &self,
        node: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        self.wait_for(node, what, |arena| {
            arena.try_agent(node).filter(|status| wanted(status))
        })
    }

    /// What an agent has reported, in sentences.
    pub(crate) fn told(&self, node: &str) -> Vec<String> {
        let said = self.agent_says(node);
        let told = said["told"].as_array().expect("reports").iter();
        told.map(|told| told["what"].as_str().expect("a sentence").to_owned())
            .collect()
    }

    /// The last takeover of a node, as its agent remembers it.
    pub(crate) fn last_failover(&self, node: &str) -> Value {
        let failovers = self.agent_says(node)["failovers"].clone();
        let last = failovers.as_array().and_then(|failovers| failovers.last());
        last.unwrap_or_else(|| panic!("{node} remembers no failover"))
            .clone()
    }
}
