//! One file or block device, opened for direct I/O, and once more for its data where that goes through the page cache.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use tracing::{info, warn};
use twindisk_format::limits::BLOCK_BYTES;

use super::StoreError;
use crate::limits::{IN_USE_PATIENCE, IN_USE_RETRY};

/// A file or block device. While it exists no other process that asks for it exclusively gets it.
#[derive(Debug)]
pub struct Backing {
    file: File,
    /// The same, opened once more without direct I/O.
    cached: Option<File>,
    path: PathBuf,
    kind: BackingKind,
    direct: bool,
}

/// How the data of a backing device is read and written. Metadata always goes past the page cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoMode {
    /// Past the page cache: what is written is with the disk.
    #[default]
    Direct,
    /// Through the page cache, the largest of all volatile caches: what is written is with the kernel, survives the
    /// process, and is with the disk after a flush.
    Cached,
}

impl fmt::Display for IoMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Cached => "cached",
        })
    }
}

/// What a backing device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackingKind {
    /// A regular file.
    File,
    /// A block device.
    BlockDevice,
}

/// What it is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To look at, also while someone else has it.
    ReadOnly,
    /// To read and write, alone.
    Exclusive,
}

/// 4 KiB at an address that direct I/O takes.
#[derive(Clone)]
#[repr(C, align(4096))]
pub struct AlignedBlock(pub [u8; BLOCK_BYTES]);

impl Backing {
    /// Opens what is at `path`. What is in use is tried again for a moment: the kernel lets go of the files of a
    /// process that was killed only when the requests that it left behind are done, which is after its end.
    ///
    /// # Errors
    /// When it is missing, in use, not writable, of another kind, or has sectors that are too large.
    pub fn open(path: &Path, access: Access) -> Result<Self, StoreError> {
        let began = Instant::now();
        let mut told = false;
        loop {
            match Self::open_once(path, access) {
                Err(StoreError::InUse { .. }) if began.elapsed() < IN_USE_PATIENCE => {
                    if !told && began.elapsed() > IN_USE_PATIENCE / 10 {
                        told = true;
                        let seconds = IN_USE_PATIENCE.as_secs();
                        warn!(path = %path.display(), "in use: it is tried again for up to {seconds} s");
                    }
                    thread::sleep(IN_USE_RETRY);
                }
                opened => return opened,
            }
        }
    }

    fn open_once(path: &Path, access: Access) -> Result<Self, StoreError> {
        let metadata = std::fs::metadata(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { path: path.into() },
            _ => StoreError::Io {
                doing: "looking at",
                path: path.into(),
                source,
            },
        })?;
        let kind = if metadata.file_type().is_file() {
            BackingKind::File
        } else if metadata.file_type().is_block_device() {
            BackingKind::BlockDevice
        } else {
            return Err(StoreError::WrongKind { path: path.into() });
        };
        let (file, direct) = open_direct(path, kind, access)?;
        let backing = Self {
            file,
            cached: None,
            path: path.into(),
            kind,
            direct,
        };
        if access == Access::Exclusive {
            if kind == BackingKind::File {
                backing.lock()?;
            }
            backing.leave_page_cache();
        }
        let bytes = backing.sector_bytes()?;
        if bytes as usize > BLOCK_BYTES {
            return Err(StoreError::LargeSectors {
                path: path.into(),
                bytes,
            });
        }
        Ok(backing)
    }

    /// Lets the data go through the page cache. The lock and the metadata stay with the first opening.
    ///
    /// # Errors
    /// When it can't be opened once more.
    pub fn through_page_cache(mut self) -> Result<Self, StoreError> {
        if self.direct {
            // The very file that is open and locked, whatever its path leads to by now.
            let same = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let cached = OpenOptions::new()
                .read(true)
                .write(true)
                .open(same)
                .map_err(|source| self.io_error("opening once more", source))?;
            // Reading ahead is the client's business, and would fill the cache with large folios, in which ext4 looks
            // at every block for each one that is written.
            let advice = PosixFadviseAdvice::POSIX_FADV_RANDOM;
            if let Err(error) = posix_fadvise(&cached, 0, 0, advice) {
                info!(path = %self.path.display(), %error, "reading ahead can't be turned off");
            }
            self.cached = Some(cached);
        }
        Ok(self)
    }

    /// The open file that data is read from and written to. Errors of the page cache's write-back are reported to
    /// each open file once, so data must be flushed through this one.
    pub(crate) fn data(&self) -> &File {
        self.cached.as_ref().unwrap_or(&self.file)
    }

    /// Whether data goes through the page cache, by wish or because there is no direct I/O here.
    pub(crate) const fn is_cached(&self) -> bool {
        self.cached.is_some() || !self.direct
    }

    /// Whether it is open twice, so that each opening is told of a failed write-back, whatever the other has heard.
    pub(crate) const fn has_second_opening(&self) -> bool {
        self.cached.is_some()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> BackingKind {
        self.kind
    }

    /// Whether there is direct I/O here.
    #[must_use]
    pub const fn is_direct(&self) -> bool {
        self.direct
    }

    /// Its size now, in whole blocks.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn blocks(&self) -> Result<u64, StoreError> {
        use std::io::{Seek, SeekFrom};
        let bytes = (&self.file)
            .seek(SeekFrom::End(0))
            .map_err(|source| self.io_error("measuring", source))?;
        Ok(bytes / BLOCK_BYTES as u64)
    }

    /// Bytes that are allocated for it, when it is a file.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn allocated_bytes(&self) -> Result<u64, StoreError> {
        let metadata = self
            .file
            .metadata()
            .map_err(|source| self.io_error("looking at", source))?;
        Ok(metadata.blocks() * 512)
    }

    /// Whether both are the same file or device.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn is_same_as(&self, other: &Self) -> Result<bool, StoreError> {
        let identity = |backing: &Self| {
            let metadata = backing
                .file
                .metadata()
                .map_err(|source| backing.io_error("looking at", source))?;
            Ok(match backing.kind {
                BackingKind::File => (metadata.dev(), metadata.ino()),
                BackingKind::BlockDevice => (u64::MAX, metadata.rdev()),
            })
        };
        Ok(identity(self)? == identity(other)?)
    }

    /// Reads one block.
    ///
    /// # Errors
    /// When the system can't, or it ends before.
    pub fn read_block(&self, block: u64) -> io::Result<Box<AlignedBlock>> {
        let mut data = Box::new(AlignedBlock([0; BLOCK_BYTES]));
        self.file
            .read_exact_at(&mut data.0, block * BLOCK_BYTES as u64)?;
        Ok(data)
    }

    /// Reads blocks that follow one another, as many as `data` has room for.
    ///
    /// # Errors
    /// When the system can't, or it ends before.
    pub fn read_blocks(&self, first: u64, data: &mut [AlignedBlock]) -> io::Result<()> {
        let len = size_of_val(data);
        // SAFETY: an `AlignedBlock` is nothing but its bytes (its alignment is its size), for which every value is
        // valid; the slice borrows `data`.
        let bytes = unsafe { std::slice::from_raw_parts_mut(data.as_mut_ptr().cast::<u8>(), len) };
        self.file.read_exact_at(bytes, first * BLOCK_BYTES as u64)
    }

    /// Writes one block. It is stable only after `sync`.
    ///
    /// # Errors
    /// When the system can't.
    pub fn write_block(&self, block: u64, data: &AlignedBlock) -> io::Result<()> {
        self.file.write_all_at(&data.0, block * BLOCK_BYTES as u64)
    }

    /// Makes everything written stable.
    ///
    /// # Errors
    /// When the system can't; what was written before is then unknown.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Makes everything stable that belongs to it, its attributes too.
    pub(super) fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    pub(super) fn io_error(&self, doing: &'static str, source: io::Error) -> StoreError {
        StoreError::Io {
            doing,
            path: self.path.clone(),
            source,
        }
    }

    /// Pages that others left in the page cache (a copied image, a program that looked at it) make direct writes slow:
    /// the ring can't drop them without sleeping, and hands each such write to a worker thread. And pages whose write-back
    /// failed beneath an earlier process count as clean: they would read as if they were on the disk, until they are
    /// dropped. Nothing is flushed here: an error of an earlier write-back is reported once, and belongs to the replica's
    /// own flush.
    fn leave_page_cache(&self) {
        let advice = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        if let Err(error) = posix_fadvise(&self.file, 0, 0, advice) {
            info!(path = %self.path.display(), %error, "it can't be taken out of the page cache");
        }
    }

    fn lock(&self) -> Result<(), StoreError> {
        flock(&self.file, libc::LOCK_EX | libc::LOCK_NB).map_err(|source| {
            if source.kind() == io::ErrorKind::WouldBlock {
                StoreError::InUse {
                    path: self.path.clone(),
                }
            } else {
                self.io_error("locking", source)
            }
        })
    }

    fn sector_bytes(&self) -> Result<u32, StoreError> {
        if self.kind == BackingKind::File {
            return Ok(512);
        }
        let mut bytes: libc::c_int = 0;
        // SAFETY: the call writes one int to `bytes`.
        let result = unsafe { libc::ioctl(self.file.as_raw_fd(), libc::BLKSSZGET, &mut bytes) };
        if result < 0 {
            return Err(self.io_error("asking for the sector size of", io::Error::last_os_error()));
        }
        Ok(u32::try_from(bytes).unwrap_or(u32::MAX))
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        // Closing alone may leave the lock behind for a while: a ring that is being torn down still refers to the
        // file.
        if self.kind == BackingKind::File {
            let _ = flock(&self.file, libc::LOCK_UN);
        }
    }
}

impl AsFd for Backing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Backing {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// The lock of the whole file that every program which asks for it sees.
fn flock(file: &File, operation: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open; the call touches no memory.
    if unsafe { libc::flock(file.as_raw_fd(), operation) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn open_direct(path: &Path, kind: BackingKind, access: Access) -> Result<(File, bool), StoreError> {
    let exclusive = match (kind, access) {
        // On a block device O_EXCL means: not mounted, and nobody else with O_EXCL.
        (BackingKind::BlockDevice, Access::Exclusive) => libc::O_EXCL,
        _ => 0,
    };
    let open = |direct: i32| {
        OpenOptions::new()
            .read(true)
            .write(access == Access::Exclusive)
            .custom_flags(exclusive | direct)
            .open(path)
    };
    let error = match open(libc::O_DIRECT) {
        Ok(file) => return Ok((file, true)),
        Err(error) => error,
    };
    let error = match error.raw_os_error() {
        // tmpfs before 6.6, some FUSE and network filesystems.
        Some(libc::EINVAL) => match open(0) {
            Ok(file) => {
                warn!(path = %path.display(), "no direct I/O here: writes go through the page cache");
                return Ok((file, false));
            }
            Err(error) => error,
        },
        _ => error,
    };
    Err(match error.raw_os_error() {
        Some(libc::EBUSY) => StoreError::InUse { path: path.into() },
        Some(libc::EROFS | libc::EACCES | libc::EPERM) => StoreError::NotWritable {
            path: path.into(),
            source: error,
        },
        _ => StoreError::Io {
            doing: "opening",
            path: path.into(),
            source: error,
        },
    })
}
