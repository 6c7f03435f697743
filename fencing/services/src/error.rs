//! What can go wrong with a service: what happened, to which, and what to do next.

use std::{io, time::Duration};

/// Why one step of one service did not work.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The command could not be run at all.
    #[error("{program} could not be run ({source}): is it installed, executable and in PATH?")]
    Spawn {
        /// The first word of the command.
        program: String,
        /// The system's word.
        source: io::Error,
    },
    /// The command ended, but not well.
    #[error("`{command}` failed ({how}){}", said(.output))]
    Failed {
        /// The whole command.
        command: String,
        /// Its exit status, in words.
        how: String,
        /// The end of what it printed.
        output: String,
    },
    /// The command did not end in time and was killed with its process group.
    #[error("`{command}` did not end within {within:?} and was killed{}", said(.output))]
    TimedOut {
        /// The whole command.
        command: String,
        /// Its time.
        within: Duration,
        /// The end of what it printed.
        output: String,
    },
    /// The start worked, and yet the service is not up.
    #[error("it is {state} {within:?} after its start: {hint}")]
    NotUp {
        /// How it is instead.
        state: String,
        /// The time that it had.
        within: Duration,
        /// What to look at.
        hint: &'static str,
    },
    /// It is up, and yet it does not say that it can be used.
    #[error("it is up and not ready {within:?} after its start: {last}")]
    NotReady {
        /// The time that it had.
        within: Duration,
        /// What came of the last question.
        last: String,
    },
    /// The stop worked, and yet the service is not down.
    #[error("it is still {state} {within:?} after it was asked to stop")]
    NotDown {
        /// How it is instead.
        state: String,
        /// The time that it had.
        within: Duration,
    },
    /// It ended before it could be used.
    #[error("it ended before a client could connect{}. See {log}", said(.output))]
    Ended {
        /// Where it says more.
        log: String,
        /// What it said there.
        output: String,
    },
    /// What it needs is not as it has to be.
    #[error("{0}")]
    Refused(String),
    /// Something else has the place that the service needs.
    #[error("{0}")]
    Occupied(String),
    /// Still in use, and by whom.
    #[error("{what} is in use by {users}")]
    Busy {
        /// The mount or device.
        what: String,
        /// Processes, or what else it may be.
        users: String,
    },
    /// The network interface cannot take the address.
    #[error("interface {interface} {why}")]
    Interface {
        /// Its name.
        interface: String,
        /// What is wrong with it and what to do.
        why: &'static str,
    },
    /// The system refused.
    #[error("{what}: {source}{}", privilege(.source))]
    System {
        /// What was tried.
        what: String,
        /// The system's word.
        source: io::Error,
    },
}

impl Problem {
    pub(crate) fn system(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System {
            what: what.into(),
            source: source.into(),
        }
    }
}

/// A start that failed. What this start had brought up is down again, except `still_up`.
#[derive(Debug, thiserror::Error)]
#[error("service {service} did not start: {problem}. {}", after_start(.stopped, .still_up))]
pub struct StartError {
    /// The first service that failed.
    pub service: String,
    /// Why.
    pub problem: Problem,
    /// What had been started before it and is down again, in the order in which it was stopped.
    pub stopped: Vec<String>,
    /// What could not be stopped. When there is any, the node must be fenced before another one takes over.
    pub still_up: Vec<StillUp>,
}

/// A stop that could not finish: the caller must fence its own node.
#[derive(Debug, thiserror::Error)]
#[error(
    "still up after a forced stop: {}. No other node may start these services before this one is powered off",
    list(.still_up)
)]
pub struct StopError {
    /// What is not known to be down; never empty.
    pub still_up: Vec<StillUp>,
}

/// A service that is not known to be down.
#[derive(Debug, thiserror::Error)]
#[error("{service} ({problem})")]
pub struct StillUp {
    /// Which.
    pub service: String,
    /// Why it would not stop.
    pub problem: Problem,
}

fn after_start(stopped: &[String], still_up: &[StillUp]) -> String {
    let stopped = match stopped {
        [] => "Nothing had been started before it".to_owned(),
        some => format!("Stopped again: {}", some.join(", ")),
    };
    match still_up {
        [] => format!("{stopped}. Mend it and start again, or let another node take over"),
        some => format!(
            "{stopped}. Still up: {}. Power this node off before another one takes over",
            list(some)
        ),
    }
}

fn list(still_up: &[StillUp]) -> String {
    let all: Vec<String> = still_up.iter().map(ToString::to_string).collect();
    all.join("; ")
}

fn said(output: &str) -> String {
    match output.trim() {
        "" => String::new(),
        text => format!(", it said: {text}"),
    }
}

fn privilege(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => " (this needs root, or CAP_NET_ADMIN and CAP_NET_RAW)",
        _ => "",
    }
}
