//! A PostgreSQL server, as an operator writes it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{ConfigError, Kind, Raw, bad, timeout};
use crate::limits;

/// A PostgreSQL server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgreSql {
    /// The data directory.
    pub data: PathBuf,
    /// Where its programs are; `None`: where packages of its version put them.
    pub bin: Option<PathBuf>,
    /// Whom the data directory has to belong to, and who runs the server; `None`: whoever it belongs to.
    pub user: Option<String>,
    /// Its `postgresql.conf`, where that is not in the data directory.
    pub config_file: Option<PathBuf>,
    /// What the server says goes there until its own logging begins.
    pub log: Option<PathBuf>,
    /// A server that lives and answers nobody for so long has ended.
    pub answer_timeout: Duration,
}

/// Where packages put the programs of a version: Debian's, and those of the PostgreSQL project for Red Hat's.
const PACKAGES: [(&str, &str); 2] = [("/usr/lib/postgresql/", "/bin"), ("/usr/pgsql-", "/bin")];

/// What is run of them.
const PROGRAMS: [&str; 2] = ["postgres", "pg_isready"];

impl PostgreSql {
    /// Where the programs of this version are.
    ///
    /// # Errors
    /// In words, with what to do.
    pub(crate) fn programs(&self, version: &str) -> Result<PathBuf, String> {
        if let Some(bin) = &self.bin {
            return whole(bin).then(|| bin.clone()).ok_or_else(|| {
                format!(
                    "bin: there is no {} in {}: correct the path, or install PostgreSQL {version} there",
                    PROGRAMS.join(" and "),
                    bin.display()
                )
            });
        }
        let folders = PACKAGES.map(|(before, after)| format!("{before}{version}{after}"));
        let found = folders.iter().map(Path::new).find(|folder| whole(folder));
        found.map(Path::to_owned).ok_or_else(|| {
            format!(
                "there is no PostgreSQL {version} in {}, and the data is of that version: install it (on Debian postgresql-{version}), \
                 or say where it is with `bin`",
                folders.join(" or in ")
            )
        })
    }

    /// What this host lacks for it, as far as that can be seen before its data is there.
    pub(super) fn lacks(&self) -> Vec<String> {
        let mut lacks = Vec::new();
        let name = self.data.display();
        match &self.bin {
            Some(bin) if !whole(bin) => {
                lacks.push(format!(
                    "there is no {} in {}",
                    PROGRAMS.join(" and "),
                    bin.display()
                ));
            }
            None if !any_version() => {
                lacks.push("no PostgreSQL is installed in /usr/lib/postgresql".to_owned());
            }
            Some(_) | None => {}
        }
        if let Some(file) = self.config_file.as_ref().filter(|file| !file.is_file()) {
            lacks.push(format!("there is no {}", file.display()));
        }
        if let Some(user) = &self.user
            && !matches!(nix::unistd::User::from_name(user), Ok(Some(_)))
        {
            lacks.push(format!("there is no user {user}"));
        }
        let words = lacks.into_iter();
        words
            .map(|what| format!("postgresql {name} could not start on this node: {what}"))
            .collect()
    }
}

pub(super) fn read(data: PathBuf, raw: &mut Raw) -> Result<Kind, ConfigError> {
    let about = format!("postgresql {}", data.display());
    let paths = [
        ("postgresql", Some(&data)),
        ("bin", raw.bin.as_ref()),
        ("config-file", raw.config_file.as_ref()),
        ("log", raw.log.as_ref()),
    ];
    for (key, path) in paths {
        if let Some(path) = path.filter(|path| !path.is_absolute() || *path == Path::new("/")) {
            return bad(format!(
                "{key}: {path:?} must be an absolute path below /, as \"/srv/db/data\" for the data directory"
            ));
        }
    }
    let user = raw.user.take();
    match user.as_deref() {
        Some("root" | "0") => {
            return bad(format!(
                "{about}: PostgreSQL does not run as root: name the owner of the data directory, as user = \"postgres\""
            ));
        }
        Some(name)
            if name.is_empty() || name.starts_with('-') || name.contains(char::is_control) =>
        {
            return bad(format!("{about}: {name:?} is no user's name"));
        }
        Some(_) | None => {}
    }
    Ok(Kind::PostgreSql(PostgreSql {
        data,
        bin: raw.bin.take(),
        user,
        config_file: raw.config_file.take(),
        log: raw.log.take(),
        answer_timeout: timeout("answer-timeout", raw.answer_timeout.take())?
            .unwrap_or(limits::ANSWER),
    }))
}

fn whole(folder: &Path) -> bool {
    PROGRAMS.iter().all(|one| folder.join(one).is_file())
}

/// A folder that is called like one of a package, with any version in its name.
fn any_version() -> bool {
    PACKAGES.iter().any(|(before, after)| {
        let at = before.rfind('/').map_or(0, |slash| slash + 1);
        let (parent, beginning) = before.split_at(at);
        let folders = fs::read_dir(parent).into_iter().flatten().flatten();
        folders
            .filter(|one| one.file_name().to_string_lossy().starts_with(beginning))
            .any(|one| whole(&one.path().join(after.trim_start_matches('/'))))
    })
}
