//! Backing files: made whole, and what is known to be slow or unsafe beneath them.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::{
    fcntl::{FallocateFlags, fallocate},
    sys::statfs::{self, FsType},
};
use twindisk_control::units::Bytes;
use twindisk_engine::{
    kernel_warnings, storage_warnings,
    store::{Backing, BackingKind},
};
use twindisk_format::limits::BLOCK_BYTES;

use super::Plan;
use crate::exit::Failure;

/// Makes a file of `size` bytes, really written: a hole would be filled only when the first write to it comes, slowly
/// and perhaps not at all.
pub(super) fn create_if_missing(path: &Path, size: u64, plan: &Plan<'_>) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    let size = size / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
    if size == 0 {
        return Err(Failure::Usage(
            "--size is below one block of 4096 bytes".to_owned(),
        ));
    }
    if let Some(folder) = path.parent()
        && !folder.is_dir()
    {
        return Err(Failure::Error(format!(
            "{}: this folder of the backing file of {} does not exist: create it",
            folder.display(),
            plan.resource.name
        )));
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(Failure::at(path))?;
    if let Err(error) = fill(&mut file, size) {
        // Half a device is of no use to anybody, and would be taken for a whole one the next time.
        drop(file);
        let _ = std::fs::remove_file(path);
        return Err(Failure::Error(format!(
            "{}: writing {} of zeros: {error}; nothing was left behind",
            path.display(),
            Bytes(size)
        )));
    }
    Ok(())
}

/// What an operator should know about what lies beneath.
pub(super) fn warnings(device: &Backing) -> Vec<String> {
    let mut warnings = kernel_warnings();
    match storage_warnings(device) {
        Ok(found) => warnings.extend(found),
        Err(error) => warnings.push(error.to_string()),
    }
    if device.kind() == BackingKind::File
        && let Ok(found) = statfs::fstatfs(device)
        && let Some(text) = known(found.filesystem_type())
    {
        warnings.push(format!("{} lies on {text}", device.path().display()));
    }
    warnings
}

/// What lies behind the last whole block: no part of the device.
pub(super) struct Tail {
    bytes: u64,
    whole: u64,
    /// It holds something.
    pub(super) used: bool,
}

/// Looks at the end of a backing device or file.
pub(super) fn tail(path: &Path) -> Result<Option<Tail>, Failure> {
    let mut file = File::open(path).map_err(Failure::at(path))?;
    let size = file.seek(SeekFrom::End(0)).map_err(Failure::at(path))?;
    let bytes = size % BLOCK_BYTES as u64;
    let whole = size - bytes;
    if bytes == 0 {
        return Ok(None);
    }
    let mut rest = Vec::new();
    file.seek(SeekFrom::Start(whole))
        .and_then(|_| file.read_to_end(&mut rest))
        .map_err(Failure::at(path))?;
    let used = rest.iter().any(|byte| *byte != 0);
    Ok(Some(Tail { bytes, whole, used }))
}

impl Tail {
    fn what(&self, path: &Path) -> String {
        format!(
            "{} has {} bytes, no multiple of {BLOCK_BYTES}: its last {} bytes are no part of the device",
            path.display(),
            self.whole + self.bytes,
            self.bytes
        )
    }

    pub(super) fn warning(&self, path: &Path) -> String {
        self.what(path)
    }

    /// With `--first` they would be lost.
    pub(super) fn refusal(&self, path: &Path) -> Failure {
        let path_text = path.display();
        Failure::Refused {
            code: None,
            why: format!(
                "{}, and they are not empty (the end of a GPT, or of a file system?)",
                self.what(path)
            ),
            next: format!(
                "make it larger: truncate -s {} {path_text}, on every node (behind a GPT then: sgdisk -e); or leave them \
                 out: --size {}KiB",
                self.whole + BLOCK_BYTES as u64,
                self.whole / 1024
            ),
        }
    }
}

fn fill(file: &mut File, size: u64) -> io::Result<()> {
    let length = i64::try_from(size).map_err(io::Error::other)?;
    // Reserves the space first: a full filesystem shows before an hour of writing. Not every filesystem can.
    match fallocate(&*file, FallocateFlags::empty(), 0, length) {
        Ok(()) | Err(nix::errno::Errno::EOPNOTSUPP) => {}
        Err(error) => return Err(error.into()),
    }
    let zeros = vec![0; 1 << 20];
    let mut left = size;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
        file.write_all(zeros.get(..now).unwrap_or_default())?;
        left -= now as u64;
    }
    file.sync_all()
}

fn known(filesystem: FsType) -> Option<&'static str> {
    match filesystem {
        statfs::BTRFS_SUPER_MAGIC => Some(
            "btrfs: every write is copied and fragments the file; `chattr +C` the folder first, or use a block device",
        ),
        statfs::TMPFS_MAGIC => Some("tmpfs: it is memory, a loss of power loses all of it"),
        statfs::NFS_SUPER_MAGIC => {
            Some("NFS: its locks and flushes cannot be relied on; use a local device")
        }
        statfs::OVERLAYFS_SUPER_MAGIC => {
            Some("an overlay: fine for a trial, use a real filesystem or a block device")
        }
        _ => None,
    }
}
