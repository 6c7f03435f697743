//! What a device holds, as far as its first blocks tell: asked before it is overwritten.

use std::io;

use twindisk_format::limits::BLOCK_BYTES;

use super::{AlignedBlock, Backing, StoreError};

/// So many blocks from the start are looked at (1 MiB).
const LOOKED_AT: usize = 256;

/// What stands where, and what that means; where its label is and how long that may be.
struct Known {
    at: usize,
    magic: &'static [u8],
    what: &'static str,
    label: Option<(usize, usize)>,
}

const KNOWN: &[Known] = &[
    Known {
        at: 1080,
        magic: &[0x53, 0xef],
        what: "an ext2, ext3 or ext4 file system",
        label: Some((1144, 16)),
    },
    Known {
        at: 0,
        magic: b"XFSB",
        what: "an XFS file system",
        label: Some((108, 12)),
    },
    Known {
        at: 65_600,
        magic: b"_BHRfS_M",
        what: "a btrfs file system",
        label: Some((65_835, 64)),
    },
    Known {
        at: 1024,
        magic: &[0x10, 0x20, 0xf5, 0xf2],
        what: "an F2FS file system",
        label: None,
    },
    Known {
        at: 3,
        magic: b"NTFS    ",
        what: "an NTFS file system",
        label: None,
    },
    Known {
        at: 3,
        magic: b"EXFAT   ",
        what: "an exFAT file system",
        label: None,
    },
    Known {
        at: 82,
        magic: b"FAT32   ",
        what: "a FAT file system",
        label: Some((71, 11)),
    },
    Known {
        at: 54,
        magic: b"FAT1",
        what: "a FAT file system",
        label: Some((43, 11)),
    },
    Known {
        at: 32_769,
        magic: b"CD001",
        what: "an ISO 9660 file system",
        label: None,
    },
    Known {
        at: 0,
        magic: b"hsqs",
        what: "a squashfs file system",
        label: None,
    },
    Known {
        at: 0,
        magic: b"LUKS\xba\xbe",
        what: "a LUKS volume",
        label: None,
    },
    Known {
        at: 536,
        magic: b"LVM2 001",
        what: "an LVM physical volume",
        label: None,
    },
    Known {
        at: 4086,
        magic: b"SWAPSPACE2",
        what: "a swap area",
        label: None,
    },
    Known {
        at: 4096,
        magic: &[0xfc, 0x4e, 0x2b, 0xa9],
        what: "a member of an MD RAID",
        label: Some((4128, 32)),
    },
    Known {
        at: 512,
        magic: b"EFI PART",
        what: "a GPT partition table",
        label: None,
    },
    Known {
        at: 4096,
        magic: b"EFI PART",
        what: "a GPT partition table",
        label: None,
    },
    Known {
        at: 510,
        magic: &[0x55, 0xaa],
        what: "a boot sector or an MBR partition table",
        label: None,
    },
];

/// What `backing` holds at its start; `None`: nothing but zeros.
///
/// # Errors
/// When it can't be read.
pub fn found(backing: &Backing) -> Result<Option<String>, StoreError> {
    let blocks =
        usize::try_from(backing.blocks()?).map_or(LOOKED_AT, |blocks| blocks.min(LOOKED_AT));
    let mut read = vec![AlignedBlock([0; BLOCK_BYTES]); blocks];
    backing
        .read_blocks(0, &mut read)
        .or_else(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Ok(()),
            _ => Err(backing.io_error("reading", error)),
        })?;
    let bytes: Vec<u8> = read.iter().flat_map(|block| block.0).collect();
    Ok(name(&bytes))
}

fn name(bytes: &[u8]) -> Option<String> {
    let at = |from: usize, length: usize| bytes.get(from..from + length);
    let known = KNOWN
        .iter()
        .find(|known| at(known.at, known.magic.len()) == Some(known.magic));
    if let Some(known) = known {
        let label = known.label.and_then(|(from, length)| at(from, length));
        let label: String = label
            .unwrap_or_default()
            .iter()
            .take_while(|byte| **byte != 0)
            .map(|byte| char::from(*byte))
            .filter(|char| char.is_ascii_graphic() || *char == ' ')
            .collect();
        let label = label.trim();
        return Some(if label.is_empty() {
            known.what.to_owned()
        } else {
            format!("{} labelled \"{label}\"", known.what)
        });
    }
    bytes
        .iter()
        .any(|byte| *byte != 0)
        .then(|| "data that is no file system known here".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_named() {
        let mut bytes = vec![0; 1 << 20];
        assert_eq!(name(&bytes), None);
        bytes[70_000] = 1;
        assert!(name(&bytes).is_some_and(|what| what.contains("no file system known")));
        bytes[1080..1082].copy_from_slice(&[0x53, 0xef]);
        bytes[1144..1152].copy_from_slice(b"precious");
        let ext = "an ext2, ext3 or ext4 file system labelled \"precious\"";
        assert_eq!(name(&bytes).as_deref(), Some(ext));
        for known in KNOWN {
            let mut bytes = vec![0; 1 << 20];
            bytes[known.at..known.at + known.magic.len()].copy_from_slice(known.magic);
            assert_eq!(name(&bytes).as_deref(), Some(known.what));
        }
        assert_eq!(name(&[]), None);
    }
}
