//! Who could take over, and everything that keeps a node from it, as the status says it.

use twindisk_arbiter::{Answer, Nonce, Record};

use super::{bench::*, trio};
use crate::{
    Level, Operator, Profile, RecordSummary, Role, Services, Serving, Succession, WhyNot,
    tests::bench::Bench as Pair,
};

const MINUTE: u64 = 60_000;
const LOOK: u64 = 20_000;
const HANG: u64 = as_ms(Profile::Default.hang());

fn found(bench: &Pair) -> Succession {
    let mut resources = bench.agent.status().resources;
    resources.remove(0).succession.expect("its replica answers")
}

fn words(bench: &Pair) -> String {
    found(bench).in_words()
}

/// What is said against beta by its primary, or against this node.
fn codes(bench: &Pair) -> Vec<WhyNot> {
    let found = found(bench);
    let codes: Vec<_> = found.obstacles.iter().map(|one| one.code).collect();
    assert_eq!(found.successors.is_empty(), !codes.is_empty(), "{found:?}");
    codes
}

/// A primary whose standby would take over.
fn matched(mut bench: Pair) -> Pair {
    bench.said.resources[0].ready = true;
    bench.view(primary());
    bench.live(2 * INTERVAL);
    assert_eq!(words(&bench), "beta could take over");
    bench
}

fn follower(mut bench: Pair) -> Pair {
    bench.said.resources[0].role = Role::Primary;
    bench.view(standby());
    bench.live(2 * INTERVAL);
    bench
}

type Bend = fn(&mut Pair);

#[test]
fn a_primary_says_what_keeps_its_standby() {
    let cases: [(&[WhyNot], Bend); 11] = [
        (&[WhyNot::NotConnected], |one| one.view(alone())),
        (&[WhyNot::NotInSync], |one| {
            one.view(ReplicaView {
                peer_in_sync: false,
                ..primary()
            });
        }),
        (&[WhyNot::ServeNotRunning], |one| {
            one.said.resources[0].serving = Serving::No;
        }),
        (&[WhyNot::ServeSilent], |one| {
            one.said.resources[0].serving = Serving::Silent;
        }),
        (&[WhyNot::Hangs], |one| {
            one.said.resources[0].oldest_ms = HANG
        }),
        (&[WhyNot::Services], |one| {
            one.said.resources[0].services = Services::Failed;
        }),
        (&[WhyNot::NotReady], |_| ()),
        (&[WhyNot::NotHeard], |one| one.said.resources.clear()),
        (&[WhyNot::NotConnected, WhyNot::NotHeard], |one| {
            one.view(alone());
            one.said.resources.clear();
        }),
        (&[WhyNot::NotReady, WhyNot::Conflict], |one| {
            one.view(ReplicaView {
                conflict: Some("a fork".into()),
                ..primary()
            });
        }),
        // It says so in its last beats.
        (&[WhyNot::NotReady], |one| one.said.leaving = true),
    ];
    for (wanted, bend) in cases {
        let services = Pair::with(|config| config.resources[R0].has_services = true);
        let mut bench = matched(services);
        bench.said.resources[0].ready = false;
        bend(&mut bench);
        bench.live(2 * INTERVAL);
        assert_eq!(codes(&bench), wanted);
        assert!(words(&bench).starts_with("nobody could take over: "));
    }
}

#[test]
fn and_what_its_silence_means() {
    let mut bench = matched(Pair::new());
    bench.pass(DEAD);
    assert_eq!(words(&bench), "nobody could take over: beta is not heard");
    let mut bench = matched(Pair::new());
    bench.said.leaving = true;
    bench.beat();
    bench.pass(DEAD);
    assert_eq!(codes(&bench), [WhyNot::AgentStopped]);
    let mut bench = matched(Pair::new());
    bench.view(frozen());
    bench.live(INTERVAL);
    assert_eq!(words(&bench), "beta could take over", "it has everything");
    bench.wait_for(&crate::Action::Fence(BETA), 2 * DEAD);
    bench.fenced();
    assert_eq!(codes(&bench), [WhyNot::Off]);
    bench.gone();
    let status = bench.agent.status();
    assert_eq!(status.resources[0].succession, None, "nothing is known");
}

#[test]
fn a_standby_says_what_keeps_itself() {
    let cases: [(WhyNot, Bend); 12] = [
        (WhyNot::NotUpToDate, |one| {
            one.view(ReplicaView {
                up_to_date: false,
                ..standby()
            });
        }),
        (WhyNot::Maintenance, |one| {
            one.ask(Operator::Maintenance(true)).expect("it does");
        }),
        (WhyNot::Blocked, |one| one.agent.memory.blocked = true),
        (WhyNot::BeingStopped, |one| {
            one.ask(Operator::Leave).expect("it does");
        }),
        (WhyNot::BeingStopped, |one| {
            one.ask(Operator::Yield).expect("it does");
        }),
        (WhyNot::Conflict, |one| {
            one.view(ReplicaView {
                conflict: Some("a fork".into()),
                ..standby()
            });
        }),
        (WhyNot::Services, |one| {
            one.agent.resources[R0].services = Services::Failed;
        }),
        (WhyNot::NotReady, |one| {
            one.view(ReplicaView {
                peer_in_sync: false,
                ..standby()
            });
        }),
        (WhyNot::NoFenceDevice, |one| {
            one.agent.handle_by_hand(BETA);
        }),
        (WhyNot::FenceDeviceFailed, |one| {
            let result = Err("no answer".to_owned());
            one.agent.handle_monitor(one.time(), BETA, result);
        }),
        (WhyNot::NotFenced, |one| one.said.leaving = true),
        (WhyNot::Memory, |one| {
            one.stores_at_once = false;
            one.ask(Operator::Clear).expect("it does");
            one.stored(Err("no room"));
        }),
    ];
    for (wanted, bend) in cases {
        let mut bench = follower(Pair::with(|config| {
            config.resources[R0].has_services = true;
        }));
        bench.agent.resources[R0].services = Services::Down;
        assert_eq!(words(&bench), "alpha could take over");
        assert_eq!(found(&bench).primary.as_deref(), Some("beta"));
        bend(&mut bench);
        bench.beat();
        assert_eq!(codes(&bench), [wanted]);
        assert!(words(&bench).starts_with("nobody could take over: "));
    }
}

#[test]
fn a_device_that_works_again_is_in_nobody_s_way() {
    let mut bench = follower(Pair::new());
    let result = Err("no answer".to_owned());
    bench.agent.handle_monitor(bench.time(), BETA, result);
    assert_eq!(
        words(&bench),
        "nobody could take over: the fence device of beta does not work: no answer"
    );
    bench.monitored(100);
    assert_eq!(words(&bench), "alpha could take over");
    let mut bench = follower(Pair::with(|config| {
        config.peers[BETA].can_fence = false;
    }));
    assert_eq!(
        words(&bench),
        "nobody could take over: there is no fence device for beta"
    );
    // It has said goodbye, and needs not be off.
    bench.view(entitled());
    assert!(words(&bench).starts_with("alpha could take over"));
}

#[test]
fn a_shot_that_fails_and_a_disk_that_hangs_stand_in_the_way() {
    let mut bench = follower(Pair::new());
    bench.view(orphan());
    bench.wait_for(&crate::Action::Fence(BETA), DEAD + 2 * DELAY);
    bench.misfired();
    assert!(codes(&bench).contains(&WhyNot::FenceDeviceFailed));
    let mut bench = follower(Pair::new());
    let since = bench.now;
    while bench.now < since + HANG + INTERVAL {
        bench.view(ReplicaView {
            oldest: Duration::from_millis(bench.now - since),
            ..standby()
        });
        bench.live(INTERVAL);
    }
    assert_eq!(codes(&bench), [WhyNot::Hangs]);
}

fn record(nodes: &[u8]) -> Answer {
    Answer::Held(Some(Record::first(Nonce(7), 5, nodes.to_vec(), 1)))
}

#[test]
fn an_arbiter_that_grants_nothing_leaves_nobody() {
    let refused = || Answer::Refused {
        why: "an older state".into(),
        record: None,
    };
    let cases = [
        (Ok(record(&[1, 2])), None),
        (Ok(record(&[])), Some(WhyNot::NotNamed)),
        (Ok(Answer::Held(None)), Some(WhyNot::NoRecord)),
        (Ok(refused()), Some(WhyNot::ArbiterRefuses)),
        (Err("no route".to_owned()), Some(WhyNot::ArbiterSilent)),
    ];
    for (answer, wanted) in cases {
        for role in [Role::Primary, Role::Standby] {
            let mut bench = Pair::with(|config| {
                config.resources[R0].arbiter = true;
                // Nobody is fenced.
                config.peers[BETA].can_fence = false;
            });
            let said = &mut bench.said.resources[0];
            (said.witness, said.ready) = (true, role == Role::Primary);
            if role == Role::Standby {
                said.role = Role::Primary;
            }
            bench.beat();
            bench.view(match role {
                Role::Primary => primary(),
                Role::Standby => standby(),
            });
            let unheard = codes(&bench);
            assert_eq!(unheard, [WhyNot::ArbiterSilent], "not asked yet");
            let answer = answer.clone().map(|answer| (answer, Vec::new()));
            bench.agent.handle_arbiter(bench.time(), R0, answer);
            assert_eq!(codes(&bench), Vec::from_iter(wanted), "{role:?}");
            let summary = bench.agent.status().resources.remove(0);
            let keeper = summary.keeper.expect("it has one");
            let answers = !matches!(wanted, Some(WhyNot::ArbiterSilent | WhyNot::ArbiterRefuses));
            assert_eq!(keeper.answers, answers);
            if wanted.is_none() {
                let said = summary.arbiter.expect("it has one");
                assert_eq!(
                    said,
                    "alpha or beta could go on alone, by the witness's record 1.1 of term 5"
                );
                assert_eq!(
                    keeper.record,
                    Some(RecordSummary {
                        epoch: 1,
                        seq: 1,
                        term: 5,
                        names: vec!["alpha".into(), "beta".into()],
                    })
                );
            } else {
                assert!(words(&bench).starts_with("nobody could take over: the witness"));
            }
        }
    }
}

#[test]
fn three_name_those_who_could_in_their_order() {
    let words = |bench: &trio::Bench| {
        let found = bench.agent.status().resources.remove(0).succession;
        found.expect("its replica answers").in_words()
    };
    let mut bench = trio::Bench::primary();
    assert_eq!(words(&bench), "beta could take over, then gamma");
    bench.said[trio::HIGH] = None;
    bench.pass(DEAD);
    assert_eq!(words(&bench), "beta could take over; gamma is not heard");
    for node in [2, 3] {
        let mut bench = trio::Bench::standby(node);
        assert_eq!(words(&bench), "beta could take over, then gamma");
        // What it could not do itself keeps the other one from nothing, as far as this node knows.
        bench.agent.handle_by_hand(trio::peer(trio::LOW));
        let (me, other) = [("beta", "gamma"), ("gamma", "beta")][usize::from(node) - 2];
        let said = words(&bench);
        assert!(
            said.starts_with(&format!("{other} could take over; no fence")),
            "{me}: {said}"
        );
    }
}

#[test]
fn what_keeps_everybody_for_a_minute_is_told_once_and_when_it_is_over() {
    let mut bench = matched(Pair::new());
    bench.view(alone());
    bench.live(MINUTE - INTERVAL);
    assert!(!bench.was_told(Level::Warning, "nobody could take over"));
    bench.live(LOOK + INTERVAL);
    assert!(bench.was_told(
        Level::Warning,
        "nobody could take over: beta is not connected"
    ));
    bench.live(2 * MINUTE);
    assert!(
        !bench.was_told(Level::Warning, "nobody could take over"),
        "once"
    );
    bench.view(primary());
    bench.live(LOOK);
    assert!(bench.was_told(Level::Info, "beta could take over"));
    // A person is at work, and knows.
    bench.ask(Operator::Maintenance(true)).expect("it does");
    bench.view(alone());
    bench.live(2 * MINUTE);
    assert!(!bench.was_told(Level::Warning, "nobody could take over"));
    // And what has an alarm of its own is not told twice.
    let mut bench = matched(Pair::new());
    bench.view(ReplicaView {
        conflict: Some("a fork".into()),
        ..primary()
    });
    bench.live(2 * MINUTE);
    assert!(!bench.was_told(Level::Warning, "nobody could take over"));
}
