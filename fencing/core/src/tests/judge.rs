//! Who is taken for lost, and when.

use super::bench::*;
use crate::{Action, Level, Serving};

#[test]
fn a_connected_peer_is_not_shot_however_silent_its_agent_is() {
    let mut bench = Bench::primary();
    bench.pass(20 * DEAD);
    assert_eq!(bench.acts(), []);
    let mut bench = Bench::standby();
    bench.pass(20 * DEAD);
    assert_eq!(bench.acts(), []);
}

#[test]
fn a_suspended_primary_fires_at_once_when_its_peer_is_silent_on_all_paths() {
    let mut bench = Bench::primary();
    bench.view(frozen());
    let waited = bench.wait_for(&Action::Fence(BETA), DEAD);
    assert!(waited <= DEAD && waited > DEAD - 2 * INTERVAL, "{waited}");
}

#[test]
fn a_primary_that_is_not_suspended_shoots_at_nobody() {
    let mut bench = Bench::primary();
    let mut view = frozen();
    view.suspended = false;
    bench.view(view);
    bench.pass(10 * DEAD);
    assert_eq!(bench.acts(), []);
}

#[test]
fn a_primary_whose_lost_standby_was_not_in_sync_shoots_at_nobody() {
    let mut bench = Bench::primary();
    let mut view = frozen();
    view.peer_in_sync = false;
    bench.view(view);
    bench.pass(10 * DEAD);
    assert_eq!(bench.acts(), []);
}

#[test]
fn one_living_path_is_enough() {
    for path in 0..2 {
        let mut bench = Bench::primary();
        bench.view(frozen());
        // It also answers what it is asked, or it would be shot for that.
        for _ in 0..40 {
            bench.pass(INTERVAL);
            bench.said.resources[0].released = bench.says().ask;
            let beat = bench.next_beat();
            assert_eq!(bench.hear(path, &beat), Ok(()));
            assert!(!bench.acts().contains(&Action::Fence(BETA)));
        }
        let silent = ["first", "second"][1 - path];
        let words = format!("beta is not heard over {silent}");
        assert!(bench.was_told(Level::Warning, &words));
    }
}

#[test]
fn a_silent_path_is_reported_once_and_again_after_it_was_heard() {
    let mut bench = Bench::primary();
    for _ in 0..2 {
        bench.told.clear();
        for _ in 0..20 {
            let beat = bench.next_beat();
            assert_eq!(bench.hear(1, &beat), Ok(()));
            bench.pass(INTERVAL);
        }
        let warned = |told: &&(Level, String)| told.1.contains("not heard over first");
        assert_eq!(bench.told.iter().filter(warned).count(), 1);
        bench.beat();
    }
}

#[test]
fn a_peer_that_hears_nothing_counts_as_silent() {
    let mut bench = Bench::primary();
    bench.said.hears = 0;
    bench.beat();
    bench.view(frozen());
    bench.live(DEAD - 1);
    assert_eq!(bench.acts(), []);
    bench.live(1);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
}

#[test]
fn a_peer_that_hears_again_is_not_silent() {
    let mut bench = Bench::primary();
    bench.said.hears = 0;
    bench.live(DEAD - INTERVAL);
    bench.said.hears = 1;
    bench.beat();
    bench.said.hears = 0;
    bench.beat();
    bench.view(frozen());
    bench.live(DEAD - 1);
    assert_eq!(bench.acts(), []);
}

#[test]
fn the_deafness_of_a_run_that_has_ended_is_not_held_against_the_next() {
    let mut bench = Bench::primary();
    bench.said.hears = 0;
    bench.live(DEAD / 2);
    bench.pass(DEAD);
    bench.new_run();
    bench.said.echo = 0;
    bench.beat();
    bench.view(frozen());
    bench.live(DEAD / 2);
    assert_eq!(
        bench.acts(),
        [],
        "it has just been started, and had no time to hear"
    );
}

#[test]
fn deafness_before_a_cut_is_not_counted_on_after_it() {
    let mut bench = Bench::primary();
    bench.said.hears = 0;
    bench.live(INTERVAL);
    bench.pass(5 * DEAD);
    bench.beat();
    bench.view(frozen());
    bench.live(DEAD / 2);
    assert_eq!(
        bench.acts(),
        [],
        "the cut has ended, and nothing was there to be heard"
    );
}

#[test]
fn one_that_was_never_heard_has_as_long_from_the_loss_of_its_replica() {
    let mut bench = Bench::new();
    bench.view(frozen());
    bench.pass(DEAD - 1);
    assert_eq!(bench.acts(), []);
    bench.pass(1);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
}

#[test]
fn a_stalled_agent_judges_nobody() {
    let mut bench = Bench::primary();
    bench.view(frozen());
    bench.stall(20 * DEAD);
    assert_eq!(bench.acts(), []);
    assert!(bench.was_told(Level::Warning, "stood still"));
    bench.pass(DEAD - 1);
    assert_eq!(bench.acts(), []);
    bench.pass(1);
    assert_eq!(bench.acts(), [Action::ReadPower(BETA)]);
    bench.pass(3 * DELAY - 1);
    assert_eq!(bench.acts(), [], "a shot of the other one may be under way");
    bench.pass(1);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
}

#[test]
fn a_stalled_agent_does_not_fire_what_it_had_decided_before() {
    let mut bench = Bench::standby();
    bench.view(orphan());
    bench.pass(DEAD);
    assert_eq!(bench.acts(), [Action::ReadPower(BETA)]);
    bench.stall(20 * DEAD);
    assert_eq!(bench.acts(), []);
    assert!(bench.was_told(Level::Info, "not to be fenced any more"));
}

#[test]
fn a_stalled_agent_does_not_judge_one_that_was_never_heard() {
    let mut bench = Bench::new();
    bench.view(frozen());
    bench.stall(20 * DEAD);
    assert_eq!(bench.acts(), []);
}

#[test]
fn a_stalled_agent_does_not_count_the_time_that_a_peer_was_deaf() {
    let mut bench = Bench::primary();
    bench.said.hears = 0;
    bench.beat();
    bench.view(frozen());
    bench.stall(20 * DEAD);
    bench.live(DEAD - 1);
    assert_eq!(bench.acts(), []);
}

#[test]
fn a_stalled_agent_does_not_count_the_time_that_it_waited_for_an_answer() {
    let mut bench = Bench::primary();
    bench.view(frozen());
    bench.beat();
    assert_ne!(bench.says().ask, Question::None);
    bench.stall(20 * DEAD);
    assert_eq!(bench.acts(), []);
    bench.live(2 * DEAD - 1);
    assert_eq!(bench.acts(), []);
    bench.live(1);
    assert_eq!(bench.acts(), [Action::ReadPower(BETA)]);
    bench.live(3 * DELAY);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
}

#[test]
fn a_stalled_agent_does_not_count_the_time_that_a_process_had_to_come_back() {
    let mut bench = Bench::standby();
    bench.said.resources[0].serving = Serving::No;
    bench.said.resources[0].role = crate::Role::Standby;
    bench.view(orphan());
    bench.beat();
    bench.stall(2 * GRACE);
    assert_eq!(bench.says().ask, Question::None);
    bench.live(GRACE - 1);
    assert_eq!(bench.says().ask, Question::None);
    bench.live(1);
    assert_ne!(bench.says().ask, Question::None);
}

#[test]
fn a_short_pause_is_no_stall() {
    let mut bench = Bench::primary();
    bench.view(frozen());
    bench.stall(DEAD / 2);
    assert!(!bench.was_told(Level::Warning, "stood still"));
}

#[test]
fn a_standby_that_does_not_have_everything_shoots_at_nobody() {
    let outdated_in_sync = outdated();
    let mut not_in_sync = orphan();
    not_in_sync.peer_in_sync = false;
    for view in [outdated_in_sync, not_in_sync] {
        let mut bench = Bench::standby();
        bench.view(view);
        bench.pass(10 * DEAD);
        assert_eq!(bench.acts(), []);
    }
}

#[test]
fn a_peer_whose_replica_hangs_is_asked_in_vain_and_then_fenced() {
    let mut bench = Bench::primary();
    bench.said.resources[0].serving = Serving::Silent;
    bench.view(frozen());
    bench.live(2 * DEAD - 1);
    assert_eq!(bench.acts(), []);
    bench.live(1);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
    assert!(bench.was_told(Level::Warning, "its agent lives, and its replica"));
}

#[test]
fn the_next_look_at_the_clock_is_never_in_the_past() {
    let mut bench = Bench::standby();
    bench.view(orphan());
    for _ in 0..200 {
        bench.pass(INTERVAL / 5);
        assert!(bench.agent.next_deadline() > bench.time());
    }
}

#[test]
fn the_deafness_of_a_run_is_not_held_against_the_one_right_after_it() {
    let mut bench = Bench::primary();
    bench.said.hears = 0;
    bench.live(DEAD - INTERVAL);
    bench.new_run();
    bench.beat();
    bench.view(frozen());
    bench.live(DEAD - 1);
    assert_eq!(bench.acts(), []);
    bench.live(1);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
}
