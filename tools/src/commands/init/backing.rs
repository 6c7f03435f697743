//! Backing files: made whole, and what is known to be slow or unsafe beneath them.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
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
