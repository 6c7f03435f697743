//! What an acknowledgement means, line by line, as the README says it.
//!
//! Loss of power is real as far as processes can make it: the nodes' disks have a volatile cache, and it is lost.

mod harness;

use std::{
    sync::{Mutex, atomic::Ordering, mpsc},
    thread,
    time::Duration,
};

use harness::{
    PATIENCE,
    book::{BLOCK, Book, Loss},
    cluster::{ALPHA, BETA, Cluster},
    eventually,
    load::{self, Ended, Gauge, Plan},
    programs::{have, have_loop_and_fuse},
    random::seed,
    unpowered::{Disk, PROGRAMS},
};
use twindisk_nbd::client::Fua;

const SIZE: u64 = 64 << 20;

/// How both nodes read and write their backing devices.
const MODES: [&str; 2] = ["direct", "cached"];

/// A pair on disks that lose what was not flushed when their power is cut.
struct Rig {
    // Dropped in this order: the nodes first.
    cluster: Cluster,
    disks: [Disk; 2],
    _dir: tempfile::TempDir,
}

impl Rig {
    fn start(resource: &str, io: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("twindisk-disks-")
            .tempdir()
            .expect("a scratch directory");
        // Beside the device there is room for the metadata: it lies on the same disk and shares its fate.
        let seed = seed("TWINDISK_POWER_SEED");
        let disks = [ALPHA, BETA].map(|node| {
            let seed = seed + u64::from(node == BETA);
            Disk::new(&dir.path().join(node), SIZE + (32 << 20), seed)
        });
        let mut cluster = Cluster::on(&[ALPHA, BETA], resource, |node| {
            let disk = &disks[usize::from(node == BETA)];
            let backing = disk.link();
            format!("backing = {backing:?}, metadata = \"internal\", io = \"{io}\"")
        });
        cluster.first_start(&["--size", &SIZE.to_string()]);
        Self {
            cluster,
            disks,
            _dir: dir,
        }
    }

    fn lose_power(&mut self, nodes: &[&str]) {
        for node in nodes {
            self.cluster.kill(node);
        }
        for node in nodes {
            self.disks[usize::from(*node == BETA)].power_off();
        }
    }

    fn power_on(&mut self, node: &str) {
        self.disks[usize::from(node == BETA)].power_on();
        self.cluster.serve(node);
    }
}

fn have_unpowered() -> bool {
    have(PROGRAMS) && have_loop_and_fuse()
}

/// Runs two clients on a node until something has happened to it. How they ended.
fn under_load(
    cluster: &mut Cluster,
    node: &str,
    book: &Mutex<Book>,
    plan: &Plan,
    happens: impl FnOnce(&mut Cluster),
) -> [Ended; 2] {
    let uri = cluster.uri(node);
    let gauge = Gauge::default();
    thread::scope(|scope| {
        let clients = [1, 2].map(|number| {
            let plan = Plan {
                seed: plan.seed + number,
                ..plan.clone()
            };
            let (uri, gauge) = (&uri, &gauge);
            scope.spawn(move || load::run(uri, &plan, book, gauge))
        });
        eventually("clients are busy", String::new, || {
            let changes = gauge.changes.load(Ordering::Relaxed);
            let flushes = gauge.flushes.load(Ordering::Relaxed);
            let dead = clients.iter().any(thread::ScopedJoinHandle::is_finished);
            (dead || changes > 400 && (flushes > 3 || plan.flushes == 0)).then_some(())
        });
        happens(cluster);
        gauge.stop.store(true, Ordering::Relaxed);
        clients.map(|client| client.join().expect("a client panicked"))
    })
}

fn plan(name: &str) -> Plan {
    Plan::over(SIZE, seed(name))
}

/// Nothing was ever flushed: what is there is there because it was acknowledged.
fn without_flushes(name: &str) -> Plan {
    Plan {
        flushes: 0,
        ..plan(name)
    }
}

#[test]
fn the_death_of_either_process_loses_no_acknowledged_write() {
    for io in MODES {
        let mut cluster = Cluster::pair_with("64MiB", "flush-interval = \"10min\"\n", |_| {
            format!("io = \"{io}\"")
        });
        let book = Mutex::default();
        let plan = without_flushes("TWINDISK_CONTRACT_SEED");
        // Both at once, so that nobody else has it either.
        let ended = under_load(&mut cluster, ALPHA, &book, &plan, |cluster| {
            cluster.kill(ALPHA);
            cluster.kill(BETA);
        });
        assert!(ended.iter().all(|ended| *ended != Ended::Told), "{ended:?}");
        cluster.serve(ALPHA);
        cluster.serve(BETA);
        promote_when_possible(&cluster, ALPHA);
        load::check(&cluster.uri(ALPHA), &book, Loss::Nothing);
        // And it is on both.
        cluster.until_in_sync(ALPHA);
        cluster.ok(ALPHA, &["switchover"]);
        cluster.until(BETA, "primary", |replica| replica["export-open"] == true);
        load::check(&cluster.uri(BETA), &book, Loss::Nothing);
    }
}

#[test]
fn a_primary_that_loses_its_power_loses_no_acknowledged_write_while_its_peer_lives() {
    if !have_unpowered() {
        return;
    }
    for io in MODES {
        let mut rig = Rig::start("flush-interval = \"10min\"\n", io);
        let book = Mutex::default();
        let plan = without_flushes("TWINDISK_CONTRACT_SEED");
        under_load(&mut rig.cluster, ALPHA, &book, &plan, |cluster| {
            cluster.kill(ALPHA);
        });
        rig.disks[0].power_off();
        rig.cluster.fail_over(ALPHA, BETA);
        load::check(&rig.cluster.uri(BETA), &book, Loss::Nothing);

        // Its disk has forgotten what no flush had carried there. It comes back, and all of it is brought to it again.
        rig.power_on(ALPHA);
        rig.cluster.until_in_sync(BETA);
        rig.cluster.ok(BETA, &["verify", "--wait"]);
        rig.cluster.ok(BETA, &["switchover"]);
        rig.cluster
            .until(ALPHA, "primary", |replica| replica["export-open"] == true);
        load::check(&rig.cluster.uri(ALPHA), &book, Loss::Nothing);
    }
}

#[test]
fn a_standby_that_loses_its_power_is_repaired_before_it_counts_again() {
    if !have_unpowered() {
        return;
    }
    for io in MODES {
        let mut rig = Rig::start("flush-interval = \"10min\"\n", io);
        let book = Mutex::default();
        let plan = without_flushes("TWINDISK_CONTRACT_SEED");
        let ended = under_load(&mut rig.cluster, ALPHA, &book, &plan, |_| {});
        assert_eq!(ended, [Ended::Told, Ended::Told]);
        rig.lose_power(&[BETA]);
        rig.power_on(BETA);
        rig.cluster.until_in_sync(ALPHA);
        // Now beta alone is left.
        rig.lose_power(&[ALPHA]);
        rig.cluster.fail_over(ALPHA, BETA);
        load::check(&rig.cluster.uri(BETA), &book, Loss::Nothing);
    }
}

#[test]
fn when_both_lose_their_power_what_was_flushed_is_there() {
    if !have_unpowered() {
        return;
    }
    for io in MODES {
        let mut rig = Rig::start("", io);
        let book = Mutex::default();
        let plan = plan("TWINDISK_CONTRACT_SEED");
        under_load(&mut rig.cluster, ALPHA, &book, &plan, |cluster| {
            cluster.kill(ALPHA);
            cluster.kill(BETA);
        });
        for disk in &mut rig.disks {
            disk.power_off();
        }
        rig.power_on(ALPHA);
        rig.power_on(BETA);
        promote_when_possible(&rig.cluster, BETA);
        load::check(&rig.cluster.uri(BETA), &book, Loss::Unflushed);
        rig.cluster.until_in_sync(BETA);
        rig.cluster.ok(BETA, &["verify", "--wait"]);
        println!(
            "{} flushes kept",
            book.lock().expect("no client panicked").flushes()
        );
    }
}

/// One node never comes back; the other lost its power too. What was flushed was stable on **each** of them.
#[test]
fn a_flush_is_stable_on_the_standby_alone_with_protocol_c_and_b() {
    if !have_unpowered() {
        return;
    }
    for (protocol, io) in [("C", "direct"), ("B", "direct"), ("C", "cached")] {
        let mut rig = Rig::start(
            &format!("protocol = \"{protocol}\"\nflush-interval = \"10min\"\n"),
            io,
        );
        let block = |byte: u8| vec![byte; BLOCK];
        let mut one = rig.cluster.client(ALPHA);
        let mut two = rig.cluster.client(ALPHA);
        // A flush on one connection covers what was acknowledged on the other.
        one.write(0, &block(1), Fua::No).expect("a write");
        one.write(8 << 20, &block(2), Fua::No).expect("a write");
        two.flush().expect("a flush");
        one.write(16 << 20, &block(3), Fua::Yes).expect("a write");
        two.trim(8 << 20, 4096, Fua::Yes).expect("a trim");
        drop((one, two));
        rig.lose_power(&[ALPHA, BETA]);
        rig.power_on(BETA);
        // After a boot nobody can know whether alpha went on alone (R5): a person vouches.
        rig.cluster.refused(BETA, &["promote"]);
        let word = [
            "promote",
            "--force",
            "--reason",
            "alpha burnt down",
            "--confirm",
            "r0",
        ];
        rig.cluster.ok(BETA, &word);
        let mut client = rig.cluster.client(BETA);
        let mut read = |offset: u64| {
            let mut data = block(0);
            client.read(offset, &mut data).expect("a read");
            data
        };
        assert!(read(0) == block(1), "protocol {protocol}: a flushed write");
        assert!(
            read(16 << 20) == block(3),
            "protocol {protocol}: a FUA write"
        );
        let trimmed = read(8 << 20);
        assert!(
            trimmed == block(2) || trimmed == block(0),
            "protocol {protocol}: a trimmed block"
        );
    }
}

/// With C and B a write is not acknowledged before the standby has it; with A it is.
#[test]
fn a_write_waits_for_the_standby() {
    for protocol in ["C", "B", "A"] {
        let cluster = Cluster::pair("64MiB", &format!("protocol = \"{protocol}\"\n"));
        let mut client = cluster.client(ALPHA);
        client.write(0, &[1; BLOCK], Fua::No).expect("a write");
        cluster.pause(BETA);
        let (said, hears) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                let done = client.write(0, &[2; BLOCK], Fua::No);
                said.send(done).expect("the test waits");
            });
            if protocol == "A" {
                let done = hears.recv_timeout(PATIENCE).expect("an answer");
                done.expect("it is on its way");
                cluster.resume(BETA);
                return;
            }
            let early = hears.recv_timeout(Duration::from_millis(500));
            cluster.resume(BETA);
            assert!(early.is_err(), "protocol {protocol}: it was acknowledged");
            let done = hears.recv_timeout(PATIENCE).expect("an answer");
            done.expect("it is there now");
        });
    }
}

/// Also when the standby's disk takes its time: nothing is said before it is true.
#[test]
fn a_flush_waits_until_it_is_stable_on_the_standby() {
    if !have_unpowered() {
        return;
    }
    for (protocol, io) in [("C", "direct"), ("B", "direct"), ("C", "cached")] {
        let rig = Rig::start(
            &format!("protocol = \"{protocol}\"\nflush-interval = \"10min\"\n"),
            io,
        );
        let beta = rig.disks[1].powered();
        for fua in [Fua::No, Fua::Yes] {
            let mut client = rig.cluster.client(ALPHA);
            client.write(0, &[1; BLOCK], Fua::No).expect("a write");
            beta.hold_flushes();
            let (said, hears) = mpsc::channel();
            thread::scope(|scope| {
                scope.spawn(move || {
                    let done = match fua {
                        Fua::No => client.flush(),
                        Fua::Yes => client.write(0, &[2; BLOCK], fua),
                    };
                    said.send(done).expect("the test waits");
                });
                let early = hears.recv_timeout(Duration::from_millis(500));
                beta.let_flushes_go();
                assert!(early.is_err(), "protocol {protocol}: it was acknowledged");
                let done = hears.recv_timeout(PATIENCE).expect("an answer");
                done.expect("it is stable now");
            });
        }
    }
}

#[test]
fn a_living_client_fails_over_and_misses_nothing() {
    let mut cluster = Cluster::pair("64MiB", "");
    let book = Mutex::default();
    let plan = plan("TWINDISK_CONTRACT_SEED");
    let (mut primary, mut standby) = (ALPHA, BETA);
    let mut again = 0;
    // There, back, and there again: the same client with the same book.
    for turn in 0..3 {
        let plan = Plan {
            seed: plan.seed + 10 * turn,
            ..plan.clone()
        };
        under_load(&mut cluster, primary, &book, &plan, |cluster| {
            cluster.kill(primary);
        });
        cluster.fail_over(primary, standby);
        // It sends what had no answer once more, and goes on.
        again += load::send_again(&cluster.uri(standby), &book);
        let ended = under_load(&mut cluster, standby, &book, &plan, |_| {});
        assert_eq!(ended, [Ended::Told, Ended::Told]);
        load::check(&cluster.uri(standby), &book, Loss::Nothing);
        cluster.serve(primary);
        cluster.until_in_sync(standby);
        std::mem::swap(&mut primary, &mut standby);
    }
    println!("{again} blocks were sent again");
}

/// The scenario that a mirror without memory fails: its second leg dies, misses a write, comes back and is written to
/// again. It holds {old, D} then, which the device never held, and a fail-over to it is silent corruption.
#[test]
fn a_stale_leg_never_joins_silently() {
    let mut cluster = Cluster::pair("64MiB", "");
    let mut client = cluster.client(ALPHA);
    let block = |byte: u8| vec![byte; BLOCK];
    let (c, d) = (0, 32 << 20);
    client.write(c, &block(b'o'), Fua::No).expect("a write");
    client.write(d, &block(b'o'), Fua::Yes).expect("a write");

    cluster.kill(BETA);
    cluster.until_suspended(ALPHA);
    cluster.say_fenced(BETA, ALPHA);
    client
        .write(c, &block(b'C'), Fua::Yes)
        .expect("a write on one leg");

    // It comes back, and for now the primary does not let it in.
    cluster.ok(ALPHA, &["disconnect"]);
    cluster.serve(BETA);
    let beta = cluster.until(BETA, "it is up", |replica| replica["role"] == "standby");
    assert_ne!(beta["disk"], "UpToDate", "nobody told it that: {beta}");
    let why = cluster.refused(BETA, &["promote"]);
    println!("promoting the stale leg: {}", why.trim());
    // A proof that alpha is off would not help: alpha had gone on alone.
    client
        .write(d, &block(b'D'), Fua::Yes)
        .expect("a write on one leg");
    let alpha = cluster.replica(ALPHA);
    assert_eq!(alpha["in-sync"], serde_json::json!([1]), "{alpha}");
    assert_eq!(alpha["peers"][0]["in-sync"], false, "{alpha}");

    // Let in, it is a target until it has what it missed; then it holds {C, D}.
    cluster.ok(ALPHA, &["connect"]);
    cluster.until_in_sync(ALPHA);
    let resyncs = cluster.events_of(ALPHA, "resync-ended");
    let last = resyncs.last().expect("a resync");
    assert!(
        last["sent-blocks"].as_u64().expect("a number") >= 2,
        "{last}"
    );
    cluster.compare_images();
    client.disconnect().expect("saying goodbye");
    cluster.kill(ALPHA);
    cluster.fail_over(ALPHA, BETA);
    let mut client = cluster.client(BETA);
    let mut data = block(0);
    for (offset, byte) in [(c, b'C'), (d, b'D')] {
        client.read(offset, &mut data).expect("a read");
        assert!(data == block(byte), "{}", char::from(byte));
    }
}

/// Also when it is started while its old primary is off: silence is no proof, and a receipt about alpha neither.
#[test]
fn a_stale_leg_is_not_promoted_when_it_boots_alone() {
    let mut cluster = Cluster::pair("64MiB", "");
    let mut client = cluster.client(ALPHA);
    client.write(0, &[b'o'; BLOCK], Fua::Yes).expect("a write");
    cluster.kill(BETA);
    cluster.until_suspended(ALPHA);
    cluster.say_fenced(BETA, ALPHA);
    client
        .write(0, &[b'C'; BLOCK], Fua::Yes)
        .expect("a write on one leg");
    drop(client);
    cluster.kill(ALPHA);

    cluster.serve(BETA);
    cluster.refused(BETA, &["promote"]);
    let reason = "the test killed its process and waited for its end";
    cluster.run(
        BETA,
        &["receipt", "--fenced", "--about", ALPHA, "--reason", reason],
    );
    let why = cluster.refused(BETA, &["promote"]);
    println!("with alpha fenced: {}", why.trim());
    // alpha knows that it alone held the newest data: it may, without anybody's word.
    cluster.serve(ALPHA);
    promote_when_possible(&cluster, ALPHA);
    cluster.until_in_sync(ALPHA);
    let mut data = [0; BLOCK];
    cluster.client(ALPHA).read(0, &mut data).expect("a read");
    assert!(data == [b'C'; BLOCK]);
    cluster.ok(ALPHA, &["demote"]);
    cluster.compare_images();
}

fn promote_when_possible(cluster: &Cluster, node: &str) {
    cluster.until(node, "promotable", |replica| {
        replica["promote-needs"]
            .as_array()
            .is_some_and(Vec::is_empty)
    });
    cluster.ok(node, &["promote"]);
}
