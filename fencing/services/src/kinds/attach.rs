//! The resource as a block device of the kernel, through this program's own `attach` and `detach`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;
use twindisk_nbd::attach::{Supervision, backend_of};

use super::Step;
use crate::{
    aside::Aside,
    error::Problem,
    limits, mounts, process,
    processes::{self, Pick},
    stack::Host,
    state::ServiceState,
};

#[derive(Debug)]
pub(crate) struct Attach {
    device: PathBuf,
    /// What the kernel says about it.
    sysfs: PathBuf,
    resource: String,
    run_dir: PathBuf,
    twindisk: Vec<String>,
    /// Looks for its users.
    scans: Aside,
}

impl Attach {
    pub(super) fn new(device: &Path, host: &Host) -> Self {
        let name = device.file_name().unwrap_or_default();
        Self {
            device: device.to_owned(),
            sysfs: Path::new("/sys/block").join(name),
            resource: host.resource.clone(),
            run_dir: host.run_dir.clone(),
            twindisk: host.programs.twindisk.clone(),
            scans: Aside::default(),
        }
    }

    /// Attached to another resource it is down: that one is not ours to detach.
    pub(super) fn state(&self) -> ServiceState {
        match self.attached_to() {
            Ok(Some(resource)) if resource.is_empty() || resource == self.resource => {
                ServiceState::Up
            }
            Ok(_) => ServiceState::Down,
            Err(problem) => ServiceState::Unknown(problem.to_string()),
        }
    }

    pub(super) async fn start(&self, step: Step<'_>) -> Result<(), Problem> {
        if let Some(other) = self.attached_to()? {
            return Err(Problem::Occupied(format!(
                "{} is attached to {other}: detach that, or choose another device",
                self.device.display()
            )));
        }
        self.attach(step).await
    }

    /// A device whose supervisor has died gets another one: without it, nobody replaces its connection when that dies.
    pub(super) async fn tend(&self, step: Step<'_>) -> Result<(), Problem> {
        if self.attached_to()?.as_ref() != Some(&self.resource) || self.is_supervised()? {
            return Ok(());
        }
        tracing::warn!(
            device = %self.device.display(),
            "nobody supervises the device any more: it gets another supervisor"
        );
        self.attach(step).await
    }

    fn is_supervised(&self) -> Result<bool, Problem> {
        let name = self.device.file_name().and_then(|name| name.to_str());
        let index = name.and_then(|name| name.strip_prefix("nbd")?.parse().ok());
        let Some(index) = index else {
            return Ok(true); // None of ours.
        };
        Supervision::is_taken(&self.run_dir, index)
            .map_err(|error| Problem::system(self.run_dir.display().to_string(), error))
    }

    async fn attach(&self, step: Step<'_>) -> Result<(), Problem> {
        let device = self.device.display().to_string();
        let words = self.words(&["attach", &self.resource, &device]);
        process::succeed(&words, step.environment, step.left()).await?;
        Ok(())
    }

    /// Never beneath a mounted filesystem, whose writes would fail: what is mounted must stop first.
    pub(super) async fn stop(&self, step: Step<'_>) -> Result<(), Problem> {
        if self.state() == ServiceState::Down {
            return Ok(());
        }
        if let Some(mount) = mounts::table()?
            .iter()
            .find(|mount| mount.is_of(&self.device))
        {
            return Err(Problem::Busy {
                what: self.device.display().to_string(),
                users: format!("the filesystem on {}", mount.path.display()),
            });
        }
        let device = self.device.display().to_string();
        let words = self.words(&["detach", &device]);
        process::succeed(&words, step.environment, step.left()).await?;
        Ok(())
    }

    /// Ends the processes that have the device open, then detaches it: what they would write later must not reach the
    /// device of a later time (R17).
    pub(super) async fn force(&self, step: Step<'_>) -> Result<(), Problem> {
        if let Some(number) = mounts::block_device(&self.device) {
            let pick = Pick::Opening(BTreeSet::from([number]));
            let killed_by = Instant::now() + Duration::min(step.left(), limits::FORCE / 2);
            let left = processes::end(&self.scans, &pick, true, killed_by).await;
            if left.as_ref().is_none_or(|left| !left.is_empty()) {
                tracing::warn!(
                    device = %self.device.display(),
                    users = processes::list(left.as_deref()),
                    "the device is in use, and is detached all the same"
                );
            }
        }
        self.stop(step).await
    }

    /// The resource of the server that the device is attached to; empty where nobody knows. What is behind it is what
    /// `twindisk attach` told the kernel, `twindisk:CLUSTER:RESOURCE@TERM-ID`.
    fn attached_to(&self) -> Result<Option<String>, Problem> {
        let backend = backend_of(&self.sysfs)
            .map_err(|error| Problem::system(self.sysfs.display().to_string(), error))?;
        let Some(backend) = backend else {
            return Ok(None);
        };
        let export = backend.rsplit(':').next().unwrap_or_default();
        // Behind it stands the role in which it was attached.
        let resource = export.split('@').next().unwrap_or_default();
        Ok(Some(resource.to_owned()))
    }

    fn words(&self, more: &[&str]) -> Vec<String> {
        let more = more.iter().map(|word| (*word).to_owned());
        self.twindisk.iter().cloned().chain(more).collect()
    }
}

#[cfg(test)]
mod tests;
