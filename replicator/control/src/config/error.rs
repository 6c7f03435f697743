//! What can be wrong with a configuration: where, what, and what to write instead.

use std::{io, path::PathBuf};

/// An error of the configuration. Its text names file, line and key wherever there is one.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It could not be read.
    #[error("{}: cannot read the configuration: {source}{}", path.display(), missing_hint(source))]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is longer than any configuration.
    #[error("{}: {bytes} bytes are too many for a configuration: is it the right file?", path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// Something in it is wrong.
    #[error("{}:{line}: {}{message}{}", path.display(), key_prefix(key), hint_suffix(hint))]
    Bad {
        /// Which file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Its key with its table, like `resource.r0.peer-timeout`; empty when there is none.
        key: String,
        /// What is wrong.
        message: String,
        /// What to write instead; may be empty.
        hint: String,
    },
    /// `--node` or `node` names none.
    #[error("{}: there is no node {name:?}: the file has {}", path.display(), list(known))]
    UnknownNode {
        /// Which file.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Nothing says which node this host is.
    #[error(
        "{}: no node is named like this host ({host:?}): say which one it is with --node NAME or `node = \"NAME\"`; the file has {}",
        path.display(), list(known)
    )]
    NoNodeForHost {
        /// Which file.
        path: PathBuf,
        /// The host's name.
        host: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A resource that this node has not.
    #[error("{}: {}", path.display(), no_resource(wanted.as_deref(), node, known))]
    NoResource {
        /// Which file.
        path: PathBuf,
        /// This node.
        node: String,
        /// What was asked for.
        wanted: Option<String>,
        /// What there is.
        known: Vec<String>,
    },
    /// The secret's file could not be read.
    #[error(
        "{}: cannot read the shared secret: {source}; make one with: head -c 32 /dev/urandom | base64 > {} (mode 0600, the same file on every node)",
        path.display(), path.display()
    )]
    SecretUnreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The secret's length is wrong.
    #[error("the shared secret ({place}) has {bytes} bytes: it needs {min} to {max}")]
    SecretLength {
        /// Where it stands.
        place: String,
        /// Its length.
        bytes: usize,
        /// At least.
        min: usize,
        /// At most.
        max: usize,
    },
}

/// The known name nearest to a mistyped one, when one is near enough to be meant.
pub(crate) fn nearest<'k>(
    wrong: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(wrong, name), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn missing_hint(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::NotFound {
        "; name it with --config FILE"
    } else {
        ""
    }
}

fn key_prefix(key: &str) -> String {
    if key.is_empty() {
        String::new()
    } else {
        format!("{key}: ")
    }
}

fn hint_suffix(hint: &str) -> String {
    if hint.is_empty() {
        String::new()
    } else {
        format!("; {hint}")
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn no_resource(wanted: Option<&str>, node: &str, known: &[String]) -> String {
    match wanted {
        Some(name) => {
            let meant = nearest(name, known.iter().map(String::as_str))
                .map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            format!(
                "node {node} has no resource {name:?}: it has {}{meant}",
                list(known)
            )
        }
        None if known.is_empty() => format!("node {node} takes part in no resource"),
        None => format!(
            "node {node} has several resources: name one of {}",
            list(known)
        ),
    }
}
