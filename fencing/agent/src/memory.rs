//! What the agent must not forget, in a file.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use twindisk_fencing_core::Memory;

/// Why the memory can't be read.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The file system says no.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// It is not what an agent writes.
    #[error("{}: not what an agent writes ({what}): remove it; `twindisk agent maintenance` and a block of failovers are then forgotten", path.display())]
    Nonsense {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// Reads it; a missing file is an empty memory.
pub(crate) fn load(path: &Path) -> Result<Memory, MemoryError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Memory::default()),
        Err(source) => {
            return Err(MemoryError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    serde_json::from_slice(&text).map_err(|error| MemoryError::Nonsense {
        path: path.to_owned(),
        what: error.to_string(),
    })
}

/// Writes it durably: a crash leaves the old one or the new one.
pub(crate) fn store(path: &Path, memory: &Memory) -> Result<(), MemoryError> {
    let fault = |source| MemoryError::Io {
        path: path.to_owned(),
        source,
    };
    let text = serde_json::to_vec_pretty(memory).map_err(|error| fault(error.into()))?;
    let fresh = path.with_extension("new");
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(fault)?;
    }
    let mut file = File::create(&fresh).map_err(fault)?;
    file.write_all(&text)
        .and_then(|()| file.sync_all())
        .map_err(fault)?;
    fs::rename(&fresh, path).map_err(fault)?;
    if let Some(folder) = path.parent() {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(fault)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_stored_is_an_error_until_it_can() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        fs::write(&state, "a file where a folder is to be").expect("written");
        let path = state.join("agent.json");
        let error = store(&path, &Memory::default()).expect_err("no folder");
        assert!(error.to_string().contains("agent.json"), "{error}");
        fs::remove_file(&state).expect("it is there");
        store(&path, &Memory::default()).expect("stored");
    }

    #[test]
    fn what_was_stored_is_read_and_nonsense_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state/agent.json");
        assert_eq!(load(&path).expect("none yet"), Memory::default());
        let memory = Memory {
            version: 7,
            maintenance: true,
            ..Memory::default()
        };
        store(&path, &memory).expect("stored");
        assert_eq!(load(&path).expect("there"), memory);
        fs::write(&path, "{\"version\": 1, \"colour\": 2}").expect("written");
        let error = load(&path).expect_err("nonsense").to_string();
        assert!(
            error.contains("agent.json") && error.contains("colour"),
            "{error}"
        );
    }
}
