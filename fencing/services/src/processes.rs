//! Finds processes by what they hold or carry, through /proc, and ends them.
//!
//! Reading another process's files in /proc can block in the kernel for as long as that process is stuck on a dead
//! disk, so every look runs aside and is given up after [`limits::SCAN`].

use std::{
    collections::BTreeSet,
    fmt, fs,
    os::{linux::fs::MetadataExt, unix::fs::FileTypeExt},
    path::{Path, PathBuf},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{Instant, sleep};

use crate::{aside::Aside, limits};

/// A process, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) pid: Pid,
    name: String,
}

/// How processes are picked.
#[derive(Clone, Debug)]
pub(crate) enum Pick {
    /// Those which carry all of these in their environment: a service's processes, wherever they went.
    Marked(Vec<String>),
    /// Those which hold a file of one of these filesystems (device numbers): open, mapped, as working folder or root.
    Holding(BTreeSet<(u32, u32)>),
    /// Those which have one of these block devices itself open.
    Opening(BTreeSet<(u32, u32)>),
    /// Those which run a program of this name in this folder, and those which carry all of these: a server that writes over
    /// its own environment, and what it has started.
    Working {
        /// The program's name.
        program: &'static str,
        /// Its working folder.
        folder: PathBuf,
        /// As in [`Self::Marked`].
        marks: Vec<String>,
    },
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.pid)
    }
}

/// Every process of that kind but this one and init. `None`: the look was given up.
pub(crate) async fn find(aside: &Aside, pick: &Pick) -> Option<Vec<User>> {
    let pick = pick.clone();
    aside.ask(limits::SCAN, move || scan(&pick)).await
}

/// Kills until none is left or `until` is reached; first politely when `polite`. Gives those that are left.
pub(crate) async fn end(
    aside: &Aside,
    pick: &Pick,
    polite: bool,
    until: Instant,
) -> Option<Vec<User>> {
    let mut polite_until = Instant::now();
    if polite {
        polite_until += limits::TERM_GRACE;
    }
    let mut asked: Vec<User> = Vec::new();
    loop {
        let left = find(aside, pick).await?;
        if left.is_empty() || Instant::now() >= until {
            return Some(left);
        }
        for user in &left {
            if Instant::now() >= polite_until {
                tracing::warn!(%user, "killed: it kept a service from stopping");
                let _ = kill(user.pid, Signal::SIGKILL);
            } else if !asked.contains(user) {
                tracing::warn!(%user, "asked to end: it keeps a service from stopping");
                let _ = kill(user.pid, Signal::SIGTERM);
                asked.push(user.clone());
            }
        }
        sleep(limits::POLL).await;
    }
}

/// In words, for an error.
pub(crate) fn list(users: Option<&[User]>) -> String {
    match users {
        None => "processes that could not be looked at: /proc blocks".to_owned(),
        Some([]) => {
            "no process: a loop device, swap, an NFS export, or another mount namespace?".to_owned()
        }
        Some(users) => {
            let all: Vec<String> = users.iter().map(ToString::to_string).collect();
            all.join(", ")
        }
    }
}

fn scan(pick: &Pick) -> Vec<User> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let working = match pick {
        Pick::Working { folder, .. } => identity(folder),
        Pick::Marked(_) | Pick::Holding(_) | Pick::Opening(_) => None,
    };
    let others = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid > 1 && *pid != own);
    others
        .filter(|pid| {
            let folder = PathBuf::from(format!("/proc/{pid}"));
            match pick {
                Pick::Marked(marks) => carries(&folder, marks),
                Pick::Holding(devices) => holds(&folder, devices),
                Pick::Opening(devices) => opens(&folder, devices),
                Pick::Working { program, marks, .. } => {
                    working.is_some_and(|there| works(&folder, program, there))
                        || carries(&folder, marks)
                }
            }
        })
        .map(|pid| User {
            pid: Pid::from_raw(pid),
            name: fs::read_to_string(format!("/proc/{pid}/comm"))
                .map_or_else(|_| "?".to_owned(), |name| name.trim().to_owned()),
        })
        .collect()
}

/// A zombie has no environment and holds nothing: it is not found.
fn carries(folder: &Path, marks: &[String]) -> bool {
    let Ok(environment) = fs::read(folder.join("environ")) else {
        return false;
    };
    let entries: BTreeSet<&[u8]> = environment.split(|byte| *byte == 0).collect();
    marks.iter().all(|mark| entries.contains(mark.as_bytes()))
}

/// A folder by what no name hides: it may have several, and each mount namespace its own.
pub(crate) fn identity(folder: &Path) -> Option<(u64, u64)> {
    let folder = fs::metadata(folder).ok()?;
    Some((folder.st_dev(), folder.st_ino()))
}

fn works(folder: &Path, program: &str, there: (u64, u64)) -> bool {
    let runs = fs::read_link(folder.join("exe")).is_ok_and(|exe| {
        let name = exe.file_name().and_then(|name| name.to_str());
        // An upgrade has removed what still runs.
        name.is_some_and(|name| name.strip_suffix(" (deleted)").unwrap_or(name) == program)
    });
    runs && identity(&folder.join("cwd")) == Some(there)
}

fn holds(folder: &Path, devices: &BTreeSet<(u32, u32)>) -> bool {
    // Device numbers, not names: a container may have a folder of the same name and nothing to do with this mount.
    let on_it = |link: &Path| {
        fs::metadata(link).is_ok_and(|file| devices.contains(&crate::mounts::split(file.st_dev())))
    };
    if ["cwd", "root", "exe"]
        .iter()
        .any(|link| on_it(&folder.join(link)))
    {
        return true;
    }
    let open = fs::read_dir(folder.join("fd"));
    if open.is_ok_and(|files| files.flatten().any(|file| on_it(&file.path()))) {
        return true;
    }
    fs::read(folder.join("maps")).is_ok_and(|maps| {
        maps.split(|byte| *byte == b'\n')
            .any(|line| mapped_device(line).is_some_and(|device| devices.contains(&device)))
    })
}

/// What it has open is asked of its file descriptors: the device's node may have any name, or be gone.
fn opens(folder: &Path, devices: &BTreeSet<(u32, u32)>) -> bool {
    let is_it = |link: &Path| {
        fs::metadata(link).is_ok_and(|file| {
            file.file_type().is_block_device()
                && devices.contains(&crate::mounts::split(file.st_rdev()))
        })
    };
    let open = fs::read_dir(folder.join("fd"));
    open.is_ok_and(|files| files.flatten().any(|file| is_it(&file.path())))
}

/// The fourth column of a line of /proc/PID/maps, `fd:01` in hexadecimal; 00:00 is no file.
fn mapped_device(line: &[u8]) -> Option<(u32, u32)> {
    let text = std::str::from_utf8(line).ok();
    // A file's name need not be UTF-8; the columns before it are.
    let text = text.or_else(|| std::str::from_utf8(line.get(..line.len().min(COLUMNS))?).ok())?;
    let (major, minor) = text.split_ascii_whitespace().nth(3)?.split_once(':')?;
    let device = (
        u32::from_str_radix(major, 16).ok()?,
        u32::from_str_radix(minor, 16).ok()?,
    );
    (device != (0, 0)).then_some(device)
}

/// Where the name begins in /proc/PID/maps, at the earliest.
const COLUMNS: usize = 60;

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::mounts::block_device;

    /// Some block device that may be read here, as a device that somebody has open.
    fn a_device() -> Option<PathBuf> {
        let all = fs::read_dir("/sys/class/block").ok()?;
        let nodes = all
            .flatten()
            .map(|one| Path::new("/dev").join(one.file_name()));
        nodes
            .filter(|node| block_device(node).is_some())
            .find(|node| fs::File::open(node).is_ok())
    }

    #[tokio::test]
    async fn who_has_a_block_device_open_is_found() {
        let Some(device) = a_device() else {
            println!("NOT TESTED: no block device can be read here");
            return;
        };
        let number = block_device(&device).unwrap();
        let open = fs::File::open(&device).unwrap();
        let mut user = Command::new("sleep")
            .arg("600")
            .stdin(Stdio::from(open))
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(user.id().try_into().unwrap());
        let users = |number| async move {
            let found = find(&Aside::default(), &Pick::Opening(BTreeSet::from([number])))
                .await
                .unwrap();
            found.iter().any(|user| user.pid == pid)
        };
        assert!(users(number).await);
        assert!(!users((number.0, number.1 + 1)).await, "another device");
        user.kill().unwrap();
        user.wait().unwrap();
        assert!(!users(number).await);
    }
}
