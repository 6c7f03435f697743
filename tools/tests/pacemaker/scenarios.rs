//! What happens to the nodes, and how long nobody could write.

use std::time::{Duration, Instant};

use crate::{
    harness::{
        cluster::{ALPHA, BETA},
        random::number,
    },
    power::Fault,
    site::{Shell, Site, other},
};

/// How often each; without it, once what matters most.
fn rounds() -> Option<u64> {
    number("TWINDISK_PACEMAKER_ROUNDS")
}

/// Nobody waits for longer, on a busy machine. Without receipts the service would be back, too, once the dead node is: that takes a
/// minute.
const MOST: Duration = Duration::from_secs(30);

/// What was done, how long nobody could write, and how often somebody was switched off.
struct Table<'s> {
    site: &'s Site,
    rows: Vec<(String, Duration, usize)>,
}

impl Table<'_> {
    /// Does something, and waits until all is as it should be.
    fn row(&mut self, what: &str, shots: impl Fn(usize) -> bool, act: impl FnOnce(&Site)) {
        let site = self.site;
        site.until_in_sync();
        let (moment, before) = (Instant::now(), site.shots());
        act(site);
        let outage = site.outage_since(moment);
        site.until_in_sync();
        let fired = site.shots() - before;
        println!(
            "{what}: {:.1} s without an acknowledged write, {fired} switched off",
            outage.as_secs_f64()
        );
        assert!(
            shots(fired),
            "{what}: {fired} switched off\n{}",
            site.logs()
        );
        assert!(outage < MOST, "{what}: {outage:?}\n{}", site.logs());
        self.rows.push((what.to_owned(), outage, fired));
    }

    /// For people.
    fn print(mut self) {
        self.rows.sort_by(|one, other| one.0.cmp(&other.0));
        for of in self.rows.chunk_by(|one, other| one.0 == other.0) {
            let seconds = of
                .iter()
                .map(|(_, outage, _)| format!("{:.1}", outage.as_secs_f64()));
            println!(
                "| {} | {} |",
                of[0].0,
                seconds.collect::<Vec<_>>().join(" / ")
            );
        }
    }
}

fn nobody(shots: usize) -> bool {
    shots == 0
}

/// A level with two devices turns a reboot into off and on: one node, once.
fn one(shots: usize) -> bool {
    shots == 1
}

/// The role goes to the other node in good order, and stays there when the first one is back.
fn standby(site: &Site) {
    let primary = site.primary();
    site.on(
        primary,
        &[
            "crm_attribute",
            "--node",
            primary,
            "--name",
            "standby",
            "--update",
            "on",
        ],
    );
    site.until("the other one is primary", || {
        site.is_primary(other(primary))
    });
    site.on(
        primary,
        &[
            "crm_attribute",
            "--node",
            primary,
            "--name",
            "standby",
            "--delete",
        ],
    );
}

fn kill_primary(site: &Site) {
    let primary = site.primary();
    signal(site, primary, "-KILL");
    // It may be the other one now.
    site.until("one is primary again", || {
        !site
            .replica(primary)
            .is_some_and(|replica| replica.is_null())
            && [ALPHA, BETA].into_iter().any(|node| site.is_primary(node))
    });
}

fn signal(site: &Site, node: &str, signal: &str) {
    let plugs = site.power.plugs();
    let machine = plugs.machine(node).expect("it has power");
    assert!(machine.signal("twindisk", signal), "it runs there");
}

/// Pacemaker hears both nodes, which do not hear each other.
fn cut_replication(site: &Site) {
    let primary = site.primary();
    site.power.plugs().namespaces.cut_replication();
    site.until("the primary goes on alone", || {
        site.replica(primary).is_some_and(|replica| {
            replica["suspended"].is_null() && replica["peers"][0]["in-sync"] == false
        })
    });
    let standby = site.replica(other(primary)).expect("it answers");
    assert_eq!(standby["disk"], "Outdated", "{standby}");
    site.power.plugs().namespaces.heal_replication();
}

fn lose_primary(site: &Site) {
    let primary = site.primary();
    site.power.plugs().off(primary);
    site.until("the other one is primary", || {
        site.is_primary(other(primary))
    });
}

#[test]
fn a_pair_beneath_pacemaker() {
    let Some(site) = Site::start("crm", Shell::Crm) else {
        return;
    };
    let mut table = Table {
        site: &site,
        rows: Vec::new(),
    };
    for _ in 0..rounds().unwrap_or(1) {
        table.row("node standby", nobody, standby);
        table.row("SIGKILL of the primary's serve", nobody, kill_primary);
        table.row("replication cut", nobody, cut_replication);
        table.row("power loss of the primary", one, lose_primary);
    }
    table.print();
    site.end();
}

#[test]
fn what_is_rarer() {
    let Some(rounds) = rounds() else {
        println!("NOT TESTED: TWINDISK_PACEMAKER_ROUNDS says how often");
        return;
    };
    let Some(site) = Site::start("pcs", Shell::Pcs) else {
        return;
    };
    let mut table = Table {
        site: &site,
        rows: Vec::new(),
    };
    for _ in 0..rounds {
        table.row("power loss of the standby", one, |site| {
            let primary = site.primary();
            site.power.plugs().off(other(primary));
            site.until("the primary goes on alone", || {
                site.replica(primary).is_some_and(|replica| {
                    replica["suspended"].is_null() && replica["peers"][0]["in-sync"] == false
                })
            });
        });
        table.row("cluster network cut", one, |site| {
            site.power.plugs().namespaces.cut_heartbeats();
            let before = site.shots();
            site.until("one is switched off", || site.shots() > before);
            site.power.plugs().namespaces.heal_heartbeats();
        });
        table.row("all links between the nodes cut", one, |site| {
            site.power.plugs().namespaces.cut();
            let before = site.shots();
            site.until("one is switched off", || site.shots() > before);
            site.power.plugs().namespaces.heal();
        });
        table.row("the same, with a slow power switch", one, |site| {
            site.spoil(Fault::Slow);
            site.power.plugs().namespaces.cut();
            let before = site.shots();
            site.until("one is switched off", || site.shots() > before);
            site.power.plugs().namespaces.heal();
            site.spoil(Fault::None);
        });
        table.row("everything of the primary stands still", one, |site| {
            let primary = site.primary();
            site.power
                .plugs()
                .machine(primary)
                .expect("it has power")
                .freeze();
            site.until("the other one is primary", || {
                site.is_primary(other(primary))
            });
        });
        table.row("SIGKILL of the standby's serve", nobody, |site| {
            signal(site, other(site.primary()), "-KILL");
        });
        table.row("role moved by `crm_resource --move`", nobody, moved);
        table.row("maintenance mode, on and off", nobody, |site| {
            let mode = [
                "crm_attribute",
                "--type",
                "crm_config",
                "--name",
                "maintenance-mode",
            ];
            site.on(ALPHA, &[&mode[..], &["--update", "true"]].concat());
            std::thread::sleep(Duration::from_secs(4));
            site.on(ALPHA, &[&mode[..], &["--delete"]].concat());
        });
        table.row("all stopped by target-role, and started", nobody, |site| {
            let role = ["crm_resource", "--resource", "r0-clone", "--meta"];
            let stop = [
                "--set-parameter",
                "target-role",
                "--parameter-value",
                "Stopped",
            ];
            site.on(ALPHA, &[&role[..], &stop].concat());
            site.until("nothing runs", || {
                [ALPHA, BETA]
                    .iter()
                    .all(|node| site.replica(node).is_none())
            });
            site.on(
                ALPHA,
                &[&role[..], &["--delete-parameter", "target-role"]].concat(),
            );
        });
        for first in [ALPHA, BETA] {
            let what = format!("both lose their power, {first} is back 3 s before the other one");
            table.row(
                &what,
                |_| true,
                |site| {
                    for node in [ALPHA, BETA] {
                        site.power.plugs().off(node);
                    }
                    site.power.plugs().on(first);
                    std::thread::sleep(Duration::from_secs(3));
                    site.power.plugs().on(other(first));
                },
            );
        }
    }
    table.print();
    site.end();
}

/// The role goes to the other node, without anything being stopped.
fn moved(site: &Site) {
    let primary = site.primary();
    let to = other(primary);
    let resource = ["crm_resource", "--resource", "r0-clone", "--promoted"];
    site.on(to, &[&resource[..], &["--move", "--node", to]].concat());
    site.until("the other one is primary", || site.is_primary(to));
    site.on(to, &[&resource[..], &["--clear"]].concat());
}

/// Nobody can be switched off: nothing is promoted before a person says that the dead node is off. Their word is enough.
#[test]
fn a_person_confirms() {
    if rounds().is_none() {
        println!("NOT TESTED: TWINDISK_PACEMAKER_ROUNDS is not set");
        return;
    }
    let Some(site) = Site::start("human", Shell::Crm) else {
        return;
    };
    let primary = site.primary();
    let standby = other(primary);
    site.spoil(Fault::Broken);
    site.power.plugs().off(primary);
    std::thread::sleep(Duration::from_secs(10));
    assert!(!site.is_primary(standby), "without proof\n{}", site.logs());
    let moment = Instant::now();
    site.on(standby, &["stonith_admin", "--confirm", primary]);
    site.until("it is primary", || site.is_primary(standby));
    println!(
        "promoted {:.1} s after a person's word",
        moment.elapsed().as_secs_f64()
    );
    let receipts = site.cluster.events_of(standby, "receipt");
    let last = receipts.last().expect("a receipt");
    assert_eq!(
        last["kind"], "operator",
        "a person's word is no fence: {last}"
    );
    site.spoil(Fault::None);
    site.power.plugs().on(primary);
    site.end();
}

/// It says *off*, and the node lives: nobody believes it, and the service goes on where it was.
#[test]
fn a_power_switch_that_lies() {
    if rounds().is_none() {
        println!("NOT TESTED: TWINDISK_PACEMAKER_ROUNDS is not set");
        return;
    }
    let Some(site) = Site::start("liar", Shell::Crm) else {
        return;
    };
    let primary = site.primary();
    site.spoil(Fault::Liar);
    site.power.plugs().namespaces.cut_heartbeats();
    site.until("somebody was shot, as they say", || site.shots() > 0);
    let moment = Instant::now();
    std::thread::sleep(Duration::from_secs(10));
    assert!(site.is_primary(primary), "{}", site.logs());
    let outage = site.outage_since(moment);
    assert!(
        outage < Duration::from_secs(2),
        "{outage:?}\n{}",
        site.logs()
    );
    site.spoil(Fault::None);
    site.power.plugs().namespaces.heal_heartbeats();
    // Whoever was told to be dead leaves the cluster; a person switches both off and on.
    for node in [BETA, ALPHA] {
        site.power.plugs().off(node);
    }
    for node in [ALPHA, BETA] {
        site.power.plugs().on(node);
    }
    site.end();
}
