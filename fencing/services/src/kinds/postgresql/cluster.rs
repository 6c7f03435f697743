//! What a data directory says before a server starts on it: its version, its owner, whether it is one at all.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Uid, User};

use crate::{config::PostgreSql, error::Problem};

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
        let file = data.join("PG_VERSION");
        let version = fs::read_to_string(&file).map_err(|error| missing(data, &file, error))?;
        let version = version.trim();
        // It becomes a part of a path.
        if version.is_empty() || !version.chars().all(|c| c.is_ascii_digit() || c == '.') {
            return refused(format!(
                "{} holds {version:?}, which is no version of PostgreSQL",
                file.display()
            ));
        }
        let bin = config.programs(version).map_err(Problem::Refused)?;
        let folder = fs::metadata(data)
            .map_err(|error| Problem::system(data.display().to_string(), error))?;
        let owner = owner(data, Uid::from_raw(folder.uid()), config.user.as_deref())?;
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

fn missing(data: &Path, file: &Path, error: io::Error) -> Problem {
    if error.kind() != io::ErrorKind::NotFound {
        return Problem::system(file.display().to_string(), error);
    }
    Problem::Refused(if data.is_dir() {
        format!(
            "{} is no data directory: it holds no PG_VERSION. Correct the path, or make it with initdb",
            data.display()
        )
    } else {
        format!(
            "there is no {}: is its filesystem mounted? Its mount comes before it in the list of services",
            data.display()
        )
    })
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
