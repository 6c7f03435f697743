//! What a replica says of where the time of requests goes: the slow part is named, and nothing else.

use core::time::Duration;

use twindisk_core::{Histogram, Latency, PeerLatency, Protocol, Stages};

use super::Run;
use crate::{
    run::Outcome,
    script::Script,
    swarm::{MS, Seed, Swarm, US},
    trace::Telling,
};

pub(super) const ALL: &[(&str, Run)] = &[
    ("latency-of-a-slow-network", slow_network),
    ("latency-of-a-slow-disk", slow_disk),
    ("latency-of-a-slow-standby", slow_standby),
    ("latency-of-what-a-standby-received", received),
    ("latency-of-a-suspension", suspension),
];

/// The network takes long: for the primary it is the peer, and the standby had the write for a short time only.
fn slow_network(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = writes_one_by_one(seed);
    swarm.net.delay = 10 * MS;
    swarm.timings.ping_interval = ms(300);
    swarm.timings.peer_timeout = Duration::from_secs(4);
    swarm.timings.request_timeout = Duration::from_secs(20);
    let mut script = Script::new(swarm, telling);
    script.serve(20);
    let (write, peer) = of_primary(&script);
    let apply = script.status(1).latency.apply;
    expect(&mut script, "the peer", is_slow(&peer.write));
    expect(&mut script, "all of it", is_slow(&write.total));
    expect(&mut script, "the disk", is_quick(&write.disk));
    expect(&mut script, "nothing else", is_quick(&write.wait));
    expect(
        &mut script,
        "the standby as a whole",
        is_quick(&apply.total),
    );
    script.finish()
}

/// The primary's own disk takes long.
fn slow_disk(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(writes_one_by_one(seed), telling);
    slow_down(&mut script, 0);
    script.serve(20);
    let (write, peer) = of_primary(&script);
    expect(&mut script, "the disk", is_slow(&write.disk));
    expect(&mut script, "all of it", is_slow(&write.total));
    expect(&mut script, "the peer", is_quick(&peer.write));
    expect(&mut script, "nothing else", is_quick(&write.wait));
    script.finish()
}

/// The standby's disk takes long: that is the peer too, and the standby says why.
fn slow_standby(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(writes_one_by_one(seed), telling);
    slow_down(&mut script, 1);
    script.serve(20);
    let (write, peer) = of_primary(&script);
    let apply = script.status(1).latency.apply;
    expect(&mut script, "the peer", is_slow(&peer.write));
    expect(&mut script, "the disk", is_quick(&write.disk));
    expect(&mut script, "the standby's disk", is_slow(&apply.disk));
    expect(&mut script, "the standby's waits", is_quick(&apply.wait));
    script.finish()
}

/// With protocol B the answer that counts comes before the standby's disk is done.
fn received(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = writes_one_by_one(seed);
    swarm.protocol = Protocol::B;
    let mut script = Script::new(swarm, telling);
    slow_down(&mut script, 1);
    script.serve(20);
    script.pass(1000);
    let (write, peer) = of_primary(&script);
    let apply = script.status(1).latency.apply;
    expect(&mut script, "the peer", is_quick(&peer.write));
    expect(&mut script, "all of it", is_quick(&write.total));
    expect(&mut script, "the standby's disk", is_slow(&apply.disk));
    script.finish()
}

/// I/O is suspended: that is waiting, for writes and flushes, and no fault of disk or peer.
fn suspension(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = writes_one_by_one(seed);
    // Several at once, of both kinds.
    swarm.load.flushes = 500;
    (swarm.load.depth, swarm.load.burst) = (8, 8);
    let mut script = Script::new(swarm, telling);
    // Nothing is so fresh that it would have to be resynced.
    script.pass(2500);
    script.part();
    script.wait_suspended(0);
    script.load(12);
    script.pass(500);
    script.join();
    script.load_done();
    let Latency { write, flush, .. } = script.status(0).latency;
    let (_, peer) = of_primary(&script);
    for (what, latency) in [
        ("writes' waiting", &write.wait),
        ("flushes' waiting", &flush.wait),
        ("all of writes", &write.total),
        ("all of flushes", &flush.total),
    ] {
        expect(&mut script, what, slowest(latency) > Some(ms(500)));
    }
    for other in [&write.disk, &flush.disk, &peer.write, &peer.flush] {
        let quick = slowest(other).is_some_and(|slowest| slowest < ms(260));
        expect(&mut script, "disk and peer", quick);
    }
    script.finish()
}

/// One client writes, one block after the other, so that nothing waits for anything else of it.
fn writes_one_by_one(seed: Seed) -> Swarm {
    let mut swarm = Swarm::calm(seed);
    (swarm.disk.io, swarm.disk.flush) = (100 * US, 100 * US);
    swarm.net.delay = 100 * US;
    (swarm.load.clients, swarm.load.depth, swarm.load.burst) = (1, 1, 1);
    (swarm.load.reads, swarm.load.flushes, swarm.load.fua) = (0, 0, 0);
    swarm.load.unaligned = 0;
    swarm
}

/// Everything takes 500 times as long on a node's disk.
fn slow_down(script: &mut Script, number: usize) {
    let trouble = &mut script.world.nodes[number].trouble;
    (trouble.slow_until, trouble.slowness) = (u64::MAX, 500);
}

/// Its clients' writes, and the answers of its peer.
fn of_primary(script: &Script) -> (Stages, PeerLatency) {
    let mut status = script.status(0);
    (status.latency.write, status.peers.remove(0).latency)
}

/// Most of them took far longer than what is quick here.
fn is_slow(histogram: &Histogram) -> bool {
    histogram.quantile(0.25) > Some(ms(8))
}

fn is_quick(histogram: &Histogram) -> bool {
    let median = histogram.quantile(0.5);
    median.is_some_and(|median| median < ms(4))
}

fn slowest(histogram: &Histogram) -> Option<Duration> {
    histogram.quantile(1.0)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn expect(script: &mut Script, what: &str, so: bool) {
    let latency = script.status(0).latency;
    let story = format!("{what}: the latencies show where time went, and they are {latency:?}");
    script.expect(so, &story);
}
