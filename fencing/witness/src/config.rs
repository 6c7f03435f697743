//! The configuration of a witness: where it listens, where it keeps its records, whom it serves.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use twindisk_arbiter::Seal;

use crate::limits::MAX_CONFIG_BYTES;

/// What a witness is told.
#[derive(Debug)]
pub struct Config {
    /// Where it listens: `HOST:PORT`.
    pub listen: String,
    /// Where it keeps its records.
    pub state_dir: PathBuf,
    /// Whom it serves, by name.
    pub clusters: BTreeMap<String, Cluster>,
}

/// A cluster that it serves.
#[derive(Debug)]
pub struct Cluster {
    /// With the secret that its nodes know, too.
    pub seal: Seal,
}

/// Why a configuration does not hold.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It can't be read.
    #[error("{}: {source}. A witness needs a file like: listen = \"0.0.0.0:7795\", then for each cluster [cluster.NAME] with secret-file = \"…\"", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{}: {what}", path.display())]
    Bad {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Raw {
    #[serde(default = "default_listen")]
    listen: String,
    #[serde(default = "default_state_dir")]
    state_dir: PathBuf,
    #[serde(default)]
    cluster: BTreeMap<String, RawCluster>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawCluster {
    secret_file: PathBuf,
}

fn default_listen() -> String {
    "0.0.0.0:7795".to_owned()
}

fn default_state_dir() -> PathBuf {
    PathBuf::from("/var/lib/twindisk-witness")
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it, or a secret that it names, can't be read or makes no sense.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bad = |what: String| ConfigError::Bad {
            path: path.to_owned(),
            what,
        };
        let text = read(path)?;
        let raw: Raw = toml::from_str(&text).map_err(|error| bad(error.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        if raw.cluster.is_empty() {
            return Err(bad(
                "it names no cluster: add [cluster.NAME] with secret-file = \"…\"".to_owned(),
            ));
        }
        let mut clusters = BTreeMap::new();
        for (name, cluster) in raw.cluster {
            if !crate::file::is_name(&name) {
                return Err(bad(format!("{name:?} is no name of a cluster")));
            }
            let file = folder.join(cluster.secret_file);
            let secret = read(&file)?;
            let secret = secret.trim_end_matches('\n').as_bytes();
            if !(16..=4096).contains(&secret.len()) {
                let what = format!(
                    "the secret of {name} in {} has {} bytes: it needs 16 to 4096, the same as on the nodes",
                    file.display(),
                    secret.len()
                );
                return Err(bad(what));
            }
            let seal = Seal::new(secret, &name);
            clusters.insert(name, Cluster { seal });
        }
        Ok(Self {
            listen: raw.listen,
            state_dir: folder.join(raw.state_dir),
            clusters,
        })
    }
}

impl Config {
    /// Where it is reached from its own host: by an address, which needs no resolver.
    #[must_use]
    pub fn reached_at(&self) -> String {
        match self.listen.rsplit_once(':') {
            Some(("0.0.0.0", port)) => format!("127.0.0.1:{port}"),
            Some(("[::]", port)) => format!("[::1]:{port}"),
            _ => self.listen.clone(),
        }
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_CONFIG_BYTES)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), "sixteen bytes and more\n").unwrap();
        fs::write(folder.path().join("short"), "short\n").unwrap();
        let path = folder.path().join("witness.toml");
        fs::write(&path, text).unwrap();
        Config::load(&path)
    }

    #[test]
    fn a_file_is_read_and_what_is_wrong_is_named() {
        let config = load("[cluster.db]\nsecret-file = \"secret\"").unwrap();
        assert_eq!(config.listen, "0.0.0.0:7795");
        assert!(config.clusters.contains_key("db"));
        for (text, says) in [
            ("", "no cluster"),
            ("[cluster.db]\nsecret-file = \"short\"", "16 to 4096"),
            ("[cluster.db]\nsecret-file = \"none\"", "No such file"),
            ("[cluster.\"../x\"]\nsecret-file = \"secret\"", "no name"),
            ("colour = 1", "colour"),
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
