//! The observer sees what it is there for.

use std::time::{Duration, Instant};

use crate::harness::{
    cluster::{ALPHA, BETA},
    observer::{Accepted, overlaps, reigns},
};

/// Sent and answered, in milliseconds.
fn writes(of: &[(&'static str, u64, u64, u64)]) -> Vec<Accepted> {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    of.iter()
        .map(|(node, connection, sent, answered)| Accepted {
            node,
            connection: *connection,
            sent: at(*sent),
            answered: at(*answered),
        })
        .collect()
}

#[test]
fn two_writers_are_seen_and_a_handover_is_none() {
    let handover = writes(&[
        (ALPHA, 1, 0, 1),
        (ALPHA, 1, 5, 30),
        (BETA, 1, 10, 20),
        (BETA, 1, 40, 41),
        (ALPHA, 2, 50, 51),
    ]);
    assert!(overlaps(&handover).is_empty());
    assert_eq!(reigns(&handover), [ALPHA, BETA, ALPHA]);

    let two = writes(&[
        (ALPHA, 1, 0, 1),
        (BETA, 1, 10, 11),
        (ALPHA, 1, 12, 13),
        (BETA, 1, 14, 15),
    ]);
    assert_eq!(overlaps(&two).len(), 2, "each lies within the other's");
    assert_eq!(reigns(&two), [ALPHA, BETA, ALPHA, BETA]);

    let late = writes(&[(ALPHA, 1, 0, 1), (BETA, 1, 10, 11), (ALPHA, 1, 12, 13)]);
    assert_eq!(reigns(&late), [ALPHA, BETA, ALPHA], "one write too many");
}
