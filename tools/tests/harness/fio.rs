//! What fio's log of its latencies says: when its device stood still, and for how long.

use std::{fs, path::Path, time::Duration};

/// The longest time in which nothing was completed, from the log that `--write_lat_log` made, and how much was completed
/// in all.
pub(crate) fn longest_gap(log: &Path) -> (Duration, usize) {
    let text = fs::read_to_string(log).expect("fio's log");
    let mut ended: Vec<u64> = text.lines().map(milliseconds).collect();
    ended.sort_unstable();
    let gaps = ended.windows(2).map(|pair| pair[1] - pair[0]);
    let longest = gaps.max().expect("fio did something");
    (Duration::from_millis(longest), ended.len())
}

/// Of a line like `1204, 36833, 1, 4096, 0`: completed so long after the beginning.
fn milliseconds(line: &str) -> u64 {
    let first = line.split(',').next().unwrap_or_default();
    first
        .parse()
        .unwrap_or_else(|_| panic!("a line of fio's log: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_found() {
        let log = tempfile::NamedTempFile::new().unwrap();
        fs::write(
            log.path(),
            "0, 9, 1, 4096, 0\n900, 9, 0, 4096, 0\n7, 9, 1, 4096, 0\n1000, 9, 1, 4096, 0\n",
        )
        .unwrap();
        assert_eq!(longest_gap(log.path()), (Duration::from_millis(893), 4));
    }
}
