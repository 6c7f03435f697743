//! SIGKILL of either side at random moments under load, each followed by a promotion or a return, and a resync.
//!
//! After every round: no acknowledged change is missing, both images are equal, and the resync moved far less than the
//! device. `TWINDISK_CRASH_ROUNDS` says how many rounds, `TWINDISK_CRASH_SEED` repeats a run.

mod harness;

use std::{
    sync::{Mutex, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use harness::{
    book::{BLOCK, Book, Loss, Range},
    cluster::{ALPHA, BETA, Cluster},
    load::{self, Ended, Gauge, Plan},
    process::pause,
    random::{Random, number, seed},
};
use serde_json::Value;

const SIZE: u64 = 256 << 20;

/// The load of a round stays in a part of the device, as a database's does: 16 MiB, four extents of the activity log.
const PART: u64 = 16 << 20;

/// Enough for every kind of round with luck; CI asks for a hundred.
const ROUNDS: u64 = 10;

/// A resync moves at most this part of the device.
const MOST_MOVED: u64 = 8;

/// What happens to the pair in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// The primary is killed, the standby promoted, the old primary comes back as standby.
    FailOver,
    /// The primary is killed and comes back; then either is promoted.
    PrimaryReturns,
    /// The standby is killed and comes back; the client waits meanwhile.
    StandbyReturns,
    /// The standby is killed, the primary goes on by a receipt, the standby comes back.
    GoOnAlone,
    /// Both are killed and come back; then either is promoted.
    Both,
}

struct Arena {
    cluster: Cluster,
    primary: &'static str,
    standby: &'static str,
    book: Mutex<Book>,
    random: Random,
    /// Bytes that resyncs have sent in all.
    resynced: u64,
}

#[test]
fn nothing_acknowledged_is_lost_wherever_a_process_dies() {
    let seed = seed("TWINDISK_CRASH_SEED");
    let rounds = number("TWINDISK_CRASH_ROUNDS").unwrap_or(ROUNDS);
    let mut arena = Arena {
        // One of each kind, and each in every role.
        cluster: Cluster::pair_with("256MiB", "al-extents = 16\n", |node| {
            let io = if node == ALPHA { "direct" } else { "cached" };
            format!("io = \"{io}\"")
        }),
        primary: ALPHA,
        standby: BETA,
        book: Mutex::default(),
        random: Random::new(seed),
        resynced: 0,
    };
    println!("first copy: {} KiB sent", arena.resynced() >> 10);
    let (mut moved_in_all, mut moved_at_most) = (0, 0);
    let began = Instant::now();
    for round in 1..=rounds {
        let blow = match arena.random.below(10) {
            0..4 => Blow::FailOver,
            4..6 => Blow::StandbyReturns,
            6..8 => Blow::PrimaryReturns,
            8 => Blow::GoOnAlone,
            _ => Blow::Both,
        };
        let started = Instant::now();
        let open = arena.round(blow);
        let moved = arena.resynced();
        assert!(
            moved < SIZE / MOST_MOVED,
            "{moved} bytes of {SIZE} were resynced"
        );
        moved_in_all += moved;
        moved_at_most = moved_at_most.max(moved);
        println!(
            "round {round}: {blow:?}, {open} blocks without an answer, {} KiB resynced, {} ms",
            moved >> 10,
            started.elapsed().as_millis()
        );
    }
    // What was written in an early round and compared then must have outlived all later ones.
    let uri = arena.cluster.uri(arena.primary);
    load::check(&uri, &arena.book, Loss::Nothing);
    let book = arena.book.lock().expect("no client panicked");
    println!(
        "{rounds} rounds in {} s: {} changes and {} flushes acknowledged, none lost; {} MiB resynced, at most {} KiB at once, of {} MiB",
        began.elapsed().as_secs(),
        book.acknowledged(),
        book.flushes(),
        moved_in_all >> 20,
        moved_at_most >> 10,
        SIZE >> 20
    );
}

impl Arena {
    /// One blow under load. Returns how many blocks had no answer when it came.
    fn round(&mut self, blow: Blow) -> usize {
        let survived = matches!(blow, Blow::StandbyReturns | Blow::GoOnAlone);
        let ended = self.under_load(survived, |arena, gauge| arena.strike(blow, gauge));
        for ended in ended {
            assert_eq!(ended == Ended::Told, survived, "{blow:?}: {ended:?}");
        }
        let open = self.book.lock().expect("no client panicked").unanswered();
        self.recover(blow);
        let uri = self.cluster.uri(self.primary);
        load::check_recent(&uri, &self.book, Loss::Nothing);
        self.cluster.until_in_sync(self.primary);
        self.cluster.until(self.primary, "at rest", |replica| {
            replica["activity"]["requests"] == 0 && replica["peers"][0]["in-flight"] == 0
        });
        self.cluster.compare_images();
        open
    }

    /// Does something while two clients work on the primary; how they ended. They are told to end only if the primary
    /// `survives`: who was told so before it saw that the primary is gone might find every answer already there.
    fn under_load(&mut self, survives: bool, act: impl FnOnce(&mut Self, &Gauge)) -> [Ended; 2] {
        let parts = SIZE / PART;
        let blocks = Range {
            first: self.random.below(parts) * PART / BLOCK as u64,
            count: PART / BLOCK as u64,
        };
        let plans = [1, 2].map(|_| Plan {
            blocks,
            ..Plan::over(SIZE, self.random.next())
        });
        let uri = self.cluster.uri(self.primary);
        let gauge = Gauge::default();
        let book = std::mem::take(&mut self.book);
        let ended = thread::scope(|scope| {
            let clients = plans
                .each_ref()
                .map(|plan| scope.spawn(|| load::run(&uri, plan, &book, &gauge)));
            let _stop = StopWhenDropped(&gauge);
            act(self, &gauge);
            gauge.stop.store(survives, Ordering::Relaxed);
            clients.map(|client| client.join().expect("a client panicked"))
        });
        self.book = book;
        ended
    }

    /// Under load.
    fn strike(&mut self, blow: Blow, gauge: &Gauge) {
        let most = Duration::from_millis(400);
        pause(&mut self.random, Duration::from_millis(5), most);
        match blow {
            Blow::FailOver | Blow::PrimaryReturns => self.cluster.kill(self.primary),
            Blow::Both => {
                let first = self.random.percent(50);
                self.cluster
                    .kill(if first { self.primary } else { self.standby });
                pause(&mut self.random, Duration::ZERO, Duration::from_millis(20));
                self.cluster
                    .kill(if first { self.standby } else { self.primary });
            }
            Blow::StandbyReturns => {
                self.cluster.kill(self.standby);
                self.cluster.serve(self.standby);
                self.goes_on(gauge);
            }
            Blow::GoOnAlone => {
                self.cluster.kill(self.standby);
                self.cluster.until_suspended(self.primary);
                self.cluster.say_fenced(self.standby, self.primary);
                self.goes_on(gauge);
                self.cluster.serve(self.standby);
                self.goes_on(gauge);
            }
        }
    }

    /// Clients are answered again.
    fn goes_on(&self, gauge: &Gauge) {
        let before = gauge.changes.load(Ordering::Relaxed);
        self.cluster.wait_for(self.primary, "answers", |_| {
            (gauge.changes.load(Ordering::Relaxed) > before + 50).then_some(())
        });
    }

    /// To a pair in sync, with a primary.
    fn recover(&mut self, blow: Blow) {
        match blow {
            Blow::StandbyReturns | Blow::GoOnAlone => {}
            Blow::FailOver => {
                self.cluster.fail_over(self.primary, self.standby);
                std::mem::swap(&mut self.primary, &mut self.standby);
                // Before the other one is back: here is everything.
                let uri = self.cluster.uri(self.primary);
                load::check_recent(&uri, &self.book, Loss::Nothing);
                if self.random.percent(50) {
                    let ended = self.under_load(true, |arena, gauge| arena.goes_on(gauge));
                    assert_eq!(ended, [Ended::Told, Ended::Told]);
                }
                self.cluster.serve(self.standby);
            }
            Blow::PrimaryReturns | Blow::Both => {
                if blow == Blow::Both && self.random.percent(50) {
                    self.cluster.serve(self.standby);
                    self.cluster.serve(self.primary);
                } else {
                    self.cluster.serve(self.primary);
                    if blow == Blow::Both {
                        self.cluster.serve(self.standby);
                    }
                }
                if self.random.percent(50) {
                    std::mem::swap(&mut self.primary, &mut self.standby);
                }
                self.promote_when_possible();
            }
        }
        self.cluster.until_in_sync(self.primary);
    }

    /// Both must have met first (R5).
    fn promote_when_possible(&self) {
        self.cluster.until(self.primary, "promotable", |replica| {
            replica["promote-needs"]
                .as_array()
                .is_some_and(Vec::is_empty)
        });
        self.cluster.ok(self.primary, &["promote"]);
    }

    /// Bytes that resyncs sent since the last look. Each node's event log only grows.
    fn resynced(&mut self) -> u64 {
        let logs = [ALPHA, BETA].map(|node| self.cluster.events_of(node, "resync-ended"));
        let sent = |event: &Value| event["sent-blocks"].as_u64().expect("a number") * BLOCK as u64;
        let total = logs.iter().flatten().map(sent).sum();
        total - std::mem::replace(&mut self.resynced, total)
    }
}

/// A panic while clients run must not leave them running: the scope waits for them.
struct StopWhenDropped<'g>(&'g Gauge);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}
