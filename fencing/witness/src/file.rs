//! Registers in files: one for each resource, `STATE-DIR/CLUSTER/RESOURCE.register`. A crash leaves the old one or the new
//! one; one that is cut, empty, of another machine or of a newer version is in doubt, and says why.
//!
//! A file is one line `TWREG1 CRC32` (hexadecimal, of the rest), and the register as JSON.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use twindisk_arbiter::Register;

use crate::limits::{MAX_NAME_BYTES, MAX_REGISTER_BYTES, MAX_REGISTERS};

const MAGIC: &str = "TWREG1 ";

/// Where the registers of one cluster are kept, and what is known of them.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
    machine: String,
    /// What is stored, of those that were looked at since the last fault.
    known: BTreeMap<String, Register>,
}

/// Why a register can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The file system says no.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// No file can be called so.
    #[error("{0:?} is no name of a resource")]
    Name(String),
    /// There is no place for more.
    #[error("a cluster has at most {MAX_REGISTERS} registers")]
    Full,
}

/// What a file holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Kept {
    cluster: String,
    resource: String,
    /// The machine that wrote it: a clone of a host is another one, and so is a restored backup elsewhere.
    machine: String,
    register: Register,
}

impl Shelf {
    /// Of a cluster, below `state_dir`, on the machine of this id.
    #[must_use]
    pub fn new(state_dir: &Path, cluster: &str, machine: &str) -> Self {
        Self {
            folder: state_dir.join(cluster),
            machine: machine.to_owned(),
            known: BTreeMap::new(),
        }
    }

    /// The register of a resource as it is stored. One whose file can't be believed is in doubt.
    ///
    /// # Errors
    /// When the file system does not say.
    pub fn get(&mut self, resource: &str) -> Result<Register, ShelfError> {
        if let Some(register) = self.known.get(resource) {
            return Ok(register.clone());
        }
        let path = self.path(resource)?;
        let register = self.load(&path, resource)?;
        self.known.insert(resource.to_owned(), register.clone());
        Ok(register)
    }

    /// Stores it durably. After an error it is not known which of the two is stored: the next look reads it again.
    ///
    /// # Errors
    /// When the file system says no.
    pub fn put(&mut self, resource: &str, register: Register) -> Result<(), ShelfError> {
        let path = self.path(resource)?;
        self.known.remove(resource);
        let kept = Kept {
            cluster: self.cluster(),
            resource: resource.to_owned(),
            machine: self.machine.clone(),
            register,
        };
        if !path.exists() && self.names()?.len() >= MAX_REGISTERS {
            return Err(ShelfError::Full);
        }
        store(&path, &kept).map_err(|source| ShelfError::Io { path, source })?;
        self.known.insert(kept.resource, kept.register);
        Ok(())
    }

    /// The resources that there is a register of.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn names(&self) -> Result<Vec<String>, ShelfError> {
        let fault = |source| ShelfError::Io {
            path: self.folder.clone(),
            source,
        };
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(fault)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(fault)?.file_name();
            let name = name
                .to_str()
                .and_then(|name| name.strip_suffix(".register"));
            names.extend(name.map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }

    fn load(&self, path: &Path, resource: &str) -> Result<Register, ShelfError> {
        let fault = |source| ShelfError::Io {
            path: path.to_owned(),
            source,
        };
        let mut text = Vec::new();
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Register::default()),
            file => {
                let file = file.map_err(fault)?;
                // What an earlier attempt has left may not be durable yet, and is believed from here on.
                file.sync_all().map_err(fault)?;
                sync_folder(path).map_err(fault)?;
                let mut file = file.take(MAX_REGISTER_BYTES);
                file.read_to_end(&mut text).map_err(fault)?;
            }
        }
        let adopt = "with both replicas connected: twindisk arbiter adopt";
        let Some(kept) = open(&text) else {
            let what = format!("its file {} is damaged; {adopt}", path.display());
            return Ok(Register::doubtful(what));
        };
        let Some(kept) = kept else {
            let what = format!(
                "its file {} was written by a newer twindisk: install that one again",
                path.display()
            );
            return Ok(Register::doubtful(what));
        };
        let mut register = kept.register;
        if (&*kept.cluster, &*kept.resource) != (&*self.cluster(), resource) {
            let what = format!(
                "its file {} is of {} in the cluster {}; {adopt}",
                path.display(),
                kept.resource,
                kept.cluster
            );
            return Ok(Register::doubtful(what));
        }
        if kept.machine != self.machine && register.doubt.is_none() {
            let what = format!(
                "it was written on another machine, and may be older than what that one has answered since; {adopt}"
            );
            register.doubt = Some(what);
        }
        Ok(register)
    }

    fn cluster(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    fn path(&self, resource: &str) -> Result<PathBuf, ShelfError> {
        if !is_name(resource) {
            return Err(ShelfError::Name(resource.to_owned()));
        }
        Ok(self.folder.join(format!("{resource}.register")))
    }
}

/// What a machine is called by its system, for as long as that is not installed anew.
pub(crate) fn machine_id() -> String {
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    id.trim().to_owned()
}

/// Whether files can be called so: letters, digits, `-`, `_`, `.`, the first one no dot.
pub(crate) fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.starts_with('.') && name.chars().all(fits)
}

/// What stands in a file; inner `None`: a later version's; `None`: nothing that can be believed.
fn open(text: &[u8]) -> Option<Option<Kept>> {
    let text = std::str::from_utf8(text).ok()?;
    let (head, body) = text.split_once('\n')?;
    let Some(sum) = head.strip_prefix(MAGIC) else {
        let later = head.starts_with("TWREG");
        return later.then_some(None);
    };
    let sum = u32::from_str_radix(sum, 16).ok()?;
    if crc32fast::hash(body.as_bytes()) != sum {
        return None;
    }
    serde_json::from_str(body).ok().map(Some)
}

fn store(path: &Path, kept: &Kept) -> io::Result<()> {
    let body = serde_json::to_string_pretty(kept)?;
    let sum = crc32fast::hash(body.as_bytes());
    if let Some(folder) = path.parent()
        && !folder.exists()
    {
        fs::create_dir_all(folder)?;
        sync_folder(folder)?;
    }
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    write!(file, "{MAGIC}{sum:08x}\n{body}")?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_folder(path)
}

/// Makes durable which files are in the folder of this one.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twindisk_arbiter::{Nonce, Record};

    fn register() -> Register {
        Register {
            record: Some(Record::first(Nonce(3), 1, vec![0, 1], 0)),
            doubt: None,
        }
    }

    fn why(shelf: &mut Shelf) -> String {
        shelf.get("r0").unwrap().doubt.unwrap_or_default()
    }

    #[test]
    fn what_was_stored_is_read_by_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let mut shelf = Shelf::new(folder.path(), "db", "here");
        assert_eq!(shelf.get("r0").unwrap(), Register::default());
        shelf.put("r0", register()).unwrap();
        let mut next = Shelf::new(folder.path(), "db", "here");
        assert_eq!(next.get("r0").unwrap(), register());
        assert_eq!(next.names().unwrap(), ["r0"]);
        assert!(matches!(next.get("../r0"), Err(ShelfError::Name(_))));
    }

    #[test]
    fn a_file_that_was_touched_anywhere_is_in_doubt() {
        let folder = tempfile::tempdir().unwrap();
        let mut shelf = Shelf::new(folder.path(), "db", "here");
        shelf.put("r0", register()).unwrap();
        let path = folder.path().join("db/r0.register");
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let mut shelf = Shelf::new(folder.path(), "db", "here");
            assert!(shelf.get("r0").unwrap().doubt.is_some(), "{length} bytes");
        }
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 1;
            fs::write(&path, &bent).unwrap();
            let mut shelf = Shelf::new(folder.path(), "db", "here");
            assert!(shelf.get("r0").unwrap().doubt.is_some(), "byte {at}");
        }
    }

    #[test]
    fn what_is_of_another_machine_cluster_or_version_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let mut shelf = Shelf::new(folder.path(), "db", "here");
        shelf.put("r0", register()).unwrap();
        let mut cloned = Shelf::new(folder.path(), "db", "elsewhere");
        assert!(why(&mut cloned).contains("another machine"));
        fs::rename(folder.path().join("db"), folder.path().join("mail")).unwrap();
        let mut other = Shelf::new(folder.path(), "mail", "here");
        assert!(why(&mut other).contains("cluster db"));
        fs::write(folder.path().join("mail/r0.register"), "TWREG2 00\n{}").unwrap();
        let mut newer = Shelf::new(folder.path(), "mail", "here");
        assert!(why(&mut newer).contains("newer"));
    }

    #[test]
    fn what_could_not_be_stored_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut shelf = Shelf::new(folder.path(), "db", "here");
        shelf.put("r0", register()).unwrap();
        // Where the new file is to be, there is a folder.
        fs::create_dir(folder.path().join("db/r0.new")).unwrap();
        let mut later = register();
        later.doubt = Some("it was rolled back".to_owned());
        shelf.put("r0", later.clone()).unwrap_err();
        assert_eq!(shelf.get("r0").unwrap(), register());
        fs::remove_dir(folder.path().join("db/r0.new")).unwrap();
        shelf.put("r0", later.clone()).unwrap();
        assert_eq!(shelf.get("r0").unwrap(), later);
    }
}
