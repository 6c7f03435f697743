//! Listening sockets: Unix sockets that replace a dead predecessor but never a living one, and TCP without delay.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
    },
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, UnixListener};

use crate::{config::Endpoint, limits};

/// Why a socket can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The path is too long for the system.
    #[error("{}: {bytes} bytes are too many for the path of a Unix socket (at most {max}): choose a shorter `run-dir`", path.display())]
    PathTooLong {
        /// Which.
        path: PathBuf,
        /// Its length.
        bytes: usize,
        /// What fits.
        max: usize,
    },
    /// Another process serves there.
    #[error("{}: another process listens there: is `twindisk serve` running for this node already?", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// Something that is no socket is there.
    #[error("{}: this is a file, not a socket: remove it or choose another path", path.display())]
    NotASocket {
        /// Which.
        path: PathBuf,
    },
    /// The system refuses the path.
    #[error("{}: cannot listen: {source}", path.display())]
    Unix {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system refuses the address.
    #[error("{address}: cannot listen: {source}{}", tcp_hint(source))]
    Tcp {
        /// Which.
        address: String,
        /// Why.
        source: io::Error,
    },
}

/// A Unix socket that removes its path when it is dropped.
pub(crate) struct BoundUnix {
    pub(crate) listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl BoundUnix {
    /// Nobody finds it any more. A successor's socket, which may already be at the path, is not ours to remove.
    pub(crate) fn remove(&self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for BoundUnix {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Listens at `path` with these permission bits.
pub(crate) fn bind_unix(path: &Path, mode: u32) -> Result<BoundUnix, BindError> {
    let bytes = path.as_os_str().len();
    if bytes > limits::MAX_UNIX_PATH_BYTES {
        return Err(BindError::PathTooLong {
            path: path.to_owned(),
            bytes,
            max: limits::MAX_UNIX_PATH_BYTES,
        });
    }
    let failed = |source| BindError::Unix {
        path: path.to_owned(),
        source,
    };
    remove_stale(path)?;
    // The name appears only once the permissions are right: nobody slips in between.
    let mut hidden = path.as_os_str().to_owned();
    hidden.push("~");
    let hidden = PathBuf::from(hidden);
    let bind_at = if hidden.as_os_str().len() <= limits::MAX_UNIX_PATH_BYTES {
        let _ = fs::remove_file(&hidden);
        hidden.as_path()
    } else {
        path
    };
    let listener = StdUnixListener::bind(bind_at).map_err(failed)?;
    fs::set_permissions(bind_at, fs::Permissions::from_mode(mode)).map_err(failed)?;
    if bind_at != path {
        fs::rename(bind_at, path).map_err(failed)?;
    }
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(BoundUnix {
        listener: UnixListener::from_std(listener).map_err(failed)?,
        inode: fs::symlink_metadata(path).map_err(failed)?.ino(),
        path: path.to_owned(),
    })
}

/// Listens at a TCP address.
pub(crate) async fn bind_tcp(endpoint: &Endpoint) -> Result<TcpListener, BindError> {
    TcpListener::bind((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(|source| BindError::Tcp {
            address: endpoint.to_string(),
            source,
        })
}

/// How often, and how many times, a socket that still answers is looked at.
const GOING_LOOK: std::time::Duration = std::time::Duration::from_millis(25);
const GOING_LOOKS: u32 = 20;

/// Removes the socket of a process that is gone. Whoever answers keeps it.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket {
            path: path.to_owned(),
        });
    }
    // A process that was killed a moment ago may listen until the kernel has taken it down.
    for _ in 0..GOING_LOOKS {
        match StdUnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let _ = fs::remove_file(path);
                return Ok(());
            }
            Ok(_) => std::thread::sleep(GOING_LOOK),
            Err(_) => break,
        }
    }
    Err(BindError::InUse {
        path: path.to_owned(),
    })
}

fn tcp_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            ": another process has this port: stop it, or configure another one"
        }
        io::ErrorKind::AddrNotAvailable => {
            ": no interface of this host has this address: is --node the right one?"
        }
        io::ErrorKind::InvalidInput => {
            ": a link-local address (fe80…) needs its interface, as in [fe80::1%eth0]:7800"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_a_living_one_and_a_file_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let first = bind_unix(&path, 0o600).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(
            bind_unix(&path, 0o600),
            Err(BindError::InUse { .. })
        ));
        drop(first);
        assert!(!path.exists());
        drop(StdUnixListener::bind(&path).unwrap());
        assert!(path.exists(), "what a killed process leaves");
        drop(bind_unix(&path, 0o660).unwrap());
        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            bind_unix(&path, 0o600),
            Err(BindError::NotASocket { .. })
        ));
        let long = dir.path().join("x".repeat(100));
        assert!(matches!(
            bind_unix(&long, 0o600),
            Err(BindError::PathTooLong { .. })
        ));
    }
}
