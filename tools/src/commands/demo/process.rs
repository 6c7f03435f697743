//! A process of this very program.

use std::{
    ffi::OsStr,
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::exit::Failure;

/// Starts one, whose log goes behind what is there. One that outlives the demo does not end with the terminal's Ctrl-C.
pub(super) fn start(arguments: &[&OsStr], log: &Path, outlives: bool) -> Result<Child, Failure> {
    let program = std::env::current_exe().map_err(Failure::error)?;
    let mut options = fs::OpenOptions::new();
    let log = options
        .create(true)
        .append(true)
        .open(log)
        .map_err(Failure::at(log))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    for inherited in ["LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET"] {
        command.env_remove(inherited);
    }
    if outlives {
        command.process_group(0);
    }
    command.spawn().map_err(Failure::error)
}
