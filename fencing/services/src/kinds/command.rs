//! Commands of the operator's own.

use std::time::Duration;

use super::Step;
use crate::{
    aside::Aside,
    config,
    error::Problem,
    limits, process,
    processes::{self, Pick},
    state::ServiceState,
};

#[derive(Debug)]
pub(crate) struct Command {
    command: config::Command,
    /// What the last start or stop has left, for a service without a status command.
    known: ServiceState,
    /// Looks for its processes.
    scans: Aside,
}

impl Command {
    pub(super) fn new(command: &config::Command) -> Self {
        Self {
            command: command.clone(),
            known: unknown(),
            scans: Aside::default(),
        }
    }

    pub(super) async fn state(&self, step: Step<'_>) -> ServiceState {
        let Some(words) = &self.command.status else {
            return self.known.clone();
        };
        let within = step.left().min(limits::STATUS);
        let finished = match process::run(words, step.environment, within).await {
            Ok(finished) => finished,
            Err(problem) => return ServiceState::Unknown(problem.to_string()),
        };
        match finished.status.code() {
            Some(0) => ServiceState::Up,
            // Not running: of pgrep and test, of LSB scripts and systemctl, of OCF agents.
            Some(1 | 3 | 7) => ServiceState::Down,
            _ => ServiceState::Unknown(format!(
                "its status command ended with {}: {}",
                finished.status, finished.output
            )),
        }
    }

    pub(super) async fn start(&mut self, step: Step<'_>) -> Result<(), Problem> {
        // Until it is over, and if it is cut short, nobody knows.
        self.known = unknown();
        process::succeed(&self.command.start, step.environment, step.left()).await?;
        self.known = ServiceState::Up;
        Ok(())
    }

    pub(super) async fn stop(&mut self, step: Step<'_>) -> Result<(), Problem> {
        self.known = unknown();
        process::succeed(&self.command.stop, step.environment, step.left()).await?;
        self.known = ServiceState::Down;
        Ok(())
    }

    /// Kills every process of the service, also those which left its process group or were started by an agent before
    /// this one, then lets the stop command clean up.
    pub(super) async fn force(&mut self, step: Step<'_>) -> Result<(), Problem> {
        let pick = Pick::Marked(step.environment.marks());
        let half = tokio::time::Instant::now() + Duration::min(step.left(), limits::FORCE / 2);
        let left = processes::end(&self.scans, &pick, false, half).await;
        if left.as_ref().is_none_or(|left| !left.is_empty()) {
            return Err(Problem::Busy {
                what: self.command.name.clone(),
                users: processes::list(left.as_deref()),
            });
        }
        self.stop(step).await
    }
}

fn unknown() -> ServiceState {
    ServiceState::Unknown(
        "it has no status command, and was not started or stopped since this agent runs".to_owned(),
    )
}
