//! What a data directory says before a server starts on it: its version, its owner, whether it is one at all.

use std::{
    io,
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Uid, User};

use super::folder::Folder;
use crate::{config::PostgreSql, error::Problem};

/// Its file in the data directory, and how long that may be: a number and the end of a line.
const VERSION: (&str, u64) = ("PG_VERSION", 64);

/// A data directory that a server can start on.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    /// Where its programs are.
    pub(super) bin: PathBuf,
    pub(super) owner: Owner,
}

/// Who runs the server: PostgreSQL accepts nobody else than the owner of the data directory.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) name: String,
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) home: PathBuf,
}

impl Cluster {
    pub(super) fn look(config: &PostgreSql) -> Result<Self, Problem> {
        let data = &config.data;
        let folder = Folder::open(data).map_err(|error| missing(data, error))?;
        let (name, most) = VERSION;
        let Some(version) = folder.read(name, most)? else {
            return refused(format!(
                "{} is no data directory: it holds no {name}. Correct the path, or make it with initdb",
                data.display()
            ));
        };
        let version = version.trim();
        if !is_version(version) {
            // What it holds instead is not for everybody who reads of it.
            return refused(format!(
                "{} holds no version of PostgreSQL, as \"15\": is {} a data directory?",
                data.join(name).display(),
                data.display()
            ));
        }
        let bin = config.programs(version).map_err(Problem::Refused)?;
        let owner = owner(data, folder.owner(), config.user.as_deref())?;
        let config_file = config.config_file.clone();
        let config_file = config_file.unwrap_or_else(|| data.join("postgresql.conf"));
        if !config_file.is_file() {
            return refused(format!(
                "there is no {}: say where it is with `config-file` (Debian's pg_createcluster puts it to \
                 /etc/postgresql/{version}/NAME/postgresql.conf; keep it the same on both nodes)",
                config_file.display()
            ));
        }
        Ok(Self { bin, owner })
    }
}

/// `15`, or `9.6`: it becomes a part of a path.
fn is_version(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    text.split('.').count() <= 2 && text.split('.').all(is_number)
}

fn missing(data: &Path, error: io::Error) -> Problem {
    if error.kind() != io::ErrorKind::NotFound {
        return Problem::system(data.display().to_string(), error);
    }
    Problem::Refused(format!(
        "there is no {}: is its filesystem mounted? Its mount comes before it in the list of services",
        data.display()
    ))
}

fn owner(data: &Path, uid: Uid, wanted: Option<&str>) -> Result<Owner, Problem> {
    let known = |found: nix::Result<Option<User>>| {
        found.map_err(|error| Problem::system("looking for users", error))
    };
    let found = known(User::from_uid(uid))?;
    if let Some(wanted) = wanted {
        let Some(wanted) = known(User::from_name(wanted))? else {
            return refused(format!(
                "there is no user {wanted} on this node: install PostgreSQL here, or correct `user`"
            ));
        };
        if wanted.uid != uid {
            let found = found.map_or("nobody here".to_owned(), |user| user.name);
            return refused(format!(
                "{} belongs to uid {uid} ({found}), and {} has uid {} on this node: give that user the same uid on both nodes \
                 (usermod -u), or change the owner (chown -R {})",
                data.display(),
                wanted.name,
                wanted.uid,
                wanted.name
            ));
        }
    }
    if uid.is_root() {
        return refused(format!(
            "{} belongs to root, and PostgreSQL does not run as root: chown -R postgres {}",
            data.display(),
            data.display()
        ));
    }
    let Some(user) = found else {
        return refused(format!(
            "{} belongs to uid {uid}, which is no user of this node: give its user the same uid on both nodes, or change the \
             owner (chown -R postgres)",
            data.display()
        ));
    };
    Ok(Owner {
        name: user.name,
        uid: user.uid,
        gid: user.gid,
        home: user.dir,
    })
}

fn refused<T>(text: String) -> Result<T, Problem> {
    Err(Problem::Refused(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_one_or_two_numbers() {
        for version in ["15", "9.6", "100"] {
            assert!(is_version(version), "{version}");
        }
        for other in ["", ".", "..", "15.", "../15", "1.2.3", "+5", "fifteen"] {
            assert!(!is_version(other), "{other:?}");
        }
    }
}
