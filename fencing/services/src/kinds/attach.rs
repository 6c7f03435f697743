//! The resource as a block device of the kernel, through this program's own `attach` and `detach`.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

use super::Step;
use crate::{
    error::Problem,
    limits, mounts, process,
    processes::{self, Pick},
    stack::{Host, ServiceState},
};

#[derive(Debug)]
pub(crate) struct Attach {
    device: PathBuf,
    /// What the kernel says about it.
    sysfs: PathBuf,
    resource: String,
    twindisk: Vec<String>,
}

impl Attach {
    pub(super) fn new(device: &Path, host: &Host) -> Self {
        let name = device.file_name().unwrap_or_default();
        Self {
            device: device.to_owned(),
            sysfs: Path::new("/sys/block").join(name),
            resource: host.resource.clone(),
            twindisk: host.programs.twindisk.clone(),
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
            let left = processes::end(&pick, true, killed_by).await;
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

    /// The resource of the server that the device is attached to; empty where nobody knows. `pid` is there while the
    /// device is attached; `backend` (since Linux 5.14) is what `twindisk attach` told the kernel,
    /// `twindisk:CLUSTER:RESOURCE@TERM-ID` (drivers/block/nbd.c).
    fn attached_to(&self) -> Result<Option<String>, Problem> {
        let read = |name| match fs::read_to_string(self.sysfs.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Problem::system(
                self.sysfs.join(name).display().to_string(),
                error,
            )),
        };
        if read("pid")?.is_none() {
            return Ok(None);
        }
        let backend = read("backend")?.unwrap_or_default();
        let export = backend.trim().rsplit(':').next().unwrap_or_default();
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
