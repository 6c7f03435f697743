//! Any events in any order: the rules hold after each.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    bench::*,
    rules::{Driver, Event, Said},
};
use crate::{Led, Operator, Role, Services, Serving};

fn a_view() -> impl Strategy<Value = ReplicaView> {
    let usual = || {
        select(vec![
            primary(),
            frozen(),
            alone(),
            standby(),
            orphan(),
            entitled(),
            outdated(),
        ])
    };
    let flags = any::<[bool; 6]>();
    let still = (0..2_u64, prop_oneof![1 => Just(0_u64), 2 => 0..120_000_u64]);
    let still = (usual(), still).prop_map(|(view, (progress, oldest_ms))| ReplicaView {
        progress,
        oldest: Duration::from_millis(oldest_ms),
        ..view
    });
    let led = (1..3_u8, 4..7_u64).prop_map(|(node, term)| Some(Led { node, term }));
    let odd = (usual(), flags, 0..3_u64, 4..7_u64, led);
    let odd = odd.prop_map(|(view, flags, run, term, led)| {
        let peer = if flags[5] {
            Role::Primary
        } else {
            Role::Standby
        };
        ReplicaView {
            run,
            term,
            up_to_date: flags[0],
            can_promote: flags[1],
            open: flags[2],
            suspended: flags[3],
            peer_in_sync: flags[4],
            peer_role: view.linked.then_some(peer),
            led,
            ..view
        }
    });
    let met = prop_oneof![8 => Just(70_u64), 1 => 71..74_u64];
    (prop_oneof![6 => usual(), 2 => still, 1 => odd], met)
        .prop_map(|(view, met)| ReplicaView { met, ..view })
}

fn a_beat() -> impl Strategy<Value = Said> {
    let role = select(vec![Role::Primary, Role::Standby]);
    let serving = select(vec![Serving::Yes, Serving::Silent, Serving::No]);
    let run = prop_oneof![6 => Just(0), 1 => 1..4_u64];
    let hears = prop_oneof![4 => Just(3), 1 => Just(0)];
    let ask = prop_oneof![3 => Just(0), 1 => 1..4_u64];
    let leaving = prop_oneof![12 => Just(false), 1 => Just(true)];
    let hung = prop_oneof![3 => Just(false), 1 => Just(true)];
    let services = select(vec![Services::Down, Services::Down, Services::Up]);
    let services = (services, 4..7_u64);
    let odd = (any::<bool>(), leaving, any::<bool>(), hung, services);
    let parts = (run, hears, any::<bool>(), role, serving, ask, 4..7_u64, odd);
    parts.prop_map(|(run, hears, answers, role, serving, ask, term, odd)| {
        let (can_promote, leaving, ready, hung, services) = odd;
        let mut about = said("");
        about.role = role;
        (about.services, about.services_term) = services;
        about.serving = serving;
        about.ask = Question::from(ask);
        about.term = term;
        about.can_promote = can_promote;
        (about.ready, about.hung) = (ready, hung);
        Said {
            run,
            hears,
            answers,
            leaving,
            about,
        }
    })
}

/// The peer's primary hangs, or something else is said for a while.
fn a_speech() -> impl Strategy<Value = Event> {
    let hung = a_beat().prop_map(|mut said| {
        (said.about.hung, said.about.role) = (true, Role::Primary);
        (said.about.serving, said.leaving) = (Serving::Yes, false);
        said
    });
    let said = prop_oneof![3 => hung, 1 => a_beat()];
    (said, 1..3 * GRACE).prop_map(|(said, ms)| Event::Says(said, ms))
}

fn an_event() -> impl Strategy<Value = Event> {
    let wishes = select(vec![
        Operator::Maintenance(true),
        Operator::Maintenance(false),
        Operator::Maintenance(false),
        Operator::Clear,
        Operator::Confirm(BETA),
        Operator::Yield,
        switchover(R0),
        switchover(R1),
    ]);
    let worked = || prop_oneof![4 => Just(true), 1 => Just(false)];
    prop_oneof![
        20 => (1..8_000_u64).prop_map(Event::Pass),
        1 => (20_000..50_000_u64).prop_map(Event::Pass),
        2 => (1..20_000_u64).prop_map(Event::Stall),
        12 => (0..2_usize, a_beat()).prop_map(|(path, said)| Event::Beat(path, said)),
        3 => a_speech(),
        24 => (0..2_usize, a_view()).prop_map(|(at, view)| Event::View(at, Some(view))),
        3 => (0..2_usize).prop_map(|at| Event::View(at, None)),
        16 => worked().prop_map(Event::Stored),
        10 => worked().prop_map(Event::Fenced),
        2 => any::<Option<bool>>().prop_map(Event::Power),
        2 => any::<bool>().prop_map(Event::Ping),
        1 => any::<u64>().prop_map(Event::Monitored),
        1 => (0..5_000_u64).prop_map(Event::Monitored),
        12 => (0..2_usize, worked()).prop_map(|(at, worked)| Event::Ordered(at, worked)),
        8 => worked().prop_map(|worked| Event::Served(0, worked)),
        3 => Just(Event::Ended(0)),
        4 => wishes.prop_map(Event::Wish),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_rules_hold(events in vec(an_event(), 1..80), leaves in 0..400_usize) {
        let mut driver = Driver::new();
        for (at, event) in events.into_iter().enumerate() {
            if at == leaves {
                driver.on(Event::Wish(Operator::Leave));
            }
            driver.on(event);
        }
    }
}
