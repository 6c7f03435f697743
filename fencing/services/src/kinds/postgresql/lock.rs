//! `postmaster.pid`: who has the data directory, and where it listens (PostgreSQL's `utils/pidfile.h`).

use std::{fs, io, path::Path};

use super::folder::Folder;
use crate::{error::Problem, processes::identity};

/// Its file in the data directory, and how long that may be: it names the data directory and the folder of a socket, whose
/// paths PostgreSQL limits to 1024 bytes.
const FILE: (&str, u64) = ("postmaster.pid", 4096);

/// What the file says. A server writes it line by line while it starts, and leaves it behind when it is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    /// Of the postmaster; negative of a single-user server.
    pub(super) pid: i32,
    pub(super) port: Option<u16>,
    /// Where it can be reached from here: the folder of a socket, or an address.
    pub(super) host: Option<String>,
    /// `starting`, `ready`, `standby`, `stopping`, or nothing yet.
    pub(super) status: String,
}

/// A process that no later one of the same number is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pid: i32,
    started: u64,
}

impl Lock {
    /// `None`: there is none, or no data directory.
    pub(super) fn read(data: &Path) -> Result<Option<Self>, Problem> {
        let (name, most) = FILE;
        let folder = match Folder::open(data) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Problem::system(data.display().to_string(), error)),
        };
        let text = folder.read(name, most)?;
        Ok(text.as_deref().and_then(Self::parse))
    }

    /// `None` where not even the first line is there yet.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim);
        let pid = lines.next()?.parse().ok()?;
        let mut rest = lines.skip(2); // the data directory, the time
        let port = rest.next().and_then(|line| line.parse().ok());
        let folder = rest.next().filter(|line| !line.is_empty());
        let address = rest.next().filter(|line| !line.is_empty());
        // As pg_ctl(1) takes them.
        let address = address.map(|address| match address {
            "*" | "0.0.0.0" => "127.0.0.1",
            "::" => "::1",
            other => other,
        });
        Some(Self {
            pid,
            port,
            host: folder.or(address).map(str::to_owned),
            status: rest.nth(1).unwrap_or_default().to_owned(),
        })
    }

    /// The process of this number is dead, or is for certain no server on this data directory.
    pub(super) fn is_stale(&self, data: &Path) -> bool {
        if Process::of(self.pid).is_none() {
            return true; // A dead one that nobody has waited for keeps its number.
        }
        let there = identity(Path::new(&format!("/proc/{}/cwd", self.pid)));
        let (Some(there), Some(data)) = (there, identity(data)) else {
            return false;
        };
        there != data
    }
}

impl Process {
    /// `None`: it is gone.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name, which may hold anything: the state is the third field, the time of the start the 22nd.
        let mut fields = stat.rsplit(')').next()?.split_ascii_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        let started = fields.nth(18)?.parse().ok()?;
        Some(Self { pid, started })
    }

    pub(super) fn lives(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_is_read_as_far_as_it_goes() {
        let whole = "26631\n/srv/db/data\n1796088079\n5433\n/run/postgresql\n*\n 10035224     98318\nready   \n";
        let lock = Lock::parse(whole).unwrap();
        let expected = Lock {
            pid: 26631,
            port: Some(5433),
            host: Some("/run/postgresql".to_owned()),
            status: "ready".to_owned(),
        };
        assert_eq!(lock, expected);
        let remote = Lock::parse("1\n/d\n1\n5432\n\n*\n 1 2\nstarting\n").unwrap();
        assert_eq!(remote.host.as_deref(), Some("127.0.0.1"));
        assert_eq!(remote.status, "starting");
        let begun = Lock::parse("-77\n/d\n1\n").unwrap();
        assert_eq!((begun.pid, begun.port, begun.host), (-77, None, None));
        for garbage in ["", "\n", "x\n", "99999999999999999999\n"] {
            assert_eq!(Lock::parse(garbage), None, "{garbage:?}");
        }
    }

    #[test]
    fn a_process_is_known_by_more_than_its_number() {
        let own = i32::try_from(std::process::id()).unwrap();
        let this = Process::of(own).unwrap();
        assert!(this.lives());
        let earlier = Process {
            started: this.started - 1,
            ..this
        };
        assert!(!earlier.lives());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        child.wait().unwrap();
        assert_eq!(Process::of(pid), None);
    }
}
