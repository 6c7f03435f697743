//! The files that a setup makes: none overwrites another, none is read by others, and all are gone again where it fails.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::exit::Failure;

/// Bytes of chance in a secret.
const SECRET_BYTES: usize = 32;

/// Where they are, absolute: they are copied to the same place on every node.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) config: PathBuf,
    pub(super) secret: PathBuf,
    pub(super) witness: PathBuf,
}

impl Files {
    /// Beside the configuration.
    pub(super) fn beside(config: &Path) -> Result<Self, Failure> {
        let config = std::path::absolute(config).map_err(Failure::at(config))?;
        let beside = |name| config.with_file_name(name);
        Ok(Self {
            secret: beside("secret"),
            witness: beside("witness.toml"),
            config,
        })
    }

    /// Where they are.
    pub(super) fn folder(&self) -> &Path {
        self.config.parent().unwrap_or(Path::new("/"))
    }

    /// Said before anything is asked.
    pub(super) fn refuse_overwriting(&self, witness: bool) -> Result<(), Failure> {
        let witness = witness.then_some(&self.witness);
        let all = [&self.config, &self.secret].into_iter().chain(witness);
        match all.into_iter().find(|path| path.symlink_metadata().is_ok()) {
            Some(path) => Err(exists(path)),
            None => Ok(()),
        }
    }

    /// The first of them.
    pub(super) fn secret(&self) -> Result<Written<'_>, Failure> {
        let folder = self.folder();
        let mut makes = fs::DirBuilder::new();
        makes.recursive(true).mode(0o755);
        makes.create(folder).map_err(Failure::at(folder))?;
        let mut chance = [0; SECRET_BYTES];
        getrandom::fill(&mut chance).map_err(Failure::error)?;
        let digits: String = chance.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut written = Written {
            files: self,
            made: Vec::new(),
        };
        written.make(&self.secret, &format!("{digits}\n"))?;
        Ok(written)
    }
}

fn exists(path: &Path) -> Failure {
    Failure::Refused {
        code: None,
        why: format!("{} is there: a setup overwrites nothing", path.display()),
        next: "to change what is there, edit it, and `twindisk config check`; for another pair, --config FILE in another \
               folder; if nothing uses it, move it away"
            .to_owned(),
    }
}

/// What was made so far. Dropped before it is done, it takes everything away again.
#[derive(Debug)]
pub(super) struct Written<'f> {
    files: &'f Files,
    made: Vec<&'f Path>,
}

impl<'f> Written<'f> {
    /// The last of them: with it the node is configured.
    pub(super) fn configuration(&mut self, text: &str) -> Result<(), Failure> {
        self.make(&self.files.config, text)
    }

    /// The configuration of a witness, which reads the secret as well.
    pub(super) fn witness(&mut self, text: &str) -> Result<(), Failure> {
        let path = &self.files.witness;
        self.make(path, text)?;
        twindisk_witness::Config::load(path)
            .map(drop)
            .map_err(|error| Failure::Config(error.to_string()))
    }

    /// They stay; their names.
    pub(super) fn done(mut self) -> String {
        let made = std::mem::take(&mut self.made);
        let names: Vec<String> = made.iter().map(|path| path.display().to_string()).collect();
        names.join(", ")
    }

    /// It may hold passwords of fence devices, or is the secret.
    fn make(&mut self, path: &'f Path, text: &str) -> Result<(), Failure> {
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let mut file = opened.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => exists(path),
            _ => Failure::at(path)(error),
        })?;
        self.made.push(path);
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(Failure::at(path))
    }
}

impl Drop for Written<'_> {
    fn drop(&mut self) {
        for path in &self.made {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_are_private_and_go_where_a_setup_fails() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::beside(&dir.path().join("new/twindisk.toml")).unwrap();
        let mut written = files.secret().unwrap();
        written.configuration("text").unwrap();
        for path in [&files.secret, &files.config] {
            assert_eq!(
                fs::metadata(path).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        assert_eq!(fs::read_to_string(&files.secret).unwrap().trim().len(), 64);
        drop(written);
        assert!(!files.secret.exists() && !files.config.exists());
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::beside(&dir.path().join("twindisk.toml")).unwrap();
        fs::write(&files.secret, "mine").unwrap();
        assert_eq!(files.refuse_overwriting(false).unwrap_err().code(), 11);
        assert_eq!(files.secret().unwrap_err().code(), 11);
        assert_eq!(fs::read_to_string(&files.secret).unwrap(), "mine");
    }
}
