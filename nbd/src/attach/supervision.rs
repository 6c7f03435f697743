//! Who replaces the dead connections of a device: one process at a time, known by the lock that it holds.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
};

/// The right to replace the dead connections of a device, for as long as this lives. It ends with the process, however that
/// ends.
#[derive(Debug)]
pub struct Supervision {
    _lock: File,
}

impl Supervision {
    /// Takes it; `None`: another process has it. The lock is a file in `folder`, which all that look there agree on.
    ///
    /// # Errors
    /// If the file can't be made or locked.
    pub fn take(folder: &Path, index: u32) -> io::Result<Option<Self>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path(folder, index))?;
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file())) {
            Ok(_) => Ok(Some(Self { _lock: file })),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether some process has it. Looking takes nothing.
    ///
    /// # Errors
    /// If the file can't be looked at.
    pub fn is_taken(folder: &Path, index: u32) -> io::Result<bool> {
        // To ask for a lock of this kind the file must be open for writing.
        let file = match OpenOptions::new().write(true).open(path(folder, index)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut lock = whole_file();
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock))?;
        Ok(i32::from(lock.l_type) != libc::F_UNLCK)
    }
}

fn path(folder: &Path, index: u32) -> PathBuf {
    folder.join(format!("nbd{index}.supervisor"))
}

/// A lock of the open file (fcntl(2), *Open file description locks*): it does not end when another descriptor of this
/// process is closed.
const fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_supervises_and_whoever_looks_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let is_taken = || Supervision::is_taken(folder.path(), 3).unwrap();
        assert!(!is_taken(), "there is no file yet");
        let first = Supervision::take(folder.path(), 3).unwrap().unwrap();
        assert!(is_taken());
        assert!(Supervision::take(folder.path(), 3).unwrap().is_none());
        let other = Supervision::take(folder.path(), 4).unwrap();
        assert!(other.is_some(), "of another device");
        drop(first);
        assert!(!is_taken());
        assert!(Supervision::take(folder.path(), 3).unwrap().is_some());
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap().path().join("none");
        assert!(Supervision::take(&folder, 0).is_err());
        assert!(!Supervision::is_taken(&folder, 0).unwrap());
    }
}
