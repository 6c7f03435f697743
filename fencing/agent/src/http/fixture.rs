//! A node as HTTP sees it, for the tests: primary of `r0`, all well, unless a test bends it.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use twindisk_control::{
    config::Config,
    protocol::{NodeStatus, ResourceStatus},
};
use twindisk_core::{
    Activity, ConnectionState, DiskState, Latency, OnPeerLoss, PeerLatency, PeerStatus, Protocol,
    Role, Status, Time,
};
use twindisk_fencing_core::{Agent, Failover, Level, Memory, PeerIndex, Services, Succession};

use super::published::{Member, Monitor, Said, Serve, Tally, View};
use crate::{
    ask::{AgentReply, Told},
    config::Settings,
};

pub(super) struct Scene {
    pub(super) said: Said,
    pub(super) serve: Serve,
    pub(super) members: Vec<Member>,
    pub(super) now: Instant,
}

impl Scene {
    /// Alpha is primary of `r0`; its services are up, beta is connected and in sync.
    pub(super) fn primary() -> Self {
        let now = Instant::now();
        let mut tally = Tally::default();
        (tally.infos, tally.warnings, tally.alarms) = (5, 2, 1);
        tally.failovers.insert("r0".to_owned(), 2);
        tally.monitors.insert(
            PeerIndex::new(0),
            Monitor {
                at: 1_700_000_100,
                up: true,
            },
        );
        let settings = settings();
        let agent = Agent::new(
            twindisk_fencing_core::Time(0),
            settings.core(),
            Memory::default(),
            1,
            1,
        );
        let mut status = agent.status();
        status.resources[0].services = Services::Up;
        status.resources[0].succession = Some(Succession {
            primary: Some("alpha".to_owned()),
            successors: vec!["beta".to_owned()],
            obstacles: Vec::new(),
        });
        status.peers[0].fence_latency_ms = 250;
        status.peers[0].paths[0].silent_ms = Some(120);
        status.peers[0].paths[0].heard_there = true;
        status.peers[0].paths[1].silent_ms = Some(61_000);
        status.failovers = vec![Failover {
            resource: "r0".to_owned(),
            from: "beta".to_owned(),
            at: 1_700_000_000,
            took_ms: 5400,
            receipt: "fence: off".to_owned(),
        }];
        let told = |at, level, what: &str| Told {
            at,
            level,
            resource: None,
            what: what.to_owned(),
        };
        Self {
            said: Said {
                at: now,
                reply: AgentReply {
                    status,
                    at_work: Vec::new(),
                    warnings: vec!["there is one heartbeat path".to_owned()],
                    told: vec![
                        told(7, Level::Info, "beta is heard again"),
                        told(8, Level::Alarm, "the fence device of beta does not work"),
                    ],
                },
                tally,
            },
            serve: Serve::Answered {
                at: now,
                status: Arc::new(node()),
            },
            members: Member::all(&settings),
            now,
        }
    }

    /// Alpha is standby of `r0`, and beta is primary.
    pub(super) fn standby() -> Self {
        let mut scene = Self::primary();
        scene.services(Services::Down);
        let replica = scene.replica();
        replica.role = Role::Standby;
        replica.export_open = false;
        replica.peers[0].role = Some(Role::Primary);
        scene
    }

    pub(super) fn view(&self) -> View<'_> {
        View {
            said: &self.said,
            serve: &self.serve,
            members: &self.members,
            now: self.now,
        }
    }

    pub(super) fn node(&mut self) -> &mut NodeStatus {
        match &mut self.serve {
            Serve::Answered { status, .. } => Arc::make_mut(status),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn replica(&mut self) -> &mut Status {
        self.node().resources[0].replica.as_mut().expect("it runs")
    }

    pub(super) fn services(&mut self, services: Services) {
        self.said.reply.status.resources[0].services = services;
    }

    /// The agent's loop goes on, and nothing comes from `twindisk serve`.
    pub(super) fn serve_is_silent(&mut self, long: Duration) {
        self.now += long;
        self.said.at = self.now;
    }

    /// One more resource, which is well here too.
    pub(super) fn add(&mut self, name: &str) {
        self.members.push(Member {
            name: name.to_owned(),
            has_services: false,
        });
        let mut more = self.node().resources[0].clone();
        more.name = name.to_owned();
        self.node().resources.push(more);
    }
}

const CONFIG: &str = r#"
cluster = "db"
secret = "a secret of enough length"
[agent]
[nodes.alpha]
id = 1
address = "10.0.0.1:7800"
heartbeat = ["10.0.1.1:7790", "10.0.2.1:7790"]
[nodes.beta]
id = 2
address = "10.0.0.2:7800"
heartbeat = ["10.0.1.2:7790", "10.0.2.2:7790"]
fence = [{ devices = [{ agent = "fence_ipmilan" }] }]
[resource.r0]
on.alpha = { backing = "/dev/vg/r0" }
on.beta = { backing = "/dev/vg/r0" }
services = [{ unit = "postgresql.service" }]
"#;

fn settings() -> Settings {
    let config = Config::parse(Path::new("t.toml"), CONFIG).expect("it is right");
    let alpha = config.node("alpha").expect("it is there");
    Settings::new(&config, alpha).expect("it is complete")
}

fn node() -> NodeStatus {
    NodeStatus {
        version: 1,
        program: "0.1.0".to_owned(),
        cluster: "db".to_owned(),
        node: "alpha".to_owned(),
        node_id: 1,
        pid: 4711,
        uptime_s: 60,
        tls: twindisk_control::config::TlsMode::Secret,
        resources: vec![ResourceStatus {
            name: "r0".to_owned(),
            backing: "/dev/vg/r0".to_owned(),
            io: "direct".to_owned(),
            metadata: "/var/lib/twindisk/r0.meta".to_owned(),
            nbd: Vec::new(),
            bound_export: None,
            running: true,
            down: false,
            why: None,
            replica: Some(replica()),
        }],
    }
}

fn replica() -> Status {
    let mut status = Status {
        role: Role::Primary,
        term: 3,
        disk: DiskState::UpToDate,
        disk_why: None,
        size_bytes: 1 << 30,
        export_open: true,
        binding: None,
        suspended: None,
        no_space: None,
        generation: None,
        generations: 1,
        in_sync: vec![1, 2],
        still_writing: false,
        promote_needs: Vec::new(),
        promotion: None,
        faults: Vec::new(),
        on_peer_loss: OnPeerLoss::default(),
        peers: vec![PeerStatus {
            node: 2,
            name: "beta".to_owned(),
            protocol: Protocol::C,
            connection: ConnectionState::Established,
            connection_why: String::new(),
            met: 9,
            lost_ms: None,
            role: Some(Role::Standby),
            disk: Some(DiskState::UpToDate),
            in_sync: true,
            standing: twindisk_format::superblock::Standing::In,
            joining_why: None,
            dirty_bytes: 0,
            unstable_bytes: 8192,
            oldest_ms: 0,
            unread: false,
            in_flight: 2,
            receipt: None,
            conflict: None,
            progress: None,
            latency: PeerLatency::default(),
        }],
        activity: Activity::default(),
        latency: Latency::default(),
        warnings: Vec::new(),
    };
    let activity = &mut status.activity;
    (activity.requests, activity.waiting, activity.oldest_ms) = (4, 1, 15);
    (activity.al_extents, activity.al_writes) = (12, 34);
    (activity.writes, activity.reads) = (1000, 2000);
    (activity.written_bytes, activity.read_bytes) = (1 << 40, 8_192_000);
    (activity.flushes, activity.disk_flushes) = (30, 40);
    // Two writes were answered; the first one of them went into a cold extent.
    let write = &mut status.latency.write;
    for us in [900, 2] {
        write.wait.record(Time(0), Time(us * 1000));
    }
    for us in [60, 64] {
        write.disk.record(Time(0), Time(us * 1000));
    }
    for us in [1100, 150] {
        write.total.record(Time(0), Time(us * 1000));
    }
    // A flush that took an outage.
    status
        .latency
        .flush
        .total
        .record(Time(0), Time(20_000_000_000));
    for us in [200, 148] {
        let peer = &mut status.peers[0].latency;
        peer.write.record(Time(0), Time(us * 1000));
    }
    status
}
