//! Connections at the replication port that have proven nothing yet: few in all, few of each source, and the oldest one
//! yields to a newcomer. Who has proven the secret is none of them any more.
//!
//! The addresses of the nodes that the configuration names are sources of their own, whom no other source can keep out.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::IpAddr,
    rc::Rc,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::{config::Config, limits};

/// All of them.
pub(crate) struct Strangers {
    /// Addresses of nodes.
    nodes: Vec<IpAddr>,
    here: RefCell<Vec<Stranger>>,
    ids: Cell<u64>,
    left: Notify,
}

#[derive(Clone)]
struct Stranger {
    id: u64,
    source: Source,
    since: Instant,
    evicted: Rc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    /// The address of a configured node.
    Node(IpAddr),
    /// Any other; of IPv6 its network, since who has one address there has all of them.
    Other(IpAddr),
}

/// One's place, until it is dropped.
pub(crate) struct Place {
    strangers: Rc<Strangers>,
    id: u64,
    evicted: Rc<Notify>,
}

impl Strangers {
    pub(crate) fn new(config: &Config) -> Rc<Self> {
        let nodes = config.nodes.iter();
        let nodes = nodes.filter_map(|node| node.address.host.parse().ok());
        Rc::new(Self {
            nodes: nodes.collect(),
            here: RefCell::default(),
            ids: Cell::new(0),
            left: Notify::new(),
        })
    }

    /// A place for a newcomer. Where there is none the oldest one's is taken away; that of a node's address only after
    /// the time that a proof needs.
    pub(crate) async fn enter(self: &Rc<Self>, from: IpAddr) -> Place {
        let source = self.source(from);
        loop {
            let now = Instant::now();
            let Some(oldest) = yields(&self.here.borrow(), source).cloned() else {
                break;
            };
            let due = match source {
                Source::Node(_) => oldest.since + limits::STRANGER_PATIENCE,
                Source::Other(_) => now,
            };
            if due <= now {
                oldest.evicted.notify_one();
                self.remove(oldest.id);
                break;
            }
            let _ = timeout_at(due, self.left.notified()).await;
        }
        let id = self.ids.get();
        self.ids.set(id + 1);
        let evicted = Rc::new(Notify::new());
        self.here.borrow_mut().push(Stranger {
            id,
            source,
            since: Instant::now(),
            evicted: Rc::clone(&evicted),
        });
        Place {
            strangers: Rc::clone(self),
            id,
            evicted,
        }
    }

    fn source(&self, from: IpAddr) -> Source {
        let from = from.to_canonical();
        if self.nodes.contains(&from) {
            return Source::Node(from);
        }
        Source::Other(match from {
            IpAddr::V4(_) => from,
            IpAddr::V6(address) => IpAddr::from((address.to_bits() >> 64 << 64).to_be_bytes()),
        })
    }

    fn remove(&self, id: u64) {
        self.here.borrow_mut().retain(|other| other.id != id);
        self.left.notify_one();
    }
}

impl Place {
    /// Comes back when somebody else has got it.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.strangers.remove(self.id);
    }
}

/// Who must go for a newcomer from this source: the oldest of the same, if those are many; else, if all are too many, the
/// oldest of the source that has most. Nodes' addresses count for themselves only.
fn yields(here: &[Stranger], newcomer: Source) -> Option<&Stranger> {
    let oldest_of = |source| here.iter().find(|stranger| stranger.source == source);
    let mut counts: HashMap<Source, usize> = HashMap::new();
    for stranger in here {
        *counts.entry(stranger.source).or_default() += 1;
    }
    if counts.get(&newcomer).copied().unwrap_or_default() >= limits::MAX_UNAUTHENTICATED_OF_SOURCE {
        return oldest_of(newcomer);
    }
    if matches!(newcomer, Source::Node(_)) {
        return None;
    }
    counts.retain(|source, _| matches!(source, Source::Other(_)));
    if counts.values().sum::<usize>() < limits::MAX_UNAUTHENTICATED {
        return None;
    }
    let most = counts.values().copied().max().unwrap_or_default();
    (here.iter()).find(|stranger| counts.get(&stranger.source) == Some(&most))
}

/// For whom it is over.
pub(crate) const EVICTED: &str = "it had not proven itself when others wanted its place";

#[cfg(test)]
mod tests {
    use super::*;

    fn strangers() -> Rc<Strangers> {
        let node = IpAddr::from([10, 0, 0, 1]);
        Rc::new(Strangers {
            nodes: vec![node],
            here: RefCell::default(),
            ids: Cell::new(0),
            left: Notify::new(),
        })
    }

    fn is_here(strangers: &Strangers, place: &Place) -> bool {
        let here = strangers.here.borrow();
        here.iter().any(|stranger| stranger.id == place.id)
    }

    #[tokio::test]
    async fn the_oldest_of_the_greediest_source_yields() {
        let strangers = strangers();
        let one = strangers.enter([10, 9, 0, 9].into()).await;
        let mut many = Vec::new();
        for _ in 0..1000 {
            many.push(strangers.enter([10, 9, 0, 8].into()).await);
        }
        many[0].evicted().await;
        let most = limits::MAX_UNAUTHENTICATED_OF_SOURCE;
        let kept = many.iter().filter(|place| is_here(&strangers, place));
        assert_eq!(kept.count(), most);
        assert!(is_here(&strangers, &many[999]) && is_here(&strangers, &one));
        for low in 0..=255 {
            let place = strangers.enter([10, 8, 0, low].into()).await;
            assert!(is_here(&strangers, &place));
            many.push(place);
        }
        assert_eq!(strangers.here.borrow().len(), limits::MAX_UNAUTHENTICATED);
        drop((many, one));
        assert!(strangers.here.borrow().is_empty());
    }

    #[tokio::test]
    async fn a_network_of_version_6_is_one_source() {
        let strangers = strangers();
        let mut many = Vec::new();
        for low in 0..100 {
            let from = IpAddr::from([0xfd00, 1, 2, 3, 0, 0, 7, low]);
            many.push(strangers.enter(from).await);
        }
        let most = limits::MAX_UNAUTHENTICATED_OF_SOURCE;
        assert_eq!(strangers.here.borrow().len(), most);
    }

    #[tokio::test]
    async fn nodes_have_room_and_time_whatever_others_do() {
        let strangers = strangers();
        let node = IpAddr::from([10, 0, 0, 1]);
        let mut held = Vec::new();
        let began = Instant::now();
        for at in 0..limits::MAX_UNAUTHENTICATED_OF_SOURCE {
            held.push(strangers.enter(node).await);
            for low in 0..255 {
                held.push(strangers.enter([10, at as u8 + 1, 1, low].into()).await);
            }
        }
        assert!(is_here(&strangers, &held[0]));
        // One more of the node waits until the first has had its time, or until one is done.
        let next = strangers.enter(node).await;
        assert!(began.elapsed() >= limits::STRANGER_PATIENCE);
        assert!(!is_here(&strangers, &held[0]) && is_here(&strangers, &next));
        drop(next);
        let second = held.iter().filter(|place| is_here(&strangers, place));
        let second = second.count();
        let _again = strangers.enter(node).await;
        let kept = held.iter().filter(|place| is_here(&strangers, place));
        assert_eq!(
            kept.count(),
            second,
            "one was done, so that nobody had to go"
        );
    }
}
