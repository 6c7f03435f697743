//! An agent of three nodes on a bench: its members are the two other ones, the lower number first.

use super::bench::{Duration, INTERVAL, TICK, said};
use crate::{
    Action, Agent, Beat, BeatResource, Config, HungIo, Led, Level, MemberConfig, Memory, Order,
    PathIndex, PeerConfig, PeerIndex, PeerView, Power, Profile, ReplicaView, ResourceConfig,
    ResourceIndex, Role, Time,
};

pub(super) const R0: ResourceIndex = ResourceIndex::new(0);
/// The member with the lower number, and the other one.
pub(super) const LOW: usize = 0;
pub(super) const HIGH: usize = 1;

/// The agent of a node of three.
pub(super) struct Bench {
    pub(super) agent: Agent,
    pub(super) node: u8,
    pub(super) now: u64,
    pub(super) seq: u64,
    /// The newest beat of the agent.
    pub(super) sent: u64,
    /// What each peer says, and whether it is heard.
    pub(super) said: [Option<BeatResource>; 2],
    pub(super) acts: Vec<Action>,
    pub(super) told: Vec<(Level, String)>,
}

pub(super) fn peer(at: usize) -> PeerIndex {
    PeerIndex::new(at)
}

impl Bench {
    /// The agent of a node, 1 to 3.
    pub(super) fn new(node: u8, has_services: bool) -> Self {
        Self::with(node, has_services, false)
    }

    fn with(node: u8, has_services: bool, reads_power: bool) -> Self {
        let nodes = [1, 2, 3].into_iter().filter(|other| *other != node);
        let others: Vec<u8> = nodes.collect();
        let name = |node: u8| ["", "alpha", "beta", "gamma"][usize::from(node)].to_owned();
        let config = Config {
            name: name(node),
            node,
            profile: Profile::Default,
            peers: others
                .iter()
                .map(|other| PeerConfig {
                    name: name(*other),
                    node: *other,
                    paths: vec!["path".into()].into(),
                    can_fence: true,
                    reads_power,
                })
                .collect(),
            resources: vec![ResourceConfig {
                name: "r0".into(),
                members: others
                    .iter()
                    .enumerate()
                    .map(|(at, other)| MemberConfig {
                        peer: peer(at),
                        preferred: *other < node,
                    })
                    .collect(),
                has_services,
                after_promote: false,
                arbiter: false,
                arbiter_id: String::new(),
            }]
            .into(),
            max_failovers: 10,
            failover_window: Duration::from_secs(3600),
            recovery: None,
            hung_io: HungIo::Act,
            host: "a boot".into(),
        };
        let agent = Agent::new(Time(100_000), config, Memory::default(), 77, 1);
        Self {
            agent,
            node,
            now: 100_000,
            seq: 0,
            sent: 0,
            said: [None, None],
            acts: Vec::new(),
            told: Vec::new(),
        }
    }

    /// The agent of beta or gamma, standby of alpha; all are heard and connected.
    pub(super) fn standby(node: u8) -> Self {
        Self::new(node, false).follow()
    }

    /// The same, and it reads power.
    pub(super) fn reader(node: u8) -> Self {
        Self::with(node, false, true).follow()
    }

    fn follow(mut self) -> Self {
        self.said = [Some(primary()), Some(standby(1))];
        self.view(view(
            Role::Standby,
            [Some(Role::Primary), Some(Role::Standby)],
        ));
        self.pass(3 * INTERVAL);
        assert_eq!(self.acts(), []);
        self
    }

    /// The agent of alpha, primary.
    pub(super) fn primary() -> Self {
        let mut bench = Self::new(1, false);
        bench.said = [Some(standby(1)), Some(standby(1))];
        bench.view(view(Role::Primary, [Some(Role::Standby); 2]));
        bench.pass(3 * INTERVAL);
        assert_eq!(bench.acts(), []);
        bench
    }

    pub(super) fn acts(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.acts)
    }

    pub(super) fn settle(&mut self) {
        while let Some(action) = self.agent.poll_action() {
            match action {
                Action::Send { beat, .. } => self.sent = beat.seq,
                Action::Report { level, what, .. } => self.told.push((level, what)),
                Action::Store(memory) => {
                    self.agent
                        .handle_stored(Time(self.now), memory.version, Ok(()));
                }
                Action::CheckPower(peer) => {
                    self.agent.handle_checked(Time(self.now), peer, Power::On);
                }
                other => self.acts.push(other),
            }
        }
    }

    /// Time passes, and whoever says something goes on saying it.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.now = end.min(self.now + TICK);
            self.agent.handle_time(Time(self.now), 0);
            self.settle();
            if self.now % INTERVAL < TICK {
                self.beat();
            }
        }
    }

    pub(super) fn beat(&mut self) {
        self.seq += 1;
        for at in 0..2 {
            let Some(said) = self.said[at].clone() else {
                continue;
            };
            let others: Vec<u8> = [1, 2, 3].into_iter().filter(|o| *o != self.node).collect();
            let beat = Beat {
                from: others[at],
                to: self.node,
                boot: 1000 + at as u64,
                started: 50,
                seq: self.seq,
                echo: 77,
                echo_seq: self.sent,
                hears: 1,
                leaving: false,
                fence_latency: 0,
                resources: vec![said],
            };
            let path = PathIndex::new(0);
            let heard = self
                .agent
                .handle_beat(Time(self.now), peer(at), path, &beat);
            assert_eq!(heard, Ok(()));
            self.settle();
        }
    }

    pub(super) fn view(&mut self, view: ReplicaView) {
        let looking = self.agent.looking(R0);
        self.agent
            .handle_replica(Time(self.now), R0, looking, Some(view));
        self.settle();
    }

    pub(super) fn obeyed(&mut self) {
        self.agent.handle_ordered(Time(self.now), R0, Ok(()));
        self.settle();
    }

    /// The power of a peer was read twice as off, as the agent asks for it now.
    pub(super) fn off_twice(&mut self, at: usize) {
        for _ in 0..2 {
            assert_eq!(self.acts(), [Action::ReadPower(peer(at))]);
            let power = Power::Off("the switch".into());
            self.agent.handle_power(Time(self.now), peer(at), power);
            self.settle();
            self.pass(200);
        }
    }

    pub(super) fn fenced(&mut self, at: usize) {
        let result = Ok("read as off".to_owned());
        self.agent.handle_fenced(Time(self.now), peer(at), result);
        self.settle();
    }

    pub(super) fn failed(&mut self, at: usize) {
        let result = Err("no answer".to_owned());
        self.agent.handle_fenced(Time(self.now), peer(at), result);
        self.settle();
    }

    /// After how long somebody is fired at.
    pub(super) fn waits_for_shot(&mut self, at: usize) -> u64 {
        let start = self.now;
        while self.now < start + 60_000 {
            if self.acts().contains(&Action::Fence(peer(at))) {
                return self.now - start;
            }
            self.pass(TICK);
        }
        panic!("nobody was fired at");
    }
}

pub(super) fn primary() -> BeatResource {
    BeatResource {
        role: Role::Primary,
        ..said("r0")
    }
}

/// One that follows a node, and would go on if that were gone.
pub(super) fn standby(leader: u8) -> BeatResource {
    BeatResource {
        role: Role::Standby,
        ready: true,
        follows: Some(leader),
        ..primary()
    }
}

/// One whose primary is gone.
pub(super) fn orphan() -> BeatResource {
    BeatResource {
        arbiter: String::new(),
        follows: None,
        ..standby(1)
    }
}

/// A replica in sync, connected to those that have a role.
pub(super) fn view(role: Role, peers: [Option<Role>; 2]) -> ReplicaView {
    let all = peers.iter().all(Option::is_some);
    ReplicaView {
        run: 1,
        role,
        term: 5,
        up_to_date: true,
        can_promote: role == Role::Primary,
        needs: Vec::new(),
        led: Some(Led { node: 1, term: 5 }),
        open: role == Role::Primary,
        suspended: role == Role::Primary && !all,
        peers: peers
            .iter()
            .map(|peer| PeerView {
                linked: peer.is_some(),
                met: 70,
                role: *peer,
                in_sync: true,
                awaited: role == Role::Primary && peer.is_none(),
                has_receipt: peer.is_none(),
            })
            .collect(),
        conflict: None,
        no_space: None,
        faults: Vec::new(),
        progress: 0,
        oldest: Duration::ZERO,
    }
}

/// A standby whose primary is lost, and which is connected to the other standby.
pub(super) fn lost() -> ReplicaView {
    view(Role::Standby, [None, Some(Role::Standby)])
}

/// The same, and it may be promoted.
pub(super) fn entitled() -> ReplicaView {
    ReplicaView {
        can_promote: true,
        ..lost()
    }
}

pub(super) fn receipt(at: usize) -> Action {
    let order = Order::ReceiptFenced {
        about: peer(at),
        detail: "read as off".into(),
        met: 70,
    };
    Action::Order(R0, order)
}

pub(super) const PROMOTE: Action = Action::Order(R0, Order::Promote);
