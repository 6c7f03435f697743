//! Words from outside about a node: a receipt that comes before the silence is long enough, and a person who vouches for a
//! copy.

use twindisk_core::{Command, ConnectionState, DiskState, RefusalCode, Role};
use twindisk_format::superblock::ReceiptKind;

use super::Run;
use crate::{
    disk::Loss,
    node::slot_of,
    run::Outcome,
    script::{PROMOTE, Script},
    swarm::{MS, SEC, Seed, Swarm},
    trace::Telling,
};

pub(super) const ALL: &[(&str, Run)] = &[
    ("receipt-about-a-node-that-answers", about_who_answers),
    ("receipt-before-the-silence-is-noticed", before_the_silence),
    (
        "receipt-to-a-node-that-stood-still",
        to_a_node_that_stood_still,
    ),
    ("receipt-and-the-node-comes-back", and_it_comes_back),
    ("last-copy-that-a-person-trusts", trusted_by_a_person),
];

/// A peer may be silent for long, and nobody hears of a broken connection early.
fn patient(seed: Seed, telling: Telling) -> Script {
    let mut swarm = Swarm::calm(seed);
    swarm.timings.peer_timeout = core::time::Duration::from_secs(5);
    swarm.timings.request_timeout = core::time::Duration::from_secs(10);
    swarm.net.notice = 2 * SEC;
    Script::new(swarm, telling)
}

/// What a fence device, or a cluster manager, brings.
fn fence(number: usize, about: usize) -> Command {
    Command::Receipt {
        met: None,
        about: slot_of(number, about),
        kind: ReceiptKind::Fence,
        detail: "its off was verified".to_owned(),
    }
}

/// A device that lies: it is found out, and nothing of the connection is touched.
fn about_who_answers(seed: Seed, telling: Telling) -> Outcome {
    let mut script = patient(seed, telling);
    script.serve(20);
    let met = script.status(0).peers[0].met;
    script.must_refuse(0, fence(0, 1), RefusalCode::PeerAnswers);
    script.must_refuse(1, fence(1, 0), RefusalCode::PeerAnswers);
    script.expect_role(0, Role::Primary);
    let now = script.status(0).peers[0].clone();
    script.expect(
        now.connection == ConnectionState::Established && now.met == met,
        "the connection stands",
    );
    // One receipt about a node at a time: the second one is to be brought again.
    script.part();
    script.power_off(1, Loss::All);
    let first = script.world.command(0, fence(0, 1));
    script.must_refuse(0, fence(0, 1), RefusalCode::Busy);
    script.wait("the first one is answered", |world| {
        world.answer(first).is_some()
    });
    script.join();
    script.start(1);
    script.serve(20);
    script.finish()
}

/// Whoever fenced a node knows of its death first: nobody waits for the silence, neither the primary nor the standby.
fn before_the_silence(seed: Seed, telling: Telling) -> Outcome {
    let mut script = patient(seed, telling);
    script.serve(20);
    // Without a word to anybody: the cables are gone first.
    script.part();
    script.power_off(1, Loss::All);
    let before = script.world.now;
    script.fenced(0, 1);
    script.expect(
        script.world.now - before < 400 * MS,
        "nobody waits for the silence",
    );
    script.serve(20);
    script.join();
    script.start(1);
    script.wait_all_equal();

    script.load(20);
    script.part();
    script.power_off(0, Loss::Some);
    script.must_refuse(1, PROMOTE, RefusalCode::PeerIsPrimary);
    let before = script.world.now;
    script.fenced(1, 0);
    script.must(1, PROMOTE);
    script.expect(script.world.now - before < SEC, "and neither does this one");
    script.load_done();
    script.join();
    script.start(0);
    script.finish()
}

/// The node that was told stood still itself while the answer came: that proves nothing about the other one.
fn to_a_node_that_stood_still(seed: Seed, telling: Telling) -> Outcome {
    let mut script = patient(seed, telling);
    script.serve(20);
    for paused in [50, 250, 290, 310, 600] {
        let id = script.world.command(0, fence(0, 1));
        // It has asked: the answer lies in its socket when it goes on.
        script.pass_us(20);
        script.pause(0, paused);
        script.wait("it is answered", |world| world.answer(id).is_some());
        let code = script.world.refusal(id).map(|refusal| refusal.code);
        let story = format!("{paused} ms: it answers, and what is said is {code:?}");
        script.expect(code == Some(RefusalCode::PeerAnswers), &story);
        script.wait_all_equal();
    }
    script.serve(20);
    script.finish()
}

/// A primary that was off is back, on another connection, while the standby still asks about it: it is neither off nor gone.
fn and_it_comes_back(seed: Seed, telling: Telling) -> Outcome {
    let mut script = patient(seed, telling);
    for step in 0..6 {
        script.serve(10);
        let primary = script.primary().unwrap_or(0);
        if primary == 1 {
            script.take_over(0);
            script.wait_all_equal();
        }
        script.part();
        script.power_off(0, Loss::Some);
        let id = script.world.command(1, fence(1, 0));
        script.pass(20 * step);
        script.join();
        script.start(0);
        script.wait("it is answered", |world| world.answer(id).is_some());
        script.somebody_primary();
        script.wait_all_equal();
    }
    script.finish()
}

/// Both lose their power, one comes back. Nobody but a person knows that its copy is the newest, and their word alone is no
/// right: the other one must be off.
fn trusted_by_a_person(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    let trust = || Command::Trust {
        reason: "the other one burnt down".to_owned(),
    };
    script.serve(50);
    script.must(0, trust()); // It is UpToDate: nothing is to be done.
    script.pass(3000);
    script.power_off(0, Loss::Nothing);
    script.power_off(1, Loss::Nothing);
    script.start(1);
    script.pass(200);
    script.fenced(1, 0);
    script.must_refuse(1, PROMOTE, RefusalCode::DiskNotUpToDate);
    script.must(1, trust());
    script.expect(
        script.status(1).disk == DiskState::UpToDate,
        "a person's word counts",
    );
    script.must(1, PROMOTE);
    script.serve(50);
    script.start(0);
    script.wait_all_equal();

    // A copy that is known to be old is nobody's to vouch for.
    script.part();
    script.wait_lost(0, 1);
    script.must(0, Command::Outdate);
    script.must_refuse(0, trust(), RefusalCode::DiskNotUpToDate);
    script.join();
    script.wait_all_equal();

    // And where the other one is there, it is asked instead.
    let compares = |script: &Script| {
        let status = script.status(0);
        status.peers[0].connection == ConnectionState::Negotiating
            && status.disk == DiskState::Consistent
    };
    for _ in 0..8 {
        script.crash(0);
        script.start(0);
        // What it is told may be there with the connection.
        script.step_until(|script| {
            script.status(0).peers[0].connection != ConnectionState::Connecting
        });
        if compares(&script) {
            script.must_refuse(0, trust(), RefusalCode::BadArgument);
            return script.finish();
        }
        script.wait_all_equal();
    }
    script.expect(false, "the two are seen to compare");
    script.finish()
}
