//! One run of a fence agent: options in on standard input, an exit code out, and nobody of it left behind.

mod error;
mod output;
mod process;
mod search;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, timeout};

pub use error::AgentError;
pub use output::Output;
pub use search::SearchPath;

use crate::{config::AgentName, options::Options};
use output::Captured;
use process::Group;

/// What an agent can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take the node's power, or its access to what it must not touch.
    Off,
    /// Give it back.
    On,
    /// Off and on. Nothing in this crate asks for it: it proves no off. Agents that take no power do not offer it.
    Reboot,
    /// Is the node on or off?
    Status,
    /// Does the device answer?
    Monitor,
    /// Describe yourself.
    Metadata,
    /// Are the options right?
    ValidateAll,
    /// Which plugs are there?
    List,
}

/// What an agent that has done its work says.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Exit code 2 to `status` or `monitor`: the node is off.
    pub off: bool,
    /// What it printed, secrets blanked.
    pub output: Output,
    /// From its start to its end.
    pub took: Duration,
}

/// A program that was found and may be run.
#[derive(Clone, Debug)]
pub struct Agent {
    path: PathBuf,
}

/// What a run is about.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The node's name.
    pub node: &'a str,
    /// The agent's key for the plug, and the plug.
    pub plug: Option<(&'a str, &'a str)>,
    /// The device's options.
    pub options: &'a Options,
    /// When the agent is killed.
    pub timeout: Duration,
}

impl Agent {
    /// Looks the agent up and checks that it can be run.
    ///
    /// # Errors
    /// It is nowhere, or what is there is no program.
    pub fn find(name: &AgentName, search: &SearchPath) -> Result<Self, AgentError> {
        search.find(name).map(|path| Self { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs the agent once. Dropping the future kills the agent and all its children that stayed in its process group.
    ///
    /// # Errors
    /// It did not start, not end in time, or did not succeed. None of that proves anything about the node.
    pub async fn run(&self, action: Action, call: Call<'_>) -> Result<Answer, AgentError> {
        let started = Instant::now();
        let mut captured = Captured::default();
        let mut group = Group::start(&self.path).map_err(|source| AgentError::Start {
            agent: self.path.clone(),
            source,
        })?;
        let input = lines(action, call);
        let conversation = group.converse(&input, &mut captured);
        let Ok(ended) = timeout(call.timeout, conversation).await else {
            group.kill().await;
            return Err(AgentError::Timeout {
                agent: self.path.clone(),
                action,
                deadline: call.timeout,
                output: captured.output(call.options),
            });
        };
        let status = ended.map_err(|source| AgentError::Watch {
            agent: self.path.clone(),
            action,
            source,
        })?;
        let output = captured.output(call.options);
        let off = error::judge(&self.path, action, status, &output)?;
        Ok(Answer {
            off,
            output,
            took: started.elapsed(),
        })
    }
}

impl Action {
    /// As agents call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Reboot => "reboot",
            Self::Status => "status",
            Self::Monitor => "monitor",
            Self::Metadata => "metadata",
            Self::ValidateAll => "validate-all",
            Self::List => "list",
        }
    }

    /// Whether exit code 2 says that the node is off.
    fn may_answer_off(self) -> bool {
        matches!(self, Self::Status | Self::Monitor)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the agent reads. No value can hold a line break: see `options::line_safe`.
fn lines(action: Action, call: Call<'_>) -> String {
    let mut lines = format!("action={action}\n");
    if action == Action::Metadata {
        return lines;
    }
    let mut line = |name: &str, value: &str| {
        lines.push_str(name);
        lines.push('=');
        lines.push_str(value);
        lines.push('\n');
    };
    line("nodename", call.node);
    if let Some((key, plug)) = call.plug {
        line(key, plug);
    }
    for (name, value) in call.options.iter() {
        line(name, value);
    }
    lines
}
