//! The process: one task owns the core, all others bring it their outcomes.

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    net::UdpSocket,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    task::{AbortHandle, JoinHandle, LocalSet, spawn_local},
    time::{interval, sleep_until},
};
use tracing::{debug, info, warn};
use twindisk_arbiter::Keeper;
use twindisk_control::config::{Arbiter, Config, Node};
use twindisk_fencing_core::{
    Action, Agent, Beat, Level, Looking, Operator, PathIndex, PeerIndex, Power, ReplicaView,
    ResourceIndex, Table, Time, as_ms,
};
use twindisk_services::{Hook, Host, Programs, Progress, Stack, config::Services};
use twindisk_stonith::{Confirmations, Fencer, SearchPath};

use crate::{
    arbiter,
    ask::{AgentAnswer, Told},
    config::Settings,
    error::RunError,
    heartbeat::Sealer,
    http::{self, Serve, Tally},
    memory,
    news::{self, hear, micros, monitor, random},
    orders::Office,
    ping, socket,
    watchdog::{Device, Watchdog, tend},
    watched,
    words::no_automatic_level,
};

/// Between two meals of a watchdog.
const FEED: Duration = Duration::from_secs(1);
/// Of the time after which a silent peer is dead: between two rounds of pings, and for each. One that fails must be over
/// when the peer is taken for dead, or a node that has lost both fires first.
const PING: u32 = 4;

/// Runs the agent of `node` until it is told to stop. `twindisk` is this program with what it needs to find its
/// configuration and node.
///
/// # Errors
/// When it can't begin.
pub fn run(config: &Config, node: &Node, twindisk: Vec<String>) -> Result<(), RunError> {
    let settings = Settings::new(config, node)?;
    let secret = config.secret.read()?;
    let sealer = Sealer::new(&secret, &config.cluster);
    let [witness, etcd] =
        [Arbiter::Witness, Arbiter::Etcd].map(|kind| arbiter::keeper(config, kind, &secret));
    let keepers = settings.resources.iter().map(|one| match one.arbiter {
        Arbiter::Witness => witness.clone(),
        Arbiter::Etcd => etcd.clone(),
        Arbiter::Fence | Arbiter::External => None,
    });
    let keepers = keepers.collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    let local = LocalSet::new();
    local.block_on(&runtime, live(settings, (sealer, keepers), twindisk))
}

/// Who keeps the record of each resource; `None`: there is none.
type Keepers = Table<ResourceIndex, Option<Arc<dyn Keeper>>>;

/// What comes in.
pub(crate) enum Input {
    Beat {
        peer: PeerIndex,
        path: PathIndex,
        beat: Beat,
    },
    Replica {
        resource: ResourceIndex,
        looking: Looking,
        view: Option<ReplicaView>,
    },
    Ordered {
        resource: ResourceIndex,
        result: Result<(), String>,
    },
    Arbiter {
        resource: ResourceIndex,
        result: Result<arbiter::Said, String>,
    },
    Fenced {
        peer: PeerIndex,
        result: Result<String, String>,
    },
    Power {
        peer: PeerIndex,
        power: Power,
    },
    /// The power of a peer that was heard was read, or could not be.
    Checked {
        peer: PeerIndex,
        power: Power,
    },
    Monitored {
        peer: PeerIndex,
        result: Result<Duration, String>,
    },
    Pinged(bool),
    Services {
        resource: ResourceIndex,
        result: Result<(), String>,
    },
    /// Services that were up have ended by themselves: their names.
    ServicesEnded {
        resource: ResourceIndex,
        what: String,
    },
    /// What is run after a promotion has ended.
    AfterPromote {
        resource: ResourceIndex,
        term: u64,
        result: Result<(), String>,
    },
    Stored {
        version: u64,
        result: Result<(), String>,
    },
    /// A switchover that was not possible yet is tried again.
    SwitchOver {
        wish: Operator,
        until: Instant,
        to: oneshot::Sender<AgentAnswer>,
    },
    /// Something that people should know.
    Noticed {
        level: Level,
        /// The one it is about, if it is about one.
        resource: Option<ResourceIndex>,
        what: String,
    },
    Leave,
}

/// The agent with its surroundings.
pub(crate) struct Driver {
    pub(crate) agent: Rc<RefCell<Agent>>,
    pub(crate) settings: Rc<Settings>,
    start: Instant,
    pub(crate) office: Rc<Office>,
    sealer: Sealer,
    pub(crate) keepers: Keepers,
    sockets: Table<PathIndex, Rc<UdpSocket>>,
    pub(crate) fencers: Table<PeerIndex, Option<Rc<Fencer>>>,
    /// Of each peer: the reading of its power that was begun last.
    pub(crate) readings: Table<PeerIndex, Option<JoinHandle<()>>>,
    pub(crate) confirmations: Confirmations,
    pub(crate) stacks: Table<ResourceIndex, Option<Rc<tokio::sync::Mutex<Stack>>>>,
    /// What each of those is at, also while it is locked.
    pub(crate) progress: Table<ResourceIndex, Option<Progress>>,
    /// Stores what must not be forgotten, once it has been asked to.
    pub(crate) storing: Option<thread::JoinHandle<()>>,
    /// What runs after a promotion.
    pub(crate) hooks: Table<ResourceIndex, Option<AbortHandle>>,
    pub(crate) told: VecDeque<Told>,
    pub(crate) warnings: Vec<String>,
    pub(crate) tally: Tally,
    pub(crate) serve: watch::Sender<Serve>,
    pub(crate) inputs: mpsc::UnboundedSender<Input>,
}

async fn live(
    settings: Settings,
    (sealer, keepers): (Sealer, Keepers),
    twindisk: Vec<String>,
) -> Result<(), RunError> {
    let start = Instant::now();
    let memory = memory::load(&settings.memory)?;
    let mut sockets = Table::new();
    for address in &settings.heartbeat {
        let socket = UdpSocket::bind(address).await;
        let address = *address;
        sockets.push(Rc::new(
            socket.map_err(|source| RunError::Heartbeat { address, source })?,
        ));
    }
    let listener = socket::listen(&settings.socket).map_err(|source| RunError::Socket {
        path: settings.socket.clone(),
        source,
    })?;
    let (inputs, mut arrived) = mpsc::unbounded_channel();
    let (questions, mut asked) = mpsc::channel(16);
    spawn_local(socket::serve(listener, questions));
    let settings = Rc::new(settings);
    let confirmations = Confirmations::new();
    let fencers = settings.peers.iter().map(|peer| {
        let topology = peer.fence.as_ref()?;
        let fencer = Fencer::new(
            &peer.name,
            topology,
            &SearchPath::default(),
            confirmations.clone(),
        );
        Some(Rc::new(fencer))
    });
    let fencers: Table<PeerIndex, Option<Rc<Fencer>>> = fencers.collect();
    let stacks = settings.resources.iter().map(|resource| {
        let host = Host {
            cluster: settings.cluster.clone(),
            resource: resource.name.clone(),
            node: settings.name.clone(),
            run_dir: settings.run_dir.clone(),
            term: 0,
            programs: Programs::new(twindisk.clone()),
        };
        let services = resource.services.as_ref()?;
        Some(Stack::new(services, host))
    });
    let stacks: Vec<Option<Stack>> = stacks.collect();
    let progress = stacks.iter().map(|stack| Some(stack.as_ref()?.progress()));
    let progress = progress.collect();
    let stacks = stacks.into_iter();
    let stacks = stacks.map(|stack| Some(Rc::new(tokio::sync::Mutex::new(stack?))));
    let boot = random();
    let agent = Agent::new(Time(0), settings.core(), memory, boot, micros());
    let mut driver = Driver {
        agent: Rc::new(RefCell::new(agent)),
        start,
        office: Rc::new(Office {
            control_socket: settings.control_socket.clone(),
            twindisk,
        }),
        sealer,
        keepers,
        readings: fencers.iter().map(|_| None).collect(),
        fencers,
        stacks: stacks.collect(),
        progress,
        storing: None,
        hooks: settings.resources.iter().map(|_| None).collect(),
        confirmations: confirmations.clone(),
        told: VecDeque::new(),
        warnings: settings.warnings.clone(),
        tally: Tally::default(),
        serve: watch::Sender::default(),
        sockets,
        settings,
        inputs,
    };
    driver.begin().await;
    let mut watchdog = driver.watchdog()?;
    let mut feeding = interval(FEED);
    let mut http = http::start(&mut driver);
    info!(node = driver.settings.name, "the agent runs");
    loop {
        let deadline = driver.agent.borrow().next_deadline();
        let deadline = driver.start + Duration::from_millis(deadline.0);
        tokio::select! {
            Some(input) = arrived.recv() => {
                if matches!(input, Input::Leave) {
                    if let Some(watchdog) = &mut watchdog {
                        watchdog.disarm();
                    }
                    driver.leave().await;
                    return Ok(());
                }
                driver.take(input);
            }
            _ = feeding.tick() => {
                if let Some(watchdog) = &mut watchdog {
                    tend(watchdog, driver.agent.borrow().is_well());
                }
            }
            () = http.due() => http.publish(&mut driver),
            Some(question) = asked.recv() => driver.answer(question),
            () = sleep_until(deadline.into()) => {
                let (now, wall) = (driver.now(), micros() / 1_000_000);
                driver.agent.borrow_mut().handle_time(now, wall);
            }
        }
        driver.settle();
    }
}

impl Driver {
    pub(crate) fn now(&self) -> Time {
        Time(as_ms(self.start.elapsed()))
    }

    /// Checks the fence devices, and starts everything that brings news.
    async fn begin(&mut self) {
        for (peer, fencer) in self.fencers.entries() {
            let Some(fencer) = fencer else { continue };
            let checkup = fencer.check().await;
            for fault in &checkup.faults {
                self.warnings.push(format!(
                    "fencing {}: level {}, {}: {}",
                    fencer.node(),
                    fault.level,
                    fault.device,
                    fault.error
                ));
            }
            if checkup.automatic_levels.is_empty() {
                self.warnings.push(no_automatic_level(fencer.node()));
                self.agent.borrow_mut().handle_by_hand(peer);
            }
        }
        for resource in &self.settings.resources {
            let services = resource.services.as_ref();
            let lacks = services.map(Services::lacks).into_iter().flatten();
            let hook = resource.after_promote.as_ref().and_then(Hook::lacks);
            self.warnings.extend(lacks.chain(hook));
        }
        for warning in &self.warnings {
            warn!("{warning}");
        }
        for (path, socket) in self.sockets.entries() {
            let nodes = self.settings.peers.iter().map(|peer| peer.node).collect();
            spawn_local(hear(
                path,
                socket.clone(),
                self.sealer.clone(),
                nodes,
                self.inputs.clone(),
            ));
        }
        spawn_local(news::watch(
            self.settings.clone(),
            self.agent.clone(),
            self.inputs.clone(),
            self.serve.clone(),
        ));
        if !self.settings.ping.is_empty() {
            let (settings, inputs) = (self.settings.clone(), self.inputs.clone());
            spawn_local(async move {
                let each = settings.profile.dead() / PING;
                let mut tick = interval(each);
                loop {
                    tick.tick().await;
                    let reachable = ping::any_answers(&settings.ping, each).await;
                    let _ = inputs.send(Input::Pinged(reachable));
                }
            });
        }
        for (peer, fencer) in self.fencers.entries() {
            if let Some(fencer) = fencer.clone() {
                spawn_local(monitor(peer, fencer, self.inputs.clone()));
            }
        }
        for (resource, stack) in self.stacks.entries() {
            let services = self.settings.resources[resource].services.clone();
            if let (Some(services), Some(stack)) = (services, stack.clone()) {
                let (agent, inputs) = (self.agent.clone(), self.inputs.clone());
                let recovers = self.settings.recovery.is_some();
                spawn_local(watched::watch(
                    resource, services, stack, recovers, agent, inputs,
                ));
            }
        }
        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            if let Ok(mut signal) = signal(kind) {
                let inputs = self.inputs.clone();
                spawn_local(async move {
                    signal.recv().await;
                    let _ = inputs.send(Input::Leave);
                });
            }
        }
    }

    fn watchdog(&self) -> Result<Option<Device>, RunError> {
        let Some(path) = &self.settings.watchdog else {
            return Ok(None);
        };
        let opened = Device::open(path).map_err(|source| RunError::Watchdog {
            path: path.clone(),
            source,
        });
        opened.map(Some)
    }

    pub(crate) fn take(&mut self, input: Input) {
        let now = self.now();
        self.tally.input(&input);
        let mut agent = self.agent.borrow_mut();
        match input {
            Input::Beat { peer, path, beat } => {
                if let Err(why) = agent.handle_beat(now, peer, path, &beat) {
                    debug!(
                        peer = self.settings.peers[peer].name,
                        path = path.index(),
                        why,
                        "a beat is not believed"
                    );
                }
            }
            Input::Replica {
                resource,
                looking,
                view,
            } => agent.handle_replica(now, resource, looking, view),
            Input::Ordered { resource, result } => agent.handle_ordered(now, resource, result),
            Input::Arbiter { resource, result } => agent.handle_arbiter(now, resource, result),
            Input::Fenced { peer, result } => agent.handle_fenced(now, peer, result),
            Input::Power { peer, power } => agent.handle_power(now, peer, power),
            Input::Checked { peer, power } => agent.handle_checked(now, peer, power),
            Input::Monitored { peer, result } => agent.handle_monitor(now, peer, result),
            Input::Pinged(reachable) => agent.handle_ping(now, reachable),
            Input::Services { resource, result } => agent.handle_services(now, resource, result),
            Input::ServicesEnded { resource, what } => {
                agent.handle_services_ended(now, resource, &what);
            }
            Input::AfterPromote {
                resource,
                term,
                result,
            } => agent.handle_after_promote(now, resource, term, result),
            Input::Stored { version, result } => agent.handle_stored(now, version, result),
            Input::SwitchOver { wish, until, to } => {
                drop(agent);
                self.switch_over(wish, until, to);
            }
            Input::Noticed {
                level,
                resource,
                what,
            } => {
                drop(agent);
                self.tell(level, resource, what);
            }
            Input::Leave => {}
        }
    }

    pub(crate) fn settle(&mut self) {
        loop {
            let action = self.agent.borrow_mut().poll_action();
            let Some(action) = action else { return };
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send { peer, beat } => {
                let addresses = &self.settings.peers[peer].heartbeat;
                for ((path, socket), address) in self.sockets.entries().zip(addresses) {
                    let datagram = self.sealer.seal(path, &beat);
                    // A path that is down is silent: that is what several are for.
                    let _ = socket.try_send_to(&datagram, *address);
                }
            }
            Action::Store(memory) => self.store(memory),
            Action::ReadPower(peer) => self.read_power(peer),
            Action::CheckPower(peer) => self.check_power(peer),
            Action::Fence(peer) => self.fence(peer),
            Action::PowerOn(peer) => self.power_on(peer),
            Action::Arbiter {
                resource,
                known,
                ask,
            } => self.ask_arbiter(resource, known, ask),
            Action::Order(resource, order) => self.order(resource, order),
            Action::Kill { resource, run } => self.kill(resource, run),
            Action::StartServices { resource, term } => self.services(resource, Some(term)),
            Action::StopServices(resource) => self.services(resource, None),
            Action::AfterPromote { resource, term } => self.after_promote(resource, term),
            Action::Report {
                level,
                resource,
                what,
            } => self.tell(level, resource, what),
        }
    }
}
