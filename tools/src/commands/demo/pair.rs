//! Two nodes of this very program on loopback: their files, their processes, their control sockets.

use std::{
    ffi::OsStr,
    fs,
    io::{Read, Seek, SeekFrom},
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Child,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use twindisk_agent::{AgentAnswer, AgentAsk, AgentReply};
use twindisk_control::{
    client::Client,
    config::{Config, Member},
    protocol::{Answer, Ask, EventLine},
};
use twindisk_core::{Refusal, Status};
use twindisk_nbd::client::Uri;

use super::{
    configuration::{self, Arbiter},
    power, process,
    story::Decides,
    witness::Witness,
};
use crate::{
    commands::init::{self, Plan},
    exit::Failure,
};

/// The resource's name.
pub(super) const RESOURCE: &str = "r0";

/// What is waited for comes within this time or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a state is looked at while it is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// The pair.
pub(super) struct Pair {
    pub(super) config: Config,
    dir: PathBuf,
    nodes: Vec<Running>,
    witness: Option<Witness>,
    keep: bool,
}

struct Running {
    name: &'static str,
    process: Option<Child>,
    agent: Option<Child>,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Alpha,
    Beta,
}

impl Which {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Alpha => "alpha",
            Self::Beta => "beta",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Alpha => 0,
            Self::Beta => 1,
        }
    }
}

impl Pair {
    /// Writes the configuration and makes both replicas; alpha's data is the initial data.
    pub(super) fn make(
        dir: &Path,
        size: u64,
        keep: bool,
        decides: Decides,
    ) -> Result<Self, Failure> {
        let path = dir.join("twindisk.toml");
        let ports = [free_port()?, free_port()?];
        let secret = configuration::secret()?;
        let arbiter = match decides {
            Decides::Person => Arbiter::Person,
            Decides::Switch => Arbiter::Switch(power::install(dir)?),
            Decides::Witness => Arbiter::Witness(format!("127.0.0.1:{}", free_port()?)),
        };
        let witness = match &arbiter {
            Arbiter::Witness(address) => Some(Witness::start(dir, address, &secret, keep)?),
            Arbiter::Person | Arbiter::Switch(_) => None,
        };
        let text = configuration::of_nodes(ports, &secret, &arbiter);
        configuration::write(&path, &text)?;
        let config = Config::load(&path)?;
        let nodes = [Which::Alpha, Which::Beta].map(|which| Running {
            name: which.name(),
            process: None,
            agent: None,
        });
        let pair = Self {
            config,
            dir: dir.to_owned(),
            nodes: nodes.into(),
            witness,
            keep,
        };
        for which in [Which::Alpha, Which::Beta] {
            let resource = pair.config.resource(RESOURCE).ok_or_else(no_resource)?;
            init::make(&Plan {
                cluster: &pair.config.cluster,
                resource,
                member: pair.member(which)?,
                first: which == Which::Alpha,
                size: Some(size),
                max_size: None,
                peers: None,
                overwrite: false,
            })?;
        }
        Ok(pair)
    }

    /// Starts a node and waits until it answers.
    pub(super) fn start(&mut self, which: Which) -> Result<u32, Failure> {
        let child = self.spawn(which, "serve")?;
        let pid = child.id();
        if let Some(node) = self.nodes.get_mut(which.index()) {
            node.process = Some(child);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self
                .client(which)
                .is_ok_and(|mut client| client.status(None).is_ok())
            {
                return Ok(pid);
            }
            if let Some(status) = self.exited(which) {
                return Err(self.failed(which, &format!("`serve` ended at once: {status}")));
            }
            if Instant::now() > deadline {
                return Err(self.failed(which, "`serve` does not answer"));
            }
            thread::sleep(LOOK);
        }
    }

    /// Starts the agent of a node, and lets the power switch, if there is one, know what runs there.
    pub(super) fn start_agent(&mut self, which: Which) -> Result<u32, Failure> {
        let child = self.spawn(which, "agent")?;
        let pid = child.id();
        if let Some(node) = self.nodes.get_mut(which.index()) {
            node.agent = Some(child);
        }
        if self.witness.is_none() {
            power::plug_in(&self.dir, which.name(), &self.pids(which))?;
        }
        Ok(pid)
    }

    fn spawn(&self, which: Which, what: &str) -> Result<Child, Failure> {
        let config = self.config.path.as_os_str();
        let arguments = [what, "--node", which.name(), "--config"].map(OsStr::new);
        process::start(
            &[&arguments[..], &[config]].concat(),
            &self.log(which),
            self.keep,
        )
    }

    /// The processes of a node.
    fn pids(&self, which: Which) -> Vec<u32> {
        let node = self.nodes.get(which.index()).into_iter();
        node.flat_map(|node| [node.process.as_ref(), node.agent.as_ref()])
            .flatten()
            .map(Child::id)
            .collect()
    }

    /// Every process of a node stands still, as on a host that hangs.
    pub(super) fn freeze(&self, which: Which) -> Result<(), Failure> {
        self.signal_all(which, Signal::SIGSTOP)
    }

    /// They go on where they were.
    pub(super) fn thaw(&self, which: Which) -> Result<(), Failure> {
        self.signal_all(which, Signal::SIGCONT)
    }

    fn signal_all(&self, which: Which, signal: Signal) -> Result<(), Failure> {
        for pid in self.pids(which) {
            let pid = i32::try_from(pid).map_err(Failure::error)?;
            kill(Pid::from_raw(pid), signal).map_err(Failure::error)?;
        }
        Ok(())
    }

    /// Waits until somebody has killed every process of a node.
    pub(super) fn await_death(&mut self, which: Which) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        let Some(node) = self.nodes.get_mut(which.index()) else {
            return Err(no_resource());
        };
        let processes = [node.process.take(), node.agent.take()];
        for mut child in processes.into_iter().flatten() {
            while child.try_wait().map_err(Failure::error)?.is_none() {
                if Instant::now() > deadline {
                    let _ = child.kill();
                    return Err(self.failed(which, "nobody has fenced it"));
                }
                thread::sleep(LOOK);
            }
        }
        Ok(())
    }

    /// Waits until the power of a node is on.
    pub(super) fn await_power(&self, which: Which) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while !power::is_on(&self.dir, which.name()) {
            if Instant::now() > deadline {
                return Err(self.failed(which, "nobody has switched it on again"));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Stops the agents: what follows is for nobody to react to.
    pub(super) fn stop_agents(&mut self) -> Result<(), Failure> {
        for node in &mut self.nodes {
            if let Some(mut child) = node.agent.take() {
                terminate(&child)?;
                child.wait().map_err(Failure::error)?;
            }
        }
        Ok(())
    }

    /// What the agent of a node says.
    pub(super) fn agent(&self, which: Which) -> Result<AgentReply, Failure> {
        let node = self.config.node(which.name()).ok_or_else(no_resource)?;
        let socket = node.run_dir.join("agent.sock");
        let mut client =
            twindisk_agent::Client::connect(&socket, PATIENCE).map_err(Failure::at(&socket))?;
        match client.ask(&AgentAsk::Status).map_err(Failure::error)? {
            AgentAnswer::Status(reply) => Ok(*reply),
            other => Err(Failure::Error(format!("unexpected answer: {other:?}"))),
        }
    }

    /// SIGKILL: no goodbye, no last write. Returns once the process is surely gone.
    pub(super) fn kill(&mut self, which: Which) -> Result<(), Failure> {
        let Some(mut child) = self.take(which) else {
            return Ok(());
        };
        child.kill().map_err(Failure::error)?;
        let status = child.wait().map_err(Failure::error)?;
        if status.signal() == Some(Signal::SIGKILL as i32) {
            return Ok(());
        }
        Err(self.failed(
            which,
            &format!("it had ended before it was killed: {status}"),
        ))
    }

    /// Stops a node in good order.
    pub(super) fn stop(&mut self, which: Which) -> Result<(), Failure> {
        let Some(mut child) = self.take(which) else {
            return Ok(());
        };
        terminate(&child)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match child.try_wait().map_err(Failure::error)? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(self.failed(which, &format!("`serve` stopped badly: {status}")));
                }
                None if Instant::now() > deadline => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(self.failed(which, "`serve` does not stop"));
                }
                None => thread::sleep(LOOK),
            }
        }
    }

    /// Has something done.
    pub(super) fn done(&self, which: Which, ask: Ask) -> Result<String, Failure> {
        match self.try_ask(which, ask)? {
            Ok(message) => Ok(message),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Asks for something that may be refused.
    pub(super) fn try_ask(
        &self,
        which: Which,
        ask: Ask,
    ) -> Result<Result<String, Refusal>, Failure> {
        match self.client(which)?.ask(ask)? {
            Answer::Done(reply) => Ok(Ok(reply.message)),
            Answer::Refused(refusal) => Ok(Err(refusal)),
            Answer::Error(failed) => Err(failed.into()),
            other => Err(Failure::Error(format!("unexpected answer: {other:?}"))),
        }
    }

    /// What a node says of the resource.
    pub(super) fn status(&self, which: Which) -> Result<Status, Failure> {
        let status = self.client(which)?.status(Some(RESOURCE))?;
        let resource = status
            .resources
            .into_iter()
            .next()
            .ok_or_else(no_resource)?;
        resource.replica.ok_or_else(|| {
            self.failed(
                which,
                resource.why.as_deref().unwrap_or("it does not answer"),
            )
        })
    }

    /// Waits until the state is as wanted; returns it.
    pub(super) fn until(
        &self,
        which: Which,
        what: &str,
        wanted: impl Fn(&Status) -> bool,
    ) -> Result<Status, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status(which)?;
            if wanted(&status) {
                return Ok(status);
            }
            if Instant::now() > deadline {
                let state = serde_json::to_string_pretty(&status).unwrap_or_default();
                let what = format!("it did not come to this: {what}. Its state:\n{state}");
                return Err(self.failed(which, &what));
            }
            thread::sleep(LOOK);
        }
    }

    /// What happened on a node so far, newest last.
    pub(super) fn events(&self, which: Which) -> Result<Vec<EventLine>, Failure> {
        let mut client = self.client(which)?;
        let mut answer = client.ask(Ask::Events {
            resource: Some(RESOURCE.to_owned()),
            recent: 1000,
            follow: false,
        })?;
        let mut events = Vec::new();
        while let Answer::Event(line) = answer {
            events.push(line);
            answer = client.next_answer()?;
        }
        Ok(events)
    }

    /// Where clients reach a node.
    pub(super) fn uri(&self, which: Which) -> Result<Uri, Failure> {
        self.uri_text(which)?.parse().map_err(Failure::error)
    }

    /// The same, to print.
    pub(super) fn uri_text(&self, which: Which) -> Result<String, Failure> {
        let member = self.member(which)?;
        let listener = member.nbd.first().ok_or_else(no_resource)?;
        Ok(listener.uri(RESOURCE))
    }

    /// The file beneath a node.
    pub(super) fn image(&self, which: Which) -> Result<PathBuf, Failure> {
        Ok(self.member(which)?.backing.clone())
    }

    /// The log of a node's process.
    pub(super) fn log(&self, which: Which) -> PathBuf {
        self.dir.join(format!("{}.log", which.name()))
    }

    /// From now on the nodes outlive this process; their numbers.
    pub(super) fn leave_running(&mut self) -> Vec<u32> {
        let processes = self.nodes.iter_mut();
        processes
            .flat_map(|node| [node.process.take(), node.agent.take()])
            .flatten()
            .map(|child| child.id())
            .chain(self.witness.take().and_then(Witness::let_go))
            .collect()
    }

    fn client(&self, which: Which) -> Result<Client, Failure> {
        let node = self.config.node(which.name()).ok_or_else(no_resource)?;
        let start = crate::ask::start_command(&self.config.path, which.name());
        Ok(Client::connect(&node.control_socket, which.name(), &start)?)
    }

    fn member(&self, which: Which) -> Result<&Member, Failure> {
        let node = self.config.node(which.name()).ok_or_else(no_resource)?;
        Ok(self.config.pick(node, Some(RESOURCE))?.1)
    }

    fn take(&mut self, which: Which) -> Option<Child> {
        self.nodes.get_mut(which.index())?.process.take()
    }

    fn exited(&mut self, which: Which) -> Option<std::process::ExitStatus> {
        let node = self.nodes.get_mut(which.index())?;
        node.process.as_mut()?.try_wait().ok().flatten()
    }

    /// An error with the end of the node's log: what a person would look at next.
    fn failed(&self, which: Which, what: &str) -> Failure {
        let log = self.log(which);
        let tail = tail(&log).unwrap_or_default();
        Failure::Error(format!(
            "{}: {what}\nthe end of its log ({}):\n{tail}",
            which.name(),
            log.display()
        ))
    }
}

impl Drop for Pair {
    /// Nothing is left running that nobody asked for.
    fn drop(&mut self) {
        for node in &mut self.nodes {
            for mut child in [node.agent.take(), node.process.take()]
                .into_iter()
                .flatten()
            {
                let _ = child.kill();
                let _ = child.wait();
                tracing::debug!(node = node.name, "killed");
            }
        }
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(Failure::error)?;
    Ok(listener.local_addr().map_err(Failure::error)?.port())
}

fn terminate(child: &Child) -> Result<(), Failure> {
    let pid = i32::try_from(child.id()).map_err(Failure::error)?;
    kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(Failure::error)
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(3000)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn no_resource() -> Failure {
    Failure::error("the demo's own configuration lacks its resource")
}
