//! Which backing device metadata belongs to: a mark on it where there is room beside its data, else
//! what the system says of it. Under any other device the metadata says nothing, so nothing is started with it.

use std::{
    ffi::CStr,
    fs, io,
    os::{fd::AsRawFd, linux::fs::MetadataExt},
    path::PathBuf,
};

use tracing::{info, warn};
use twindisk_format::{
    layout::Layout,
    metadata::Loaded,
    superblock::{Device, Tie},
};
use xxhash_rust::xxh3::xxh3_64;

use super::{Backing, BackingKind, Metadata, StoreError, contents};

/// Of a file: marks in hexadecimal digits, the newest last.
const ATTRIBUTE: &CStr = c"user.twindisk.mark";
/// Two marks and what is between them, with room to see that there is more.
const ATTRIBUTE_BYTES: usize = 64;

/// What a backing device will be known by. `mark` is random; it is put on the device if there is room for it.
///
/// # Errors
/// When the system can't tell.
pub fn tie(backing: &Backing, internal: bool, mark: u64) -> Result<Device, StoreError> {
    let blocks = backing.blocks()?;
    let tie = if internal {
        Tie::Inside
    } else {
        match backing.kind() {
            BackingKind::File => match write_marks(backing, &[mark]) {
                Ok(()) => Tie::Mark(mark),
                Err(error) => {
                    info!(path = %backing.path().display(), %error, "there is no room for a mark");
                    Tie::Size
                }
            },
            BackingKind::BlockDevice => identity(backing)?.map_or(Tie::Size, Tie::Identity),
        }
    };
    Ok(Device { tie, blocks })
}

/// Refuses a device that the metadata does not belong to.
///
/// # Errors
/// When it is another one, or the system can't tell.
pub fn check(backing: &Backing, device: Device) -> Result<(), StoreError> {
    let why = match device.tie {
        Tie::Size | Tie::Inside => return Ok(()),
        Tie::Mark(mark) => {
            let found = read_marks(backing);
            if found.contains(&mark) {
                return Ok(());
            }
            match found.last() {
                None => format!("it has no mark, and should have {mark:016x}"),
                Some(other) => format!("it has the mark {other:016x}, and should have {mark:016x}"),
            }
        }
        Tie::Identity(hash) => match identity(backing)? {
            Some(found) if found == hash => return Ok(()),
            None => {
                warn!(path = %backing.path().display(), "the system does not say which device it is");
                return Ok(());
            }
            Some(_) => "its serial number or the like is another one".to_owned(),
        },
    };
    let holds = contents::found(backing)?.map_or_else(
        || "it is blank".to_owned(),
        |contents| format!("it holds {contents}"),
    );
    Err(StoreError::OtherDevice {
        path: backing.path().into(),
        why: format!("{why}; {holds}"),
    })
}

/// Gives the device a new mark, so that an older state of it, or of its metadata, is told from this one. Wherever that is
/// cut, both still know each other.
///
/// # Errors
/// When the metadata can't be written.
pub fn renew(
    backing: &Backing,
    metadata: &Metadata,
    loaded: &mut Loaded,
    mark: u64,
) -> Result<(), StoreError> {
    let Tie::Mark(old) = loaded.superblock.device.tie else {
        return Ok(());
    };
    if let Err(error) = write_marks(backing, &[old, mark]) {
        warn!(path = %backing.path().display(), %error, "its mark stays as it is");
        return Ok(());
    }
    loaded.superblock.device.tie = Tie::Mark(mark);
    let counter = loaded.counter + 1;
    let block = loaded.superblock.encode(counter);
    let written = metadata.write(Layout::superblock_block(counter), &block);
    written
        .and_then(|()| metadata.sync())
        .map_err(|source| metadata.on().io_error("writing metadata to", source))?;
    loaded.counter = counter;
    if let Err(error) = write_marks(backing, &[mark]) {
        info!(path = %backing.path().display(), %error, "it keeps its old mark beside the new one");
    }
    Ok(())
}

fn write_marks(backing: &Backing, marks: &[u64]) -> io::Result<()> {
    let marks: Vec<String> = marks.iter().map(|mark| format!("{mark:016x}")).collect();
    let text = marks.join(" ");
    // SAFETY: the descriptor is open, the name ends with 0, and `text` is as long as it is said to be.
    let result = unsafe {
        libc::fsetxattr(
            backing.as_raw_fd(),
            ATTRIBUTE.as_ptr(),
            text.as_ptr().cast(),
            text.len(),
            0,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    backing.sync_all()
}

fn read_marks(backing: &Backing) -> Vec<u64> {
    let mut text = [0_u8; ATTRIBUTE_BYTES];
    // SAFETY: the descriptor is open, the name ends with 0, and the call writes at most the length of `text` to it.
    let length = unsafe {
        libc::fgetxattr(
            backing.as_raw_fd(),
            ATTRIBUTE.as_ptr(),
            text.as_mut_ptr().cast(),
            text.len(),
        )
    };
    let text = usize::try_from(length)
        .ok()
        .and_then(|length| text.get(..length));
    let text = text.and_then(|text| std::str::from_utf8(text).ok());
    let words = text.unwrap_or_default().split(' ');
    words
        .filter_map(|word| u64::from_str_radix(word, 16).ok())
        .collect()
}

/// A hash of what the system says of a block device, if that tells it from others.
fn identity(backing: &Backing) -> Result<Option<u64>, StoreError> {
    let metadata =
        fs::metadata(backing.path()).map_err(|source| backing.io_error("looking at", source))?;
    let number = metadata.st_rdev();
    let folder = PathBuf::from(format!(
        "/sys/dev/block/{}:{}",
        libc::major(number),
        libc::minor(number)
    ));
    let read = |name: &str| {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| format!("{name}={text}"))
    };
    // A partition is known by the disk it is on, and where it begins.
    let names = [
        "dm/uuid",
        "md/uuid",
        "wwid",
        "serial",
        "device/wwid",
        "device/serial",
        "loop/backing_file",
        "../wwid",
        "../serial",
        "../device/wwid",
        "../device/serial",
    ];
    let Some(known) = names.into_iter().find_map(read) else {
        return Ok(None);
    };
    let start = read("start").unwrap_or_default();
    Ok(Some(xxh3_64(format!("{known} {start}").as_bytes())))
}
