//! Where agents are looked for.

use std::{
    env, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::AgentError;
use crate::config::AgentName;

/// Folders in which an agent's name is looked up, in order.
#[derive(Clone, Debug)]
pub struct SearchPath(Vec<PathBuf>);

impl Default for SearchPath {
    /// `/usr/sbin`, where distributions put agents, then `/usr/local/sbin`, then `PATH`.
    fn default() -> Self {
        let mut folders: Vec<PathBuf> = vec!["/usr/sbin".into(), "/usr/local/sbin".into()];
        let path = env::var_os("PATH").unwrap_or_default();
        for folder in env::split_paths(&path) {
            // A relative entry would make the answer depend on where the daemon was started.
            if folder.is_absolute() && !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        Self(folders)
    }
}

impl SearchPath {
    /// These folders alone.
    pub fn new(folders: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(folders.into_iter().collect())
    }

    pub(super) fn find(&self, name: &AgentName) -> Result<PathBuf, AgentError> {
        let candidates = match name {
            AgentName::Named(name) => self.0.iter().map(|folder| folder.join(name)).collect(),
            AgentName::Path(path) => vec![path.clone()],
            AgentName::Manual => Vec::new(),
        };
        // A folder of the agent's name, or a copy that may not be run, does not hide a good one further on.
        let mut unusable = None;
        for path in candidates {
            match runnable(&path) {
                Ok(true) => return Ok(path),
                Ok(false) => {}
                Err(why) => unusable = unusable.or(Some((path, why))),
            }
        }
        Err(match (unusable, name) {
            (Some((path, why)), _) => AgentError::NotExecutable { path, why },
            (None, AgentName::Path(path)) => AgentError::NoFile { path: path.clone() },
            (None, AgentName::Named(_) | AgentName::Manual) => AgentError::NotFound {
                agent: name.to_string(),
                searched: self.0.clone(),
            },
        })
    }
}

/// Whether something is there, and an error when it cannot be run.
fn runnable(path: &Path) -> Result<bool, String> {
    match path.metadata() {
        Ok(found) if !found.is_file() => Err("it is no file".to_owned()),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            Err("it is not executable (chmod +x)".to_owned())
        }
        Ok(_) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error.to_string()),
    }
}
