//! What is mounted, from the kernel's own table: no look touches a filesystem, for that may be stuck.

use std::{
    ffi::OsString,
    fs,
    os::{
        linux::fs::MetadataExt,
        unix::{ffi::OsStringExt, fs::FileTypeExt},
    },
    path::{Path, PathBuf},
};

use crate::error::Problem;

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mounted {
    /// Where.
    pub(crate) path: PathBuf,
    /// The filesystem's device number.
    pub(crate) device: (u32, u32),
    /// What mount(8) was given.
    pub(crate) source: PathBuf,
}

impl Mounted {
    /// Whether this is a mount of `device`, which may be called by any of its names.
    pub(crate) fn is_of(&self, device: &Path) -> bool {
        self.source == device || block_device(device).is_some_and(|number| number == self.device)
    }
}

/// The table as this thread sees it, in the order of mounting: of two on one path the later one covers the earlier.
pub(crate) fn table() -> Result<Vec<Mounted>, Problem> {
    let text = fs::read(TABLE).map_err(|error| Problem::system(TABLE, error))?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(line).collect())
}

/// proc_pid_mountinfo(5): `36 35 98:0 /root /path options optional… - type source options`.
fn line(line: &[u8]) -> Option<Mounted> {
    let mut words = line.split(|byte| *byte == b' ');
    let device = std::str::from_utf8(words.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let path = unescape(words.nth(1)?);
    words.find(|word| *word == b"-")?;
    let source = unescape(words.nth(1)?);
    Some(Mounted {
        path,
        device: (major.parse().ok()?, minor.parse().ok()?),
        source,
    })
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(text: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let octal = after.get(..3).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match (first, octal) {
            (b'\\', Some(byte)) => {
                plain.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(plain))
}

/// The number of a block device. Its node lies in /dev: asking for it touches no disk.
pub(crate) fn block_device(path: &Path) -> Option<(u32, u32)> {
    let node = fs::metadata(path).ok()?;
    node.file_type()
        .is_block_device()
        .then(|| split(node.st_rdev()))
}

/// Major and minor.
pub(crate) fn split(device: u64) -> (u32, u32) {
    let major = ((device >> 32) & 0xffff_f000) | ((device >> 8) & 0xfff);
    let minor = ((device >> 12) & 0xffff_ff00) | (device & 0xff);
    // Both are masked to 32 bits.
    (major as u32, minor as u32)
}

/// Of the thread, which may live in another mount namespace than the process.
const TABLE: &str = "/proc/thread-self/mountinfo";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line_with_and_without_optional_fields() {
        let with = line(b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue");
        let expected = Mounted {
            path: "/mnt 2".into(),
            device: (98, 0),
            source: "/dev/root".into(),
        };
        assert_eq!(with, Some(expected));
        let without = line(b"36 35 0:5 / /dev rw - devtmpfs a\\134b rw").unwrap();
        assert_eq!(without.source, Path::new("a\\b"));
        for garbage in [
            &b""[..],
            b"36 35 98 / /x rw - a b c",
            b"36 35 1:1 / /x rw",
            b"\xff \\ \\0",
        ] {
            assert_eq!(line(garbage), None);
        }
    }

    #[test]
    fn reads_this_system() {
        let table = table().unwrap();
        let proc = table.iter().find(|mount| mount.path == Path::new("/proc"));
        let number = split(fs::metadata("/proc").unwrap().st_dev());
        assert_eq!(proc.unwrap().device, number);
    }

    #[test]
    fn splits_device_numbers() {
        assert_eq!(split(0x801), (8, 1));
        assert_eq!(split(nix::libc::makedev(259, 70_000)), (259, 70_000));
    }
}
