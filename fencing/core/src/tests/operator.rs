//! What a person asks for.

use super::bench::*;
use crate::{Action, Level, Memory, Operator, Order, Role, Services};

/// A primary with services.
fn serving() -> Bench {
    let mut bench = Bench::serving(|_| ());
    bench.view(primary());
    bench.services(Ok(()));
    bench.live(INTERVAL);
    bench.acts();
    bench
}

/// Takes over `times` times, and is the primary then.
fn failovers(times: usize) -> Bench {
    let mut bench = Bench::standby();
    for _ in 0..times {
        bench.said.resources[0].role = Role::Primary;
        bench.beat();
        bench.view(orphan());
        bench.wait_for(&Action::Fence(BETA), DEAD + DELAY + 100_000);
        bench.fenced();
        bench.acts();
        bench.obeyed();
        bench.view(entitled());
        assert_eq!(bench.order(), Some(Order::Promote));
        bench.obeyed();
        bench.view(alone());
        assert_eq!(bench.acts(), [Action::PowerOn(BETA)]);
        bench.new_run();
        bench.said.resources[0].role = Role::Standby;
        bench.beat();
        bench.view(primary());
        bench.acts();
        bench.view(standby());
    }
    bench
}

#[test]
fn in_maintenance_nothing_is_decided_and_it_outlives_the_agent() {
    for (start, lost) in [(primary(), frozen()), (standby(), orphan())] {
        let mut bench = Bench::new();
        bench.meet(start);
        bench.ask(Operator::Maintenance(true)).expect("possible");
        bench.view(lost.clone());
        bench.pass(100 * DEAD);
        assert_eq!(bench.acts(), []);
        let memory = bench.stores.last().expect("stored").clone();
        assert!(memory.maintenance);
        let mut bench = Bench::remembering(memory, |_| ());
        bench.view(lost);
        bench.pass(100 * DEAD);
        assert_eq!(bench.acts(), []);
        bench.ask(Operator::Maintenance(false)).expect("possible");
        bench.pass(DEAD);
        assert_ne!(bench.acts(), [], "it goes on afterwards");
    }
}

#[test]
fn in_maintenance_nobody_is_promoted_not_even_after_a_restart() {
    let mut bench = Bench::primary();
    bench.ask(Operator::Maintenance(true)).expect("possible");
    bench.view(ReplicaView {
        run: 2,
        ..entitled()
    });
    bench.pass(100 * DEAD);
    assert_eq!(bench.acts(), []);
}

#[test]
fn in_maintenance_nothing_is_switched_on() {
    let mut bench = Bench::primary();
    bench.view(frozen());
    bench.pass(DEAD);
    bench.fenced();
    bench.acts();
    bench.ask(Operator::Maintenance(true)).expect("possible");
    bench.obeyed();
    bench.view(alone());
    bench.pass(100 * DEAD);
    assert_eq!(bench.acts(), [], "somebody may have it open");
    bench.ask(Operator::Maintenance(false)).expect("possible");
    assert_eq!(bench.acts(), [Action::PowerOn(BETA)]);
}

#[test]
fn a_switchover_takes_the_services_down_and_then_hands_over() {
    let mut bench = serving();
    bench.ask(switchover(R0)).expect("possible");
    assert_eq!(bench.acts(), [Action::StopServices(R0)]);
    bench.live(DEAD);
    assert_eq!(bench.acts(), [], "not before they are down");
    bench.services(Ok(()));
    assert_eq!(bench.order(), Some(Order::HandOver { to: BETA }));
    bench.obeyed();
    bench.view(standby());
    bench.live(10 * DEAD);
    assert_eq!(bench.acts(), []);
    assert!(bench.memory().holds.is_empty());
}

#[test]
fn a_status_that_was_asked_for_before_the_handover_starts_nothing() {
    let mut bench = serving();
    bench.ask(switchover(R0)).expect("possible");
    bench.services(Ok(()));
    bench.acts();
    let looking = bench.agent.looking(R0);
    bench.obeyed();
    let (now, old) = (bench.time(), primary());
    bench
        .agent
        .handle_replica(now, R0, looking, Some(old.into()));
    bench.settle();
    assert_eq!(bench.acts(), [], "it is primary no more");
    bench.view(standby());
    assert_eq!(bench.acts(), []);
}

#[test]
fn a_switchover_without_services_hands_over_at_once() {
    let mut bench = Bench::primary();
    bench.ask(switchover(R0)).expect("possible");
    assert_eq!(bench.order(), Some(Order::HandOver { to: BETA }));
}

#[test]
fn a_switchover_that_was_refused_brings_the_services_back() {
    let mut bench = serving();
    bench.ask(switchover(R0)).expect("possible");
    bench.services(Ok(()));
    bench.acts();
    bench.refused("not in sync");
    assert!(bench.was_told(Level::Warning, "could not be handed over: not in sync"));
    assert_eq!(bench.acts(), [], "it may have gone over all the same");
    bench.view(primary());
    assert_eq!(bench.acts(), [start(5)]);
    bench.live(10 * DEAD);
    assert_eq!(bench.acts(), [], "it is given up");
}

#[test]
fn a_switchover_whose_services_do_not_go_down_is_given_up() {
    let mut bench = serving();
    bench.ask(switchover(R0)).expect("possible");
    bench.acts();
    bench.services(Err("busy"));
    assert!(bench.was_told(Level::Alarm, "the switchover is given up"));
    bench.live(10_000);
    assert_eq!(bench.acts(), [start(5)]);
}

#[test]
fn a_switchover_is_refused_where_it_can_not_be() {
    let mut bench = Bench::new();
    let refusal = bench.ask(switchover(R0)).expect_err("not seen");
    assert!(refusal.contains("not primary on this node"), "{refusal}");
    bench.view(standby());
    bench
        .ask(switchover(R0))
        .expect_err("a standby has nothing to give");
    let waits = ReplicaView {
        suspended: true,
        ..primary()
    };
    for lost in [frozen(), alone(), waits] {
        bench.view(lost);
        let refusal = bench.ask(switchover(R0)).expect_err("lost");
        assert!(
            refusal.contains("not connected to its standby"),
            "{refusal}"
        );
    }
    assert_eq!(bench.agent.resources[R0].switching, None);
}

#[test]
fn a_switchover_is_refused_in_maintenance_and_not_put_off_until_its_end() {
    let mut bench = Bench::primary();
    bench.ask(Operator::Maintenance(true)).expect("possible");
    let refusal = bench.ask(switchover(R0)).expect_err("it decides nothing");
    assert!(refusal.contains("maintenance"), "{refusal}");
    bench.ask(Operator::Maintenance(false)).expect("possible");
    bench.live(DEAD);
    assert_eq!(bench.acts(), []);
}

#[test]
fn a_switchover_is_refused_by_an_agent_that_leaves() {
    let mut bench = Bench::primary();
    bench.ask(Operator::Leave).expect("possible");
    bench.ask(switchover(R0)).expect_err("it leaves");
}

#[test]
fn a_switchover_that_its_process_did_not_survive_is_given_up() {
    let mut bench = serving();
    bench.ask(switchover(R0)).expect("possible");
    assert_eq!(bench.acts(), [Action::StopServices(R0)]);
    bench.gone();
    let mut back = entitled();
    back.run = 2;
    back.led = primary().led;
    bench.view(back);
    assert_eq!(
        bench.order(),
        Some(Order::Promote),
        "it was primary, and nobody else is"
    );
    bench.services(Ok(()));
    bench.obeyed();
    bench.view(ReplicaView {
        run: 2,
        ..primary()
    });
    assert_eq!(bench.acts(), [start(5)]);
    assert!(bench.was_told(Level::Warning, "the switchover is given up"));
}

#[test]
fn a_leaving_agent_says_so_at_once_and_orders_nothing_more() {
    let mut bench = Bench::primary();
    bench.sent.clear();
    bench.ask(Operator::Leave).expect("possible");
    assert!(bench.sent.last().expect("at once").leaving);
    bench.view(frozen());
    bench.pass(100 * DEAD);
    assert_eq!(bench.acts(), []);
    bench.said.resources[0].ask = Question::from(77);
    bench.view(orphan());
    bench.live(DEAD);
    assert_eq!(bench.acts(), []);
}

#[test]
fn a_peer_whose_agent_said_goodbye_is_not_shot_and_a_person_is_told_once() {
    for (start, lost) in [(primary(), frozen()), (standby(), orphan())] {
        let mut bench = Bench::new();
        bench.meet(start);
        bench.said.leaving = true;
        bench.beat();
        bench.pass(DEAD);
        bench.told.clear();
        bench.view(lost);
        bench.pass(100 * DEAD);
        assert_eq!(bench.acts(), []);
        let words = "its agent was stopped by a person";
        let alarms = |told: &&(Level, String)| told.0 == Level::Alarm && told.1.contains(words);
        assert_eq!(bench.told.iter().filter(alarms).count(), 1);
        let state = &bench.agent.status().peers[0].state;
        assert!(state.contains("its agent was stopped"), "{state}");
        bench.ask(Operator::Confirm(BETA)).expect("possible");
        assert!(matches!(bench.order(), Some(Order::ReceiptFenced { .. })));
    }
}

#[test]
fn a_peer_whose_agent_came_back_is_judged_again() {
    let mut bench = Bench::primary();
    bench.said.leaving = true;
    bench.beat();
    bench.said.leaving = false;
    bench.new_run();
    bench.beat();
    bench.view(frozen());
    bench.pass(DEAD);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
}

#[test]
fn a_goodbye_calls_off_a_shot() {
    let mut bench = Bench::standby();
    bench.view(orphan());
    bench.pass(DEAD);
    assert_eq!(bench.acts(), [Action::ReadPower(BETA)]);
    bench.said.leaving = true;
    bench.beat();
    bench.pass(10 * DELAY);
    assert_eq!(bench.acts(), []);
}

#[test]
fn too_many_failovers_block_and_a_person_clears_that() {
    let mut bench = failovers(3);
    assert_eq!(bench.memory().failovers.len(), 3);
    assert!(bench.was_told(Level::Alarm, "3 failovers within 3600 s"));
    assert!(bench.memory().blocked);
    assert_eq!(bench.stores.last(), Some(bench.memory()));
    bench.said.resources[0].role = Role::Primary;
    bench.beat();
    bench.view(orphan());
    bench.pass(100_000);
    assert_eq!(bench.acts(), []);
    let state = &bench.agent.status().resources[0].state;
    assert!(state.contains("blocked"), "{state}");
    bench.ask(Operator::Clear).expect("possible");
    bench.wait_for(&Action::Fence(BETA), 100_000);
}

#[test]
fn failovers_that_are_long_past_do_not_block() {
    let mut bench = failovers(2);
    bench.view(standby());
    for _ in 0..3600 {
        bench.live(1000);
    }
    bench.acts();
    assert!(!bench.memory().blocked);
    bench.view(orphan());
    bench.wait_for(&Action::Fence(BETA), 100_000);
    bench.fenced();
    bench.acts();
    bench.obeyed();
    bench.view(entitled());
    bench.obeyed();
    assert_eq!(bench.memory().failovers.len(), 3);
    assert!(!bench.memory().blocked);
}

#[test]
fn a_block_keeps_a_primary_from_nothing_that_is_not_a_failover() {
    let memory = Memory {
        version: 1,
        blocked: true,
        holds: vec!["r0".into()],
        ..Memory::default()
    };
    let mut bench = Bench::remembering(memory, |_| ());
    bench.view(entitled());
    assert_eq!(bench.order(), Some(Order::Promote), "a restart in place");
    bench.obeyed();
    bench.view(frozen());
    bench.pass(DEAD);
    assert_eq!(bench.acts(), [Action::Fence(BETA)], "it goes on as primary");
}

#[test]
fn a_person_confirms_only_what_is_silent_and_needed() {
    let mut bench = Bench::primary();
    let refusal = bench.ask(Operator::Confirm(BETA)).expect_err("heard");
    assert!(refusal.contains("beta is heard"), "{refusal}");
    bench.pass(2 * DEAD);
    let refusal = bench.ask(Operator::Confirm(BETA)).expect_err("not needed");
    assert!(refusal.contains("nothing waits for beta"), "{refusal}");
    bench.view(primary());
    bench.view(frozen());
    bench.pass(0);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
    bench.misfired();
    bench.ask(Operator::Confirm(BETA)).expect("possible");
    assert!(bench.was_told(Level::Warning, "a person says that beta is off"));
    assert_eq!(
        bench.order(),
        Some(Order::ReceiptFenced {
            about: BETA,
            detail: "a person says that beta is off".into(),
            met: 70
        })
    );
    assert_eq!(bench.memory().intents, []);
}

#[test]
fn a_confirmation_helps_where_there_is_no_way_to_fence() {
    let mut bench = Bench::with(|config| config.peers[BETA].can_fence = false);
    bench.view(orphan());
    bench.pass(DEAD);
    bench.ask(Operator::Confirm(BETA)).expect("possible");
    assert!(matches!(bench.order(), Some(Order::ReceiptFenced { .. })));
    bench.obeyed();
    bench.view(entitled());
    bench.acts();
    bench.obeyed();
    bench.view(alone());
    bench.pass(DEAD);
    assert_eq!(bench.acts(), [], "there is no way to switch it on");
}

#[test]
fn a_confirmation_while_a_shot_is_under_way_is_enough() {
    let mut bench = Bench::primary();
    bench.view(frozen());
    bench.pass(DEAD);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
    bench.ask(Operator::Confirm(BETA)).expect("possible");
    assert!(matches!(bench.order(), Some(Order::ReceiptFenced { .. })));
    bench.misfired();
    bench.pass(100_000);
    assert_eq!(bench.acts(), [], "nothing is fired again");
}

#[test]
fn a_peer_is_switched_on_once_and_only_when_nobody_needs_it_off() {
    let mut bench = Bench::primary();
    bench.view(frozen());
    bench.pass(DEAD);
    bench.fenced();
    bench.acts();
    bench.obeyed();
    bench.view(frozen());
    bench.pass(DEAD);
    assert_eq!(bench.acts(), [], "it still waits");
    bench.gone();
    bench.pass(DEAD);
    assert_eq!(bench.acts(), [], "nobody knows");
    bench.view(alone());
    assert_eq!(bench.acts(), [Action::PowerOn(BETA)]);
    bench.pass(100 * DEAD);
    bench.view(alone());
    assert_eq!(bench.acts(), []);
}

#[test]
fn status_says_where_a_shot_stands() {
    let mut bench = Bench::standby();
    let state = |bench: &Bench| bench.agent.status().peers[0].state.clone();
    assert_eq!(state(&bench), "heard");
    bench.view(orphan());
    bench.pass(DEAD);
    assert!(
        state(&bench).starts_with("to be fenced in "),
        "{}",
        state(&bench)
    );
    bench.wait_for(&Action::Fence(BETA), 2 * DELAY);
    assert_eq!(state(&bench), "being fenced");
    bench.misfired();
    assert!(state(&bench).starts_with("fencing has failed 1 times"));
    bench.wait_for(&Action::Fence(BETA), 2 * DELAY);
    bench.fenced();
    assert_eq!(state(&bench), "fenced: read as off");
    assert_eq!(
        bench.agent.status().resources[0].services,
        Services::Unknown
    );
}

#[test]
fn status_says_which_of_many_paths_are_heard() {
    let mut bench = Bench::with(|config| {
        config.peers[BETA].paths = (0..40).map(|path| format!("path {path}")).collect();
    });
    bench.said.hears = 0b1000_0001;
    bench.beat();
    let paths = bench.agent.status().peers.remove(0).paths;
    assert_eq!(paths.len(), 40);
    let heard: Vec<bool> = paths.iter().map(|path| path.heard_there).collect();
    assert!(heard[0] && heard[7] && !heard[1] && !heard[8]);
}
