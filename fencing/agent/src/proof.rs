//! `fence test` where no agent runs: the same questions to the same devices, before anything depends on them.

use twindisk_control::config::{Config, Node};
use twindisk_stonith::{Confirmations, Fencer, SearchPath};

use crate::{AgentAnswer, RunError, Settings};

/// Proves the fence devices of `peer`, as the agent of `node` would use them, without a shot.
///
/// # Errors
/// When the configuration does not hold, or nothing can be run.
pub fn fence_test(config: &Config, node: &Node, peer: &str) -> Result<AgentAnswer, RunError> {
    let settings = Settings::new(config, node)?;
    let peer = match settings.peer_named(peer) {
        Ok(at) => &settings.peers[at],
        Err(why) => return Ok(AgentAnswer::Refused(why)),
    };
    let Some(topology) = &peer.fence else {
        return Ok(AgentAnswer::Refused(no_devices(&peer.name)));
    };
    let fencer = Fencer::new(
        &peer.name,
        topology,
        &SearchPath::default(),
        Confirmations::new(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    Ok(verdict(&runtime.block_on(fencer.test())))
}

/// A test in an answer.
pub(crate) fn verdict(report: &twindisk_stonith::Report) -> AgentAnswer {
    let text = report.to_string();
    if report.passed() {
        AgentAnswer::Done(text)
    } else {
        AgentAnswer::Refused(text)
    }
}

/// Why nothing can be tested.
pub(crate) fn no_devices(node: &str) -> String {
    format!("there is no `fence` in [nodes.{node}]")
}
