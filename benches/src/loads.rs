//! The loads of the comparison.

use crate::failure::{Failure, Result};

/// What a client does.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// In tables and on the command line.
    pub name: &'static str,
    /// In a sentence's words.
    pub words: &'static str,
    /// fio's `rw`.
    pub pattern: &'static str,
    /// Bytes per request.
    pub block_bytes: u32,
    /// Requests in flight.
    pub depth: u32,
    /// A flush after each write.
    pub fsync: bool,
}

impl Load {
    /// Whether it reads; otherwise it writes.
    #[must_use]
    pub fn reads(&self) -> bool {
        self.pattern.contains("read")
    }
}

/// All of them.
pub const LOADS: &[Load] = &[
    load(
        "write-4k-d1",
        "4 KiB random write, depth 1",
        "randwrite",
        4 << 10,
        1,
    ),
    Load {
        fsync: true,
        ..load(
            "write-4k-fsync",
            "the same, fsync each",
            "randwrite",
            4 << 10,
            1,
        )
    },
    load(
        "write-4k-d16",
        "4 KiB random write, depth 16",
        "randwrite",
        4 << 10,
        16,
    ),
    load(
        "write-4k-d64",
        "4 KiB random write, depth 64",
        "randwrite",
        4 << 10,
        64,
    ),
    load(
        "write-1m-d8",
        "1 MiB sequential write, depth 8",
        "write",
        1 << 20,
        8,
    ),
    load(
        "read-4k-d1",
        "4 KiB random read, depth 1",
        "randread",
        4 << 10,
        1,
    ),
    load(
        "read-4k-d32",
        "4 KiB random read, depth 32",
        "randread",
        4 << 10,
        32,
    ),
];

const fn load(
    name: &'static str,
    words: &'static str,
    pattern: &'static str,
    block_bytes: u32,
    depth: u32,
) -> Load {
    Load {
        name,
        words,
        pattern,
        block_bytes,
        depth,
        fsync: false,
    }
}

/// The one of this name, or all whose names contain it.
///
/// # Errors
/// When there is none.
pub fn matching(pattern: &str) -> Result<Vec<Load>> {
    let exactly: Vec<Load> = with(|name| name == pattern);
    let found = if exactly.is_empty() {
        with(|name| name.contains(pattern))
    } else {
        exactly
    };
    if found.is_empty() {
        let names: Vec<&str> = LOADS.iter().map(|load| load.name).collect();
        let names = names.join(", ");
        return Err(Failure(format!(
            "no load is called {pattern:?}: there are {names}"
        )));
    }
    Ok(found)
}

fn with(wanted: impl Fn(&str) -> bool) -> Vec<Load> {
    let loads = LOADS.iter().filter(|load| wanted(load.name));
    loads.copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_one_load_and_a_part_of_it_several() {
        let names = |pattern| -> Vec<&str> {
            let found = matching(pattern).unwrap();
            found.iter().map(|load| load.name).collect()
        };
        assert_eq!(names("write-4k-d1"), ["write-4k-d1"]);
        assert_eq!(names("read"), ["read-4k-d1", "read-4k-d32"]);
        assert_eq!(names("").len(), LOADS.len());
        assert!(matching("sideways").unwrap_err().0.contains("read-4k-d32"));
    }
}
