//! One process that serves a disk and has no cluster.

use std::{
    path::PathBuf,
    process::{Child, Stdio},
};

use nix::sys::signal::Signal;

use super::{
    eventually,
    process::{clean_command, signal},
};

/// One that serves and has no cluster: `twindisk serve --ephemeral`. Ends with its owner.
pub(crate) struct Alone {
    child: Child,
    socket: PathBuf,
    _dir: tempfile::TempDir,
}

impl Alone {
    /// Serves this size or file.
    pub(crate) fn serve(disk: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("twindisk-test-")
            .tempdir()
            .expect("a scratch directory");
        let socket = dir.path().join("nbd.sock");
        let mut child = clean_command()
            .args(["serve", "--ephemeral", disk, "--unix"])
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the program runs");
        eventually(
            "the socket is there",
            || format!("{}", socket.display()),
            || {
                let ended = child.try_wait().expect("it is ours to wait for");
                assert!(ended.is_none(), "it ended: {ended:?}");
                std::os::unix::net::UnixStream::connect(&socket).ok()
            },
        );
        Self {
            child,
            socket,
            _dir: dir,
        }
    }

    /// Where clients reach it; its only export has the empty name as well.
    pub(crate) fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.socket.display())
    }

    /// Ends it in good order.
    pub(crate) fn stop(mut self) {
        signal(&self.child, Signal::SIGTERM);
        let status = self.child.wait().expect("it is ours to wait for");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
