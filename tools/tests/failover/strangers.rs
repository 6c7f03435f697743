//! Datagrams at the agent's port that are not from the peer, or not from now: nothing changes by them.

use std::{
    fs,
    process::{Child, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    harness::{
        LOOK,
        arena::{Arena, Plan},
        cluster::{ALPHA, BETA},
        random::{Random, seed},
    },
    heartbeats::Middle,
    outages::MOST,
};

#[test]
fn what_is_not_a_heartbeat_of_the_peer_changes_nothing() {
    let mut arena = Arena::new(Plan::default());
    let (middle, through) = Middle::before_beta(&arena);
    arena.serve(ALPHA);
    arena.agent_with(ALPHA, through);
    arena.boot(BETA);
    arena.until_primary(ALPHA);
    arena.cluster.until_in_sync(ALPHA);
    arena.until_agents_see(ALPHA, BETA);
    let before = [ALPHA, BETA].map(|node| standing(&arena, node));

    let foreign = [
        Foreign::start(&arena, "key", "0123456789abcdef", "fedcba9876543210"),
        Foreign::start(
            &arena,
            "cluster",
            "cluster = \"test\"",
            "cluster = \"other\"",
        ),
    ];
    let (attacks, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut random = Random::new(seed("TWINDISK_FAILOVER_SEED"));
    thread::scope(|scope| {
        let _end = Ends(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                middle.attack(&mut random, &attacks);
                thread::sleep(LOOK);
            }
        });
        // Both live: the standings stay, all paths are heard, nobody complains.
        thread::sleep(Duration::from_secs(4));
        assert!(attacks.load(Ordering::Relaxed) > 1000);
        assert_eq!(before, [ALPHA, BETA].map(|node| standing(&arena, node)));
        assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());

        // Alpha is dead, and all that it ever said goes on arriving: that must not keep it alive.
        let moment = Instant::now();
        arena.lose_power(ALPHA);
        arena.until_primary(BETA);
        assert!(moment.elapsed() < MOST, "{:?}", moment.elapsed());
        let told = arena.told(BETA).join("\n");
        assert!(
            told.contains("alpha is off, and need not be fenced: it was silent"),
            "{told}"
        );
    });
    for foreign in foreign {
        foreign.end();
    }
    println!(
        "{} datagrams were sent, {} beats seen",
        attacks.into_inner(),
        middle.seen()
    );
    assert_eq!(arena.switch.shots(), 0);
}

/// What must not change: the role, the term, and what the agent says of the peer.
fn standing(arena: &Arena, node: &str) -> String {
    let (replica, agent) = (arena.cluster.replica(node), arena.agent_says(node));
    let peer = &agent["peers"][0];
    let paths = peer["paths"].as_array().expect("two paths");
    let heard = paths
        .iter()
        .all(|path| path["silent-ms"].as_u64() < Some(1000) && path["heard-there"] == true);
    format!(
        "{node}: {} in term {}, {}, all paths heard: {heard}, {}",
        replica["role"], replica["term"], peer["state"], agent["resources"]
    )
}

/// An agent that is called alpha, too, and sends to the same beta, but knows another secret or is of another cluster.
struct Foreign {
    child: Child,
    log: std::path::PathBuf,
}

impl Foreign {
    fn start(arena: &Arena, name: &str, from: &str, to: &str) -> Self {
        // Its own ports are others, beta's are the same.
        let own = ["127.0.0.1:0".to_owned(), "127.0.0.2:0".to_owned()];
        let file = format!("{name}.toml");
        let text = arena.redirected(&file, ALPHA, &own);
        assert!(text.contains(from), "{text}");
        let text = text
            .replace(from, to)
            .replace("-dir = \"", &format!("-dir = \"{name}-"));
        let path = arena.cluster.path(&file);
        fs::write(&path, text).expect("a configuration");
        let log = arena.cluster.path(&format!("{name}.log"));
        let mut command = crate::harness::process::clean_command();
        let child = command
            .args(["agent", "--node", ALPHA, "--config"])
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("the program runs");
        Self { child, log }
    }

    /// Ends it; it must have run until now.
    fn end(mut self) {
        let ended = self.child.try_wait().expect("ours");
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        assert!(ended.is_none() && log.contains("the agent runs"), "{log}");
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Stops the attack also when the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
