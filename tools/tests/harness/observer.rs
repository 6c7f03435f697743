//! Writes to both nodes all the time and notes who accepts: what catches two primaries, and what measures an outage.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use twindisk_nbd::client::{Client, ConnectOptions, Fua, Uri};

use super::{
    LOOK,
    cluster::{ALPHA, BETA, Cluster},
};

/// Blocks that belong to the observer: one for each node.
pub(crate) const BLOCKS: u64 = 3;

/// Between two writes to a node that accepts them.
const PAUSE: Duration = Duration::from_millis(3);

/// A node that does not answer is asked once more after so long.
const LONGEST: Duration = Duration::from_secs(2);

/// A write that a node has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// By whom.
    pub(crate) node: &'static str,
    /// On which connection with it: a node that stops being primary drops its clients.
    pub(crate) connection: u64,
    /// It was sent then.
    pub(crate) sent: Instant,
    /// The answer was there then.
    pub(crate) answered: Instant,
}

/// A client of each node.
pub(crate) struct Observer {
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<Vec<Accepted>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Observer {
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let accepted = Arc::new(Mutex::new(Vec::new()));
        let clients = cluster.names().zip(0..BLOCKS).map(|(node, block)| {
            let (uri, stop, accepted) = (cluster.uri(node), stop.clone(), accepted.clone());
            thread::spawn(move || probe(node, block, &uri, &stop, &accepted))
        });
        Self {
            clients: clients.collect(),
            stop,
            accepted,
        }
    }

    /// The first write that was sent after `moment` and acknowledged by a node.
    pub(crate) fn first_after(&self, node: &str, moment: Instant) -> Option<Instant> {
        let accepted = self.accepted.lock().expect("no observer panicked");
        let mut after = accepted.iter();
        let first = after.find(|one| one.node == node && one.sent >= moment);
        first.map(|one| one.answered)
    }

    /// The longest time since `moment` in which nobody accepted anything.
    pub(crate) fn longest_gap(&self, moment: Instant) -> Duration {
        let accepted = self.accepted.lock().expect("no observer panicked");
        let mut answered: Vec<Instant> = accepted.iter().map(|one| one.answered).collect();
        answered.retain(|at| *at >= moment);
        answered.push(Instant::now());
        answered.sort_unstable();
        let before = std::iter::once(&moment).chain(&answered);
        let gaps = before.zip(&answered).map(|(from, to)| *to - *from);
        gaps.max().unwrap_or_default()
    }

    /// Ends, and fails when both nodes accepted writes at the same time. The nodes that did, in their order.
    pub(crate) fn end(mut self) -> Vec<&'static str> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.join().expect("an observer panicked");
        }
        let accepted = self.accepted.lock().expect("no observer panicked");
        assert!(!accepted.is_empty(), "nobody accepted anything");
        let both = overlaps(&accepted);
        assert!(both.is_empty(), "TWO PRIMARIES: {both:#?}");
        reigns(&accepted)
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn probe(
    node: &'static str,
    block: u64,
    uri: &Uri,
    stop: &AtomicBool,
    accepted: &Mutex<Vec<Accepted>>,
) {
    let options = ConnectOptions {
        timeout: Some(LONGEST),
        ..ConnectOptions::default()
    };
    let mut connection = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut client) = Client::connect(uri, &options) else {
            thread::sleep(LOOK);
            continue;
        };
        connection += 1;
        while !stop.load(Ordering::Relaxed) {
            let sent = Instant::now();
            if client.write(block * 4096, &[7; 4096], Fua::No).is_err() {
                break;
            }
            let one = Accepted {
                node,
                connection,
                sent,
                answered: Instant::now(),
            };
            accepted.lock().expect("no observer panicked").push(one);
            thread::sleep(PAUSE);
        }
    }
}

/// Writes that one node accepted while the other was seen to be accepting: between two of its own on one connection.
pub(crate) fn overlaps(accepted: &[Accepted]) -> Vec<(Accepted, [Accepted; 2])> {
    let of = |node: &str| -> Vec<Accepted> {
        let mut writes = accepted.to_vec();
        writes.retain(|one| one.node == node);
        writes.sort_by_key(|one| one.answered);
        writes
    };
    let mut found = Vec::new();
    for (one, other) in [(ALPHA, BETA), (BETA, ALPHA)] {
        let (one, other) = (of(one), of(other));
        for write in one {
            let before = other.iter().rfind(|their| their.answered < write.sent);
            let after = other.iter().find(|their| their.sent > write.answered);
            if let (Some(before), Some(after)) = (before, after)
                && before.connection == after.connection
            {
                found.push((write, [*before, *after]));
            }
        }
    }
    found
}

/// Who accepted, in order, each as often as the role came to it. A write that began on one node after the other had
/// answered counts as a change, so that even one write too late is one name too many.
pub(crate) fn reigns(accepted: &[Accepted]) -> Vec<&'static str> {
    let mut sorted = accepted.to_vec();
    sorted.sort_by_key(|one| one.sent);
    let mut reigns: Vec<&'static str> = Vec::new();
    let mut answered = None;
    for one in sorted {
        // What was on its way when the other answered first may have been done before.
        let later = answered.is_none_or(|answered| one.sent > answered);
        if reigns.last() != Some(&one.node) && later {
            reigns.push(one.node);
        }
        if reigns.last() == Some(&one.node) {
            answered = Some(one.answered);
        }
    }
    reigns
}
