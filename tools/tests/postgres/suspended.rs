//! A primary that is suspended, since nobody can say what became of its standby (R10): its database waits with it.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    harness::{
        LOOK,
        cluster::{ALPHA, BETA},
        switch::Fault,
    },
    services::{self, ANSWER},
    site::Site,
};

/// A server that has been silent for so long would have ended.
const LONG: Duration = ANSWER.saturating_mul(4);

#[test]
fn a_database_that_waits_for_a_suspended_device_is_left_alone() {
    let Some(mut site) = Site::serving("suspended", "", services::impatient) else {
        return;
    };
    let run = services::run(site.arena.cluster.dir.path());
    let lock = site.host(ALPHA).path(&run.join("srv/data/postmaster.pid"));
    let postmaster = || -> i32 {
        let text = fs::read_to_string(&lock).expect("its lock file");
        let first = text.lines().next().expect("a line");
        first.parse().expect("a number")
    };
    let before = postmaster();
    site.arena.switch.spoil(Fault::Broken);
    site.freeze(BETA);
    let suspended = |replica: &serde_json::Value| !replica["suspended"].is_null();
    site.arena.cluster.until(ALPHA, "suspended", suspended);
    // As one that waits for a write of its own.
    let tell = |signal| kill(Pid::from_raw(before), signal).expect("it lives");
    tell(Signal::SIGSTOP);
    let begun = Instant::now();
    while begun.elapsed() < LONG {
        assert_eq!(postmaster(), before, "{}", site.logs());
        thread::sleep(LOOK);
    }
    let status = site.arena.cluster.ok(ALPHA, &["agent", "status"]);
    assert!(!status.contains("ended by itself"), "{status}");
    tell(Signal::SIGCONT);
    site.arena.switch.mend(Fault::Broken);
    site.arena.await_death(BETA);
    site.until_served(Instant::now());
    assert_eq!(postmaster(), before, "{}", site.logs());
    site.check();
    site.come_home(BETA, ALPHA);
    site.end(ALPHA);
}
