//! A disk without a cluster, for programs that want any NBD server, and for their test suites.

use std::{
    fs,
    path::{Path, PathBuf},
};

use twindisk_control::{
    config::Config,
    serve::{self, Options},
};

use crate::{
    commands::init::{self, Plan},
    exit::Failure,
};

/// What is served.
pub(super) enum Disk {
    /// A new file of this size, gone with the process.
    Scratch(u64),
    /// This file, with what it holds.
    File(PathBuf),
}

pub(super) fn serve(
    disk: &Disk,
    unix: Option<&Path>,
    tcp: Option<&str>,
    options: Options,
) -> Result<(), Failure> {
    let dir = tempfile::Builder::new()
        .prefix("twindisk-")
        .tempdir()
        .map_err(Failure::error)?;
    let backing = match disk {
        Disk::Scratch(_) => dir.path().join("disk"),
        Disk::File(file) => {
            let file = fs::canonicalize(file).map_err(Failure::at(file))?;
            let rest = fs::metadata(&file).map_err(Failure::at(&file))?.len() % 4096;
            if rest > 0 {
                tracing::warn!(
                    "the last {rest} bytes of {} are not served: a disk is whole blocks of 4096 bytes",
                    file.display()
                );
            }
            file
        }
    };
    let unix = unix
        .map(|path| std::path::absolute(path).map_err(Failure::at(path)))
        .transpose()?;
    let text = configuration(&backing, unix.as_deref(), tcp);
    let config = Config::parse(&dir.path().join("twindisk.toml"), &text)?;
    let node = config.this_node(None)?.clone();
    let (resource, member) = config.pick(&node, None)?;
    init::make(&Plan {
        cluster: &config.cluster,
        resource,
        member,
        first: true,
        size: match disk {
            Disk::Scratch(bytes) => Some(*bytes),
            Disk::File(_) => None,
        },
        max_size: None,
        peers: None,
        overwrite: false,
    })?;
    let options = Options {
        promote: true,
        ephemeral: true,
        ..options
    };
    serve::run(&config, &node, options)?;
    Ok(())
}

fn configuration(backing: &Path, unix: Option<&Path>, tcp: Option<&str>) -> String {
    let mut listeners = Vec::new();
    listeners.extend(unix.map(|path| format!("unix:{}", path.display())));
    listeners.extend(tcp.map(|address| format!("tcp:{address}")));
    // JSON strings and arrays of them are TOML too.
    let listeners = serde_json::Value::from(listeners);
    let backing = serde_json::Value::from(backing.display().to_string());
    format!(
        r#"
cluster = "ephemeral"
secret = "there are no peers to tell it to"
run-dir = "run"
state-dir = "state"

[nodes.here]
id = 1
address = "127.0.0.1:1"

[resource.disk]
on.here = {{ backing = {backing}, metadata = "disk.meta", nbd = {listeners} }}
"#
    )
}
