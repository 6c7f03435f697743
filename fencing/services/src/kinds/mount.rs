//! A filesystem.

use std::{collections::BTreeSet, fs, os::linux::fs::MetadataExt, path::Path, time::Duration};

use tokio::time::{Instant, sleep};

use super::Step;
use crate::{
    aside::Aside,
    config,
    error::Problem,
    limits,
    mounts::{self, Mounted},
    process,
    processes::{self, Pick},
    stack::Host,
    state::ServiceState,
};

#[derive(Debug)]
pub(crate) struct Mount {
    mount: config::Mount,
    /// mount(8) and umount(8). They are commands because a system call on a dead disk blocks for ever, and a process
    /// can be left behind where a thread of the agent cannot.
    programs: (String, String),
    /// Asks for its root.
    disk: Aside,
    /// Looks for its users.
    scans: Aside,
}

/// What is at the path.
enum Found {
    Nothing,
    Ours(Mounted),
    Another(Mounted),
    /// Ours, beneath this one.
    Covered(Mounted),
}

impl Mount {
    pub(super) fn new(mount: &config::Mount, host: &Host) -> Self {
        Self {
            mount: mount.clone(),
            programs: (host.programs.mount.clone(), host.programs.umount.clone()),
            disk: Aside::default(),
            scans: Aside::default(),
        }
    }

    /// Another filesystem at its path is none of ours, and no reason to call this one up.
    pub(super) fn state(&self) -> ServiceState {
        match self.find() {
            Err(problem) => ServiceState::Unknown(problem.to_string()),
            Ok(Found::Nothing | Found::Another(_)) => ServiceState::Down,
            Ok(Found::Ours(_)) => ServiceState::Up,
            Ok(Found::Covered(top)) => ServiceState::Unknown(format!(
                "{} is mounted over it on {}",
                top.source.display(),
                self.mount.path.display()
            )),
        }
    }

    pub(super) async fn start(&self, step: Step<'_>) -> Result<(), Problem> {
        if let Found::Ours(top) | Found::Another(top) | Found::Covered(top) = self.find()? {
            return Err(self.occupied(&top));
        }
        let mut words = vec![
            self.programs.0.clone(),
            "-t".to_owned(),
            self.mount.fstype.clone(),
        ];
        if let Some(options) = &self.mount.options {
            words.extend(["-o".to_owned(), options.clone()]);
        }
        words.extend([
            "--".to_owned(),
            self.mount.device.clone(),
            self.mount.path.display().to_string(),
        ]);
        process::succeed(&words, step.environment, step.left()).await?;
        Ok(())
    }

    /// Tries until the time is over: a user that was stopped just before may need a moment to let go.
    pub(super) async fn stop(&self, step: Step<'_>) -> Result<(), Problem> {
        let mut said = false;
        loop {
            let Some(top) = self.ours()? else {
                return Ok(());
            };
            let words = [
                self.programs.1.clone(),
                "--".to_owned(),
                self.mount.path.display().to_string(),
            ];
            let Err(problem) = process::succeed(&words, step.environment, step.left()).await else {
                continue;
            };
            let path = &self.mount.path;
            if !said {
                said = true;
                let users = processes::find(&self.scans, &self.users(&top).await).await;
                let users = processes::list(users.as_deref());
                tracing::warn!(path = %path.display(), users, "the filesystem is in use, unmounting is tried again");
            }
            if step.left() <= RETRY {
                return Err(problem);
            }
            sleep(RETRY).await;
        }
    }

    /// Ends the processes that hold the filesystem, then unmounts it. Never lazily: that would only hide that it is
    /// still being written.
    pub(super) async fn force(&self, step: Step<'_>) -> Result<(), Problem> {
        let Some(top) = self.ours()? else {
            return Ok(());
        };
        let pick = self.users(&top).await;
        // The rest is for unmounting, which writes what is dirty.
        let killed_by = Instant::now() + Duration::min(step.left(), limits::FORCE / 2);
        let left = processes::end(&self.scans, &pick, true, killed_by).await;
        if self.stop(step).await.is_ok() {
            return Ok(());
        }
        let nested = mounts::table()?.into_iter().rev().find(|mount| {
            mount.path.starts_with(&self.mount.path) && mount.path != self.mount.path
        });
        let users = match (nested, left) {
            (Some(nested), _) => format!("the mount on {}", nested.path.display()),
            (None, None) => processes::list(None),
            (None, Some(_)) => {
                processes::list(processes::find(&self.scans, &pick).await.as_deref())
            }
        };
        Err(Problem::Busy {
            what: self.mount.path.display().to_string(),
            users,
        })
    }

    fn find(&self) -> Result<Found, Problem> {
        let device = Path::new(&self.mount.device);
        let mut here = mounts::table()?;
        here.retain(|mount| mount.path == self.mount.path);
        Ok(match here.pop() {
            None => Found::Nothing,
            Some(top) if top.is_of(device) => Found::Ours(top),
            Some(top) if here.iter().any(|below| below.is_of(device)) => Found::Covered(top),
            Some(top) => Found::Another(top),
        })
    }

    /// What there is to unmount.
    fn ours(&self) -> Result<Option<Mounted>, Problem> {
        match self.find()? {
            Found::Nothing | Found::Another(_) => Ok(None),
            Found::Ours(top) => Ok(Some(top)),
            Found::Covered(top) => Err(self.occupied(&top)),
        }
    }

    /// Whoever holds its device. Some filesystems (btrfs) show their files under other numbers than their mount: the
    /// number of its root is asked for too.
    async fn users(&self, top: &Mounted) -> Pick {
        let mut devices = BTreeSet::from([top.device]);
        let path = self.mount.path.clone();
        let root = move || fs::metadata(path).map(|root| root.st_dev());
        if let Some(Ok(device)) = self.disk.ask(limits::STATUS, root).await {
            devices.insert(mounts::split(device));
        }
        Pick::Holding(devices)
    }

    fn occupied(&self, top: &Mounted) -> Problem {
        Problem::Occupied(format!(
            "{} is mounted on {}, where {} belongs: unmount it",
            top.source.display(),
            self.mount.path.display(),
            self.mount.device
        ))
    }
}

/// Between two tries to unmount.
const RETRY: Duration = Duration::from_millis(200);
