//! How a run of an agent can go wrong, each way with what to do next.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use super::{Action, Output};

/// A run of an agent that proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// In none of the folders.
    #[error(
        "the fence agent {agent} is in none of {}: install it (Debian: apt install fence-agents), or write its absolute path",
        folders(searched)
    )]
    NotFound {
        /// Its name.
        agent: String,
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// An absolute path with nothing there.
    #[error("there is no fence agent {}: correct the path or install it", path.display())]
    NoFile {
        /// The path.
        path: PathBuf,
    },
    /// Something is there that cannot be run.
    #[error("the fence agent {} cannot be run: {why}", path.display())]
    NotExecutable {
        /// Where it is.
        path: PathBuf,
        /// Why it cannot.
        why: String,
    },
    /// The system did not start it.
    #[error("the fence agent {} could not be started: {source}: run it by hand with --version", agent.display())]
    Start {
        /// Where it is.
        agent: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its end could not be observed. It has been killed.
    #[error("the end of the fence agent {} ({action}) could not be observed: {source}", agent.display())]
    Watch {
        /// Where it is.
        agent: PathBuf,
        /// What it was to do.
        action: Action,
        /// Why.
        source: io::Error,
    },
    /// It did not end in time and was killed with all its children. That proves nothing about the node.
    #[error(
        "{} {action} did not end within {deadline:?} and was killed; {output}: \
         look whether the device can be reached, or raise `timeout`", agent.display()
    )]
    Timeout {
        /// Where it is.
        agent: PathBuf,
        /// What it was to do.
        action: Action,
        /// How long it had.
        deadline: Duration,
        /// What it had printed.
        output: Output,
    },
    /// A signal ended it.
    #[error("{} {action} was ended by signal {signal}; {output}: run it by hand", agent.display())]
    Killed {
        /// Where it is.
        agent: PathBuf,
        /// What it was to do.
        action: Action,
        /// Which one.
        signal: i32,
        /// What it had printed.
        output: Output,
    },
    /// It says that it failed.
    #[error("{} {action} failed with exit code {code} ({}); {output}: {}", agent.display(), meaning(*code), advice(*code))]
    Failed {
        /// Where it is.
        agent: PathBuf,
        /// What it was to do.
        action: Action,
        /// Its exit code.
        code: i32,
        /// What it had printed.
        output: Output,
    },
}

/// What the end of an agent says: success, with whether the node is off; or an error.
pub(super) fn judge(
    agent: &Path,
    action: Action,
    status: ExitStatus,
    output: &Output,
) -> Result<bool, AgentError> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(false),
        (Some(OFF), _) if action.may_answer_off() => Ok(true),
        (Some(code), _) => Err(AgentError::Failed {
            agent: agent.to_owned(),
            action,
            code,
            output: output.clone(),
        }),
        (None, signal) => Err(AgentError::Killed {
            agent: agent.to_owned(),
            action,
            signal: signal.unwrap_or(0),
            output: output.clone(),
        }),
    }
}

/// The names that the agents' library gives its codes (`lib/fencing.py.py` of fence-agents).
fn meaning(code: i32) -> &'static str {
    match code {
        1 => "failed, or could not be verified",
        2 => "bad arguments",
        3 => "login denied",
        4 => "connection lost",
        5 => "timed out at the device",
        6 => "still waiting for on",
        7 => "still waiting for off",
        8 => "the status cannot be read",
        9 => "the status cannot be read from the management console",
        10 => "a password is missing",
        11 => "privileges are missing",
        12 => "the virtual machine's UUID cannot be read",
        126 | 127 => "it, or something that it runs, could not be started",
        _ => "no code that fence agents know",
    }
}

fn advice(code: i32) -> &'static str {
    match code {
        2 => "check `options` against the agent's metadata",
        3 | 10 | 11 => "check the name and the password in `options`",
        4 | 5 => "check that the device can be reached from this node",
        126 | 127 => "check its first line and the tools that it needs",
        _ => "run it by hand with the same options",
    }
}

fn folders(searched: &[PathBuf]) -> String {
    let names: Vec<_> = searched
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    names.join(", ")
}

/// To `status` and `monitor`: the node is off.
const OFF: i32 = 2;
