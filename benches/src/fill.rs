//! Files of random bytes, written past the page cache: holes and zeros would be cheaper than real data, and cached pages
//! would make direct I/O dearer.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::failure::{Result, Trying};

const MIB: usize = 1 << 20;

/// What direct I/O is aligned to.
const ALIGNMENT: usize = 4096;

/// (Over)writes a file with `mib` MiB that derive from `seed`, and makes them stable.
///
/// # Errors
/// When it can't be written; a file system without direct I/O is none to measure on.
pub fn random(path: &Path, mib: u64, seed: u64) -> Result<()> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(path);
    let mut file = file.trying(format_args!("{}, past the page cache", path.display()))?;
    let mut memory = vec![0_u8; MIB + ALIGNMENT];
    let begin = memory.as_ptr().align_offset(ALIGNMENT);
    let chunk = memory.get_mut(begin..begin + MIB).unwrap_or_default();
    let mut state = seed;
    for _ in 0..mib {
        for word in chunk.chunks_exact_mut(8) {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            word.copy_from_slice(&mix(state).to_le_bytes());
        }
        file.write_all(chunk).trying(path.display())?;
    }
    file.sync_all().trying(path.display())
}

/// A sparse file.
///
/// # Errors
/// When it can't be made.
pub fn sparse(path: &Path, bytes: u64) -> Result<()> {
    let file = File::create(path).trying(path.display())?;
    file.set_len(bytes).trying(path.display())
}

/// Writes out what the page cache holds of these files.
///
/// # Errors
/// When one can't be written.
pub fn write_out<'a>(files: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    for path in files {
        let file = File::open(path).trying(path.display())?;
        file.sync_all().trying(path.display())?;
    }
    Ok(())
}

/// splitmix64.
const fn mix(state: u64) -> u64 {
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filled_file_has_its_size_and_no_pattern() {
        // Not in /tmp, which may have no direct I/O.
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = dir.path().join("file");
        random(&path, 2, 7).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 2 * MIB);
        assert_ne!(bytes[..MIB], bytes[MIB..]);
        let ones: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
        assert!(ones.abs_diff(8 * MIB as u32) < 40_000, "{ones}");
        random(&path, 1, 8).unwrap();
        let again = std::fs::read(&path).unwrap();
        assert_eq!(again.len(), 2 * MIB, "what is filled again keeps its size");
        assert_ne!(again[..MIB], bytes[..MIB]);
    }
}
