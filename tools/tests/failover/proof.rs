//! A fence device is proved before anything depends on it, as the README has it: there need be no agent yet.

use crate::harness::{
    arena::{Arena, Plan},
    cluster::{ALPHA, BETA},
};

#[test]
fn fence_devices_are_proved_before_there_is_an_agent() {
    let arena = Arena::new(Plan::default());
    let test = |peer| arena.cluster.run(ALPHA, &["fence", "test", peer]);
    let said = test(BETA);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("passed; nothing was shot"), "{said:?}");
    assert!(said.err.contains("no agent runs"), "{said:?}");
    let unknown = test("gamma");
    assert_eq!(unknown.code, 11, "{unknown:?}");
    assert!(unknown.err.contains("there is beta"), "{unknown:?}");
    arena
        .cluster
        .edit("agent = ", "agent = \"/nonexistent\", was = ");
    let broken = test(BETA);
    assert_ne!(broken.code, 0, "{broken:?}");
}
