//! I/O that stands still: what a person is told, what is killed, who is shot, and what a watchdog is fed for.

use super::bench::*;
use crate::{Action, HungIo, Level, Operator, Order, Profile, Role, fence::Fencing};

const HANG: u64 = as_ms(Profile::Default.hang());
const HUNG: u64 = as_ms(Profile::Default.hung());
const KILL: Action = Action::Kill {
    resource: R0,
    run: 1,
};

/// What makes a case of a bench.
type Change = dyn Fn(&mut Bench);

/// Looks at the replica for a while: each look finds `view`, with an operation of its disk that began with the first one.
fn stuck(bench: &mut Bench, ms: u64, view: &ReplicaView) {
    stuck_since(bench, bench.now, ms, view);
}

fn stuck_since(bench: &mut Bench, since: u64, ms: u64, view: &ReplicaView) {
    let end = bench.now + ms;
    while bench.now < end {
        bench.view(ReplicaView {
            oldest: Duration::from_millis(bench.now - since),
            ..view.clone()
        });
        bench.live(INTERVAL);
    }
}

/// A primary whose standby would take over.
fn secured() -> Bench {
    let mut bench = Bench::primary();
    bench.said.resources[0].ready = true;
    bench.live(INTERVAL);
    bench.view(primary());
    bench
}

/// A standby that has lost a primary which hangs and can't be killed, as that one's agent says.
fn bereaved() -> Bench {
    let mut bench = Bench::standby();
    bench.view(orphan());
    bench.said.resources[0].hung = true;
    bench
}

fn alarms(bench: &Bench) -> usize {
    let alarm = |told: &&(Level, String)| told.0 == Level::Alarm;
    bench.told.iter().filter(alarm).count()
}

#[test]
fn a_primary_whose_disk_answers_nothing_hangs() {
    let mut bench = Bench::primary();
    stuck(&mut bench, HANG - INTERVAL, &primary());
    assert!(bench.agent.is_well());
    let since = bench.now - HANG + INTERVAL;
    stuck_since(&mut bench, since, 2 * INTERVAL, &primary());
    assert!(!bench.agent.is_well());
    stuck_since(&mut bench, since, HANG, &primary());
    assert_eq!(alarms(&bench), 1, "once");
    bench.view(ReplicaView {
        progress: 8,
        oldest: Duration::from_millis(2 * HANG),
        ..primary()
    });
    assert!(bench.agent.is_well(), "it goes on");
}

#[test]
fn a_primary_whose_process_says_nothing_hangs() {
    let mut bench = Bench::primary();
    bench.live(HANG + INTERVAL);
    assert!(!bench.agent.is_well());
}

#[test]
fn one_that_works_waits_for_the_peer_or_a_receipt_or_has_nothing_to_do_does_not_hang() {
    let mut bench = secured();
    // Much is asked of a disk that is slow: the oldest operation is always some seconds old.
    for _ in 0..3 * HUNG / INTERVAL {
        bench.view(ReplicaView {
            oldest: Duration::from_millis(HANG - INTERVAL),
            ..primary()
        });
        bench.live(INTERVAL);
    }
    // One is older than that, and others overtake it.
    for number in 0..2 * HUNG / INTERVAL {
        bench.view(ReplicaView {
            progress: number,
            oldest: Duration::from_millis(number * INTERVAL),
            ..primary()
        });
        bench.live(INTERVAL);
    }
    for view in [primary(), frozen()] {
        for number in 0..2 * HUNG / INTERVAL {
            let oldest_ms = if view.suspended { number * INTERVAL } else { 0 };
            bench.view(ReplicaView {
                oldest: Duration::from_millis(oldest_ms),
                ..view.clone()
            });
            bench.live(INTERVAL);
        }
    }
    assert!(bench.agent.is_well());
    assert!(!bench.acts().contains(&KILL));
}

#[test]
fn a_standby_and_one_without_a_process_do_not_hang() {
    let mut bench = Bench::standby();
    bench.live(2 * HANG);
    assert!(bench.agent.is_well());
    let mut bench = Bench::primary();
    bench.gone();
    bench.live(2 * HANG);
    assert!(bench.agent.is_well());
}

#[test]
fn the_time_in_which_the_agent_stood_still_is_nobody_hanging() {
    let mut bench = Bench::primary();
    bench.stall(2 * HANG);
    assert!(bench.agent.is_well());
    let mut bench = secured();
    bench.live(HUNG - INTERVAL);
    bench.stall(DEAD);
    bench.live(HUNG - INTERVAL);
    assert_eq!(bench.acts(), []);
    bench.live(INTERVAL);
    assert_eq!(bench.acts(), [KILL]);
}

#[test]
fn a_hung_primary_is_killed_once_if_its_standby_is_ready() {
    let mut bench = secured();
    stuck(&mut bench, HUNG - INTERVAL, &primary());
    assert_eq!(bench.acts(), []);
    assert!(!bench.says().hung);
    let since = bench.now - HUNG + INTERVAL;
    stuck_since(&mut bench, since, INTERVAL, &primary());
    assert_eq!(bench.acts(), [KILL]);
    assert!(bench.says().hung && bench.says().oldest_ms >= HUNG);
    let state = &bench.agent.status().resources[0].state;
    assert_eq!(state, "its I/O has stood still for 40 s");
    bench.live(DEAD);
    assert_eq!(bench.acts(), [], "once");
    assert!(bench.agent.is_well(), "the other node gets its chance");
    bench.live(HANG);
    assert!(!bench.agent.is_well());
}

#[test]
fn a_process_that_only_says_nothing_is_killed_as_well() {
    let mut bench = secured();
    bench.live(HUNG - INTERVAL);
    assert_eq!(bench.acts(), []);
    bench.live(2 * INTERVAL);
    assert_eq!(bench.acts(), [KILL]);
    bench.gone();
    bench.live(INTERVAL);
    assert!(!bench.says().hung, "it is gone");
    // The next process is another one, and gets all the time again.
    let next = ReplicaView {
        run: 2,
        ..primary()
    };
    bench.view(next.clone());
    stuck(&mut bench, HUNG - INTERVAL, &next);
    assert!(!bench.says().hung);
    assert_eq!(bench.acts(), []);
    let since = bench.now - HUNG + INTERVAL;
    stuck_since(&mut bench, since, INTERVAL, &next);
    let kill = Action::Kill {
        resource: R0,
        run: 2,
    };
    assert_eq!(bench.acts(), [kill]);
}

#[test]
fn a_process_that_takes_its_place_does_not_hang() {
    let mut bench = secured();
    bench.live(HUNG + INTERVAL);
    assert_eq!(bench.acts(), [KILL]);
    // That the first one was gone in between was not seen.
    bench.view(ReplicaView {
        run: 2,
        oldest: Duration::from_millis(HUNG),
        ..primary()
    });
    bench.live(INTERVAL);
    assert!(!bench.says().hung && bench.says().oldest_ms <= INTERVAL);
    bench.live(HUNG - 2 * INTERVAL);
    assert_eq!(bench.acts(), []);
}

#[test]
fn a_hang_that_ends_in_time_kills_nobody() {
    let mut bench = secured();
    stuck(&mut bench, HUNG - INTERVAL, &primary());
    bench.view(primary());
    let progress = ReplicaView {
        progress: 1,
        ..primary()
    };
    bench.view(progress.clone());
    stuck(&mut bench, HUNG - INTERVAL, &progress);
    assert_eq!(bench.acts(), []);
}

#[test]
fn nobody_is_killed_for_a_standby_that_would_not_take_over() {
    let not_ready = |bench: &mut Bench| bench.said.resources[0].ready = false;
    let silent = |bench: &mut Bench| bench.pass(DEAD);
    let maintained = |bench: &mut Bench| {
        assert_eq!(bench.ask(Operator::Maintenance(true)), Ok(()));
    };
    let blocked = |bench: &mut Bench| bench.agent.memory.blocked = true;
    let cases: [(&str, &Change); 4] = [
        ("not ready", &not_ready),
        ("silent", &silent),
        ("maintenance", &maintained),
        ("blocked", &blocked),
    ];
    for (name, change) in cases {
        let mut bench = secured();
        stuck(&mut bench, HUNG - DEAD - 2 * INTERVAL, &primary());
        change(&mut bench);
        let alone = name == "silent";
        for _ in 0..20 {
            bench.view(ReplicaView {
                oldest: Duration::from_millis(2 * HUNG),
                ..primary()
            });
            if alone {
                bench.pass(INTERVAL);
            } else {
                bench.live(INTERVAL);
            }
        }
        assert!(!bench.acts().contains(&KILL), "{name}");
        assert!(!bench.agent.is_well(), "{name}: the watchdog is left");
    }
    let mut bench = secured();
    let out_of_sync = ReplicaView {
        peer_in_sync: false,
        ..primary()
    };
    stuck(&mut bench, 2 * HUNG, &out_of_sync);
    assert_eq!(bench.acts(), []);
}

#[test]
fn a_process_is_not_killed_for_one_resource_if_another_one_would_have_nobody() {
    let two = || {
        let mut bench = Bench::with(|config| _ = config.resources.push(resource("r1")));
        bench.meet(primary());
        bench.said.resources[0].ready = true;
        bench.live(INTERVAL);
        bench
    };
    let look = |bench: &mut Bench, other: &ReplicaView| {
        let since = bench.now;
        while bench.now < since + HUNG + INTERVAL {
            bench.view_of(R1, Some(other.clone()));
            bench.view(ReplicaView {
                oldest: Duration::from_millis(bench.now - since),
                ..primary()
            });
            bench.live(INTERVAL);
        }
        bench.acts()
    };
    assert_eq!(look(&mut two(), &primary()), [], "nobody takes r1 over");
    assert_eq!(look(&mut two(), &standby()), [KILL], "r1 is primary there");
    let mut bench = two();
    bench.said.resources[1].ready = true;
    assert_eq!(look(&mut bench, &primary()), [KILL]);
}

/// Looks at a primary for a while that waits for a standby which is connected again and again, and gets nothing done.
fn waits(bench: &mut Bench, ms: u64) {
    let end = bench.now + ms;
    let mut met = 70;
    while bench.now < end {
        met += 1;
        bench.view(ReplicaView {
            linked: met % 2 == 0,
            met: met / 2,
            ..frozen()
        });
        bench.live(INTERVAL);
    }
}

#[test]
fn a_standby_that_lives_and_gets_nothing_done_is_shot() {
    let mut bench = Bench::primary();
    waits(&mut bench, HUNG - INTERVAL);
    assert_eq!(bench.acts(), [], "it has its time");
    let connected = ReplicaView {
        linked: true,
        met: 500,
        ..frozen()
    };
    bench.view(connected);
    bench.live(2 * INTERVAL);
    assert!(bench.acts().contains(&Action::Fence(BETA)));
    bench.fenced();
    bench.view(ReplicaView {
        met: 500,
        ..frozen()
    });
    assert!(matches!(bench.order(), Some(Order::ReceiptFenced { .. })));
}

#[test]
fn a_standby_that_is_back_in_time_is_not_shot() {
    let mut bench = Bench::primary();
    waits(&mut bench, HUNG - INTERVAL);
    bench.view(primary());
    waits(&mut bench, HUNG - INTERVAL);
    assert_eq!(bench.acts(), []);
}

#[test]
fn with_alarm_nobody_is_killed_or_shot() {
    let alarm = |config: &mut crate::Config| config.hung_io = HungIo::Alarm;
    let mut bench = Bench::with(alarm);
    bench.meet(primary());
    bench.said.resources[0].ready = true;
    stuck(&mut bench, 2 * HUNG, &primary());
    assert_eq!(bench.acts(), []);
    assert!(!bench.says().hung && !bench.agent.is_well());
    assert_eq!(alarms(&bench), 1);

    let mut bench = Bench::with(alarm);
    bench.meet(standby());
    bench.view(orphan());
    bench.said.resources[0].hung = true;
    bench.live(HUNG);
    assert_eq!(bench.acts(), []);

    let mut bench = Bench::with(alarm);
    bench.meet(primary());
    waits(&mut bench, 2 * HUNG);
    assert_eq!(bench.acts(), []);
}

#[test]
fn who_is_ready_says_so() {
    let mut bench = Bench::standby();
    assert!(bench.says().ready);
    bench.view(orphan());
    bench.live(INTERVAL);
    assert!(bench.says().ready);
    bench.view(outdated());
    bench.live(INTERVAL);
    assert!(!bench.says().ready, "its disk is not UpToDate");
    bench.view(orphan());
    stuck(&mut bench, HANG + 2 * INTERVAL, &orphan());
    assert!(!bench.says().ready, "its own disk hangs");
    assert!(bench.agent.is_well(), "but no host is reset for a standby");
    bench.view(ReplicaView {
        progress: 1,
        ..orphan()
    });
    bench.live(INTERVAL);
    assert!(bench.says().ready);
    assert_eq!(bench.ask(Operator::Maintenance(true)), Ok(()));
    bench.live(INTERVAL);
    assert!(!bench.says().ready);
    let mut bench = Bench::primary();
    bench.live(INTERVAL);
    assert!(!bench.says().ready, "it has the role");
}

#[test]
fn a_primary_that_hangs_and_can_not_be_killed_is_shot_and_replaced() {
    let mut bench = bereaved();
    bench.live(GRACE - INTERVAL);
    assert_eq!(bench.memory().intents.len(), 0);
    bench.live(2 * INTERVAL);
    assert!(bench.memory().intents[0].why.contains("I/O stands still"));
    assert_eq!(bench.acts(), [Action::ReadPower(BETA)]);
    bench.live(DELAY);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
    assert!(bench.agent.still_wants(BETA));
    bench.fenced();
    let order = bench.order();
    assert!(
        matches!(order, Some(Order::ReceiptFenced { .. })),
        "{order:?}"
    );
    bench.obeyed();
    bench.view(entitled());
    assert_eq!(
        bench.order(),
        Some(Order::Promote),
        "what it said before it was off holds nobody up"
    );
}

#[test]
fn a_hang_that_ends_kills_the_shot() {
    for fires in [false, true] {
        let mut bench = bereaved();
        bench.live(GRACE + INTERVAL);
        if fires {
            bench.live(DELAY);
            assert!(bench.agent.still_wants(BETA));
        }
        bench.said.resources[0].hung = false;
        bench.beat();
        assert!(!bench.agent.still_wants(BETA));
        if fires {
            bench.misfired();
        }
        assert_eq!(bench.agent.peers[BETA].fencing, Fencing::Idle);
        bench.acts();
        bench.live(HUNG);
        assert_eq!(bench.acts(), []);
        assert_eq!(bench.memory().intents, []);
    }
}

#[test]
fn one_that_gave_the_role_up_or_is_gone_does_not_hang() {
    let gave_up = |bench: &mut Bench| bench.said.resources[0].role = Role::Standby;
    let is_linked = |bench: &mut Bench| bench.view(standby());
    let is_outdated = |bench: &mut Bench| bench.view(outdated());
    let cases: [&Change; 3] = [&gave_up, &is_linked, &is_outdated];
    for change in cases {
        let mut bench = bereaved();
        change(&mut bench);
        // Longer than one that hangs has; who is asked for it and does nothing is fired at later, whatever it is.
        bench.live(GRACE + DEAD);
        assert!(!bench.acts().contains(&Action::Fence(BETA)));
        assert_eq!(bench.memory().intents, []);
    }
}

#[test]
fn an_agent_that_stood_still_asks_for_all_the_time_again() {
    let mut bench = bereaved();
    bench.live(GRACE - INTERVAL);
    bench.stall(DEAD);
    bench.live(GRACE - INTERVAL);
    assert_eq!(bench.memory().intents, []);
    bench.live(2 * INTERVAL);
    assert_eq!(bench.memory().intents.len(), 1);
}

#[test]
fn who_hangs_itself_shoots_nobody_for_hanging() {
    let mut bench = bereaved();
    bench.said.resources[0].hung = false;
    stuck(&mut bench, HANG, &orphan());
    bench.said.resources[0].hung = true;
    let since = bench.now - HANG;
    stuck_since(&mut bench, since, 3 * GRACE, &orphan());
    assert_eq!(bench.memory().intents, []);
    bench.view(ReplicaView {
        progress: 1,
        ..orphan()
    });
    bench.live(INTERVAL);
    assert_eq!(
        bench.memory().intents.len(),
        1,
        "its own disk is well again"
    );
}

#[test]
fn a_primary_that_hangs_has_lost_its_advantage_in_a_race() {
    let mut bench = secured();
    stuck(&mut bench, HANG + INTERVAL, &primary());
    // Its process comes to life for a moment, and its standby is gone.
    bench.agent.resources[R0].view = Some(
        ReplicaView {
            oldest: Duration::from_millis(HANG),
            ..frozen()
        }
        .into(),
    );
    bench.pass(DEAD);
    assert!(!bench.acts().contains(&Action::Fence(BETA)), "not at once");
    bench.pass(3 * DELAY);
    assert!(bench.acts().contains(&Action::Fence(BETA)));
}
