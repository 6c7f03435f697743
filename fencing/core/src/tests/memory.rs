//! A memory that can't be stored.

use super::bench::*;
use crate::{Action, Level};

/// A primary that waits for its standby, which is lost; the intent to shoot is to be stored.
fn intending() -> Bench {
    let mut bench = Bench::primary();
    bench.stores_at_once = false;
    bench.view(frozen());
    bench.pass(DEAD);
    assert_eq!(bench.stores.last(), Some(bench.memory()));
    assert_eq!(bench.memory().intents.len(), 1);
    bench.told.clear();
    bench.stores.clear();
    bench.stores.push(bench.memory().clone());
    bench
}

#[test]
fn what_can_not_be_stored_is_tried_again_less_and_less_often() {
    let mut bench = intending();
    for wait in [1000, 2000, 5000, 15_000, 60_000, 60_000] {
        bench.stored(Err("no room"));
        assert!(bench.was_told(Level::Alarm, "no room"));
        let fault = bench.agent.status().memory_fault;
        assert_eq!(fault.as_deref(), Some("no room"));
        let tried = bench.stores.len();
        bench.pass(wait - INTERVAL);
        assert_eq!(bench.stores.len(), tried, "after {wait} ms");
        bench.pass(2 * INTERVAL);
        assert_eq!(bench.stores.len(), tried + 1, "after {wait} ms");
    }
    assert_eq!(bench.acts(), [], "R6: the intent is not durable");
    bench.view(frozen());
    bench.stored(Ok(()));
    assert!(bench.was_told(Level::Info, "can be stored again"));
    assert_eq!(bench.agent.status().memory_fault, None);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
}

#[test]
fn the_newest_memory_is_what_is_tried_again() {
    let mut bench = intending();
    bench.stored(Err("no room"));
    bench.beat();
    assert_eq!(bench.memory().intents, [], "it is heard again");
    assert_eq!(bench.stores.len(), 1, "not before its time");
    bench.live(1000);
    assert_eq!(bench.stores.last(), Some(bench.memory()));
    bench.stored(Ok(()));
    assert_eq!(bench.acts(), [], "nobody is to be shot any more");
    // The next failure is the first one again.
    bench.view(primary());
    bench.view(frozen());
    bench.pass(DEAD);
    bench.stored(Err("no room"));
    let tried = bench.stores.len();
    bench.pass(1000 + INTERVAL);
    assert_eq!(bench.stores.len(), tried + 1);
}
