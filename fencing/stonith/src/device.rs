//! One fence device: its agent and metadata once known, its shot, and the verification after it.

use std::time::Duration;

use tokio::{
    sync::OnceCell,
    time::{Instant, sleep},
};
use tracing::{info, warn};

use crate::{
    Action, Agent, AgentError, Answer, DeviceError, Metadata, SearchPath,
    agent::Call,
    config::{AgentName, Device},
    limits,
    options::Options,
};

/// A device that powers one node off.
pub(crate) struct FenceDevice {
    pub(crate) config: Device,
    node: String,
    search: SearchPath,
    known: OnceCell<Known>,
}

/// What need be learned of an agent only once.
pub(crate) struct Known {
    pub(crate) agent: Agent,
    pub(crate) metadata: Metadata,
}

impl Known {
    /// It reads power, and takes nothing else from a node.
    fn can_read(&self) -> bool {
        let offers = |action| self.metadata.offers(action);
        offers(Action::Status) && offers(Action::Reboot)
    }
}

/// A shot that was verified.
pub(crate) struct Shot {
    pub(crate) detail: String,
}

/// Why there was none.
pub(crate) enum NoShot {
    NoLongerWanted,
    Failed(DeviceError),
}

impl FenceDevice {
    pub(crate) fn new(node: &str, config: Device, search: &SearchPath) -> Self {
        Self {
            config,
            node: node.to_owned(),
            search: search.clone(),
            known: OnceCell::new(),
        }
    }

    pub(crate) fn is_manual(&self) -> bool {
        self.config.agent == AgentName::Manual
    }

    /// Finds the agent, reads its metadata, and checks the device's configuration against it: once, when that works.
    pub(crate) async fn known(&self) -> Result<&Known, DeviceError> {
        self.known.get_or_try_init(|| self.learn()).await
    }

    async fn learn(&self) -> Result<Known, DeviceError> {
        let agent = Agent::find(&self.config.agent, &self.search)?;
        let call = Call {
            node: &self.node,
            plug: None,
            options: &Options::default(),
            timeout: self.config.timeout,
        };
        let answer = agent.run(Action::Metadata, call).await?;
        let metadata = Metadata::read(&answer.output).map_err(|source| DeviceError::Metadata {
            agent: agent.path().display().to_string(),
            source,
        })?;
        let faults = metadata.check(&self.config);
        if !faults.is_empty() {
            return Err(DeviceError::Options {
                agent: agent.path().display().to_string(),
                faults,
            });
        }
        Ok(Known { agent, metadata })
    }

    /// Asks the device for one action, once.
    pub(crate) async fn ask(&self, known: &Known, action: Action) -> Result<Answer, AgentError> {
        let plug = self.config.plug.as_deref();
        let call = Call {
            node: &self.node,
            plug: plug.map(|plug| (known.metadata.plug_key(), plug)),
            options: &self.config.options,
            timeout: self.config.timeout,
        };
        known.agent.run(action, call).await
    }

    /// It may be able to say whether the node has power.
    pub(crate) fn can_read(&self) -> bool {
        !self.is_manual() && self.known.get().is_none_or(Known::can_read)
    }

    /// Whether the node has power, by one reading; `None`: this device can't say. One that has no `reboot` takes something else
    /// from a node than its power (its storage, its ports): that says nothing of a node which was not shot. And no `off` has
    /// succeeded before: a program that breaks may end with the code that means off, so it has to say so, too.
    pub(crate) async fn reads_on(&self) -> Option<bool> {
        if self.is_manual() {
            return None;
        }
        let known = self.known().await.ok()?;
        if !known.can_read() {
            return None;
        }
        let answer = self.ask(known, Action::Status).await.ok()?;
        if answer.off && !says_off(&answer.output.stdout) {
            return None;
        }
        Some(!answer.off)
    }

    /// Fires `off` until it succeeds or the retries are used up, then reads `status` until it is off.
    pub(crate) async fn off(
        &self,
        still_wanted: &impl Fn() -> bool,
        shots: &mut u32,
    ) -> Result<Shot, NoShot> {
        let known = self.known().await?;
        let mut fired = 0;
        let off = loop {
            // R6: asked right before each shot; there is no waiting between here and the agent's start.
            if !still_wanted() {
                return Err(NoShot::NoLongerWanted);
            }
            fired += 1;
            *shots += 1;
            info!(node = self.node, device = %self.config, shot = fired, "fencing: off");
            let last = match self.ask(known, Action::Off).await {
                Ok(answer) => break answer,
                Err(error) => error,
            };
            warn!(node = self.node, device = %self.config, shot = fired, error = %last, "fencing: off failed");
            if fired > self.config.retries {
                return Err(DeviceError::Off { shots: fired, last }.into());
            }
            sleep(backoff(fired)).await;
        };
        let verified = self.verify(known).await?;
        Ok(Shot {
            detail: format!(
                "{}: off succeeded at shot {fired} in {:.1?}, status read off {} times within {verified:.1?}",
                self.config,
                off.took,
                limits::OFF_READINGS,
            ),
        })
    }

    /// Reads `status` until it is off twice in a row. No reading begins after the deadline, except the second one.
    async fn verify(&self, known: &Known) -> Result<Duration, DeviceError> {
        let started = Instant::now();
        let mut off_readings = 0;
        loop {
            let reading = self.ask(known, Action::Status).await;
            let waited = started.elapsed();
            let late = waited >= self.config.timeout;
            match reading {
                Ok(Answer { off: true, .. }) => {
                    off_readings += 1;
                    if off_readings == limits::OFF_READINGS {
                        return Ok(waited);
                    }
                }
                Ok(_) if late => return Err(DeviceError::Lies { waited }),
                Err(last) if late => return Err(DeviceError::Unverified { waited, last }),
                Ok(_) | Err(_) => off_readings = 0,
            }
            sleep(limits::STATUS_INTERVAL).await;
        }
    }
}

impl From<DeviceError> for NoShot {
    fn from(error: DeviceError) -> Self {
        Self::Failed(error)
    }
}

/// The line that both `fencing.py` and `fence_virt` print, and nothing like it: a usage or an error may have the word in it.
fn says_off(printed: &str) -> bool {
    let mut lines = printed.lines();
    lines.any(|line| line.trim().eq_ignore_ascii_case("status: off"))
}

fn backoff(failed: u32) -> Duration {
    let doubled = limits::FIRST_BACKOFF.saturating_mul(1 << failed.saturating_sub(1).min(16));
    doubled.min(limits::MAX_BACKOFF)
}
