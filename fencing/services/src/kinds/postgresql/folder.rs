//! Files that the database's user owns, as the agent reads them, which is root: nothing that this user could not have read
//! itself. A link, a pipe, or a name of somebody else's file in their place is an error, which never repeats what is in it.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat},
    sys::stat::Mode,
    unistd::Uid,
};

use crate::error::Problem;

/// A folder that was opened once: what is read is in this one, whatever its path leads to later.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    opened: File,
    owner: Uid,
}

impl Folder {
    /// Links on the way to it are followed: who may make them is up to whoever wrote the path.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let how = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = File::from(open(path, how, Mode::empty())?);
        Ok(Self {
            path: path.to_owned(),
            owner: Uid::from_raw(opened.metadata()?.uid()),
            opened,
        })
    }

    pub(super) const fn owner(&self) -> Uid {
        self.owner
    }

    /// A whole file of the folder's owner, at most so long. `None`: there is none.
    pub(super) fn read(&self, name: &str, most: u64) -> Result<Option<String>, Problem> {
        let name = Path::new(name);
        let Some((file, about)) = self.file(name, self.owner)? else {
            return Ok(None);
        };
        if about.len() > most {
            let why = format!("it has {} bytes, more than {most}", about.len());
            return Err(self.refuse(name, &why));
        }
        let mut bytes = Vec::new();
        file.take(most)
            .read_to_end(&mut bytes)
            .map_err(|error| self.fault(name, error))?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// A file of this user, open for reading. `None`: there is none.
    pub(super) fn file(
        &self,
        name: &Path,
        owner: Uid,
    ) -> Result<Option<(File, Metadata)>, Problem> {
        // Opening a pipe must not wait for whoever writes to it.
        let how = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(&self.opened, name, how, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => return Err(self.refuse(name, "it is a link")),
            Err(error) => return Err(self.fault(name, error.into())),
        };
        let about = file.metadata().map_err(|error| self.fault(name, error))?;
        if !about.is_file() {
            return Err(self.refuse(name, "it is no plain file"));
        }
        if about.nlink() != 1 {
            let why = format!("it has {} names (hard links)", about.nlink());
            return Err(self.refuse(name, &why));
        }
        if about.uid() != owner.as_raw() {
            let why = format!("it belongs to uid {}, not to uid {owner}", about.uid());
            return Err(self.refuse(name, &why));
        }
        Ok(Some((file, about)))
    }

    fn refuse(&self, name: &Path, why: &str) -> Problem {
        Problem::Refused(format!(
            "{} is not read: {why}. PostgreSQL makes it a plain file of its own: see who has put this one there",
            self.path.join(name).display()
        ))
    }

    fn fault(&self, name: &Path, error: io::Error) -> Problem {
        Problem::system(self.path.join(name).display().to_string(), error)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, process::Command};

    use super::*;

    const SECRET: &str = "correct horse battery staple";

    /// Reads `file` of a folder that `make` has been at, beside which a secret lies.
    fn read(make: impl FnOnce(&Path, &Path)) -> Result<Option<String>, String> {
        let dir = tempfile::TempDir::new().unwrap();
        let (data, secret) = (dir.path().join("data"), dir.path().join("secret"));
        fs::create_dir(&data).unwrap();
        fs::write(&secret, SECRET).unwrap();
        make(&data.join("file"), &secret);
        let read = Folder::open(&data).unwrap().read("file", 64);
        read.map_err(|problem| problem.to_string())
    }

    fn is_refused(why: &str, make: impl FnOnce(&Path, &Path)) {
        let error = read(make).unwrap_err();
        let whole = error.contains("data/file") && error.contains(why);
        assert!(whole && !error.contains(SECRET), "{error}");
    }

    #[test]
    fn a_plain_file_is_read_and_nothing_else() {
        assert_eq!(read(|_, _| ()).unwrap(), None);
        let text = read(|file, _| fs::write(file, "15\n").unwrap()).unwrap();
        assert_eq!(text.as_deref(), Some("15\n"));
        is_refused("it is a link", |file, secret| {
            symlink(secret, file).unwrap();
        });
        is_refused("2 names", |file, secret| {
            fs::hard_link(secret, file).unwrap();
        });
        is_refused("no plain file", |file, _| fs::create_dir(file).unwrap());
        // It would wait for whoever writes to it.
        is_refused("no plain file", |file, _| {
            let made = Command::new("mkfifo").arg(file).status().unwrap();
            assert!(made.success());
        });
        is_refused("1099511627776 bytes, more than 64", |file, _| {
            File::create(file).unwrap().set_len(1 << 40).unwrap();
        });
    }

    #[test]
    fn a_folder_that_was_opened_stays_the_same_one() {
        let dir = tempfile::TempDir::new().unwrap();
        let [data, other] = ["data", "other"].map(|name| dir.path().join(name));
        for (folder, text) in [(&data, "15"), (&other, SECRET)] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("file"), text).unwrap();
        }
        let folder = Folder::open(&data).unwrap();
        fs::rename(&data, dir.path().join("away")).unwrap();
        symlink(&other, &data).unwrap();
        assert_eq!(folder.read("file", 64).unwrap().as_deref(), Some("15"));
    }

    #[test]
    fn a_file_of_somebody_else_is_not_read() {
        let dir = tempfile::TempDir::new().unwrap();
        fs::write(dir.path().join("file"), SECRET).unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let other = Uid::from_raw(folder.owner().as_raw() + 1);
        let error = folder
            .file(Path::new("file"), other)
            .unwrap_err()
            .to_string();
        assert!(error.contains("belongs to uid"), "{error}");
    }
}
