//! What the engine runs on: kernel, ring, filesystem, and what of it an operator should know.

use std::{fs, io, os::fd::AsFd};

use nix::sys::{
    statfs::{FsType, XFS_SUPER_MAGIC, fstatfs},
    utsname::uname,
};
use twindisk_format::{ids::BootId, limits::BLOCK_BYTES};

use crate::store::{Backing, BackingKind, StoreError};

/// Sentences about a backing device and its surroundings, for `status` and for `twindisk init`.
///
/// # Errors
/// When the system can't tell.
pub fn storage_warnings(backing: &Backing) -> Result<Vec<String>, StoreError> {
    let mut warnings = Vec::new();
    let path = backing.path().display();
    if !backing.is_direct() {
        warnings.push(format!(
            "{path} has no direct I/O: every write goes through the page cache, and a failing disk is noticed late"
        ));
    }
    if backing.kind() == BackingKind::BlockDevice {
        return Ok(warnings);
    }
    let size = backing.blocks()? * BLOCK_BYTES as u64;
    let allocated = backing.allocated_bytes()?;
    if allocated < size {
        warnings.push(format!(
            "{path} is a sparse file ({allocated} of {size} bytes allocated): writes to holes are several times \
             slower, and fail when the filesystem is full; write it with zeros, or use a block device"
        ));
    }
    let kernel = kernel_version();
    if filesystem(backing) == Some(XFS_SUPER_MAGIC) && kernel.is_some_and(|kernel| kernel < (7, 0))
    {
        warnings.push(format!(
            "{path} is on XFS and the kernel is older than 7.0: writes through io_uring take a detour through worker \
             threads; use a block device, or ext4"
        ));
    }
    Ok(warnings)
}

/// Sentences about this host's kernel.
#[must_use]
pub fn kernel_warnings() -> Vec<String> {
    let Some(kernel) = kernel_version() else {
        return vec!["the kernel's version can't be read".to_owned()];
    };
    if kernel < (6, 1) {
        return vec![format!(
            "kernel {}.{} is older than 6.1: the ring works without deferred task work, slower",
            kernel.0, kernel.1
        )];
    }
    Vec::new()
}

/// Why the kernel gives no ring, and what to do: one sentence for each way in which that happens.
#[must_use]
pub fn ring_refused(error: &io::Error) -> String {
    let setting = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    let disabled = setting.is_ok_and(|setting| setting.trim() != "0");
    format!(
        "io_uring is not available: {error}. {}",
        ring_advice(error.raw_os_error(), disabled)
    )
}

fn ring_advice(error: Option<i32>, disabled: bool) -> String {
    match error {
        Some(libc::EPERM | libc::EACCES) if disabled => {
            "This host has it switched off: `sysctl -w kernel.io_uring_disabled=0`, and the same in /etc/sysctl.d".to_owned()
        }
        Some(libc::EPERM | libc::EACCES) => {
            "A container's seccomp profile or a security module forbids it: allow io_uring_setup, io_uring_enter and \
             io_uring_register there"
                .to_owned()
        }
        Some(libc::ENOSYS) => {
            "This kernel has none, or a seccomp profile hides it: Linux 6.1 or newer with CONFIG_IO_URING is needed, and \
             io_uring_setup, io_uring_enter and io_uring_register must be allowed"
                .to_owned()
        }
        Some(libc::ENOMEM) => match locked_memory() {
            Some(bytes) => format!(
                "Its memory counts as locked, and this process may lock {} KiB (RLIMIT_MEMLOCK, `ulimit -l`): raise that \
                 (systemd: LimitMEMLOCK=infinity; containers: --ulimit memlock=-1)",
                bytes / 1024
            ),
            None => "There is too little memory for it: look at the limits of the unit or the container".to_owned(),
        },
        Some(libc::EMFILE | libc::ENFILE) => {
            "Too many files are open: raise the limit (`ulimit -n`; systemd: LimitNOFILE=)".to_owned()
        }
        _ => "Linux 6.1 or newer is needed".to_owned(),
    }
}

/// How many bytes this process may lock, if that is limited.
fn locked_memory() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max locked memory"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// Whether the backing device says that it can zero without being sent zeros. Files can, where the filesystem knows
/// how; that is found out at the first try.
#[must_use]
pub(crate) fn zeroes_fast(backing: &Backing) -> bool {
    match backing.kind() {
        BackingKind::File => true,
        BackingKind::BlockDevice => write_zeroes_max_bytes(backing).is_some_and(|bytes| bytes > 0),
    }
}

fn write_zeroes_max_bytes(backing: &Backing) -> Option<u64> {
    let device = nix::sys::stat::fstat(backing.as_fd()).ok()?.st_rdev;
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let device = format!("/sys/dev/block/{major}:{minor}");
    // A partition has its queue in the directory of the whole disk.
    ["queue", "../queue"]
        .iter()
        .find_map(|queue| {
            fs::read_to_string(format!("{device}/{queue}/write_zeroes_max_bytes")).ok()
        })?
        .trim()
        .parse()
        .ok()
}

fn filesystem(backing: &Backing) -> Option<FsType> {
    Some(fstatfs(backing.as_fd()).ok()?.filesystem_type())
}

fn kernel_version() -> Option<(u32, u32)> {
    let release = uname().ok()?.release().to_str()?.to_owned();
    let mut numbers = release.split(['.', '-']).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    }
}

/// The name of this boot of the host. `None` where the kernel does not tell: then each process counts as a boot of its own.
pub(crate) fn host_boot() -> Option<BootId> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u64::from_str_radix(digits.get(..16)?, 16).ok().map(BootId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Access;

    #[test]
    fn each_way_in_which_there_is_no_ring_has_its_advice() {
        for (error, disabled, word) in [
            (libc::EPERM, true, "kernel.io_uring_disabled=0"),
            (libc::EPERM, false, "seccomp"),
            (libc::ENOSYS, false, "CONFIG_IO_URING"),
            (libc::EMFILE, false, "LimitNOFILE"),
            (libc::EINVAL, false, "6.1"),
        ] {
            let advice = ring_advice(Some(error), disabled);
            assert!(advice.contains(word), "{advice}");
        }
        let full = ring_refused(&io::Error::from_raw_os_error(libc::ENOMEM));
        assert!(full.contains("memory"), "{full}");
        assert_eq!(
            full.contains("LimitMEMLOCK"),
            locked_memory().is_some(),
            "{full}"
        );
    }

    #[test]
    fn a_sparse_file_is_warned_about_and_a_written_one_is_not() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("backing");
        fs::File::create(&path)
            .and_then(|file| file.set_len(1 << 20))
            .expect("file");
        let warnings =
            storage_warnings(&Backing::open(&path, Access::ReadOnly).expect("open")).expect("look");
        assert!(
            warnings.iter().any(|warning| warning.contains("sparse")),
            "{warnings:?}"
        );
        fs::write(&path, vec![1u8; 1 << 20]).expect("write");
        let backing = Backing::open(&path, Access::ReadOnly).expect("open");
        backing.data().sync_all().expect("sync");
        let warnings = storage_warnings(&backing).expect("look");
        assert!(
            !warnings.iter().any(|warning| warning.contains("sparse")),
            "{warnings:?}"
        );
        assert!(kernel_version().is_some());
    }
}
