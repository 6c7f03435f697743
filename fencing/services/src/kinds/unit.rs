//! A systemd unit.

use std::{fs, path::Path};

use super::Step;
use crate::{error::Problem, limits, process, stack::Host, state::ServiceState};

#[derive(Debug)]
pub(crate) struct Unit {
    unit: String,
    systemctl: String,
}

impl Unit {
    pub(super) fn new(unit: &str, host: &Host) -> Self {
        Self {
            unit: unit.to_owned(),
            systemctl: host.programs.systemctl.clone(),
        }
    }

    pub(super) async fn state(&self, step: Step<'_>) -> ServiceState {
        let words = self.words(&["show", "--property=ActiveState,SubState,ControlGroup"]);
        let within = step.left().min(limits::STATUS);
        match process::succeed(&words, step.environment, within).await {
            Ok(shown) => state(&shown, populated),
            Err(problem) => ServiceState::Unknown(problem.to_string()),
        }
    }

    pub(super) async fn start(&self, step: Step<'_>) -> Result<(), Problem> {
        self.systemctl(&["start"], step).await
    }

    pub(super) async fn stop(&self, step: Step<'_>) -> Result<(), Problem> {
        self.systemctl(&["stop"], step).await
    }

    /// The stop job of the asking goes on in systemd; once nothing is left to wait for, it ends.
    pub(super) async fn force(&self, step: Step<'_>) -> Result<(), Problem> {
        let kill = self.systemctl(&["kill", "-s", "KILL"], step).await;
        if let Err(problem) = kill {
            // A unit without processes cannot be killed; the stop shows whether it is down.
            tracing::warn!(unit = self.unit, %problem, "the unit could not be killed");
        }
        self.stop(step).await
    }

    async fn systemctl(&self, verb: &[&str], step: Step<'_>) -> Result<(), Problem> {
        let words = self.words(verb);
        process::succeed(&words, step.environment, step.left()).await?;
        Ok(())
    }

    fn words(&self, verb: &[&str]) -> Vec<String> {
        let verb = verb.iter().copied();
        let all = [self.systemctl.as_str()].into_iter().chain(verb);
        all.chain(["--", self.unit.as_str()])
            .map(str::to_owned)
            .collect()
    }
}

/// A unit that is inactive or failed is down only if its control group is empty: systemd gives up on processes that
/// even SIGKILL does not end, and those still hold the disk.
fn state(shown: &str, populated: impl Fn(&str) -> bool) -> ServiceState {
    let value = |key: &str| {
        let mut lines = shown.lines().filter_map(|line| line.split_once('='));
        lines
            .find_map(|(found, value)| (found == key).then_some(value))
            .unwrap_or_default()
    };
    match value("ActiveState") {
        "active" | "reloading" => ServiceState::Up,
        "inactive" | "failed" if populated(value("ControlGroup")) => {
            ServiceState::Unknown(format!(
                "{}, but processes are left in {}",
                value("ActiveState"),
                value("ControlGroup")
            ))
        }
        "inactive" | "failed" => ServiceState::Down,
        "" => ServiceState::Unknown(format!("systemctl showed no state: {shown}")),
        other => ServiceState::Unknown(format!("{other} ({})", value("SubState"))),
    }
}

/// cgroup v2, alone or beside v1.
fn populated(group: &str) -> bool {
    let Some(group) = group.strip_prefix('/').filter(|group| !group.is_empty()) else {
        return false;
    };
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .iter()
        .any(|root| {
            let events = Path::new(root).join(group).join("cgroup.events");
            fs::read_to_string(events)
                .is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_and_doubted() {
        let shown = |active: &str| {
            let text = format!(
                "ControlGroup=/system.slice/db.service\nActiveState={active}\nSubState=stop-sigterm\n"
            );
            state(&text, |group| {
                assert_eq!(group, "/system.slice/db.service");
                false
            })
        };
        assert_eq!(shown("active"), ServiceState::Up);
        assert_eq!(shown("reloading"), ServiceState::Up);
        assert_eq!(shown("inactive"), ServiceState::Down);
        assert_eq!(shown("failed"), ServiceState::Down);
        assert_eq!(
            shown("deactivating"),
            ServiceState::Unknown("deactivating (stop-sigterm)".to_owned())
        );
        let left = state("ActiveState=failed\nControlGroup=/a\n", |_| true);
        assert!(
            matches!(&left, ServiceState::Unknown(why) if why.contains("left in /a")),
            "{left:?}"
        );
        assert!(matches!(state("", |_| false), ServiceState::Unknown(_)));
    }
}
